// @ts-check
// Panels that several dashboards have.
import { BUDGET, LIMITS, line, steps } from '../limits.mjs';
import { stat, table, timeSeries, timeline } from '../panels.mjs';
import * as q from '../queries.mjs';
import { ALERT, CHECK, VERDICT, above, words } from '../style.mjs';

/** compose mounts the runbooks into the folder of Grafana's own static files: they open without a network. */
const RUNBOOK = '/public/runbooks/${__value.raw}.md';

/** API servers in service, of the three that there are. */
const SERVERS = [
  words({ 0: ['none', 'bad'], 1: ['1 of 3', 'bad'], 2: ['2 of 3', 'warn'], 3: ['3 of 3', 'ok'] }),
  above(4, 'all', 'ok'),
];

const SEVERITY = words({ p1: ['P1', 'bad'], p2: ['P2', 'warn'], p3: ['P3', 'info'], p4: ['P4', 'none'] });

/** Why queries about budgets that burn return nothing. */
export const BURNING = 'a budget burns: stop MySQL for 2 min';

/** What fires, since when, with a link to what to do. @param {number} width */
export const firingNow = (width) =>
  table({
    width,
    title: 'Firing now',
    description: 'Alerts that fire. The name opens the runbook, the service its dashboards.',
    by: { severity: 'Severity', alertname: 'Alert', service: 'Service', instance: 'Instance' },
    sort: 'Severity',
    ascending: true,
    noData: 'nothing fires',
    labels: { Severity: [SEVERITY] },
    links: {
      Alert: { title: 'Open the runbook', url: RUNBOOK },
      Service: { title: 'Dashboards of this service', url: '/dashboards?tag=${__value.raw}' },
    },
    columns: [
      {
        name: 'Since',
        unit: 'dateTimeFromNow',
        expr: `max by (severity, alertname, service, instance) (${q.firingSince})`,
        emptyUntil: 'an alert fires: `make kill SERVICE=api2`, after 30 s',
      },
    ],
  });

/** @param {number} width */
export const alerts = (width) =>
  timeline({
    width,
    title: 'Alerts',
    description: 'Each alert of the time range. The first that turns red is nearest to the cause.',
    queries: [
      {
        expr: q.alerts(),
        legend: '{{severity}} {{alertname}}',
        emptyUntil: 'an alert is pending: `make kill SERVICE=api2`',
      },
    ],
    mappings: [ALERT],
    noData: 'no alert in this time range',
  });

/** @param {number} width */
export const urgentAlerts = (width) =>
  stat({
    width,
    title: 'Firing P1, P2',
    description: 'Alerts that need a person now. The dashboard of alerts opens their runbooks.',
    unit: 'none',
    query: { expr: q.firing('severity=~"p1|p2"') },
    steps: [[1, 'bad']],
    board: 'medassist-alerts',
  });

/**
 * Alerts of one service, whatever their severity.
 * @param {number} width @param {string} service a value of the alerts' label, or several
 */
export const serviceAlerts = (width, service) =>
  stat({
    width,
    title: 'Firing alerts',
    description: 'Alerts of this service. The dashboard of alerts names them and opens their runbooks.',
    unit: 'none',
    query: { expr: q.firing(`service=~"${service}"`) },
    steps: [[1, 'bad']],
    board: 'medassist-alerts',
  });

/**
 * What is left of the error budget of a service, or of all, by the worst SLO.
 * @param {number} width @param {string} [service]
 */
export const budgetLeft = (width, service) =>
  stat({
    width,
    title: 'Error budget left',
    description:
      'What is left of the error budget of 30 days, by the worst SLO here. Red: overspent, so no change but of fixes.',
    unit: 'percentunit',
    decimals: 0,
    base: 'bad',
    query: { expr: q.budgetLeft(service) },
    steps: BUDGET,
    noData: 'no traffic',
    board: 'medassist-slo',
  });

/** @param {number} width @param {string} [board] */
export const serversInService = (width, board) =>
  stat({
    width,
    title: 'API servers in service',
    description:
      'API servers that HAProxy sends requests to. None: runbook AllApiDown; fewer than all: runbook ApiCapacityReduced.',
    unit: 'none',
    base: 'none',
    query: { expr: q.serversInService },
    mappings: SERVERS,
    board,
  });

/** @param {number} width @param {string} [board] */
export const errors = (width, board) =>
  stat({
    width,
    title: '5xx, 5 min',
    description: 'Share of requests that HAProxy answered with 5xx in the last 5 min. Red: runbook ApiErrorRateHigh.',
    unit: 'percentunit',
    decimals: 2,
    query: { expr: q.errorShare('5m') },
    steps: steps(LIMITS.errors),
    noData: 'no traffic',
    board,
  });

