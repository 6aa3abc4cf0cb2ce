// @ts-check
// Writes the dashboards' JSON, and the list of queries without data on a sound stack, into a folder.
import { mkdirSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

/** @returns {Promise<import('./board.mjs').Board[]>} */
export const boards = async () => {
  const folder = new URL('boards/', import.meta.url);
  const files = readdirSync(folder).filter((file) => file !== 'shared.mjs');
  return Promise.all(files.sort().map(async (file) => (await import(new URL(file, folder).href)).default));
};

/** @param {import('./board.mjs').Board[]} all */
export const emptyQueries = (all) => {
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

if (process.argv[1] === new URL(import.meta.url).pathname) {
  const folder = process.argv[2];
  if (!folder) throw new Error('usage: build.mjs FOLDER');
  const all = await boards();
  const dashboards = join(folder, 'dashboards');
  mkdirSync(dashboards, { recursive: true });
  // File by file: the folder itself may be mounted into a running container.
  for (const file of readdirSync(dashboards)) rmSync(join(dashboards, file));
  for (const { uid, json } of all) writeFileSync(join(dashboards, `${uid}.json`), JSON.stringify(json, null, 1) + '\n');
  writeFileSync(join(folder, 'empty-queries.md'), emptyQueries(all));
}
