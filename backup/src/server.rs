//! What the job reads from the server itself: its version, the user's privileges, and the objects to save.

use std::{collections::BTreeMap, time::Duration};

use mysql_async::{Conn, prelude::Queryable};
use mysql_kit::{Version, error_code};

use crate::{
    accounts::{self, AccountStatement},
    error::RunError,
    grants::Grants,
    login::Login,
    manifest::{Coordinates, Flavour, MAX_LISTED, ObjectKind, Omitted, Server, Warning, WarningKind},
    scan::{Databases, Objects},
};

/// The maximum size of the server's packets.
const MAX_PACKET: usize = 16 << 20;
/// The servers' own databases, which can't be loaded into another server.
const SYSTEM_DATABASES: [&str; 4] = ["information_schema", "mysql", "performance_schema", "sys"];
/// The server's mark for a directory that is not the name of a database, such as `lost+found`.
const NOT_A_DATABASE: &str = "#mysql50#";
/// Character sets whose every character has a place in utf8mb4, through which a dump leads.
const MAPPED_CHARSETS: &str = "'ascii', 'binary', 'gbk', 'koi8r', 'latin1', 'sjis', 'ucs2', 'utf16', 'utf16le', 'utf32', 'utf8', 'utf8mb3', 'utf8mb4'";

/// A connection for queries. The dump client opens its own.
pub(crate) struct Session<'a> {
    login: &'a Login,
    connection: Conn,
}

/// The server, as far as the dump depends on it.
#[derive(Debug, Clone)]
pub(crate) struct About {
    pub(crate) server: Server,
    pub(crate) binary_log: bool,
}

/// What there is in the databases to save.
#[derive(Debug, Default)]
pub(crate) struct Inventory {
    pub(crate) databases: Databases,
    /// Views that no client can read, by database. They are not among the objects.
    pub(crate) broken_views: BTreeMap<String, Vec<Omitted>>,
    pub(crate) versioned_tables: Vec<String>,
    without_snapshot: Vec<String>,
    float_columns: Vec<String>,
    unmapped_columns: Vec<String>,
}

impl<'a> Session<'a> {
    pub(crate) async fn connect(login: &'a Login) -> Result<Self, RunError> {
        // `SHOW GRANTS` in the quotes that the parser knows.
        let setup = vec!["SET SESSION sql_mode = '', sql_quote_show_create = 1".to_owned()];
        Ok(Self { login, connection: login.connect(MAX_PACKET, setup).await? })
    }

    pub(crate) async fn about(&mut self) -> Result<About, RunError> {
        let row: Option<(String, u64, bool)> = self
            .connection
            .query_first("SELECT @@version, @@global.max_allowed_packet, @@log_bin")
            .await
            .map_err(|error| self.login.error(&error))?;
        let (version, max_allowed_packet, binary_log) = row.unwrap_or_default();
        let flavour = Version::parse(&version).flavour();
        Ok(About { server: Server { flavour, version, max_allowed_packet: Some(max_allowed_packet) }, binary_log })
    }

    /// The databases to save: those wanted, or all that the user sees but the server's own. Then the warnings.
    pub(crate) async fn databases(&mut self, wanted: &[String]) -> Result<(Vec<String>, Vec<Warning>), RunError> {
        let is_system = |name: &String| SYSTEM_DATABASES.contains(&name.to_lowercase().as_str());
        if let Some(name) = wanted.iter().find(|name| is_system(name)) {
            return Err(RunError::SystemDatabase { name: name.clone() });
        }
        let mut seen: Vec<String> = self
            .connection
            .query("SELECT SCHEMA_NAME FROM information_schema.SCHEMATA ORDER BY SCHEMA_NAME")
            .await
            .map_err(|error| self.login.error(&error))?;
        let directories: Vec<String> = seen.extract_if(.., |name| name.starts_with(NOT_A_DATABASE)).collect();
        let missing: Vec<String> = wanted.iter().filter(|name| !seen.contains(name)).cloned().collect();
        let mut warnings = Vec::new();
        let chosen: Vec<String> = if wanted.is_empty() {
            warnings.extend(warning(
                WarningKind::NotADatabase,
                "directories in the data directory that are not databases are not in the backup; move them away",
                directories.iter().map(|name| name.trim_start_matches(NOT_A_DATABASE).to_owned()).collect(),
            ));
            seen.into_iter().filter(|name| !is_system(name)).collect()
        } else {
            wanted.to_vec()
        };
        if chosen.is_empty() || !missing.is_empty() {
            return Err(RunError::DatabaseMissing { address: self.login.address.to_string(), wanted: missing });
        }
        Ok((chosen, warnings))
    }

