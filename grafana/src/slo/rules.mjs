// @ts-check
// Prometheus' rules for the table: recording rules with Sloth's names, burn-rate alerts, and an alert for an SLI that is absent.
import { stringify } from 'yaml';
import { LONG, PATH, SHORT, SLOS, SOURCES, SPEEDS, seconds } from './table.mjs';

/** @typedef {import('./table.mjs').Slo} Slo */

/** How often the SLIs are counted; an SLO of time counts its samples, one for each evaluation. */
const INTERVAL = 15;
const ON = 'on (sloth_id, sloth_service, sloth_slo)';

/** @param {Slo} slo */
const labels = ({ id, service, slo }) => ({ sloth_id: id, sloth_service: service, sloth_slo: slo });
/** @param {Slo} slo */
const selector = ({ id }) => `{sloth_id="${id}"}`;
const timed = SLOS.filter(({ goodWhile }) => goodWhile);
const monthly = SLOS.filter(({ window }) => window === '30d');
/** @param {Slo[]} slos */
const oneOf = (slos) => `{sloth_id=~"${slos.map(({ id }) => id).join('|')}"}`;

/** The number of bad events, and of all, in a window; of time in seconds. @param {Slo} slo @param {string} window */
const counts = (slo, window) => {
  const whole = slo.overlap ? `${seconds(window) + slo.overlap}s` : window;
  const fill = (/** @type {string | undefined} */ query) => query?.replaceAll('$window', whole);
  const total = fill(slo.total);
  if (!total) {
    const good = `slo:sli_good:bool${selector(slo)}[${window}]`;
    return {
      bad: `${INTERVAL} * (count_over_time(${good}) - sum_over_time(${good}))`,
      total: `${INTERVAL} * count_over_time(${good})`,
    };
  }
  // A kind of failure that has never happened has no series: it counts as 0 only while there is a total.
  return { bad: slo.bad ? `${fill(slo.bad)}\nor\n0 * ${total}` : `clamp_min(${total}\n-\n${fill(slo.good)}, 0)`, total };
};

/** @param {Slo} slo @param {string} window @param {'increase' | 'sum'} what */
const record = (slo, window, what) =>
  Object.entries(counts(slo, window)).map(([name, expr]) => ({
    record: `slo:sli_${name}:${what}${window}`,
    expr,
    labels: labels(slo),
  }));

/** @param {string} window */
const ratio = (window) => ({
  record: `slo:sli_error:ratio_rate${window}`,
  // Without events there is no sample. A NaN would spoil every sum over the next 30 days.
  expr: `slo:sli_bad:increase${window} / (slo:sli_total:increase${window} > 0)`,
  labels: { sloth_window: window },
});

const sli = {
  name: 'slo-sli',
  interval: `${INTERVAL}s`,
  rules: [
    ...timed.map((slo) => ({
      record: 'slo:sli_good:bool',
      expr: /** @type {string} */ (slo.goodWhile),
      labels: labels(slo),
    })),
    ...SLOS.flatMap((slo) =>
      (slo.alert ? SHORT : [slo.window]).flatMap((window) => record(slo, window, 'increase')),
    ),
    ...SHORT.map(ratio),
  ],
};

// Every event is in one sum: the window is the interval.
const sums = {
  name: 'slo-sums',
  interval: '1m',
  rules: monthly.flatMap((slo) => record(slo, '1m', 'sum')),
};

/** Series of every SLO over its own window. @param {string} name @param {Slo[]} slos */
const overPeriod = (name, slos) =>
  [...new Set(slos.map(({ window }) => window))]
    .map((period) => `slo:sli_${name}:increase${period}${oneOf(slos.filter(({ window }) => window === period))}`)
    .join('\nor\n');
const budget = {
  name: 'slo-budget',
  interval: '1m',
  rules: [
    // Weighted by events: the mean of ratios would count a quiet night as much as a busy day.
    ...LONG.flatMap((window) => [
      ...['bad', 'total'].map((name) => ({
        record: `slo:sli_${name}:increase${window}`,
        // An SLO that left the table ends here, and not when its sums are 30 days old.
        expr: `sum_over_time(slo:sli_${name}:sum1m${oneOf(monthly)}[${window}])`,
      })),
      ratio(window),
    ]),
    ...SLOS.flatMap((slo) => [
      { record: 'slo:objective:ratio', expr: `vector(${slo.objective / 100})`, labels: labels(slo) },
      { record: 'slo:error_budget:ratio', expr: `vector(${slo.budget})`, labels: labels(slo) },
      { record: 'slo:time_period:days', expr: `vector(${seconds(slo.window) / 86400})`, labels: labels(slo) },
      {
        record: 'sloth_slo_info',
        expr: 'vector(1)',
        labels: { ...labels(slo), sloth_mode: 'generated', sloth_objective: `${slo.objective}`, sloth_spec: PATH },
      },
    ]),
    {
      record: 'slo:current_burn_rate:ratio',
      expr: `slo:sli_error:ratio_rate5m / ${ON} slo:error_budget:ratio`,
    },
    // Of events, what has come; of time, the whole window, even if Prometheus is younger.
    {
      record: 'slo:error_budget:allowed',
      expr: `(\n${overPeriod(
        'total',
        SLOS.filter(({ goodWhile }) => !goodWhile),
      )}\nor\n86400 * slo:time_period:days${oneOf(timed)}\n) * ${ON} slo:error_budget:ratio`,
    },
    {
      record: 'slo:period_burn_rate:ratio',
      expr: `(\n${overPeriod('bad', SLOS)}\n) / ${ON} (slo:error_budget:allowed > 0)`,
    },
    { record: 'slo:period_error_budget_remaining:ratio', expr: '1 - slo:period_burn_rate:ratio' },
    {
      record: 'slo:period_error_budget_remaining:minutes',
      expr: `slo:period_error_budget_remaining:ratio * ${ON} slo:error_budget:ratio * ${ON} slo:time_period:days * 1440`,
    },
  ],
};

