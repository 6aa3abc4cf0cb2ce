// @ts-check
// A page for each dashboard, for where there is no Grafana: what it shows, and each query as a link into Prometheus.

/** The local stack's Prometheus. */
const PROMETHEUS = 'http://127.0.0.1:19090';

/** @param {string} text */
const escaped = (text) =>
  text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;').replaceAll('"', '&quot;');

/** Prometheus has no variables of Grafana: all values, and windows that suit an hour. @param {string} expr */
const plain = (expr) =>
  expr
    .replaceAll('$__rate_interval', '1m')
    .replaceAll('$__range_s', '3600')
    .replaceAll('$__range', '1h')
    .replaceAll(/\$\{?[a-z_]\w*\}?/gi, '.+');

/** @param {{ expr: string, legendFormat?: string, instant?: boolean }} target */
const query = ({ expr, legendFormat, instant }) => {
  const text = plain(expr);
  const url = `${PROMETHEUS}/graph?g0.expr=${encodeURIComponent(text)}&g0.tab=${instant ? 1 : 0}&g0.range_input=1h`;
  const name = legendFormat && legendFormat !== '__auto' ? `${escaped(legendFormat)}: ` : '';
  return `<li>${name}<a href="${escaped(url)}"><code>${escaped(text)}</code></a></li>`;
};

/** @param {any} panel */
const panel = (panel) => {
  if (panel.type === 'row') return `<h2>${escaped(panel.title)}</h2>`;
  const targets = (panel.targets ?? []).filter((/** @type {any} */ target) => target.expr);
  const list = targets.length ? `<ul>${targets.map(query).join('')}</ul>` : '';
  return `<h3>${escaped(panel.title)}</h3>\n<p>${escaped(panel.description)}</p>\n${list}`;
};

/**
 * @param {import('./board.mjs').Board} board
 * @param {import('./board.mjs').Board[]} all
 */
export const page = ({ json }, all) => `<!DOCTYPE html>
<!-- Made by grafana/generate: do not edit. -->
<html lang="en">
<head>
<meta charset="utf-8">
<title>${escaped(json.title)} – MedAssist</title>
<style>
body { font: 16px/1.4 sans-serif; max-width: 60rem; margin: 1rem auto; padding: 0 1rem; }
h2 { border-bottom: 1px solid; margin-top: 2rem; }
h3 { margin-bottom: 0; }
p { margin: 0; }
code { overflow-wrap: anywhere; }
</style>
</head>
<body>
<nav>${all.map((other) => `<a href="/d/${other.uid}">${escaped(other.json.title)}</a>`).join(' · ')}</nav>
<h1>${escaped(json.title)}</h1>
<p>${escaped(json.description)} The local stack has no Grafana: each query opens in Prometheus. <a href="${PROMETHEUS}/alerts">Alerts</a></p>
${json.panels.map(panel).join('\n')}
</body>
</html>
`;
