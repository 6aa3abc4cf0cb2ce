// @ts-check
// PromQL that more than one panel uses. `R` is Grafana's window for curves: at least four scrapes.

import { LIMITS } from './limits.mjs';
import { SLOS } from './slo/table.mjs';

export const R = '$__rate_interval';
export const FRONTEND = 'proxy="fe_api"';
export const BACKEND = 'proxy="be_api"';
/** Requests of people, as in the rule: health checks are many and fast, and would hide slow requests. */
export const WORK = 'http_route!~"/livez|/readyz|/health"';

/** 0 healthy, 1 degraded, 2 down; no series while the exporter is down. @param {string} service */
export const verdict = (service) =>
  `2 * max(${service}_health_status{status="down"}) + max(${service}_health_status{status="degraded"})`;

/**
 * 3 unknown where `expr` has no series because the exporter of `job` is silent: a timeline may not show a series' end.
 * @param {string} expr @param {string} job
 */
export const orUnknown = (expr, job) => `${expr} or 3 + 0 * max(up{job="${job}"})`;
/** @param {string} service */
export const verdictOrUnknown = (service) => orUnknown(verdict(service), service);

/** 0 ok, 1 warn, 2 fail, by check. @param {string} service @param {string} [selector] */
export const checks = (service, selector = '') => {
  const by = (/** @type {string} */ status) =>
    `max by (check) (${service}_health_check_status{${[selector, `status="${status}"`].filter(Boolean).join(', ')}})`;
  return `2 * ${by('fail')} + ${by('warn')}`;
};

/** Fires all the time, so that its absence shows a broken path of alerts. */
const REAL = 'alertname!="Watchdog"';
/**
 * 2 firing, 1 pending, 0 quiet: the third part says that an alert of this time range has ended.
 * @param {{ by?: string, selector?: string }} [options]
 */
export const alerts = ({ by = 'alertname, severity', selector = REAL } = {}) =>
  `2 * max by (${by}) (ALERTS{${selector}, alertstate="firing"})` +
  ` or max by (${by}) (ALERTS{${selector}, alertstate="pending"})` +
  ` or 0 * max by (${by}) (max_over_time(ALERTS{${selector}}[$__range]))`;

/** Since when each alert fires, in milliseconds as Grafana's times are. */
export const firingSince = `1000 * (ALERTS_FOR_STATE{${REAL}} and ignoring (alertstate) ALERTS{alertstate="firing"})`;
/** How many alerts fire. @param {string} selector */
export const firing = (selector) => `count(ALERTS{${REAL}, alertstate="firing", ${selector}}) or vector(0)`;

/** SLOs whose window is minutes: their budget comes and goes with each fault. */
const BRIEF = SLOS.filter(({ alert }) => !alert).map(({ id }) => id);
/** Without them. */
export const MONTHLY = `sloth_id!~"${BRIEF.join('|')}"`;
/** What is left of the error budget of a service, or of all: the worst SLO. @param {string} [service] */
export const budgetLeft = (service) =>
  `min(slo:period_error_budget_remaining:ratio{${service ? `sloth_service="${service}", ` : ''}${MONTHLY}})`;

const OWN = ['mysql', 'redis', 'haproxy', 'nginx', 'backup'];
/** Their process is the exporter's, not that of what it observes. */
export const EXPORTERS = `job=~"${OWN.join('|')}"`;
/** The same series of each exporter. @param {(name: string) => string} query of a namespace, such as mysql_exporter */
export const ofExporters = (query) => OWN.map((name) => query(`${name}_exporter`)).join(' or ');

/** A version or revision that did not run 5 min ago, of a program that did. */
export const deployments = (() => {
  // mysql-exporter has its peer's name for it.
  const programs = ['app', ...OWN.map((name) => (name === 'mysql' ? 'mysqld_exporter' : `${name}_exporter`))];
  const running = (/** @type {string} */ offset) =>
    `max by (job, version, revision) (${programs.map((name) => `${name}_build_info${offset}`).join(' or ')})`;
  return `${running('')} unless on (job, version, revision) ${running(' offset 5m')} and on (job) max by (job) (up offset 5m)`;
})();
const OTHERS = `job!~"${OWN.join('|')}"`;
/**
 * What started in the last minute, however long it was away. The API has no start time: its
 * scrapes succeed again, or its counters begin again.
 */
export const starts =
  'max by (job, instance, program) (' +
  `label_replace(time() - process_start_time_seconds{${EXPORTERS}} < 60, "program", "exporter", "", "")` +
  ` or time() - process_start_time_seconds{${OTHERS}} < 60` +
  ' or haproxy_process_uptime_seconds < 60' +
  ' or mysql_global_status_uptime < 60' +
  ' or redis_uptime_in_seconds < 60' +
  ' or up{job="api"} == 1 and up{job="api"} offset 1m == 0' +
  ' or resets(http_server_request_duration_seconds_count{job="api", http_route="/readyz"}[1m]) > 0)';

