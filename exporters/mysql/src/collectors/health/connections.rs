//! Whether connections are left, and for how long.

use exporter_toolkit::flags::positive;
use exporter_toolkit::{CheckDef, CheckStatus, Finding};

use crate::history::Trend;
use crate::rows::Rows;

pub(super) const CONNECTIONS: CheckDef = CheckDef {
    name: "connections",
    help: "Whether the server has free connections, now and by the trend of the last 15 minutes (--health.connections-warn, \
           --health.connections-fail, --health.connections-forecast).",
    essential: false,
};

#[derive(clap::Args, Clone, Copy, Debug)]
#[group(skip)]
pub(super) struct Thresholds {
    /// Warn (check `connections`) when this percentage of max_connections is in use
    #[arg(long = "health.connections-warn", value_name = "PERCENT", default_value_t = 80.0, value_parser = positive)]
    connections_warn: f64,

    /// Fail (check `connections`) when this percentage of max_connections is in use
    #[arg(long = "health.connections-fail", value_name = "PERCENT", default_value_t = 95.0, value_parser = positive)]
    connections_fail: f64,

    /// Warn (check `connections`) when the current growth uses up max_connections within this time, in seconds
    #[arg(long = "health.connections-forecast", value_name = "SECONDS", default_value_t = 900.0, value_parser = positive)]
    connections_forecast: f64,
}

/// The minimum usage for a forecast: a pool that fills after a restart grows fast, and then stops.
const FORECAST_MIN_PERCENT: f64 = 50.0;

/// `None` if a number is missing.
pub(super) fn find(status: &Rows, variables: &Rows, trend: Option<Trend>, thresholds: Thresholds) -> Option<Finding> {
    let connected = status.lookup_number("threads_connected")?;
    let max = variables.lookup_number("max_connections").filter(|max| *max > 0.0)?;
    let percent = 100.0 * connected / max;
    let reason = format!("{connected} of {max} connections in use ({percent:.0} %)");
    let status = CheckStatus::grade(percent, thresholds.connections_warn, thresholds.connections_fail);
    let growth = trend.map_or(0.0, |trend| trend.connections);
    let seconds_left = (max - connected).max(0.0) / growth;
    if percent < FORECAST_MIN_PERCENT || growth <= 0.0 || seconds_left >= thresholds.connections_forecast {
        return Some((status, reason));
    }
    let (growth, minutes) = (growth * 60.0, seconds_left / 60.0);
    Some((
        status.max(CheckStatus::Warn),
        format!("{reason}; growing by {growth:.1} per minute, max_connections is reached in {minutes:.0} min"),
    ))
}

#[cfg(test)]
mod tests {
    use CheckStatus::{Fail, Ok, Warn};
    use exporter_toolkit::flags::defaults;

    use super::*;

    fn found(connected: &str, max: &str, growth: Option<f64>) -> Option<Finding> {
        find(
            &Rows::pairs(&[("Threads_connected", connected)]),
            &Rows::pairs(&[("max_connections", max)]),
            growth.map(|connections| Trend { connections, ..Trend::default() }),
            defaults(),
        )
    }

    #[test]
    fn usage_is_graded() {
        assert_eq!(found("79", "100", None), Some((Ok, "79 of 100 connections in use (79 %)".to_owned())));
        assert_eq!(found("80", "100", None).unwrap().0, Warn);
        assert_eq!(found("95", "100", None).unwrap().0, Fail);
        // Without a number there is no finding.
        assert_eq!(found("many", "100", None), None);
        assert_eq!(found("1", "0", None), None);
    }

    #[test]
    fn growth_that_soon_reaches_the_maximum_warns() {
        let (status, reason) = found("70", "100", Some(0.05)).unwrap();
        let expected =
            "70 of 100 connections in use (70 %); growing by 3.0 per minute, max_connections is reached in 10 min";
        assert_eq!((status, &*reason), (Warn, expected));
        // In 16 minutes, or never.
        assert_eq!(found("52", "100", Some(0.05)).unwrap().0, Ok);
        assert_eq!(found("70", "100", Some(-0.05)).unwrap().0, Ok);
        assert_eq!(found("70", "100", Some(0.0)).unwrap().0, Ok);
        // A pool that fills.
        assert_eq!(found("40", "100", Some(1.0)).unwrap().0, Ok);
        assert_eq!(found("97", "100", Some(1.0)).unwrap().0, Fail);
    }
}
