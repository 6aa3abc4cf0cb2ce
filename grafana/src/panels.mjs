// @ts-check
// One function for each kind of panel. What all panels of a kind have in common is decided here, so that a dashboard's
// file holds only what is its own: a title, a query, a unit, limits, a description.
import * as c from '@grafana/grafana-foundation-sdk/common';
import * as d from '@grafana/grafana-foundation-sdk/dashboard';
import * as elastic from '@grafana/grafana-foundation-sdk/elasticsearch';
import * as prom from '@grafana/grafana-foundation-sdk/prometheus';
import { PanelBuilder as DashboardList } from '@grafana/grafana-foundation-sdk/dashboardlist';
import * as heat from '@grafana/grafana-foundation-sdk/heatmap';
import { PanelBuilder as Logs } from '@grafana/grafana-foundation-sdk/logs';
import { PanelBuilder as Stat } from '@grafana/grafana-foundation-sdk/stat';
import { PanelBuilder as StateTimeline } from '@grafana/grafana-foundation-sdk/statetimeline';
import { PanelBuilder as Table } from '@grafana/grafana-foundation-sdk/table';
import { PanelBuilder as TimeSeries } from '@grafana/grafana-foundation-sdk/timeseries';
import { COLOUR, absent, thresholds } from './style.mjs';

export const PROMETHEUS = { type: 'prometheus', uid: '${datasource}' };
const ELASTICSEARCH = { type: 'elasticsearch', uid: 'elasticsearch' };
const JAEGER = { type: 'jaeger', uid: 'jaeger' };

/** @typedef {import('./style.mjs').Colour} Colour */
/** @typedef {import('./style.mjs').Step} Step */
/**
 * @typedef {object} Query
 * @property {string} expr
 * @property {string} [legend] a name, or a template over labels
 * @property {boolean} [exemplar] show traced requests on the curve
 * @property {string} [emptyUntil] the query returns nothing on a sound stack; what makes it return data
 */
/**
 * @typedef {object} Panel a panel with its width and with what its queries need to return data
 * @property {number} width
 * @property {any} builder
 * @property {(string | undefined)[]} emptyUntil a reason for each query, in their order
 */
/**
 * @typedef {object} Common
 * @property {number} width of the 24 columns
 * @property {string} title
 * @property {string} description one sentence what it shows, one what to do when it is red
 * @property {string} unit one of Grafana's
 * @property {number} [decimals]
 * @property {string} [noData] what the panel says while its queries return nothing
 * @property {string} [board] uid of the dashboard that explains this panel
 */

/** @param {string} title @param {string} url */
const link = (title, url) => new d.DashboardLinkBuilder(title).type(d.DashboardLinkType.Link).url(url);
/** @param {string} uid */
const toBoard = (uid) => link('Open the dashboard', `/d/${uid}?\${__url_time_range}`);

/** @param {Query} query */
const range = ({ expr, legend = '__auto', exemplar = false }) => {
  const target = new prom.DataqueryBuilder().datasource(PROMETHEUS).expr(expr).legendFormat(legend);
  target.range().editorMode(prom.QueryEditorMode.Code);
  return exemplar ? target.exemplar(true) : target;
};
/** @param {Query} query */
const instant = (query) => range(query).instant();

/**
 * What every kind of panel starts with.
 * @template {{ title(t: string): any, description(t: string): any, unit(u: string): any, noValue(t: string): any,
 *   decimals(n: number): any, dataLinks(l: any[]): any, datasource(d: any): any }} P
 * @param {P} panel
 * @param {Common} options
 * @returns {P}
 */
const common = (panel, { title, description, unit, decimals, noData = 'no data', board }) => {
  panel.title(title).description(description).unit(unit).noValue(noData).datasource(PROMETHEUS);
  if (decimals !== undefined) panel.decimals(decimals);
  if (board) panel.dataLinks([toBoard(board)]);
  return panel;
};

/** @param {Common} options @param {any} builder @param {Query[]} queries @returns {Panel} */
const panel = ({ width }, builder, queries) => ({
  width,
  builder,
  emptyUntil: queries.map((query) => query.emptyUntil),
});

