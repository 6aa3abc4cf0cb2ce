// @ts-check
import { band, board } from '../board.mjs';
import { stat, table, timeSeries } from '../panels.mjs';
import * as q from '../queries.mjs';
import { words } from '../style.mjs';
import { alerts, firingNow } from './shared.mjs';

const { R } = q;
/** @param {string} title @param {string} severity @param {import('../style.mjs').Colour} colour @param {string} description */
const firing = (title, severity, colour, description) =>
  stat({
    width: 3,
    title,
    description,
    unit: 'none',
    query: { expr: q.firing(`severity=~"${severity}"`) },
    steps: [[1, colour]],
  });

export default board({
  uid: 'medassist-alerts',
  title: 'Alerts',
  description: 'What fires, would a page arrive, and which alert is noise?',
  services: ['alertmanager', 'prometheus'],
  from: 'now-24h',
  bands: [
    band(
      'Health',
      4,
      firing('P1', 'p1', 'bad', 'Users or their data are affected now: respond immediately. The table below opens the runbooks.'),
      firing('P2', 'p2', 'bad', 'Users are about to be affected: respond within 30 min.'),
      firing('P3, P4', 'p3|p4', 'warn', 'What can wait until the working day, or the end of the week.'),
      stat({
        width: 3,
        title: 'Silenced, inhibited',
        description: 'Alerts that fire and notify nobody, on purpose: a silence, or a more general alert.',
        unit: 'none',
        query: { expr: 'sum(alertmanager_alerts{state="suppressed"})' },
        steps: [[1, 'info']],
      }),
      stat({
        width: 3,
        title: 'Not delivered, 15 min',
        description: 'Notifications that Alertmanager gave up: pages that never arrived. Its log names the receiver: runbook AlertmanagerNotificationsFailed.',
        unit: 'short',
        decimals: 0,
        query: { expr: 'sum(increase(alertmanager_notifications_failed_total[15m]))' },
        steps: [[1, 'bad']],
      }),
      stat({
        width: 3,
        title: 'Alertmanagers',
        description: 'Alertmanagers to which Prometheus sends alerts. None: nobody is notified of anything, runbook PrometheusNotificationsFailed.',
        unit: 'none',
        base: 'bad',
        query: { expr: 'min(prometheus_notifications_alertmanagers_discovered)' },
        steps: [[1, 'ok']],
      }),
      stat({
        width: 3,
        title: 'Failed rules, 15 min',
        description: 'Evaluations of rules that failed: alerts that cannot fire. Prometheus’ page of rules shows the error: runbook PrometheusRuleFailures.',
        unit: 'short',
        decimals: 0,
        query: { expr: 'sum(increase(prometheus_rule_evaluation_failures_total[15m]))' },
        steps: [[1, 'bad']],
      }),
      stat({
        width: 3,
        title: 'Watchdog',
        description:
          'An alert that always fires, so that a switch outside notices when the path of alerts is broken. "Silent" here: Prometheus evaluates no rules.',
        unit: 'none',
        base: 'none',
        query: { expr: 'count(ALERTS{alertname="Watchdog", alertstate="firing"}) or vector(0)' },
        mappings: [words({ 0: ['silent', 'bad'], 1: ['fires', 'ok'] })],
      }),
    ),
    band('What is wrong, since when?', 12, alerts(14), firingNow(10)),
    band(
      'Delivery',
      8,
      timeSeries({
        width: 8,
        title: 'Notifications by receiver type',
        description: 'Notifications a second that Alertmanager attempted, by the type of their receiver.',
        unit: 'cps',
        queries: [
          {
            expr: `sum by (integration) (rate(alertmanager_notifications_total[${R}])) > 0`,
            legend: '{{integration}}',
            emptyUntil: 'an alert fires, or its notification is repeated',
          },
        ],
        noData: 'nothing was sent',
      }),
      timeSeries({
        width: 8,
        title: 'Failed notifications',
        description: 'Notifications a second that failed. While the API is down its webhook fails: the second receiver of P1 must not.',
        unit: 'cps',
        queries: [
          {
            expr: `sum by (integration) (rate(alertmanager_notifications_failed_total[${R}])) > 0`,
            legend: '{{integration}}',
            emptyUntil: 'a receiver refuses a notification: `make kill` of all three replicas',
          },
        ],
        noData: 'nothing failed',
      }),
      timeSeries({
        width: 8,
        title: 'Time to deliver, p95',
        description: '95 % of the notifications took at most this long. A slow receiver delays every group that it is told of.',
        unit: 's',
        queries: [
          {
            expr: `histogram_quantile(0.95, sum by (integration, le) (rate(alertmanager_notification_latency_seconds_bucket[${R}]))) >= 0`,
            legend: '{{integration}}',
            emptyUntil: 'an alert fires, or its notification is repeated',
          },
        ],
        lines: [[5, 'bad']],
        noData: 'nothing was sent',
      }),
    ),
    band(
      'Noise',
      9,
      table({
        width: 12,
        title: 'Time firing',
        description: 'Which alert to fix or to delete: how long each fired in the time range, and how often it began.',
        by: { severity: 'Severity', alertname: 'Alert' },
        sort: 'Fired for',
        noData: 'no alert in this time range',
        columns: [
          {
            name: 'Fired for',
            unit: 'dtdurations',
            decimals: 0,
            expr: '60 * sum by (alertname, severity) (count_over_time(ALERTS{alertstate="firing", alertname!="Watchdog"}[$__range:1m]))',
            emptyUntil: 'an alert fires: `make kill SERVICE=api2`, after 30 s',
          },
          {
            name: 'Times',
            unit: 'none',
            expr:
              'sum by (alertname, severity) (1 + changes(ALERTS_FOR_STATE{alertname!="Watchdog"}[$__range])' +
              ' and on (alertname, severity) count_over_time(ALERTS{alertstate="firing"}[$__range]))',
            emptyUntil: 'an alert fires: `make kill SERVICE=api2`, after 30 s',
          },
        ],
      }),
      timeSeries({
        width: 6,
        title: 'Silences',
        description: 'Silences by state. An active one that nobody remembers hides the next outage.',
        unit: 'none',
        queries: [{ expr: 'sum by (state) (alertmanager_silences)', legend: '{{state}}' }],
      }),
      timeSeries({
        width: 6,
        title: 'Lost before Alertmanager',
        description: 'Alerts a second that did not reach Alertmanager: its queue was full, it did not answer, or refused them.',
        unit: 'cps',
        queries: [
          { expr: `sum(rate(prometheus_notifications_dropped_total[${R}]))`, legend: 'dropped' },
          {
            expr: `sum(rate(prometheus_notifications_errors_total[${R}]))`,
            legend: 'failed',
          },
          { expr: `sum(rate(alertmanager_alerts_invalid_total[${R}]))`, legend: 'refused' },
        ],
        bad: ['dropped', 'failed', 'refused'],
      }),
    ),
    band(
      'Rules',
      9,
      timeSeries({
        width: 12,
        title: 'Evaluation by group',
        description: 'How long the last evaluation of each group of rules took. Longer than its interval: alerts come late.',
        unit: 's',
        queries: [
          {
            expr: 'max by (rule_group) (label_replace(prometheus_rule_group_last_duration_seconds, "rule_group", "$1", "rule_group", ".*;(.*)"))',
            legend: '{{rule_group}}',
          },
        ],
      }),
      timeSeries({
        width: 12,
        title: 'Evaluations missed and failed',
        description: 'Evaluations a second that were skipped, because the previous one was still running, or that failed.',
        unit: 'cps',
        queries: [
          { expr: `sum(rate(prometheus_rule_group_iterations_missed_total[${R}]))`, legend: 'missed' },
          { expr: `sum(rate(prometheus_rule_evaluation_failures_total[${R}]))`, legend: 'failed' },
        ],
        bad: ['missed', 'failed'],
      }),
    ),
  ],
});