    /// Fails unless the user sees every object of these databases and may read its definition.
    pub(crate) async fn require_grants(&mut self, server: &Server, databases: &[String]) -> Result<(), RunError> {
        let lines: Vec<String> =
            self.connection.query("SHOW GRANTS").await.map_err(|error| self.login.error(&error))?;
        let missing = missing_grants(&Grants::parse(lines.iter().map(String::as_str)), server, databases);
        if missing.is_empty() {
            return Ok(());
        }
        Err(RunError::InsufficientPrivilege {
            address: self.login.address.to_string(),
            user: self.login.user.clone(),
            missing,
        })
    }

    /// Users and grants; `None` if the user may not read them.
    pub(crate) async fn accounts(&mut self, server: &Server) -> Result<Option<(u64, Vec<AccountStatement>)>, RunError> {
        accounts::read(&mut self.connection, server.flavour).await.map_err(|error| self.login.error(&error))
    }

    /// The binary log's current position, as far as the user may read it.
    pub(crate) async fn coordinates(&mut self, server: &Server) -> Result<Coordinates, RunError> {
        let version = Version::parse(&server.version);
        let (gtid, status) = match server.flavour {
            Flavour::MariaDb => ("SELECT @@global.gtid_binlog_pos", "SHOW MASTER STATUS"),
            Flavour::MySql if version.is_mysql_since((8, 2, 0)) => {
                ("SELECT @@global.gtid_executed", "SHOW BINARY LOG STATUS")
            }
            Flavour::MySql => ("SELECT @@global.gtid_executed", "SHOW MASTER STATUS"),
        };
        let gtid: Option<String> = self.connection.query_first(gtid).await.map_err(|error| self.login.error(&error))?;
        // Long sets have line ends.
        let gtid = gtid.map(|set| set.replace('\n', "")).filter(|set| !set.is_empty());
        let status: Option<mysql_async::Row> = match self.connection.query_first(status).await {
            Ok(row) => row,
            Err(error) if error_code::of(&error).is_some_and(error_code::is_privilege_missing) => None,
            Err(error) => return Err(self.login.error(&error)),
        };
        let binlog_file = status.as_ref().and_then(|row| row.get(0));
        let binlog_position = status.as_ref().and_then(|row| row.get(1));
        Ok(Coordinates { binlog_file, binlog_position, gtid, ..Coordinates::default() })
    }

    /// What there is in these databases.
    pub(crate) async fn inventory(&mut self, server: &Server, databases: &[String]) -> Result<Inventory, RunError> {
        self.read_inventory(server, databases).await.map_err(|error| self.login.error(&error))
    }

    async fn read_inventory(&mut self, server: &Server, databases: &[String]) -> mysql_async::Result<Inventory> {
        let mut inventory = Inventory::default();
        let has_libraries = Version::parse(&server.version).is_mysql_since((9, 2, 0));
        for database in databases {
            let mut objects = Objects::default();
            self.read_tables(database, &mut objects, &mut inventory).await?;
            self.read_columns(database, &mut inventory).await?;
            let query = "SELECT COUNT(*) FROM information_schema.TRIGGERS WHERE TRIGGER_SCHEMA = ?";
            objects.triggers = self.connection.exec_first(query, (database,)).await?.unwrap_or_default();
            let query = "SELECT CONCAT(LOWER(ROUTINE_TYPE), ' ', ROUTINE_NAME) FROM information_schema.ROUTINES \
                         WHERE ROUTINE_SCHEMA = ?";
            objects.routines = self.names(query, database).await?;
            let query = "SELECT EVENT_NAME FROM information_schema.EVENTS WHERE EVENT_SCHEMA = ?";
            objects.events = self.names(query, database).await?;
            if has_libraries {
                let query = "SELECT LIBRARY_NAME FROM information_schema.LIBRARIES WHERE LIBRARY_SCHEMA = ?";
                objects.libraries = self.names(query, database).await?;
            }
            inventory.databases.insert(database.clone(), objects);
        }
        Ok(inventory)
    }

