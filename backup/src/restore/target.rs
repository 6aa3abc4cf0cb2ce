//! The server to restore to: what must be true of it, and what is changed for the time of the load.

use std::time::Duration;

use mysql_async::{Conn, prelude::Queryable as _};
use mysql_kit::{Version, error_code};

use crate::{
    error::RunError,
    login::Login,
    manifest::Success,
    restore::{
        error::RestoreError,
        filter::{Scope, quoted},
        policy::{BinlogPolicy, Policy},
    },
};

/// The largest value of max_allowed_packet, and of a packet.
pub(crate) const MAX_PACKET: usize = 1 << 30;
/// More than a statement's own bytes: the protocol adds some.
const PACKET_ROOM: u64 = 1 << 20;

pub(crate) struct Target<'a> {
    login: &'a Login,
    connection: Conn,
    version: Version,
    binary_log: bool,
    /// Statements that undo what was changed for the load.
    undo: Vec<String>,
}

impl<'a> Target<'a> {
    pub(crate) async fn connect(login: &'a Login) -> Result<Self, RunError> {
        let mut connection = login.connect(MAX_PACKET, Vec::new()).await?;
        let row: Option<(String, bool)> =
            connection.query_first("SELECT @@version, @@log_bin").await.map_err(|error| login.error(&error))?;
        let (version, binary_log) = row.unwrap_or_default();
        Ok(Self { login, connection, version: Version::parse(&version), binary_log, undo: Vec::new() })
    }

    pub(crate) fn version(&self) -> Version {
        self.version
    }

    /// Refuses what would do harm, before anything is changed.
    pub(crate) async fn check(&mut self, saved: &Success, scope: &Scope, policy: Policy) -> Result<(), RestoreError> {
        let address = self.login.address.to_string();
        let refuse = |why: String| Err(RestoreError::Refused(format!("{address} {why}")));
        if self.version.flavour() != saved.server.flavour {
            let (found, expected) = (self.version.flavour(), saved.server.flavour);
            return refuse(format!("is {found}, and the backup is of {expected}: restore it to {expected}"));
        }
        if self.is_replica().await? && !policy.allow_replica {
            return refuse(
                "is a replica or read-only: restore to its primary, or use --allow-replica if it is to differ"
                    .to_owned(),
            );
        }
        if policy.binlog == BinlogPolicy::Skip && self.has_replicas().await? {
            return refuse("has replicas, which --binlog=skip would leave without the restored data".to_owned());
        }
        for database in &scope.databases {
            let name = scope.target_of(database);
            let taken = self.taken(name, scope).await?;
            if !taken.is_empty() && !policy.overwrite {
                let what = taken.join(", ");
                return refuse(format!(
                    "has {what} already: use --as to restore under another name, or --overwrite to drop it first"
                ));
            }
        }
        Ok(())
    }

    async fn is_replica(&mut self) -> Result<bool, RestoreError> {
        let read_only: Option<bool> = self.query_first("SELECT @@global.read_only").await?;
        let status = if self.version.is_mysql_since((8, 0, 22)) { "SHOW REPLICA STATUS" } else { "SHOW SLAVE STATUS" };
        let row: Option<mysql_async::Row> = self.query_first(status).await?;
        Ok(read_only == Some(true) || row.is_some())
    }

    async fn has_replicas(&mut self) -> Result<bool, RestoreError> {
        let query = "SELECT COUNT(*) FROM information_schema.PROCESSLIST WHERE COMMAND LIKE 'Binlog Dump%'";
        let count: Option<u64> = self.query_first(query).await?;
        Ok(count.unwrap_or_default() > 0)
    }

    /// What is there of a database, or of the tables of a scope.
    async fn taken(&mut self, database: &str, scope: &Scope) -> Result<Vec<String>, RestoreError> {
        let query = "SELECT TABLE_NAME FROM information_schema.TABLES WHERE TABLE_SCHEMA = ? ORDER BY 1";
        let tables: Vec<String> =
            self.connection.exec(query, (database,)).await.map_err(|error| self.failed("list its tables", &error))?;
        if !scope.tables.is_empty() {
            let wanted = tables.into_iter().filter(|table| scope.tables.contains(table));
            return Ok(wanted.map(|table| format!("the table {}.{}", quoted(database), quoted(&table))).collect());
        }
        let query = "SELECT COUNT(*) FROM information_schema.ROUTINES WHERE ROUTINE_SCHEMA = ?";
        let routines: Option<u64> = self
            .connection
            .exec_first(query, (database,))
            .await
            .map_err(|error| self.failed("list its routines", &error))?;
        let is_empty = tables.is_empty() && routines.unwrap_or_default() == 0;
        Ok(if is_empty { Vec::new() } else { vec![format!("the database {}", quoted(database))] })
    }

