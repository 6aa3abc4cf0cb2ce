//! The backups that can be restored, and the results of the runs.

use async_trait::async_trait;
use exporter_toolkit::{BoxError, CheckDef, Collector, Desc, Families};
use jiff::Timestamp;

use super::backup_checks::{CHECKS, report_backups};
use super::unix_time::unix_seconds;
use crate::config::Job;
use crate::history::missed_runs;
use crate::scan::{LastRun, Scan};
use crate::target::Session;

const LAST_RUN_SUCCESS: Desc = Desc::gauge(
    "backup_last_run_success",
    "Whether the newest run left a backup that is still there. Absent if the newest manifest is missing or unreadable.",
    &["backup"],
)
.field("outcome");
const LAST_RUN_PARTIAL: Desc = Desc::gauge(
    "backup_last_run_partial",
    "Whether the backup of the newest run lacks databases or objects. Absent without manifests.",
    &["backup"],
)
.field("outcome");
const LAST_RUN: Desc = Desc::gauge(
    "backup_last_run_timestamp_seconds",
    "Unix time of the end of the newest run, successful or not. Absent if the newest manifest is missing or unreadable.",
    &["backup"],
)
.field("finished_at");
const LAST_COMPLETE: Desc = Desc::gauge(
    "backup_last_complete_timestamp_seconds",
    "Unix time of the end of the newest complete backup; its recovery point is earlier.",
    &["backup"],
)
.field("finished_at");
const LAST_RECOVERY_POINT: Desc = Desc::gauge(
    "backup_last_recovery_point_timestamp_seconds",
    "Unix time up to which the newest complete backup can be restored.",
    &["backup"],
)
.field("recovery_point");
const LAST_SIZE: Desc =
    Desc::gauge("backup_last_size_bytes", "Size of the file of the newest complete backup.", &["backup"])
        .field("stored_bytes");
const LAST_UNCOMPRESSED_SIZE: Desc = Desc::gauge(
    "backup_last_uncompressed_size_bytes",
    "Uncompressed size of the newest complete backup. Absent without manifests.",
    &["backup"],
)
.field("uncompressed_bytes");
const LAST_DURATION: Desc = Desc::gauge(
    "backup_last_duration_seconds",
    "Duration of the run of the newest complete backup. Absent without manifests.",
    &["backup"],
)
.field("finished_at");
const SIZE_MEDIAN: Desc =
    Desc::gauge("backup_size_median_bytes", "Median file size of the newest 30 complete backups.", &["backup"])
        .field("stored_bytes");
const OLDEST_COMPLETE: Desc = Desc::gauge(
    "backup_oldest_complete_timestamp_seconds",
    "Unix time of the end of the oldest complete backup.",
    &["backup"],
)
.field("finished_at");
const COMPLETE_FILES: Desc = Desc::gauge("backup_complete_files", "Current number of complete backups.", &["backup"]);
const FILES: Desc = Desc::gauge(
    "backup_files",
    "Current number of backups by state: complete, partial, failed, unreadable, missing or future (see the README).",
    &["backup", "state"],
);
const RUNS: Desc = Desc::gauge(
    "backup_runs",
    "Current number of runs by result, of those with a manifest. Absent without manifests.",
    &["backup", "result"],
)
.field("outcome");
const ENCRYPTED: Desc = Desc::gauge(
    "backup_last_encrypted",
    "Whether the newest complete backup is encrypted. Absent without manifests.",
    &["backup"],
)
.field("encryption");
const LONGEST_STATEMENT: Desc = Desc::gauge(
    "backup_last_longest_statement_bytes",
    "Size of the longest statement in the newest complete backup, which max_allowed_packet must exceed at a restore.",
    &["backup"],
)
.field("longest_statement_bytes");
const WARNINGS: Desc = Desc::gauge(
    "backup_last_warnings",
    "Number of warnings in the manifest of the newest complete backup, by kind.",
    &["backup", "kind"],
)
.field("warnings");
const SUCCESS_RATIO: Desc = Desc::gauge(
    "backup_run_success_ratio",
    "Share of successful runs among those of the last 24 hours. Absent without manifests of that time.",
    &["backup"],
)
.field("outcome");
const COMPLIANCE: Desc = Desc::gauge(
    "backup_recovery_point_compliance_ratio",
    "Share of the last 24 hours, or since the oldest backup, in which the recovery point was within the target.",
    &["backup"],
)
.field("recovery_point");
const LONGEST_GAP: Desc = Desc::gauge(
    "backup_recovery_point_longest_gap_seconds",
    "Longest time without a new recovery point in the last 24 hours, until now included.",
    &["backup"],
)
.field("recovery_point");
const MISSED_RUNS: Desc = Desc::gauge(
    "backup_missed_runs",
    "Number of runs that are missing in the last 24 hours by `--backup.interval`. Absent without it.",
    &["backup"],
)
.field("finished_at");
const RPO_TARGET: Desc =
    Desc::gauge("backup_rpo_target_seconds", "Maximum age of the recovery point (`--backup.rpo`).", &["backup"]);

