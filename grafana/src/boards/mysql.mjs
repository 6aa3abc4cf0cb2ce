// @ts-check
import { JUST_STARTED, LIMITS, steps } from '../limits.mjs';
import { band, board } from '../board.mjs';
import { stat, timeSeries } from '../panels.mjs';
import * as q from '../queries.mjs';
import { above } from '../style.mjs';
import { budgetLeft, checks, serviceAlerts, verdict } from './shared.mjs';

const { R } = q;
const SERVER = 'instance=~"$instance"';
/** @param {string} name */
const status = (name) => `mysql_global_status_${name}{${SERVER}}`;
/** @param {string} name */
const setting = (name) => `mysql_global_variables_${name}{${SERVER}}`;
/** @param {string} name */
const rate = (name) => `rate(${status(name)}[${R}])`;
/** @param {string} label @param {string} name @param {string} values */
const by = (label, name, values) =>
  `sum by (${label}) (rate(mysql_global_status_${name}{${SERVER}, ${label}=~"${values}"}[${R}]))`;
const REPLICA = 'the server is a replica';

export default board({
  uid: 'medassist-mysql',
  title: 'MySQL',
  description: 'Does it answer, is there room, and who waits for whom?',
  services: ['mysql'],
  from: 'now-1h',
  variables: [{ name: 'instance', label: 'Server', query: 'label_values(mysql_up, instance)' }],
  bands: [
    band(
      'Health',
      4,
      verdict({
        width: 3,
        title: 'MySQL',
        service: 'mysql',
        description:
          'Verdict of the health checks of MySQL. Down: runbook MysqlDown; degraded: the panel below names the check.',
      }),
      stat({
        width: 3,
        title: 'Connections of limit',
        description: 'Open connections as a share of max_connections. At 100 % every new request fails. Red: runbook MysqlConnectionsHigh.',
        unit: 'percentunit',
        decimals: 0,
        query: { expr: `max(${status('threads_connected')} / (${setting('max_connections')} > 0))` },
        steps: steps(LIMITS.connections),
      }),
      stat({
        width: 3,
        title: 'Running statements',
        description:
          'Statements at work or stuck: the truest figure of load. More than there are processors: they wait for each other.',
        unit: 'short',
        decimals: 0,
        query: { expr: `max(${status('threads_running')})` },
        steps: [
          [16, 'warn'],
          [50, 'bad'],
        ],
      }),
      stat({
        width: 3,
        title: 'Waiting for locks',
        description: 'Transactions that wait for a row or a table. A migration or a forgotten transaction holds it: runbook MysqlMetadataLockWait.',
        unit: 'short',
        decimals: 0,
        query: { expr: `max(${status('innodb_row_lock_current_waits')}) + max(mysql_metadata_lock_waits{${SERVER}})` },
        steps: [
          [1, 'warn'],
          [5, 'bad'],
        ],
      }),
      stat({
        width: 3,
        title: 'Oldest transaction',
        description:
          'Age of the oldest open transaction. It holds its locks, and every old version of a row since then. Red: runbook MysqlTransactionOpenLong.',
        unit: 'dtdurations',
        decimals: 0,
        query: { expr: `max(time() - mysql_transactions_oldest_start_timestamp_seconds{${SERVER}}) or vector(0)` },
        steps: [
          [300, 'warn'],
          [3600, 'bad'],
        ],
      }),
      stat({
        width: 3,
        title: 'Up for',
        description:
          'Time since the server started. Orange: less than 15 min. If nobody restarted it: runbook MysqlRestarted.',
        unit: 'dtdurations',
        decimals: 0,
        base: 'warn',
        query: { expr: `min(${status('uptime')})` },
        steps: [[JUST_STARTED, 'none']],
      }),
      budgetLeft(3, 'mysql'),
      serviceAlerts(3, 'mysql'),
    ),
    band(
      'Since when?',
      8,
      checks(14, 'mysql', SERVER),
      timeSeries({
        width: 10,
        title: 'Connections of the API in use',
        description: 'The clients’ side: connections that requests of each replica hold, and the limit of one replica.',
        unit: 'short',
        decimals: 0,
        queries: [
          { expr: 'sum by (instance) (app_mysql_pool_connections_in_use)', legend: '{{instance}}' },
          { expr: 'max(app_mysql_pool_connections_max)', legend: 'limit' },
        ],
        limits: ['limit'],
        board: 'medassist-red',
      }),
    ),
    band(
      'Work',
      7,
      timeSeries({
        width: 8,
        title: 'Statements',
        description: 'Statements a second by kind. Rollbacks that rise come with errors.',
        unit: 'ops',
        queries: [
          {
            expr: by('command', 'commands_total', 'select|insert|update|delete|replace|commit|rollback'),
            legend: '{{command}}',
          },
        ],
        bad: ['rollback'],
      }),
      timeSeries({
        width: 8,
        title: 'Slow and unplanned',
        description: 'Statements that took long or had no index. A step up is a new query without its index.',
        unit: 'ops',
        queries: [
          { expr: rate('slow_queries'), legend: 'slow' },
          { expr: rate('select_full_join'), legend: 'join without index' },
          { expr: rate('sort_merge_passes'), legend: 'sort on disk' },
          { expr: rate('created_tmp_disk_tables'), legend: 'temporary table on disk' },
        ],
      }),
      timeSeries({
        width: 8,
        title: 'Rows',
        description:
          'Rows read and written a second by kind of access. read_rnd_next that rises alone is full scans of tables.',
        unit: 'ops',
        queries: [
          {
            expr: by('handler', 'handlers_total', 'read_rnd_next|read_next|read_key|write|update|delete'),
            legend: '{{handler}}',
          },
        ],
      }),
    ),
    band(
      'Connections',
      7,
      timeSeries({
        width: 8,
        title: 'Connections',
        description: 'Connections against their limit. A slow rise is a leak, a step is a storm.',
        unit: 'short',
        decimals: 0,
        queries: [
          { expr: status('threads_connected'), legend: 'connected' },
          { expr: status('threads_running'), legend: 'running' },
          { expr: status('max_used_connections'), legend: 'highest since start' },
          { expr: setting('max_connections'), legend: 'limit' },
        ],
        limits: ['limit'],
      }),
      timeSeries({
        width: 8,
        title: 'Refused connections',
        description: 'Logins and connections that failed: a wrong password, a client that vanished, or the limit.',
        unit: 'cps',
        queries: [
          { expr: rate('aborted_connects'), legend: 'logins' },
          { expr: rate('aborted_clients'), legend: 'clients that vanished' },
          {
            expr: `sum by (error) (rate(mysql_global_status_connection_errors_total{${SERVER}}[${R}]))`,
            legend: 'error {{error}}',
          },
        ],
      }),
      timeSeries({
        width: 8,
        title: 'New threads and tables',
        description:
          'Threads made and tables opened a second. All the time: thread_cache_size or table_open_cache is too small.',
        unit: 'cps',
        queries: [
          { expr: rate('threads_created'), legend: 'threads' },
          { expr: rate('opened_tables'), legend: 'tables' },
        ],
      }),
    ),
    band(
      'InnoDB',
      7,
      timeSeries({
        width: 6,
        title: 'Reads that miss memory',
        description:
          'Share of page reads that go to the disk. Above the line the buffer pool no longer holds what is read.',
        unit: 'percentunit',
        queries: [
          {
            expr: `${rate('innodb_buffer_pool_reads')} / (${rate('innodb_buffer_pool_read_requests')} > 0)`,
            legend: '{{instance}}',
          },
        ],
        lines: [[0.01, 'bad']],
      }),
      timeSeries({
        width: 6,
        title: 'Buffer pool',
        description: 'What the buffer pool holds. Dirty near its size: writing to the disk does not keep up.',
        unit: 'bytes',
        queries: [
          { expr: status('innodb_buffer_pool_bytes_data'), legend: 'data' },
          { expr: status('innodb_buffer_pool_bytes_dirty'), legend: 'dirty' },
          { expr: setting('innodb_buffer_pool_size'), legend: 'size' },
        ],
        limits: ['size'],
      }),
      timeSeries({
        width: 6,
        title: 'Mean wait for a row',
        description: 'Mean wait of transactions that block each other.',
        unit: 's',
        queries: [
          {
            expr: `${rate('innodb_row_lock_time')} / 1000 / (${rate('innodb_row_lock_waits')} > 0)`,
            legend: '{{instance}}',
            emptyUntil: 'a transaction waits for a row of another one',
          },
        ],
        lines: [[1, 'bad']],
        noData: 'no transaction waited',
      }),
      timeSeries({
        width: 6,
        title: 'History',
        description:
          'Old versions of rows that are not purged yet, which slow every read. An old transaction holds them. The line is the limit of MysqlHistoryListLong.',
        unit: 'short',
        queries: [{ expr: `mysql_innodb_history_list_length{${SERVER}}`, legend: '{{instance}}' }],
        lines: [[1e6, 'bad']],
      }),
    ),
    band(
      'Disk',
      6,
      timeSeries({
        width: 8,
        title: 'Read and written',
        description: 'Bytes a second of InnoDB’s files. The dashboard USE has the disk itself.',
        unit: 'Bps',
        queries: [
          { expr: rate('innodb_data_read'), legend: 'read' },
          { expr: rate('innodb_data_written'), legend: 'written' },
        ],
        board: 'medassist-use',
      }),
      timeSeries({
        width: 8,
        title: 'Redo log',
        description: 'Bytes a second written to the redo log: an import or a migration.',
        unit: 'Bps',
        queries: [{ expr: rate('innodb_os_log_written'), legend: 'written' }],
      }),
      timeSeries({
        width: 8,
        title: 'Waits for the log',
        description: 'Waits for a full log buffer, and flushes to the disk. Commits are as slow as these flushes.',
        unit: 'ops',
        queries: [
          { expr: rate('innodb_log_waits'), legend: 'buffer full' },
          { expr: rate('innodb_data_fsyncs'), legend: 'flushes' },
        ],
      }),
    ),
    band(
      'Replication and binary log',
      6,
      timeSeries({
        width: 8,
        title: 'Replication lag',
        description: 'How far a replica is behind its source. Infinite while one of its threads is stopped.',
        unit: 's',
        queries: [{ expr: `mysql_replication_lag_seconds{${SERVER}}`, legend: '{{instance}}', emptyUntil: REPLICA }],
        mappings: [above(1e9, 'stopped', 'bad')],
        lines: [
          [30, 'warn'],
          [300, 'bad'],
        ],
        noData: 'not a replica',
      }),
      timeSeries({
        width: 8,
        title: 'Binary log',
        description: 'Size of all binary logs: what a recovery to a point in time can replay.',
        unit: 'bytes',
        queries: [
          {
            expr: `mysql_binlog_size_bytes{${SERVER}}`,
            legend: '{{instance}}',
            emptyUntil: 'the server writes a binary log (`log_bin`)',
          },
        ],
        noData: 'no binary log',
      }),
      timeSeries({
        width: 8,
        title: 'Canary write',
        description: 'Time of one write from end to end. Opt-in: `--collector.canary` of the exporter.',
        unit: 's',
        queries: [
          {
            expr: `mysql_canary_write_duration_seconds{${SERVER}}`,
            legend: '{{instance}}',
            emptyUntil: 'mysql-exporter runs with `--collector.canary`',
          },
        ],
        lines: [
          [0.1, 'warn'],
          [1, 'bad'],
        ],
        noData: 'the canary is off',
      }),
    ),
  ],
});