export const serversInService = `max(haproxy_backend_active_servers{${BACKEND}})`;

/** Share of 5xx at HAProxy's frontend, where its own 502, 503 and 504 count as well. @param {string} window */
export const errorShare = (window) =>
  `sum(rate(haproxy_frontend_http_responses_total{${FRONTEND}, code="5xx"}[${window}]))` +
  ` / (sum(rate(haproxy_frontend_http_responses_total{${FRONTEND}}[${window}])) > 0)`;

/** Without 1xx and "other", which nothing here answers with. */
export const responsesByClass = `sum by (code) (rate(haproxy_frontend_http_responses_total{${FRONTEND}, code=~"[2-5]xx"}[${R}]))`;

/**
 * A quantile of the requests' duration.
 * @param {number} q @param {{ window?: string, selector?: string, by?: string }} [options]
 */
export const duration = (q, { window = R, selector = '', by = '' } = {}) => {
  const matchers = [selector, WORK].filter(Boolean).join(', ');
  const labels = [by, 'le'].filter(Boolean).join(', ');
  return `histogram_quantile(${q}, sum by (${labels}) (rate(http_server_request_duration_seconds_bucket{${matchers}}[${window}])))`;
};

/** @param {string[]} matchers */
const braces = (...matchers) => {
  const all = matchers.filter(Boolean).join(', ');
  return all ? `{${all}}` : '';
};

/**
 * Share of processor time at work; waiting for the disk counts as idle, as in the rule.
 * @param {string} window @param {string} [selector]
 */
export const cpu = (window, selector = '') =>
  `1 - sum by (instance) (rate(node_cpu_seconds_total${braces(selector, 'mode=~"idle|iowait"')}[${window}]))` +
  ` / (sum by (instance) (rate(node_cpu_seconds_total${braces(selector)}[${window}])) > 0)`;

/** @param {string} [selector] */
export const load = (selector = '') =>
  `sum by (instance) (node_load5${braces(selector)})` +
  ` / (count by (instance) (node_cpu_seconds_total${braces(selector, 'mode="idle"')}) > 0)`;

/** @param {string} [selector] */
export const memory = (selector = '') =>
  `1 - node_memory_MemAvailable_bytes${braces(selector)} / (node_memory_MemTotal_bytes${braces(selector)} > 0)`;

/** Mounts that hold data: not memory, not images that are always full, not the layers of containers. */
const MOUNTS = 'fstype!~"tmpfs|ramfs|squashfs|overlay|iso9660"';
/** @param {string} [selector] */
export const space = (selector = '') =>
  `1 - node_filesystem_avail_bytes${braces(selector, MOUNTS)} / (node_filesystem_size_bytes${braces(selector, MOUNTS)} > 0)`;
/** @param {string} [selector] */
export const inodes = (selector = '') =>
  `1 - node_filesystem_files_free${braces(selector, MOUNTS)} / (node_filesystem_files${braces(selector, MOUNTS)} > 0)`;
/**
 * Seconds until the mount is full if it fills as in the last 6 h; no series in the first hour, and while it does not.
 * @param {string} [selector]
 */
export const fullIn = (selector = '') => {
  const free = `node_filesystem_avail_bytes${braces(selector, MOUNTS)}`;
  return `${free} / (-deriv(${free}[6h]) > 0) and ${free} offset 1h`;
};

/** 0 healthy; 1 fewer servers than there are, or more errors than the alert allows; 2 no server. */
export const api = orUnknown(
  `clamp_max((${serversInService} < bool count(up{job="api"})) + (${errorShare(R)} > bool ${LIMITS.errors.bad} or vector(0)), 1)` +
    ` + (${serversInService} == bool 0)`,
  'haproxy',
);

/** Age of what a restore now would bring back. @param {string} [backup] */
export const recoveryPointAge = (backup = 'mysql') =>
  `time() - max(backup_last_recovery_point_timestamp_seconds{backup="${backup}"})`;

/** Share of periods in which a container used up its processor time. @param {string} window @param {string} selector */
export const throttled = (window, selector) =>
  `rate(container_cpu_cfs_throttled_periods_total{${selector}}[${window}])` +
  ` / (rate(container_cpu_cfs_periods_total{${selector}}[${window}]) > 0)`;

/** @param {string} selector */
export const memoryOfLimit = (selector) =>
  `container_memory_working_set_bytes{${selector}} / (container_spec_memory_limit_bytes{${selector}} > 0)`;
