// @ts-check
import { JUST_STARTED, LIMITS, line, steps } from '../limits.mjs';
import { band, board } from '../board.mjs';
import { stat, table, timeSeries, timeline } from '../panels.mjs';
import * as q from '../queries.mjs';
import { words } from '../style.mjs';
import { errors, responses, serversInService, serviceAlerts, verdict } from './shared.mjs';

const { BACKEND, FRONTEND, R } = q;
/** @param {string} name @param {string} window */
const increase = (name, window) => `sum(increase(haproxy_${name}_total{${BACKEND}}[${window}]))`;
/** @param {string} name */
const byServer = (name) => `sum by (server) (rate(haproxy_server_${name}_total{${BACKEND}}[${R}]))`;
const FAILED = 'code="5xx"';

export default board({
  uid: 'medassist-haproxy',
  title: 'HAProxy and failover',
  description: 'Is every server in service, and did users notice those that were not?',
  services: ['haproxy', 'api'],
  from: 'now-1h',
  bands: [
    band(
      'Health',
      4,
      verdict({
        width: 3,
        title: 'HAProxy',
        service: 'haproxy',
        description: 'Verdict of the health checks of HAProxy. Down: no request reaches the API, runbook AllApiDown.',
      }),
      serversInService(3),
      errors(3, 'medassist-red'),
      stat({
        width: 3,
        title: 'Saved by retry, 15 min',
        description:
          'Requests that HAProxy sent again because a server failed. Each would have been an error for a user.',
        unit: 'short',
        decimals: 0,
        query: {
          expr: `${increase('backend_retry_warnings', '15m')} + ${increase('backend_redispatch_warnings', '15m')}`,
        },
        steps: [[1, 'warn']],
      }),
      stat({
        width: 3,
        title: 'Queue',
        description: 'Requests that wait for a free place at a server. Users wait before any server has their request: runbook HaproxyQueueing.',
        unit: 'short',
        decimals: 0,
        query: { expr: `max(haproxy_backend_current_queue{${BACKEND}})` },
        steps: [
          [1, 'warn'],
          [10, 'bad'],
        ],
      }),
      stat({
        width: 3,
        title: 'Connections of limit',
        description: 'Connections of the whole process as a share of its limit. At 100 % nobody gets in. Red: runbook HaproxyConnectionsHigh.',
        unit: 'percentunit',
        decimals: 0,
        query: { expr: 'max(haproxy_process_current_connections / (haproxy_process_max_connections > 0))' },
        steps: steps(LIMITS.haproxyConnections),
      }),
      stat({
        width: 3,
        title: 'Last change of a server',
        description: 'Time since a server last went down or came back. Orange: less than 15 min ago.',
        unit: 'dtdurations',
        decimals: 0,
        base: 'warn',
        query: { expr: `min(haproxy_server_check_last_change_seconds{${BACKEND}})` },
        steps: [[JUST_STARTED, 'none']],
      }),
      serviceAlerts(3, 'haproxy|api'),
    ),
    band(
      'Which server, since when?',
      7,
      timeline({
        width: 12,
        title: 'State of servers',
        description: 'State of each server as HAProxy has it: a drill, a deployment and a crash differ.',
        queries: [
          {
            legend: '{{server}}',
            expr: ['DOWN', 'MAINT', 'DRAIN', 'NOLB']
              .map((state, i) => `${i + 1} * max by (server) (haproxy_server_status{${BACKEND}, state="${state}"})`)
              .join(' + '),
          },
        ],
        mappings: [
          words({
            0: ['UP', 'ok'],
            1: ['DOWN', 'bad'],
            2: ['MAINT', 'info'],
            3: ['DRAIN', 'info'],
            4: ['NOLB', 'warn'],
          }),
        ],
      }),
      table({
        width: 12,
        title: 'Servers',
        description:
          'Each server now. Check L4CON is refused, L7TOUT hangs, L7STS is an unexpected status; "Code" is the status of its last check.',
        by: { server: 'Server', state: 'State', check: 'Check', address: 'Address' },
        sort: 'Server',
        ascending: true,
        labels: {
          State: [
            words(
              /** @type {any} */ ({
                UP: ['UP', 'ok'],
                DOWN: ['DOWN', 'bad'],
                MAINT: ['MAINT', 'info'],
                DRAIN: ['DRAIN', 'info'],
                NOLB: ['NOLB', 'warn'],
              }),
            ),
          ],
        },
        columns: [
          {
            name: 'Has state',
            hidden: true,
            unit: 'none',
            expr: `max by (server, state) (haproxy_server_status{${BACKEND}} == 1)`,
          },
          {
            name: 'Has check',
            hidden: true,
            unit: 'none',
            // Under another label than the state's: both would be one column.
            expr: `max by (server, check) (label_replace(haproxy_server_check_status{${BACKEND}} == 1, "check", "$1", "state", "(.*)"))`,
          },
          {
            name: 'Has address',
            hidden: true,
            unit: 'none',
            expr: `max by (server, address) (haproxy_server_info{${BACKEND}})`,
          },
          { name: 'Code', unit: 'none', expr: `max by (server) (haproxy_server_check_code{${BACKEND}})` },
          {
            name: 'Since',
            unit: 'dtdurations',
            decimals: 1,
            expr: `max by (server) (haproxy_server_check_last_change_seconds{${BACKEND}})`,
          },
          { name: 'Weight', unit: 'none', expr: `max by (server) (haproxy_server_uweight{${BACKEND}})` },
        ],
      }),
    ),
    band(
      'User experience',
      8,
      responses(8),
      timeSeries({
        width: 8,
        title: '5xx by origin',
        description:
          '5xx a second by who answered it. A server’s 500 is a fault of the API; HAProxy’s own 503 means that no server took the request.',
        unit: 'reqps',
        queries: [
          {
            legend: '{{server}}',
            expr: `sum by (server) (rate(haproxy_server_http_responses_total{${BACKEND}, ${FAILED}}[${R}]))`,
          },
          {
            legend: 'HAProxy itself',
            expr:
              `clamp_min(sum(rate(haproxy_frontend_http_responses_total{${FRONTEND}, ${FAILED}}[${R}]))` +
              ` - sum(rate(haproxy_server_http_responses_total{${BACKEND}, ${FAILED}}[${R}])), 0)`,
          },
        ],
        bad: ['HAProxy itself'],
      }),
      timeSeries({
        width: 8,
        title: 'Requests by server',
        description: 'Requests a second that HAProxy sent to each server: how the load moved when one left.',
        unit: 'reqps',
        queries: [{ expr: byServer('http_requests'), legend: '{{server}}' }],
      }),
    ),
    band(
      'Time',
      7,
      timeSeries({
        width: 8,
        title: 'Response time by server',
        description: 'Mean of the last 1,024 responses of each server. It stays as it is while there is no traffic.',
        unit: 's',
        queries: [
          { expr: `max by (server) (haproxy_server_response_time_average_seconds{${BACKEND}})`, legend: '{{server}}' },
        ],
        lines: line(LIMITS.latency),
      }),
      timeSeries({
        width: 8,
        title: 'Queue and connect by server',
        description:
          'Mean wait for a free place and for the connection: time spent in HAProxy or on the network, not in the API.',
        unit: 's',
        queries: [
          {
            expr: `max by (server) (haproxy_server_queue_time_average_seconds{${BACKEND}})`,
            legend: 'queue {{server}}',
          },
          {
            expr: `max by (server) (haproxy_server_connect_time_average_seconds{${BACKEND}})`,
            legend: 'connect {{server}}',
          },
        ],
        lines: [[0.1, 'bad']],
      }),
      timeSeries({
        width: 8,
        title: 'Sessions and queue',
        description: 'Requests in progress at each server, and those that wait. Sessions rise at a server that hangs.',
        unit: 'short',
        decimals: 0,
        queries: [
          { expr: `sum by (server) (haproxy_server_current_sessions{${BACKEND}})`, legend: '{{server}}' },
          { expr: `sum(haproxy_backend_current_queue{${BACKEND}})`, legend: 'queue' },
        ],
        bad: ['queue'],
      }),
    ),
    band(
      'Failover at work',
      7,
      timeSeries({
        width: 6,
        title: 'Retries and redispatches',
        description: 'Requests that needed a second attempt, at the same server or at another one.',
        unit: 'reqps',
        queries: [
          { expr: byServer('retry_warnings'), legend: 'retry {{server}}' },
          { expr: `sum(rate(haproxy_backend_redispatch_warnings_total{${BACKEND}}[${R}]))`, legend: 'redispatch' },
        ],
      }),
      timeSeries({
        width: 6,
        title: 'Broken connections',
        description: 'Connections that a server refused, and responses that broke off.',
        unit: 'reqps',
        queries: [
          { expr: byServer('connection_errors'), legend: 'connect {{server}}' },
          { expr: byServer('response_errors'), legend: 'response {{server}}' },
        ],
      }),
      timeSeries({
        width: 6,
        title: 'Given up',
        description: 'Requests that the client or the server ended early. Clients leave when the API is slow.',
        unit: 'reqps',
        queries: [
          { expr: `sum(rate(haproxy_backend_client_aborts_total{${BACKEND}}[${R}]))`, legend: 'by clients' },
          { expr: `sum(rate(haproxy_backend_server_aborts_total{${BACKEND}}[${R}]))`, legend: 'by servers' },
        ],
      }),
      timeSeries({
        width: 6,
        title: 'Failed checks',
        description:
          'Failed health checks, and servers taken out by them. Failures without a change are a server that is about to flap.',
        unit: 'short',
        decimals: 0,
        queries: [
          {
            expr: `sum by (server) (increase(haproxy_server_check_failures_total{${BACKEND}}[${R}]))`,
            legend: 'failed {{server}}',
          },
          {
            expr: `sum by (server) (increase(haproxy_server_check_up_down_total{${BACKEND}}[${R}]))`,
            legend: 'taken out {{server}}',
          },
        ],
      }),
    ),
    band(
      'Limits',
      7,
      timeSeries({
        width: 6,
        title: 'Connections',
        description: 'Connections of the whole process and their limit.',
        unit: 'short',
        decimals: 0,
        queries: [
          { expr: 'haproxy_process_current_connections', legend: 'connections' },
          { expr: 'haproxy_process_max_connections', legend: 'limit' },
        ],
        limits: ['limit'],
      }),
      timeSeries({
        width: 6,
        title: 'Idle',
        description: 'Share of time in which HAProxy itself is idle. Below the line it lacks processor time.',
        unit: 'percentunit',
        max: 1,
        queries: [{ expr: 'haproxy_process_idle_time_percent / 100', legend: 'idle' }],
        lines: [[0.2, 'bad']],
      }),
      timeSeries({
        width: 6,
        title: 'Denied and malformed',
        description: 'Requests that a rule denied, and those that were not HTTP: a scanner or a broken client.',
        unit: 'reqps',
        queries: [
          { expr: `sum(rate(haproxy_frontend_requests_denied_total[${R}]))`, legend: 'denied' },
          { expr: `sum(rate(haproxy_frontend_request_errors_total[${R}]))`, legend: 'malformed' },
        ],
      }),
      timeSeries({
        width: 6,
        title: 'Lost inside HAProxy',
        description: 'Log lines, memory and name lookups that failed. Above zero it explains silence elsewhere.',
        unit: 'cps',
        queries: [
          { expr: `rate(haproxy_process_dropped_logs_total[${R}])`, legend: 'log lines' },
          { expr: `rate(haproxy_process_pool_failures_total[${R}])`, legend: 'memory' },
          { expr: `rate(haproxy_process_failed_resolutions[${R}])`, legend: 'names' },
        ],
      }),
    ),
  ],
});
