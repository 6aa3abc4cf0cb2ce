//! `performance_schema.replication_applier_status_by_worker`: what a replica's workers apply.

use exporter_toolkit::Desc;

use super::table::{Measure, Table};

pub(super) const APPLIER_WORKERS: Table = Table {
    name: "perf_schema.replication_applier_status_by_worker",
    help: "Transactions that a replica's workers apply, from performance_schema.replication_applier_status_by_worker.",
    from: "performance_schema.replication_applier_status_by_worker",
    // The peer calls the worker's number member_id.
    labels: &["CHANNEL_NAME", "WORKER_ID"],
    // By UNIX_TIMESTAMP, which reads the columns in the session's time zone as they were written; the peer takes them for UTC.
    measures: &[
        time(
            "mysql_perf_schema_last_applied_transaction_original_commit_timestamp_seconds",
            "When the transaction that the worker applied last was committed where it began; 0 where there is none.",
            &[("UNIX_TIMESTAMP(LAST_APPLIED_TRANSACTION_ORIGINAL_COMMIT_TIMESTAMP)", "")],
        ),
        time(
            "mysql_perf_schema_last_applied_transaction_immediate_commit_timestamp_seconds",
            "When the transaction that the worker applied last was committed on the source; 0 where there is none.",
            &[("UNIX_TIMESTAMP(LAST_APPLIED_TRANSACTION_IMMEDIATE_COMMIT_TIMESTAMP)", "")],
        ),
        time(
            "mysql_perf_schema_last_applied_transaction_start_apply_timestamp_seconds",
            "When the worker began the transaction that it applied last; 0 where there is none.",
            &[("UNIX_TIMESTAMP(LAST_APPLIED_TRANSACTION_START_APPLY_TIMESTAMP)", "")],
        ),
        time(
            "mysql_perf_schema_last_applied_transaction_end_apply_timestamp_seconds",
            "When the worker ended the transaction that it applied last; 0 where there is none.",
            &[("UNIX_TIMESTAMP(LAST_APPLIED_TRANSACTION_END_APPLY_TIMESTAMP)", "")],
        ),
        time(
            "mysql_perf_schema_applying_transaction_original_commit_timestamp_seconds",
            "When the transaction that the worker applies now was committed where it began; 0 where there is none.",
            &[("UNIX_TIMESTAMP(APPLYING_TRANSACTION_ORIGINAL_COMMIT_TIMESTAMP)", "")],
        ),
        time(
            "mysql_perf_schema_applying_transaction_immediate_commit_timestamp_seconds",
            "When the transaction that the worker applies now was committed on the source; 0 where there is none.",
            &[("UNIX_TIMESTAMP(APPLYING_TRANSACTION_IMMEDIATE_COMMIT_TIMESTAMP)", "")],
        ),
        time(
            "mysql_perf_schema_applying_transaction_start_apply_timestamp_seconds",
            "When the worker began the transaction that it applies now; 0 where there is none.",
            &[("UNIX_TIMESTAMP(APPLYING_TRANSACTION_START_APPLY_TIMESTAMP)", "")],
        ),
    ],
    mysql_since: Some((8, 0, 1)),
};

const fn time(name: &'static str, help: &'static str, columns: &'static [(&'static str, &'static str)]) -> Measure {
    Measure { desc: Desc::gauge(name, help, &["channel_name", "member_id"]), unit: 1.0, columns }
}

#[cfg(test)]
mod tests {
    use super::super::table::samples;
    use super::*;

    #[test]
    fn families_are_filled_from_the_columns_of_their_names() {
        for measure in APPLIER_WORKERS.measures {
            let [(column, _)] = measure.columns else { panic!("one column a family") };
            let name = measure.desc.name.trim_start_matches("mysql_perf_schema_").trim_end_matches("_seconds");
            assert_eq!(column.to_lowercase(), format!("unix_timestamp({name})"));
        }
    }

    #[test]
    fn microseconds_are_kept_and_never_is_zero() {
        let row = ["east", "1", "1552521600.001000", "0.000000", "0", "0", "0", "0", "0"];
        let samples = samples(&APPLIER_WORKERS, "", &row.map(Some));
        assert_eq!(samples.len(), 7);
        for (family, value) in [("original_commit", "1552521600.001"), ("immediate_commit", "0")] {
            let expected = format!(
                "mysql_perf_schema_last_applied_transaction_{family}_timestamp_seconds{{channel_name=\"east\",member_id=\"1\"}} {value}"
            );
            assert!(samples.contains(&expected), "{samples:#?}");
        }
    }
}
