//! `mysql.user`: the limits of accounts, and optionally their privileges.

use clap::{ArgMatches, Args as _, Command, FromArgMatches as _};
use exporter_toolkit::{BoxError, Collector, Desc, Families, Kind, async_trait};

use crate::rows::Rows;
use crate::session::Session;
use crate::value::family_name;

const PREFIX: &str = "mysql_mysql_";
const LABELS: &[&str] = &["mysql_user", "hostmask"];

/// The columns after user and host, in the statement's order.
const LIMITS: [Desc; 4] = [
    Desc::gauge("mysql_mysql_max_questions", "Maximum number of statements per hour; 0 means unlimited.", LABELS)
        .field("max_questions"),
    Desc::gauge("mysql_mysql_max_updates", "Maximum number of updates per hour; 0 means unlimited.", LABELS)
        .field("max_updates"),
    Desc::gauge("mysql_mysql_max_connections", "Maximum number of connections per hour; 0 means unlimited.", LABELS)
        .field("max_connections"),
    Desc::gauge(
        "mysql_mysql_max_user_connections",
        "Maximum number of concurrent connections; 0 means the server's max_user_connections.",
        LABELS,
    )
    .field("max_user_connections"),
];
const PRIVILEGE_HELP: &str = "Whether the account has this privilege globally.";

const STATEMENT: &str = "SELECT user, host, max_questions, max_updates, max_connections, max_user_connections, \
    Select_priv, Insert_priv, Update_priv, Delete_priv, Create_priv, Drop_priv, Reload_priv, Shutdown_priv, Process_priv, \
    File_priv, Grant_priv, References_priv, Index_priv, Alter_priv, Show_db_priv, Super_priv, Create_tmp_table_priv, \
    Lock_tables_priv, Execute_priv, Repl_slave_priv, Repl_client_priv, Create_view_priv, Show_view_priv, Create_routine_priv, \
    Alter_routine_priv, Create_user_priv, Event_priv, Trigger_priv, Create_tablespace_priv FROM mysql.user";
/// Each has 35 columns.
const MAX_ACCOUNTS: usize = 10_000;

#[derive(clap::Args, Clone, Debug)]
#[group(skip)]
#[command(next_help_heading = "Collectors")]
pub(super) struct Options {
    /// Also export the privileges: 29 more series per account
    #[arg(long = "collect.mysql.user.privileges")]
    privileges: bool,
}

pub(super) struct User {
    pub(super) options: Options,
}

#[async_trait]
impl Collector<Session> for User {
    fn name(&self) -> &'static str {
        "mysql.user"
    }

    fn help(&self) -> &'static str {
        "Limits and privileges of accounts; requires SELECT on mysql.user."
    }

    fn source(&self) -> &'static str {
        "mysql.user"
    }

    fn enabled_by_default(&self) -> bool {
        false
    }

    fn families(&self) -> Vec<Desc> {
        let privileges = Desc::gauge("mysql_mysql_<privilege>_priv", PRIVILEGE_HELP, LABELS);
        LIMITS.into_iter().chain([privileges]).collect()
    }

    fn augment_args(&self, command: Command) -> Command {
        Options::augment_args(command)
    }

    fn configure(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        self.options.update_from_arg_matches(matches)
    }

    async fn collect(&self, session: &Session, out: &mut Families) -> Result<(), BoxError> {
        let rows = session.query(format!("{STATEMENT} LIMIT {MAX_ACCOUNTS}")).await?;
        write(&rows, self.options.privileges, out);
        Ok(rows.require_all(MAX_ACCOUNTS)?)
    }
}

fn write(rows: &Rows, privileges: bool, out: &mut Families) {
    for row in rows.iter() {
        let account = [row.get(0).unwrap_or_default(), row.get(1).unwrap_or_default()];
        for (column, desc) in (2..).zip(&LIMITS) {
            if let Some(limit) = row.number(column) {
                out.push(desc, &account, limit);
            }
        }
        for (column, text) in row.cells().filter(|(column, _)| privileges && column.ends_with("_priv")) {
            let desc = Desc::dynamic(Kind::Gauge, family_name(PREFIX, column), PRIVILEGE_HELP, LABELS);
            match text {
                "Y" => out.push(&desc, &account, 1.0),
                "N" => out.push(&desc, &account, 0.0),
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_has_limits_and_optionally_privileges() {
        let columns = STATEMENT.split(" FROM ").next().unwrap().trim_start_matches("SELECT ").split(", ");
        let mut rows = Rows::new(columns.map(str::to_owned));
        let cells = ["app", "10.%", "1", "2", "3", "4", "Y", "N"];
        rows.push(cells.iter().map(|cell| Some(cell.as_bytes()))).unwrap();
        let samples = |privileges| {
            let mut out = Families::default();
            write(&rows, privileges, &mut out);
            exporter_toolkit::testing::samples(out)
        };
        let limits = [
            r#"mysql_mysql_max_connections{mysql_user="app",hostmask="10.%"} 3"#,
            r#"mysql_mysql_max_questions{mysql_user="app",hostmask="10.%"} 1"#,
            r#"mysql_mysql_max_updates{mysql_user="app",hostmask="10.%"} 2"#,
            r#"mysql_mysql_max_user_connections{mysql_user="app",hostmask="10.%"} 4"#,
        ];
        assert_eq!(samples(false), limits);
        let with_privileges = samples(true);
        assert_eq!(with_privileges.len(), 6);
        assert!(with_privileges.contains(&r#"mysql_mysql_insert_priv{mysql_user="app",hostmask="10.%"} 0"#.to_owned()));
        assert!(with_privileges.contains(&r#"mysql_mysql_select_priv{mysql_user="app",hostmask="10.%"} 1"#.to_owned()));
    }
}