/** @param {Slo} slo @param {'fast' | 'slow'} speed */
const condition = (slo, speed) => {
  const at = selector(slo);
  const minimum = Object.entries({ total: slo.minimum.events, bad: slo.minimum.bad }).filter(([, value]) => value);
  return SPEEDS[speed]
    .map(({ factor, long, short }) =>
      [
        `  slo:sli_error:ratio_rate${long}${at} > ${factor} * ${slo.budget}`,
        `  and ignoring (sloth_window) slo:sli_error:ratio_rate${short}${at} > ${factor} * ${slo.budget}`,
        ...minimum.map(([name, value]) => `  and ignoring (sloth_window) slo:sli_${name}:increase${long}${at} >= ${value}`),
      ].join('\n'),
    )
    .join('\n  or ignoring (sloth_window)\n');
};

/** @param {string} query @param {string} format */
const value = (query, format) =>
  `{{ with query \`${query}\` }}{{ . | first | value | ${format} }}{{ else }}unknown{{ end }}`;

/** 5m is 5 min in a text. @param {string} window */
const spaced = (window) => window.replace(/(?<=\d)(?=\D)/, ' ').replace(/m$/, 'min');

/** @param {string} alert @param {string} dashboard */
const links = (alert, dashboard) => ({
  runbook_url: `{{ $externalLabels.links }}/runbooks/${alert}.md`,
  dashboard_url: `{{ $externalLabels.links }}/d/${dashboard}`,
});

/** @param {Slo} slo @param {'fast' | 'slow'} speed */
const alert = (slo, speed) => {
  const [first, second] = SPEEDS[speed];
  const share = (/** @type {string} */ window) =>
    value(`slo:sli_error:ratio_rate${window}${selector(slo)}`, 'humanizePercentage');
  const limit = (/** @type {typeof first} */ { factor, long }) =>
    `${Number((100 * factor * slo.budget).toPrecision(6))} % in ${spaced(long)}`;
  return {
    alert: slo.alert,
    expr: `max without (sloth_window) (\n${condition(slo, speed)}\n)`,
    labels: { severity: slo.severity[speed], service: slo.service, slo: slo.slo },
    annotations: {
      summary: `${slo.title}: {{ $value | humanizePercentage }} ${slo.badMeans} (limit ${limit(first)}, ${limit(second)})`,
      description: [
        `Bad share: ${spaced(first.short)} ${share(first.short)}, ${spaced(first.long)} ${share(first.long)},`,
        `${spaced(second.long)} ${share(second.long)}. The objective is ${slo.objective} % over ${spaced(slo.window)}. Of its error budget,`,
        `${value(`100 * slo:period_error_budget_remaining:ratio${selector(slo)}`, 'printf "%.0f"')} % is left:`,
        `${value(`slo:period_error_budget_remaining:minutes${selector(slo)}`, 'printf "%.0f"')} min.`,
      ].join(' '),
      ...links(/** @type {string} */ (slo.alert), 'medassist-slo'),
    },
  };
};

const alerts = {
  name: 'slo-alerts',
  interval: `${INTERVAL}s`,
  rules: [
    ...SLOS.filter((slo) => slo.alert).flatMap((slo) =>
      /** @type {const} */ (['fast', 'slow']).filter((speed) => slo.severity[speed]).map((speed) => alert(slo, speed)),
    ),
    ...SOURCES.map(({ name, service, series, slos }) => ({
      alert: 'SloMetricAbsent',
      // The sum drops the labels that absent() would copy from the selector.
      expr: `absent(sum(${series}))`,
      for: '5m',
      labels: { severity: 'p3', service, source: name },
      annotations: {
        summary: `${slos.length} ${slos.length === 1 ? 'SLO of' : 'SLOs of'} ${service} not measured: ${series.replaceAll('"', "'")} is absent`,
        description: `For 5 min there has been no series ${series.replaceAll('"', "'")}. Not measured: ${slos.map(({ id }) => id).join(', ')}. Their alerts cannot fire.`,
        ...links('SloMetricAbsent', 'medassist-slo'),
      },
    })),
  ],
};

const groups = [sli, sums, budget, alerts];
/** In the order in which the samples pass them. */
export const GROUPS = groups.map(({ name }) => name);

export const rules = () =>
  `# Made by grafana/generate from ${PATH}: do not edit.\n` +
  stringify({ groups }, { lineWidth: 0, aliasDuplicateObjects: false, singleQuote: true });
