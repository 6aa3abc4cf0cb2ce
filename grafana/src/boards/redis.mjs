// @ts-check
import { LIMITS, steps } from '../limits.mjs';
import { band, board } from '../board.mjs';
import { sparkline, stat, timeSeries } from '../panels.mjs';
import * as q from '../queries.mjs';
import { words } from '../style.mjs';
import { checks, serviceAlerts, verdict } from './shared.mjs';

const { R } = q;
const SERVER = 'instance=~"$instance"';
/** @param {string} name */
const gauge = (name) => `redis_${name}{${SERVER}}`;
/** @param {string} name @param {string} [window] */
const rate = (name, window = R) => `sum(rate(redis_${name}_total{${SERVER}}[${window}]))`;
/** @param {string} name */
const byCommand = (name) => `sum by (cmd) (rate(redis_commands_${name}{${SERVER}}[${R}]))`;

export default board({
  uid: 'medassist-redis',
  title: 'Redis',
  description: 'Does it answer, is memory left, and does it lose keys?',
  services: ['redis'],
  from: 'now-1h',
  variables: [{ name: 'instance', label: 'Server', query: 'label_values(redis_up, instance)' }],
  bands: [
    band(
      'Health',
      4,
      verdict({
        width: 4,
        title: 'Redis',
        service: 'redis',
        description:
          'Verdict of the health checks of Redis. The API does without it, more slowly; the panel below names the check.',
      }),
      stat({
        width: 4,
        title: 'Memory of limit',
        description: 'Used memory as a share of maxmemory. At 100 % Redis drops keys or refuses writes. Red: runbook RedisMemoryHigh.',
        unit: 'percentunit',
        decimals: 0,
        query: { expr: `max(${gauge('memory_used_bytes')} / (${gauge('memory_max_bytes')} > 0))` },
        steps: steps(LIMITS.redisMemory),
        noData: 'no limit',
      }),
      stat({
        width: 3,
        title: 'Evicted, 15 min',
        description: 'Keys dropped before their time for lack of memory. Raise maxmemory, or find what fills it: runbook RedisEvictionsHigh.',
        unit: 'short',
        decimals: 0,
        query: { expr: `sum(increase(redis_evicted_keys_total{${SERVER}}[15m]))` },
        steps: [[1, 'warn']],
      }),
      stat({
        width: 3,
        title: 'Refused, 15 min',
        description: 'Connections refused because maxclients was reached: runbook RedisConnectionsRefused.',
        unit: 'short',
        decimals: 0,
        query: { expr: `sum(increase(redis_rejected_connections_total{${SERVER}}[15m]))` },
        steps: [[1, 'bad']],
      }),
      stat({
        width: 3,
        title: 'Last save',
        description:
          'Whether the last snapshot and the last write of the append-only file succeeded. Failed: Redis may refuse writes, runbook RedisPersistenceFailed.',
        unit: 'none',
        base: 'none',
        query: { expr: `min(${gauge('rdb_last_bgsave_status')}) * min(${gauge('aof_last_write_status')})` },
        mappings: [words({ 0: ['failed', 'bad'], 1: ['ok', 'ok'] })],
      }),
      sparkline({
        width: 4,
        title: 'Commands',
        description: 'Commands a second. Zero with clients connected: something blocks.',
        unit: 'ops',
        decimals: 1,
        query: { expr: rate('commands_processed') },
      }),
      serviceAlerts(3, 'redis'),
    ),
    band(
      'Since when?',
      8,
      checks(12, 'redis', SERVER),
      timeSeries({
        width: 12,
        title: 'Memory',
        description: 'A slope is a leak, a step is a burst; only "resident" rises while a snapshot is written.',
        unit: 'bytes',
        queries: [
          { expr: gauge('memory_used_bytes'), legend: 'used' },
          { expr: gauge('memory_used_rss_bytes'), legend: 'resident' },
          { expr: `${gauge('memory_max_bytes')} > 0`, legend: 'limit' },
        ],
        limits: ['limit'],
      }),
    ),
    band(
      'Work',
      8,
      timeSeries({
        width: 8,
        title: 'Commands by kind',
        description: 'The eight most frequent commands.',
        unit: 'ops',
        queries: [{ expr: `topk(8, ${byCommand('total')})`, legend: '{{cmd}}' }],
      }),
      timeSeries({
        width: 8,
        title: 'Busy, by command',
        description: 'Share of time in which Redis works on each command. It has one thread: 100 % is all there is.',
        unit: 'percentunit',
        queries: [{ expr: `topk(8, ${byCommand('duration_seconds_total')})`, legend: '{{cmd}}' }],
        lines: [[0.8, 'bad']],
      }),
      timeSeries({
        width: 8,
        title: 'Mean time of a call',
        description: 'Mean time of one call by command. KEYS and SORT over much data stop everybody else for so long.',
        unit: 's',
        queries: [
          { expr: `topk(8, ${byCommand('duration_seconds_total')} / (${byCommand('total')} > 0))`, legend: '{{cmd}}' },
        ],
        lines: [[0.01, 'bad']],
      }),
    ),
    band(
      'Keys',
      7,
      timeSeries({
        width: 8,
        title: 'Keys',
        description:
          'Keys of each database, and those of them that expire. The difference stays until somebody deletes it.',
        unit: 'short',
        queries: [
          { expr: `${gauge('db_keys')} > 0`, legend: '{{db}}' },
          { expr: `${gauge('db_keys_expiring')} > 0`, legend: '{{db}} expiring' },
        ],
      }),
      timeSeries({
        width: 8,
        title: 'Hits and misses',
        description: 'Reads that found their key, and those that did not. A cold cache is load on MySQL.',
        unit: 'ops',
        queries: [
          { expr: rate('keyspace_hits'), legend: 'hits' },
          { expr: rate('keyspace_misses'), legend: 'misses' },
        ],
      }),
      timeSeries({
        width: 8,
        title: 'Expired and evicted',
        description: 'Keys that ended by themselves, and keys that were dropped for lack of memory.',
        unit: 'ops',
        queries: [
          { expr: rate('expired_keys'), legend: 'expired' },
          { expr: rate('evicted_keys'), legend: 'evicted' },
        ],
        bad: ['evicted'],
      }),
    ),
    band(
      'Clients',
      7,
      timeSeries({
        width: 8,
        title: 'Clients',
        description: 'Connected and blocked clients, and the limit.',
        unit: 'short',
        decimals: 0,
        queries: [
          { expr: gauge('connected_clients'), legend: 'connected' },
          { expr: gauge('blocked_clients'), legend: 'blocked' },
          { expr: gauge('config_maxclients'), legend: 'limit' },
        ],
        limits: ['limit'],
        scale: 'log',
        min: null,
      }),
      timeSeries({
        width: 8,
        title: 'New and refused connections',
        description: 'Connections a second. Many new ones: a client without a pool.',
        unit: 'cps',
        queries: [
          { expr: rate('connections_received'), legend: 'new' },
          { expr: rate('rejected_connections'), legend: 'refused' },
        ],
        bad: ['refused'],
      }),
      timeSeries({
        width: 8,
        title: 'Network',
        description: 'Bytes a second. More bytes at the same number of commands: larger values.',
        unit: 'Bps',
        queries: [
          { expr: rate('net_input_bytes'), legend: 'in' },
          { expr: rate('net_output_bytes'), legend: 'out' },
        ],
      }),
    ),
    band(
      'Causes',
      7,
      timeSeries({
        width: 6,
        title: 'CPU of the main thread',
        description: 'Share of one processor that the main thread uses. At 100 % every command waits.',
        unit: 'percentunit',
        max: 1,
        queries: [
          {
            expr: `${rate('cpu_user_main_thread_seconds')} + ${rate('cpu_sys_main_thread_seconds')}`,
            legend: 'main thread',
          },
        ],
        lines: [[0.8, 'bad']],
      }),
      timeSeries({
        width: 6,
        title: 'p99 by command',
        description: '99 % of the calls since the start of the server took at most this long: a level, not a trend.',
        unit: 's',
        queries: [
          // Prometheus 3 writes the label as a float: "99.0".
          { expr: `topk(5, redis_latency_percentiles_usec{${SERVER}, quantile=~"99(.0)?"} / 1e6)`, legend: '{{cmd}}' },
        ],
        lines: [[0.01, 'bad']],
      }),
      timeSeries({
        width: 6,
        title: 'Age of the last snapshot',
        description: 'What a crash would lose without the append-only file.',
        unit: 's',
        queries: [{ expr: `time() - ${gauge('rdb_last_save_timestamp_seconds')}`, legend: '{{instance}}' }],
        lines: [[3600, 'warn']],
      }),
      timeSeries({
        width: 6,
        title: 'Errors by name',
        description:
          'Errors a second that Redis answered: OOM is memory, NOAUTH a password, READONLY a replica, MISCONF the disk.',
        unit: 'cps',
        queries: [
          {
            expr: `sum by (err) (rate(redis_errors_total{${SERVER}}[${R}]))`,
            legend: '{{err}}',
            emptyUntil: 'Redis has answered an error since its start',
          },
        ],
        noData: 'no error since the start',
      }),
    ),
  ],
});
