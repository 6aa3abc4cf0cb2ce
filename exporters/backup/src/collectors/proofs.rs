//! What restoring a backup into another server showed.

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
    "backup_proof_success",
    "Whether the newest restore test succeeded. Absent without a proof.",
    &["backup"],
)
.field("result");
const FINISHED: Desc =
    Desc::gauge("backup_proof_timestamp_seconds", "Unix time of the end of the newest restore test.", &["backup"])
        .field("finished_at");
const PROVEN: Desc = Desc::gauge(
    "backup_proof_last_success_timestamp_seconds",
    "Unix time of the end of the newest restore test that succeeded.",
    &["backup"],
)
.field("finished_at");
const RECOVERY_POINT: Desc = Desc::gauge(
    "backup_proof_recovery_point_timestamp_seconds",
    "Unix time up to which the newest backup that was restored in a test can be restored.",
    &["backup"],
)
.field("recovery_point");
const RESTORE: Desc = Desc::gauge(
    "backup_proof_restore_seconds",
    "Duration of the restore in the newest test that succeeded: the measured recovery time.",
    &["backup"],
)
.field("restore_seconds");
const OFFSITE: Desc = Desc::gauge(
    "backup_proof_offsite",
    "Whether the newest test that succeeded restored the off-site copy (1) or the one in the directory (0).",
    &["backup"],
)
.field("source");
const RTO_TARGET: Desc =
    Desc::gauge("backup_rto_target_seconds", "Maximum duration of a restore (`--backup.rto`).", &["backup"]);

const CHECK: CheckDef = CheckDef {
    name: "proof",
    help: "Whether the newest restore test succeeded, within `--backup.rto`. Warns if the last success is older than a day. \
           Absent without a test.",
    essential: false,
};
const MAX_AGE: Duration = Duration::from_secs(24 * 3600);

pub(crate) struct RestoreTests;

#[async_trait]
impl Collector<Session> for RestoreTests {
    fn name(&self) -> &'static str {
        "proofs"
    }

    fn help(&self) -> &'static str {
        "What the restore tests of mysql-backup showed: success, measured recovery time, proven recovery point."
    }

    fn source(&self) -> &'static str {
        "the proofs of mysql-backup"
    }

    fn families(&self) -> Vec<Desc> {
        vec![SUCCESS, FINISHED, PROVEN, RECOVERY_POINT, RESTORE, OFFSITE, RTO_TARGET]
    }

    fn checks(&self) -> &'static [&'static CheckDef] {
        &[&CHECK]
    }

    async fn collect(&self, session: &Session, out: &mut Families) -> Result<(), BoxError> {
        for one in &session.scans {
            let backup = [one.scanner.job.name.as_str()];
            out.push(&RTO_TARGET, &backup, one.scanner.job.rto.as_secs_f64());
            let Some(proofs) = one.outcome.as_ref().ok().and_then(|scan| scan.proofs.as_ref()) else { continue };
            out.push(&SUCCESS, &backup, f64::from(proofs.newest.problem.is_none()));
            out.push(&FINISHED, &backup, unix_seconds(proofs.newest.finished_at));
            if let Some(proven) = &proofs.proven {
                out.push(&PROVEN, &backup, unix_seconds(proven.finished_at));
                out.push(&RECOVERY_POINT, &backup, unix_seconds(proven.recovery_point));
                out.push(&OFFSITE, &backup, f64::from(proven.is_offsite));
                if let Some(restore) = proven.restore {
                    out.push(&RESTORE, &backup, restore.as_secs_f64());
                }
            }
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
    let proofs = scan.proofs.as_ref()?;
    let age = |time: Timestamp| Duration::try_from(now.duration_since(time)).unwrap_or_default();
    if let Some(problem) = &proofs.newest.problem {
        let ago = HumanDuration(age(proofs.newest.finished_at));
        return Some((CheckStatus::Fail, format!("the restore test failed {ago} ago: {problem}")));
    }
    let proven = proofs.proven.as_ref()?;
    let restore = proven.restore.unwrap_or_default();
    let reason =
        format!("restored in {} in a test {} ago", HumanDuration(restore), HumanDuration(age(proven.finished_at)));
    Some(match () {
        () if restore > job.rto => (CheckStatus::Fail, format!("{reason}; the target is {}", HumanDuration(job.rto))),
        () if age(proven.finished_at) > MAX_AGE => (CheckStatus::Warn, format!("{reason}: test it again")),
        () => (CheckStatus::Ok, reason),
    })
}
