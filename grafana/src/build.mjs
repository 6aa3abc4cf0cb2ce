// @ts-check
// Writes what is generated: the dashboards' JSON and pages, the list of queries without data, and all that the table of SLOs makes.
import { mkdirSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { page } from './pages.mjs';
import { readme } from './slo/readme.mjs';
import { rules } from './slo/rules.mjs';
import { matrix } from './slo/tests.mjs';

export const root = new URL('../../', import.meta.url).pathname;
/** Folders in which every file is generated. */
export const FOLDERS = ['grafana/dashboards', 'grafana/pages'];
const SLO_README = 'prometheus/slo/README.md';

/** @returns {Promise<import('./board.mjs').Board[]>} */
export const boards = async () => {
  const folder = new URL('boards/', import.meta.url);
  const files = readdirSync(folder).filter((file) => file !== 'shared.mjs');
  return Promise.all(files.sort().map(async (file) => (await import(new URL(file, folder).href)).default));
};

/** @param {import('./board.mjs').Board[]} all */
const emptyQueries = (all) => {
  const cell = (/** @type {string} */ text) => text.replaceAll('|', '\\|');
  const lines = all.flatMap(({ json, empty }) =>
    empty.map(({ panel, ref, until }) => `| ${json.title} | ${cell(panel)} | ${ref} | ${cell(until)} |`),
  );
  return `# Queries without data

Made by \`grafana/generate\`. On a sound stack these queries return nothing; every other query returns data, as \`grafana/check --live\` proves.

| Dashboard | Panel | Query | Returns data when |
|---|---|---|---|
${lines.join('\n')}
`;
};

/** Each generated file's text, by its path in the repository. @param {import('./board.mjs').Board[]} all @returns {Map<string, string>} */
export const generated = (all) =>
  new Map([
    ...all.flatMap((board) => /** @type {[string, string][]} */ ([
      [`grafana/dashboards/${board.uid}.json`, JSON.stringify(board.json, null, 1) + '\n'],
      [`grafana/pages/${board.uid}.html`, page(board, all)],
    ])),
    ['grafana/empty-queries.md', emptyQueries(all)],
    ['prometheus/rules/slo.yml', rules()],
    ['prometheus/rules/tests/slo-matrix.yml', matrix()],
    [SLO_README, readme(readFileSync(join(root, SLO_README), 'utf8'))],
  ]);

if (process.argv[1] === new URL(import.meta.url).pathname) {
  const files = generated(await boards());
  // File by file: a folder itself may be mounted into a running container.
  for (const folder of FOLDERS) {
    mkdirSync(join(root, folder), { recursive: true });
    for (const file of readdirSync(join(root, folder))) {
      if (!files.has(`${folder}/${file}`)) rmSync(join(root, folder, file));
    }
  }
  for (const [path, text] of files) {
    mkdirSync(dirname(join(root, path)), { recursive: true });
    writeFileSync(join(root, path), text);
  }
}
