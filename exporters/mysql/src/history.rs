//! Values of the last scrapes of a server, for checks that need a rate or a trend. The window is bounded; a restart of
//! the server begins a new one.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// The length of the window: long enough to smooth out fluctuations of minutes.
const WINDOW: Duration = Duration::from_secs(15 * 60);
/// The minimum span of a rate: below it the scrapes themselves dominate.
const MIN_SPAN: Duration = Duration::from_secs(60);
/// The minimum distance of samples, whatever the number of scrapers. The window holds at most WINDOW / SPACING = 180.
const SPACING: Duration = Duration::from_secs(5);

/// Values of `SHOW GLOBAL STATUS` at one scrape.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct StatusSample {
    pub(crate) uptime: f64,
    pub(crate) connections: f64,
    pub(crate) opened_tables: f64,
    pub(crate) temp_tables: f64,
    pub(crate) temp_tables_on_disk: f64,
    /// Seconds for which Galera's flow control has paused replication; 0 without Galera.
    pub(crate) flow_control_paused: f64,
}

/// What changed over the window, per second.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Trend {
    /// The slope of the least-squares line: one peak hardly changes it.
    pub(crate) connections: f64,
    pub(crate) opened_tables: f64,
    pub(crate) temp_tables: f64,
    pub(crate) temp_tables_on_disk: f64,
    pub(crate) flow_control_paused: f64,
}

#[derive(Debug, Default)]
pub(crate) struct History(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    samples: VecDeque<(Instant, StatusSample)>,
    /// The number of transactions that originated on the replica at the first scrape.
    own_transactions: Option<f64>,
}

impl History {
    /// Adds a scrape's sample; `None` until the window spans a minute.
    pub(crate) fn trend(&self, now: Instant, sample: StatusSample) -> Option<Trend> {
        let samples = &mut self.state().samples;
        if samples.back().is_some_and(|(_, last)| sample.uptime < last.uptime) {
            samples.clear();
        }
        while samples.front().is_some_and(|(at, _)| now.saturating_duration_since(*at) > WINDOW) {
            samples.pop_front();
        }
        if samples.back().is_none_or(|(at, _)| now.saturating_duration_since(*at) >= SPACING) {
            samples.push_back((now, sample));
        }
        let (first_at, first) = *samples.front()?;
        let span = now.saturating_duration_since(first_at);
        if span < MIN_SPAN {
            return None;
        }
        let rate =
            |counter: fn(&StatusSample) -> f64| (counter(&sample) - counter(&first)).max(0.0) / span.as_secs_f64();
        Some(Trend {
            connections: slope(
                samples
                    .iter()
                    .map(|(at, sample)| (at.saturating_duration_since(first_at).as_secs_f64(), sample.connections)),
            ),
            opened_tables: rate(|sample| sample.opened_tables),
            temp_tables: rate(|sample| sample.temp_tables),
            temp_tables_on_disk: rate(|sample| sample.temp_tables_on_disk),
            flow_control_paused: rate(|sample| sample.flow_control_paused),
        })
    }

    /// The number of transactions that originated on the replica since its first scrape; `None` if the server is not a
    /// replica.
    pub(crate) fn new_own_transactions(&self, own: Option<f64>) -> Option<f64> {
        let state = &mut *self.state();
        let own = own?;
        // Fewer than before: the binary log was reset, or it is another server.
        let first = state.own_transactions.filter(|first| *first <= own).unwrap_or(own);
        state.own_transactions = Some(first);
        Some(own - first)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The slope of the least-squares line through these points.
fn slope(points: impl Iterator<Item = (f64, f64)> + Clone) -> f64 {
    let (mut n, mut sum_x, mut sum_y) = (0.0, 0.0, 0.0);
    for (x, y) in points.clone() {
        n += 1.0;
        sum_x += x;
        sum_y += y;
    }
    let (mean_x, mean_y) = (sum_x / n, sum_y / n);
    let (mut covariance, mut variance) = (0.0, 0.0);
    for (x, y) in points {
        covariance += (x - mean_x) * (y - mean_y);
        variance += (x - mean_x) * (x - mean_x);
    }
    if variance > 0.0 { covariance / variance } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(seconds: f64, connections: f64) -> StatusSample {
        StatusSample {
            uptime: 1000.0 + seconds,
            connections,
            opened_tables: 2.0 * seconds,
            temp_tables: 10.0 * seconds,
            temp_tables_on_disk: 5.0 * seconds,
            flow_control_paused: 0.25 * seconds,
        }
    }

    /// A sample every ten seconds; returns the last trend.
    fn run(history: &History, start: Instant, connections: &[f64]) -> Option<Trend> {
        let mut trend = None;
        for (i, &connections) in (0_u32..).zip(connections) {
            let seconds = f64::from(i) * 10.0;
            trend = history.trend(start + Duration::from_secs_f64(seconds), sample(seconds, connections));
        }
        trend
    }

    #[test]
    fn a_trend_needs_a_minute() {
        let start = Instant::now();
        assert_eq!(run(&History::default(), start, &[1.0; 6]), None);
        let expected = Trend {
            connections: 0.0,
            opened_tables: 2.0,
            temp_tables: 10.0,
            temp_tables_on_disk: 5.0,
            flow_control_paused: 0.25,
        };
        assert_eq!(run(&History::default(), start, &[1.0; 7]), Some(expected));
        let growing: Vec<f64> = (0..7).map(|i| f64::from(i) * 3.0).collect();
        assert!((run(&History::default(), start, &growing).unwrap().connections - 0.3).abs() < 1e-9);
        // The peak of one scrape is a small slope, not what the difference of two samples would be: 90 in 60 s.
        let peak = run(&History::default(), start, &[10.0, 10.0, 10.0, 10.0, 10.0, 10.0, 100.0]).unwrap();
        assert!(peak.connections < 1.0, "{peak:?}");
    }

    #[test]
    fn a_restart_begins_a_new_window() {
        let (history, start) = (History::default(), Instant::now());
        run(&history, start, &[1.0; 7]);
        let restarted = StatusSample { uptime: 3.0, ..StatusSample::default() };
        assert_eq!(history.trend(start + Duration::from_secs(70), restarted), None);
    }

    #[test]
    fn the_window_is_bounded() {
        let (history, start) = (History::default(), Instant::now());
        for i in 0..100_000 {
            let seconds = f64::from(i) * 0.1;
            history.trend(start + Duration::from_secs_f64(seconds), sample(seconds, 1.0));
        }
        let kept = history.state().samples.len();
        assert!((100..=181).contains(&kept), "{kept}");
    }

    #[test]
    fn only_new_transactions_of_a_replica_count() {
        let history = History::default();
        assert_eq!(history.new_own_transactions(None), None);
        assert_eq!(history.new_own_transactions(Some(100.0)), Some(0.0));
        assert_eq!(history.new_own_transactions(Some(103.0)), Some(3.0));
        // RESET BINARY LOGS AND GTIDS
        assert_eq!(history.new_own_transactions(Some(0.0)), Some(0.0));
        assert_eq!(history.new_own_transactions(Some(1.0)), Some(1.0));
    }
}
