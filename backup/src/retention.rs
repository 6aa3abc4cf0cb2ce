//! Which backups stay: the newest ones by number, and one for each of the last hours, days, weeks and months.

use std::{collections::BTreeSet, num::NonZeroU32};

use jiff::{SignedDuration, Timestamp, tz::TimeZone};

/// Clocks of two machines may differ by this much.
const AHEAD: SignedDuration = SignedDuration::from_mins(1);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// The newest ones.
    pub last: NonZeroU32,
    pub hourly: u32,
    pub daily: u32,
    pub weekly: u32,
    pub monthly: u32,
}

impl Retention {
    /// Which of these backups stay, given newest first. A start in the future has no hour or day that has been, so it
    /// takes none of their places.
    pub(crate) fn keeps(&self, starts: &[Timestamp], now: Timestamp) -> Vec<bool> {
        let last = usize::try_from(self.last.get()).unwrap_or(usize::MAX);
        let mut keeps: Vec<bool> = (0..starts.len()).map(|index| index < last).collect();
        for (count, format) in
            [(self.hourly, "%Y-%m-%d %H"), (self.daily, "%Y-%m-%d"), (self.weekly, "%G-%V"), (self.monthly, "%Y-%m")]
        {
            let mut periods = BTreeSet::new();
            for (index, start) in starts.iter().enumerate() {
                let is_past = start.duration_since(now) <= AHEAD;
                if !is_past || periods.len() as u64 >= u64::from(count) {
                    continue;
                }
                keeps[index] |= periods.insert(start.to_zoned(TimeZone::UTC).strftime(format).to_string());
            }
        }
        keeps
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn retention(last: u32, [hourly, daily, weekly, monthly]: [u32; 4]) -> Retention {
        Retention { last: NonZeroU32::new(last).unwrap(), hourly, daily, weekly, monthly }
    }

    fn kept(retention: Retention, starts: &[&str]) -> Vec<String> {
        let starts: Vec<Timestamp> = starts.iter().map(|start| start.parse().unwrap()).collect();
        let now = "2026-11-22T18:10:00Z".parse().unwrap();
        let keeps = retention.keeps(&starts, now);
        starts.iter().zip(keeps).filter(|(_, keep)| *keep).map(|(start, _)| start.to_string()).collect()
    }

    #[test]
    fn one_of_each_period_stays() {
        let starts = [
            "2026-11-22T18:00:00Z",
            "2026-11-22T17:45:00Z",
            "2026-11-22T17:30:00Z",
            "2026-11-21T23:45:00Z",
            "2026-11-21T23:30:00Z",
            "2026-11-14T12:00:00Z",
            "2026-10-31T12:00:00Z",
            "2026-09-30T12:00:00Z",
        ];
        assert_eq!(kept(retention(1, [0; 4]), &starts), ["2026-11-22T18:00:00Z"]);
        assert_eq!(kept(retention(1, [2, 0, 0, 0]), &starts), ["2026-11-22T18:00:00Z", "2026-11-22T17:45:00Z"]);
        assert_eq!(kept(retention(1, [0, 2, 0, 0]), &starts), ["2026-11-22T18:00:00Z", "2026-11-21T23:45:00Z"]);
        assert_eq!(kept(retention(1, [0, 0, 2, 0]), &starts), ["2026-11-22T18:00:00Z", "2026-11-14T12:00:00Z"]);
        assert_eq!(
            kept(retention(1, [0, 0, 0, 3]), &starts),
            ["2026-11-22T18:00:00Z", "2026-10-31T12:00:00Z", "2026-09-30T12:00:00Z"]
        );
    }

    #[test]
    fn a_clock_that_was_ahead_costs_no_period() {
        let starts = ["2026-11-22T18:00:00Z", "2028-01-02T00:00:00Z", "2028-01-01T00:00:00Z", "2026-11-21T18:00:00Z"];
        assert_eq!(kept(retention(1, [0, 2, 0, 0]), &starts), ["2026-11-22T18:00:00Z", "2026-11-21T18:00:00Z"]);
    }
}