    async fn names(&mut self, query: &str, database: &str) -> mysql_async::Result<std::collections::BTreeSet<String>> {
        let names: Vec<String> = self.connection.exec(query, (database,)).await?;
        Ok(names.into_iter().collect())
    }

    async fn read_tables(
        &mut self,
        database: &str,
        objects: &mut Objects,
        inventory: &mut Inventory,
    ) -> mysql_async::Result<()> {
        let query = "SELECT TABLE_NAME, TABLE_TYPE, ENGINE FROM information_schema.TABLES WHERE TABLE_SCHEMA = ?";
        let tables: Vec<(String, String, Option<String>)> = self.connection.exec(query, (database,)).await?;
        for (name, kind, engine) in tables {
            match kind.as_str() {
                "VIEW" => match self.broken_view(database, &name).await? {
                    Some(message) => {
                        let view = Omitted { kind: ObjectKind::View, name, message };
                        inventory.broken_views.entry(database.to_owned()).or_default().push(view);
                    }
                    None => drop(objects.views.insert(name)),
                },
                // Of this very session, in MariaDB 11.2 and later.
                "TEMPORARY" => {}
                _ => {
                    if engine.is_some_and(|engine| engine != "InnoDB") {
                        inventory.without_snapshot.push(format!("{database}.{name}"));
                    }
                    if kind == "SYSTEM VERSIONED" {
                        inventory.versioned_tables.push(format!("{database}.{name}"));
                    }
                    objects.tables.insert(name);
                }
            }
        }
        Ok(())
    }

    /// Why the dump client would fail at a view; it runs the same statement.
    async fn broken_view(&mut self, database: &str, view: &str) -> mysql_async::Result<Option<String>> {
        let quoted = |name: &str| format!("`{}`", name.replace('`', "``"));
        let statement = format!("SHOW FIELDS FROM {}.{}", quoted(database), quoted(view));
        match self.connection.query_drop(statement).await {
            Ok(()) => Ok(None),
            // Dropped since.
            Err(error) if error_code::of(&error).is_some_and(error_code::is_unknown_table) => Ok(None),
            Err(error @ mysql_async::Error::Server(_)) => Ok(Some(format!(
                "{}: it refers to something that is gone or that its definer may not read; correct or drop it",
                error_code::describe(&error)
            ))),
            Err(error) => Err(error),
        }
    }

    async fn read_columns(&mut self, database: &str, inventory: &mut Inventory) -> mysql_async::Result<()> {
        let columns = |condition: &str| {
            format!(
                "SELECT CONCAT(TABLE_SCHEMA, '.', TABLE_NAME, '.', COLUMN_NAME) FROM information_schema.COLUMNS \
                 JOIN information_schema.TABLES USING (TABLE_SCHEMA, TABLE_NAME) \
                 WHERE TABLE_SCHEMA = ? AND TABLE_TYPE <> 'VIEW' AND {condition} ORDER BY 1"
            )
        };
        let query = columns("DATA_TYPE = 'float'");
        let mut found: Vec<String> = self.connection.exec(query, (database,)).await?;
        inventory.float_columns.append(&mut found);
        let query = columns(&format!("CHARACTER_SET_NAME NOT IN ({MAPPED_CHARSETS})"));
        let mut found: Vec<String> = self.connection.exec(query, (database,)).await?;
        inventory.unmapped_columns.append(&mut found);
        Ok(())
    }

    /// Closes the connection, so that the server counts no aborted one. Best effort: the server may be gone.
    pub(crate) async fn close(self) {
        let _ = tokio::time::timeout(Duration::from_secs(1), self.connection.disconnect()).await;
    }
}

