//! Scans a dump while it is written, and lists its contents.
//!
//! A dump's end alone proves little: both clients also write the footer when they fail, and omit without an error what
//! the user may not see. So the scanner lists what the dump holds, for comparison with the server.
//!
//! It relies on the format that `mysqldump` and `mariadb-dump` share. Statements start a line. Row data can't look like
//! one, because newlines in strings are escaped. Bodies of triggers, routines and events can; each is between
//! `DELIMITER ;;` and `DELIMITER ;`.

use std::collections::{BTreeMap, BTreeSet};

use memchr::memchr;

/// No line that matters is longer up to the end of the name in it: 64 characters of 4 bytes, were they all doubled
/// backticks.
const LINE_MAX: usize = 1024;
const FOOTER: &[u8] = b"-- Dump completed";

/// What a dump, or a server, holds of one database.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Contents {
    /// Sequences are among them: the server and the dump list both alike.
    pub(crate) tables: BTreeSet<String>,
    pub(crate) views: BTreeSet<String>,
    pub(crate) triggers: u64,
    pub(crate) routines: u64,
    pub(crate) events: u64,
}

pub(crate) type Databases = BTreeMap<String, Contents>;

/// Which bodies follow, by the comment before them.
#[derive(Clone, Copy)]
enum Bodies {
    Triggers,
    Events,
    Routines,
}

pub(crate) struct Scanner {
    /// The start of a line whose end was not in the chunk.
    line: Vec<u8>,
    database: Option<String>,
    bodies: Bodies,
    in_body: bool,
    footer: bool,
    found: Databases,
}

impl Scanner {
    pub(crate) fn new() -> Self {
        Self {
            line: Vec::with_capacity(LINE_MAX),
            database: None,
            bodies: Bodies::Triggers,
            in_body: false,
            footer: false,
            found: Databases::new(),
        }
    }

    pub(crate) fn feed(&mut self, mut chunk: &[u8]) {
        while let Some(end) = memchr(b'\n', chunk) {
            if self.line.is_empty() {
                self.end_of_line(&chunk[..end.min(LINE_MAX)]);
            } else {
                self.keep(&chunk[..end]);
                let line = std::mem::take(&mut self.line);
                self.end_of_line(&line);
                self.line = line;
                self.line.clear();
            }
            chunk = &chunk[end + 1..];
        }
        self.keep(chunk);
    }

    /// What was found, and whether the footer was the last line.
    pub(crate) fn finish(mut self) -> (Databases, bool) {
        if !self.line.is_empty() {
            let line = std::mem::take(&mut self.line);
            self.end_of_line(&line);
        }
        (self.found, self.footer)
    }

    fn keep(&mut self, part: &[u8]) {
        let room = LINE_MAX - self.line.len();
        self.line.extend_from_slice(&part[..part.len().min(room)]);
    }

    fn end_of_line(&mut self, line: &[u8]) {
        if let Some(delimiter) = line.strip_prefix(b"DELIMITER ") {
            let opens = delimiter != b";";
            if opens && !self.in_body {
                let bodies = self.bodies;
                if let Some(contents) = self.contents() {
                    match bodies {
                        Bodies::Triggers => contents.triggers += 1,
                        Bodies::Events => contents.events += 1,
                        Bodies::Routines => contents.routines += 1,
                    }
                }
            }
            self.in_body = opens;
        }
        self.footer = !self.in_body && (line.starts_with(FOOTER) || (self.footer && line.is_empty()));
        if self.in_body {
            return;
        }
        match line.first() {
            Some(b'C') => {
                let table = line.strip_prefix(b"CREATE TABLE ").or_else(|| line.strip_prefix(b"CREATE SEQUENCE "));
                if let Some(name) = table.and_then(quoted_name)
                    && let Some(contents) = self.contents()
                {
                    contents.tables.insert(name);
                }
            }
            Some(b'U') => {
                if let Some(name) = line.strip_prefix(b"USE ").and_then(quoted_name) {
                    self.found.entry(name.clone()).or_default();
                    self.database = Some(name);
                    self.bodies = Bodies::Triggers;
                }
            }
            Some(b'-') => {
                if line.starts_with(b"-- Dumping events for database ") {
                    self.bodies = Bodies::Events;
                } else if line.starts_with(b"-- Dumping routines for database ") {
                    self.bodies = Bodies::Routines;
                }
            }
            Some(b'/') => {
                if let Some(name) = line.strip_prefix(b"/*!50001 VIEW ").and_then(quoted_name)
                    && let Some(contents) = self.contents()
                {
                    contents.views.insert(name);
                }
            }
            _ => {}
        }
    }

    fn contents(&mut self) -> Option<&mut Contents> {
        self.found.get_mut(self.database.as_ref()?)
    }
}

/// The name in backticks (doubled inside) at the start.
fn quoted_name(text: &[u8]) -> Option<String> {
    let mut name = Vec::new();
    let mut bytes = text.strip_prefix(b"`")?.iter().copied().peekable();
    while let Some(byte) = bytes.next() {
        if byte == b'`' && bytes.next_if_eq(&b'`').is_none() {
            return Some(String::from_utf8_lossy(&name).into_owned());
        }
        name.push(byte);
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const DUMP: &[u8] = include_bytes!("../fixtures/dump.sql");

    fn scan(dump: &[u8], chunk: usize) -> (Databases, bool) {
        let mut scanner = Scanner::new();
        for part in dump.chunks(chunk) {
            scanner.feed(part);
        }
        scanner.finish()
    }

    fn expected() -> Databases {
        let names = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
        let app = Contents {
            tables: names(&["a", "sq", "we`ird (x"]),
            views: names(&["v"]),
            triggers: 2,
            routines: 2,
            events: 1,
        };
        Databases::from([("app".to_owned(), app), ("empty".to_owned(), Contents::default())])
    }

    #[test]
    fn everything_is_found_wherever_the_chunks_end() {
        for chunk in (1..80).chain([1023, 1024, 1025, 4096, DUMP.len()]) {
            assert_eq!(scan(DUMP, chunk), (expected(), true), "chunks of {chunk}");
        }
    }

    #[test]
    fn every_cut_is_noticed() {
        let footer = DUMP.windows(FOOTER.len()).rposition(|window| window == FOOTER).unwrap();
        for end in 0..footer + FOOTER.len() {
            assert!(!scan(&DUMP[..end], 4096).1, "cut at {end}");
        }
    }

    #[test]
    fn a_footer_before_the_end_is_none() {
        let two = [DUMP, b"-- and more\n"].concat();
        assert!(!scan(&two, 4096).1);
        assert!(scan(&[DUMP, b"\n"].concat(), 4096).1);
        assert!(
            scan(b"-- Dump completed", 3).1,
            "without a date and without a newline, as --skip-dump-date may leave it"
        );
    }

    #[test]
    fn a_line_of_any_length_takes_no_memory() {
        let mut scanner = Scanner::new();
        for _ in 0..1000 {
            scanner.feed(&[b'x'; 4096]);
        }
        assert_eq!(scanner.line.len(), LINE_MAX);
        scanner.feed(b"\n-- Dump completed\n");
        assert!(scanner.finish().1);
    }
}
