//! The recovery point of each database of the newest backup.

use std::time::Duration;

use async_trait::async_trait;
use exporter_toolkit::{BoxError, CheckDef, CheckStatus, Collector, Desc, Families, Finding};
use jiff::Timestamp;

use super::backup_checks::HumanDuration;
use super::unix_time::unix_seconds;
use super::worst::report_worst;
use crate::config::Job;
use crate::databases::MAX_DATABASES;
use crate::scan::Scan;
use crate::target::Session;

const RECOVERY_POINT: Desc = Desc::gauge(
    "backup_database_recovery_point_timestamp_seconds",
    "Unix time up to which this database can be restored. Absent for a database that no backup has.",
    &["backup", "database"],
)
.field("recovery_point");
const NEVER: Desc = Desc::gauge(
    "backup_databases_without_backup",
    "Number of databases that the newest backup should have and that no backup has.",
    &["backup"],
)
.field("failed_databases");

const CHECK: CheckDef = CheckDef {
    name: "databases",
    help: "Whether each database has a recovery point within the target. Needs manifests.",
    essential: false,
};
/// More names make no reason clearer.
const MAX_NAMES: usize = 3;

pub(crate) struct Databases;

#[async_trait]
impl Collector<Session> for Databases {
    fn name(&self) -> &'static str {
        "databases"
    }

    fn help(&self) -> &'static str {
        "The recovery point of each database in the newest backup, at most 200 of them."
    }

    fn source(&self) -> &'static str {
        "the manifests of mysql-backup"
    }

    fn families(&self) -> Vec<Desc> {
        vec![RECOVERY_POINT, NEVER]
    }

    fn checks(&self) -> &'static [&'static CheckDef] {
        &[&CHECK]
    }

    async fn collect(&self, session: &Session, out: &mut Families) -> Result<(), BoxError> {
        let scans = || session.scans.iter().filter_map(|one| Some((&one.scanner.job, one.outcome.as_deref().ok()?)));
        let mut cut = None;
        for (job, scan) in scans().filter(|(_, scan)| !scan.databases.is_empty()) {
            let backup = job.name.as_str();
            for (database, point) in scan.databases.iter().take(MAX_DATABASES) {
                if let Some(point) = point {
                    out.push(&RECOVERY_POINT, &[backup, database], unix_seconds(*point));
                }
            }
            let never = scan.databases.iter().filter(|(_, point)| point.is_none()).count();
            out.push(&NEVER, &[backup], never as f64);
            if scan.databases.len() > MAX_DATABASES {
                cut = Some(format!(
                    "{backup} has {} databases, the first {MAX_DATABASES} have series",
                    scan.databases.len()
                ));
            }
        }
        let now = Timestamp::now();
        let findings = scans().map(|(job, scan)| {
            evaluate(job, scan, now).map(|(status, reason)| (status, format!("{}: {reason}", job.name)))
        });
        report_worst(&CHECK, findings, out);
        match cut {
            Some(cut) => Err(cut.into()),
            None => Ok(()),
        }
    }
}

fn evaluate(job: &Job, scan: &Scan, now: Timestamp) -> Option<Finding> {
    if scan.databases.is_empty() {
        return None;
    }
    let age = |point: Timestamp| Duration::try_from(now.duration_since(point)).unwrap_or_default();
    let late: Vec<_> =
        scan.databases.iter().filter(|(_, point)| point.is_none_or(|point| age(point) > job.rpo)).collect();
    if late.is_empty() {
        return Some((CheckStatus::Ok, format!("{} databases have a young recovery point", scan.databases.len())));
    }
    let described = late.iter().take(MAX_NAMES).map(|(name, point)| match point {
        Some(point) => format!("{name} ({} old)", HumanDuration(age(*point))),
        None => format!("{name} (in no backup)"),
    });
    let names = described.collect::<Vec<_>>().join(", ");
    let and_more = if late.len() > MAX_NAMES { ", …" } else { "" };
    Some((
        CheckStatus::Fail,
        format!(
            "{} of {} databases have no recovery point within {}: {names}{and_more}",
            late.len(),
            scan.databases.len(),
            HumanDuration(job.rpo)
        ),
    ))
}
