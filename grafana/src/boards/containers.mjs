// @ts-check
import { JUST_STARTED, LIMITS, line, steps } from '../limits.mjs';
import { band, board } from '../board.mjs';
import { stat, timeSeries, timeline } from '../panels.mjs';
import * as q from '../queries.mjs';
import { words } from '../style.mjs';
import { COMPOSE_ONLY, NO_CADVISOR, QUOTA, containers, serviceAlerts } from './shared.mjs';

const { R } = q;
const ALL = 'name!=""';
const SELECTED = 'name=~"$container", name!=""';
/** @param {string} expr @param {string} [legend] @param {string} [emptyUntil] */
const container = (expr, legend = '{{name}}', emptyUntil = COMPOSE_ONLY) => ({ expr, legend, emptyUntil });
/** @param {string} name */
const rate = (name) => `sum by (name) (rate(container_${name}_total{${SELECTED}}[${R}]))`;
const PRESSURE = `${COMPOSE_ONLY}, on a kernel that measures pressure by control group`;

export default board({
  uid: 'medassist-containers',
  title: 'Containers',
  description: 'Which container died, starves or is throttled?',
  services: ['cadvisor'],
  from: 'now-1h',
  variables: [{ name: 'container', label: 'Container', query: 'label_values(container_last_seen{name!=""}, name)' }],
  bands: [
    band(
      'Health',
      4,
      stat({
        width: 4,
        title: 'Running',
        description: 'Containers that were seen in the last minute. Fewer than before: the timeline below has a gap.',
        unit: 'none',
        base: 'none',
        query: container('count(min by (name) (time() - container_last_seen{name!=""}) < 60)', ''),
        noData: NO_CADVISOR,
      }),
      stat({
        width: 4,
        title: 'Unhealthy',
        description:
          'Containers whose health check fails or has not passed yet. The timeline below names them; read their log.',
        unit: 'none',
        query: container(
          'count(container_health_state{name!=""} == 0) or 0 * count(container_last_seen{name!=""})',
          '',
        ),
        steps: [[1, 'bad']],
        noData: NO_CADVISOR,
      }),
      stat({
        width: 3,
        title: 'OOM kills, 1 h',
        description:
          'Containers that the kernel stopped at their memory limit: the limit is too small, or the program leaks.',
        unit: 'short',
        decimals: 0,
        query: container('sum(increase(container_oom_events_total{name!=""}[1h]))', ''),
        steps: [[1, 'bad']],
        noData: NO_CADVISOR,
      }),
      stat({
        width: 3,
        title: 'Started in 15 min',
        description: 'Containers that started in the last 15 min. If nobody started them: they restart in a loop.',
        unit: 'none',
        query: container(
          `count(time() - container_start_time_seconds{name!=""} < ${JUST_STARTED}) or 0 * count(container_last_seen{name!=""})`,
          '',
        ),
        steps: [[1, 'warn']],
        noData: NO_CADVISOR,
      }),
      stat({
        width: 4,
        title: 'Memory of limit, worst',
        description: 'The container that is nearest to its memory limit, and will be stopped first. Red: runbook ContainerMemoryHigh.',
        unit: 'percentunit',
        decimals: 0,
        query: container(`max(${q.memoryOfLimit(ALL)})`, ''),
        steps: steps(LIMITS.containerMemory),
        noData: NO_CADVISOR,
      }),
      stat({
        width: 3,
        title: 'Throttled, worst',
        description:
          'Share of periods in which a container used up its processor time. It is slow although the host is idle. Red: runbook ContainerThrottled.',
        unit: 'percentunit',
        decimals: 0,
        query: container(`max(${q.throttled('5m', ALL)})`, '', QUOTA),
        steps: steps(LIMITS.throttled),
        noData: NO_CADVISOR,
      }),
      serviceAlerts(3, 'container'),
    ),
    band(
      'Which one, since when?',
      10,
      timeline({
        width: 10,
        title: 'Health',
        description:
          'Result of each container’s health check; a container that starts is not healthy yet. A gap: the container was gone.',
        queries: [container(`max by (name) (container_health_state{${SELECTED}})`)],
        mappings: [words({ '-1': ['no check', 'none'], 0: ['not healthy', 'bad'], 1: ['healthy', 'ok'] })],
        noData: NO_CADVISOR,
      }),
      containers(14, SELECTED),
    ),
    band(
      'Processor',
      8,
      timeSeries({
        width: 8,
        title: 'CPU in use',
        description: 'Processor time of each container; 100 % is one processor.',
        unit: 'percentunit',
        queries: [container(rate('cpu_usage_seconds'))],
        noData: NO_CADVISOR,
      }),
      timeSeries({
        width: 8,
        title: 'Throttled',
        description: 'Share of periods in which the container used up its processor time.',
        unit: 'percentunit',
        queries: [container(`max by (name) (${q.throttled(R, SELECTED)})`, '{{name}}', QUOTA)],
        lines: line(LIMITS.throttled),
        noData: 'no container has a limit of processor time',
      }),
      timeSeries({
        width: 8,
        title: 'Waiting for CPU',
        description: 'Share of time in which a task of the container waits for a processor: its neighbours use it.',
        unit: 'percentunit',
        queries: [container(rate('pressure_cpu_waiting_seconds'), '{{name}}', PRESSURE)],
        lines: line(LIMITS.waiting),
        noData: 'this kernel does not measure pressure',
      }),
    ),
    band(
      'Memory',
      8,
      timeSeries({
        width: 8,
        title: 'Working set',
        description: 'Memory that counts against the limit; the whole usage would include the cache of files.',
        unit: 'bytes',
        queries: [container(`max by (name) (container_memory_working_set_bytes{${SELECTED}})`)],
        noData: NO_CADVISOR,
      }),
      timeSeries({
        width: 8,
        title: 'Memory of limit',
        description: 'Memory of each container as a share of its limit.',
        unit: 'percentunit',
        max: 1,
        queries: [container(`max by (name) (${q.memoryOfLimit(SELECTED)})`)],
        lines: line(LIMITS.containerMemory),
        noData: NO_CADVISOR,
      }),
      timeSeries({
        width: 8,
        title: 'Waiting for memory',
        description: 'Share of time in which a task of the container waits for memory: its limit is too small.',
        unit: 'percentunit',
        queries: [container(rate('pressure_memory_waiting_seconds'), '{{name}}', PRESSURE)],
        lines: line(LIMITS.waitingForMemory),
        noData: 'this kernel does not measure pressure',
      }),
    ),
    band(
      'Disk and network',
      8,
      timeSeries({
        width: 8,
        title: 'Disk',
        description: 'Bytes a second that each container reads and writes: who makes the disk busy.',
        unit: 'Bps',
        queries: [
          container(rate('fs_reads_bytes'), 'read {{name}}'),
          container(rate('fs_writes_bytes'), 'written {{name}}'),
        ],
        noData: NO_CADVISOR,
      }),
      timeSeries({
        width: 8,
        title: 'Network',
        description:
          'Bytes a second in and out of each container. Nothing for a container with the network of the host.',
        unit: 'Bps',
        queries: [
          container(rate('network_receive_bytes'), 'in {{name}}'),
          container(rate('network_transmit_bytes'), 'out {{name}}'),
        ],
        noData: NO_CADVISOR,
      }),
      timeSeries({
        width: 8,
        title: 'Packets lost',
        description: 'Packets a second of each container that had errors or were dropped.',
        unit: 'pps',
        queries: [
          container(`${rate('network_receive_errors')} + ${rate('network_transmit_errors')}`, 'errors {{name}}'),
          container(
            `${rate('network_receive_packets_dropped')} + ${rate('network_transmit_packets_dropped')}`,
            'dropped {{name}}',
          ),
        ],
        noData: NO_CADVISOR,
      }),
    ),
  ],
});
