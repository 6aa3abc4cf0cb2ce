//! The health checks of the collector `backups`: is there a backup to restore, how old and how large is it, and is
//! there space for the next one?

use std::fmt;
use std::time::Duration;

use exporter_toolkit::{CheckDef, CheckStatus, Families, Finding};
use jiff::{SignedDuration, Timestamp};

use super::worst::report_worst;
use crate::config::Job;
use crate::scan::{LastRun, Scan};
use crate::target::Session;

pub(super) const CHECKS: &[&CheckDef] = &[&RECOVERY_POINT, &LAST_RUN, &SIZE, &SPACE];

static RECOVERY_POINT: CheckDef = CheckDef {
    name: "recovery_point",
    help: "Age of the newest complete backup's recovery point. Warns above 80 % of the target (`--backup.rpo`). Fails above the \
           target, or without a complete backup.",
    essential: false,
};
static LAST_RUN: CheckDef = CheckDef {
    name: "last_run",
    help: "Whether the newest run succeeded and its backup is still complete. Warns if it lacks databases or objects. Needs manifests.",
    essential: false,
};
static SIZE: CheckDef = CheckDef {
    name: "size",
    help: "Size of the newest complete backup. Warns below 50 % and above 200 % of the median if the difference is over 64 KiB. \
           Fails below 10 % of the median. Needs 5 backups.",
    essential: false,
};
static SPACE: CheckDef = CheckDef {
    name: "space",
    help: "Warns when the file system has no space for 1.5 times the newest complete backup.",
    essential: false,
};

/// Minimum number of backups for a median.
const SIZE_MIN_BACKUPS: u64 = 5;
/// Small dumps vary this much without a change of the data.
const SIZE_MIN_DIFFERENCE: f64 = 65_536.0;
/// Below this share of the median, even a small backup lacks nearly everything.
const SIZE_FAIL: f64 = 0.1;

pub(super) fn report_backups(session: &Session, now: Timestamp, out: &mut Families) {
    let each = |evaluate: fn(&Job, &Scan, Timestamp) -> Option<Finding>| {
        session.scans.iter().map(move |job_scan| {
            let scan = job_scan.outcome.as_ref().ok()?;
            let job = &job_scan.scanner.job;
            evaluate(job, scan, now).map(|(status, reason)| (status, format!("{}: {reason}", job.name)))
        })
    };
    report_worst(&RECOVERY_POINT, each(recovery_point), out);
    report_worst(&LAST_RUN, each(last_run), out);
    report_worst(&SIZE, each(size), out);
    report_worst(&SPACE, each(space), out);
}

fn recovery_point(job: &Job, scan: &Scan, now: Timestamp) -> Option<Finding> {
    let Some(complete) = &scan.complete else {
        return Some((CheckStatus::Fail, format!("no complete backup in {}", job.directory.display())));
    };
    let age = Duration::try_from(now.duration_since(complete.newest.recovery_point)).unwrap_or_default();
    let status = match age {
        age if age > job.rpo => CheckStatus::Fail,
        age if age > job.rpo * 4 / 5 => CheckStatus::Warn,
        _ => CheckStatus::Ok,
    };
    Some((
        status,
        format!("a restore now would lose {} of data, the target is {}", HumanDuration(age), HumanDuration(job.rpo)),
    ))
}

fn last_run(_: &Job, scan: &Scan, now: Timestamp) -> Option<Finding> {
    let ago = |time: &Timestamp| HumanDuration(Duration::try_from(now.duration_since(*time)).unwrap_or_default());
    Some(match scan.last_run.as_ref()? {
        LastRun::Ok { finished_at } => (CheckStatus::Ok, format!("succeeded {} ago", ago(finished_at))),
        LastRun::Partial { finished_at, why } => {
            (CheckStatus::Warn, format!("left a partial backup {} ago: {why}", ago(finished_at)))
        }
        LastRun::Failed { finished_at, why } => (CheckStatus::Fail, format!("failed {} ago: {why}", ago(finished_at))),
        LastRun::Unknown { why } => (CheckStatus::Fail, format!("unknown: {why}")),
    })
}

fn size(_: &Job, scan: &Scan, _: Timestamp) -> Option<Finding> {
    let complete = scan.complete.as_ref()?;
    let (size, median) = (complete.newest.stored_bytes as f64, complete.median_bytes);
    if scan.files.complete < SIZE_MIN_BACKUPS {
        return None;
    }
    let unusual = (size < 0.5 * median || size > 2.0 * median) && (size - median).abs() > SIZE_MIN_DIFFERENCE;
    let status = match unusual {
        _ if size < SIZE_FAIL * median => CheckStatus::Fail,
        true => CheckStatus::Warn,
        false => CheckStatus::Ok,
    };
    Some((status, format!("the newest complete backup has {size:.0} bytes, the median is {median:.0}")))
}

