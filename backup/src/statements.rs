//! Splits a dump into statements as the servers' own clients would, with bounded memory.
//!
//! It follows strings, quoted names, comments and `DELIMITER`, so that nothing in row data or in the body of a routine
//! is taken for the end of a statement. Rows are most of a dump: inside `VALUES` only quotes, parentheses and the
//! semicolon matter, and `memchr` finds them.

use memchr::{memchr, memchr2, memchr3};

/// What is kept of the buffer's memory after a long statement.
const IDLE_CAPACITY: usize = 4 << 20;
/// The bit of it in the number of a sql_mode.
const NO_BACKSLASH_ESCAPES: u64 = 1 << 20;

/// A part of a dump.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Item<'a> {
    /// A line between statements that begins with `--` or `#`, without its end.
    Comment(&'a [u8]),
    Statement(Statement<'a>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Statement<'a> {
    /// Without the delimiter. Only the start if `len` is more than the splitter keeps.
    pub(crate) text: &'a [u8],
    pub(crate) len: u64,
    /// Of an INSERT.
    pub(crate) rows: u64,
    /// Whether it is between `DELIMITER ;;` and `DELIMITER ;`, as bodies of triggers, routines and events are.
    pub(crate) in_body: bool,
}

impl Statement<'_> {
    pub(crate) fn is_whole(&self) -> bool {
        usize::try_from(self.len) == Ok(self.text.len())
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum State {
    /// Between statements, where a comment or `DELIMITER` can begin.
    Start,
    Comment,
    Code,
    /// In a string or a name; the quote that ends it.
    Quoted(u8),
    LineComment,
    /// After `/*`, before it is clear whether it is code (`/*!50003`).
    CommentStart,
    /// After `/*M`.
    MariaDbCommentStart,
    BlockComment,
    /// In `$tag$ … $tag$`; where its tag begins in the text.
    Dollar(Vec<u8>),
}

/// What ends a statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Delimiter {
    Semicolon,
    /// Around bodies in a dump: `;;`.
    Double,
    /// In what is printed of a binary log: `/*!*/;`.
    Binlog,
}

impl Delimiter {
    fn of(line: &[u8]) -> Self {
        match line {
            b";" => Self::Semicolon,
            b"/*!*/;" => Self::Binlog,
            _ => Self::Double,
        }
    }

    fn text(self) -> &'static [u8] {
        match self {
            Self::Semicolon => b";",
            Self::Double => b";;",
            Self::Binlog => b"/*!*/;",
        }
    }
}

pub(crate) struct Splitter {
    keep: usize,
    text: Vec<u8>,
    len: u64,
    rows: u64,
    state: State,
    /// After a backslash in a string.
    escaped: bool,
    /// In the rows of an INSERT.
    in_values: bool,
    /// The last two bytes of code, and the last that is not white space.
    last: [u8; 2],
    last_visible: u8,
    delimiter: Delimiter,
    backslash_escapes: bool,
    dollar_quotes: bool,
    /// The text from here on may be the tag of a dollar quote.
    dollar: Option<usize>,
}

impl Splitter {
    /// Keeps up to this many bytes of a statement.
    pub(crate) fn new(keep: usize) -> Self {
        Self {
            keep,
            text: Vec::new(),
            len: 0,
            rows: 0,
            state: State::Start,
            escaped: false,
            in_values: false,
            last: [0; 2],
            last_visible: 0,
            delimiter: Delimiter::Semicolon,
            backslash_escapes: true,
            dollar_quotes: false,
            dollar: None,
        }
    }

    /// For what is printed of a MySQL server's binary log; in a dump, the first line says it.
    pub(crate) fn with_dollar_quotes(self) -> Self {
        Self { dollar_quotes: true, ..self }
    }

    pub(crate) fn feed<E>(
        &mut self,
        mut chunk: &[u8],
        mut sink: impl FnMut(Item<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        while let Some((&byte, rest)) = chunk.split_first() {
            if self.in_values {
                let run = self.rows_run(chunk);
                if run > 0 {
                    self.keep(&chunk[..run]);
                    chunk = &chunk[run..];
                    continue;
                }
            } else if self.state == State::Comment {
                let end = memchr(b'\n', chunk).unwrap_or(chunk.len());
                self.keep(&chunk[..end]);
                chunk = &chunk[end..];
                if !chunk.is_empty() {
                    chunk = &chunk[1..];
                    self.end_comment(&mut sink)?;
                }
                continue;
            }
            chunk = rest;
            if self.state == State::Start {
                self.start(byte, &mut sink)?;
            } else {
                self.step(byte, &mut sink)?;
            }
        }
        Ok(())
    }

    /// Ends the input. Returns whether it ended between two statements.
    pub(crate) fn finish<E>(mut self, mut sink: impl FnMut(Item<'_>) -> Result<(), E>) -> Result<bool, E> {
        match self.state {
            State::Comment => self.end_comment(&mut sink)?,
            State::Start if self.text.starts_with(b"--") => self.end_comment(&mut sink)?,
            _ => {}
        }
        Ok(self.state == State::Start && self.text.is_empty())
    }

    /// Follows the rows of an INSERT up to its end or the end of the chunk. Returns how far.
    fn rows_run(&mut self, chunk: &[u8]) -> usize {
        let mut at = 0;
        let mut quoted = matches!(self.state, State::Quoted(_));
        while at < chunk.len() {
            if std::mem::take(&mut self.escaped) {
                at += 1;
                continue;
            }
            let rest = &chunk[at..];
            let found = if quoted { memchr2(b'\'', b'\\', rest) } else { memchr3(b'\'', b'(', b';', rest) };
            let Some(run) = found else {
                at = chunk.len();
                break;
            };
            at += run;
            match chunk[at] {
                b';' => break,
                b'\\' => self.escaped = true,
                b'(' => self.rows += 1,
                _ => quoted = !quoted,
            }
            at += 1;
        }
        self.state = if quoted { State::Quoted(b'\'') } else { State::Code };
        at
    }

    fn keep(&mut self, bytes: &[u8]) {
        let room = self.keep.saturating_sub(self.text.len());
        self.text.extend_from_slice(&bytes[..bytes.len().min(room)]);
        self.len += bytes.len() as u64;
    }

    fn reset(&mut self) {
        self.text.clear();
        self.text.shrink_to(IDLE_CAPACITY);
        (self.len, self.rows, self.state) = (0, 0, State::Start);
        (self.escaped, self.in_values, self.last, self.last_visible, self.dollar) = (false, false, [0; 2], 0, None);
    }

    /// Gathers the first bytes until they can't be a comment or a DELIMITER line any more.
    fn start<E>(&mut self, byte: u8, sink: &mut impl FnMut(Item<'_>) -> Result<(), E>) -> Result<(), E> {
        const DELIMITER: &[u8] = b"DELIMITER ";
        if self.text.is_empty() && byte.is_ascii_whitespace() {
            return Ok(());
        }
        if byte == b'\n' && self.text.starts_with(DELIMITER) {
            self.delimiter = Delimiter::of(self.text[DELIMITER.len()..].trim_ascii());
            self.reset();
            return Ok(());
        }
        self.keep(&[byte]);
        match &*self.text {
            [b'-'] | [b'-', b'-'] => {}
            [b'-', b'-', b'\n'] => {
                self.text.pop();
                self.end_comment(sink)?;
            }
            [b'-', b'-', third, ..] if third.is_ascii_whitespace() => self.state = State::Comment,
            [b'#'] => self.state = State::Comment,
            text if DELIMITER.starts_with(text) || text.starts_with(DELIMITER) => {}
            _ => {
                let begun = std::mem::take(&mut self.text);
                (self.state, self.len) = (State::Code, 0);
                for byte in begun {
                    self.step(byte, sink)?;
                }
            }
        }
        Ok(())
    }

    fn end_comment<E>(&mut self, sink: &mut impl FnMut(Item<'_>) -> Result<(), E>) -> Result<(), E> {
        if self.text.starts_with(b"-- MySQL dump") {
            self.dollar_quotes = true;
        }
        let result = sink(Item::Comment(&self.text));
        self.reset();
        result
    }

    fn step<E>(&mut self, byte: u8, sink: &mut impl FnMut(Item<'_>) -> Result<(), E>) -> Result<(), E> {
        self.keep(&[byte]);
        let [before, previous] = self.last;
        self.last = [previous, byte];
        match &self.state {
            // Handled by the callers.
            State::Start | State::Comment => {}
            State::Quoted(quote) => {
                if self.escaped {
                    self.escaped = false;
                } else if byte == b'\\' && *quote != b'`' && self.backslash_escapes {
                    self.escaped = true;
                } else if byte == *quote {
                    self.state = State::Code;
                    self.last_visible = byte;
                }
            }
            State::LineComment => {
                if byte == b'\n' {
                    self.state = State::Code;
                }
            }
            State::CommentStart => {
                self.state = match byte {
                    b'!' | b'+' => State::Code,
                    b'M' => State::MariaDbCommentStart,
                    _ => State::BlockComment,
                };
            }
            State::MariaDbCommentStart => {
                self.state = if byte == b'!' { State::Code } else { State::BlockComment };
            }
            State::BlockComment => {
                if previous == b'*' && byte == b'/' {
                    self.state = State::Code;
                    self.last = [0; 2];
                }
            }
            State::Dollar(tag) => {
                if byte == b'$' && self.text.ends_with(tag) {
                    self.state = State::Code;
                    self.last = [0; 2];
                }
            }
            State::Code => {
                match byte {
                    b'\'' | b'"' | b'`' => self.state = State::Quoted(byte),
                    b'#' => self.state = State::LineComment,
                    b'*' if previous == b'/' => self.state = State::CommentStart,
                    // In a binary log the rows are the application's text, not a dump client's.
                    b'(' if self.delimiter != Delimiter::Binlog && self.is_insert() => {
                        self.in_values |= self.last_visible.eq_ignore_ascii_case(&b's');
                        self.rows += u64::from(self.in_values);
                    }
                    b';' if self.is_at_delimiter(previous) => return self.end_statement(sink),
                    _ if byte.is_ascii_whitespace() && [before, previous] == *b"--" => {
                        self.state = if byte == b'\n' { State::Code } else { State::LineComment };
                    }
                    _ => {}
                }
                if self.dollar_quotes {
                    self.follow_dollar(byte, previous);
                }
                if !byte.is_ascii_whitespace() {
                    self.last_visible = byte;
                }
            }
        }
        Ok(())
    }

    /// MySQL's bodies in other languages: `AS $$ … $$` or `$tag$ … $tag$`.
    fn follow_dollar(&mut self, byte: u8, previous: u8) {
        let is_name = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte >= 0x80;
        match self.dollar {
            Some(start) if byte == b'$' => {
                self.state = State::Dollar(self.text.get(start..).unwrap_or_default().to_vec());
                self.dollar = None;
            }
            Some(_) if is_name(byte) => {}
            Some(_) => self.dollar = None,
            None if byte == b'$'
                && self.delimiter != Delimiter::Semicolon
                && !is_name(previous)
                && previous != b'$' =>
            {
                self.dollar = Some(self.text.len() - 1);
            }
            None => {}
        }
    }

    /// After a semicolon.
    fn is_at_delimiter(&self, previous: u8) -> bool {
        match self.delimiter {
            Delimiter::Semicolon => true,
            Delimiter::Double => previous == b';',
            Delimiter::Binlog => self.text.ends_with(Delimiter::Binlog.text()),
        }
    }

    fn is_insert(&self) -> bool {
        self.text.starts_with(b"INSERT ") || self.text.starts_with(b"REPLACE ")
    }

    fn end_statement<E>(&mut self, sink: &mut impl FnMut(Item<'_>) -> Result<(), E>) -> Result<(), E> {
        let len = self.len - self.delimiter.text().len() as u64;
        let kept = self.text.len().min(usize::try_from(len).unwrap_or(usize::MAX));
        let text = &self.text[..kept];
        // The clients learn it from the server; a dump sets the mode before each body.
        if !self.in_values && text.starts_with(b"/*!50003 SET sql_mode ") {
            let mode = String::from_utf8_lossy(text);
            self.backslash_escapes = !mode.contains("NO_BACKSLASH_ESCAPES");
        } else if let Some(mode) = text.strip_prefix(b"SET @@session.sql_mode=") {
            let bits = str::from_utf8(mode).ok().and_then(|mode| mode.trim().parse::<u64>().ok());
            self.backslash_escapes = bits.unwrap_or_default() & NO_BACKSLASH_ESCAPES == 0;
        }
        let statement = Statement { text, len, rows: self.rows, in_body: self.delimiter == Delimiter::Double };
        let result = sink(Item::Statement(statement));
        self.reset();
        result
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split_in(dump: &[u8], chunk: usize) -> (Vec<String>, bool) {
        let mut found = Vec::new();
        let mut sink = |item: Item<'_>| {
            found.push(match item {
                Item::Comment(text) => format!("C {}", String::from_utf8_lossy(text)),
                Item::Statement(statement) => {
                    assert!(statement.is_whole());
                    format!("{} {}", statement.rows, String::from_utf8_lossy(statement.text))
                }
            });
            Ok::<(), ()>(())
        };
        let mut splitter = Splitter::new(1 << 20);
        for part in dump.chunks(chunk) {
            splitter.feed(part, &mut sink).unwrap();
        }
        let whole = splitter.finish(&mut sink).unwrap();
        (found, whole)
    }

    fn split(dump: &str) -> Vec<String> {
        let expected = split_in(dump.as_bytes(), dump.len().max(1));
        for chunk in 1..40 {
            assert_eq!(split_in(dump.as_bytes(), chunk), expected, "chunks of {chunk}");
        }
        assert!(expected.1, "ends between two statements");
        expected.0
    }

    #[test]
    fn rows_are_counted_and_strings_hide_delimiters() {
        let dump =
            "INSERT INTO `t;(` (`a (`, `b`) VALUES\n(1,'it\\'s (here); \\\\'),\n(2,'''(;'),(-3,0xFF);\nUSE `x`;\n";
        assert_eq!(
            split(dump),
            ["3 INSERT INTO `t;(` (`a (`, `b`) VALUES\n(1,'it\\'s (here); \\\\'),\n(2,'''(;'),(-3,0xFF)", "0 USE `x`"]
        );
    }

    #[test]
    fn comments_are_items_or_part_of_a_statement() {
        let dump = "-- one; 'two\n--\n\n/*!40101 SET a='x;' */;\nSELECT 1 -- it's; not\n, 2 /* don't; */ # it's\n;-- Dump completed";
        assert_eq!(
            split(dump),
            [
                "C -- one; 'two",
                "C --",
                "0 /*!40101 SET a='x;' */",
                "0 SELECT 1 -- it's; not\n, 2 /* don't; */ # it's\n",
                "C -- Dump completed"
            ]
        );
    }

    #[test]
    fn bodies_end_at_the_long_delimiter() {
        let dump = "DELIMITER ;;\nCREATE PROCEDURE `p`() BEGIN SELECT 1; SELECT ';;'; END ;;\nDELIMITER ;;\n\
            /*!50106 CREATE*/ /*!50106 EVENT `e` DO BEGIN SELECT 'a;;\nDELIMITER ;'; END \n*/ ;;\nDELIMITER ;\nSELECT 2;\n";
        assert_eq!(
            split(dump),
            [
                "0 CREATE PROCEDURE `p`() BEGIN SELECT 1; SELECT ';;'; END ",
                "0 /*!50106 CREATE*/ /*!50106 EVENT `e` DO BEGIN SELECT 'a;;\nDELIMITER ;'; END \n*/ ",
                "0 SELECT 2"
            ]
        );
    }

    #[test]
    fn the_sql_mode_decides_about_backslashes() {
        let dump = "/*!50003 SET sql_mode              = 'NO_BACKSLASH_ESCAPES' */ ;\nDELIMITER ;;\nCREATE FUNCTION f() RETURN '\\';;\n\
            DELIMITER ;\n/*!50003 SET sql_mode              = @saved_sql_mode */ ;\nSELECT '\\';';\n";
        let found = split(dump);
        assert_eq!((&*found[1], &*found[3]), ("0 CREATE FUNCTION f() RETURN '\\'", "0 SELECT '\\';'"));
    }

    #[test]
    fn libraries_of_mysql_are_quoted_with_dollars() {
        let dump = "-- MySQL dump 10.13\nDELIMITER ;;\nCREATE LIBRARY `l` AS $$ don't;; $$ ;;\n\
            CREATE LIBRARY `m` AS $js$ it's $$;; $js$;;\nCREATE FUNCTION f() RETURN a$b$c;;\nDELIMITER ;\n";
        assert_eq!(
            split(dump)[1..],
            [
                "0 CREATE LIBRARY `l` AS $$ don't;; $$ ",
                "0 CREATE LIBRARY `m` AS $js$ it's $$;; $js$",
                "0 CREATE FUNCTION f() RETURN a$b$c"
            ]
        );
    }

    #[test]
    fn a_printed_binary_log_has_a_delimiter_of_its_own() {
        let log = "DELIMITER /*!*/;\n# at 4\n#261126 17:02:26 server id 1 \tQuery; it's\nuse `a`/*!*/;\n\
            SET @@session.sql_mode=1411383296/*!*/;\n/*!\\C utf8mb3 *//*!*/;\n\
            insert into a.t values (1,\"it's;\"), (2,'\\'/*!*/;\n')\n/*!*/;\nBINLOG '\nAb+/\n'/*!*/;\n\
            SET @@session.sql_mode=1048576/*!*/;\nSELECT '\\'/*!*/;\nDELIMITER ;\n# End\nROLLBACK /* added */;\n";
        assert_eq!(
            split(log),
            [
                "C # at 4",
                "C #261126 17:02:26 server id 1 \tQuery; it's",
                "0 use `a`",
                "0 SET @@session.sql_mode=1411383296",
                "0 /*!\\C utf8mb3 */",
                "0 insert into a.t values (1,\"it's;\"), (2,'\\'/*!*/;\n')\n",
                "0 BINLOG '\nAb+/\n'",
                "0 SET @@session.sql_mode=1048576",
                "0 SELECT '\\'",
                "C # End",
                "0 ROLLBACK /* added */",
            ]
        );
    }

    #[test]
    fn an_end_within_a_statement_is_noticed() {
        for cut in ["SELECT 1", "SELECT 'a;", "INSERT INTO `t` VALUES (1),(2", "DELIM", "/* a"] {
            assert!(!split_in(cut.as_bytes(), 3).1, "{cut}");
        }
        for whole in ["", "SELECT 1;", "SELECT 1;\n\n", "-- a"] {
            assert!(split_in(whole.as_bytes(), 3).1, "{whole}");
        }
    }

    #[test]
    fn a_long_statement_takes_bounded_memory() {
        let mut splitter = Splitter::new(1000);
        let mut lens = Vec::new();
        let mut sink = |item: Item<'_>| {
            if let Item::Statement(statement) = item {
                assert!(!statement.is_whole());
                lens.push((statement.text.len(), statement.len));
            }
            Ok::<(), ()>(())
        };
        splitter.feed(b"INSERT INTO `t` VALUES (0x", &mut sink).unwrap();
        for _ in 0..1000 {
            splitter.feed(&[b'A'; 4096], &mut sink).unwrap();
        }
        assert!(splitter.text.capacity() < 4096);
        splitter.feed(b");", &mut sink).unwrap();
        assert_eq!(lens, [(1000, 26 + 4_096_000 + 1)]);
    }
}
