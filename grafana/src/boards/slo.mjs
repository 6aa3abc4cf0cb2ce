// @ts-check
import { BUDGET, BURN_1H, BURN_6H, SLOW_SHARE } from '../limits.mjs';
import { band, board } from '../board.mjs';
import { stat, table, timeSeries, timeline } from '../panels.mjs';
import * as q from '../queries.mjs';
import { ALERT, words } from '../style.mjs';
import { BURNING } from './shared.mjs';

const { R } = q;
const SELECTED = 'sloth_service=~"$service", sloth_id=~"$slo"';
const ON = 'on (sloth_id, sloth_service, sloth_slo)';
const MONTHLY = `${SELECTED}, ${q.MONTHLY}`;
/** @param {string} name @param {string} [selector] */
const slo = (name, selector = MONTHLY) => `slo:${name}{${selector}}`;
/** How many times as fast as the objective allows. @param {string} window */
const burn = (window) => `${slo(`sli_error:ratio_rate${window}`)} / ${ON} slo:error_budget:ratio`;
/** @param {string} expr */
const bySlo = (expr) => `max by (sloth_id) (${expr})`;
const LEFT = slo('period_error_budget_remaining:ratio');
const ROUTES = `job="api", ${q.WORK}`;

export default board({
  uid: 'medassist-slo',
  title: 'SLO and error budget',
  description: 'May something break today? How fast is the error budget spent, and by what?',
  services: [],
  from: 'now-7d',
  variables: [
    { name: 'service', label: 'Service', query: 'label_values(sloth_slo_info, sloth_service)' },
    { name: 'slo', label: 'SLO', query: 'label_values(sloth_slo_info{sloth_service=~"$service"}, sloth_id)' },
  ],
  bands: [
    band(
      'Health',
      4,
      stat({
        width: 4,
        title: 'Budget left, worst SLO',
        description:
          'What is left of the error budget of 30 days, by the worst SLO. Red: overspent, so no change but of fixes. The table below names the SLO.',
        unit: 'percentunit',
        decimals: 0,
        base: 'bad',
        query: { expr: `min(${LEFT})` },
        steps: BUDGET,
        noData: 'no traffic',
      }),
      stat({
        width: 4,
        title: 'Budget left in time',
        description: 'The same in minutes of a complete outage, by the SLO that has the fewest.',
        unit: 'm',
        decimals: 1,
        base: 'bad',
        query: { expr: `min(${slo('period_error_budget_remaining:minutes')})` },
        steps: [[0, 'none']],
        noData: 'no traffic',
      }),
      stat({
        width: 4,
        title: 'Burn rate, 1 h',
        description:
          'How many times as fast as allowed the worst SLO spent its budget in the last hour. At 14.4, 2 % of 30 days are gone in it: the runbook of its alert.',
        unit: 'short',
        decimals: 1,
        query: { expr: `max(${burn('1h')})` },
        steps: BURN_1H,
        noData: 'no traffic',
      }),
      stat({
        width: 4,
        title: 'Burn rate, 6 h',
        description: 'The same over 6 h: a slow leak. Red is the limit of the second condition of the fast alerts.',
        unit: 'short',
        decimals: 1,
        query: { expr: `max(${burn('6h')})` },
        steps: BURN_6H,
        noData: 'no traffic',
      }),
      stat({
        width: 4,
        title: 'At this rate gone in',
        description: 'When the first budget is spent, if it burns as in the last 6 h. Less than a day: act now.',
        unit: 'dtdurations',
        decimals: 0,
        base: 'bad',
        query: {
          expr: `min(clamp_min(${LEFT}, 0) * ${ON} slo:time_period:days * 86400 / ${ON} (${burn('6h')} > 0))`,
          emptyUntil: 'a request has failed, or was slow, in the last 6 h',
        },
        steps: [
          [86400, 'warn'],
          [259200, 'ok'],
        ],
        noData: 'not burning',
      }),
      stat({
        width: 4,
        title: 'Burn-rate alerts',
        description: 'Alerts of SLOs that fire. The time line below names them; the dashboard of alerts opens their runbooks.',
        unit: 'none',
        query: { expr: q.firing(SELECTED) },
        steps: [[1, 'bad']],
        board: 'medassist-alerts',
      }),
    ),
    band(
      'Which one, since when?',
      12,
      table({
        width: 14,
        title: 'SLOs',
        description:
          'One line an SLO, the one with the least budget first. "Burn" is the last hour; 1 spends exactly the budget. An SLO without traffic has no numbers.',
        by: { sloth_id: 'SLO' },
        sort: 'Left',
        ascending: true,
        noData: 'no rule has run yet',
        columns: [
          {
            name: 'Objective',
            unit: 'percentunit',
            decimals: 2,
            width: 90,
            expr: bySlo(slo('objective:ratio', SELECTED)),
          },
          {
            name: '5 min',
            unit: 'percentunit',
            decimals: 2,
            width: 80,
            expr: bySlo(`1 - ${slo('sli_error:ratio_rate5m', SELECTED)}`),
          },
          {
            name: '30 d',
            unit: 'percentunit',
            decimals: 3,
            width: 85,
            expr: bySlo(`1 - ${slo('sli_error:ratio_rate30d', SELECTED)}`),
          },
          {
            name: 'Left',
            unit: 'percentunit',
            decimals: 0,
            width: 75,
            expr: bySlo(slo('period_error_budget_remaining:ratio', SELECTED)),
            steps: [[-1e9, 'bad'], ...BUDGET],
          },
          {
            name: 'Left, min',
            unit: 'none',
            decimals: 1,
            width: 85,
            expr: bySlo(slo('period_error_budget_remaining:minutes', SELECTED)),
          },
          {
            name: 'Burn',
            unit: 'none',
            decimals: 1,
            width: 70,
            expr: bySlo(burn('1h')),
            steps: BURN_1H,
          },
        ],
      }),
      timeline({
        width: 10,
        title: 'Alerts of SLOs',
        description: 'When each budget began to burn. P1 and P2 are fast, P3 is slow; SloMetricAbsent is an SLO that is not measured.',
        queries: [
          {
            expr: q.alerts({ by: 'alertname, severity, slo, source', selector: 'alertname=~".*BudgetBurn|SloMetricAbsent"' }),
            legend: '{{severity}} {{alertname}} {{slo}}{{source}}',
            emptyUntil: BURNING,
          },
        ],
        mappings: [ALERT],
        noData: 'no budget burned too fast in this time range',
      }),
    ),
    band(
      'Budget',
      11,
      timeSeries({
        width: 12,
        title: 'Budget left',
        description: 'Steps are incidents, slopes are habits. Below zero the objective of 30 days is missed. What is below -100 % is drawn there.',
        unit: 'percentunit',
        decimals: 0,
        min: -1,
        max: 1,
        queries: [{ expr: bySlo(`clamp_min(${LEFT}, -1)`), legend: '{{sloth_id}}' }],
        lines: [
          [0, 'bad'],
          [0.25, 'warn'],
        ],
        noData: 'no traffic',
      }),
      timeSeries({
        width: 12,
        title: 'Burn rate over 1 h',
        description: 'How many times as fast as allowed each budget is spent. Above 14.4 the fast alert fires; 1 spends all of it in 30 days.',
        unit: 'short',
        scale: 'symlog',
        decimals: 1,
        queries: [{ expr: bySlo(burn('1h')), legend: '{{sloth_id}}' }],
        lines: [[1, 'warn'], ...BURN_1H.filter(([, colour]) => colour === 'bad')],
        noData: 'no traffic',
      }),
    ),
    band(
      'Where did it go?',
      11,
      timeSeries({
        width: 12,
        title: 'Spent per day',
        description: 'Share of the whole budget that the last 24 h spent. Above the line, 1/30, the month will not last. All and more is drawn as 100 %.',
        unit: 'percentunit',
        decimals: 1,
        queries: [
          {
            expr: bySlo(`clamp_max(${slo('sli_bad:increase1d')} / ${ON} (slo:error_budget:allowed > 0), 1)`),
            legend: '{{sloth_id}}',
          },
        ],
        lines: [[1 / 30, 'warn']],
        noData: 'no traffic',
      }),
      table({
        width: 12,
        title: 'Events',
        description:
          'Requests and runs, or seconds for SLOs of time: how many were bad, of how many, and how many the objective allows for what came in the last 30 days.',
        by: { sloth_id: 'SLO' },
        sort: 'Bad, 30 d',
        noData: 'no rule has run yet',
        columns: [
          { name: 'Bad, 1 h', unit: 'short', decimals: 0, expr: bySlo(slo('sli_bad:increase1h')) },
          { name: 'Bad, 1 d', unit: 'short', decimals: 0, expr: bySlo(slo('sli_bad:increase1d')) },
          { name: 'Bad, 30 d', unit: 'short', decimals: 0, expr: bySlo(slo('sli_bad:increase30d')) },
          { name: 'All, 30 d', unit: 'short', decimals: 0, expr: bySlo(slo('sli_total:increase30d')) },
          {
            name: 'Allowed',
            unit: 'short',
            decimals: 0,
            expr: bySlo(slo('error_budget:allowed')),
          },
        ],
      }),
    ),
    band(
      'What is bad now?',
      8,
      timeSeries({
        width: 8,
        title: 'Failed requests by route',
        description: 'Requests a second that the replicas answered with 5xx: who spends the budget of the availability.',
        unit: 'reqps',
        queries: [
          {
            expr: `sum by (http_request_method, http_route) (rate(http_server_request_duration_seconds_count{${ROUTES}, http_response_status_code=~"5.."}[${R}]))`,
            legend: '{{http_request_method}} {{http_route}}',
            emptyUntil: 'a replica has answered 5xx since its start',
          },
        ],
        noData: 'no request failed',
        board: 'medassist-red',
      }),
      timeSeries({
        width: 8,
        title: 'Slower than 800 ms by route',
        description: 'Share of the requests of each route that took more than 800 ms. The line is what the objective allows.',
        unit: 'percentunit',
        queries: [
          {
            expr:
              `1 - sum by (http_request_method, http_route) (rate(http_server_request_duration_seconds_bucket{${ROUTES}, le="0.8"}[${R}]))` +
              ` / (sum by (http_request_method, http_route) (rate(http_server_request_duration_seconds_count{${ROUTES}}[${R}])) > 0)`,
            legend: '{{http_request_method}} {{http_route}}',
          },
        ],
        lines: [[SLOW_SHARE, 'bad']],
        noData: 'no traffic',
        board: 'medassist-red',
      }),
      timeline({
        width: 8,
        title: 'SLOs of time',
        description: 'Whether MySQL is up, as its exporter reports it, and whether the recovery point is at most 30 min old.',
        queries: [{ expr: `1 - ${slo('sli_good:bool')}`, legend: '{{sloth_id}}' }],
        mappings: [words({ 0: ['good', 'ok'], 1: ['bad', 'bad'] })],
      }),
    ),
  ],
});
