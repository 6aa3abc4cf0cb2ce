//! What each user and each client's host did, as MariaDB and Percona Server count it with `userstat=1`.

use exporter_toolkit::{BoxError, Collector, Desc, Families, Kind, async_trait};

use super::table::is_on;
use crate::rows::Rows;
use crate::session::Session;
use crate::value::family_name;

/// The variable that turns the counting on, by MariaDB's and by an old Percona Server's name.
pub(super) const SWITCHES: &[&str] = &["userstat", "userstat_running"];

/// Columns, what mysqld_exporter makes of their names, and their help. Any other column is untyped, under its own name.
const COLUMNS: [(&str, &str, Kind, &str); 25] = [
    ("TOTAL_CONNECTIONS", "total_connections", Kind::Counter, "Connections that were made."),
    ("CONCURRENT_CONNECTIONS", "concurrent_connections", Kind::Gauge, "Connections that there are."),
    ("CONNECTED_TIME", "connected_time_seconds_total", Kind::Counter, "Time for which there were connections."),
    ("BUSY_TIME", "busy_seconds_total", Kind::Counter, "Time for which connections were active."),
    ("CPU_TIME", "cpu_time_seconds_total", Kind::Counter, "Processor time spent on the connections."),
    ("BYTES_RECEIVED", "bytes_received_total", Kind::Counter, "Bytes received from the connections."),
    ("BYTES_SENT", "bytes_sent_total", Kind::Counter, "Bytes sent to the connections."),
    ("BINLOG_BYTES_WRITTEN", "binlog_bytes_written_total", Kind::Counter, "Bytes written to the binary log."),
    ("ROWS_READ", "rows_read_total", Kind::Counter, "Rows read."),
    ("ROWS_SENT", "rows_sent_total", Kind::Counter, "Rows sent."),
    ("ROWS_DELETED", "rows_deleted_total", Kind::Counter, "Rows deleted."),
    ("ROWS_INSERTED", "rows_inserted_total", Kind::Counter, "Rows inserted."),
    ("ROWS_FETCHED", "rows_fetched_total", Kind::Counter, "Rows fetched."),
    ("ROWS_UPDATED", "rows_updated_total", Kind::Counter, "Rows updated."),
    ("TABLE_ROWS_READ", "table_rows_read_total", Kind::Counter, "Rows read from tables."),
    ("SELECT_COMMANDS", "select_commands_total", Kind::Counter, "SELECT statements."),
    ("UPDATE_COMMANDS", "update_commands_total", Kind::Counter, "Statements that change rows."),
    ("OTHER_COMMANDS", "other_commands_total", Kind::Counter, "Other statements."),
    ("COMMIT_TRANSACTIONS", "commit_transactions_total", Kind::Counter, "Transactions that were committed."),
    ("ROLLBACK_TRANSACTIONS", "rollback_transactions_total", Kind::Counter, "Transactions that were rolled back."),
    ("DENIED_CONNECTIONS", "denied_connections_total", Kind::Counter, "Connections that were refused."),
    ("LOST_CONNECTIONS", "lost_connections_total", Kind::Counter, "Connections that ended without a goodbye."),
    ("ACCESS_DENIED", "access_denied_total", Kind::Counter, "Statements that were refused."),
    ("EMPTY_QUERIES", "empty_queries_total", Kind::Counter, "Statements without rows in their answer."),
    ("TOTAL_SSL_CONNECTIONS", "total_ssl_connections_total", Kind::Counter, "Connections that were made with TLS."),
];
/// Known for clients only; a user's is untyped, without `_total`.
const TIME_EXCEEDED: (&str, &str, Kind, &str) = (
    "MAX_STATEMENT_TIME_EXCEEDED",
    "max_statement_time_exceeded_total",
    Kind::Counter,
    "Statements that were ended by max_statement_time.",
);
const OTHER_HELP: &str = "The column of this name.";

