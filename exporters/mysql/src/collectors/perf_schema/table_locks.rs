//! `performance_schema.table_lock_waits_summary_by_table`.

use exporter_toolkit::Desc;

use crate::collectors::select::{Measure, Select};
use crate::collectors::table::{Requires, Table};
use crate::sql::PICOSECONDS;

const LABELS: &[&str] = &["schema", "name", "operation"];

pub(super) const TABLE_LOCKS: Table = Table {
    name: "perf_schema.tablelocks",
    help: "Waits for table locks.",
    enabled_by_default: false,
    requires: Requires::Nothing,
    opens_tables: false,
    select: Select {
        from: "performance_schema.table_lock_waits_summary_by_table \
               WHERE OBJECT_SCHEMA NOT IN ('mysql', 'performance_schema', 'information_schema')",
        labels: &["OBJECT_SCHEMA", "OBJECT_NAME"],
        measures: &[
            Measure::by_label(
                Desc::counter(
                    "mysql_perf_schema_sql_lock_waits_total",
                    "Total number of waits for locks of the SQL layer, by table and lock.",
                    LABELS,
                )
                .field("COUNT_*"),
                &[
                    ("COUNT_READ_NORMAL", "read_normal"),
                    ("COUNT_READ_WITH_SHARED_LOCKS", "read_with_shared_locks"),
                    ("COUNT_READ_HIGH_PRIORITY", "read_high_priority"),
                    ("COUNT_READ_NO_INSERT", "read_no_insert"),
                    ("COUNT_WRITE_NORMAL", "write_normal"),
                    ("COUNT_WRITE_ALLOW_WRITE", "write_allow_write"),
                    ("COUNT_WRITE_CONCURRENT_INSERT", "write_concurrent_insert"),
                    ("COUNT_WRITE_LOW_PRIORITY", "write_low_priority"),
                ],
            ),
            Measure::by_label(
                Desc::counter(
                    "mysql_perf_schema_sql_lock_waits_seconds_total",
                    "Total time spent waiting for locks of the SQL layer, in seconds, by table and lock.",
                    LABELS,
                )
                .field("SUM_TIMER_*"),
                &[
                    ("SUM_TIMER_READ_NORMAL", "read_normal"),
                    ("SUM_TIMER_READ_WITH_SHARED_LOCKS", "read_with_shared_locks"),
                    ("SUM_TIMER_READ_HIGH_PRIORITY", "read_high_priority"),
                    ("SUM_TIMER_READ_NO_INSERT", "read_no_insert"),
                    ("SUM_TIMER_WRITE_NORMAL", "write_normal"),
                    ("SUM_TIMER_WRITE_ALLOW_WRITE", "write_allow_write"),
                    ("SUM_TIMER_WRITE_CONCURRENT_INSERT", "write_concurrent_insert"),
                    ("SUM_TIMER_WRITE_LOW_PRIORITY", "write_low_priority"),
                ],
            )
            .divided_by(PICOSECONDS),
            Measure::by_label(
                Desc::counter(
                    "mysql_perf_schema_external_lock_waits_total",
                    "Total number of waits for locks of the storage engine, by table and lock.",
                    LABELS,
                )
                .field("COUNT_*"),
                &[("COUNT_READ_EXTERNAL", "read"), ("COUNT_WRITE_EXTERNAL", "write")],
            ),
            Measure::by_label(
                Desc::counter(
                    "mysql_perf_schema_external_lock_waits_seconds_total",
                    "Total time spent waiting for locks of the storage engine, in seconds, by table and lock.",
                    LABELS,
                )
                .field("SUM_TIMER_*"),
                &[("SUM_TIMER_READ_EXTERNAL", "read"), ("SUM_TIMER_WRITE_EXTERNAL", "write")],
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
    fn columns_are_named_by_their_operation() {
        let mut filled = 0;
        for (measure, family) in TABLE_LOCKS.select.measures.iter().zip(TABLE_LOCKS.select.families()) {
            for (column, operation) in measure.columns() {
                let column = column.trim_start_matches("COUNT_").trim_start_matches("SUM_TIMER_").to_lowercase();
                assert_eq!(Some(column.trim_end_matches("_external")), operation);
                assert_eq!(column.ends_with("_external"), family.name.contains("_external_"));
                filled += 1;
            }
        }
        assert_eq!(filled, 20);
    }

    #[test]
    fn picoseconds_are_converted_to_seconds() {
        let cells: Vec<String> =
            (0..22).map(|cell| if cell < 2 { "t".to_owned() } else { format!("{cell}000000000000") }).collect();
        let row: Vec<Option<&str>> = cells.iter().map(|cell| Some(cell.as_str())).collect();
        let samples = samples(&TABLE_LOCKS.select, "", &row);
        for expected in [
            "mysql_perf_schema_sql_lock_waits_total{schema=\"t\",name=\"t\",operation=\"read_normal\"} 2000000000000",
            "mysql_perf_schema_sql_lock_waits_seconds_total{schema=\"t\",name=\"t\",operation=\"write_low_priority\"} 17",
            "mysql_perf_schema_external_lock_waits_seconds_total{schema=\"t\",name=\"t\",operation=\"write\"} 21",
        ] {
            assert!(samples.iter().any(|sample| sample == expected), "{expected}\n{samples:#?}");
        }
    }
}