/**
 * One number or word: the present state, so its query is instant. A range would show the last value of an exporter
 * that is long dead.
 * @param {Common & { query: Query | Query[], base?: Colour, steps?: Step[], mappings?: d.ValueMapping[],
 *   background?: boolean }} options
 */
export const stat = (options) => {
  const { query, base = 'ok', steps = [], mappings = [], noData = 'no data', background = true } = options;
  const queries = Array.isArray(query) ? query : [query];
  const builder = common(new Stat(), options)
    .colorMode(background ? c.BigValueColorMode.Background : c.BigValueColorMode.Value)
    .graphMode(c.BigValueGraphMode.None)
    .reduceOptions(new c.ReduceDataOptionsBuilder().calcs(['lastNotNull']).fields('').values(false))
    .mappings([...mappings, absent(noData)])
    .thresholds(thresholds(base, steps));
  builder.textMode(queries.length > 1 ? c.BigValueTextMode.ValueAndName : c.BigValueTextMode.Value);
  for (const one of queries) builder.withTarget(instant(one));
  return panel(options, builder, queries);
};

/**
 * A number without a verdict and its course over the time range.
 * @param {Common & { query: Query }} options
 */
export const sparkline = (options) => {
  const builder = common(new Stat(), options)
    .colorMode(c.BigValueColorMode.None)
    .graphMode(c.BigValueGraphMode.Area)
    .reduceOptions(new c.ReduceDataOptionsBuilder().calcs(['lastNotNull']).fields('').values(false))
    .textMode(c.BigValueTextMode.Value)
    .mappings([absent(options.noData ?? 'no data')])
    .thresholds(thresholds('none', []))
    .withTarget(range(options.query));
  return panel(options, builder, [options.query]);
};

/**
 * Curves. `lines` are limits drawn over the whole panel; `limits` names curves that are limits themselves, `bad` those
 * that should be zero.
 * @param {Common & { queries: Query[], lines?: Step[], limits?: string[], bad?: string[], min?: number | null,
 *   max?: number, softMax?: number, mappings?: d.ValueMapping[], scale?: 'log' | 'symlog' }} options
 */
export const timeSeries = (options) => {
  const { queries, lines = [], limits = [], bad = [], min = 0, max, softMax, mappings = [], scale } = options;
  const builder = common(new TimeSeries(), options)
    .lineWidth(1)
    .fillOpacity(0)
    .showPoints(c.VisibilityMode.Never)
    .spanNulls(false)
    .colorScheme(new d.FieldColorBuilder().mode(d.FieldColorModeId.PaletteClassic))
    .tooltip(new c.VizTooltipOptionsBuilder().mode(c.TooltipDisplayMode.Multi).sort(c.SortOrder.Descending))
    .thresholds(thresholds('none', lines));
  const single = queries.length === 1 && !queries[0]?.legend?.includes('{{');
  const legend = new c.VizLegendOptionsBuilder().showLegend(!single).placement(c.LegendPlacement.Bottom);
  builder.legend(legend.displayMode(c.LegendDisplayMode.Table).calcs(['lastNotNull', 'max']));
  if (mappings.length) builder.mappings(mappings);
  if (lines.length)
    builder.thresholdsStyle(new c.GraphThresholdsStyleConfigBuilder().mode(c.GraphThresholdsStyleMode.Dashed));
  if (min !== null) builder.min(min);
  if (max !== undefined) builder.max(max);
  if (softMax !== undefined) builder.axisSoftMax(softMax);
  if (scale === 'log')
    builder.scaleDistribution(new c.ScaleDistributionConfigBuilder().type(c.ScaleDistribution.Log).log(2));
  // Linear up to 1, so that zero is on it.
  if (scale === 'symlog')
    builder.scaleDistribution(
      new c.ScaleDistributionConfigBuilder().type(c.ScaleDistribution.Symlog).log(10).linearThreshold(1),
    );
  for (const name of limits) {
    const dashed = { fill: 'dash', dash: [10, 10] };
    builder.overrideByName(name, [
      { id: 'color', value: fixed('warn') },
      { id: 'custom.lineStyle', value: dashed },
    ]);
  }
  for (const name of bad)
    builder.overrideByName(name, [
      { id: 'color', value: fixed('bad') },
      { id: 'custom.lineWidth', value: 2 },
    ]);
  for (const one of queries) builder.withTarget(range(one));
  return panel(options, builder, queries);
};
/** @param {Colour} colour */
const fixed = (colour) => ({ mode: 'fixed', fixedColor: COLOUR[colour] });

