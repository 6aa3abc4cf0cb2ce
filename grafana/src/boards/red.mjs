// @ts-check
import { LIMITS, line, steps } from '../limits.mjs';
import { band, board } from '../board.mjs';
import { heatmap, logs, sparkline, table, timeSeries, timeline, traces } from '../panels.mjs';
import * as q from '../queries.mjs';
import { words } from '../style.mjs';
import {
  alerts,
  budgetLeft,
  durations,
  errors,
  latency,
  responses,
  serversInService,
  serviceAlerts,
} from './shared.mjs';

const { R, WORK } = q;
const SELECTED = 'job="api", instance=~"$instance"';
const COUNT = 'http_server_request_duration_seconds_count';

/** @param {string} window @param {string} by @param {string} [more] */
const requests = (window, by, more = '') =>
  `sum by (${by}) (rate(${COUNT}{${[SELECTED, WORK, more].filter(Boolean).join(', ')}}[${window}]))`;
const FAILED = 'http_response_status_code=~"5.."';
/** Zero where there were requests and none failed. @param {string} window @param {string} by */
const failedShare = (window, by) =>
  `(${requests(window, by, FAILED)} or 0 * ${requests(window, by)}) / (${requests(window, by)} > 0)`;
/** @param {number} quantile @param {string} by */
const routeDuration = (quantile, by) => q.duration(quantile, { window: '$__range', selector: SELECTED, by });

