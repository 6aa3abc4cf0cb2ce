//! `performance_schema.events_waits_summary_global_by_event_name`.

use exporter_toolkit::Desc;

use crate::collectors::select::{Measure, Select};
use crate::collectors::table::{Requires, Table};
use crate::sql::PICOSECONDS;

const LABELS: &[&str] = &["event_name"];

pub(super) const EVENTS_WAITS: Table = Table {
    name: "perf_schema.eventswaits",
    help: "Wait events of threads.",
    enabled_by_default: false,
    requires: Requires::Nothing,
    opens_tables: false,
    select: Select {
        from: "performance_schema.events_waits_summary_global_by_event_name",
        labels: &["EVENT_NAME"],
        measures: &[
            Measure::one(
                Desc::counter("mysql_perf_schema_events_waits_total", "Total number of waits, by event.", LABELS),
                "COUNT_STAR",
            ),
            Measure::one(
                Desc::counter(
                    "mysql_perf_schema_events_waits_seconds_total",
                    "Total time spent waiting, in seconds, by event.",
                    LABELS,
                ),
                "SUM_TIMER_WAIT",
            )
            .divided_by(PICOSECONDS),
        ],
    },
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::collectors::select::samples;

    #[test]
    fn an_event_is_a_series_in_each_family() {
        assert_eq!(
            samples(&EVENTS_WAITS.select, "", &["idle", "3", "2500000000000"].map(Some)),
            [
                "mysql_perf_schema_events_waits_seconds_total{event_name=\"idle\"} 2.5",
                "mysql_perf_schema_events_waits_total{event_name=\"idle\"} 3",
            ]
        );
    }
}
