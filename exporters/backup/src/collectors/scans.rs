//! Whether, when and how far the directories were read.

use async_trait::async_trait;
use exporter_toolkit::{BoxError, Collector, Desc, Families};
use jiff::Timestamp;

use crate::{Session, checks};

const SUCCESS: Desc =
    Desc::gauge("backup_scan_success", "1 if the directory of this backup could be read, 0 if not.", &["backup"]);
const DURATION: Desc =
    Desc::gauge("backup_scan_duration_seconds", "How long reading the directory of this backup took.", &["backup"]);
const LAST_SUCCESS: Desc = Desc::gauge(
    "backup_scan_last_success_timestamp_seconds",
    "When the last successful scan began; the series of this backup are of that time.",
    &["backup"],
);
const TRUNCATED: Desc = Desc::gauge(
    "backup_scan_truncated",
    "1 if there were more files than the exporter looks at: counts are too low then.",
    &["backup"],
);
const AVAILABLE: Desc = Desc::gauge(
    "backup_filesystem_avail_bytes",
    "Space for unprivileged users in the file system of this backup's directory.",
    &["backup"],
);

pub(crate) struct Scans;

#[async_trait]
impl Collector<Session> for Scans {
    fn name(&self) -> &'static str {
        "scans"
    }

    fn help(&self) -> &'static str {
        "Whether, when and how far each directory was read, and the space in its file system."
    }

    fn families(&self) -> Vec<Desc> {
        vec![SUCCESS, DURATION, LAST_SUCCESS, TRUNCATED, AVAILABLE]
    }

    async fn collect(&self, session: &Session, out: &mut Families) -> Result<(), BoxError> {
        for look in &session.looks {
            let backup = [look.scanner.job.name.as_str()];
            out.push(&SUCCESS, &backup, f64::from(look.outcome.is_ok()));
            if let Some(began) = look.scanner.last_success() {
                out.push(&LAST_SUCCESS, &backup, seconds(began));
            }
            if let Ok(scan) = &look.outcome {
                out.push(&DURATION, &backup, scan.took.as_secs_f64());
                out.push(&TRUNCATED, &backup, f64::from(scan.truncated));
                if let Some(available) = scan.available_bytes {
                    out.push(&AVAILABLE, &backup, available as f64);
                }
            }
        }
        checks::report_directories(session, out);
        match session.looks.iter().filter(|look| look.outcome.is_err()).count() {
            0 => Ok(()),
            // The check `readable` has their names and reasons.
            failed => Err(format!("{failed} of {} directories can't be read", session.looks.len()).into()),
        }
    }
}

pub(super) fn seconds(time: Timestamp) -> f64 {
    time.as_duration().as_secs_f64()
}
