//! `performance_schema.table_io_waits_summary_by_index_usage`.

use exporter_toolkit::Desc;

use crate::collectors::select::{Measure, Select};
use crate::collectors::table::{Requires, Table};
use crate::sql::PICOSECONDS;

const LABELS: &[&str] = &["schema", "name", "index", "operation"];

pub(super) const INDEX_IO_WAITS: Table = Table {
    name: "perf_schema.indexiowaits",
    help: "Row operations by index.",
    enabled_by_default: false,
    requires: Requires::Nothing,
    opens_tables: false,
    select: Select {
        from: "performance_schema.table_io_waits_summary_by_index_usage WHERE OBJECT_SCHEMA NOT IN ('mysql', 'performance_schema')",
        labels: &["OBJECT_SCHEMA", "OBJECT_NAME", "IFNULL(INDEX_NAME, 'NONE')"],
        measures: &[
            Measure::by_label(
                Desc::counter(
                    "mysql_perf_schema_index_io_waits_total",
                    "Total number of row operations, by index (NONE: no index) and operation.",
                    LABELS,
                )
                .field("COUNT_*"),
                &[
                    ("COUNT_FETCH", "fetch"),
                    // The server counts inserts as using no index.
                    ("IF(INDEX_NAME IS NULL, COUNT_INSERT, NULL)", "insert"),
                    ("COUNT_UPDATE", "update"),
                    ("COUNT_DELETE", "delete"),
                ],
            ),
            Measure::by_label(
                Desc::counter(
                    "mysql_perf_schema_index_io_waits_seconds_total",
                    "Total time spent on row operations, in seconds, by index (NONE: no index) and operation.",
                    LABELS,
                )
                .field("SUM_TIMER_*"),
                &[
                    ("SUM_TIMER_FETCH", "fetch"),
                    ("IF(INDEX_NAME IS NULL, SUM_TIMER_INSERT, NULL)", "insert"),
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
    fn inserts_are_counted_for_no_index() {
        let series = |index, inserts, seconds| {
            let row = [
                Some("shop"),
                Some("order"),
                Some(index),
                Some("1"),
                inserts,
                Some("3"),
                Some("4"),
                Some("5"),
                seconds,
            ];
            let row = [row.as_slice(), &[Some("7"), Some("8")]].concat();
            samples(&INDEX_IO_WAITS.select, "", &row)
        };
        let none = series("NONE", Some("2"), Some("2000000000000"));
        assert_eq!(none.len(), 8);
        for (family, value) in [("", 2), ("seconds_", 2)] {
            let expected = format!(
                "mysql_perf_schema_index_io_waits_{family}total{{schema=\"shop\",name=\"order\",index=\"NONE\",operation=\"insert\"}} {value}"
            );
            assert!(none.contains(&expected), "{none:#?}");
        }
        let primary = series("PRIMARY", None, None);
        assert_eq!(primary.len(), 6);
        assert!(!primary.iter().any(|sample| sample.contains("insert")));
    }
}
