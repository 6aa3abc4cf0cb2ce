//! How the last probes of each target ended: for its next turn, and for one line of the log per change.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Duration;

use service_kit::lock::lock;
use tokio::time::Instant;
use tracing::{info, warn};

use super::exposition::Exposition;

/// Whoever reaches the port chooses the targets. Those that never answered are forgotten first, and of them the one
/// that was probed longest ago.
const MAX_TARGETS: usize = 1000;

/// The lines of the log are bounded for the same reason.
const MAX_LINES: u32 = 30;
const LINES_INTERVAL: Duration = Duration::from_secs(60);

/// One failure, of a server that restarts or an exporter that is busy, does not put a target among those that never
/// answer.
const REMEMBERED: Duration = Duration::from_secs(600);

#[derive(Default)]
pub(super) struct Probed(Mutex<State>);

#[derive(Default)]
struct State {
    targets: HashMap<String, Last>,
    /// Of the current interval.
    lines: u32,
    interval: Option<Instant>,
}

struct Last {
    up: bool,
    at: Instant,
    /// When it last answered.
    answered: Option<Instant>,
}

impl Probed {
    /// Whether the target answered a probe lately.
    pub(super) fn answered(&self, target: &str) -> bool {
        let state = lock(&self.0);
        let answered = state.targets.get(target).and_then(|last| last.answered);
        answered.is_some_and(|answered| answered.elapsed() < REMEMBERED)
    }

    pub(super) fn ended(&self, exposition: &Exposition) {
        let target = &exposition.report.target;
        let now = Instant::now();
        let mut state = lock(&self.0);
        let answered = state.targets.get(target).and_then(|last| last.answered);
        let answered = if exposition.up { Some(now) } else { answered };
        let before = state.targets.insert(target.clone(), Last { up: exposition.up, at: now, answered });
        if state.targets.len() > MAX_TARGETS
            && let Some(oldest) = state.first_to_forget(target)
        {
            state.targets.remove(&oldest);
        }
        // A target that was not probed before counts as up.
        if before.is_none_or(|before| before.up) != exposition.up && state.has_line(now) {
            if exposition.up {
                info!(%target, "probe recovered");
            } else {
                warn!(%target, reason = exposition.report.reasons.join("; "), "probe failing");
            }
        }
    }
}

impl State {
    fn first_to_forget(&self, newest: &str) -> Option<String> {
        let others = self.targets.iter().filter(|(target, _)| *target != newest);
        others.min_by_key(|(_, last)| (last.answered, last.at)).map(|(target, _)| target.clone())
    }

    fn has_line(&mut self, now: Instant) -> bool {
        if self.interval.is_none_or(|since| now - since >= LINES_INTERVAL) {
            self.interval = Some(now);
            self.lines = 0;
        }
        self.lines += 1;
        if self.lines == MAX_LINES {
            warn!("too many changes of probed targets; not logging more of them for a minute");
        }
        self.lines < MAX_LINES
    }
}

#[cfg(test)]
mod tests {
    use exposition::Snapshot;

    use super::*;
    use crate::check::{CheckDef, CheckResult, CheckStatus};
    use crate::gather::exposition::IdleCompressor;
    use crate::health::Report;

    const CONNECT: CheckDef = CheckDef { name: "connect", help: "", essential: true };

    fn exposition(target: &str, up: bool) -> Exposition {
        let status = if up { CheckStatus::Ok } else { CheckStatus::Fail };
        let checks = vec![CheckResult { check: &CONNECT, status, reason: String::new() }];
        let report = Report::new(target.to_owned(), checks, Vec::new());
        Exposition::new(Snapshot::default(), report, up, IdleCompressor::default(), crate::memory::Budget::new(0))
    }

    #[tokio::test(start_paused = true)]
    async fn the_last_result_is_kept_for_a_bounded_number_of_targets() {
        let probed = Probed::default();
        for i in 0..=MAX_TARGETS {
            probed.ended(&exposition(&format!("db{i}"), true));
            tokio::time::advance(Duration::from_millis(1)).await;
        }
        assert!(!probed.answered("db0") && probed.answered("db1"));
        assert_eq!(lock(&probed.0).targets.len(), MAX_TARGETS);
        for i in 0..10 {
            probed.ended(&exposition(&format!("new{i}"), false));
        }
        probed.ended(&exposition("db2", false));
        assert!(probed.answered("db2") && !probed.answered("new9") && !probed.answered("never"));
        assert!(lock(&probed.0).targets.contains_key("new9") && !lock(&probed.0).targets.contains_key("new8"));
        tokio::time::advance(REMEMBERED).await;
        assert!(!probed.answered("db2"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_change_is_one_line_and_lines_are_bounded() {
        let probed = Probed::default();
        let lines = |probed: &Probed| lock(&probed.0).lines;
        for (up, expected) in [(false, 1), (false, 1), (true, 2), (true, 2), (false, 3)] {
            probed.ended(&exposition("db", up));
            assert_eq!(lines(&probed), expected, "{up}");
        }
        assert!((0..100).filter(|_| lock(&probed.0).has_line(Instant::now())).count() < MAX_LINES as usize);
        tokio::time::advance(LINES_INTERVAL).await;
        assert!(lock(&probed.0).has_line(Instant::now()));
    }
}
