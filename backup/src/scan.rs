//! Scans a dump while it is written or read, and lists its contents.
//!
//! A dump's end alone proves little: both clients also write the footer when they fail, and omit without an error what
//! the user may not see. So the scanner lists what the dump holds, for comparison with the server.

use std::{
    collections::{BTreeMap, BTreeSet},
    convert::Infallible,
};

use service_kit::hex;
use sha2::{Digest, Sha256};

use crate::{
    kind::{Kind, definer},
    manifest::{Coordinates, MAX_HASHED_BYTES, TableContents},
    statements::{Item, Splitter, Statement},
};

/// More than the longest INSERT with default settings, so that its bytes can be hashed.
const STATEMENT_KEPT: usize = 2 << 20;
const FOOTER: &[u8] = b"-- Dump completed";
/// Before each statement of an account; a comment for everything but `mysql-backup restore`.
pub(crate) const ACCOUNT_PREFIX: &str = "-- mysql-backup account: ";

/// The objects of one database, in a dump or on a server.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Objects {
    /// Sequences are among them: the server and the dump list both alike.
    pub(crate) tables: BTreeSet<String>,
    pub(crate) views: BTreeSet<String>,
    /// MariaDB writes their names as the user once did, so they are only counted.
    pub(crate) triggers: u64,
    /// With their kind: `function f`.
    pub(crate) routines: BTreeSet<String>,
    pub(crate) events: BTreeSet<String>,
    pub(crate) libraries: BTreeSet<String>,
}

pub(crate) type Databases = BTreeMap<String, Objects>;

/// The rows of one table.
#[derive(Debug, Clone, Default)]
struct Rows {
    rows: u64,
    bytes: u64,
    hash: Sha256,
}

impl Rows {
    fn add(&mut self, statement: &Statement<'_>) {
        self.rows += statement.rows;
        self.bytes += statement.len;
        if statement.is_whole() && self.bytes <= MAX_HASHED_BYTES {
            self.hash.update(statement.text);
            self.hash.update(b";");
        }
    }

    fn contents(self, table: String) -> TableContents {
        let hashed = (1..=MAX_HASHED_BYTES).contains(&self.bytes);
        let sha256 = hashed.then(|| hex::lower(self.hash.finalize()));
        TableContents { table, rows: self.rows, sha256 }
    }
}

/// What a dump holds.
#[derive(Debug, Default)]
pub(crate) struct Scanned {
    pub(crate) databases: Databases,
    /// The rows of each database's tables; a sequence has none.
    pub(crate) rows: BTreeMap<String, Vec<TableContents>>,
    pub(crate) longest_statement: u64,
    pub(crate) definers: BTreeSet<String>,
    /// As MariaDB's client writes them.
    pub(crate) coordinates: Option<Coordinates>,
    /// Whether the footer is the end of it.
    pub(crate) is_complete: bool,
}

pub(crate) struct Scanner {
    splitter: Splitter,
    found: Found,
}

#[derive(Default)]
struct Found {
    database: Option<String>,
    rows: BTreeMap<String, BTreeMap<String, Rows>>,
    scanned: Scanned,
}

impl Scanner {
    pub(crate) fn new() -> Self {
        Self { splitter: Splitter::new(STATEMENT_KEPT), found: Found::default() }
    }

    pub(crate) fn feed(&mut self, chunk: &[u8]) {
        let found = &mut self.found;
        let Ok(()) = self.splitter.feed::<Infallible>(chunk, |item| {
            found.item(&item);
            Ok(())
        });
    }

    /// The database that is being written; the snapshot is older than the first one.
    pub(crate) fn database(&self) -> Option<&str> {
        self.found.database.as_deref()
    }

    pub(crate) fn finish(self) -> Scanned {
        let mut found = self.found;
        let Ok(whole) = self.splitter.finish::<Infallible>(|item| {
            found.item(&item);
            Ok(())
        });
        found.scanned.is_complete &= whole;
        for (database, tables) in found.rows {
            let contents = tables.into_iter().map(|(table, rows)| rows.contents(table)).collect();
            found.scanned.rows.insert(database, contents);
        }
        found.scanned
    }
}

impl Found {
    fn item(&mut self, item: &Item<'_>) {
        match item {
            Item::Comment(text) => {
                self.scanned.is_complete = text.starts_with(FOOTER);
                self.coordinates(text);
            }
            Item::Statement(statement) => {
                self.scanned.is_complete = false;
                self.scanned.longest_statement = self.scanned.longest_statement.max(statement.len);
                self.statement(statement);
            }
        }
    }

    fn statement(&mut self, statement: &Statement<'_>) {
        let kind = Kind::of(statement);
        if let Kind::View(_) | Kind::Trigger | Kind::Routine(_) | Kind::Event(_) = kind
            && let Some((account, _)) = definer(statement.text)
        {
            self.scanned.definers.insert(account);
        }
        if let Kind::Use(name) = kind {
            self.scanned.databases.entry(name.clone()).or_default();
            self.database = Some(name);
            return;
        }
        let Some(database) = &self.database else { return };
        let Some(objects) = self.scanned.databases.get_mut(database) else { return };
        match kind {
            Kind::CreateTable(name) => {
                self.rows.entry(database.clone()).or_default().entry(name.clone()).or_default();
                objects.tables.insert(name);
            }
            Kind::Insert(name) => {
                if let Some(rows) = self.rows.get_mut(database).and_then(|tables| tables.get_mut(&name)) {
                    rows.add(statement);
                }
            }
            Kind::CreateSequence(name) => drop(objects.tables.insert(name)),
            Kind::View(name) => drop(objects.views.insert(name)),
            Kind::Trigger => objects.triggers += 1,
            Kind::Routine(name) => drop(objects.routines.insert(name)),
            Kind::Event(name) => drop(objects.events.insert(name)),
            Kind::Library(name) => drop(objects.libraries.insert(name)),
            _ => {}
        }
    }

