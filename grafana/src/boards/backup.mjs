// @ts-check
import { LIMITS, steps } from '../limits.mjs';
import { band, board } from '../board.mjs';
import { stat, table, timeSeries, timeline } from '../panels.mjs';
import * as q from '../queries.mjs';
import { words } from '../style.mjs';
import { budgetLeft, checks, serviceAlerts, verdict } from './shared.mjs';

const BACKUP = 'backup="mysql"';
/** @param {string} name */
const series = (name) => `backup_${name}{${BACKUP}}`;
const OFFSITE = 'the job copies backups off-site, as on the local stack';
const BINLOG = 'the job receives the binary log, as on the local stack';
const PROOF = '`mysql-backup verify --restore` has proven a backup';
const GOOD = words({ 0: ['ok', 'ok'], 1: ['failed', 'bad'] });

export default board({
  uid: 'medassist-backup',
  title: 'Backups and recovery point',
  description: 'What would a restore lose now, and is there something to restore?',
  services: ['backup'],
  from: 'now-24h',
  bands: [
    band(
      'Health',
      4,
      stat({
        width: 4,
        title: 'Would be lost now',
        description:
          'Age of the data that a restore would bring back, not of the file. Red is the target of 30 min: runbook MysqlBackupRpoExceeded.',
        unit: 'dtdurations',
        decimals: 1,
        query: { expr: q.recoveryPointAge() },
        steps: steps(LIMITS.recoveryPoint),
        noData: 'no backup',
      }),
      stat({
        width: 3,
        title: 'Last run',
        description: 'Whether the last run of the job succeeded. Failed: runbook MysqlBackupFailed.',
        unit: 'none',
        base: 'none',
        query: { expr: `min(${series('last_run_success')})` },
        mappings: [words({ 0: ['failed', 'bad'], 1: ['ok', 'ok'] })],
      }),
      verdict({
        width: 3,
        title: 'Checks',
        service: 'backup',
        description: 'Verdict of the health checks of the backups. The panel below names the check.',
      }),
      stat({
        width: 3,
        title: 'Complete backups',
        description: 'Backups that can be restored. None is the recovery point missed: runbook MysqlBackupRpoExceeded.',
        unit: 'short',
        decimals: 0,
        base: 'bad',
        query: { expr: `max(${series('complete_files')})` },
        steps: [[1, 'ok']],
      }),
      stat({
        width: 3,
        title: 'Goes back to',
        description: 'Age of the oldest backup that is still there: how far back one can go.',
        unit: 'dtdurations',
        decimals: 0,
        base: 'none',
        query: { expr: `time() - min(${series('oldest_complete_timestamp_seconds')})` },
        noData: 'no backup',
      }),
      stat({
        width: 2,
        title: 'Room for more',
        description: 'Free space, in backups of the usual size. Few: runbook MysqlBackupSpaceLow.',
        unit: 'short',
        decimals: 0,
        base: 'bad',
        query: { expr: `min(${series('filesystem_avail_bytes')} / (${series('size_median_bytes')} > 0))` },
        steps: [
          [5, 'warn'],
          [20, 'ok'],
        ],
        noData: 'no backup',
      }),
      budgetLeft(3, 'backup'),
      serviceAlerts(3, 'backup'),
    ),
    band(
      'Since when?',
      8,
      timeSeries({
        width: 14,
        title: 'Age of the recovery point',
        description:
          'Each tooth is a run. A tooth that grows is a run that failed or is missing; at the target, data are lost beyond what was promised.',
        unit: 's',
        queries: [
          { expr: q.recoveryPointAge(), legend: 'age' },
          { expr: `max(${series('rpo_target_seconds')})`, legend: 'target' },
        ],
        limits: ['target'],
      }),
      timeline({
        width: 10,
        title: 'Sources of the backup status',
        description:
          'Is the backup at fault, or only what observes it? Manifest and push come from the job, directory and exporter from its observer.',
        queries: [
          { legend: 'manifest', expr: `1 - min(${series('last_run_success')})` },
          { legend: 'push', expr: '1 - min(mysql_backup_status)' },
          { legend: 'directory', expr: `1 - min(${series('scan_success')})` },
          { legend: 'exporter', expr: '1 - min(up{job="backup"})' },
        ],
        mappings: [GOOD],
      }),
    ),
    band(
      'Is it good?',
      8,
      checks(8, 'backup'),
      timeSeries({
        width: 8,
        title: 'Size',
        description:
          'Size of the last backup and the usual one. Outside half and double: runbook MysqlBackupSizeAnomaly.',
        unit: 'bytes',
        queries: [
          { expr: series('last_size_bytes'), legend: 'last' },
          { expr: series('size_median_bytes'), legend: 'usual' },
          { expr: `0.5 * ${series('size_median_bytes')}`, legend: 'half' },
          { expr: `2 * ${series('size_median_bytes')}`, legend: 'double' },
        ],
        limits: ['half', 'double'],
      }),
      timeSeries({
        width: 8,
        title: 'Duration of a run',
        description: 'How long the last run took. At the line, half of the target of 30 min, runs begin to overlap.',
        unit: 's',
        queries: [{ expr: series('last_duration_seconds'), legend: 'duration' }],
        lines: [[900, 'bad']],
      }),
    ),
    band(
      'Away from here, and proven?',
      6,
      timeSeries({
        width: 6,
        title: 'Age of the off-site copies',
        description:
          'Age of the data that the off-site store would bring back, if this site were lost. Above twice the target: runbook MysqlBackupOffsiteOld.',
        unit: 's',
        queries: [
          {
            expr: `time() - max(${series('offsite_recovery_point_timestamp_seconds')})`,
            legend: 'age',
            emptyUntil: OFFSITE,
          },
          { expr: `2 * max(${series('rpo_target_seconds')})`, legend: 'limit' },
        ],
        limits: ['limit'],
      }),
      stat({
        width: 3,
        title: 'Waiting to be copied',
        description: 'Backups that are not in the off-site store yet. More than one: the store is down or refuses them.',
        unit: 'none',
        query: { expr: `max(${series('offsite_pending')})`, emptyUntil: OFFSITE },
        steps: [[2, 'warn']],
        noData: 'no store',
      }),
      stat({
        width: 3,
        title: 'Encrypted',
        description: 'Whether the last backup can be read without a secret key.',
        unit: 'none',
        base: 'none',
        query: { expr: `min(${series('last_encrypted')})` },
        mappings: [words({ 0: ['no', 'none'], 1: ['yes', 'ok'] })],
      }),
      stat({
        width: 3,
        title: 'Age of the binary log',
        description:
          'Age of what was received: with --at=latest, a restore loses no more than this. Over 5 min: runbook MysqlBinlogOld.',
        unit: 's',
        decimals: 0,
        query: {
          expr: `time() - max(${series('binlog_recovery_point_timestamp_seconds')})`,
          emptyUntil: BINLOG,
        },
        steps: [[300, 'bad']],
        noData: 'no stream',
      }),
      stat({
        width: 3,
        title: 'To any time since the backup',
        description:
          'Whether the binary log reaches from the last backup to now without a gap. No: runbook MysqlBinlogGap.',
        unit: 'none',
        base: 'none',
        query: { expr: `min(${series('binlog_covers_last_backup')})`, emptyUntil: BINLOG },
        mappings: [words({ 0: ['no', 'bad'], 1: ['yes', 'ok'] })],
        noData: 'no stream',
      }),
      stat({
        width: 3,
        title: 'Last restore test',
        description: 'Age of the last restore test that succeeded. Over 26 h: runbook MysqlRestoreTestOld.',
        unit: 'dtdurations',
        decimals: 0,
        query: {
          expr: `time() - max(${series('proof_last_success_timestamp_seconds')})`,
          emptyUntil: PROOF,
        },
        steps: steps(LIMITS.restoreTest),
        noData: 'none yet',
      }),
      stat({
        width: 3,
        title: 'A restore takes',
        description: 'Duration of the restore in the last test. Over the target of 60 min: runbook MysqlRestoreTooSlow.',
        unit: 'dtdurations',
        decimals: 0,
        query: { expr: `max(${series('proof_restore_seconds')})`, emptyUntil: PROOF },
        steps: steps(LIMITS.restore),
        noData: 'none yet',
      }),
    ),
    band(
      'What is there?',
      8,
      table({
        width: 6,
        title: 'Backups by state',
        description:
          'Failed, missing, unreadable or future: runbook MysqlBackupFilesDamaged. Partial: still being written, or its run broke off.',
        by: { state: 'State' },
        sort: 'Files',
        columns: [{ name: 'Files', unit: 'none', expr: `max by (state) (${series('files')})` }],
      }),
      table({
        width: 6,
        title: 'Runs by result',
        description: 'Runs whose manifest is still there: one bad night, or every night.',
        by: { result: 'Result' },
        sort: 'Runs',
        columns: [{ name: 'Runs', unit: 'none', expr: `max by (result) (${series('runs')})` }],
      }),
      timeSeries({
        width: 6,
        title: 'Space',
        description:
          'Free space of the directory’s file system, and what will be left in 24 h if it goes on as in the last 6 h.',
        unit: 'bytes',
        queries: [
          { expr: series('filesystem_avail_bytes'), legend: 'free' },
          {
            expr: `clamp_min(predict_linear(${series('filesystem_avail_bytes')}[6h], 86400), 0) and ${series('filesystem_avail_bytes')} offset 1h`,
            legend: 'in 24 h',
            emptyUntil: 'Prometheus has an hour of data',
          },
        ],
      }),
      timeSeries({
        width: 6,
        title: 'Compression',
        description: 'How many times smaller the backup is than what it holds. A jump is other content.',
        unit: 'short',
        queries: [
          { expr: `${series('last_uncompressed_size_bytes')} / (${series('last_size_bytes')} > 0)`, legend: 'ratio' },
        ],
      }),
    ),
  ],
});
