//! One log line per change of a health check or collector, not one per scrape.

use std::collections::HashMap;
use std::sync::Mutex;

use tracing::{info, warn};

use super::exposition::Exposition;
use crate::check::CheckStatus;
use service_kit::lock::lock;

/// The status of each check and collector in the last gather of the main target. Bounded by their number.
#[derive(Default)]
pub(super) struct Changes(Mutex<HashMap<String, CheckStatus>>);

pub(super) struct Change {
    pub(super) subject: String,
    status: CheckStatus,
    reason: String,
}

impl Changes {
    pub(super) fn log(&self, exposition: &Exposition) {
        let target = &exposition.report.target;
        for Change { subject, status, reason } in self.of(exposition) {
            let status_name = status.as_str();
            match (subject.starts_with("check"), status) {
                (true, CheckStatus::Ok) => info!(%target, %subject, %reason, "health check recovered"),
                (false, CheckStatus::Ok) => info!(%target, %subject, "collector recovered"),
                (true, _) => warn!(%target, %subject, status = status_name, %reason, "health check failing"),
                (false, _) => warn!(%target, %subject, %reason, "collector failing"),
            }
        }
    }

    /// What differs from the gather before. At the first gather only failures are changes.
    pub(super) fn of(&self, exposition: &Exposition) -> Vec<Change> {
        let report = &exposition.report;
        let checks = report.checks.iter().map(|check| Change {
            subject: format!("check {}", check.name),
            status: check.status,
            reason: check.reason.clone(),
        });
        // While the service is down its collectors do not run. That is one event, and the connection's check reports
        // it.
        let collectors = report.collectors.iter().filter(|_| exposition.up).map(|outcome| Change {
            subject: format!("collector {}", outcome.name),
            status: if outcome.success { CheckStatus::Ok } else { CheckStatus::Fail },
            reason: outcome.error.clone().unwrap_or_default(),
        });
        let mut known = lock(&self.0);
        checks
            .chain(collectors)
            .filter(|now| known.insert(now.subject.clone(), now.status).unwrap_or(CheckStatus::Ok) != now.status)
            .collect()
    }
}
