// @ts-check
// A dashboard from its bands: layout, numbering, variables, annotations, links, and corrections of the SDK's output.
import * as d from '@grafana/grafana-foundation-sdk/dashboard';
import { PROMETHEUS, letter } from './panels.mjs';
import { COLOUR } from './style.mjs';
import { deployments, starts } from './queries.mjs';

/** The version that compose runs. Grafana migrates panels without a version as if they were very old. */
const GRAFANA = '13.2.3';
const COLUMNS = 24;

/** @typedef {import('./panels.mjs').Panel} Panel */
/** @typedef {{ title: string, height: number, panels: Panel[] }} Band */
/** @typedef {{ name: string, label: string, query: string }} Variable */
/**
 * @typedef {{ panel: string, ref: string, expr: string, until: string }} Empty
 * a query that returns nothing on a sound stack, and what makes it return data
 */
/** @typedef {{ uid: string, json: any, empty: Empty[] }} Board */

/** @param {string} title @param {number} height in grid units of 38 pixels @param {...Panel} panels @returns {Band} */
export const band = (title, height, ...panels) => ({ title, height, panels });

/**
 * @param {object} options
 * @param {string} options.uid which must not change: links and bookmarks use it
 * @param {string} options.title
 * @param {string} options.description the one question that the dashboard answers
 * @param {string[]} options.services values of the alerts' label `service` that lead here
 * @param {string} options.from start of the time range: now-1h
 * @param {Variable[]} [options.variables]
 * @param {Band[]} options.bands
 * @returns {Board}
 */
export const board = ({ uid, title, description, services, from, variables = [], bands }) => {
  const builder = new d.DashboardBuilder(title)
    .uid(uid)
    .description(description)
    .tags(['medassist', ...services])
    .readonly()
    .time({ from, to: 'now' })
    .refresh('30s')
    .timezone('browser')
    .tooltip(d.DashboardCursorSync.Crosshair)
    .withVariable(
      new d.DatasourceVariableBuilder('datasource')
        .label('Data source')
        .type('prometheus')
        .current({ text: 'Prometheus', value: 'prometheus' }),
    );
  for (const one of variables) builder.withVariable(variable(one));
  builder
    .annotation(
      annotation(
        'Firing P1 and P2',
        'warn',
        'max by (alertname, severity) (ALERTS{alertstate="firing", severity=~"p1|p2"})',
      )
        .titleFormat('{{alertname}}')
        .tagKeys('severity'),
    )
    .annotation(annotation('Starts', 'info', starts).titleFormat('{{instance}} {{program}} started'))
    .annotation(
      annotation('Deployments', 'ok', deployments).titleFormat('{{job}} {{version}} deployed').textFormat('{{revision}}'),
    )
    .link(toBoard('SLO and error budget', 'medassist-slo'))
    .link(toBoard('Alerts', 'medassist-alerts'))
    .link(
      new d.DashboardLinkBuilder('MedAssist')
        .type(d.DashboardLinkType.Dashboards)
        .tags(['medassist'])
        .asDropdown(true)
        .keepTime(true),
    );

  /** @type {Empty[]} */
  const empty = [];
  let id = 0;
  let y = 0;
  for (const { title: heading, height, panels } of bands) {
    builder.withRow(new d.RowBuilder(heading).id(++id).gridPos({ x: 0, y, w: COLUMNS, h: 1 }));
    y += 1;
    let x = 0;
    for (const { width, builder: one, emptyUntil } of panels) {
      builder.withPanel(one.id(++id).gridPos({ x, y, w: width, h: height }));
      x += width;
      const { title: name, targets } = one.build();
      emptyUntil.forEach((until, i) => {
        if (until) empty.push({ panel: name, ref: letter(i), expr: targets[i].expr, until });
      });
    }
    if (x !== COLUMNS) throw new Error(`${uid}: the panels of "${heading}" are ${x} columns wide, not ${COLUMNS}`);
    y += height;
  }
  return { uid, json: sorted(finish(builder.build())), empty };
};

/** @param {Variable} options */
const variable = ({ name, label, query }) =>
  new d.QueryVariableBuilder(name)
    .label(label)
    .datasource(PROMETHEUS)
    .query({ query, refId: 'A', qryType: 1 })
    .definition(query)
    .multi(true)
    .includeAll(true)
    .allValue('.+')
    .refresh(d.VariableRefresh.OnTimeRangeChanged)
    .current({ text: ['All'], value: ['$__all'] });

/** @param {string} title @param {string} uid */
const toBoard = (title, uid) =>
  new d.DashboardLinkBuilder(title).type(d.DashboardLinkType.Link).url(`/d/${uid}`).keepTime(true);

/** @param {string} name @param {keyof typeof COLOUR} colour @param {string} expr */
const annotation = (name, colour, expr) =>
  new d.AnnotationQueryBuilder()
    .name(name)
    .datasource(PROMETHEUS)
    .enable(true)
    .iconColor(COLOUR[colour])
    .expr(expr)
    .step('60s')
    .useValueForTime(false);

/**
 * What SDK 0.0.21 leaves out, or writes although Grafana's own schema does not have it.
 * @param {any} json
 */
const finish = (json) => {
  for (const panel of json.panels) {
    if (panel.type === 'row') continue;
    panel.pluginVersion = GRAFANA;
    (panel.targets ?? []).forEach((/** @type {any} */ target, /** @type {number} */ i) => (target.refId ??= letter(i)));
    const defaults = panel.fieldConfig?.defaults;
    // A link of a field is a title and an address; the builder is that of a dashboard's links.
    if (defaults?.links) defaults.links = defaults.links.map((/** @type {any} */ { title, url }) => ({ title, url }));
    if (panel.type === 'table') delete panel.options?.footer;
    if (panel.type === 'state-timeline') delete defaults?.custom?.spanNulls;
  }
  // "inControlsMenu" would move links and annotations from the dashboard into a menu.
  for (const one of [...json.links, ...json.annotations.list]) delete one.placement;
  for (const one of json.templating.list) for (const key of ['auto', 'auto_min', 'auto_count']) delete one[key];
  return json;
};

/** Sorted keys keep the differences of a committed file small. @param {any} value @returns {any} */
const sorted = (value) => {
  if (Array.isArray(value)) return value.map(sorted);
  if (value === null || typeof value !== 'object') return value;
  return Object.fromEntries(
    Object.keys(value)
      .sort()
      .map((key) => [key, sorted(value[key])]),
  );
};
