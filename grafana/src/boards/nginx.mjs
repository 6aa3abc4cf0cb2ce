// @ts-check
import { band, board } from '../board.mjs';
import { sparkline, stat, timeSeries } from '../panels.mjs';
import * as q from '../queries.mjs';
import { checks, serviceAlerts, verdict } from './shared.mjs';

const { R } = q;
const SERVER = 'instance=~"$instance"';
/** @param {string} name @param {string} [window] */
const rate = (name, window = R) => `rate(nginx_${name}{${SERVER}}[${window}])`;
/** Connections a second that nginx accepted and closed at once. @param {string} window */
const dropped = (window) => `(${rate('connections_accepted', window)} - ${rate('connections_handled', window)})`;

export default board({
  uid: 'medassist-nginx',
  title: 'nginx',
  description: 'Does the front end answer, and does it drop connections?',
  services: ['nginx'],
  from: 'now-1h',
  variables: [{ name: 'instance', label: 'Server', query: 'label_values(nginx_up, instance)' }],
  bands: [
    band(
      'Health',
      4,
      verdict({
        width: 6,
        title: 'nginx',
        service: 'nginx',
        description: 'Verdict of the health checks of nginx. The panel below names the check.',
      }),
      stat({
        width: 4,
        title: 'Dropped, 15 min',
        description: 'Connections that nginx accepted and closed at once. Raise worker_connections: runbook NginxConnectionsDropped.',
        unit: 'short',
        decimals: 0,
        query: { expr: `sum(clamp_min(900 * ${dropped('15m')}, 0))` },
        steps: [[1, 'bad']],
      }),
      sparkline({
        width: 5,
        title: 'Connections',
        description: 'Client connections, including idle ones and the one of the exporter.',
        unit: 'short',
        decimals: 0,
        query: { expr: `sum(nginx_connections_active{${SERVER}})` },
      }),
      sparkline({
        width: 5,
        title: 'Requests',
        description: 'Requests a second. Zero while HAProxy has some: patients do not reach the page.',
        unit: 'reqps',
        decimals: 1,
        query: { expr: `sum(${rate('http_requests_total')})` },
      }),
      serviceAlerts(4, 'nginx'),
    ),
    band(
      'Since when?',
      8,
      checks(12, 'nginx', SERVER),
      timeSeries({
        width: 12,
        title: 'Connections by state',
        description: 'Writing grows: what is behind nginx is slow, or clients read slowly. Waiting is idle.',
        unit: 'short',
        queries: ['reading', 'writing', 'waiting'].map((state) => ({
          expr: `sum(nginx_connections_${state}{${SERVER}})`,
          legend: state,
        })),
      }),
    ),
    band(
      'Work',
      8,
      timeSeries({
        width: 12,
        title: 'Accepted and dropped',
        description: 'Connections a second. A dropped one was never served: worker_connections was reached.',
        unit: 'cps',
        queries: [
          { expr: `sum(${rate('connections_accepted')})`, legend: 'accepted' },
          { expr: `sum(clamp_min(${dropped(R)}, 0))`, legend: 'dropped' },
        ],
        bad: ['dropped'],
      }),
      timeSeries({
        width: 12,
        title: 'Requests per connection',
        description: 'Near 1: clients open a connection for each request, so keep-alive is lost.',
        unit: 'short',
        queries: [
          {
            expr: `sum(${rate('http_requests_total')}) / (sum(${rate('connections_handled')}) > 0)`,
            legend: 'requests',
            emptyUntil: 'a client connects: open the patients\' page',
          },
        ],
        noData: 'no new connection',
      }),
    ),
  ],
});
