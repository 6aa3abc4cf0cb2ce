// @ts-check
// The part of prometheus/slo/README.md that lists the SLOs.
import { SLOS, SPEEDS, seconds } from './table.mjs';

const START = '<!-- generated: grafana/generate -->\n';
const END = '<!-- end -->\n';

/** @param {number} minutes */
const length = (minutes) => (minutes < 1 ? `${Number((minutes * 60).toPrecision(3))} s` : `${Number(minutes.toPrecision(4))} min`);

/** @param {import('./table.mjs').Slo} slo */
const row = (slo) => {
  const kind = slo.goodWhile ? 'time' : 'events';
  const minimum = slo.minimum
    ? slo.goodWhile
      ? `${slo.minimum.bad} s bad`
      : `${slo.minimum.events} events, ${slo.minimum.bad} bad`
    : '–';
  const alert = slo.alert
    ? `${slo.alert} ${Object.keys(SPEEDS)
        .map((speed) => slo.severity[/** @type {'fast' | 'slow'} */ (speed)])
        .filter(Boolean)
        .join(', ')}`
    : slo.rule;
  const budget = length((slo.budget * seconds(slo.window)) / 60);
  return `| \`${slo.id}\` | ${slo.title} | ${slo.objective} % | ${slo.window} | ${budget} | ${kind} | ${minimum} | ${alert} |`;
};

/** @param {string} text the file as it is */
export const readme = (text) => {
  const [before, rest] = text.split(START);
  const after = rest?.split(END)[1];
  if (after === undefined) throw new Error('prometheus/slo/README.md: the marks of the generated part are missing');
  const table = `| \`sloth_id\` | SLO | Objective | Window | Error budget | Counts | Minimum | Alert, severities |
|---|---|---|---|---|---|---|---|
${SLOS.map(row).join('\n')}
`;
  return before + START + table + END + after;
};