pub(super) struct AccountStatistics {
    name: &'static str,
    help: &'static str,
    /// A row an account; their number is bounded, as Prometheus' memory is.
    statement: &'static str,
    prefix: &'static str,
    labels: &'static [&'static str],
    columns: &'static [&'static [(&'static str, &'static str, Kind, &'static str)]],
}

pub(super) const USERS: AccountStatistics = AccountStatistics {
    name: "info_schema.userstats",
    help: "Statistics by user, from information_schema.user_statistics; needs userstat=1 (MariaDB, Percona Server).",
    statement: "SELECT * FROM information_schema.user_statistics LIMIT 10000",
    prefix: "mysql_info_schema_user_statistics_",
    labels: &["user"],
    columns: &[&COLUMNS],
};

pub(super) const CLIENTS: AccountStatistics = AccountStatistics {
    name: "info_schema.clientstats",
    help: "Statistics by client's host, from information_schema.client_statistics; needs userstat=1 (MariaDB, Percona Server).",
    statement: "SELECT * FROM information_schema.client_statistics LIMIT 10000",
    prefix: "mysql_info_schema_client_statistics_",
    labels: &["client"],
    columns: &[&COLUMNS, &[TIME_EXCEEDED]],
};

#[async_trait]
impl Collector<Session> for AccountStatistics {
    fn name(&self) -> &'static str {
        self.name
    }

    fn help(&self) -> &'static str {
        self.help
    }

    fn enabled_by_default(&self) -> bool {
        false
    }

    fn families(&self) -> Vec<Desc> {
        let other = Desc::dynamic(Kind::Untyped, format!("{}<column>", self.prefix), OTHER_HELP, self.labels);
        let known = self.columns.iter().copied().flatten();
        known.map(|(_, name, kind, help)| self.desc(*kind, name, help)).chain([other]).collect()
    }

    async fn collect(&self, session: &Session, out: &mut Families) -> Result<(), BoxError> {
        if is_on(session, SWITCHES).await? {
            self.write(&session.query(self.statement).await?, out);
        }
        Ok(())
    }
}

impl AccountStatistics {
    fn desc(&self, kind: Kind, name: &str, help: &'static str) -> Desc {
        Desc::dynamic(kind, family_name(self.prefix, name), help, self.labels)
    }

    /// The first column is the account, all others are numbers.
    fn write(&self, rows: &Rows, out: &mut Families) {
        for row in rows.iter() {
            let account = row.get(0).unwrap_or_default();
            for (column, text) in row.cells().skip(1) {
                let Ok(value) = text.parse::<f64>() else { continue };
                let known = self.columns.iter().copied().flatten().find(|(name, ..)| *name == column);
                let desc = match known {
                    Some((_, name, kind, help)) => self.desc(*kind, name, help),
                    None => self.desc(Kind::Untyped, column, OTHER_HELP),
                };
                out.push(&desc, &[account], value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_have_the_peers_names_and_unknown_ones_their_own() {
        let columns = ["ACCOUNT", "CONCURRENT_CONNECTIONS", "CPU_TIME", "MAX_STATEMENT_TIME_EXCEEDED", "KEY_READ_HIT"];
        let mut rows = Rows::new(columns.map(str::to_owned));
        rows.push(["app", "2", "0.5", "1", "7"].iter().map(|cell| Some(cell.as_bytes()))).unwrap();
        let page = |statistics: &AccountStatistics| {
            let mut out = Families::default();
            statistics.write(&rows, &mut out);
            exporter_toolkit::testing::page(out)
        };
        assert_eq!(
            page(&USERS),
            r#"# TYPE mysql_info_schema_user_statistics_concurrent_connections gauge
mysql_info_schema_user_statistics_concurrent_connections{user="app"} 2
# TYPE mysql_info_schema_user_statistics_cpu_time_seconds_total counter
mysql_info_schema_user_statistics_cpu_time_seconds_total{user="app"} 0.5
# TYPE mysql_info_schema_user_statistics_key_read_hit untyped
mysql_info_schema_user_statistics_key_read_hit{user="app"} 7
# TYPE mysql_info_schema_user_statistics_max_statement_time_exceeded untyped
mysql_info_schema_user_statistics_max_statement_time_exceeded{user="app"} 1
"#
        );
        assert!(
            page(&CLIENTS)
                .contains("mysql_info_schema_client_statistics_max_statement_time_exceeded_total{client=\"app\"} 1\n")
        );
    }
}
