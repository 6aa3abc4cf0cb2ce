//! Counts what a restore made, and compares it with the manifest.

use crate::{
    manifest::Success,
    restore::{
        error::RestoreError,
        filter::{Scope, quoted},
        target::Target,
    },
};

#[derive(Debug, Default)]
pub(crate) struct Counted {
    pub(crate) tables: u64,
    pub(crate) rows: u64,
    pub(crate) differences: Vec<String>,
    pub(crate) notes: Vec<String>,
}

pub(crate) async fn compare(target: &mut Target<'_>, saved: &Success, scope: &Scope) -> Result<Counted, RestoreError> {
    let mut counted = Counted::default();
    for database in saved.databases.iter().filter(|database| scope.databases.contains(&database.name)) {
        let name = scope.target_of(&database.name);
        let literal = format!("'{}'", name.replace('\\', "\\\\").replace('\'', "''"));
        if scope.tables.is_empty() {
            for (kind, expected, query) in [
                ("tables", database.tables, "information_schema.TABLES WHERE TABLE_TYPE <> 'VIEW' AND TABLE_SCHEMA"),
                ("views", database.views, "information_schema.VIEWS WHERE TABLE_SCHEMA"),
                ("triggers", database.triggers, "information_schema.TRIGGERS WHERE TRIGGER_SCHEMA"),
                ("routines", database.routines, "information_schema.ROUTINES WHERE ROUTINE_SCHEMA"),
                ("events", database.events, "information_schema.EVENTS WHERE EVENT_SCHEMA"),
            ] {
                let found: Option<u64> =
                    target.query_first(&format!("SELECT COUNT(*) FROM {query} = {literal}")).await?;
                let found = found.unwrap_or_default();
                if found == expected {
                    continue;
                }
                let text = format!("{} has {found} {kind}, and the manifest says {expected}", quoted(name));
                if kind == "events" && found < expected {
                    counted.notes.push(format!("{text}: servers do not create one-off events whose time is past"));
                } else {
                    counted.differences.push(text);
                }
            }
        }
        for expected in database.contents.iter().flatten() {
            if !scope.tables.is_empty() && !scope.tables.contains(&expected.table) {
                continue;
            }
            let found = rows(target, name, &literal, &expected.table).await?;
            counted.tables += 1;
            counted.rows += found;
            if found != expected.rows {
                counted.differences.push(format!(
                    "{}.{} has {found} rows, and the manifest says {}",
                    quoted(name),
                    quoted(&expected.table),
                    expected.rows
                ));
            }
        }
    }
    Ok(counted)
}

/// A system-versioned table's history is in the dump, too.
async fn rows(target: &mut Target<'_>, name: &str, literal: &str, table: &str) -> Result<u64, RestoreError> {
    let history = if target.version().is_mariadb() {
        let query = format!(
            "SELECT TABLE_TYPE = 'SYSTEM VERSIONED' FROM information_schema.TABLES WHERE TABLE_SCHEMA = {literal} AND \
             TABLE_NAME = '{}'",
            table.replace('\\', "\\\\").replace('\'', "''")
        );
        target.query_first::<bool>(&query).await?.unwrap_or_default()
    } else {
        false
    };
    let all = if history { " FOR SYSTEM_TIME ALL" } else { "" };
    let count = format!("SELECT COUNT(*) FROM {}.{}{all}", quoted(name), quoted(table));
    Ok(target.query_first(&count).await?.unwrap_or_default())
}
