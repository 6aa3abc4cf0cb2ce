//! Which statements of a printed binary log belong to what is restored.
//!
//! ```text
//! # at 348
//! #261126 17:02:26 server id 1  end_log_pos 400 CRC32 0xa9378497  Table_map: `app`.`visit` mapped to number 106
//! BINLOG '…'/*!*/;
//! ```
//!
//! Changes of rows name their tables in comments. Other statements have a default database.

use std::collections::BTreeSet;

use mysql_kit::Flavour;

use crate::binlog::BinlogName;

/// The servers' own databases, which no backup has.
const SYSTEM_DATABASES: [&str; 4] = ["information_schema", "mysql", "performance_schema", "sys"];
/// Names of skipped databases that are kept for the note.
const MAX_SKIPPED: usize = 20;

#[derive(Debug)]
pub(super) struct Log {
    flavour: Flavour,
    /// `None`: all but the server's own.
    databases: Option<BTreeSet<String>>,
    /// Whether changes may have been made already, so that only those of rows can be made again.
    is_repeated: bool,
    files: Vec<(BinlogName, u64)>,
    /// Files that have begun.
    begun: usize,
    position: u64,
    default_database: Option<String>,
    /// Of the tables whose rows the next statement changes.
    row_databases: BTreeSet<String>,
    pub(super) skipped: Skipped,
}

/// What was not replayed.
#[derive(Debug, Default)]
pub(crate) struct Skipped {
    /// Databases that are not restored.
    pub(crate) databases: BTreeSet<String>,
    /// Statements about users and grants.
    pub(crate) accounts: u64,
}

/// What to do with a statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Settings and the limits of transactions.
    Control,
    /// For the printing program's own client, or of the old server's identifiers.
    Useless,
    Use,
    Rows,
    Account,
    Database,
    /// INSERT and its like: rows as a statement.
    Change,
    Other,
}

impl Log {
    pub(super) fn new(
        flavour: Flavour,
        databases: Option<BTreeSet<String>>,
        files: Vec<(BinlogName, u64)>,
        is_repeated: bool,
    ) -> Self {
        Self {
            flavour,
            databases,
            is_repeated,
            files,
            begun: 0,
            position: 0,
            default_database: None,
            row_databases: BTreeSet::new(),
            skipped: Skipped::default(),
        }
    }

    /// For errors: the file and the position of the event.
    pub(super) fn place(&self) -> String {
        let file = self.files.get(self.begun.saturating_sub(1));
        format!("{}, position {}", file.map(|(name, _)| name.to_string()).unwrap_or_default(), self.position)
    }

    /// Bytes of the files up to here.
    pub(super) fn read(&self) -> u64 {
        let ended = self.files.iter().take(self.begun.saturating_sub(1));
        ended.map(|(_, size)| size).sum::<u64>() + self.position
    }

    pub(super) fn comment(&mut self, text: &[u8]) {
        let text = String::from_utf8_lossy(text);
        if let Some(position) = text.strip_prefix("# at ").and_then(|at| at.trim().parse().ok()) {
            self.position = position;
        } else if text.contains("\tStart: binlog v ") {
            self.begun += 1;
        } else if let Some((_, table)) = text.split_once("Table_map: `")
            && let Some((database, _)) = table.split_once("`.`")
        {
            self.row_databases.insert(database.to_owned());
        }
    }