/**
 * States over time, a line a series: since when, and in which order.
 * @param {Omit<Common, 'unit'> & { queries: Query[], mappings: d.ValueMapping[] }} options
 */
export const timeline = (options) => {
  const { queries, mappings, noData = 'no data' } = options;
  const builder = common(new StateTimeline(), { ...options, unit: 'none' })
    .mappings([...mappings, absent(noData)])
    .thresholds(thresholds('none', []))
    .colorScheme(new d.FieldColorBuilder().mode(d.FieldColorModeId.Thresholds))
    .showValue(c.VisibilityMode.Auto)
    .mergeValues(true)
    .rowHeight(0.8)
    .fillOpacity(90)
    .lineWidth(0)
    .legend(
      new c.VizLegendOptionsBuilder()
        .showLegend(true)
        .displayMode(c.LegendDisplayMode.List)
        .placement(c.LegendPlacement.Bottom),
    )
    .tooltip(new c.VizTooltipOptionsBuilder().mode(c.TooltipDisplayMode.Single).sort(c.SortOrder.None));
  for (const one of queries) builder.withTarget(range(one));
  return panel({ ...options, unit: 'none' }, builder, queries);
};

/**
 * @typedef {Query & { name: string, unit: string, decimals?: number, steps?: Step[], mappings?: d.ValueMapping[],
 *   width?: number, hidden?: boolean }} Column a hidden one only brings its labels
 */
/**
 * A line a thing, a column a query. `by` has the labels of all queries and their headings: rows are joined where the
 * labels that two queries share are equal.
 * @param {Omit<Common, 'unit'> & { columns: Column[], by: Record<string, string>, sort: string, ascending?: boolean,
 *   links?: Record<string, { title: string, url: string }>, labels?: Record<string, d.ValueMapping[]> }} options
 */
export const table = (options) => {
  const { columns, by, sort, ascending = false, links = {}, labels = {} } = options;
  const builder = common(new Table(), { ...options, unit: 'none' })
    .cellHeight(c.TableCellHeight.Sm)
    .cellOptions({ type: c.TableCellDisplayMode.Auto })
    .thresholds(thresholds('clear', []))
    .withTransformation({ id: 'merge', options: {} });
  const names = { ...by };
  /** @type {Record<string, boolean>} */
  const excluded = { Time: true };
  columns.forEach(({ name, hidden }, i) => {
    // Grafana names the column of a single query without the query's letter.
    const column = columns.length === 1 ? 'Value' : `Value #${letter(i)}`;
    if (hidden) excluded[column] = true;
    else names[column] = name;
  });
  const indexByName = Object.fromEntries(Object.keys(names).map((name, index) => [name, index]));
  builder.withTransformation({
    id: 'organize',
    options: { excludeByName: excluded, indexByName, renameByName: names },
  });
  builder.sortBy([new c.TableSortByFieldStateBuilder().displayName(sort).desc(!ascending)]);
  // Grafana would write what the whole table says without rows into every empty cell.
  for (const name of Object.values(names)) builder.overrideByName(name, [{ id: 'noValue', value: '–' }]);
  for (const [heading, { title, url }] of Object.entries(links)) {
    builder.overrideByName(heading, [{ id: 'links', value: [{ title, url, targetBlank: !url.startsWith('/d') }] }]);
  }
  for (const [heading, mappings] of Object.entries(labels)) {
    builder.overrideByName(heading, [{ id: 'mappings', value: mappings }, ...COLOURED]);
  }
  for (const { name, unit, decimals, steps, mappings, width } of columns) {
    const properties = [{ id: 'unit', value: unit }];
    if (decimals !== undefined) properties.push({ id: 'decimals', value: /** @type {any} */ (decimals) });
    if (width !== undefined) properties.push({ id: 'custom.width', value: /** @type {any} */ (width) });
    if (mappings) properties.push({ id: 'mappings', value: /** @type {any} */ (mappings) });
    if (steps) properties.push({ id: 'thresholds', value: /** @type {any} */ (thresholds('clear', steps).build()) });
    if (steps || mappings) properties.push(.../** @type {any} */ (COLOURED));
    builder.overrideByName(name, properties);
  }
  for (const column of columns) builder.withTarget(instant(column).format(prom.PromQueryFormat.Table));
  return panel({ ...options, unit: 'none' }, builder, columns);
};
const COLOURED = [{ id: 'custom.cellOptions', value: { type: 'color-background', mode: 'basic' } }];
/** @param {number} index */
export const letter = (index) => String.fromCharCode(65 + index);

