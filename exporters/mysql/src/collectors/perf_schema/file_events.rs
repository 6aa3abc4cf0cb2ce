//! `performance_schema.file_summary_by_event_name`.

use exporter_toolkit::Desc;

use super::PICOSECONDS;
use super::table::{Measure, Table};

const LABELS: &[&str] = &["event_name", "mode"];

pub(super) const FILE_EVENTS: Table = Table {
    name: "perf_schema.file_events",
    help: "Input and output of files by their kind, from performance_schema.file_summary_by_event_name.",
    from: "performance_schema.file_summary_by_event_name",
    labels: &["EVENT_NAME"],
    measures: &[
        Measure {
            desc: Desc::counter(
                "mysql_perf_schema_file_events_total",
                "Operations on files, by kind of file and operation.",
                LABELS,
            ),
            unit: 1.0,
            columns: &[("COUNT_READ", "read"), ("COUNT_WRITE", "write"), ("COUNT_MISC", "misc")],
        },
        Measure {
            desc: Desc::counter(
                "mysql_perf_schema_file_events_seconds_total",
                "Time spent on files, by kind of file and operation.",
                LABELS,
            ),
            unit: PICOSECONDS,
            columns: &[("SUM_TIMER_READ", "read"), ("SUM_TIMER_WRITE", "write"), ("SUM_TIMER_MISC", "misc")],
        },
        Measure {
            desc: Desc::counter(
                "mysql_perf_schema_file_events_bytes_total",
                "Bytes read from files and written to them, by kind of file.",
                LABELS,
            ),
            unit: 1.0,
            columns: &[("SUM_NUMBER_OF_BYTES_READ", "read"), ("SUM_NUMBER_OF_BYTES_WRITE", "write")],
        },
    ],
    mysql_since: None,
};

#[cfg(test)]
mod tests {
    use super::super::table::samples;
    use super::*;

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
        assert_eq!(samples(&FILE_EVENTS, "", &row.map(Some)), expected);
    }
}
