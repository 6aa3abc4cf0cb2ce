//! What is there to restore from, and how the runs went.

use async_trait::async_trait;
use exporter_toolkit::{BoxError, Collector, Desc, Families};
use jiff::Timestamp;

use super::scans::seconds;
use crate::scan::{LastRun, Scan};
use crate::{Session, checks};

const LAST_RUN_SUCCESS: Desc = Desc::gauge(
    "backup_last_run_success",
    "1 if the newest run ended well and its backup is still whole, 0 if not. Absent without manifests, and while the newest can't be read.",
    &["backup"],
);
const LAST_RUN: Desc = Desc::gauge(
    "backup_last_run_timestamp_seconds",
    "When the newest run ended, well or not. Absent without manifests, and while the newest can't be read.",
    &["backup"],
);
const LAST_COMPLETE: Desc = Desc::gauge(
    "backup_last_complete_timestamp_seconds",
    "When the newest complete backup was finished; what it holds is older, see its recovery point.",
    &["backup"],
);
const LAST_RECOVERY_POINT: Desc = Desc::gauge(
    "backup_last_recovery_point_timestamp_seconds",
    "Everything up to this time can be restored from the newest complete backup.",
    &["backup"],
);
const LAST_SIZE: Desc =
    Desc::gauge("backup_last_size_bytes", "Size of the newest complete backup's file.", &["backup"]);
const LAST_UNCOMPRESSED_SIZE: Desc = Desc::gauge(
    "backup_last_uncompressed_size_bytes",
    "Size of what the newest complete backup holds. Absent without manifests.",
    &["backup"],
);
const LAST_DURATION: Desc = Desc::gauge(
    "backup_last_duration_seconds",
    "How long the newest complete backup took. Absent without manifests.",
    &["backup"],
);
const SIZE_MEDIAN: Desc = Desc::gauge(
    "backup_size_median_bytes",
    "Median size of the newest complete backups' files, of 30 at the most.",
    &["backup"],
);
const OLDEST_COMPLETE: Desc = Desc::gauge(
    "backup_oldest_complete_timestamp_seconds",
    "When the oldest complete backup that is still there was finished.",
    &["backup"],
);
const COMPLETE_FILES: Desc = Desc::gauge("backup_complete_files", "Complete backups that are there.", &["backup"]);
const FILES: Desc = Desc::gauge(
    "backup_files",
    "Backups by state: complete; partial, without its manifest or still written to; failed; unreadable, where manifest or content is \
     not what it should be; missing, where the manifest's file is gone or of another size; future, with a time that has not come.",
    &["backup", "state"],
);
const RUNS: Desc = Desc::gauge(
    "backup_runs",
    "Runs by result, of which the manifests are still there. Absent without manifests.",
    &["backup", "result"],
);
const RPO_TARGET: Desc =
    Desc::gauge("backup_rpo_target_seconds", "How old the recovery point may get, by --backup.rpo.", &["backup"]);

pub(crate) struct Backups;

#[async_trait]
impl Collector<Session> for Backups {
    fn name(&self) -> &'static str {
        "backups"
    }

    fn help(&self) -> &'static str {
        "The newest complete backup, its recovery point and size, and how the runs went."
    }

    fn families(&self) -> Vec<Desc> {
        vec![
            LAST_RUN_SUCCESS,
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
            RPO_TARGET,
        ]
    }

    async fn collect(&self, session: &Session, out: &mut Families) -> Result<(), BoxError> {
        for look in &session.looks {
            let job = &look.scanner.job;
            out.push(&RPO_TARGET, &[job.name.as_str()], job.rpo.as_secs_f64());
            // The collector of scans says why there is none.
            if let Ok(scan) = &look.outcome {
                write(job.name.as_str(), scan, out);
            }
        }
        checks::report_backups(session, Timestamp::now(), out);
        Ok(())
    }
}

fn write(backup: &str, scan: &Scan, out: &mut Families) {
    match &scan.last_run {
        Some(LastRun::Ok { finished_at }) => {
            out.push(&LAST_RUN_SUCCESS, &[backup], 1.0);
            out.push(&LAST_RUN, &[backup], seconds(*finished_at));
        }
        Some(LastRun::Failed { finished_at, .. }) => {
            out.push(&LAST_RUN_SUCCESS, &[backup], 0.0);
            out.push(&LAST_RUN, &[backup], seconds(*finished_at));
        }
        Some(LastRun::Unknown { .. }) | None => {}
    }
    if let Some(runs) = scan.runs {
        out.push(&RUNS, &[backup, "ok"], runs.ok as f64);
        out.push(&RUNS, &[backup, "failed"], runs.failed as f64);
    }
    if let Some(complete) = &scan.complete {
        let newest = &complete.newest;
        out.push(&LAST_COMPLETE, &[backup], seconds(newest.finished_at));
        out.push(&LAST_RECOVERY_POINT, &[backup], seconds(newest.recovery_point));
        out.push(&LAST_SIZE, &[backup], newest.stored_bytes as f64);
        if let Some(bytes) = newest.uncompressed_bytes {
            out.push(&LAST_UNCOMPRESSED_SIZE, &[backup], bytes as f64);
        }
        if let Some(duration) = newest.duration {
            out.push(&LAST_DURATION, &[backup], duration.as_secs_f64());
        }
        out.push(&SIZE_MEDIAN, &[backup], complete.median_bytes);
        out.push(&OLDEST_COMPLETE, &[backup], seconds(complete.oldest.finished_at));
    }
    out.push(&COMPLETE_FILES, &[backup], scan.files.complete as f64);
    for (state, count) in scan.files.by_state() {
        out.push(&FILES, &[backup, state], count as f64);
    }
}
