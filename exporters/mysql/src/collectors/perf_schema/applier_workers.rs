//! `performance_schema.replication_applier_status_by_worker`: transactions of a replica's workers.

use exporter_toolkit::Desc;

use crate::collectors::select::{Measure, Select};
use crate::collectors::table::{Requires, Table};

const LABELS: &[&str] = &["channel_name", "member_id"];

pub(super) const APPLIER_WORKERS: Table = Table {
    name: "perf_schema.replication_applier_status_by_worker",
    help: "Transactions applied by a replica's workers.",
    enabled_by_default: false,
    requires: Requires::MysqlSince((8, 0, 1)),
    opens_tables: false,
    select: Select {
        from: "performance_schema.replication_applier_status_by_worker",
        // The peer's label for WORKER_ID is member_id.
        labels: &["CHANNEL_NAME", "WORKER_ID"],
        // UNIX_TIMESTAMP converts from the session's time zone; the peer assumes UTC.
        measures: &[
            Measure::one(
                Desc::gauge(
                    "mysql_perf_schema_last_applied_transaction_original_commit_timestamp_seconds",
                    "Commit time of the worker's last applied transaction on its original source, in seconds since 1970; 0 if none.",
                    LABELS,
                ),
                "UNIX_TIMESTAMP(LAST_APPLIED_TRANSACTION_ORIGINAL_COMMIT_TIMESTAMP)",
            ),
            Measure::one(
                Desc::gauge(
                    "mysql_perf_schema_last_applied_transaction_immediate_commit_timestamp_seconds",
                    "Commit time of the worker's last applied transaction on the immediate source, in seconds since 1970; 0 if none.",
                    LABELS,
                ),
                "UNIX_TIMESTAMP(LAST_APPLIED_TRANSACTION_IMMEDIATE_COMMIT_TIMESTAMP)",
            ),
            Measure::one(
                Desc::gauge(
                    "mysql_perf_schema_last_applied_transaction_start_apply_timestamp_seconds",
                    "Time when the worker started its last applied transaction, in seconds since 1970; 0 if none.",
                    LABELS,
                ),
                "UNIX_TIMESTAMP(LAST_APPLIED_TRANSACTION_START_APPLY_TIMESTAMP)",
            ),
            Measure::one(
                Desc::gauge(
                    "mysql_perf_schema_last_applied_transaction_end_apply_timestamp_seconds",
                    "Time when the worker finished its last applied transaction, in seconds since 1970; 0 if none.",
                    LABELS,
                ),
                "UNIX_TIMESTAMP(LAST_APPLIED_TRANSACTION_END_APPLY_TIMESTAMP)",
            ),
            Measure::one(
                Desc::gauge(
                    "mysql_perf_schema_applying_transaction_original_commit_timestamp_seconds",
                    "Commit time of the worker's current transaction on its original source, in seconds since 1970; 0 if none.",
                    LABELS,
                ),
                "UNIX_TIMESTAMP(APPLYING_TRANSACTION_ORIGINAL_COMMIT_TIMESTAMP)",
            ),
            Measure::one(
                Desc::gauge(
                    "mysql_perf_schema_applying_transaction_immediate_commit_timestamp_seconds",
                    "Commit time of the worker's current transaction on the immediate source, in seconds since 1970; 0 if none.",
                    LABELS,
                ),
                "UNIX_TIMESTAMP(APPLYING_TRANSACTION_IMMEDIATE_COMMIT_TIMESTAMP)",
            ),
            Measure::one(
                Desc::gauge(
                    "mysql_perf_schema_applying_transaction_start_apply_timestamp_seconds",
                    "Time when the worker started its current transaction, in seconds since 1970; 0 if none.",
                    LABELS,
                ),
                "UNIX_TIMESTAMP(APPLYING_TRANSACTION_START_APPLY_TIMESTAMP)",
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
        for family in APPLIER_WORKERS.select.families() {
            let name = family.name.trim_start_matches("mysql_perf_schema_").trim_end_matches("_seconds");
            assert_eq!(family.field.to_lowercase(), format!("unix_timestamp({name})"));
        }
    }

    #[test]
    fn timestamps_have_microseconds_and_zero_means_never() {
        let row = ["east", "1", "1552521600.001000", "0.000000", "0", "0", "0", "0", "0"];
        let samples = samples(&APPLIER_WORKERS.select, "", &row.map(Some));
        assert_eq!(samples.len(), 7);
        for (family, value) in [("original_commit", "1552521600.001"), ("immediate_commit", "0")] {
            let expected = format!(
                "mysql_perf_schema_last_applied_transaction_{family}_timestamp_seconds{{channel_name=\"east\",member_id=\"1\"}} {value}"
            );
            assert!(samples.contains(&expected), "{samples:#?}");
        }
    }
}
