//! `rate_limit` of the web configuration: a token bucket over all clients.

use std::sync::Mutex;
use std::time::Duration;

use serde::Deserialize;
use service_kit::lock::lock;
use tokio::time::Instant;

use crate::error::KeyError;

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct RateLimitSection {
    interval: Option<String>,
    burst: Option<u32>,
}

impl RateLimitSection {
    pub(crate) fn limit(self) -> Result<Option<RateLimit>, KeyError> {
        let interval = match self.interval {
            None => Duration::ZERO,
            Some(text) => go_duration(&text).ok_or_else(|| {
                KeyError::new("rate_limit.interval", "expected a duration such as 1s, 500ms or 1m30s; 0 means no limit")
            })?,
        };
        match self.burst.unwrap_or_default() {
            _ if interval.is_zero() => Ok(None),
            // The default of the Go toolkit, which then refuses all requests.
            0 => Err(KeyError::new("rate_limit.burst", "must be at least 1 if interval is set")),
            burst => Ok(Some(RateLimit::new(interval, burst))),
        }
    }
}

/// A duration in Go's notation: `1m30s`, `0.5s`, `0`.
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

/// Allows `burst` requests at once, and one more per `interval`.
pub(crate) struct RateLimit {
    interval: Duration,
    /// How far [`Self::next`] may be ahead of the clock.
    tolerance: Duration,
    /// When the bucket is full again.
    next: Mutex<Option<Instant>>,
}

impl RateLimit {
    pub(crate) fn new(interval: Duration, burst: u32) -> Self {
        Self { interval, tolerance: interval.saturating_mul(burst - 1), next: Mutex::default() }
    }

    pub(crate) fn try_acquire(&self) -> bool {
        let now = Instant::now();
        let mut next = lock(&self.next);
        let full = next.unwrap_or(now).max(now);
        if full - now > self.tolerance {
            return false;
        }
        // An interval too long for the clock leaves the time as it is.
        *next = full.checked_add(self.interval).or(Some(full));
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_durations_in_go_notation() {
        for (text, milliseconds) in [("0", 0), ("1s", 1000), ("500ms", 500), ("1m30s", 90_000), ("1.5h", 5_400_000)] {
            assert_eq!(go_duration(text), Some(Duration::from_millis(milliseconds)), "{text}");
        }
        for text in ["", "1", "s", "1d", "-1s", "1s2", "..s", "1e9h9"] {
            assert_eq!(go_duration(text), None, "{text}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn allows_a_burst_and_then_one_request_per_interval() {
        let limit = RateLimit::new(Duration::from_secs(1), 3);
        let allowed = || (0..10).filter(|_| limit.try_acquire()).count();
        assert_eq!(allowed(), 3);
        tokio::time::advance(Duration::from_millis(999)).await;
        assert_eq!(allowed(), 0);
        tokio::time::advance(Duration::from_millis(1)).await;
        assert_eq!(allowed(), 1);
        tokio::time::advance(Duration::from_secs(60)).await;
        assert_eq!(allowed(), 3, "at most one burst accumulates");
    }
}