    /// Whether to run a statement. An error is why the replay has to stop.
    pub(super) fn wants(&mut self, statement: &[u8]) -> Result<bool, String> {
        let text = String::from_utf8_lossy(statement);
        match Kind::of(&text) {
            Kind::Control => Ok(true),
            Kind::Useless => Ok(false),
            Kind::Use => {
                let name = text.trim_start_matches("use ").trim().trim_matches('`').replace("``", "`");
                let known = self.is_restored(&name);
                self.default_database = Some(name);
                Ok(known)
            }
            Kind::Rows => {
                let databases = std::mem::take(&mut self.row_databases);
                // Without any it describes the format of the following ones.
                let wanted = databases.is_empty() || databases.iter().any(|name| self.is_restored(name));
                if !wanted {
                    databases.into_iter().for_each(|name| self.skip(name));
                }
                Ok(wanted)
            }
            Kind::Account => {
                self.skipped.accounts += 1;
                Ok(false)
            }
            Kind::Database => Ok(self.databases.is_none() || self.names_restored(&text, false)),
            Kind::Change if self.is_repeated => Err(format!(
                "the server logs changes as statements (binlog_format), which cannot be made twice, and the backup's \
                 position in the binary log is not exact: set binlog_format=ROW on {}",
                self.flavour
            )),
            Kind::Change | Kind::Other => Ok(self.wants_other(&text)),
        }
    }

    fn wants_other(&mut self, text: &str) -> bool {
        let Some(default) = self.default_database.clone() else {
            return self.databases.is_none() || self.names_restored(text, true);
        };
        if self.is_restored(&default) || self.names_restored(text, true) {
            return true;
        }
        self.skip(default);
        false
    }

    fn is_restored(&self, database: &str) -> bool {
        let is_system = SYSTEM_DATABASES.contains(&database.to_lowercase().as_str());
        !is_system && self.databases.as_ref().is_none_or(|databases| databases.contains(database))
    }

    /// Whether a statement names a restored database, as in `DROP TABLE app.visit`.
    fn names_restored(&self, text: &str, qualified: bool) -> bool {
        self.databases.iter().flatten().any(|name| names(text, name, qualified))
    }

    fn skip(&mut self, database: String) {
        let is_system = SYSTEM_DATABASES.contains(&database.to_lowercase().as_str());
        if !is_system && self.skipped.databases.len() < MAX_SKIPPED {
            self.skipped.databases.insert(database);
        }
    }
}

impl Kind {
    fn of(text: &str) -> Self {
        // The programs' own lines: settings for the versions that know them.
        if text.starts_with("/*!\\C") {
            return Self::Useless;
        }
        if text.starts_with("/*M!100001 SET @@session.") {
            // The target numbers its transactions itself.
            return Self::Useless;
        }
        let versioned = text.strip_prefix("/*!").or_else(|| text.strip_prefix("/*M!"));
        if let Some(rest) = versioned {
            let is_setting = rest.trim_start_matches(|c: char| c.is_ascii_digit()).trim_start().starts_with("SET ");
            return if is_setting { Self::Control } else { Self::Other };
        }
        let words = words(text);
        let word = |at: usize| words.get(at).map_or("", String::as_str);
        match (word(0), word(1)) {
            ("BINLOG", _) => Self::Rows,
            ("USE", _) => Self::Use,
            ("SET", "PASSWORD" | "DEFAULT") | ("GRANT" | "REVOKE", _) => Self::Account,
            ("CREATE" | "DROP" | "ALTER" | "RENAME", "USER" | "ROLE") | ("FLUSH", "PRIVILEGES") => Self::Account,
            ("CREATE", "OR") if matches!(word(3), "USER" | "ROLE") => Self::Account,
            ("CREATE" | "DROP" | "ALTER", "DATABASE" | "SCHEMA") => Self::Database,
            ("SET" | "BEGIN" | "COMMIT" | "ROLLBACK" | "SAVEPOINT" | "RELEASE" | "XA" | "START", _) => Self::Control,
            ("INSERT" | "UPDATE" | "DELETE" | "REPLACE" | "LOAD", _) => Self::Change,
            _ => Self::Other,
        }
    }
}

/// The first words in capitals, after comments.
fn words(mut text: &str) -> Vec<String> {
    loop {
        text = text.trim_start();
        match text.strip_prefix("/*").and_then(|rest| rest.split_once("*/")) {
            Some((_, rest)) => text = rest,
            None => break,
        }
    }
    let words = text.split(|c: char| c.is_whitespace() || matches!(c, '(' | ';' | '`'));
    words.filter(|word| !word.is_empty()).take(4).map(str::to_ascii_uppercase).collect()
}