/** @param {number} width @param {string} [board] */
export const latency = (width, board) =>
  stat({
    width,
    title: 'p95, 5 min',
    description: '95 % of requests took at most this long in the last 5 min. Red: runbook ApiLatencyHigh.',
    unit: 's',
    query: { expr: q.duration(0.95, { window: '5m', selector: 'job="api"' }) },
    steps: steps(LIMITS.latency),
    noData: 'no traffic',
    board,
  });

/** @param {number} width @param {string} [board] */
export const responses = (width, board) =>
  timeSeries({
    width,
    title: 'Responses by class',
    description:
      'Answers a second at HAProxy by class of status. 5xx here and none at the replicas: HAProxy answered itself.',
    unit: 'reqps',
    queries: [{ expr: q.responsesByClass, legend: '{{code}}' }],
    bad: ['5xx'],
    board,
  });

/** @param {number} width @param {string} selector @param {string} [board] */
export const durations = (width, selector, board) =>
  timeSeries({
    width,
    title: 'Duration of requests',
    description:
      'Quantiles of the time from request to answer. A diamond is a traced request, and opens its trace; the line is the limit of ApiLatencyHigh.',
    unit: 's',
    queries: [
      { legend: 'p50', expr: q.duration(0.5, { selector }) },
      { legend: 'p95', expr: q.duration(0.95, { selector }), exemplar: true },
      { legend: 'p99', expr: q.duration(0.99, { selector }) },
    ],
    lines: line(LIMITS.latency),
    noData: 'no traffic',
    board,
  });

/**
 * The verdict of an exporter's health checks.
 * @param {{ width: number, title: string, service: string, description: string, board?: string }} options
 */
export const verdict = ({ service, ...options }) =>
  stat({ ...options, unit: 'none', base: 'none', query: { expr: q.verdict(service) }, mappings: [VERDICT] });

/** Each health check of an exporter over time. @param {number} width @param {string} service @param {string} [selector] */
export const checks = (width, service, selector) =>
  timeline({
    width,
    title: 'Health checks',
    description:
      'Result of each health check. The first that turns names the cause; /health of the exporter gives the reason in words.',
    queries: [{ expr: q.checks(service, selector), legend: '{{check}}' }],
    mappings: [CHECK],
  });

/** Why queries about containers return nothing in the local stack. */
export const COMPOSE_ONLY = 'cAdvisor runs: compose only';
export const NO_CADVISOR = 'cAdvisor does not answer';
export const QUOTA = `${COMPOSE_ONLY}, and a container has a limit of processor time`;

/** A line a container. @param {number} width @param {string} selector @param {string} [board] what its name opens */
export const containers = (width, selector, board) => {
  const rate = (/** @type {string} */ name) => `sum by (name) (rate(container_${name}_total{${selector}}[5m]))`;
  return table({
    width,
    title: 'Containers',
    description:
      'One line a container, the nearest to its memory limit first. "Throttled" is the share of periods in which its processor time was used up.',
    by: { name: 'Container' },
    sort: 'Of memory limit',
    links: board
      ? {
          Container: {
            title: 'Open the dashboard',
            url: `/d/${board}?var-container=\${__value.raw}&\${__url_time_range}`,
          },
        }
      : {},
    noData: NO_CADVISOR,
    columns: [
      {
        name: 'CPU',
        unit: 'percentunit',
        decimals: 0,
        expr: rate('cpu_usage_seconds'),
        emptyUntil: COMPOSE_ONLY,
      },
      {
        name: 'Throttled',
        unit: 'percentunit',
        decimals: 0,
        expr: `max by (name) (${q.throttled('5m', selector)})`,
        steps: steps(LIMITS.throttled),
        emptyUntil: QUOTA,
      },
      {
        name: 'Memory',
        unit: 'bytes',
        expr: `max by (name) (container_memory_working_set_bytes{${selector}})`,
        emptyUntil: COMPOSE_ONLY,
      },
      {
        name: 'Of memory limit',
        unit: 'percentunit',
        decimals: 0,
        expr: `max by (name) (${q.memoryOfLimit(selector)})`,
        steps: steps(LIMITS.memory),
        emptyUntil: COMPOSE_ONLY,
      },
      {
        name: 'Network',
        unit: 'Bps',
        expr: `${rate('network_receive_bytes')} + ${rate('network_transmit_bytes')}`,
        emptyUntil: COMPOSE_ONLY,
      },
      {
        name: 'Up for',
        unit: 'dtdurations',
        decimals: 0,
        expr: `min by (name) (time() - container_start_time_seconds{${selector}})`,
        emptyUntil: COMPOSE_ONLY,
      },
    ],
  });
};
