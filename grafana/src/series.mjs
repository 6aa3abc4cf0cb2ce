// @ts-check
// The series that queries may name: of our METRICS.md files, of recording rules, and of third parties by the lists in grafana/series.
import { existsSync, readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { parser } from '@prometheus-io/lezer-promql';
import { parse } from 'yaml';
import { root } from './build.mjs';

/** @param {...string} path */
const read = (...path) => readFileSync(join(root, ...path), 'utf8');
/** @param {string} folder @param {string} end */
const list = (folder, end) => readdirSync(join(root, folder)).filter((name) => name.endsWith(end));

/** @typedef {{ alert?: string, record?: string, expr: string, annotations?: Record<string, string>, file: string }} Rule */
/** @type {Rule[]} */
export const RULES = list('prometheus/rules', '.yml').flatMap((file) =>
  parse(read('prometheus/rules', file)).groups.flatMap((/** @type {any} */ group) =>
    group.rules.map((/** @type {any} */ rule) => ({ ...rule, file: `rules/${file}` })),
  ),
);

/** What Prometheus itself writes. */
const OWN = ['ALERTS', 'ALERTS_FOR_STATE'];
/** @type {Set<string>} */
const names = new Set([...OWN, ...RULES.flatMap(({ record }) => record ?? [])]);
/** Names that end in an angle bracket's part are known at run time only. @type {RegExp[]} */
const patterns = [];
for (const folder of list('exporters', '')) {
  if (!existsSync(join(root, 'exporters', folder, 'METRICS.md'))) continue;
  for (const [, name, type] of read('exporters', folder, 'METRICS.md').matchAll(/^\| `([a-z][\w:<>]*)` \| (\w+)/gim)) {
    if (name.includes('<')) patterns.push(new RegExp(`^${name.replaceAll(/<\w+>/g, '\\w+')}$`));
    else names.add(name);
    if (type === 'histogram') for (const part of ['bucket', 'sum', 'count']) names.add(`${name}_${part}`);
  }
}
for (const file of list('grafana/series', '.txt')) {
  for (const line of read('grafana/series', file).split('\n')) if (line && !line.startsWith('#')) names.add(line);
}
if (names.size < 500) throw new Error('the lists of series were not read');

/** @param {string} name */
export const known = (name) => names.has(name) || patterns.some((pattern) => pattern.test(name));

/**
 * Each selector of a query, with the name of its series; `''` if it has none.
 * @param {string} expr
 * @param {(name: string, node: import('@lezer/common').SyntaxNode) => void} visit
 * @returns {string[]} where it is not PromQL
 */
export const selectors = (expr, visit) => {
  /** @type {string[]} */
  const errors = [];
  parser.parse(expr).iterate({
    enter(node) {
      const part = expr.slice(node.from, node.to);
      if (node.type.isError) errors.push(expr.slice(node.from, node.from + 30));
      if (node.name === 'VectorSelector') visit(/^[a-zA-Z_:][\w:]*/.exec(part)?.[0] ?? '', node.node);
    },
  });
  return errors;
};

/** The queries of a rule: its expression, and those in its texts. @param {Rule} rule */
const queriesOf = ({ expr, annotations = {} }) => [
  expr,
  ...Object.values(annotations).flatMap((text) =>
    [...text.matchAll(/\bquery\s+(?:`([^`]+)`|"((?:[^"\\]|\\.)+)")/g)].map(([, plain, quoted]) => plain ?? JSON.parse(`"${quoted}"`)),
  ),
];

/** Faults of the rules: series that nobody declares. */
export const ruleFaults = () =>
  RULES.flatMap((rule) =>
    queriesOf(rule).flatMap((expr) => {
      /** @type {string[]} */
      const faults = [];
      const where = `${rule.file}: ${rule.alert ?? rule.record}`;
      const errors = selectors(expr, (name) => {
        if (!name) faults.push(`${where}: a selector has no name: ${expr}`);
        else if (!known(name)) faults.push(`${where}: ${name} is in no METRICS.md, no rule and no list of grafana/series`);
      });
      return [...faults, ...errors.map((at) => `${where}: not PromQL at "${at}"`)];
    }),
  );