    /// Drops what is to be replaced.
    pub(crate) async fn clear(&mut self, scope: &Scope) -> Result<(), RestoreError> {
        for database in &scope.databases {
            let name = quoted(scope.target_of(database));
            if scope.tables.is_empty() {
                self.run(&format!("DROP DATABASE IF EXISTS {name}")).await?;
            }
            for table in &scope.tables {
                self.run("SET SESSION foreign_key_checks = 0").await?;
                self.run(&format!("DROP TABLE IF EXISTS {name}.{}", quoted(table))).await?;
            }
        }
        Ok(())
    }

    /// Raises the server's limits as far as this backup needs it. [`Target::reset`] undoes it.
    pub(crate) async fn prepare(&mut self, saved: &Success) -> Result<(), RestoreError> {
        self.raise_packet(saved.file.longest_statement_bytes + PACKET_ROOM).await?;
        let has_routines = saved.databases.iter().any(|database| database.routines > 0 || database.triggers > 0);
        if self.binary_log && has_routines {
            let trusts: Option<bool> = self.query_first("SELECT @@global.log_bin_trust_function_creators").await?;
            if trusts == Some(false) {
                // Functions that were created on a server without a binary log may be declared as nothing.
                self.change("log_bin_trust_function_creators", "0", "1").await?;
            }
        }
        Ok(())
    }

    /// For connections that are opened from now on.
    pub(crate) async fn raise_packet(&mut self, needed: u64) -> Result<(), RestoreError> {
        let packet: Option<u64> = self.query_first("SELECT @@global.max_allowed_packet").await?;
        let packet = packet.unwrap_or_default();
        let needed = needed.div_ceil(1024) * 1024;
        if packet < needed {
            self.change("max_allowed_packet", &packet.to_string(), &needed.min(MAX_PACKET as u64).to_string()).await?;
        }
        Ok(())
    }

    async fn change(&mut self, variable: &str, old: &str, new: &str) -> Result<(), RestoreError> {
        self.run(&format!("SET GLOBAL {variable} = {new}")).await?;
        tracing::info!(variable, old, new, "changed for the time of the load");
        self.undo.push(format!("SET GLOBAL {variable} = {old}"));
        Ok(())
    }

    /// Undoes what `prepare` changed.
    pub(crate) async fn reset(self) {
        if self.undo.is_empty() {
            return;
        }
        // The first connection may have ended during a long load.
        let result = tokio::time::timeout(Duration::from_secs(10), async {
            let mut connection = self.login.connect(MAX_PACKET, Vec::new()).await.map_err(|error| error.to_string())?;
            // The first value is the one from before.
            for statement in self.undo.iter().rev() {
                connection.query_drop(statement).await.map_err(|error| error_code::describe(&error))?;
            }
            Ok::<_, String>(())
        })
        .await;
        if !matches!(result, Ok(Ok(()))) {
            tracing::warn!(statements = self.undo.join("; "), "resetting variables of the target failed; run these");
        }
    }

    /// A connection for the load.
    pub(crate) async fn loader(&self, binlog: BinlogPolicy) -> Result<Conn, RunError> {
        let mut setup = vec![
            "SET SESSION lock_wait_timeout = 300, net_read_timeout = 3600, net_write_timeout = 3600, \
             innodb_strict_mode = 0"
                .to_owned(),
        ];
        if binlog == BinlogPolicy::Skip {
            setup.push("SET SESSION sql_log_bin = 0".to_owned());
        }
        if self.version.is_mariadb() {
            setup.push("SET SESSION max_statement_time = 0".to_owned());
        }
        if self.version.is_mysql_since((8, 0, 13)) {
            setup.push("SET SESSION sql_require_primary_key = 0".to_owned());
        }
        if self.version.is_mysql_since((8, 0, 30)) {
            setup.push("SET SESSION sql_generate_invisible_primary_key = 0".to_owned());
        }
        self.login.connect(MAX_PACKET, setup).await
    }

    pub(crate) async fn run(&mut self, statement: &str) -> Result<(), RestoreError> {
        self.connection.query_drop(statement).await.map_err(|error| self.failed(statement, &error))
    }

    /// Runs a statement that may fail. Returns the server's error.
    pub(crate) async fn try_run(&mut self, statement: &str) -> Result<(), mysql_async::Error> {
        self.connection.query_drop(statement).await
    }

    pub(crate) async fn query_first<T>(&mut self, query: &str) -> Result<Option<T>, RestoreError>
    where
        T: mysql_async::prelude::FromRow + Send + 'static,
    {
        self.connection.query_first(query).await.map_err(|error| self.failed(query, &error))
    }

    /// Whether an account or a role is there.
    pub(crate) async fn has_account(&mut self, user: &str, host: &str) -> Result<bool, RestoreError> {
        let query = "SELECT COUNT(*) FROM mysql.user WHERE User = ? AND Host = ?";
        let count: Option<u64> = self
            .connection
            .exec_first(query, (user, host))
            .await
            .map_err(|error| self.failed("look for accounts", &error))?;
        Ok(count.unwrap_or_default() > 0)
    }

    fn failed(&self, action: &str, error: &mysql_async::Error) -> RestoreError {
        RestoreError::Failed(format!("{} cannot {action}: {}", self.login.address, error_code::describe(error)))
    }
}
