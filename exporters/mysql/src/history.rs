//! What the last scrapes of a server saw, for the checks that need a rate or a trend. A bounded window; a restart of the server begins a new one.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// How far back it goes: long enough that the minute's ups and downs are no trend.
const WINDOW: Duration = Duration::from_secs(15 * 60);
/// Below this a rate says more about the scrapes than about the server.
const SHORTEST: Duration = Duration::from_secs(60);
/// Readings that come faster are not kept: several scrapers, or a person with curl. So there are at most WINDOW / SPACING = 180.
const SPACING: Duration = Duration::from_secs(5);

/// What one scrape saw: numbers of `SHOW GLOBAL STATUS`.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Reading {
    pub(crate) uptime: f64,
    pub(crate) connections: f64,
    pub(crate) opened_tables: f64,
    pub(crate) temp_tables: f64,
    pub(crate) temp_tables_on_disk: f64,
}

/// What changed over the window, per second.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Trend {
    /// The slope of the line that fits best: one peak is no trend.
    pub(crate) connections: f64,
    pub(crate) opened_tables: f64,
    pub(crate) temp_tables: f64,
    pub(crate) temp_tables_on_disk: f64,
}

#[derive(Debug, Default)]
pub(crate) struct History(Mutex<Memory>);

#[derive(Debug, Default)]
struct Memory {
    readings: VecDeque<(Instant, Reading)>,
    /// How many transactions of its own a replica held when it was first seen.
    own_transactions: Option<f64>,
}

impl History {
    /// Takes a scrape's reading; `None` until there is enough to say how things change.
    pub(crate) fn trend(&self, now: Instant, reading: Reading) -> Option<Trend> {
        let readings = &mut self.memory().readings;
        if readings.back().is_some_and(|(_, last)| reading.uptime < last.uptime) {
            readings.clear();
        }
        while readings.front().is_some_and(|(at, _)| now.saturating_duration_since(*at) > WINDOW) {
            readings.pop_front();
        }
        if readings.back().is_none_or(|(at, _)| now.saturating_duration_since(*at) >= SPACING) {
            readings.push_back((now, reading));
        }
        let (first_at, first) = *readings.front()?;
        let span = now.saturating_duration_since(first_at);
        if span < SHORTEST {
            return None;
        }
        let rate = |counter: fn(&Reading) -> f64| (counter(&reading) - counter(&first)).max(0.0) / span.as_secs_f64();
        Some(Trend {
            connections: slope(
                readings
                    .iter()
                    .map(|(at, reading)| (at.saturating_duration_since(first_at).as_secs_f64(), reading.connections)),
            ),
            opened_tables: rate(|reading| reading.opened_tables),
            temp_tables: rate(|reading| reading.temp_tables),
            temp_tables_on_disk: rate(|reading| reading.temp_tables_on_disk),
        })
    }

    /// How many transactions a replica wrote itself since it was first seen as one; `None` is a server that is no replica.
    pub(crate) fn new_own_transactions(&self, own: Option<f64>) -> Option<f64> {
        let memory = &mut *self.memory();
        let own = own?;
        // Fewer than before: its binary log was reset, or it is another server.
        let first = memory.own_transactions.filter(|first| *first <= own).unwrap_or(own);
        memory.own_transactions = Some(first);
        Some(own - first)
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Of the line through these points with the least squares.
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

    fn reading(seconds: f64, connections: f64) -> Reading {
        Reading {
            uptime: 1000.0 + seconds,
            connections,
            opened_tables: 2.0 * seconds,
            temp_tables: 10.0 * seconds,
            temp_tables_on_disk: 5.0 * seconds,
        }
    }

    /// A reading every ten seconds; returns the last trend.
    fn run(history: &History, start: Instant, connections: &[f64]) -> Option<Trend> {
        let mut trend = None;
        for (i, &connections) in (0_u32..).zip(connections) {
            let seconds = f64::from(i) * 10.0;
            trend = history.trend(start + Duration::from_secs_f64(seconds), reading(seconds, connections));
        }
        trend
    }

    #[test]
    fn a_minute_makes_a_trend() {
        let start = Instant::now();
        assert_eq!(run(&History::default(), start, &[1.0; 6]), None);
        let expected = Trend { connections: 0.0, opened_tables: 2.0, temp_tables: 10.0, temp_tables_on_disk: 5.0 };
        assert_eq!(run(&History::default(), start, &[1.0; 7]), Some(expected));
        let growing: Vec<f64> = (0..7).map(|i| f64::from(i) * 3.0).collect();
        assert!((run(&History::default(), start, &growing).unwrap().connections - 0.3).abs() < 1e-9);
        // The peak of one scrape is a small slope, not what the difference of two readings would be: 90 in 60 s.
        let peak = run(&History::default(), start, &[10.0, 10.0, 10.0, 10.0, 10.0, 10.0, 100.0]).unwrap();
        assert!(peak.connections < 1.0, "{peak:?}");
    }

    #[test]
    fn a_restart_begins_a_new_window() {
        let (history, start) = (History::default(), Instant::now());
        run(&history, start, &[1.0; 7]);
        let restarted = Reading { uptime: 3.0, ..Reading::default() };
        assert_eq!(history.trend(start + Duration::from_secs(70), restarted), None);
    }

    #[test]
    fn memory_has_a_bound() {
        let (history, start) = (History::default(), Instant::now());
        for i in 0..100_000 {
            let seconds = f64::from(i) * 0.1;
            history.trend(start + Duration::from_secs_f64(seconds), reading(seconds, 1.0));
        }
        let kept = history.memory().readings.len();
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
