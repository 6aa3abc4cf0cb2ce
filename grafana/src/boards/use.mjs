// @ts-check
import { LIMITS, line, steps } from '../limits.mjs';
import { band, board } from '../board.mjs';
import { stat, table, timeSeries } from '../panels.mjs';
import * as q from '../queries.mjs';
import { containers, serviceAlerts } from './shared.mjs';

const { R } = q;
const NODE = 'job="node", instance=~"$instance"';
/** Memory that is a compressed disk, loop devices: not disks that wear or wait. */
const DISKS = `${NODE}, device!~"zram.*|loop.*|ram.*"`;
/** The machine's own interfaces: those of containers would count the same bytes twice. */
const INTERFACES = `${NODE}, device!~"lo|veth.*|docker.*|br-.*|ifb.*"`;

/** Share of time in which a task of the host waits. @param {string} resource @param {string} [window] */
const waiting = (resource, window = R) => `rate(node_pressure_${resource}_waiting_seconds_total{${NODE}}[${window}])`;
/** @param {string} resource */
const stalled = (resource) => `rate(node_pressure_${resource}_stalled_seconds_total{${NODE}}[${R}])`;
/** @param {'receive' | 'transmit'} way @param {string} what @param {string} window */
const network = (way, what, window = R) => `rate(node_network_${way}_${what}_total{${INTERFACES}}[${window}])`;

