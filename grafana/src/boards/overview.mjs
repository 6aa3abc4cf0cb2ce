// @ts-check
import { JUST_STARTED, LIMITS, steps } from '../limits.mjs';
import { band, board } from '../board.mjs';
import { boards, stat, table, timeSeries, timeline } from '../panels.mjs';
import * as q from '../queries.mjs';
import { VERDICT } from '../style.mjs';
import {
  alerts,
  budgetLeft,
  durations,
  errors,
  firingNow,
  latency,
  responses,
  serversInService,
  urgentAlerts,
  verdict,
} from './shared.mjs';

const { R } = q;

export default board({
  uid: 'medassist-overview',
  title: 'Overview',
  description: 'Whether MedAssist is healthy; if not, which component, since when, and where to look.',
  services: [],
  from: 'now-3h',
  bands: [
    band(
      'Health',
      4,
      serversInService(3, 'medassist-haproxy'),
      errors(3, 'medassist-red'),
      latency(3, 'medassist-red'),
      verdict({
        width: 3,
        title: 'MySQL',
        service: 'mysql',
        description:
          'Verdict of the health checks of MySQL. Down: runbook MysqlDown; degraded: its dashboard names the check.',
        board: 'medassist-mysql',
      }),
      verdict({
        width: 3,
        title: 'Redis',
        service: 'redis',
        description:
          'Verdict of the health checks of Redis, a cache that the API can do without. Its dashboard names the check.',
        board: 'medassist-redis',
      }),
      stat({
        width: 3,
        title: 'Recovery point',
        description:
          'Age of the data that a restore would bring back now. Red is the target of 30 min: runbook MysqlBackupRpoExceeded.',
        unit: 'dtdurations',
        decimals: 0,
        query: { expr: q.recoveryPointAge() },
        steps: steps(LIMITS.recoveryPoint),
        noData: 'no backup',
        board: 'medassist-backup',
      }),
      budgetLeft(3),
      urgentAlerts(3),
    ),
    band('What is wrong, since when?', 8, alerts(13), firingNow(11)),
    band(
      'Components',
      7,
      timeline({
        width: 15,
        title: 'Components',
        description:
          'State of each part. The first to turn is nearest to the cause: MySQL before API means MySQL. "Monitoring" is degraded while a target does not answer.',
        queries: [
          { legend: 'API', expr: q.api },
          { legend: 'nginx', expr: q.verdictOrUnknown('nginx') },
          { legend: 'HAProxy', expr: q.verdictOrUnknown('haproxy') },
          { legend: 'MySQL', expr: q.verdictOrUnknown('mysql') },
          { legend: 'Redis', expr: q.verdictOrUnknown('redis') },
          { legend: 'Backup', expr: q.verdictOrUnknown('backup') },
          { legend: 'Monitoring', expr: 'clamp_max(count(up == 0) or vector(0), 1)' },
        ],
        mappings: [VERDICT],
      }),
      table({
        width: 9,
        title: 'Targets that do not answer',
        description:
          'Targets whose last scrape failed. What they watch is unknown, not necessarily down: runbooks ExporterDown, ApiInstanceDown.',
        by: { job: 'Job', instance: 'Instance' },
        sort: 'Last answer',
        noData: 'every target answers',
        columns: [
          {
            name: 'Last answer',
            unit: 'dtdurations',
            decimals: 0,
            expr:
              '(time() - max by (job, instance) (max_over_time(timestamp(up == 1)[$__range:15s])))' +
              ' and on (job, instance) (up == 0)' +
              ' or max by (job, instance) (up == 0) + $__range_s',
            emptyUntil: 'a target is down: `make kill SERVICE=redis-exporter`',
          },
        ],
      }),
    ),
    band(
      'User experience',
      8,
      responses(8, 'medassist-red'),
      durations(8, 'job="api"', 'medassist-red'),
      timeSeries({
        width: 8,
        title: 'Nearest limit',
        description: 'The worst of each resource, as a share of its limit. The highest curve is what runs out first.',
        unit: 'percentunit',
        max: 1,
        lines: [
          [0.8, 'warn'],
          [0.9, 'bad'],
        ],
        queries: [
          { legend: 'CPU', expr: `max(${q.cpu(R)})` },
          { legend: 'Memory', expr: `max(${q.memory()})` },
          { legend: 'Disk space', expr: `max(${q.space()})` },
          {
            legend: 'MySQL connections',
            expr: 'max(mysql_global_status_threads_connected / (mysql_global_variables_max_connections > 0))',
          },
          { legend: 'API pool', expr: 'max(app_mysql_pool_connections_in_use / (app_mysql_pool_connections_max > 0))' },
          {
            legend: 'HAProxy connections',
            expr: 'max(haproxy_process_current_connections / (haproxy_process_max_connections > 0))',
          },
          { legend: 'Redis memory', expr: 'max(redis_memory_used_bytes / (redis_memory_max_bytes > 0))' },
        ],
        board: 'medassist-use',
      }),
    ),
    band(
      'More dashboards',
      6,
      stat({
        width: 14,
        title: 'Up for',
        description:
          'Time since each part started. Orange: restarted in the last 15 min. If nobody restarted it, read its log.',
        unit: 'dtdurations',
        decimals: 0,
        base: 'warn',
        steps: [[JUST_STARTED, 'none']],
        background: false,
        query: [
          { legend: 'HAProxy', expr: 'min(haproxy_process_uptime_seconds)' },
          { legend: 'MySQL', expr: 'min(mysql_global_status_uptime)' },
          { legend: 'Redis', expr: 'min(redis_uptime_in_seconds)' },
          { legend: 'Host', expr: 'min(time() - node_boot_time_seconds)' },
          { legend: 'Prometheus', expr: 'min(time() - process_start_time_seconds{job="prometheus"})' },
        ],
      }),
      boards({
        width: 10,
        title: 'Dashboards',
        description: 'Every dashboard of MedAssist, with the time range of this one.',
        tag: 'medassist',
      }),
    ),
  ],
});