pub(crate) struct Backups;

#[async_trait]
impl Collector<Session> for Backups {
    fn name(&self) -> &'static str {
        "backups"
    }

    fn help(&self) -> &'static str {
        "The newest complete backup, its recovery point and size, and the results of the runs."
    }

    fn source(&self) -> &'static str {
        "the directory's files, and the manifests of mysql-backup"
    }

    fn families(&self) -> Vec<Desc> {
        vec![
            LAST_RUN_SUCCESS,
            LAST_RUN_PARTIAL,
            LAST_RUN,
            LAST_COMPLETE,
            LAST_RECOVERY_POINT,
            LAST_SIZE,
            LAST_UNCOMPRESSED_SIZE,
            LAST_DURATION,
            SIZE_MEDIAN,
            OLDEST_COMPLETE,
            COMPLETE_FILES,
            FILES,
            RUNS,
            ENCRYPTED,
            LONGEST_STATEMENT,
            WARNINGS,
            SUCCESS_RATIO,
            MISSED_RUNS,
            COMPLIANCE,
            LONGEST_GAP,
            RPO_TARGET,
        ]
    }

    fn checks(&self) -> &'static [&'static CheckDef] {
        CHECKS
    }

    async fn collect(&self, session: &Session, out: &mut Families) -> Result<(), BoxError> {
        for job_scan in &session.scans {
            let job = &job_scan.scanner.job;
            out.push(&RPO_TARGET, &[job.name.as_str()], job.rpo.as_secs_f64());
            // The collector `scans` reports the error.
            if let Ok(scan) = &job_scan.outcome {
                write(job, scan, out);
            }
        }
        report_backups(session, Timestamp::now(), out);
        Ok(())
    }
}

fn write(job: &Job, scan: &Scan, out: &mut Families) {
    let backup = job.name.as_str();
    match &scan.last_run {
        Some(LastRun::Ok { finished_at } | LastRun::Partial { finished_at, .. }) => {
            out.push(&LAST_RUN_SUCCESS, &[backup], 1.0);
            out.push(&LAST_RUN, &[backup], unix_seconds(*finished_at));
        }
        Some(LastRun::Failed { finished_at, .. }) => {
            out.push(&LAST_RUN_SUCCESS, &[backup], 0.0);
            out.push(&LAST_RUN, &[backup], unix_seconds(*finished_at));
        }
        Some(LastRun::Unknown { .. }) | None => {}
    }
    let partial = matches!(scan.last_run, Some(LastRun::Partial { .. }));
    if scan.last_run.is_some() {
        out.push(&LAST_RUN_PARTIAL, &[backup], f64::from(partial));
    }
    if let Some(runs) = scan.runs {
        out.push(&RUNS, &[backup, "ok"], runs.ok as f64);
        out.push(&RUNS, &[backup, "partial"], runs.partial as f64);
        out.push(&RUNS, &[backup, "failed"], runs.failed as f64);
        let recent = runs.recent_ok + runs.recent_failed;
        if recent > 0 {
            out.push(&SUCCESS_RATIO, &[backup], runs.recent_ok as f64 / recent as f64);
        }
    }
    if let Some(complete) = &scan.complete {
        let newest = &complete.newest;
        out.push(&LAST_COMPLETE, &[backup], unix_seconds(newest.finished_at));
        out.push(&LAST_RECOVERY_POINT, &[backup], unix_seconds(newest.recovery_point));
        out.push(&LAST_SIZE, &[backup], newest.stored_bytes as f64);
        if let Some(bytes) = newest.uncompressed_bytes {
            out.push(&LAST_UNCOMPRESSED_SIZE, &[backup], bytes as f64);
        }
        if let Some(duration) = newest.duration {
            out.push(&LAST_DURATION, &[backup], duration.as_secs_f64());
        }
        out.push(&SIZE_MEDIAN, &[backup], complete.median_bytes);
        out.push(&OLDEST_COMPLETE, &[backup], unix_seconds(complete.oldest.finished_at));
        if let Some(interval) = job.interval {
            out.push(&MISSED_RUNS, &[backup], missed_runs(&complete.history, scan.runs, interval) as f64);
        }
        out.push(&COMPLIANCE, &[backup], complete.history.compliance);
        out.push(&LONGEST_GAP, &[backup], complete.history.longest_gap.as_secs_f64());
    }
    if let Some(details) = &scan.details {
        out.push(&ENCRYPTED, &[backup], f64::from(details.encrypted));
        if details.longest_statement_bytes > 0 {
            out.push(&LONGEST_STATEMENT, &[backup], details.longest_statement_bytes as f64);
        }
        for (kind, count) in &details.warnings {
            out.push(&WARNINGS, &[backup, kind], *count as f64);
        }
    }
    out.push(&COMPLETE_FILES, &[backup], scan.files.complete as f64);
    for (state, count) in scan.files.by_state() {
        out.push(&FILES, &[backup, state], count as f64);
    }
}
