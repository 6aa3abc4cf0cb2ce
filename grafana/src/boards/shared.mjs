// @ts-check
// Panels that several dashboards have.
import { stat, table, timeline } from '../panels.mjs';
import * as q from '../queries.mjs';
import { ALERT, CHECK, VERDICT, above, words } from '../style.mjs';

/** compose mounts the runbooks into the folder of Grafana's own static files: they open without a network. */
const RUNBOOK = '/public/runbooks/${__value.raw}.md';

/** API servers in service, of the three that there are. */
export const SERVERS = [
  words({ 0: ['none', 'bad'], 1: ['1 of 3', 'bad'], 2: ['2 of 3', 'warn'], 3: ['3 of 3', 'ok'] }),
  above(4, 'all', 'ok'),
];

const SEVERITY = words({ p1: ['P1', 'bad'], p2: ['P2', 'warn'], p3: ['P3', 'info'], p4: ['P4', 'none'] });

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
        expr: q.alerts,
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
    description: 'Alerts that need a person now. The overview has their runbooks.',
    unit: 'none',
    query: { expr: q.urgentAlerts },
    steps: [[1, 'bad']],
    board: 'medassist-overview',
  });

/** The verdict of an exporter's health checks. @param {number} width @param {string} title @param {string} service @param {string} description */
export const verdict = (width, title, service, description) =>
  stat({
    width,
    title,
    description,
    unit: 'none',
    base: 'none',
    query: { expr: q.verdict(service) },
    mappings: [VERDICT],
  });

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