export default board({
  uid: 'medassist-red',
  title: 'RED: the API',
  description:
    'Rate, errors and duration of the API: what users meet, and which route, replica or dependency makes it.',
  services: ['api'],
  from: 'now-1h',
  variables: [{ name: 'instance', label: 'Replica', query: 'label_values(up{job="api"}, instance)' }],
  bands: [
    band(
      'Health',
      4,
      serversInService(4, 'medassist-haproxy'),
      errors(4),
      latency(4),
      budgetLeft(4, 'api'),
      sparkline({
        width: 4,
        title: 'Requests',
        description: 'Answers a second at HAProxy. A sudden drop is an outage in front of HAProxy, or a quiet night.',
        unit: 'reqps',
        decimals: 1,
        query: { expr: `sum(${q.responsesByClass})` },
      }),
      serviceAlerts(4, 'api|haproxy'),
    ),
    band(
      'Since when?',
      7,
      alerts(14),
      timeline({
        width: 10,
        title: 'Replicas',
        description:
          'State of each replica. "Not ready" is a start or a drain; "silent" is a replica that answers no scrape: runbook ApiInstanceDown.',
        queries: [
          {
            legend: '{{instance}}',
            expr:
              `2 * (1 - up{${SELECTED}}) + on (instance) group_left () (1 - app_ready{${SELECTED}})` +
              ` or 2 * (1 - up{${SELECTED}})`,
          },
        ],
        mappings: [words({ 0: ['ready', 'ok'], 1: ['not ready', 'warn'], 2: ['silent', 'bad'] })],
      }),
    ),
    band(
      'User experience (at HAProxy)',
      8,
      responses(12),
      timeSeries({
        width: 12,
        title: 'Share of 5xx',
        description: 'Share of answers at HAProxy that were 5xx. The line is the limit of ApiErrorRateHigh.',
        unit: 'percentunit',
        queries: [{ expr: q.errorShare(R), legend: '5xx' }],
        bad: ['5xx'],
        lines: line(LIMITS.errors),
        noData: 'no traffic',
      }),
    ),
    band(
      'Which replica?',
      8,
      timeSeries({
        width: 6,
        title: 'Requests by replica',
        description:
          'Requests a second of each replica, without health checks. An uneven share: a slow replica, or one that HAProxy took out.',
        unit: 'reqps',
        queries: [{ expr: requests(R, 'instance'), legend: '{{instance}}' }],
      }),
      timeSeries({
        width: 6,
        title: 'Share of 5xx by replica',
        description:
          'Share of the requests that the replica answered with 5xx. One replica: its own fault; all: a dependency.',
        unit: 'percentunit',
        queries: [{ expr: failedShare(R, 'instance'), legend: '{{instance}}' }],
        lines: line(LIMITS.errors),
        noData: 'no traffic',
      }),
      timeSeries({
        width: 6,
        title: 'p95 by replica',
        description:
          '95 % of the requests took at most this long. One replica: its own fault; all: a dependency. The line is the limit of ApiLatencyHigh.',
        unit: 's',
        queries: [{ expr: q.duration(0.95, { selector: SELECTED, by: 'instance' }), legend: '{{instance}}' }],
        lines: line(LIMITS.latency),
        noData: 'no traffic',
      }),
      durations(6, SELECTED),
    ),
    band(
      'Which route?',
      8,
      table({
        width: 14,
        title: 'Routes',
        description: 'Each route over the time range above, the one with most failures first.',
        by: { http_request_method: 'Method', http_route: 'Route' },
        sort: '5xx',
        noData: 'no traffic',
        columns: [
          { name: 'Requests', unit: 'reqps', expr: requests('$__range', 'http_request_method, http_route') },
          {
            name: '5xx',
            unit: 'percentunit',
            decimals: 2,
            expr: failedShare('$__range', 'http_request_method, http_route'),
            steps: steps(LIMITS.errors),
          },
          {
            name: 'p50',
            unit: 's',
            expr: routeDuration(0.5, 'http_request_method, http_route'),
            steps: steps(LIMITS.latency),
          },
          {
            name: 'p95',
            unit: 's',
            expr: routeDuration(0.95, 'http_request_method, http_route'),
            steps: steps(LIMITS.latency),
          },
          {
            name: 'p99',
            unit: 's',
            expr: routeDuration(0.99, 'http_request_method, http_route'),
            steps: steps(LIMITS.latency),
          },
        ],
      }),
      heatmap({
        width: 10,
        title: 'Durations',
        description: 'How many requests took how long. Two bands are two kinds of request, which a quantile hides.',
        unit: 's',
        query: {
          expr: `sum by (le) (increase(http_server_request_duration_seconds_bucket{${SELECTED}, ${WORK}}[${R}]))`,
          exemplar: true,
        },
        noData: 'no traffic',
      }),
    ),
    band(
      'Why? (dependencies)',
      7,
      timeline({
        width: 8,
        title: 'Dependencies',
        description: 'MySQL and Redis by the probes of the replicas: the worst of all.',
        queries: [{ expr: `2 * (1 - min by (dependency) (app_dependency_up{${SELECTED}}))`, legend: '{{dependency}}' }],
        mappings: [words({ 0: ['up', 'ok'], 2: ['down', 'bad'] })],
      }),
      timeSeries({
        width: 8,
        title: 'Connections to MySQL in use',
        description:
          'Connections of each replica that a request holds. At the limit requests queue for MySQL, not in it.',
        unit: 'short',
        decimals: 0,
        queries: [
          { expr: `max by (instance) (app_mysql_pool_connections_in_use{${SELECTED}})`, legend: '{{instance}}' },
          { expr: `max(app_mysql_pool_connections_max{${SELECTED}})`, legend: 'limit' },
        ],
        limits: ['limit'],
      }),
      timeSeries({
        width: 8,
        title: 'Requests in progress',
        description:
          'Requests that each replica has not answered yet. If they rise while the rate falls, something hangs.',
        unit: 'short',
        decimals: 0,
        queries: [{ expr: `sum by (instance) (http_server_active_requests{${SELECTED}})`, legend: '{{instance}}' }],
      }),
    ),
    band(
      'Evidence',
      9,
      traces({
        width: 12,
        title: 'Slow requests',
        description: 'The newest traces of more than 800 ms. Needs Jaeger: profile `tracing` of compose.',
        service: 'medassist-api',
        minDuration: '800ms',
      }),
      logs({
        width: 12,
        title: 'Failed requests in the log',
        description:
          'Log lines of requests that ended with 5xx, newest first. Needs Elasticsearch: profile `logs` of compose.',
        query: 'service:api AND status:>=500',
      }),
    ),
  ],
});
