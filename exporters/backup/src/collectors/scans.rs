//! The results of reading the directories.

use async_trait::async_trait;
use exporter_toolkit::{BoxError, CheckDef, CheckStatus, Collector, Desc, Families};

use super::unix_time::unix_seconds;
use super::worst::report_worst;
use crate::target::Session;

const SUCCESS: Desc =
    Desc::gauge("backup_scan_success", "Whether the directory of this backup is readable.", &["backup"]);
const DURATION: Desc =
    Desc::gauge("backup_scan_duration_seconds", "Duration of the last scan of this backup's directory.", &["backup"]);
const LAST_SUCCESS: Desc = Desc::gauge(
    "backup_scan_last_success_timestamp_seconds",
    "Unix time of the start of the last successful scan; the series of this backup are of that time.",
    &["backup"],
);
const TRUNCATED: Desc = Desc::gauge(
    "backup_scan_truncated",
    "Whether there are more files than the limit of a scan: the numbers of files are too low.",
    &["backup"],
);
const AVAILABLE: Desc = Desc::gauge(
    "backup_filesystem_avail_bytes",
    "Space available to unprivileged users in the file system of this backup's directory.",
    &["backup"],
)
.field("f_bavail");

const READABLE: CheckDef =
    CheckDef { name: "readable", help: "Whether every backup directory is readable.", essential: false };
const LIMITS: CheckDef = CheckDef {
    name: "limits",
    help: "Warns when a scan reached a limit, so that its counts are too low.",
    essential: false,
};

pub(crate) struct Scans;

#[async_trait]
impl Collector<Session> for Scans {
    fn name(&self) -> &'static str {
        "scans"
    }

    fn help(&self) -> &'static str {
        "Success and duration of reading each directory, and the space in its file system."
    }

    fn source(&self) -> &'static str {
        "the exporter's scans, and `statvfs`"
    }

    fn families(&self) -> Vec<Desc> {
        vec![SUCCESS, DURATION, LAST_SUCCESS, TRUNCATED, AVAILABLE]
    }

    fn checks(&self) -> &'static [&'static CheckDef] {
        &[&READABLE, &LIMITS]
    }

    async fn collect(&self, session: &Session, out: &mut Families) -> Result<(), BoxError> {
        for job_scan in &session.scans {
            let backup = [job_scan.scanner.job.name.as_str()];
            out.push(&SUCCESS, &backup, f64::from(job_scan.outcome.is_ok()));
            if let Some(began) = job_scan.scanner.last_success() {
                out.push(&LAST_SUCCESS, &backup, unix_seconds(began));
            }
            if let Ok(scan) = &job_scan.outcome {
                out.push(&DURATION, &backup, scan.took.as_secs_f64());
                out.push(&TRUNCATED, &backup, f64::from(scan.truncated.is_some()));
                if let Some(available) = scan.available_bytes {
                    out.push(&AVAILABLE, &backup, available as f64);
                }
            }
        }
        let directories = session.scans.iter().map(|job_scan| {
            Some(match &job_scan.outcome {
                Ok(_) => (CheckStatus::Ok, format!("{}: readable", job_scan.scanner.job.name)),
                Err(error) => (CheckStatus::Fail, format!("{}: {error}", job_scan.scanner.job.name)),
            })
        });
        report_worst(&READABLE, directories, out);
        let limits = session.scans.iter().map(|job_scan| {
            let name = &job_scan.scanner.job.name;
            Some(match job_scan.outcome.as_ref().ok()?.truncated {
                Some(limit) => (CheckStatus::Warn, format!("{name}: {limit}")),
                None => (CheckStatus::Ok, format!("{name}: all files were read")),
            })
        });
        report_worst(&LIMITS, limits, out);
        match session.scans.iter().filter(|job_scan| job_scan.outcome.is_err()).count() {
            0 => Ok(()),
            // The check `readable` has their names and reasons.
            failed => Err(format!("{failed} of {} directories are unreadable", session.scans.len()).into()),
        }
    }
}
