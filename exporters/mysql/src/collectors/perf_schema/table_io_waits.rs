//! `performance_schema.table_io_waits_summary_by_table`.

use exporter_toolkit::Desc;

use crate::collectors::select::{Measure, Select};
use crate::collectors::table::{Requires, Table};
use crate::sql::PICOSECONDS;

const LABELS: &[&str] = &["schema", "name", "operation"];

pub(super) const TABLE_IO_WAITS: Table = Table {
    name: "perf_schema.tableiowaits",
    help: "Row operations by table.",
    enabled_by_default: false,
    requires: Requires::Nothing,
    opens_tables: false,
    select: Select {
        from: "performance_schema.table_io_waits_summary_by_table WHERE OBJECT_SCHEMA NOT IN ('mysql', 'performance_schema')",
        labels: &["OBJECT_SCHEMA", "OBJECT_NAME"],
        measures: &[
            Measure::by_label(
                Desc::counter(
                    "mysql_perf_schema_table_io_waits_total",
                    "Total number of row operations, by table and operation.",
                    LABELS,
                )
                .field("COUNT_*"),
                &[
                    ("COUNT_FETCH", "fetch"),
                    ("COUNT_INSERT", "insert"),
                    ("COUNT_UPDATE", "update"),
                    ("COUNT_DELETE", "delete"),
                ],
            ),
            Measure::by_label(
                Desc::counter(
                    "mysql_perf_schema_table_io_waits_seconds_total",
                    "Total time spent on row operations, in seconds, by table and operation.",
                    LABELS,
                )
                .field("SUM_TIMER_*"),
                &[
                    ("SUM_TIMER_FETCH", "fetch"),
                    ("SUM_TIMER_INSERT", "insert"),
                    ("SUM_TIMER_UPDATE", "update"),
                    ("SUM_TIMER_DELETE", "delete"),
                ],
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
    fn picoseconds_are_converted_to_seconds() {
        let row = ["shop", "order", "1", "2", "3", "4", "5", "1500000000000", "7", "0"].map(Some);
        let labels = |operation| format!("{{schema=\"shop\",name=\"order\",operation=\"{operation}\"}}");
        let expected = [
            ("seconds_total", "delete", "0"),
            ("seconds_total", "fetch", "5e-12"),
            ("seconds_total", "insert", "1.5"),
            ("seconds_total", "update", "7e-12"),
            ("total", "delete", "4"),
            ("total", "fetch", "1"),
            ("total", "insert", "2"),
            ("total", "update", "3"),
        ]
        .map(|(family, operation, value)| {
            format!("mysql_perf_schema_table_io_waits_{family}{} {value}", labels(operation))
        });
        assert_eq!(samples(&TABLE_IO_WAITS.select, "", &row), expected);
    }

    #[test]
    fn the_statement_has_a_limit() {
        let statement = TABLE_IO_WAITS.select.statement("");
        assert!(statement.starts_with("SELECT OBJECT_SCHEMA, OBJECT_NAME, COUNT_FETCH, COUNT_INSERT,"));
        assert!(statement.ends_with(" LIMIT 200000"));
    }
}
