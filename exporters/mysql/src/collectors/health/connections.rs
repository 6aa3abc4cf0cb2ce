//! Whether there is room for more connections, and for how long.

use exporter_toolkit::CheckStatus;

use super::{Finding, Thresholds, grade};
use crate::history::Trend;
use crate::rows::Rows;

/// A forecast is made from this share of max_connections on: a pool that fills after a restart grows fast, and stops.
const FORECAST_FROM_PERCENT: f64 = 50.0;

pub(super) fn find(status: &Rows, variables: &Rows, trend: Option<Trend>, thresholds: Thresholds) -> Option<Finding> {
    let connected = status.lookup_number("threads_connected")?;
    let most = variables.lookup_number("max_connections").filter(|most| *most > 0.0)?;
    let percent = 100.0 * connected / most;
    let reason = format!("{connected} of {most} connections in use ({percent:.0} %)");
    let status = grade(percent, thresholds.connections_warn, thresholds.connections_fail);
    let growth = trend.map_or(0.0, |trend| trend.connections);
    let left = (most - connected).max(0.0) / growth;
    if percent < FORECAST_FROM_PERCENT || growth <= 0.0 || left >= thresholds.connections_forecast {
        return Some((status, reason));
    }
    let (growth, minutes) = (growth * 60.0, left / 60.0);
    Some((
        status.max(CheckStatus::Warn),
        format!("{reason}, and {growth:.1} more each minute: none is left in {minutes:.0} min"),
    ))
}

#[cfg(test)]
mod tests {
    use CheckStatus::{Fail, Ok, Warn};

    use super::*;

    fn found(connected: &str, most: &str, growth: Option<f64>) -> Option<Finding> {
        find(
            &Rows::pairs(&[("Threads_connected", connected)]),
            &Rows::pairs(&[("max_connections", most)]),
            growth.map(|connections| Trend {
                connections,
                opened_tables: 0.0,
                temp_tables: 0.0,
                temp_tables_on_disk: 0.0,
            }),
            Thresholds::defaults(),
        )
    }

    #[test]
    fn connections_have_headroom() {
        assert_eq!(found("79", "100", None), Some((Ok, "79 of 100 connections in use (79 %)".to_owned())));
        assert_eq!(found("80", "100", None).unwrap().0, Warn);
        assert_eq!(found("95", "100", None).unwrap().0, Fail);
        // What can't be read is no finding.
        assert_eq!(found("many", "100", None), None);
        assert_eq!(found("1", "0", None), None);
    }

    #[test]
    fn growth_that_uses_up_the_headroom_soon_warns() {
        let (status, reason) = found("70", "100", Some(0.05)).unwrap();
        let expected = "70 of 100 connections in use (70 %), and 3.0 more each minute: none is left in 10 min";
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
