//! `performance_schema.replication_group_member_stats`: this server's row.

use exporter_toolkit::{BoxError, Collector, Desc, Families, async_trait};

use crate::rows::Rows;
use crate::session::Session;

/// The first version with group replication.
const MYSQL_SINCE: (u16, u16, u16) = (5, 7, 17);
const STATEMENT: &str =
    "SELECT * FROM performance_schema.replication_group_member_stats WHERE MEMBER_ID = @@server_uuid LIMIT 1";

/// By column. MySQL 5.7 has the first four, 8.0 all of them.
static COLUMNS: [(&str, Desc); 8] = [
    (
        "COUNT_TRANSACTIONS_IN_QUEUE",
        Desc::gauge(
            "mysql_perf_schema_transactions_in_queue",
            "Current number of transactions that wait for conflict detection.",
            &[],
        ),
    ),
    (
        "COUNT_TRANSACTIONS_CHECKED",
        Desc::counter(
            "mysql_perf_schema_transactions_checked_total",
            "Total number of transactions checked for conflicts.",
            &[],
        ),
    ),
    (
        "COUNT_CONFLICTS_DETECTED",
        Desc::counter(
            "mysql_perf_schema_conflicts_detected_total",
            "Total number of transactions that failed conflict detection.",
            &[],
        ),
    ),
    (
        "COUNT_TRANSACTIONS_ROWS_VALIDATING",
        // It can decrease; the peer's type is counter.
        Desc::counter(
            "mysql_perf_schema_transactions_rows_validating_total",
            "Current number of rows in conflict detection that are not garbage-collected yet.",
            &[],
        ),
    ),
    (
        "COUNT_TRANSACTIONS_REMOTE_IN_APPLIER_QUEUE",
        Desc::gauge(
            "mysql_perf_schema_transactions_remote_in_applier_queue",
            "Current number of transactions of other members that wait to be applied.",
            &[],
        ),
    ),
    (
        "COUNT_TRANSACTIONS_REMOTE_APPLIED",
        Desc::counter(
            "mysql_perf_schema_transactions_remote_applied_total",
            "Total number of applied transactions of other members.",
            &[],
        ),
    ),
    (
        "COUNT_TRANSACTIONS_LOCAL_PROPOSED",
        Desc::counter(
            "mysql_perf_schema_transactions_local_proposed_total",
            "Total number of transactions of this member sent to the group.",
            &[],
        ),
    ),
    (
        "COUNT_TRANSACTIONS_LOCAL_ROLLBACK",
        Desc::counter(
            "mysql_perf_schema_transactions_local_rollback_total",
            "Total number of transactions of this member that the group rolled back.",
            &[],
        ),
    ),
];

pub(super) struct GroupMemberStats;

#[async_trait]
impl Collector<Session> for GroupMemberStats {
    fn name(&self) -> &'static str {
        "perf_schema.replication_group_member_stats"
    }

    fn help(&self) -> &'static str {
        "This server's statistics in its replication group."
    }

    fn source(&self) -> &'static str {
        "performance_schema.replication_group_member_stats"
    }

    fn enabled_by_default(&self) -> bool {
        false
    }

    fn families(&self) -> Vec<Desc> {
        COLUMNS.iter().map(|(column, desc)| desc.clone().field(column)).collect()
    }

    async fn collect(&self, session: &Session, out: &mut Families) -> Result<(), BoxError> {
        if session.version().is_mysql_since(MYSQL_SINCE) {
            write(&session.query_if_table_exists(STATEMENT).await?, out);
        }
        Ok(())
    }
}

fn write(rows: &Rows, out: &mut Families) {
    for (column, text) in rows.iter().flat_map(|row| row.cells()) {
        let desc = COLUMNS.iter().find(|(known, _)| known.eq_ignore_ascii_case(column)).map(|(_, desc)| desc);
        if let (Some(desc), Ok(value)) = (desc, text.parse::<f64>()) {
            out.push(desc, &[], value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_found_by_their_names() {
        let mut rows = Rows::new(
            [
                "MEMBER_ID",
                "COUNT_TRANSACTIONS_CHECKED",
                "COUNT_TRANSACTIONS_IN_QUEUE",
                "LAST_CONFLICT_FREE_TRANSACTION",
            ]
            .map(str::to_owned),
        );
        rows.push([Some(b"u1".as_slice()), Some(b"7"), Some(b"2"), Some(b"u1:5")].into_iter()).unwrap();
        assert_eq!(
            crate::collectors::testing::page(write, &rows),
            "\
# TYPE mysql_perf_schema_transactions_checked_total counter
mysql_perf_schema_transactions_checked_total 7
# TYPE mysql_perf_schema_transactions_in_queue gauge
mysql_perf_schema_transactions_in_queue 2
"
        );
    }
}