/// Whether a name is in a text, on its own or in backquotes; `qualified`: before a dot.
fn names(text: &str, name: &str, qualified: bool) -> bool {
    let is_name = |c: char| c.is_alphanumeric() || c == '_' || c == '$';
    text.match_indices(name).any(|(at, _)| {
        let (before, after) = (&text[..at], &text[at + name.len()..]);
        let after = after.strip_prefix('`').unwrap_or(after);
        !before.ends_with(is_name) && !after.starts_with(is_name) && (!qualified || after.trim_start().starts_with('.'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(databases: Option<&[&str]>) -> Log {
        let databases = databases.map(|list| list.iter().map(|name| (*name).to_owned()).collect());
        Log::new(Flavour::MariaDb, databases, vec![(BinlogName::parse("b.000007").unwrap(), 1000)], false)
    }

    fn wants(log: &mut Log, text: &str) -> bool {
        log.wants(text.as_bytes()).unwrap()
    }

    #[test]
    fn rows_belong_to_the_tables_in_the_comments() {
        let mut log = log(Some(&["app"]));
        log.comment(
            b"#261126 17:02:26 server id 1  end_log_pos 256 CRC32 0xcebd02e5 \tStart: binlog v 4, server v 10.11",
        );
        assert!(wants(&mut log, "BINLOG 'the format'"));
        for (database, wanted) in [("app", true), ("other", false), ("mysql", false), ("app", true)] {
            log.comment(b"# at 348");
            log.comment(format!("#26 server id 1 \tTable_map: `{database}`.`t` mapped to number 18").as_bytes());
            assert_eq!(wants(&mut log, "BINLOG '\nAbc=\n'"), wanted, "{database}");
        }
        assert_eq!(log.skipped.databases.into_iter().collect::<Vec<_>>(), ["other"]);
        assert_eq!(self::log(None).place(), "b.000007, position 0");
    }

    #[test]
    fn statements_belong_to_their_default_database_or_to_one_that_they_name() {
        let mut log = log(Some(&["app"]));
        assert!(!wants(&mut log, "use `other`"));
        for (text, wanted) in [
            ("DROP TABLE t", false),
            ("TRUNCATE `app`.t", true),
            ("TRUNCATE app.t", true),
            ("TRUNCATE myapp.t", false),
            ("CREATE DATABASE app", true),
            ("create database apple", false),
        ] {
            assert_eq!(wants(&mut log, text), wanted, "{text}");
        }
        assert!(wants(&mut log, "use `app`"));
        assert!(wants(&mut log, "/* a job */ INSERT INTO t VALUES (1)"));
        assert!(self::log(None).wants(b"CREATE DATABASE new").unwrap());
    }

    #[test]
    fn settings_run_accounts_and_foreign_identifiers_do_not() {
        let mut log = log(Some(&["app"]));
        for (text, wanted) in [
            ("SET TIMESTAMP=1795712546", true),
            ("/*!50530 SET @@SESSION.PSEUDO_SLAVE_MODE=1*/", true),
            ("/*!50616 SET @@SESSION.GTID_NEXT='AUTOMATIC'*/", true),
            ("START TRANSACTION\n", true),
            ("BEGIN\n", true),
            ("ROLLBACK /* added by mysqlbinlog */", true),
            ("/*!\\C utf8mb3 */", false),
            ("/*M!100001 SET @@session.gtid_seq_no=7*/", false),
            ("GRANT SELECT ON app.* TO u", false),
            ("CREATE USER u", false),
            ("create or replace user u", false),
            ("SET PASSWORD FOR u = 'x'", false),
        ] {
            assert_eq!(wants(&mut log, text), wanted, "{text}");
        }
        assert_eq!(log.skipped.accounts, 4);
    }

    #[test]
    fn statements_with_rows_are_not_made_twice() {
        let mut log = Log::new(Flavour::MySql, None, Vec::new(), true);
        assert!(log.wants(b"INSERT INTO t VALUES (1)").unwrap_err().contains("binlog_format=ROW"));
        assert!(log.wants(b"BINLOG 'x'").unwrap());
    }
}
