//! What the last 24 hours of backups and runs say: was there always a young enough recovery point, and what is missing?

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::backup::{Backup, Runs};

/// How far back these figures look. A day shows what a nightly job does to backups, and is short enough to end.
const WINDOW: SignedDuration = SignedDuration::from_hours(24);

/// The last 24 hours, or as far back as there are backups.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct History {
    /// Share of the time in which a restore would have lost no more than the target.
    pub compliance: f64,
    /// Longest time between two recovery points, or from the newest one until now.
    pub longest_gap: Duration,
    /// The length of that time, and how many of the backups ended in it.
    pub length: Duration,
    pub backups: u64,
}

impl History {
    /// `newest_first` by the recovery point; `None` without a backup.
    pub(crate) fn of(newest_first: &[Backup], target: Duration, now: Timestamp) -> Option<Self> {
        let oldest = newest_first.last()?;
        let start = (now - WINDOW).max(oldest.finished_at).min(now);
        let length = now.duration_since(start).as_secs_f64();
        let ended = newest_first.iter().filter(|backup| backup.finished_at >= start).count();
        let target = target.as_secs_f64();
        let (mut compliant, mut longest_gap) = (0.0, 0.0_f64);
        // From `until` on there was a newer recovery point.
        let (mut until, mut next_point) = (now, now);
        for backup in newest_first {
            // This recovery point was the newest one from its end until `until`, and good for the length of the target.
            let from = backup.finished_at.max(start).min(until);
            let good_until = backup.recovery_point.as_second() as f64 + target;
            compliant += (good_until.min(until.as_second() as f64) - from.as_second() as f64).max(0.0);
            if next_point > start {
                longest_gap = longest_gap.max(next_point.duration_since(backup.recovery_point).as_secs_f64());
            }
            (until, next_point) = (from, backup.recovery_point);
            if until <= start {
                break;
            }
        }
        let compliance = if length > 0.0 { (compliant / length).clamp(0.0, 1.0) } else { 1.0 };
        let duration = |seconds: f64| Duration::try_from_secs_f64(seconds.max(0.0)).unwrap_or_default();
        Some(Self { compliance, longest_gap: duration(longest_gap), length: duration(length), backups: ended as u64 })
    }
}

/// How many runs are missing of those that the interval promises.
pub(crate) fn missed_runs(history: &History, runs: Option<Runs>, interval: Duration) -> u64 {
    let expected = (history.length.as_secs_f64() / interval.as_secs_f64()) as u64;
    // A failed run was not missed.
    let seen = runs.map_or(history.backups, |runs| runs.recent_ok + runs.recent_failed);
    expected.saturating_sub(seen)
}

/// Whether a run that ended then counts.
pub(crate) fn is_recent(finished_at: Timestamp, now: Timestamp) -> bool {
    now.duration_since(finished_at) <= WINDOW
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_800_000_000;
    const TARGET: Duration = Duration::from_secs(1800);

    /// A backup with this recovery point, in minutes before now, that took this many minutes.
    fn backup(minutes_ago: i64, took: i64) -> Backup {
        let at = |minutes: i64| Timestamp::from_second(NOW - minutes * 60).unwrap();
        Backup {
            recovery_point: at(minutes_ago),
            finished_at: at(minutes_ago - took),
            stored_bytes: 1,
            uncompressed_bytes: None,
            duration: None,
        }
    }

    fn history(backups: &[Backup]) -> (f64, u64) {
        let now = Timestamp::from_second(NOW).unwrap();
        let History { compliance, longest_gap, .. } = History::of(backups, TARGET, now).unwrap();
        ((compliance * 1000.0).round() / 1000.0, longest_gap.as_secs() / 60)
    }

    #[test]
    fn a_backup_each_quarter_of_an_hour_complies_always() {
        let backups: Vec<_> = (0..200).map(|count| backup(5 + 15 * count, 2)).collect();
        assert_eq!(history(&backups), (1.0, 15));
    }

    #[test]
    fn the_time_without_a_young_recovery_point_counts() {
        // The newest one is 60 min old: half of the last hour was over the target.
        assert_eq!(history(&[backup(60, 0)]), (0.5, 60));
        // From 120 to 90 good, to 60 not; from 60 to 30 good, to 0 not.
        assert_eq!(history(&[backup(60, 0), backup(120, 0)]), (0.5, 60));
        // A run of 20 min leaves 10 min of 30 to its recovery point. What was before the oldest one is not known.
        assert_eq!(history(&[backup(40, 20), backup(80, 20)]), (0.333, 40));
    }

    #[test]
    fn what_is_older_than_a_day_does_not_count() {
        let day = 24 * 60;
        // The gap before the window is not in it; the one that reaches into it is.
        let dense = (0..100).map(|count| backup(15 * count, 0));
        let backups: Vec<_> = dense.clone().chain([backup(day * 3, 0)]).collect();
        assert_eq!(history(&backups), (1.0, 15));
        let backups: Vec<_> = dense
            .filter(|one| one.recovery_point > backup(day - 60, 0).recovery_point)
            .chain([backup(day + 60, 0)])
            .collect();
        let (compliance, gap) = history(&backups);
        assert!((0.94..0.95).contains(&compliance), "{compliance}");
        assert_eq!(gap, 2 * 60 + 15);
    }

    #[test]
    fn a_run_is_missed_if_nothing_ended_in_its_place() {
        let quarter = Duration::from_secs(900);
        let backups: Vec<_> = [0, 15, 45, 60].map(|minutes| backup(minutes, 0)).into();
        let history = History::of(&backups, TARGET, Timestamp::from_second(NOW).unwrap()).unwrap();
        assert_eq!(missed_runs(&history, None, quarter), 0, "the first and the last end of an hour both count");
        let runs = |recent_ok, recent_failed| Some(Runs { recent_ok, recent_failed, ..Runs::default() });
        assert_eq!(missed_runs(&history, runs(2, 0), quarter), 2);
        assert_eq!(missed_runs(&history, runs(2, 2), quarter), 0);
    }

    #[test]
    fn the_first_moment_complies() {
        assert_eq!(history(&[backup(0, 0)]), (1.0, 0));
        assert_eq!(History::of(&[], TARGET, Timestamp::UNIX_EPOCH), None);
    }
}
