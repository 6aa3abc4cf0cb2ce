//! `sys.x$user_summary`: each user's activity, as the performance schema aggregates it.

use exporter_toolkit::Desc;

use super::select::{Measure, Select};
use super::table::{Requires, Table};
use crate::sql::PICOSECONDS;

const USER: &[&str] = &["user"];

pub(super) const USER_SUMMARY: Table = Table {
    name: "sys.user_summary",
    help: "Statements, connections and memory of each user.",
    enabled_by_default: false,
    requires: Requires::Nothing,
    opens_tables: false,
    select: Select {
        from: "sys.x$user_summary",
        labels: USER,
        measures: &[
            Measure::one(
                Desc::counter("mysql_sys_statements_total", "Total number of the user's statements.", USER),
                "statements",
            ),
            // The peer's name, without its unit.
            Measure::one(
                Desc::counter(
                    "mysql_sys_statement_latency",
                    "Total time spent on the user's statements, in seconds.",
                    USER,
                ),
                "statement_latency",
            )
            .divided_by(PICOSECONDS),
            Measure::one(
                Desc::counter("mysql_sys_table_scans_total", "Total number of the user's table scans.", USER),
                "table_scans",
            ),
            Measure::one(
                Desc::counter("mysql_sys_file_ios_total", "Total number of file operations for the user.", USER),
                "file_ios",
            ),
            Measure::one(
                Desc::counter(
                    "mysql_sys_file_io_seconds_total",
                    "Total time spent on file operations for the user, in seconds.",
                    USER,
                ),
                "file_io_latency",
            )
            .divided_by(PICOSECONDS),
            Measure::one(
                Desc::gauge("mysql_sys_current_connections", "Current number of the user's connections.", USER),
                "current_connections",
            ),
            Measure::one(
                Desc::counter("mysql_sys_connections_total", "Total number of the user's connections.", USER),
                "total_connections",
            ),
            Measure::one(
                Desc::counter(
                    "mysql_sys_unique_hosts_total",
                    "Total number of distinct hosts that the user has connected from.",
                    USER,
                ),
                "unique_hosts",
            ),
            Measure::one(
                Desc::gauge(
                    "mysql_sys_current_memory_bytes",
                    "Current amount of memory allocated for the user, in bytes.",
                    USER,
                ),
                "current_memory",
            ),
            Measure::one(
                Desc::counter(
                    "mysql_sys_memory_allocated_bytes_total",
                    "Total amount of memory allocated for the user, in bytes.",
                    USER,
                ),
                "total_memory_allocated",
            ),
        ],
    },
};

#[cfg(test)]
mod tests {
    use super::super::select::samples;
    use super::*;

    #[test]
    fn picoseconds_are_converted_to_seconds() {
        let row = ["app", "7", "1500000000000", "1", "2", "250000000000", "3", "4", "1", "-5", "6"].map(Some);
        let samples = samples(&USER_SUMMARY.select, "", &row);
        assert_eq!(samples.len(), 10);
        for expected in [
            r#"mysql_sys_statements_total{user="app"} 7"#,
            r#"mysql_sys_statement_latency{user="app"} 1.5"#,
            r#"mysql_sys_file_io_seconds_total{user="app"} 0.25"#,
            r#"mysql_sys_current_memory_bytes{user="app"} -5"#,
        ] {
            assert!(samples.iter().any(|sample| sample == expected), "{expected}");
        }
    }
}
