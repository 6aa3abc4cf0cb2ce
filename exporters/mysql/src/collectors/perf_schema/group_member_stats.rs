//! `performance_schema.replication_group_member_stats`: this server's row.

use exporter_toolkit::{BoxError, Collector, Desc, Families, async_trait};

use super::rows;
use crate::rows::Rows;
use crate::session::Session;

/// Group replication came with 5.7.17; a server has one row in each of its channels, which are one.
const MYSQL_SINCE: (u16, u16, u16) = (5, 7, 17);
const STATEMENT: &str =
    "SELECT * FROM performance_schema.replication_group_member_stats WHERE MEMBER_ID = @@server_uuid LIMIT 1";

/// By column: 5.7 has the first four, 8.0 all of them.
static COLUMNS: [(&str, Desc); 8] = [
    (
        "COUNT_TRANSACTIONS_IN_QUEUE",
        Desc::gauge(
            "mysql_perf_schema_transactions_in_queue",
            "Transactions that wait for a check for conflicts.",
            &[],
        ),
    ),
    (
        "COUNT_TRANSACTIONS_CHECKED",
        Desc::counter(
            "mysql_perf_schema_transactions_checked_total",
            "Transactions that were checked for conflicts.",
            &[],
        ),
    ),
    (
        "COUNT_CONFLICTS_DETECTED",
        Desc::counter(
            "mysql_perf_schema_conflicts_detected_total",
            "Transactions that did not pass the check for conflicts.",
            &[],
        ),
    ),
    (
        "COUNT_TRANSACTIONS_ROWS_VALIDATING",
        // A gauge by its nature, a counter by the peer's name.
        Desc::counter(
            "mysql_perf_schema_transactions_rows_validating_total",
            "Rows that the check for conflicts knows and that were not collected as garbage yet.",
            &[],
        ),
    ),
    (
        "COUNT_TRANSACTIONS_REMOTE_IN_APPLIER_QUEUE",
        Desc::gauge(
            "mysql_perf_schema_transactions_remote_in_applier_queue",
            "Transactions of other members that wait to be applied.",
            &[],
        ),
    ),
    (
        "COUNT_TRANSACTIONS_REMOTE_APPLIED",
        Desc::counter(
            "mysql_perf_schema_transactions_remote_applied_total",
            "Transactions of other members that were applied.",
            &[],
        ),
    ),
    (
        "COUNT_TRANSACTIONS_LOCAL_PROPOSED",
        Desc::counter(
            "mysql_perf_schema_transactions_local_proposed_total",
            "Transactions of this member that were sent to the group.",
            &[],
        ),
    ),
    (
        "COUNT_TRANSACTIONS_LOCAL_ROLLBACK",
        Desc::counter(
            "mysql_perf_schema_transactions_local_rollback_total",
            "Transactions of this member that the group rolled back.",
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
        "This server's work in its replication group, from performance_schema.replication_group_member_stats."
    }

    fn enabled_by_default(&self) -> bool {
        false
    }

    fn families(&self) -> Vec<Desc> {
        COLUMNS.iter().map(|(_, desc)| desc.clone()).collect()
    }

    async fn collect(&self, session: &Session, out: &mut Families) -> Result<(), BoxError> {
        if session.version().is_mysql_since(MYSQL_SINCE) {
            write(&rows(session, STATEMENT.to_owned()).await?, out);
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
            super::super::super::page(write, &rows),
            "\
# TYPE mysql_perf_schema_transactions_checked_total counter
mysql_perf_schema_transactions_checked_total 7
# TYPE mysql_perf_schema_transactions_in_queue gauge
mysql_perf_schema_transactions_in_queue 2
"
        );
    }
}
