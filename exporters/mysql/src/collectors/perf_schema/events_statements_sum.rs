//! `performance_schema.events_statements_summary_by_digest`: the sums of all digests.

use exporter_toolkit::Desc;

use super::PICOSECONDS;
use super::table::{Measure, Table};

// The peer's names: counters without `_total`, and of the two times only one in seconds.
pub(super) const EVENTS_STATEMENTS_SUM: Table = Table {
    name: "perf_schema.eventsstatementssum",
    help: "All statements together, from performance_schema.events_statements_summary_by_digest.",
    from: "performance_schema.events_statements_summary_by_digest",
    labels: &[],
    measures: &[
        sum(
            "mysql_perf_schema_events_statements_sum_total",
            "Executions of all statements.",
            1.0,
            &[("SUM(COUNT_STAR)", "")],
        ),
        sum(
            "mysql_perf_schema_events_statements_sum_created_tmp_disk_tables",
            "Temporary tables on disk.",
            1.0,
            &[("SUM(SUM_CREATED_TMP_DISK_TABLES)", "")],
        ),
        sum(
            "mysql_perf_schema_events_statements_sum_created_tmp_tables",
            "Temporary tables.",
            1.0,
            &[("SUM(SUM_CREATED_TMP_TABLES)", "")],
        ),
        sum("mysql_perf_schema_events_statements_sum_errors", "Errors.", 1.0, &[("SUM(SUM_ERRORS)", "")]),
        sum(
            "mysql_perf_schema_events_statements_sum_lock_time",
            "Picoseconds that executions waited for locks on tables.",
            1.0,
            &[("SUM(SUM_LOCK_TIME)", "")],
        ),
        sum(
            "mysql_perf_schema_events_statements_sum_no_good_index_used",
            "Executions that found no good index.",
            1.0,
            &[("SUM(SUM_NO_GOOD_INDEX_USED)", "")],
        ),
        sum(
            "mysql_perf_schema_events_statements_sum_no_index_used",
            "Executions that read a whole table.",
            1.0,
            &[("SUM(SUM_NO_INDEX_USED)", "")],
        ),
        sum(
            "mysql_perf_schema_events_statements_sum_rows_affected",
            "Rows changed.",
            1.0,
            &[("SUM(SUM_ROWS_AFFECTED)", "")],
        ),
        sum(
            "mysql_perf_schema_events_statements_sum_rows_examined",
            "Rows read.",
            1.0,
            &[("SUM(SUM_ROWS_EXAMINED)", "")],
        ),
        sum("mysql_perf_schema_events_statements_sum_rows_sent", "Rows returned.", 1.0, &[("SUM(SUM_ROWS_SENT)", "")]),
        sum(
            "mysql_perf_schema_events_statements_sum_select_full_join",
            "Joins that read a whole table.",
            1.0,
            &[("SUM(SUM_SELECT_FULL_JOIN)", "")],
        ),
        sum(
            "mysql_perf_schema_events_statements_sum_select_full_range_join",
            "Joins by a range of a table behind the first one.",
            1.0,
            &[("SUM(SUM_SELECT_FULL_RANGE_JOIN)", "")],
        ),
        sum(
            "mysql_perf_schema_events_statements_sum_select_range",
            "Joins by a range of the first table.",
            1.0,
            &[("SUM(SUM_SELECT_RANGE)", "")],
        ),
        sum(
            "mysql_perf_schema_events_statements_sum_select_range_check",
            "Joins that looked for an index at each row.",
            1.0,
            &[("SUM(SUM_SELECT_RANGE_CHECK)", "")],
        ),
        sum(
            "mysql_perf_schema_events_statements_sum_select_scan",
            "Joins that read the whole first table.",
            1.0,
            &[("SUM(SUM_SELECT_SCAN)", "")],
        ),
        sum(
            "mysql_perf_schema_events_statements_sum_sort_merge_passes",
            "Merge passes of sorts.",
            1.0,
            &[("SUM(SUM_SORT_MERGE_PASSES)", "")],
        ),
        sum(
            "mysql_perf_schema_events_statements_sum_sort_range",
            "Sorts of a range.",
            1.0,
            &[("SUM(SUM_SORT_RANGE)", "")],
        ),
        sum("mysql_perf_schema_events_statements_sum_sort_rows", "Rows sorted.", 1.0, &[("SUM(SUM_SORT_ROWS)", "")]),
        sum(
            "mysql_perf_schema_events_statements_sum_sort_scan",
            "Sorts of a whole table.",
            1.0,
            &[("SUM(SUM_SORT_SCAN)", "")],
        ),
        sum(
            "mysql_perf_schema_events_statements_sum_timer_wait",
            "Seconds that executions took.",
            PICOSECONDS,
            &[("SUM(SUM_TIMER_WAIT)", "")],
        ),
        sum("mysql_perf_schema_events_statements_sum_warnings", "Warnings.", 1.0, &[("SUM(SUM_WARNINGS)", "")]),
    ],
    mysql_since: None,
};

const fn sum(
    name: &'static str,
    help: &'static str,
    unit: f64,
    columns: &'static [(&'static str, &'static str)],
) -> Measure {
    Measure { desc: Desc::counter(name, help, &[]), unit, columns }
}

#[cfg(test)]
mod tests {
    use super::super::table::samples;
    use super::*;

    #[test]
    fn families_are_filled_from_the_columns_of_their_names() {
        for measure in EVENTS_STATEMENTS_SUM.measures {
            let [(column, _)] = measure.columns else { panic!("one column a family") };
            let name = measure.desc.name.trim_start_matches("mysql_perf_schema_events_statements_");
            let expected = if name == "sum_total" { "sum(count_star)".to_owned() } else { format!("sum({name})") };
            assert_eq!(column.to_lowercase(), expected);
        }
    }

    #[test]
    fn only_the_time_that_the_peer_converts_is_in_seconds() {
        let row = vec![Some("3000000000000"); EVENTS_STATEMENTS_SUM.measures.len()];
        let samples = samples(&EVENTS_STATEMENTS_SUM, "", &row);
        assert_eq!(samples.len(), 21);
        let small: Vec<_> = samples.iter().filter(|sample| !sample.ends_with(" 3000000000000")).collect();
        assert_eq!(small, ["mysql_perf_schema_events_statements_sum_timer_wait 3"]);
    }

    #[test]
    fn sums_of_nothing_are_absent() {
        assert!(samples(&EVENTS_STATEMENTS_SUM, "", &[None; 21]).is_empty());
    }
}
