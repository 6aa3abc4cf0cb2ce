//! The health of the service: the result of all checks with its reasons, as series and as JSON.

use serde::Serialize;

use crate::check::{CheckResult, CheckStatus};
use crate::family::{Desc, Families};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum HealthStatus {
    Healthy,
    Degraded,
    Down,
}

impl HealthStatus {
    const NAMES: [&str; 3] = ["healthy", "degraded", "down"];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::Degraded => "degraded",
            Self::Down => "down",
        }
    }
}

/// The result of one collector in one scrape.
#[derive(Clone, Debug, Serialize)]
pub struct CollectorOutcome {
    pub name: &'static str,
    pub success: bool,
    pub duration_seconds: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// The body of `/health`.
#[derive(Debug, Serialize)]
pub struct Report {
    pub status: HealthStatus,
    pub target: String,
    /// Why the status is not `healthy`, worst first.
    pub reasons: Vec<String>,
    pub checks: Vec<CheckReport>,
    pub collectors: Vec<CollectorOutcome>,
}

#[derive(Debug, Serialize)]
pub struct CheckReport {
    pub name: &'static str,
    pub status: CheckStatus,
    pub reason: String,
}

impl Report {
    /// Derives the status: `down` if an essential check fails, `degraded` if any other check or a collector fails or a
    /// check warns.
    pub fn new(target: String, checks: Vec<CheckResult>, collectors: Vec<CollectorOutcome>) -> Self {
        let mut status = HealthStatus::Healthy;
        let mut reasons: Vec<(HealthStatus, String)> = Vec::new();
        for result in &checks {
            let status_of_check = match result.status {
                CheckStatus::Ok => continue,
                CheckStatus::Fail if result.check.essential => HealthStatus::Down,
                CheckStatus::Fail | CheckStatus::Warn => HealthStatus::Degraded,
            };
            status = status.max(status_of_check);
            reasons.push((status_of_check, format!("{}: {}", result.check.name, result.reason)));
        }
        for outcome in collectors.iter().filter(|outcome| !outcome.success) {
            status = status.max(HealthStatus::Degraded);
            // While the service is down its collectors do not run and have no error: the failed check is the reason.
            if let Some(error) = &outcome.error {
                reasons.push((HealthStatus::Degraded, format!("collector {}: {error}", outcome.name)));
            }
        }
        reasons.sort_by_key(|(status, _)| std::cmp::Reverse(*status));
        Self {
            status,
            target,
            reasons: reasons.into_iter().map(|(_, reason)| reason).collect(),
            checks: checks
                .into_iter()
                .map(|r| CheckReport { name: r.check.name, status: r.status, reason: r.reason })
                .collect(),
            collectors,
        }
    }

    pub(crate) fn write(&self, namespace: &str, out: &mut Families) {
        let [status, check] = families(namespace);
        out.family(&status).push_states(&[], &HealthStatus::NAMES, self.status.as_str());
        let family = out.family(&check);
        for report in &self.checks {
            family.push_states(&[report.name], &CheckStatus::NAMES, report.status.as_str());
        }
    }
}

pub(crate) fn families(namespace: &str) -> [Desc; 2] {
    use crate::family::Kind::StateSet;
    [
        Desc::dynamic(
            StateSet,
            format!("{namespace}_health_status"),
            "Current health status; `/health` has the reasons.",
            &["status"],
        ),
        Desc::dynamic(
            StateSet,
            format!("{namespace}_health_check_status"),
            "Current result of one health check; a check that could not be made is absent.",
            &["check", "status"],
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::CheckDef;

    static CONNECT: CheckDef = CheckDef { name: "connect", help: "", essential: true };
    static REPLICATION: CheckDef = CheckDef { name: "replication", help: "", essential: false };

    fn result(check: &'static CheckDef, status: CheckStatus) -> CheckResult {
        CheckResult { check, status, reason: format!("{} is {}", check.name, status.as_str()) }
    }

    fn overall(checks: &[CheckResult], collector_success: bool) -> HealthStatus {
        let collector = CollectorOutcome {
            name: "status",
            success: collector_success,
            duration_seconds: 0.0,
            error: (!collector_success).then(|| "timed out".to_owned()),
        };
        Report::new("db:3306".to_owned(), checks.to_vec(), vec![collector]).status
    }

    #[test]
    fn status_is_the_worst_of_all_checks() {
        use CheckStatus::{Fail, Ok, Warn};
        assert_eq!(overall(&[result(&CONNECT, Ok), result(&REPLICATION, Ok)], true), HealthStatus::Healthy);
        assert_eq!(overall(&[result(&CONNECT, Ok), result(&REPLICATION, Warn)], true), HealthStatus::Degraded);
        assert_eq!(overall(&[result(&CONNECT, Ok), result(&REPLICATION, Fail)], true), HealthStatus::Degraded);
        assert_eq!(overall(&[result(&CONNECT, Fail), result(&REPLICATION, Ok)], true), HealthStatus::Down);
        assert_eq!(overall(&[result(&CONNECT, Warn)], true), HealthStatus::Degraded);
        assert_eq!(overall(&[result(&CONNECT, Ok)], false), HealthStatus::Degraded);
    }

    #[test]
    fn the_worst_reason_comes_first() {
        let checks = vec![result(&REPLICATION, CheckStatus::Warn), result(&CONNECT, CheckStatus::Fail)];
        let report = Report::new("db:3306".to_owned(), checks, Vec::new());
        assert_eq!(report.reasons, ["connect: connect is fail", "replication: replication is warn"]);
    }
}
