//! `performance_schema.file_summary_by_event_name`.

use exporter_toolkit::Desc;

use crate::collectors::select::{Measure, Select};
use crate::collectors::table::{Requires, Table};
use crate::sql::PICOSECONDS;

const LABELS: &[&str] = &["event_name", "mode"];

pub(super) const FILE_EVENTS: Table = Table {
    name: "perf_schema.file_events",
    help: "Input and output of files, by event.",
    enabled_by_default: false,
    requires: Requires::Nothing,
    opens_tables: false,
    select: Select {
        from: "performance_schema.file_summary_by_event_name",
        labels: &["EVENT_NAME"],
        measures: &[
            Measure::by_label(
                Desc::counter(
                    "mysql_perf_schema_file_events_total",
                    "Total number of file operations, by event and mode.",
                    LABELS,
                )
                .field("COUNT_*"),
                &[("COUNT_READ", "read"), ("COUNT_WRITE", "write"), ("COUNT_MISC", "misc")],
            ),
            Measure::by_label(
                Desc::counter(
                    "mysql_perf_schema_file_events_seconds_total",
                    "Total time spent on file operations, in seconds, by event and mode.",
                    LABELS,
                )
                .field("SUM_TIMER_*"),
                &[("SUM_TIMER_READ", "read"), ("SUM_TIMER_WRITE", "write"), ("SUM_TIMER_MISC", "misc")],
            )
            .divided_by(PICOSECONDS),
            Measure::by_label(
                Desc::counter(
                    "mysql_perf_schema_file_events_bytes_total",
                    "Total number of bytes read from and written to files, by event and mode.",
                    LABELS,
                )
                .field("SUM_NUMBER_OF_BYTES_*"),
                &[("SUM_NUMBER_OF_BYTES_READ", "read"), ("SUM_NUMBER_OF_BYTES_WRITE", "write")],
            ),
        ],
    },
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::collectors::select::samples;

    #[test]
    fn each_mode_is_a_series() {
        let row =
            ["wait/io/file/sql/binlog", "1", "2", "3", "4000000000000", "5000000000000", "6000000000000", "7", "8"];
        let labels = |mode| format!("{{event_name=\"wait/io/file/sql/binlog\",mode=\"{mode}\"}}");
        let expected = [
            ("bytes_total", "read", 7),
            ("bytes_total", "write", 8),
            ("seconds_total", "misc", 6),
            ("seconds_total", "read", 4),
            ("seconds_total", "write", 5),
            ("total", "misc", 3),
            ("total", "read", 1),
            ("total", "write", 2),
        ]
        .map(|(family, mode, value)| format!("mysql_perf_schema_file_events_{family}{} {value}", labels(mode)));
        assert_eq!(samples(&FILE_EVENTS.select, "", &row.map(Some)), expected);
    }
}
