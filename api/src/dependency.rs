//! Health of MySQL and Redis, probed in the background, so that neither a request nor a health check waits for a probe.

use std::{
    sync::Mutex,
    time::{Duration, Instant},
};

use jiff::Timestamp;
use serde::Serialize;
use service_kit::{address::Address, lock::lock};
use tokio::{sync::Notify, time::timeout};

const PROBE_INTERVAL: Duration = Duration::from_secs(5);
/// While it is down or a probe contradicts the status, which then settles within 3 s instead of 15.
const UNCONFIRMED_PROBE_INTERVAL: Duration = Duration::from_secs(1);
/// Minimum pause between two probes, even if requests keep failing.
const PROBE_PAUSE: Duration = Duration::from_millis(500);
pub(crate) const PROBE_TIMEOUT: Duration = Duration::from_millis(500);

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum DependencyStatus {
    Unknown,
    Up,
    Down,
}

/// Three failures make a dependency down and two successes make it up again; the first probe decides at once.
#[derive(Debug)]
struct Hysteresis {
    status: DependencyStatus,
    against: u32,
}

impl Hysteresis {
    const FAILURES_TO_DOWN: u32 = 3;
    const SUCCESSES_TO_UP: u32 = 2;

    /// True when the status changed.
    fn record(&mut self, ok: bool) -> bool {
        let (seen, needed) = match ok {
            true => (DependencyStatus::Up, Self::SUCCESSES_TO_UP),
            false => (DependencyStatus::Down, Self::FAILURES_TO_DOWN),
        };
        if seen == self.status {
            self.against = 0;
            return false;
        }
        self.against += 1;
        if self.status != DependencyStatus::Unknown && self.against < needed {
            return false;
        }
        *self = Self { status: seen, against: 0 };
        true
    }

    fn is_confirmed_up(&self) -> bool {
        self.status == DependencyStatus::Up && self.against == 0
    }
}

/// A shared dependency and its cached status.
#[derive(Debug)]
pub(crate) struct Dependency {
    pub(crate) name: &'static str,
    address: String,
    state: Mutex<State>,
    /// Notified by a request that fails, so that the next probe comes at once.
    pub(crate) recheck: Notify,
}

#[derive(Debug)]
struct State {
    hysteresis: Hysteresis,
    since: Timestamp,
    probed: Option<Probed>,
}

#[derive(Debug, Clone, Serialize)]
struct Probed {
    at: Timestamp,
    ok: bool,
    seconds: f64,
}

/// For `/health`.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    status: DependencyStatus,
    since: Timestamp,
    last_probe: Option<Probed>,
}

/// Checks whether a dependency works.
pub(crate) trait Probe: Send + 'static {
    type Error: std::fmt::Display + Send;
    fn probe(&mut self) -> impl Future<Output = Result<(), Self::Error>> + Send;
}

impl Dependency {
    pub(crate) fn new(name: &'static str, address: &Address) -> Self {
        let state = State {
            hysteresis: Hysteresis { status: DependencyStatus::Unknown, against: 0 },
            since: Timestamp::now(),
            probed: None,
        };
        Self { name, address: address.to_string(), state: Mutex::new(state), recheck: Notify::new() }
    }

    pub(crate) fn status(&self) -> DependencyStatus {
        self.lock().hysteresis.status
    }

    pub(crate) fn report(&self) -> Report {
        let state = self.lock();
        Report { status: state.hysteresis.status, since: state.since, last_probe: state.probed.clone() }
    }

    /// Probes until it is dropped. It logs changes of the status, not each probe.
    pub(crate) async fn watch(&self, mut probe: impl Probe) {
        loop {
            let started = Instant::now();
            let outcome = match timeout(PROBE_TIMEOUT, probe.probe()).await {
                Ok(Ok(())) => Ok(()),
                Ok(Err(error)) => Err(error.to_string()),
                Err(_) => Err(format!("no answer within {PROBE_TIMEOUT:?}")),
            };
            if self.record(outcome.is_ok(), started.elapsed()) {
                match outcome {
                    Ok(()) => tracing::info!(dependency = self.name, address = self.address, "dependency is up"),
                    Err(error) => {
                        tracing::error!(dependency = self.name, address = self.address, error, "dependency is down")
                    }
                }
            }
            tokio::time::sleep(PROBE_PAUSE).await;
            let every =
                if self.lock().hysteresis.is_confirmed_up() { PROBE_INTERVAL } else { UNCONFIRMED_PROBE_INTERVAL };
            let _ = timeout(every.saturating_sub(started.elapsed()), self.recheck.notified()).await;
        }
    }

    fn record(&self, ok: bool, took: Duration) -> bool {
        let now = Timestamp::now();
        let mut state = self.lock();
        state.probed = Some(Probed { at: now, ok, seconds: took.as_secs_f64() });
        let changed = state.hysteresis.record(ok);
        if changed {
            state.since = now;
        }
        changed
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        lock(&self.state)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn statuses(probes: &[bool]) -> Vec<DependencyStatus> {
        let mut hysteresis = Hysteresis { status: DependencyStatus::Unknown, against: 0 };
        probes
            .iter()
            .map(|ok| {
                hysteresis.record(*ok);
                hysteresis.status
            })
            .collect()
    }

    #[test]
    fn the_first_probe_decides_at_once() {
        assert_eq!(statuses(&[true]), [DependencyStatus::Up]);
        assert_eq!(statuses(&[false]), [DependencyStatus::Down]);
    }

    #[test]
    fn three_failures_in_a_row_are_down_and_two_successes_up() {
        use DependencyStatus::{Down, Up};
        assert_eq!(statuses(&[true, false, false, false, true, true]), [Up, Up, Up, Down, Down, Up]);
    }

    #[test]
    fn a_streak_that_breaks_starts_again() {
        use DependencyStatus::{Down, Up};
        assert_eq!(statuses(&[true, false, false, true, false, false]), [Up; 6]);
        assert_eq!(statuses(&[false, true, false, true]), [Down; 4]);
    }

    #[test]
    fn a_change_is_reported_once() {
        let dependency = Dependency::new("mysql", &Address::parse("db", 3306).unwrap());
        let changes: Vec<bool> =
            [true, true, false, false, false, false].map(|ok| dependency.record(ok, Duration::ZERO)).into();
        assert_eq!(changes, [true, false, false, false, true, false]);
    }
}
