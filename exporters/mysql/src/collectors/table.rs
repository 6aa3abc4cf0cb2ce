//! Collectors that write the rows of one statement without further processing.

use exporter_toolkit::{BoxError, Collector, Desc, Families, async_trait};

use super::select::Select;
use crate::session::Session;
use crate::sql::MAX_ROWS;

/// The error of an answer that omits locked tables.
pub(super) const SKIPPED_LOCKED: &str = "tables locked by another statement are missing; SHOW PROCESSLIST lists the \
     statements that wait, performance_schema.metadata_locks the owners of the locks";

pub(super) struct Table {
    pub(super) name: &'static str,
    pub(super) help: &'static str,
    pub(super) enabled_by_default: bool,
    pub(super) requires: Requires,
    /// Whether the statement may wait for a lock on an application's table; see [`Session::query_tables`].
    pub(super) opens_tables: bool,
    pub(super) select: Select,
}

/// Where the collector writes anything. A server without the table is always skipped.
pub(super) enum Requires {
    Nothing,
    /// One of these variables is ON.
    AnyOn(&'static [&'static str]),
    /// MySQL of this version or a later one.
    MysqlSince((u16, u16, u16)),
}

impl Requires {
    async fn are_met(&self, session: &Session) -> Result<bool, BoxError> {
        match self {
            Self::Nothing => Ok(true),
            Self::AnyOn(variables) => is_any_on(session, variables).await,
            Self::MysqlSince(version) => Ok(session.version().is_mysql_since(*version)),
        }
    }
}

/// Whether one of these variables is ON.
pub(super) async fn is_any_on(session: &Session, variables: &[&str]) -> Result<bool, BoxError> {
    let rows = &session.variables().await?.rows;
    Ok(variables.iter().any(|name| rows.lookup(name).is_some_and(|value| value.eq_ignore_ascii_case("on"))))
}

#[async_trait]
impl Collector<Session> for Table {
    fn name(&self) -> &'static str {
        self.name
    }

    fn help(&self) -> &'static str {
        self.help
    }

    fn source(&self) -> &'static str {
        self.select.table()
    }

    fn enabled_by_default(&self) -> bool {
        self.enabled_by_default
    }

    fn families(&self) -> Vec<Desc> {
        self.select.families()
    }

    async fn collect(&self, session: &Session, out: &mut Families) -> Result<(), BoxError> {
        if !self.requires.are_met(session).await? {
            return Ok(());
        }
        let statement = self.select.statement("");
        let rows = match self.opens_tables {
            true => session.query_tables(statement).await?,
            false => session.query_if_table_exists(statement).await?,
        };
        self.select.write(&rows, "", out);
        if rows.skipped_locked { Err(SKIPPED_LOCKED.into()) } else { Ok(rows.require_all(MAX_ROWS)?) }
    }
}
