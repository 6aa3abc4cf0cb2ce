// @ts-check
// Limits that several dashboards draw. `bad` is the limit of the alert named in `rule`; `grafana/check` fails when the
// rule has another one. `warn` is a step below it, which shows before the alert.

import { SLOS, SPEEDS } from './slo/table.mjs';

/** @typedef {{ warn: number, bad: number, rule?: string }} Limit */

/** @satisfies {Record<string, Limit>} */
export const LIMITS = {
  errors: { warn: 0.01, bad: 0.05, rule: 'ApiErrorRateHigh' },
  latency: { warn: 0.5, bad: 0.8, rule: 'ApiLatencyHigh' },
  cpu: { warn: 0.7, bad: 0.85, rule: 'NodeCpuHigh' },
  memory: { warn: 0.8, bad: 0.9, rule: 'NodeMemoryHigh' },
  load: { warn: 1, bad: 2, rule: 'NodeLoadHigh' },
  /** 30 min is the job's own target, backup_rpo_target_seconds; 80 % of it is where the exporter's check warns. */
  recoveryPoint: { warn: 1440, bad: 1800 },
  restoreTest: { warn: 24 * 3600, bad: 26 * 3600, rule: 'MysqlRestoreTestOld' },
  /** 60 min is the target, backup_rto_target_seconds. */
  restore: { warn: 2880, bad: 3600 },
  space: { warn: 0.8, bad: 0.9, rule: 'NodeFilesystemSpaceLow' },
  containerMemory: { warn: 0.8, bad: 0.9, rule: 'ContainerMemoryHigh' },
  redisMemory: { warn: 0.8, bad: 0.9, rule: 'RedisMemoryHigh' },
  busyDisk: { warn: 0.7, bad: 0.9 },
  diskLatency: { warn: 0.01, bad: 0.02 },
  /** Shares of time in which at least one task waits (pressure stall information). */
  waiting: { warn: 0.1, bad: 0.2 },
  waitingForMemory: { warn: 0.05, bad: 0.1 },
  throttled: { warn: 0.1, bad: 0.25, rule: 'ContainerThrottled' },
  connections: { warn: 0.7, bad: 0.85, rule: 'MysqlConnectionsHigh' },
  haproxyConnections: { warn: 0.7, bad: 0.8, rule: 'HaproxyConnectionsHigh' },
  scrape: { warn: 1, bad: 2.4, rule: 'TargetScrapeSlow' },
};

/** What the objective of the latency allows. */
export const SLOW_SHARE = SLOS.find(({ id }) => id === 'api-latency')?.budget ?? 0;
/** Of an error budget, what is left: overspent, nearly, enough. @type {import('./style.mjs').Step[]} */
export const BUDGET = [
  [0, 'warn'],
  [0.25, 'ok'],
];
/** Burn rates of the burn-rate alerts. @param {'fast' | 'slow'} speed @returns {number[]} */
const factors = (speed) => SPEEDS[speed].map(({ factor }) => factor);
const [hour, hours] = factors('fast');
const [day, days] = factors('slow');
/** @type {import('./style.mjs').Step[]} */
export const BURN_1H = [
  [day, 'warn'],
  [hour, 'bad'],
];
/** @type {import('./style.mjs').Step[]} */
export const BURN_6H = [
  [days, 'warn'],
  [hours, 'bad'],
];
/** A service that runs for less than this was restarted just now. */
export const JUST_STARTED = 900;

/** @param {Limit} limit @returns {import('./style.mjs').Step[]} */
export const steps = ({ warn, bad }) => [
  [warn, 'warn'],
  [bad, 'bad'],
];
/** @param {Limit} limit @returns {import('./style.mjs').Step[]} */
export const line = ({ bad }) => [[bad, 'bad']];
