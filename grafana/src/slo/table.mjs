// @ts-check
// The table of service level objectives, prometheus/slo/slos.yml: read, checked, and with one SLO for each route.
import { readFileSync } from 'node:fs';
import { parse } from 'yaml';

/**
 * @typedef {object} Slo
 * @property {string} id unique: SERVICE-SLO
 * @property {string} service
 * @property {string} slo
 * @property {string} title
 * @property {string} badMeans completes "0.2 % …"
 * @property {number} objective in percent
 * @property {number} budget share of bad events or time that the objective allows
 * @property {string} window 30d
 * @property {string} source
 * @property {string} [bad] number of bad events in $window; else `good`
 * @property {string} [good]
 * @property {string} [total] number of events in $window
 * @property {number} overlap seconds by which the windows of `changes()` overlap: it counts between samples
 * @property {string} [goodWhile] 1 while it is good, else 0; for an SLO of time
 * @property {{ events?: number, bad: number }} minimum below which no alert fires; of time in seconds
 * @property {string} [alert] name of the generated alerts
 * @property {string} [rule] name of the rule written by hand that alerts instead
 * @property {{ fast?: string, slow?: string }} severity
 * @property {string} dashboard
 */
/** @typedef {{ name: string, service: string, series: string, slos: Slo[] }} Source */

export const PATH = 'prometheus/slo/slos.yml';
const FIELDS = new Set(
  'service slo per title bad_means objective window source bad good total good_while overlap minimum alert rule severity dashboard'.split(
    ' ',
  ),
);

/** Floating point makes 1 - 0.999 0.0010000000000000009. @param {number} value */
const rounded = (value) => Number(value.toPrecision(12));
const UNITS = { s: 1, m: 60, h: 3600, d: 86400 };
/** @param {string} window @returns {number} */
export const seconds = (window) => {
  const unit = UNITS[/** @type {keyof typeof UNITS} */ (window.at(-1))];
  if (!unit || !/^\d+.$/.test(window)) throw new Error(`${PATH}: ${window} is not a window such as 30d`);
  return Number(window.slice(0, -1)) * unit;
};

/** @param {any} row @param {string} [route] @param {any} [of] @returns {Slo} */
const one = (row, route, of) => {
  const name = route ? `${route}-${row.slo}` : row.slo;
  const id = `${row.service}-${name}`;
  /** @param {unknown} holds @param {string} fault */
  const check = (holds, fault) => {
    if (!holds) throw new Error(`${PATH}: ${id}: ${fault}`);
  };
  for (const field of Object.keys(row)) check(FIELDS.has(field), `unknown field ${field}`);
  check(row.objective > 0 && row.objective < 100, 'objective is not a percentage below 100');
  check(
    row.good_while ? !row.total && !row.bad && !row.good : row.total && !row.bad !== !row.good,
    'needs good_while, or total with either bad or good',
  );
  check(!row.alert !== !row.rule, 'needs either alert or rule');
  check(!row.alert || row.minimum?.bad > 0, 'alerts need minimum.bad');
  const severity = row.severity ?? of?.severity ?? {};
  check(row.rule || severity.fast || severity.slow, 'no severity');
  const query = (/** @type {string | undefined} */ text) => text?.replaceAll('$route', of?.match);
  return {
    id,
    service: row.service,
    slo: name,
    title: of ? `${row.title}, ${of.title}` : row.title,
    badMeans: row.bad_means,
    objective: row.objective,
    budget: rounded(1 - row.objective / 100),
    window: row.window,
    source: row.source,
    bad: query(row.bad),
    good: query(row.good),
    total: query(row.total),
    overlap: row.overlap ? seconds(row.overlap) : 0,
    goodWhile: row.good_while,
    minimum: row.minimum,
    alert: row.alert,
    rule: row.rule,
    severity,
    dashboard: row.dashboard,
  };
};

const file = parse(readFileSync(new URL(`../../../${PATH}`, import.meta.url), 'utf8'));

/** @type {Slo[]} */
export const SLOS = file.slos.flatMap((/** @type {any} */ row) =>
  row.per ? Object.entries(file.routes).map(([route, of]) => one(row, route, of)) : [one(row)],
);
if (new Set(SLOS.map(({ id }) => id)).size !== SLOS.length) throw new Error(`${PATH}: two SLOs have one name`);

/** @type {Source[]} */
export const SOURCES = Object.entries(file.sources).map(([name, source]) => ({
  .../** @type {any} */ (source),
  name,
  slos: SLOS.filter((slo) => slo.source === name),
}));
if (SOURCES.flatMap(({ slos }) => slos).length !== SLOS.length) throw new Error(`${PATH}: a source is not declared`);

/**
 * Two speeds, each with two pairs of windows: the budget that is gone when the long one is full, by Google's SRE workbook.
 * The short window ends the alert soon after the fault.
 */
export const SPEEDS = {
  fast: [
    { factor: 14.4, long: '1h', short: '5m' },
    { factor: 6, long: '6h', short: '30m' },
  ],
  slow: [
    { factor: 3, long: '1d', short: '2h' },
    { factor: 1, long: '3d', short: '6h' },
  ],
};
export const SHORT = ['5m', '30m', '1h', '2h', '6h'];
export const LONG = ['1d', '3d', '30d'];
