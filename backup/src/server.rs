//! What the job reads from the server itself: its version, the user's privileges, and the objects to save.

use std::time::Duration;

use mysql_async::{Conn, prelude::Queryable};
use mysql_kit::{Version, error_code};
use service_kit::{address::Address, secret::Secret};

use crate::{
    error::RunError,
    grants::Grants,
    manifest::{Flavour, Server},
    scan::{Contents, Databases},
};

/// For the TCP or socket connection and the login; the queries are under the run's deadline.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// The maximum size of the server's packets.
const MAX_PACKET: usize = 16 << 20;
/// The servers' own databases. Users and grants belong to the configuration, and the rest is derived.
const SYSTEM_DATABASES: [&str; 4] = ["information_schema", "mysql", "performance_schema", "sys"];

/// The address and the account of the login.
#[derive(Clone)]
pub(crate) struct Login {
    pub(crate) address: Address,
    pub(crate) user: String,
    /// `None`: an empty password.
    pub(crate) password: Option<Secret>,
}

/// A connection for queries. The dump client opens its own.
pub(crate) struct Session<'a> {
    login: &'a Login,
    connection: Conn,
}

impl<'a> Session<'a> {
    pub(crate) async fn connect(login: &'a Login) -> Result<Self, RunError> {
        let password = login.password.as_ref().map(Secret::expose);
        let options = mysql_kit::options(&login.address, &login.user, password, MAX_PACKET)
            // `SHOW GRANTS` in the quotes that the parser knows.
            .setup(vec!["SET SESSION sql_mode = '', sql_quote_show_create = 1"]);
        match tokio::time::timeout(CONNECT_TIMEOUT, mysql_kit::connect(&login.address, options)).await {
            Ok(Ok(connection)) => Ok(Self { login, connection }),
            Ok(Err(error)) => Err(login.error(&error)),
            Err(_) => Err(RunError::ServerUnreachable {
                address: login.address.to_string(),
                message: format!("no connection within {} s", CONNECT_TIMEOUT.as_secs()),
            }),
        }
    }

    pub(crate) async fn server(&mut self) -> Result<Server, RunError> {
        let version: Option<String> =
            self.connection.query_first("SELECT @@version").await.map_err(|error| self.login.error(&error))?;
        let version = version.unwrap_or_default();
        Ok(Server { flavour: Version::parse(&version).flavour(), version, max_allowed_packet: None })
    }

    /// The databases to save: those wanted, or all that the user sees but the server's own.
    pub(crate) async fn databases(&mut self, wanted: &[String]) -> Result<Vec<String>, RunError> {
        let seen: Vec<String> = self
            .connection
            .query("SELECT SCHEMA_NAME FROM information_schema.SCHEMATA ORDER BY SCHEMA_NAME")
            .await
            .map_err(|error| self.login.error(&error))?;
        let missing: Vec<String> = wanted.iter().filter(|name| !seen.contains(name)).cloned().collect();
        let chosen: Vec<String> = if wanted.is_empty() {
            seen.into_iter().filter(|name| !SYSTEM_DATABASES.contains(&name.to_lowercase().as_str())).collect()
        } else {
            wanted.to_vec()
        };
        if chosen.is_empty() || !missing.is_empty() {
            return Err(RunError::DatabaseMissing { address: self.login.address.to_string(), wanted: missing });
        }
        Ok(chosen)
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

    /// What there is in these databases, and how many tables have an engine without snapshots.
    pub(crate) async fn inventory(&mut self, databases: &[String]) -> Result<Inventory, RunError> {
        self.read_inventory(databases).await.map_err(|error| self.login.error(&error))
    }

    async fn read_inventory(&mut self, databases: &[String]) -> mysql_async::Result<Inventory> {
        let mut inventory = Inventory::default();
        for database in databases {
            let mut contents = Contents::default();
            let tables: Vec<(String, String, Option<String>)> = self
                .connection
                .exec(
                    "SELECT TABLE_NAME, TABLE_TYPE, ENGINE FROM information_schema.TABLES WHERE TABLE_SCHEMA = ?",
                    (database,),
                )
                .await?;
            for (name, kind, engine) in tables {
                match kind.as_str() {
                    "VIEW" => {
                        contents.views.insert(name);
                    }
                    // Of this very session, in MariaDB 11.2 and later.
                    "TEMPORARY" => {}
                    _ => {
                        inventory.without_snapshot += u64::from(engine.is_some_and(|engine| engine != "InnoDB"));
                        contents.tables.insert(name);
                    }
                }
            }
            for (count, query) in [
                (&mut contents.triggers, "SELECT COUNT(*) FROM information_schema.TRIGGERS WHERE TRIGGER_SCHEMA = ?"),
                (&mut contents.routines, "SELECT COUNT(*) FROM information_schema.ROUTINES WHERE ROUTINE_SCHEMA = ?"),
                (&mut contents.events, "SELECT COUNT(*) FROM information_schema.EVENTS WHERE EVENT_SCHEMA = ?"),
            ] {
                *count = self.connection.exec_first(query, (database,)).await?.unwrap_or_default();
            }
            inventory.databases.insert(database.clone(), contents);
        }
        Ok(inventory)
    }

    /// Closes the connection, so that the server counts no aborted one. Best effort: the server may be gone.
    pub(crate) async fn close(self) {
        let _ = tokio::time::timeout(Duration::from_secs(1), self.connection.disconnect()).await;
    }
}

impl Login {
    fn error(&self, error: &mysql_async::Error) -> RunError {
        let (address, message) = (self.address.to_string(), error_code::describe_login(error));
        let is_denied = |code| error_code::is_login_rejected(code) || error_code::is_privilege_missing(code);
        if error_code::of(error).is_some_and(is_denied) {
            RunError::AccessDenied { address, user: self.user.clone(), message }
        } else {
            RunError::ServerUnreachable { address, message }
        }
    }
}

#[derive(Debug, Default)]
pub(crate) struct Inventory {
    pub(crate) databases: Databases,
    pub(crate) without_snapshot: u64,
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