fn space(job: &Job, scan: &Scan, _: Timestamp) -> Option<Finding> {
    let (available, complete) = (scan.available_bytes? as f64, scan.complete.as_ref()?);
    let needed = 1.5 * complete.newest.stored_bytes as f64;
    let status = if available < needed { CheckStatus::Warn } else { CheckStatus::Ok };
    Some((
        status,
        format!(
            "the file system of {} has {available:.0} bytes left, the next backup needs about {needed:.0}",
            job.directory.display()
        ),
    ))
}

/// A duration for people, to the second: `1h 5m`.
pub(super) struct HumanDuration(pub Duration);

impl fmt::Display for HumanDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = i64::try_from(self.0.as_secs()).unwrap_or(i64::MAX);
        write!(f, "{:#}", SignedDuration::from_secs(seconds))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backup::Backup;
    use crate::config::Source;
    use crate::history::History;
    use crate::scan::{Complete, Files};

    const NOW: i64 = 1_800_000_000;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn job() -> Job {
        let (name, rpo) = ("app".parse().unwrap(), Duration::from_secs(1800));
        Job { name, directory: "/b".into(), source: Source::Manifests, rpo, rto: rpo * 2, interval: None }
    }

    fn found(age: i64, stored_bytes: u64, median_bytes: f64, count: u64) -> Scan {
        let newest = Backup {
            recovery_point: at(NOW - age),
            finished_at: at(NOW - age),
            stored_bytes,
            uncompressed_bytes: None,
            duration: None,
        };
        let history = History::of(&[newest], Duration::from_secs(1800), at(NOW)).unwrap();
        Scan {
            complete: Some(Complete { newest, oldest: newest, median_bytes, history }),
            files: Files { complete: count, ..Files::default() },
            ..Scan::default()
        }
    }

    #[test]
    fn recovery_point_against_the_target() {
        let status = |age| recovery_point(&job(), &found(age, 1, 1.0, 1), at(NOW)).unwrap().0;
        assert_eq!(status(-30), CheckStatus::Ok);
        assert_eq!(status(1440), CheckStatus::Ok);
        assert_eq!(status(1441), CheckStatus::Warn);
        assert_eq!(status(1800), CheckStatus::Warn);
        assert_eq!(status(1801), CheckStatus::Fail);
        let (status, reason) = recovery_point(&job(), &found(1801, 1, 1.0, 1), at(NOW)).unwrap();
        assert_eq!(
            (status, reason.as_str()),
            (CheckStatus::Fail, "a restore now would lose 30m 1s of data, the target is 30m")
        );
        assert_eq!(
            recovery_point(&job(), &Scan::default(), at(NOW)).unwrap(),
            (CheckStatus::Fail, "no complete backup in /b".to_owned())
        );
    }

    #[test]
    fn size_against_the_median() {
        let mega = 1_000_000;
        let status = |size, count| size_of(size, 1_000_000.0, count);
        assert_eq!(status(mega, 5), Some(CheckStatus::Ok));
        assert_eq!(status(mega / 2 - 1, 5), Some(CheckStatus::Warn));
        assert_eq!(status(mega / 2, 5), Some(CheckStatus::Ok));
        assert_eq!(status(mega * 2 + 1, 5), Some(CheckStatus::Warn));
        assert_eq!(status(1, 4), None, "too few for a median");
        assert_eq!(size_of(7000, 60_000.0, 5), Some(CheckStatus::Ok), "a small difference");
        assert_eq!(size_of(20, 40_028.0, 5), Some(CheckStatus::Fail), "nothing is left");
    }

    fn size_of(size: u64, median: f64, count: u64) -> Option<CheckStatus> {
        super::size(&job(), &found(1, size, median, count), at(NOW)).map(|(status, _)| status)
    }

    #[test]
    fn space_against_the_newest_backup() {
        let status = |available| {
            let scan = Scan { available_bytes: available, ..found(1, 1000, 1000.0, 1) };
            space(&job(), &scan, at(NOW)).map(|(status, _)| status)
        };
        assert_eq!(status(Some(1500)), Some(CheckStatus::Ok));
        assert_eq!(status(Some(1499)), Some(CheckStatus::Warn));
        assert_eq!(status(None), None);
    }

    #[test]
    fn a_failed_run_has_its_reason() {
        let of = |last_run| last_run_of(&Scan { last_run: Some(last_run), ..Scan::default() });
        let finished_at = at(NOW - 90);
        assert_eq!(of(LastRun::Ok { finished_at }), (CheckStatus::Ok, "succeeded 1m 30s ago".to_owned()));
        let failed = of(LastRun::Failed { finished_at, why: "storage: disk full".to_owned() });
        assert_eq!(failed, (CheckStatus::Fail, "failed 1m 30s ago: storage: disk full".to_owned()));
        assert_eq!(of(LastRun::Unknown { why: "x".to_owned() }).0, CheckStatus::Fail);
        assert_eq!(last_run(&job(), &Scan::default(), at(NOW)), None);
    }

    fn last_run_of(scan: &Scan) -> Finding {
        last_run(&job(), scan, at(NOW)).unwrap()
    }
}
