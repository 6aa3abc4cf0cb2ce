//! `rate_limit` of the web configuration: a token bucket over all clients.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde::Deserialize;
use tokio::time::Instant;

use crate::web_config::Wrong;

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct RateLimitSection {
    interval: Option<String>,
    burst: Option<u32>,
}

impl RateLimitSection {
    pub(crate) fn limit(self) -> Result<Option<RateLimit>, Wrong> {
        let interval = match self.interval {
            None => Duration::ZERO,
            Some(text) => go_duration(&text).ok_or_else(|| {
                Wrong::new("rate_limit.interval", "a duration is expected, such as 1s, 500ms or 1m30s; 0 is no limit")
            })?,
        };
        match self.burst.unwrap_or_default() {
            _ if interval.is_zero() => Ok(None),
            // In Go's toolkit it is the default, and answers 429 to everybody for ever.
            0 => Err(Wrong::new("rate_limit.burst", "with an interval it must be 1 at least")),
            burst => Ok(Some(RateLimit::new(interval, burst))),
        }
    }
}

/// A duration as Go writes it: `1m30s`, `0.5s`, `0`.
fn go_duration(text: &str) -> Option<Duration> {
    if text == "0" {
        return Some(Duration::ZERO);
    }
    let mut rest = text;
    let mut total = Duration::ZERO;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, after) = rest.split_at(digits);
        let unit = after.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(after.len());
        let (unit, after) = after.split_at(unit);
        let seconds = match unit {
            "ns" => 1e-9,
            "us" | "µs" => 1e-6,
            "ms" => 1e-3,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            _ => return None,
        };
        total = total.checked_add(Duration::try_from_secs_f64(number.parse::<f64>().ok()? * seconds).ok()?)?;
        rest = after;
    }
    (!text.is_empty()).then_some(total)
}

/// `burst` requests at once, and one more each `interval`.
pub(crate) struct RateLimit {
    interval: Duration,
    /// How far ahead of the clock [`Self::next`] may be.
    tolerance: Duration,
    /// When the bucket is full again.
    next: Mutex<Option<Instant>>,
}

impl RateLimit {
    fn new(interval: Duration, burst: u32) -> Self {
        Self { interval, tolerance: interval.saturating_mul(burst - 1), next: Mutex::default() }
    }

    pub(crate) fn allows_one_more(&self) -> bool {
        let now = Instant::now();
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        let full = next.unwrap_or(now).max(now);
        if full - now > self.tolerance {
            return false;
        }
        // No later than that there is nothing to wait for: an interval of centuries.
        *next = full.checked_add(self.interval).or(Some(full));
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_of_go() {
        for (text, milliseconds) in [("0", 0), ("1s", 1000), ("500ms", 500), ("1m30s", 90_000), ("1.5h", 5_400_000)] {
            assert_eq!(go_duration(text), Some(Duration::from_millis(milliseconds)), "{text}");
        }
        for text in ["", "1", "s", "1d", "-1s", "1s2", "..s", "1e9h9"] {
            assert_eq!(go_duration(text), None, "{text}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_burst_and_then_one_an_interval() {
        let limit = RateLimit::new(Duration::from_secs(1), 3);
        let allowed = || (0..10).filter(|_| limit.allows_one_more()).count();
        assert_eq!(allowed(), 3);
        tokio::time::advance(Duration::from_millis(999)).await;
        assert_eq!(allowed(), 0);
        tokio::time::advance(Duration::from_millis(1)).await;
        assert_eq!(allowed(), 1);
        tokio::time::advance(Duration::from_secs(60)).await;
        assert_eq!(allowed(), 3, "no more than a burst is saved up");
    }
}
