//! Whether the binary log is received, with which a restore ends at any time.

use std::time::Duration;

use async_trait::async_trait;
use exporter_toolkit::{BoxError, CheckDef, CheckStatus, Collector, Desc, Families, Finding};
use jiff::Timestamp;

use super::backup_checks::HumanDuration;
use super::unix_time::unix_seconds;
use super::worst::report_worst;
use crate::scan::Scan;
use crate::target::Session;

/// The stream looks every 2 s, and tries again after a minute at most.
const LATE: Duration = Duration::from_mins(5);

const SUCCESS: Desc = Desc::gauge(
    "backup_binlog_success",
    "Whether the binary log is being received. Absent without `mysql-backup schedule --binlog.stream`.",
    &["backup"],
)
.field("error");
const RECOVERY_POINT: Desc = Desc::gauge(
    "backup_binlog_recovery_point_timestamp_seconds",
    "Unix time up to which everything that was committed has been received.",
    &["backup"],
)
.field("recovery_point");
const COVERS: Desc = Desc::gauge(
    "backup_binlog_covers_last_backup",
    "Whether the received files reach from the newest complete backup to the recovery point without a gap.",
    &["backup"],
)
.field("covers_newest_backup");
const GAPS: Desc =
    Desc::gauge("backup_binlog_gaps", "Number of places where files of the binary log are missing.", &["backup"])
        .field("gaps");
const FILES: Desc =
    Desc::gauge("backup_binlog_files", "Number of received files of the binary log.", &["backup"]).field("files");
const BYTES: Desc =
    Desc::gauge("backup_binlog_bytes", "Size of the received files of the binary log.", &["backup"]).field("bytes");

const CHECK: CheckDef = CheckDef {
    name: "binlog",
    help: "Age of the recovery point of the received binary log. Warns if receiving fails, or a gap separates it from the newest \
           backup. Fails above 5 min, or if its state cannot be read. Absent without `--binlog.stream`.",
    essential: false,
};

pub(crate) struct BinaryLog;

#[async_trait]
impl Collector<Session> for BinaryLog {
    fn name(&self) -> &'static str {
        "binlog"
    }

    fn help(&self) -> &'static str {
        "How far mysql-backup has received the binary log."
    }

    fn source(&self) -> &'static str {
        "the state file of mysql-backup's stream of the binary log"
    }

    fn families(&self) -> Vec<Desc> {
        vec![SUCCESS, RECOVERY_POINT, COVERS, GAPS, FILES, BYTES]
    }

    fn checks(&self) -> &'static [&'static CheckDef] {
        &[&CHECK]
    }

    async fn collect(&self, session: &Session, out: &mut Families) -> Result<(), BoxError> {
        for one in &session.scans {
            let backup = [one.scanner.job.name.as_str()];
            let binlog = one.outcome.as_ref().ok().and_then(|scan| scan.binlog.as_ref());
            let Some(Ok(state)) = binlog else { continue };
            out.push(&SUCCESS, &backup, f64::from(state.error.is_none()));
            if let Some(time) = state.recovery_point {
                out.push(&RECOVERY_POINT, &backup, unix_seconds(time));
            }
            out.push(&COVERS, &backup, f64::from(state.covers_newest_backup));
            out.push(&GAPS, &backup, state.gaps as f64);
            out.push(&FILES, &backup, state.files as f64);
            out.push(&BYTES, &backup, state.bytes as f64);
        }
        let now = Timestamp::now();
        let findings = session.scans.iter().map(|one| {
            let finding = evaluate(one.outcome.as_deref().ok()?, now);
            finding.map(|(status, reason)| (status, format!("{}: {reason}", one.scanner.job.name)))
        });
        report_worst(&CHECK, findings, out);
        Ok(())
    }
}

fn evaluate(scan: &Scan, now: Timestamp) -> Option<Finding> {
    let state = match scan.binlog.as_ref()? {
        Ok(state) => state,
        Err(error) => return Some((CheckStatus::Fail, error.clone())),
    };
    let error = state.error.as_ref().map_or(String::new(), |error| format!("; it is not received: {error}"));
    let Some(point) = state.recovery_point else {
        return Some((CheckStatus::Fail, format!("the binary log was never received completely{error}")));
    };
    let age = Duration::try_from(now.duration_since(point)).unwrap_or_default();
    let reason = format!("the received binary log is {} old{error}", HumanDuration(age));
    Some(if age > LATE {
        (CheckStatus::Fail, reason)
    } else if state.error.is_some() {
        (CheckStatus::Warn, reason)
    } else if !state.covers_newest_backup {
        (CheckStatus::Warn, format!("{reason}, but files are missing after the newest backup"))
    } else {
        (CheckStatus::Ok, reason)
    })
}

#[cfg(test)]
mod tests {
    use mysql_backup::binlog::{BinlogState, SCHEMA_VERSION};

    use super::*;

    #[test]
    fn the_age_of_the_stream_its_error_and_its_gaps_are_judged() {
        let now: Timestamp = "2026-11-22T18:00:00Z".parse().unwrap();
        let status = |seconds: Option<i64>, error: Option<&str>, covers_newest_backup: bool| {
            let state = BinlogState {
                schema_version: SCHEMA_VERSION,
                updated_at: now,
                recovery_point: seconds.map(|seconds| now - jiff::SignedDuration::from_secs(seconds)),
                newest_file: None,
                files: 1,
                bytes: 1,
                gaps: 0,
                covers_newest_backup,
                error: error.map(str::to_owned),
            };
            evaluate(&Scan { binlog: Some(Ok(state)), ..Scan::default() }, now).unwrap().0
        };
        assert_eq!(status(Some(300), None, true), CheckStatus::Ok);
        assert_eq!(status(Some(301), None, true), CheckStatus::Fail);
        assert_eq!(status(Some(1), Some("refused"), true), CheckStatus::Warn);
        assert_eq!(status(Some(1), None, false), CheckStatus::Warn);
        assert_eq!(status(None, None, true), CheckStatus::Fail);
        assert!(evaluate(&Scan::default(), now).is_none());
    }
}
