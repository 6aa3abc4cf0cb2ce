//! `performance_schema.events_waits_summary_global_by_event_name`.

use exporter_toolkit::Desc;

use super::PICOSECONDS;
use super::table::{Measure, Table};

const LABELS: &[&str] = &["event_name"];

pub(super) const EVENTS_WAITS: Table = Table {
    name: "perf_schema.eventswaits",
    help: "What threads waited for, from performance_schema.events_waits_summary_global_by_event_name.",
    from: "performance_schema.events_waits_summary_global_by_event_name",
    labels: &["EVENT_NAME"],
    measures: &[
        Measure {
            desc: Desc::counter("mysql_perf_schema_events_waits_total", "Waits, by what was waited for.", LABELS),
            unit: 1.0,
            columns: &[("COUNT_STAR", "")],
        },
        Measure {
            desc: Desc::counter(
                "mysql_perf_schema_events_waits_seconds_total",
                "Time spent waiting, by what was waited for.",
                LABELS,
            ),
            unit: PICOSECONDS,
            columns: &[("SUM_TIMER_WAIT", "")],
        },
    ],
    mysql_since: None,
};

#[cfg(test)]
mod tests {
    use super::super::table::samples;
    use super::*;

    #[test]
    fn an_event_is_a_series_in_each_family() {
        assert_eq!(
            samples(&EVENTS_WAITS, "", &["idle", "3", "2500000000000"].map(Some)),
            [
                "mysql_perf_schema_events_waits_seconds_total{event_name=\"idle\"} 2.5",
                "mysql_perf_schema_events_waits_total{event_name=\"idle\"} 3",
            ]
        );
    }
}
