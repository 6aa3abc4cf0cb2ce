//! `performance_schema.events_statements_summary_by_digest`: the sums of all digests.

use exporter_toolkit::Desc;

use crate::collectors::select::{Measure, Select};
use crate::collectors::table::{Requires, Table};
use crate::sql::PICOSECONDS;

// The peer's names: counters without `_total`, and of the two times only one in seconds.
pub(super) const EVENTS_STATEMENTS_SUM: Table = Table {
    name: "perf_schema.eventsstatementssum",
    help: "Sums over the digests of all statements.",
    enabled_by_default: false,
    requires: Requires::Nothing,
    opens_tables: false,
    select: Select {
        from: "performance_schema.events_statements_summary_by_digest",
        labels: &[],
        measures: &[
            Measure::one(
                Desc::counter("mysql_perf_schema_events_statements_sum_total", "Total number of executions.", &[]),
                "SUM(COUNT_STAR)",
            ),
            Measure::one(
                Desc::counter(
                    "mysql_perf_schema_events_statements_sum_created_tmp_disk_tables",
                    "Total number of temporary tables created on disk.",
                    &[],
                ),
                "SUM(SUM_CREATED_TMP_DISK_TABLES)",
            ),
            Measure::one(
                Desc::counter(
                    "mysql_perf_schema_events_statements_sum_created_tmp_tables",
                    "Total number of temporary tables created.",
                    &[],
                ),
                "SUM(SUM_CREATED_TMP_TABLES)",
            ),
            Measure::one(
                Desc::counter("mysql_perf_schema_events_statements_sum_errors", "Total number of errors.", &[]),
                "SUM(SUM_ERRORS)",
            ),
            Measure::one(
                Desc::counter(
                    "mysql_perf_schema_events_statements_sum_lock_time",
                    "Total time spent waiting for table locks, in picoseconds.",
                    &[],
                ),
                "SUM(SUM_LOCK_TIME)",
            ),
            Measure::one(
                Desc::counter(
                    "mysql_perf_schema_events_statements_sum_no_good_index_used",
                    "Total number of executions that found no good index.",
                    &[],
                ),
                "SUM(SUM_NO_GOOD_INDEX_USED)",
            ),
            Measure::one(
                Desc::counter(
                    "mysql_perf_schema_events_statements_sum_no_index_used",
                    "Total number of executions that used no index.",
                    &[],
                ),
                "SUM(SUM_NO_INDEX_USED)",
            ),
            Measure::one(
                Desc::counter(
                    "mysql_perf_schema_events_statements_sum_rows_affected",
                    "Total number of rows changed.",
                    &[],
                ),
                "SUM(SUM_ROWS_AFFECTED)",
            ),
            Measure::one(
                Desc::counter(
                    "mysql_perf_schema_events_statements_sum_rows_examined",
                    "Total number of rows examined.",
                    &[],
                ),
                "SUM(SUM_ROWS_EXAMINED)",
            ),
            Measure::one(
                Desc::counter(
                    "mysql_perf_schema_events_statements_sum_rows_sent",
                    "Total number of rows returned.",
                    &[],
                ),
                "SUM(SUM_ROWS_SENT)",
            ),
            Measure::one(
                Desc::counter(
                    "mysql_perf_schema_events_statements_sum_select_full_join",
                    "Total number of joins that scanned a table.",
                    &[],
                ),
                "SUM(SUM_SELECT_FULL_JOIN)",
            ),
            Measure::one(
                Desc::counter(
                    "mysql_perf_schema_events_statements_sum_select_full_range_join",
                    "Total number of joins with a range search on a reference table.",
                    &[],
                ),
                "SUM(SUM_SELECT_FULL_RANGE_JOIN)",
            ),
            Measure::one(
                Desc::counter(
                    "mysql_perf_schema_events_statements_sum_select_range",
                    "Total number of joins with a range search on the first table.",
                    &[],
                ),
                "SUM(SUM_SELECT_RANGE)",
            ),
            Measure::one(
                Desc::counter(
                    "mysql_perf_schema_events_statements_sum_select_range_check",
                    "Total number of joins that checked for an index after each row.",
                    &[],
                ),
                "SUM(SUM_SELECT_RANGE_CHECK)",
            ),
            Measure::one(
                Desc::counter(
                    "mysql_perf_schema_events_statements_sum_select_scan",
                    "Total number of joins that scanned the first table.",
                    &[],
                ),
                "SUM(SUM_SELECT_SCAN)",
            ),
            Measure::one(
                Desc::counter(
                    "mysql_perf_schema_events_statements_sum_sort_merge_passes",
                    "Total number of sort merge passes.",
                    &[],
                ),
                "SUM(SUM_SORT_MERGE_PASSES)",
            ),
            Measure::one(
                Desc::counter(
                    "mysql_perf_schema_events_statements_sum_sort_range",
                    "Total number of sorts of ranges.",
                    &[],
                ),
                "SUM(SUM_SORT_RANGE)",
            ),
            Measure::one(
                Desc::counter("mysql_perf_schema_events_statements_sum_sort_rows", "Total number of rows sorted.", &[]),
                "SUM(SUM_SORT_ROWS)",
            ),
            Measure::one(
                Desc::counter(
                    "mysql_perf_schema_events_statements_sum_sort_scan",
                    "Total number of sorts by a table scan.",
                    &[],
                ),
                "SUM(SUM_SORT_SCAN)",
            ),
            Measure::one(
                Desc::counter(
                    "mysql_perf_schema_events_statements_sum_timer_wait",
                    "Total time spent on executions, in seconds.",
                    &[],
                ),
                "SUM(SUM_TIMER_WAIT)",
            )
            .divided_by(PICOSECONDS),
            Measure::one(
                Desc::counter("mysql_perf_schema_events_statements_sum_warnings", "Total number of warnings.", &[]),
                "SUM(SUM_WARNINGS)",
            ),
        ],
    },
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::collectors::select::samples;

    #[test]
    fn families_are_filled_from_the_columns_of_their_names() {
        for family in EVENTS_STATEMENTS_SUM.select.families() {
            let name = family.name.trim_start_matches("mysql_perf_schema_events_statements_");
            let expected = if name == "sum_total" { "sum(count_star)".to_owned() } else { format!("sum({name})") };
            assert_eq!(family.field.to_lowercase(), expected);
        }
    }

    #[test]
    fn only_the_time_that_the_peer_converts_is_in_seconds() {
        let row = vec![Some("3000000000000"); EVENTS_STATEMENTS_SUM.select.width()];
        let samples = samples(&EVENTS_STATEMENTS_SUM.select, "", &row);
        assert_eq!(samples.len(), 21);
        let small: Vec<_> = samples.iter().filter(|sample| !sample.ends_with(" 3000000000000")).collect();
        assert_eq!(small, ["mysql_perf_schema_events_statements_sum_timer_wait 3"]);
    }

    #[test]
    fn a_sum_without_rows_is_absent() {
        assert!(samples(&EVENTS_STATEMENTS_SUM.select, "", &[None; 21]).is_empty());
    }
}
