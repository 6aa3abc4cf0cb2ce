//! `mysql-backup healthcheck`: whether a job with `--schedule.every` still makes its runs. Failed runs count: alerts
//! report them.

use std::time::Duration;

use jiff::Timestamp;
use service_kit::duration::display;

use std::path::Path;

use crate::{name::BackupName, store::last_run};

pub const SUBCOMMAND: &str = service_kit::healthcheck::SUBCOMMAND;

/// For the commit of a run and for a busy machine.
const GRACE: Duration = Duration::from_secs(60);

/// `Ok` and `Err` say why.
pub fn check(
    directory: &Path,
    name: &BackupName,
    every: Option<Duration>,
    timeout: Duration,
) -> Result<String, String> {
    let every = every.ok_or("--schedule.every is not set, so no run is expected")?;
    result(last_run(directory, name), Timestamp::now(), every + timeout + GRACE)
}

/// The next run after this one starts one period later, and has a manifest at its timeout at the latest.
fn result(last_run: Option<Timestamp>, now: Timestamp, limit: Duration) -> Result<String, String> {
    let last_run = last_run.ok_or("no run has ended yet")?;
    // Negative when the clock was set back.
    let age = Duration::try_from(now.duration_since(last_run)).unwrap_or_default();
    let text = format!("the last run with a manifest started {} ago", display(Duration::from_secs(age.as_secs())));
    if age <= limit { Ok(text) } else { Err(format!("{text}, more than {}", display(limit))) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_that_is_overdue_is_unhealthy() {
        let now: Timestamp = "2026-11-22T18:00:00Z".parse().unwrap();
        let limit = Duration::from_mins(36);
        let at = |last: &str| result(Some(last.parse().unwrap()), now, limit);
        assert_eq!(at("2026-11-22T17:24:00Z").unwrap(), "the last run with a manifest started 36m ago");
        assert_eq!(
            at("2026-11-22T17:23:59Z").unwrap_err(),
            "the last run with a manifest started 36m1s ago, more than 36m"
        );
        assert!(at("2026-11-22T19:00:00Z").is_ok());
        assert_eq!(result(None, now, limit).unwrap_err(), "no run has ended yet");
    }
}
