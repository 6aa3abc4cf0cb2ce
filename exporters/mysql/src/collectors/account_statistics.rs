//! Activity of each user and of each client host, as MariaDB and Percona Server count it with `userstat=1`.

use exporter_toolkit::{BoxError, Collector, Desc, Families, Kind, async_trait};

use super::table::is_any_on;
use crate::rows::Rows;
use crate::session::Session;
use crate::sql::MAX_ROWS;
use crate::value::family_name;

/// The variable that enables the statistics, in MariaDB and in old versions of Percona Server.
pub(super) const USERSTAT_VARIABLES: &[&str] = &["userstat", "userstat_running"];

/// Columns, mysqld_exporter's names for them, and their help. Any other column is untyped and keeps its name.
const COLUMNS: [(&str, &str, Kind, &str); 25] = [
    ("TOTAL_CONNECTIONS", "total_connections", Kind::Counter, "Total number of connections."),
    ("CONCURRENT_CONNECTIONS", "concurrent_connections", Kind::Gauge, "Current number of connections."),
    (
        "CONNECTED_TIME",
        "connected_time_seconds_total",
        Kind::Counter,
        "Total time that connections were open, in seconds.",
    ),
    ("BUSY_TIME", "busy_seconds_total", Kind::Counter, "Total time that connections were active, in seconds."),
    ("CPU_TIME", "cpu_time_seconds_total", Kind::Counter, "Total CPU time spent on the connections, in seconds."),
    ("BYTES_RECEIVED", "bytes_received_total", Kind::Counter, "Total number of bytes received."),
    ("BYTES_SENT", "bytes_sent_total", Kind::Counter, "Total number of bytes sent."),
    (
        "BINLOG_BYTES_WRITTEN",
        "binlog_bytes_written_total",
        Kind::Counter,
        "Total number of bytes written to the binary log.",
    ),
    ("ROWS_READ", "rows_read_total", Kind::Counter, "Total number of rows read."),
    ("ROWS_SENT", "rows_sent_total", Kind::Counter, "Total number of rows sent."),
    ("ROWS_DELETED", "rows_deleted_total", Kind::Counter, "Total number of rows deleted."),
    ("ROWS_INSERTED", "rows_inserted_total", Kind::Counter, "Total number of rows inserted."),
    ("ROWS_FETCHED", "rows_fetched_total", Kind::Counter, "Total number of rows fetched."),
    ("ROWS_UPDATED", "rows_updated_total", Kind::Counter, "Total number of rows updated."),
    ("TABLE_ROWS_READ", "table_rows_read_total", Kind::Counter, "Total number of rows read from tables."),
    ("SELECT_COMMANDS", "select_commands_total", Kind::Counter, "Total number of SELECT statements."),
    ("UPDATE_COMMANDS", "update_commands_total", Kind::Counter, "Total number of statements that change rows."),
    ("OTHER_COMMANDS", "other_commands_total", Kind::Counter, "Total number of other statements."),
    ("COMMIT_TRANSACTIONS", "commit_transactions_total", Kind::Counter, "Total number of committed transactions."),
    (
        "ROLLBACK_TRANSACTIONS",
        "rollback_transactions_total",
        Kind::Counter,
        "Total number of transactions that were rolled back.",
    ),
    ("DENIED_CONNECTIONS", "denied_connections_total", Kind::Counter, "Total number of rejected connections."),
    (
        "LOST_CONNECTIONS",
        "lost_connections_total",
        Kind::Counter,
        "Total number of connections that were not closed properly.",
    ),
    ("ACCESS_DENIED", "access_denied_total", Kind::Counter, "Total number of rejected statements."),
    ("EMPTY_QUERIES", "empty_queries_total", Kind::Counter, "Total number of statements that returned no rows."),
    ("TOTAL_SSL_CONNECTIONS", "total_ssl_connections_total", Kind::Counter, "Total number of connections with TLS."),
];
/// Only the clients' column has this name; the users' is untyped, without `_total`.
const TIME_EXCEEDED: (&str, &str, Kind, &str) = (
    "MAX_STATEMENT_TIME_EXCEEDED",
    "max_statement_time_exceeded_total",
    Kind::Counter,
    "Total number of statements aborted by max_statement_time.",
);
const OTHER_HELP: &str = "Column <column> of the source.";

pub(super) struct AccountStatistics {
    name: &'static str,
    help: &'static str,
    table: &'static str,
    prefix: &'static str,
    labels: &'static [&'static str],
    columns: &'static [&'static [(&'static str, &'static str, Kind, &'static str)]],
}

pub(super) const USERS: AccountStatistics = AccountStatistics {
    name: "info_schema.userstats",
    help: "Statistics by user; requires userstat=1 (MariaDB, Percona Server).",
    table: "information_schema.user_statistics",
    prefix: "mysql_info_schema_user_statistics_",
    labels: &["user"],
    columns: &[&COLUMNS],
};

pub(super) const CLIENTS: AccountStatistics = AccountStatistics {
    name: "info_schema.clientstats",
    help: "Statistics by client host; requires userstat=1 (MariaDB, Percona Server).",
    table: "information_schema.client_statistics",
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

    fn source(&self) -> &'static str {
        self.table
    }

    fn enabled_by_default(&self) -> bool {
        false
    }

    fn families(&self) -> Vec<Desc> {
        let other = Desc::dynamic(Kind::Untyped, format!("{}<column>", self.prefix), OTHER_HELP, self.labels);
        let known = self.columns.iter().copied().flatten();
        known.map(|(column, name, kind, help)| self.desc(*kind, name, help).field(column)).chain([other]).collect()
    }

    async fn collect(&self, session: &Session, out: &mut Families) -> Result<(), BoxError> {
        if is_any_on(session, USERSTAT_VARIABLES).await? {
            let statement = format!("SELECT * FROM {} LIMIT {MAX_ROWS}", self.table);
            let rows = session.query(statement).await?;
            self.write(&rows, out);
            rows.require_all(MAX_ROWS)?;
        }
        Ok(())
    }
}

impl AccountStatistics {
    fn desc(&self, kind: Kind, name: &str, help: &'static str) -> Desc {
        Desc::dynamic(kind, family_name(self.prefix, name), help, self.labels)
    }

    /// The first column is the account, the others are numbers.
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
    fn known_columns_have_the_peers_names_and_others_their_own() {
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
