// @ts-check
// promtool's tests for every generated alert of an SLO of requests. The oracle is the multiple of the error budget that each
// phase burns, in the fixture: a share that does not change is the same in every window. What is not generated, such as texts
// and the SLOs of time, is tested in prometheus/rules/tests/slo.yml, by hand.
import { stringify } from 'yaml';
import { GROUPS } from './rules.mjs';
import { PATH, SLOS } from './table.mjs';

/** @typedef {import('./table.mjs').Slo} Slo */
/** @typedef {{ minutes: number, burn: number, traffic?: number }} Phase burn: multiple of the budget; traffic: requests a minute */

const ROUTES = [
  'http_request_method="POST",http_route="/api/payment"',
  'http_request_method="GET",http_route="/api/payment/{id}"',
  'http_request_method="GET",http_route="/api/alerts"',
];
// An evaluation every 5 min instead of every minute: the sums of the long windows have a fifth of the events.
const TRAFFIC = 500;

/** A counter that grows by so much a minute in each phase. @param {string} series @param {[number, number][]} phases */
const counter = (series, phases) => {
  let value = 0;
  const values = phases.map(([minutes, step]) => {
    const samples = minutes * 2;
    const part = `${value}+${step / 2}x${samples - 1}`;
    value += step * minutes;
    return part;
  });
  return { series, values: [...values, value].join(' ') };
};

/**
 * All requests of one route, or of the frontend: the share of 5xx burns a budget of 0.1 %, the share of slow ones of 5 %.
 * @param {Phase[]} phases
 */
const input = (phases) => {
  const grow = (/** @type {string} */ series, /** @type {(ok: number, burn: number) => number} */ step) =>
    counter(
      series,
      phases.map(({ minutes, burn, traffic = TRAFFIC }) => [minutes, step(traffic, burn)]),
    );
  const failed = (/** @type {number} */ ok, /** @type {number} */ burn) => (ok * 0.001 * burn) / (1 - 0.001 * burn);
  const fast = (/** @type {number} */ ok, /** @type {number} */ burn) => ok * (1 - 0.05 * burn);
  const all = (/** @type {number} */ ok) => ok;
  const request = 'http_server_request_duration_seconds';
  return [
    grow('haproxy_frontend_http_responses_total{proxy="fe_api",code="2xx"}', all),
    grow('haproxy_frontend_http_responses_total{proxy="fe_api",code="5xx"}', failed),
    ...ROUTES.flatMap((route) => [
      grow(`${request}_count{job="api",${route},http_response_status_code="200"}`, all),
      grow(`${request}_bucket{job="api",${route},http_response_status_code="200",le="0.8"}`, fast),
      grow(`${request}_count{job="api",${route},http_response_status_code="503"}`, failed),
      grow(`${request}_bucket{job="api",${route},http_response_status_code="503",le="0.8"}`, failed),
    ]),
    // Health checks and a scanner: many, fast, and of no SLO but the frontend's, whose traffic has them all.
    grow(`${request}_count{job="api",http_route="/livez",http_response_status_code="200"}`, (ok) => 50 * ok),
    grow(`${request}_bucket{job="api",http_route="/livez",http_response_status_code="200",le="0.8"}`, (ok) => 50 * ok),
    grow(`${request}_count{job="api",http_route="unmatched",http_response_status_code="404"}`, (ok) => 50 * ok),
    grow(
      `${request}_bucket{job="api",http_route="unmatched",http_response_status_code="404",le="0.8"}`,
      (ok) => 50 * ok,
    ),
  ];
};

const tested = SLOS.filter(({ service, alert }) => service === 'api' && alert);

/** Exactly these speeds fire, of every SLO. @param {string} eval_time @param {('fast' | 'slow')[]} speeds */
const firing = (eval_time, ...speeds) => ({
  expr: 'count by (alertname, sloth_id, severity) (ALERTS{alertname=~"Api.*BudgetBurn", alertstate="firing"})',
  eval_time,
  exp_samples: tested.flatMap(({ id, alert, severity }) =>
    speeds.map((speed) => ({
      labels: `{alertname="${alert}", sloth_id="${id}", severity="${severity[speed]}"}`,
      value: 1,
    })),
  ),
});
/** @param {string} name @param {Phase[]} phases @param {...any} expected */
const test = (name, phases, ...expected) => ({
  name,
  interval: '30s',
  input_series: input(phases),
  promql_expr_test: expected,
});
/** @param {string} expr @param {string} eval_time */
const nothing = (expr, eval_time) => ({ expr, eval_time, exp_samples: [] });

const tests = [
  test('just over 6 times the budget in both windows', [{ minutes: 60, burn: 6.1 }], firing('60m', 'fast', 'slow')),
  test('just under 6 times the budget', [{ minutes: 60, burn: 5.9 }], firing('60m', 'slow')),
  test('just over the budget', [{ minutes: 60, burn: 1.05 }], firing('60m', 'slow')),
  test('just under the budget', [{ minutes: 60, burn: 0.95 }], firing('60m')),
  // Only the hour is over its limit: 15 / 6 is under 6. After it, the window of 5 min ends the alert; over 6 h it goes on at
  // 2.5 times the budget, which is slow.
  test(
    'an hour just over 14.4 times the budget after five good ones, then recovery',
    [
      { minutes: 300, burn: 0 },
      { minutes: 60, burn: 15 },
      { minutes: 20, burn: 0 },
    ],
    firing('300m'),
    firing('360m', 'fast', 'slow'),
    firing('370m', 'slow'),
  ),
  test(
    'an hour just under 14.4 times the budget after five good ones',
    [
      { minutes: 300, burn: 0 },
      { minutes: 60, burn: 14 },
    ],
    firing('360m', 'slow'),
  ),
  // Everything fails, but there is less than the minimum: 20 requests.
  test('everything fails, in too few requests', [{ minutes: 60, burn: 20, traffic: 0.15 }], firing('60m')),
  test(
    'no traffic',
    [{ minutes: 60, burn: 0, traffic: 0 }],
    firing('60m'),
    nothing('{__name__=~"slo:sli_error:.*|slo:.*burn_rate:ratio|slo:period_.*", sloth_service="api"}', '60m'),
  ),
];

export const matrix = () =>
  `# Made by grafana/generate from ${PATH}: do not edit.\n` +
  stringify(
    { rule_files: ['../slo.yml'], evaluation_interval: '5m', group_eval_order: GROUPS, tests },
    { lineWidth: 0, aliasDuplicateObjects: false, singleQuote: true },
  );
