// @ts-check
// What can be checked without Grafana. `check.mjs` compares with the files of this repository. `check.mjs --live URL`
// also sends every query to a Prometheus, and fails for each that returns nothing without a declared reason.
import { execFileSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as units from '@grafana/grafana-foundation-sdk/units';
import { parse as parseYaml } from 'yaml';
import { FOLDERS, boards, generated, root } from './build.mjs';
import { LIMITS } from './limits.mjs';
import { SLOS } from './slo/table.mjs';
import { RULES, known, ruleFaults, selectors } from './series.mjs';

/** @param {...string} path */
const read = (...path) => readFileSync(join(root, ...path), 'utf8');
/** @param {string} folder @param {string} end */
const list = (folder, end) => readdirSync(join(root, folder)).filter((name) => name.endsWith(end));

/** @type {string[]} */
const faults = [];
/** @param {unknown} holds @param {string} fault */
const check = (holds, fault) => void (holds || faults.push(fault));

/**
 * Replaces Grafana's variables by values with which a query parses; only $__rate_interval becomes 61 s.
 * @param {string} expr
 */
const fill = (expr) =>
  expr
    .replaceAll('$__rate_interval', '61s')
    .replaceAll('$__range_s', '3600')
    .replaceAll('$__range', '1h')
    .replaceAll(/\$\{?[a-z_]\w*\}?/gi, '.+');

/** @typedef {{ board: string, panel: any, ref: string, expr: string, where: string, instant: boolean }} Query */
const all = await boards();
/** @type {Query[]} */
const queries = all.flatMap(({ uid, json }) => [
  ...json.panels.flatMap((/** @type {any} */ panel) =>
    (panel.targets ?? [])
      .filter((/** @type {any} */ target) => target.expr)
      .map((/** @type {any} */ target) => ({
        board: uid,
        panel,
        ref: target.refId,
        expr: target.expr,
        where: `${uid}: "${panel.title}" ${target.refId}`,
        instant: !!target.instant,
      })),
  ),
  ...json.annotations.list.map((/** @type {any} */ one) => ({
    board: uid,
    panel: one,
    ref: '',
    expr: one.expr,
    where: `${uid}: annotation "${one.name}"`,
  })),
]);

// --- The committed files are what the source makes.
const files = generated(all);
for (const [path, text] of files) {
  check(existsSync(join(root, path)) && read(path) === text, `${path} is not current: grafana/generate`);
}
for (const folder of FOLDERS) {
  for (const file of list(folder, '')) check(files.has(`${folder}/${file}`), `${folder}/${file} has no source`);
}

// --- Structure.
/** @type {any} */
const provisioned = parseYaml(read('grafana/provisioning/datasources/medassist.yml'));
/** @type {Set<string>} */
const sources = new Set(provisioned.datasources.map((/** @type {any} */ source) => source.uid));
const uids = new Set(all.map(({ uid }) => uid));
const knownUnits = new Set(Object.values(units));
check(uids.size === all.length, 'two dashboards have one uid');
for (const { uid, json } of all) {
  check(/^medassist-[a-z]+$/.test(uid) && uid.length <= 40, `${uid}: a uid is medassist- and one word`);
  check(json.title && json.description, `${uid}: no title or no description`);
  check(read('grafana/README.md').includes(`\`${uid}\``), `${uid}: README.md does not list it`);
  check(json.schemaVersion === 42, `${uid}: schema ${json.schemaVersion}: file provisioning reads 42`);
  check(json.editable === false, `${uid}: editable`);
  check(JSON.stringify(json).length < 80_000, `${uid}: more than 80 kB`);
  const panels = json.panels.filter((/** @type {any} */ panel) => panel.type !== 'row');
  const count = queries.filter((query) => query.board === uid).length;
  check(
    panels.length <= 26 && count <= 52,
    `${uid}: ${panels.length} panels and ${count} queries, which is more than 26 or 52`,
  );
  const ids = json.panels.map((/** @type {any} */ panel) => panel.id);
  check(
    new Set(ids).size === ids.length && ids.every((/** @type {number} */ id) => id > 0),
    `${uid}: ids of panels repeat`,
  );
  const titles = panels.map((/** @type {any} */ panel) => panel.title);
  check(new Set(titles).size === titles.length, `${uid}: two panels have one title`);
  for (const panel of panels) checkPanel(uid, panel);
  for (const [, other] of JSON.stringify(json).matchAll(/\/d\/([a-z-]+)/g))
    check(uids.has(other), `${uid}: links to ${other}, which does not exist`);
}

/** @param {string} uid @param {any} panel */
function checkPanel(uid, panel) {
  const where = `${uid}: "${panel.title}"`;
  const { defaults = {}, overrides = [] } = panel.fieldConfig ?? {};
  check(panel.title && panel.description, `${where}: no title or no description`);
  check(panel.pluginVersion, `${where}: no pluginVersion`);
  for (const source of [
    panel.datasource,
    ...(panel.targets ?? []).map((/** @type {any} */ target) => target.datasource),
  ]) {
    check(
      !source || source.uid === '${datasource}' || sources.has(source.uid),
      `${where}: data source ${source?.uid} is not provisioned`,
    );
  }
  const { x, w } = panel.gridPos;
  check(x + w <= 24, `${where}: wider than the grid`);
  if (panel.type === 'dashlist' || !panel.targets?.[0]?.expr) return;
  const overridden = overrides.flatMap((/** @type {any} */ one) =>
    one.properties.filter((/** @type {any} */ p) => p.id === 'unit').map((/** @type {any} */ p) => p.value),
  );
  for (const unit of [defaults.unit, ...overridden])
    check(knownUnits.has(unit), `${where}: ${unit} is not a unit of Grafana`);
  if (panel.type === 'table') check(overridden.length === panel.targets.length, `${where}: a column has no unit`);
  if (panel.type === 'stat' && panel.options.graphMode === 'none') {
    check(
      panel.targets.every((/** @type {any} */ target) => target.instant),
      `${where}: a range would show a dead exporter's last value`,
    );
    const absent = defaults.mappings?.some((/** @type {any} */ mapping) => mapping.options?.match === 'null+nan');
    check(absent, `${where}: without data it takes the base colour`);
  }
}

// --- Queries.
for (const { expr, where, panel } of queries) {
  const text = fill(expr);
  const errors = selectors(text, (name, node) => {
    check(name, `${where}: a selector has no name: ${expr}`);
    check(!name || known(name), `${where}: ${name} is in no METRICS.md, no rule and no list of grafana/series`);
    const counter = /_(total|bucket|sum|count)$/.test(name);
    check(
      !counter || node.parent?.name === 'MatrixSelector' || counted(node, text),
      `${where}: ${name} is a counter: rate() or increase()`,
    );
  });
  for (const at of errors) faults.push(`${where}: not PromQL at "${at}": ${expr}`);
  if (!['timeseries', 'heatmap'].includes(panel.type)) continue;
  for (const [call, window] of text.matchAll(/\b(?:rate|increase|irate)\([^[]*\[(\w+)\]/g))
    check(window === '61s', `${where}: a curve's window is $__rate_interval: ${call}`);
}
faults.push(...ruleFaults());
/**
 * Whether `count` is all that reads the selector.
 * @param {import('@lezer/common').SyntaxNode} node @param {string} text
 */
function counted(node, text) {
  const aggregate = node.parent?.parent;
  return aggregate?.name === 'AggregateExpr' && text.slice(aggregate.from).startsWith('count');
}
// promtool names the rule that it refuses: the name leads to the panel.
promtool(
  queries.map(({ board, panel, ref, expr }) => ({
    record: `${board}:${panel.title ?? panel.name}:${ref}`.replaceAll(/[^\w:]/g, '_'),
    expr: fill(expr),
  })),
);
/** Types as well as syntax. @param {any[]} rules */
function promtool(rules) {
  const work = mkdtempSync(join(tmpdir(), 'dashboards-'));
  try {
    // JSON is YAML.
    writeFileSync(join(work, 'rules.yml'), JSON.stringify({ groups: [{ name: 'dashboards', rules }] }));
    execFileSync('promtool', ['check', 'rules', '--lint=none', join(work, 'rules.yml')], {
      encoding: 'utf8',
      stdio: 'pipe',
    });
  } catch (error) {
    const { stdout = '', stderr = '', message } = /** @type {any} */ (error);
    faults.push(`promtool: ${stderr || stdout || message}`);
  } finally {
    rmSync(work, { recursive: true });
  }
}

// --- Limits are the rules'.
for (const [name, limit] of Object.entries(LIMITS)) {
  const { bad, rule } = /** @type {import('./limits.mjs').Limit} */ (limit);
  if (!rule) continue;
  const expr = RULES.find(({ alert }) => alert === rule)?.expr;
  check(expr, `limits.mjs: ${name} names the alert ${rule}, which does not exist`);
  check(new RegExp(`[<>]=? ${bad}(\\s|$)`).test(expr ?? ''), `limits.mjs: ${name} is ${bad}, but not in ${rule}`);
}
for (const { id, rule, budget, window } of SLOS) {
  if (!rule) continue;
  const expr = RULES.find(({ alert }) => alert === rule)?.expr ?? '';
  check(
    new RegExp(`> ${budget}(\\s|$)`).test(expr) && expr.includes(`[${window}]`),
    `slos.yml: ${id} allows ${budget} in ${window}, but ${rule} does not`,
  );
}
check(
  SLOS.some(({ goodWhile }) => goodWhile?.includes(`<= bool ${LIMITS.recoveryPoint.bad})`)),
  `slos.yml: no SLO has the recovery point of limits.mjs, ${LIMITS.recoveryPoint.bad} s`,
);
const ALERT_NAME = /\b(?:AllApi|Alertmanager|Api|Backup|Container|Exporter|Haproxy|Mysql|Nginx|Node|Prometheus|RecoveryPoint|Redis|Slo|Target)[A-Z]\w+\b/g;
const runbooks = new Set(list('runbooks', '.md').map((file) => file.replace(/\.md$/, '')));
for (const { uid, json } of all) {
  for (const [alert] of JSON.stringify(json).matchAll(ALERT_NAME)) {
    check(runbooks.has(alert), `${uid}: names ${alert}, which has no runbook`);
  }
}

// --- Provisioning.
check(provisioned.apiVersion === 1, 'datasources: apiVersion is not 1');
for (const source of provisioned.datasources) {
  check(
    source.uid && source.name && source.type && source.url && source.editable === false,
    `data source ${source.name}: uid, type, url or editable: false is missing`,
  );
}
for (const [, uid] of read('grafana/provisioning/datasources/medassist.yml').matchAll(
  /(?:datasourceUid|alertmanagerUid): (\S+)/g,
)) {
  check(sources.has(uid), `data sources: ${uid} is linked to and not declared`);
}
// Grafana expands $NAME in every string, and leaves nothing where it is not set: $$ is a dollar.
for (const [found] of JSON.stringify(provisioned)
  .replaceAll('$$', '')
  .matchAll(/\$(?!__file\{|__env\{)\S*/g)) {
  faults.push(`data sources: ${found} would be expanded`);
}
for (const provider of parseYaml(read('grafana/provisioning/dashboards/medassist.yml')).providers) {
  check(
    provider.folderUid && provider.allowUiUpdates === false && provider.options.path,
    `provider ${provider.name}: folderUid, allowUiUpdates: false or path is missing`,
  );
}

// --- Live.
const url = process.argv[2] === '--live' ? process.argv[3] : undefined;
if (url && !faults.length) await live(url);

/** @param {string} prometheus */
async function live(prometheus) {
  const end = Date.now() / 1000;
  let empty = 0;
  for (const query of queries.filter(({ ref }) => ref)) {
    const expr = fill(query.expr);
    const range = query.instant ? { time: end } : { start: end - 1800, end, step: 15 };
    const body = new URLSearchParams(
      Object.entries({ query: expr, ...range }).map(([name, value]) => [name, `${value}`]),
    );
    const answer = await fetch(`${prometheus}/api/v1/${query.instant ? 'query' : 'query_range'}`, {
      method: 'POST',
      body,
      signal: AbortSignal.timeout(30_000),
    });
    /** @type {any} */
    const { status, error, data } = await answer.json();
    check(status === 'success', `${query.where}: ${error}: ${expr}`);
    if (status !== 'success') continue;
    const declared = all
      .find(({ uid }) => uid === query.board)
      ?.empty.find(({ panel, ref }) => panel === query.panel.title && ref === query.ref);
    if (!data.result.length) empty += 1;
    check(data.result.length || declared, `${query.where}: no data, and no reason is declared: ${expr}`);
    if (query.panel.type !== 'table') continue;
    const { renameByName, excludeByName } = query.panel.transformations[1].options;
    const labels = Object.keys({ ...renameByName, ...excludeByName })
      .filter((name) => name !== 'Time' && !name.startsWith('Value'))
      .sort()
      .join();
    for (const { metric } of data.result) {
      // A label that no series of this kind has is absent, not empty.
      const found = Object.keys(metric).every((name) => labels.split(',').includes(name));
      check(found, `${query.where}: labels ${Object.keys(metric)}, and the table joins its rows by ${labels}`);
    }
  }
  console.log(`dashboards: ${queries.length} queries sent; ${empty} returned nothing, each with a declared reason`);
}

for (const fault of faults) console.error(`FAILED: ${fault}`);
if (faults.length) process.exit(1);
console.log(`dashboards: ${all.length} dashboards, ${queries.length} queries and the provisioning are in order`);
