//! `performance_schema.table_io_waits_summary_by_index_usage`.

use exporter_toolkit::Desc;

use super::PICOSECONDS;
use super::table::{Measure, Table};

const LABELS: &[&str] = &["schema", "name", "index", "operation"];

pub(super) const INDEX_IO_WAITS: Table = Table {
    name: "perf_schema.indexiowaits",
    help: "Input and output of indexes, from performance_schema.table_io_waits_summary_by_index_usage.",
    from: "performance_schema.table_io_waits_summary_by_index_usage WHERE OBJECT_SCHEMA NOT IN ('mysql', 'performance_schema')",
    labels: &["OBJECT_SCHEMA", "OBJECT_NAME", "IFNULL(INDEX_NAME, 'NONE')"],
    measures: &[
        Measure {
            desc: Desc::counter(
                "mysql_perf_schema_index_io_waits_total",
                "Reads and changes of rows, by the index that they used (NONE: no index) and operation.",
                LABELS,
            ),
            unit: 1.0,
            columns: &[
                ("COUNT_FETCH", "fetch"),
                // The server counts inserts as using no index.
                ("IF(INDEX_NAME IS NULL, COUNT_INSERT, NULL)", "insert"),
                ("COUNT_UPDATE", "update"),
                ("COUNT_DELETE", "delete"),
            ],
        },
        Measure {
            desc: Desc::counter(
                "mysql_perf_schema_index_io_waits_seconds_total",
                "Time spent on reads and changes of rows, by the index that they used (NONE: no index) and operation.",
                LABELS,
            ),
            unit: PICOSECONDS,
            columns: &[
                ("SUM_TIMER_FETCH", "fetch"),
                ("IF(INDEX_NAME IS NULL, SUM_TIMER_INSERT, NULL)", "insert"),
                ("SUM_TIMER_UPDATE", "update"),
                ("SUM_TIMER_DELETE", "delete"),
            ],
        },
    ],
    mysql_since: None,
};

#[cfg(test)]
mod tests {
    use super::super::table::samples;
    use super::*;

    #[test]
    fn inserts_stand_where_no_index_is() {
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
            samples(&INDEX_IO_WAITS, "", &row)
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