    /// `-- CHANGE MASTER TO MASTER_LOG_FILE='binlog.000001', MASTER_LOG_POS=6910;` and, at the end,
    /// `-- SET GLOBAL gtid_slave_pos='0-1-32';`.
    fn coordinates(&mut self, comment: &[u8]) {
        let text = String::from_utf8_lossy(comment);
        let between = |before: &str, after: char| {
            text.split_once(before).and_then(|(_, rest)| rest.split_once(after)).map(|(value, _)| value.to_owned())
        };
        if text.starts_with("-- CHANGE MASTER TO MASTER_LOG_FILE=") {
            let coordinates = self.scanned.coordinates.get_or_insert_default();
            coordinates.exact = true;
            coordinates.binlog_file = between("MASTER_LOG_FILE='", '\'');
            coordinates.binlog_position = between("MASTER_LOG_POS=", ';').and_then(|position| position.parse().ok());
        } else if text.starts_with("-- SET GLOBAL gtid_slave_pos=")
            && let Some(coordinates) = &mut self.scanned.coordinates
        {
            coordinates.gtid = between("gtid_slave_pos='", '\'').filter(|gtid| !gtid.is_empty());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MARIADB: &[u8] = include_bytes!("../fixtures/mariadb.sql");
    const MYSQL: &[u8] = include_bytes!("../fixtures/mysql.sql");

    fn scan(dump: &[u8], chunk: usize) -> Scanned {
        let mut scanner = Scanner::new();
        for part in dump.chunks(chunk) {
            scanner.feed(part);
        }
        scanner.finish()
    }

    fn names(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|&name| name.to_owned()).collect()
    }

    fn expected(tables: &[&str], routines: &[&str], libraries: &[&str]) -> Databases {
        let common = ["account", "fl", "gen", "inv", "lots", "od`d (name"];
        let fx = Objects {
            tables: names(&[&common, tables].concat()),
            views: names(&["v", "vv"]),
            triggers: 2,
            routines: names(&[&["function twice", "procedure settle"], routines].concat()),
            events: names(&["hourly", "nightly"]),
            libraries: names(libraries),
        };
        let odd = Objects { tables: names(&["t 1"]), ..Objects::default() };
        Databases::from([
            ("fx".to_owned(), fx),
            ("empty".to_owned(), Objects::default()),
            ("odd-db name.1".to_owned(), odd),
        ])
    }

    #[test]
    fn everything_is_found_wherever_the_chunks_end() {
        let mariadb = expected(&["consent", "ticket", "ticket_no"], &["package pk", "package body pk"], &[]);
        let mysql = expected(&["js"], &[], &["lib1"]);
        for (dump, expected) in [(MARIADB, mariadb), (MYSQL, mysql)] {
            for chunk in (1..20).chain([1023, 1024, 4096, dump.len()]) {
                let found = scan(dump, chunk);
                assert_eq!((&found.databases, found.is_complete), (&expected, true), "chunks of {chunk}");
                let rows = |table: &str| found.rows["fx"].iter().find(|rows| rows.table == table).unwrap().rows;
                assert_eq!([rows("account"), rows("lots"), rows("gen"), rows("od`d (name")], [2, 3, 2, 0]);
                assert_eq!(found.definers, names(&["root@localhost"]));
                assert!(found.longest_statement > 200);
            }
        }
        let coordinates = Coordinates {
            exact: true,
            binlog_file: Some("binlog.000001".to_owned()),
            binlog_position: Some(6910),
            gtid: Some("0-1-32".to_owned()),
            settled: None,
        };
        assert_eq!(scan(MARIADB, 4096).coordinates, Some(coordinates));
        assert_eq!(scan(MYSQL, 4096).coordinates, None);
    }

    #[test]
    fn checksums_change_with_a_row_and_with_nothing_else() {
        let contents = |dump: &str| scan(dump.as_bytes(), 7).rows["a"].clone();
        let dump = "USE `a`;\nCREATE TABLE `t` (\n);\nINSERT INTO `t` VALUES (1),(2);\n";
        let other = dump.replace("(2)", "(3)");
        assert_ne!(contents(dump)[0].sha256, contents(&other)[0].sha256);
        assert_eq!(contents(dump), contents(&dump.replace("(\n)", "(x)")));
        let large = format!("USE `a`;\nCREATE TABLE `t` (\n);\nINSERT INTO `t` VALUES ('{}');", "x".repeat(1 << 20));
        assert_eq!(contents(&large), [TableContents { table: "t".to_owned(), rows: 1, sha256: None }]);
    }

    #[test]
    fn every_cut_is_noticed() {
        for dump in [MARIADB, MYSQL] {
            let footer = dump.windows(FOOTER.len()).rposition(|window| window == FOOTER).unwrap();
            for end in (0..footer).step_by(13).chain(footer..footer + FOOTER.len()) {
                assert!(!scan(&dump[..end], 4096).is_complete, "cut at {end}");
            }
        }
    }

    #[test]
    fn a_footer_before_the_end_is_not_one() {
        for after in ["-- and more\n", "SELECT 1;\n", "SELECT 1"] {
            assert!(!scan(&[MARIADB, after.as_bytes()].concat(), 4096).is_complete, "{after}");
        }
        assert!(scan(&[MARIADB, b"\n"].concat(), 4096).is_complete);
        assert!(
            scan(b"-- Dump completed", 3).is_complete,
            "without a date and without a newline, as --skip-dump-date may leave it"
        );
    }
}
