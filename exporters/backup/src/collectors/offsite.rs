//! Whether the copies of the backups in another place keep up.

use std::time::Duration;

use async_trait::async_trait;
use exporter_toolkit::{BoxError, CheckDef, CheckStatus, Collector, Desc, Families, Finding};
use jiff::Timestamp;

use super::backup_checks::HumanDuration;
use super::unix_time::unix_seconds;
use super::worst::report_worst;
use crate::config::Job;
use crate::scan::Scan;
use crate::target::Session;

const SUCCESS: Desc = Desc::gauge(
    "backup_offsite_success",
    "Whether the last attempt to copy backups off-site left nothing to copy. Absent without off-site copies.",
    &["backup"],
)
.field("error");
const LAST_SUCCESS: Desc = Desc::gauge(
    "backup_offsite_last_success_timestamp_seconds",
    "Unix time of the end of the newest attempt that left nothing to copy.",
    &["backup"],
)
.field("last_success_at");
const RECOVERY_POINT: Desc = Desc::gauge(
    "backup_offsite_recovery_point_timestamp_seconds",
    "Unix time up to which the off-site copies can be restored.",
    &["backup"],
)
.field("recovery_point");
const COPIED: Desc =
    Desc::gauge("backup_offsite_copied", "Number of backups that are also in the off-site store.", &["backup"])
        .field("copied");
const PENDING: Desc =
    Desc::gauge("backup_offsite_pending", "Number of backups that are not in the off-site store yet.", &["backup"])
        .field("pending");

const CHECK: CheckDef = CheckDef {
    name: "offsite",
    help: "Age of the recovery point of the off-site copies. Warns after a failed copy. Fails above twice the target (`--backup.rpo`), \
           or if the state of the copies cannot be read. Absent without off-site copies.",
    essential: false,
};

pub(crate) struct OffsiteCopies;

#[async_trait]
impl Collector<Session> for OffsiteCopies {
    fn name(&self) -> &'static str {
        "offsite"
    }

    fn help(&self) -> &'static str {
        "How far the off-site copies of mysql-backup are behind."
    }

    fn source(&self) -> &'static str {
        "the state file of mysql-backup's off-site copies"
    }

    fn families(&self) -> Vec<Desc> {
        vec![SUCCESS, LAST_SUCCESS, RECOVERY_POINT, COPIED, PENDING]
    }

    fn checks(&self) -> &'static [&'static CheckDef] {
        &[&CHECK]
    }

    async fn collect(&self, session: &Session, out: &mut Families) -> Result<(), BoxError> {
        for one in &session.scans {
            let backup = [one.scanner.job.name.as_str()];
            let offsite = one.outcome.as_ref().ok().and_then(|scan| scan.offsite.as_ref());
            let Some(Ok(state)) = offsite else { continue };
            out.push(&SUCCESS, &backup, f64::from(state.error.is_none()));
            if let Some(time) = state.last_success_at {
                out.push(&LAST_SUCCESS, &backup, unix_seconds(time));
            }
            if let Some(time) = state.recovery_point {
                out.push(&RECOVERY_POINT, &backup, unix_seconds(time));
            }
            out.push(&COPIED, &backup, state.copied as f64);
            out.push(&PENDING, &backup, state.pending as f64);
        }
        let now = Timestamp::now();
        let findings = session.scans.iter().map(|one| {
            let job = &one.scanner.job;
            let finding = evaluate(job, one.outcome.as_deref().ok()?, now);
            finding.map(|(status, reason)| (status, format!("{}: {reason}", job.name)))
        });
        report_worst(&CHECK, findings, out);
        Ok(())
    }
}

fn evaluate(job: &Job, scan: &Scan, now: Timestamp) -> Option<Finding> {
    let state = match scan.offsite.as_ref()? {
        Ok(state) => state,
        Err(error) => return Some((CheckStatus::Fail, error.clone())),
    };
    let Some(point) = state.recovery_point else {
        let why = state.error.as_deref().unwrap_or("no backup was copied yet");
        return Some((CheckStatus::Fail, format!("nothing can be restored from the off-site copies: {why}")));
    };
    let age = Duration::try_from(now.duration_since(point)).unwrap_or_default();
    let reason = format!("the off-site copies are {} old, {} are pending", HumanDuration(age), state.pending);
    Some(match &state.error {
        Some(error) if age > 2 * job.rpo => (CheckStatus::Fail, format!("{reason}; the last copy failed: {error}")),
        None if age > 2 * job.rpo => (CheckStatus::Fail, reason),
        Some(error) => (CheckStatus::Warn, format!("{reason}; the last copy failed: {error}")),
        None => (CheckStatus::Ok, reason),
    })
}

#[cfg(test)]
mod tests {
    use mysql_backup::offsite::{OffsiteState, SCHEMA_VERSION};

    use super::*;
    use crate::config::Source;

    #[test]
    fn the_age_of_the_copies_is_judged_by_the_target() {
        let now: Timestamp = "2026-11-22T18:00:00Z".parse().unwrap();
        let (name, rpo) = ("app".parse().unwrap(), Duration::from_mins(30));
        let job = Job { name, directory: "/b".into(), source: Source::Manifests, rpo, rto: rpo, interval: None };
        let status = |minutes: Option<i64>, error: Option<&str>| {
            let recovery_point = minutes.map(|minutes| now - jiff::SignedDuration::from_mins(minutes));
            let state = OffsiteState {
                schema_version: SCHEMA_VERSION,
                finished_at: now,
                last_success_at: None,
                recovery_point,
                copied: 1,
                pending: 0,
                error: error.map(str::to_owned),
            };
            evaluate(&job, &Scan { offsite: Some(Ok(state)), ..Scan::default() }, now).unwrap().0
        };
        assert_eq!(status(Some(60), None), CheckStatus::Ok);
        assert_eq!(status(Some(61), None), CheckStatus::Fail);
        assert_eq!(status(Some(1), Some("refused")), CheckStatus::Warn);
        assert_eq!(status(Some(61), Some("refused")), CheckStatus::Fail);
        assert_eq!(status(None, None), CheckStatus::Fail);
        assert!(evaluate(&job, &Scan::default(), now).is_none());
    }
}