export default board({
  uid: 'medassist-use',
  title: 'USE: nodes and containers',
  description:
    'Utilisation, saturation and errors of processors, memory, disks and network: which host or container has too little of what?',
  services: ['node'],
  from: 'now-1h',
  variables: [{ name: 'instance', label: 'Host', query: 'label_values(up{job="node"}, instance)' }],
  bands: [
    band(
      'Health',
      4,
      stat({
        width: 4,
        title: 'CPU, busiest host',
        description: 'Share of processor time at work over 5 min. Red is the limit of NodeCpuHigh.',
        unit: 'percentunit',
        decimals: 0,
        query: { expr: `max(${q.cpu('5m', NODE)})` },
        steps: steps(LIMITS.cpu),
      }),
      stat({
        width: 4,
        title: 'Memory, fullest host',
        description: 'Share of memory that cannot be had without swapping. Red is the limit of NodeMemoryHigh.',
        unit: 'percentunit',
        decimals: 0,
        query: { expr: `max(${q.memory(NODE)})` },
        steps: steps(LIMITS.memory),
      }),
      stat({
        width: 4,
        title: 'Disk, fullest',
        description:
          'Used share of the fullest mount. A full disk stops MySQL and the backup; the table of disk space has the mount.',
        unit: 'percentunit',
        decimals: 0,
        query: { expr: `max(${q.space(NODE)})` },
        steps: steps(LIMITS.space),
      }),
      stat({
        width: 3,
        title: 'Disk, busiest',
        description: 'Share of time in which the busiest disk was at work. Every commit of MySQL waits for it.',
        unit: 'percentunit',
        decimals: 0,
        query: { expr: `max(rate(node_disk_io_time_seconds_total{${DISKS}}[5m]))` },
        steps: steps(LIMITS.busyDisk),
      }),
      stat({
        width: 3,
        title: 'Network errors, 15 min',
        description:
          'Packets with errors on all interfaces. Above zero: a cable, a driver, or a virtual network that is overloaded.',
        unit: 'short',
        decimals: 0,
        query: {
          expr: `sum(increase(node_network_receive_errs_total{${INTERFACES}}[15m])) + sum(increase(node_network_transmit_errs_total{${INTERFACES}}[15m]))`,
        },
        steps: [
          [1, 'warn'],
          [100, 'bad'],
        ],
      }),
      stat({
        width: 3,
        title: 'Silent hosts',
        description:
          'Hosts whose node_exporter does not answer. No data is not the same as no load: runbook ExporterDown.',
        unit: 'none',
        query: { expr: `count(up{${NODE}} == 0) or 0 * count(up{${NODE}})` },
        steps: [[1, 'bad']],
      }),
      serviceAlerts(3, 'node'),
    ),
    band(
      'Where?',
      6,
      table({
        width: 24,
        title: 'Hosts',
        description:
          'One line a host, the busiest first; coloured cells are over a limit. "Waiting" is the share of time in which a task waits.',
        by: { instance: 'Host' },
        sort: 'CPU',
        links: {
          Host: {
            title: 'Show this host only',
            url: '/d/medassist-use?var-instance=${__value.raw}&${__url_time_range}',
          },
        },
        columns: [
          { name: 'CPU', unit: 'percentunit', decimals: 0, expr: q.cpu('5m', NODE), steps: steps(LIMITS.cpu) },
          {
            name: 'Waiting for CPU',
            unit: 'percentunit',
            decimals: 1,
            expr: `max by (instance) (${waiting('cpu', '5m')})`,
            steps: steps(LIMITS.waiting),
          },
          { name: 'Load per CPU', unit: 'short', decimals: 2, expr: q.load(NODE), steps: steps(LIMITS.load) },
          {
            name: 'Memory',
            unit: 'percentunit',
            decimals: 0,
            expr: `max by (instance) (${q.memory(NODE)})`,
            steps: steps(LIMITS.memory),
          },
          {
            name: 'Waiting for memory',
            unit: 'percentunit',
            decimals: 1,
            expr: `max by (instance) (${waiting('memory', '5m')})`,
            steps: steps(LIMITS.waitingForMemory),
          },
          {
            name: 'Waiting for disk',
            unit: 'percentunit',
            decimals: 1,
            expr: `max by (instance) (${waiting('io', '5m')})`,
            steps: steps(LIMITS.waiting),
          },
          {
            name: 'Fullest disk',
            unit: 'percentunit',
            decimals: 0,
            expr: `max by (instance) (${q.space(NODE)})`,
            steps: steps(LIMITS.space),
          },
          {
            name: 'OOM kills, 1 h',
            unit: 'short',
            decimals: 0,
            expr: `sum by (instance) (increase(node_vmstat_oom_kill{${NODE}}[1h]))`,
            steps: [[1, 'bad']],
          },
          {
            name: 'Up for',
            unit: 'dtdurations',
            decimals: 0,
            expr: `max by (instance) (time() - node_boot_time_seconds{${NODE}})`,
          },
        ],
      }),
    ),
    band(
      'Processor',
      7,
      timeSeries({
        width: 12,
        title: 'CPU in use',
        description:
          'Utilisation: share of processor time at work; waiting for the disk counts as idle. The line is the limit of NodeCpuHigh.',
        unit: 'percentunit',
        max: 1,
        queries: [{ expr: q.cpu(R, NODE), legend: '{{instance}}' }],
        lines: line(LIMITS.cpu),
      }),
      timeSeries({
        width: 6,
        title: 'Waiting for CPU',
        description: 'Saturation: share of time in which at least one task waits for a processor.',
        unit: 'percentunit',
        queries: [{ expr: waiting('cpu'), legend: '{{instance}}' }],
        lines: line(LIMITS.waiting),
        noData: 'this kernel does not measure pressure',
      }),
      timeSeries({
        width: 6,
        title: 'Load per CPU',
        description:
          'Saturation where the kernel does not measure pressure: tasks for each processor. The line is the limit of NodeLoadHigh.',
        unit: 'short',
        queries: [{ expr: q.load(NODE), legend: '{{instance}}' }],
        lines: line(LIMITS.load),
      }),
    ),
    band(
      'Memory',
      7,
      timeSeries({
        width: 12,
        title: 'Memory in use',
        description:
          'Utilisation: share of memory that cannot be had without swapping. The line is the limit of NodeMemoryHigh.',
        unit: 'percentunit',
        max: 1,
        queries: [{ expr: q.memory(NODE), legend: '{{instance}}' }],
        lines: line(LIMITS.memory),
      }),
      timeSeries({
        width: 6,
        title: 'Waiting for memory',
        description:
          'Saturation: share of time in which some or all tasks wait for memory. It rises before the kernel kills a process.',
        unit: 'percentunit',
        queries: [
          { expr: waiting('memory'), legend: 'some {{instance}}' },
          { expr: stalled('memory'), legend: 'all {{instance}}' },
        ],
        lines: line(LIMITS.waitingForMemory),
        noData: 'this kernel does not measure pressure',
      }),
      timeSeries({
        width: 6,
        title: 'OOM kills',
        description:
          'Errors: processes that the kernel killed for memory. The reason why a process vanished without a log line.',
        unit: 'short',
        decimals: 0,
        queries: [{ expr: `increase(node_vmstat_oom_kill{${NODE}}[${R}])`, legend: '{{instance}}' }],
        softMax: 1,
      }),
    ),
    band(
      'Disks',
      7,
      timeSeries({
        width: 6,
        title: 'Disk busy',
        description:
          'Utilisation: share of time in which the disk is at work. An SSD at 100 % may have room left: see latency.',
        unit: 'percentunit',
        max: 1,
        queries: [{ expr: `rate(node_disk_io_time_seconds_total{${DISKS}}[${R}])`, legend: '{{instance}} {{device}}' }],
        lines: line(LIMITS.busyDisk),
      }),
      timeSeries({
        width: 6,
        title: 'Waiting for disk',
        description: 'Saturation: share of time in which some or all tasks wait for a disk.',
        unit: 'percentunit',
        queries: [
          { expr: waiting('io'), legend: 'some {{instance}}' },
          { expr: stalled('io'), legend: 'all {{instance}}' },
        ],
        lines: line(LIMITS.waiting),
        noData: 'this kernel does not measure pressure',
      }),
      timeSeries({
        width: 6,
        title: 'Disk latency',
        description: 'Mean time of one read and one write: what a commit of MySQL costs.',
        unit: 's',
        queries: [
          {
            expr: `rate(node_disk_read_time_seconds_total{${DISKS}}[${R}]) / (rate(node_disk_reads_completed_total{${DISKS}}[${R}]) > 0)`,
            legend: 'read {{device}}',
            emptyUntil: 'something is read that is not in memory',
          },
          {
            expr: `rate(node_disk_write_time_seconds_total{${DISKS}}[${R}]) / (rate(node_disk_writes_completed_total{${DISKS}}[${R}]) > 0)`,
            legend: 'write {{device}}',
          },
        ],
        lines: line(LIMITS.diskLatency),
        noData: 'nothing read, nothing written',
      }),
      table({
        width: 6,
        title: 'Disk space',
        description:
          'Used share of bytes and of inodes of each mount, and when it is full if it fills as in the last 6 h.',
        by: { instance: 'Host', mountpoint: 'Mount' },
        sort: 'Used',
        columns: [
          {
            name: 'Used',
            unit: 'percentunit',
            decimals: 0,
            expr: `max by (instance, mountpoint) (${q.space(NODE)})`,
            steps: steps(LIMITS.space),
          },
          {
            name: 'Inodes',
            unit: 'percentunit',
            decimals: 0,
            expr: `max by (instance, mountpoint) (${q.inodes(NODE)})`,
            steps: steps(LIMITS.space),
          },
          {
            name: 'Full in',
            unit: 'dtdurations',
            decimals: 0,
            expr: `max by (instance, mountpoint) ((${q.fullIn(NODE)}) < 30 * 86400)`,
            emptyUntil: 'a mount will be full within 30 days',
          },
        ],
      }),
    ),
    band(
      'Network',
      7,
      timeSeries({
        width: 12,
        title: 'Throughput',
        description: 'Utilisation: bytes a second in and out of each interface of the machine.',
        unit: 'Bps',
        queries: [
          { expr: network('receive', 'bytes'), legend: 'in {{instance}} {{device}}' },
          { expr: network('transmit', 'bytes'), legend: 'out {{instance}} {{device}}' },
        ],
      }),
      timeSeries({
        width: 6,
        title: 'Packets lost',
        description: 'Errors and saturation: packets with errors, and packets dropped because a queue was full.',
        unit: 'pps',
        queries: [
          {
            expr: `sum by (instance) (${network('receive', 'errs')}) + sum by (instance) (${network('transmit', 'errs')})`,
            legend: 'errors {{instance}}',
          },
          {
            expr: `sum by (instance) (${network('receive', 'drop')}) + sum by (instance) (${network('transmit', 'drop')})`,
            legend: 'drops {{instance}}',
          },
        ],
        softMax: 1,
      }),
      timeSeries({
        width: 6,
        title: 'TCP retransmitted',
        description:
          'Share of segments that were sent again. A path that loses packets is easily taken for a slow server.',
        unit: 'percentunit',
        queries: [
          {
            expr: `rate(node_netstat_Tcp_RetransSegs{${NODE}}[${R}]) / (rate(node_netstat_Tcp_OutSegs{${NODE}}[${R}]) > 0)`,
            legend: '{{instance}}',
          },
        ],
        lines: [[0.01, 'bad']],
      }),
    ),
    band(
      'Containers and limits of the host',
      8,
      containers(14, 'name!=""', 'medassist-containers'),
      stat({
        width: 4,
        title: 'Broken mounts',
        description: 'Mounts that the kernel made read-only after an error, or that do not answer.',
        unit: 'none',
        background: false,
        query: {
          expr: `sum(node_filesystem_readonly{${NODE}, fstype!~"tmpfs|ramfs|squashfs|overlay|iso9660"}) + sum(node_filesystem_device_error{${NODE}})`,
        },
        steps: [[1, 'bad']],
      }),
      timeSeries({
        width: 6,
        title: 'Files and tracked connections',
        description:
          'Share of the limits of open files and of tracked connections. At 100 % connections fail at random.',
        unit: 'percentunit',
        max: 1,
        queries: [
          { expr: `node_filefd_allocated{${NODE}} / node_filefd_maximum{${NODE}}`, legend: 'files {{instance}}' },
          {
            expr: `node_nf_conntrack_entries{${NODE}} / node_nf_conntrack_entries_limit{${NODE}}`,
            legend: 'connections {{instance}}',
          },
        ],
        lines: [[0.8, 'bad']],
      }),
    ),
  ],
});