/**
 * A histogram over time: `query` returns the buckets' increases by `le`.
 * @param {Common & { query: Query }} options
 */
export const heatmap = (options) => {
  const builder = common(new heat.PanelBuilder(), options)
    .calculate(false)
    .color(new heat.HeatmapColorOptionsBuilder().mode(heat.HeatmapColorMode.Scheme).scheme('Blues').steps(32))
    .yAxis(new heat.YAxisConfigBuilder().unit(options.unit))
    .cellGap(1)
    .withTarget(range({ legend: '{{le}}', ...options.query }).format(prom.PromQueryFormat.Heatmap));
  return panel(options, builder, [options.query]);
};

/**
 * Every other dashboard, one click away.
 * @param {Omit<Common, 'unit'> & { tag: string }} options
 */
export const boards = ({ width, title, description, tag }) => {
  const builder = new DashboardList().title(title).description(description);
  builder
    .tags([tag])
    .showSearch(true)
    .showStarred(false)
    .showRecentlyViewed(false)
    .showHeadings(false)
    .keepTime(true)
    .maxItems(30);
  return panel({ width, title, description, unit: 'none' }, builder, []);
};

/**
 * Lines of the log that match a Lucene query, newest first.
 * @param {Omit<Common, 'unit'> & { query: string }} options
 */
export const logs = ({ width, title, description, query, noData = 'no such line' }) => {
  const target = new elastic.DataqueryBuilder().datasource(ELASTICSEARCH).query(query).timeField('@timestamp');
  target.metrics([new elastic.LogsBuilder().id('1').settings({ limit: '200' })]).bucketAggs([]);
  const builder = new Logs()
    .title(title)
    .description(description)
    .datasource(ELASTICSEARCH)
    .noValue(noData)
    .withTarget(target);
  builder.showTime(true).wrapLogMessage(true).enableLogDetails(true).sortOrder(c.LogsSortOrder.Descending);
  builder.dedupStrategy(c.LogsDedupStrategy.None);
  return panel({ width, title, description, unit: 'none' }, builder, []);
};

/**
 * The traces that a search in Jaeger finds, as a table that links to each. The SDK has no builder for Jaeger's query.
 * @param {Omit<Common, 'unit'> & { service: string, minDuration?: string, tags?: string }} options
 */
export const traces = ({ width, title, description, service, minDuration, tags, noData = 'no such trace' }) => {
  /** @type {any} */
  const query = { datasource: JAEGER, queryType: 'search', service, limit: 20, refId: 'A' };
  if (minDuration) query.minDuration = minDuration;
  if (tags) query.tags = tags;
  const builder = new Table().title(title).description(description).datasource(JAEGER).noValue(noData);
  builder.cellHeight(c.TableCellHeight.Sm).withTarget({ build: () => query });
  return panel({ width, title, description, unit: 'none' }, builder, []);
};
