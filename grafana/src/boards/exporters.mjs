// @ts-check
import { LIMITS, steps } from '../limits.mjs';
import { band, board } from '../board.mjs';
import { sparkline, stat, table, timeSeries, timeline } from '../panels.mjs';
import * as q from '../queries.mjs';
import { words } from '../style.mjs';
import { serviceAlerts } from './shared.mjs';

const { R } = q;
const TARGETS = 'job=~"$job"';
const PROCESS = `${q.EXPORTERS}, ${TARGETS}`;
const BY = 'max by (job, instance)';

export default board({
  uid: 'medassist-exporters',
  title: "Exporters' own cost",
  description: 'Do all targets answer, and what do the exporters cost themselves and what they observe?',
  services: [],
  from: 'now-6h',
  variables: [{ name: 'job', label: 'Job', query: 'label_values(up, job)' }],
  bands: [
    band(
      'Health',
      4,
      stat({
        width: 4,
        title: 'Silent targets',
        description: 'Targets whose last scrape failed. What they observe is unknown: runbook ExporterDown.',
        unit: 'none',
        query: { expr: `count(up{${TARGETS}} == 0) or vector(0)` },
        steps: [[1, 'bad']],
      }),
      stat({
        width: 4,
        title: 'Failing collectors',
        description: 'Collectors that failed in the last scrape: a hole in the data of a target that answers. /health of the exporter has the reason: runbook ExporterCollectorFailing.',
        unit: 'none',
        query: {
          expr: `count(${q.ofExporters((name) => `${name}_collector_success{${TARGETS}} == 0`)}) or vector(0)`,
        },
        steps: [[1, 'warn']],
      }),
      stat({
        width: 4,
        title: 'Slowest scrape',
        description: 'The longest of the last scrapes. Red is the limit of TargetScrapeSlow for api, haproxy and nginx.',
        unit: 's',
        decimals: 2,
        query: { expr: `max(scrape_duration_seconds{${TARGETS}})` },
        steps: steps(LIMITS.scrape),
      }),
      stat({
        width: 4,
        title: 'Dropped samples, 1 h',
        description: 'Samples that an exporter left out: duplicate, invalid, or over --scrape.sample-limit. Its log names the family: runbook ExporterSamplesDropped.',
        unit: 'short',
        decimals: 0,
        query: {
          expr: `sum(${q.ofExporters((name) => `increase(${name}_dropped_samples_total{${TARGETS}}[1h])`)}) or vector(0)`,
        },
        steps: [[1, 'warn']],
      }),
      sparkline({
        width: 4,
        title: 'Samples per scrape, all',
        description: 'Samples of one scrape of all targets. It grows with what is observed; a jump is a label with too many values.',
        unit: 'short',
        decimals: 0,
        query: { expr: `sum(scrape_samples_post_metric_relabeling{${TARGETS}})` },
      }),
      serviceAlerts(4, 'prometheus|pushgateway'),
    ),
    band(
      'Which one, since when?',
      12,
      timeline({
        width: 10,
        title: 'Targets',
        description: 'Whether each target answered its scrapes. A gap in another dashboard begins here.',
        queries: [{ expr: `1 - ${BY} (up{${TARGETS}})`, legend: '{{job}} {{instance}}' }],
        mappings: [words({ 0: ['answers', 'ok'], 1: ['silent', 'bad'] })],
      }),
      table({
        width: 14,
        title: 'Cost',
        description: 'One line a target, the slowest first. "New series" are those that began in the last hour: labels that change.',
        by: { job: 'Job', instance: 'Instance' },
        sort: 'Scrape',
        columns: [
          { name: 'Scrape', unit: 's', decimals: 3, expr: `${BY} (scrape_duration_seconds{${TARGETS}})`, steps: steps(LIMITS.scrape) },
          { name: 'Samples', unit: 'short', decimals: 0, expr: `${BY} (scrape_samples_post_metric_relabeling{${TARGETS}})` },
          { name: 'New series, 1 h', unit: 'short', decimals: 0, expr: `${BY} (sum_over_time(scrape_series_added{${TARGETS}}[1h]))` },
          { name: 'Memory', unit: 'bytes', decimals: 1, expr: `${BY} (process_resident_memory_bytes{${TARGETS}})` },
          { name: 'CPU', unit: 'percentunit', decimals: 2, expr: `${BY} (rate(process_cpu_seconds_total{${TARGETS}}[5m]))` },
          {
            name: 'Files of limit',
            unit: 'percentunit',
            decimals: 1,
            expr: `${BY} (process_open_fds{${TARGETS}} / (process_max_fds{${TARGETS}} > 0))`,
            steps: steps(LIMITS.space),
          },
        ],
      }),
    ),
    band(
      'Scrapes',
      9,
      timeSeries({
        width: 8,
        title: 'Duration of scrapes',
        description: 'It grows with what is observed. Near the timeout, the target will be silent.',
        unit: 's',
        queries: [{ expr: `${BY} (scrape_duration_seconds{${TARGETS}})`, legend: '{{instance}}' }],
      }),
      timeSeries({
        width: 8,
        title: 'Samples per scrape',
        description: 'Samples of each target: a new table, a new route, or a label with too many values.',
        unit: 'short',
        decimals: 0,
        queries: [{ expr: `${BY} (scrape_samples_post_metric_relabeling{${TARGETS}})`, legend: '{{instance}}' }],
      }),
      timeSeries({
        width: 8,
        title: 'New series',
        description: 'Series that began in the last 10 min. All the time: a label changes with every scrape.',
        unit: 'short',
        decimals: 0,
        queries: [{ expr: `${BY} (sum_over_time(scrape_series_added{${TARGETS}}[10m]))`, legend: '{{instance}}' }],
      }),
    ),
    band(
      'Processes of the exporters',
      8,
      timeSeries({
        width: 8,
        title: 'Memory of exporters',
        description: 'Resident memory of each exporter. A steady climb is a leak.',
        unit: 'bytes',
        queries: [{ expr: `${BY} (process_resident_memory_bytes{${PROCESS}})`, legend: '{{job}}' }],
      }),
      timeSeries({
        width: 8,
        title: 'CPU of exporters',
        description: 'Processor time of each exporter; 100 % is one processor.',
        unit: 'percentunit',
        queries: [{ expr: `${BY} (rate(process_cpu_seconds_total{${PROCESS}}[${R}]))`, legend: '{{job}}' }],
      }),
      timeSeries({
        width: 8,
        title: 'Log lines lost',
        description: 'Log lines a second that an exporter could not write, because standard error was stalled or closed.',
        unit: 'cps',
        queries: [
          {
            expr: `${BY} (${q.ofExporters((name) => `rate(${name}_log_lines_dropped_total{${TARGETS}}[${R}])`)})`,
            legend: '{{job}}',
          },
        ],
      }),
    ),
    band(
      'On what they observe',
      9,
      timeSeries({
        width: 8,
        title: 'Slowest collectors',
        description: 'The collectors that take longest: what to turn off, with --no-collector.NAME.',
        unit: 's',
        queries: [
          {
            // The same eight over the whole range; topk alone picks others at each moment.
            expr:
              `max by (job, collector) (${q.ofExporters((name) => `${name}_collector_duration_seconds{${TARGETS}}`)}) and on (job, collector)` +
              ` topk(8, max by (job, collector) (${q.ofExporters((name) => `avg_over_time(${name}_collector_duration_seconds{${TARGETS}}[$__range] @ end())`)}))`,
            legend: '{{job}} {{collector}}',
          },
        ],
        lines: [[1, 'bad']],
      }),
      timeSeries({
        width: 8,
        title: 'Logins to MySQL',
        description: 'Logins a second of mysql-exporter. Its connections are kept: more than one a minute is a fault.',
        unit: 'cps',
        queries: [
          { expr: `sum by (result) (rate(mysql_exporter_logins_total{${TARGETS}}[${R}]))`, legend: '{{result}}' },
        ],
      }),
      timeSeries({
        width: 8,
        title: 'Redis: time of a scrape and a ping',
        description: 'How long redis-exporter waited for Redis: its latency as a client meets it.',
        unit: 's',
        queries: [
          { expr: `max(redis_exporter_last_scrape_duration_seconds{${TARGETS}})`, legend: 'scrape' },
          { expr: `max(redis_exporter_last_scrape_ping_time_seconds{${TARGETS}})`, legend: 'ping' },
        ],
        lines: [[0.1, 'bad']],
      }),
    ),
    band(
      'Prometheus',
      8,
      timeSeries({
        width: 6,
        title: 'Series in memory',
        description: 'Prometheus’ memory follows this number.',
        unit: 'short',
        queries: [{ expr: 'prometheus_tsdb_head_series', legend: 'series' }],
      }),
      timeSeries({
        width: 6,
        title: 'Samples stored',
        description: 'Samples a second that Prometheus appends.',
        unit: 'cps',
        queries: [{ expr: `sum(rate(prometheus_tsdb_head_samples_appended_total[${R}]))`, legend: 'samples' }],
      }),
      timeSeries({
        width: 6,
        title: 'Queries, p99',
        description: 'Parts of a query’s time. These dashboards and the rules cause them.',
        unit: 's',
        queries: [
          {
            expr: 'max by (slice) (prometheus_engine_query_duration_seconds{quantile="0.99"} >= 0)',
            legend: '{{slice}}',
          },
        ],
      }),
      timeSeries({
        width: 6,
        title: 'Storage of Prometheus',
        description: 'Bytes of the blocks on the disk. The limit is a flag of retention.',
        unit: 'bytes',
        queries: [{ expr: 'max(prometheus_tsdb_storage_blocks_bytes)', legend: 'blocks' }],
      }),
    ),
  ],
});