impl Inventory {
    /// What the clients can't keep.
    pub(crate) fn warnings(&mut self, keeps_history: bool) -> Vec<Warning> {
        let history = if keeps_history { Vec::new() } else { self.versioned_tables.clone() };
        [
            warning(
                WarningKind::FloatDigits,
                "the dump client writes FLOAT columns with 6 digits, so larger values come back rounded; \
                 use DOUBLE or DECIMAL for data that must be exact",
                std::mem::take(&mut self.float_columns),
            ),
            warning(
                WarningKind::UnmappedCharacters,
                "bytes without a Unicode character come back as question marks; convert the columns to utf8mb4",
                std::mem::take(&mut self.unmapped_columns),
            ),
            warning(
                WarningKind::NoSnapshot,
                "tables whose engine has no snapshots are not consistent with the others; convert them to InnoDB",
                std::mem::take(&mut self.without_snapshot),
            ),
            warning(
                WarningKind::HistoryLost,
                "the dump client loses the history of system-versioned tables; install mariadb-client 10.11 or newer",
                history,
            ),
        ]
        .into_iter()
        .flatten()
        .collect()
    }
}

/// `None` without objects.
fn warning(kind: WarningKind, message: &str, mut objects: Vec<String>) -> Option<Warning> {
    let more = objects.len().saturating_sub(MAX_LISTED);
    objects.truncate(MAX_LISTED);
    let message = if more > 0 { format!("{message} ({more} more are not listed)") } else { message.to_owned() };
    (!objects.is_empty()).then_some(Warning { kind, message, objects })
}

fn missing_grants(grants: &Grants, server: &Server, databases: &[String]) -> Vec<String> {
    let mut missing = Vec::new();
    // MySQL 8.0 removed `mysql.proc`, 8.0.20 added SHOW_ROUTINE.
    let has_routines_table = !Version::parse(&server.version).is_mysql_since((8, 0, 0));
    for database in databases {
        for privilege in ["SELECT", "SHOW VIEW", "TRIGGER", "EVENT"] {
            if !grants.on_database(database, privilege) {
                missing.push(format!("{privilege} ON `{database}`.*"));
            }
        }
        if server.flavour == Flavour::MariaDb
            && !grants.on_table("mysql", "proc", "SELECT")
            && !grants.on_database(database, "SHOW CREATE ROUTINE")
        {
            missing.push("SELECT ON `mysql`.`proc`".to_owned());
        }
    }
    if server.flavour == Flavour::MySql {
        let (is_granted, privilege) = if has_routines_table {
            (grants.on_table("mysql", "proc", "SELECT"), "SELECT ON `mysql`.`proc`")
        } else {
            (grants.global("SHOW_ROUTINE") || grants.global("SELECT"), "SHOW_ROUTINE ON *.*")
        };
        if !is_granted {
            missing.push(privilege.to_owned());
        }
    }
    missing.dedup();
    missing
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_missing_grant_is_named() {
        let app = ["app".to_owned()];
        let server = |flavour, version: &str| Server { flavour, version: version.to_owned(), max_allowed_packet: None };
        let mariadb = server(Flavour::MariaDb, "10.11.19-MariaDB");
        let full = "GRANT SELECT, SHOW VIEW, EVENT, TRIGGER ON `app`.* TO `b`@`%`";
        let proc = "GRANT SELECT ON `mysql`.`proc` TO `b`@`%`";
        let missing =
            |lines: &[&str], server: &Server| missing_grants(&Grants::parse(lines.iter().copied()), server, &app);

        assert_eq!(missing(&[full, proc], &mariadb), Vec::<String>::new());
        assert_eq!(missing(&[full], &mariadb), ["SELECT ON `mysql`.`proc`"]);
        let no_trigger = "GRANT SELECT, SHOW VIEW, EVENT ON `app`.* TO `b`@`%`";
        assert_eq!(missing(&[no_trigger, proc], &mariadb), ["TRIGGER ON `app`.*"]);
        assert_eq!(
            missing(&["GRANT SHOW CREATE ROUTINE ON `app`.* TO `b`@`%`", full], &server(Flavour::MariaDb, "11.4.2")),
            Vec::<String>::new()
        );

        let mysql = server(Flavour::MySql, "8.4.3");
        assert_eq!(missing(&[full], &mysql), ["SHOW_ROUTINE ON *.*"]);
        assert_eq!(missing(&[full, "GRANT SHOW_ROUTINE ON *.* TO `b`@`%`"], &mysql), Vec::<String>::new());
        assert_eq!(missing(&[full, proc], &server(Flavour::MySql, "5.7.44-log")), Vec::<String>::new());
    }
}
