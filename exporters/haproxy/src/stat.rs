//! The answer to `show stat`: CSV with a header, read by the header's names.
//!
//! HAProxy adds columns with every version and leaves some out, so a column is found by its name, may be missing, and
//! what is unknown is ignored. All fields are in one text with one list of ends: an answer of 10,000 servers is a
//! handful of allocations.

use std::collections::HashMap;

use csv_core::{ReadRecordResult, Reader};

use crate::columns::Scope;

/// Maximum bytes of a row; HAProxy's rows are around 500 bytes.
const MAX_ROW: usize = 64 * 1024;
/// HAProxy 3.4 has about 220 columns, with those of modules.
const MAX_COLUMNS: usize = 1024;
/// Three times the rows of the largest response.
const MAX_ROWS: usize = 200_000;
/// The columns after this one are counters of modules: TLS, HTTP/1, HTTP/2, QUIC.
const MODULES: &str = "-";

#[derive(Debug, Default)]
pub(crate) struct Stat {
    text: String,
    /// Where each field ends in `text`, after a 0: field `i` is `ends[i]..ends[i + 1]`.
    ends: Vec<u32>,
    columns: HashMap<Box<str>, usize>,
    /// The columns of modules, in HAProxy's order; empty unless they were requested.
    modules: Vec<(Box<str>, usize)>,
    /// The columns that every row is looked up by, without hashing.
    proxy: usize,
    name: usize,
    /// The first field of each row, by scope.
    rows: [Vec<u32>; 4],
    /// Rows that could not be read.
    pub(crate) broken: u64,
}

/// Why a text is not an answer to `show stat`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StatError {
    NoHeader,
    TooManyRows,
}

impl Stat {
    #[cfg(test)]
    pub(crate) fn parse(csv: &str) -> Result<Self, StatError> {
        let mut parser = StatParser::new(true);
        parser.feed(csv.as_bytes())?;
        parser.finish()
    }

    pub(crate) fn column(&self, name: &str) -> Option<usize> {
        self.columns.get(name).copied()
    }

    /// The counters of modules: column name and column.
    pub(crate) fn modules(&self) -> &[(Box<str>, usize)] {
        &self.modules
    }

    /// Whether the last row is one that HAProxy never ends with: after its servers, each backend has a row of its own.
    pub(crate) fn ends_early(&self) -> bool {
        let last = |scope| self.rows[scope as usize].last();
        last(Scope::Server) > [Scope::Frontend, Scope::Backend, Scope::Listener].into_iter().filter_map(last).max()
    }

    /// Whether no row could be read.
    pub(crate) fn is_empty(&self) -> bool {
        self.rows.iter().all(Vec::is_empty)
    }

    pub(crate) fn rows(&self, scope: Scope) -> impl ExactSizeIterator<Item = Row<'_>> {
        self.rows[scope as usize].iter().map(|&first| Row { stat: self, first: first as usize })
    }

    fn row_count(&self) -> usize {
        self.rows.iter().map(Vec::len).sum()
    }

    fn bytes(&self) -> usize {
        self.text.capacity() + 4 * self.ends.capacity() + 4 * self.rows.iter().map(Vec::capacity).sum::<usize>()
    }
}

/// One object: a frontend, backend, server or listener.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Row<'a> {
    stat: &'a Stat,
    first: usize,
}

impl<'a> Row<'a> {
    pub(crate) fn field(&self, column: usize) -> &'a str {
        let ends = &self.stat.ends;
        let at = |i: usize| ends.get(i).map_or(self.stat.text.len(), |&end| end as usize);
        self.stat.text.get(at(self.first + column)..at(self.first + column + 1)).unwrap_or_default()
    }

    /// Empty where HAProxy has no such column.
    pub(crate) fn get(&self, column: &str) -> &'a str {
        self.stat.column(column).map_or("", |column| self.field(column))
    }

    pub(crate) fn proxy(&self) -> &'a str {
        self.field(self.stat.proxy)
    }

    /// The server's or listener's name; `FRONTEND` and `BACKEND` for these.
    pub(crate) fn name(&self) -> &'a str {
        self.field(self.stat.name)
    }
}

pub(crate) fn number(text: &str) -> Option<f64> {
    // Most fields are 0.
    if let [digit @ b'0'..=b'9'] = text.as_bytes() {
        return Some(f64::from(digit - b'0'));
    }
    text.parse().ok().filter(|value: &f64| value.is_finite())
}

/// Reads the CSV in parts, as they arrive.
pub(crate) struct StatParser {
    reader: Reader,
    /// The row in the making.
    row: Record,
    /// It is longer or wider than any of HAProxy's: the rest of it is skipped.
    oversized: bool,
    layout: Option<Layout>,
    with_modules: bool,
    stat: Stat,
}

/// What the header says.
struct Layout {
    /// Columns in a row.
    width: usize,
    /// Columns that are kept.
    kept: usize,
    scope: Option<usize>,
}

impl StatParser {
    pub(crate) fn new(with_modules: bool) -> Self {
        Self {
            reader: Reader::new(),
            row: Record { text: vec![0; MAX_ROW], ends: vec![0; MAX_COLUMNS], text_len: 0, fields: 0 },
            oversized: false,
            layout: None,
            with_modules,
            stat: Stat { ends: vec![0], ..Stat::default() },
        }
    }

    pub(crate) fn bytes(&self) -> usize {
        self.row.text.len() + 8 * self.row.ends.len() + self.stat.bytes()
    }

    pub(crate) fn feed(&mut self, part: &[u8]) -> Result<(), StatError> {
        // For csv_core, an empty part is the end.
        if part.is_empty() { Ok(()) } else { self.read(part) }
    }

    pub(crate) fn finish(mut self) -> Result<Stat, StatError> {
        self.read(&[])?;
        if self.layout.is_none() { Err(StatError::NoHeader) } else { Ok(self.stat) }
    }

    fn read(&mut self, mut part: &[u8]) -> Result<(), StatError> {
        loop {
            let row = &mut self.row;
            let (result, read, written, ended) =
                self.reader.read_record(part, &mut row.text[row.text_len..], &mut row.ends[row.fields..]);
            part = &part[read..];
            (row.text_len, row.fields) = (row.text_len + written, row.fields + ended);
            match result {
                ReadRecordResult::InputEmpty | ReadRecordResult::End => return Ok(()),
                ReadRecordResult::OutputFull | ReadRecordResult::OutputEndsFull => {
                    (row.text_len, row.fields, self.oversized) = (0, 0, true);
                }
                ReadRecordResult::Record => {
                    self.end_of_row()?;
                    (self.row.text_len, self.row.fields, self.oversized) = (0, 0, false);
                }
            }
        }
    }

    fn end_of_row(&mut self) -> Result<(), StatError> {
        let Some(layout) = &self.layout else {
            self.layout = Some(if self.oversized { None } else { self.header() }.ok_or(StatError::NoHeader)?);
            return Ok(());
        };
        let stat = &mut self.stat;
        if stat.row_count() + stat.broken as usize >= MAX_ROWS {
            return Err(StatError::TooManyRows);
        }
        let scope = if self.oversized { None } else { self.row.scope(layout, stat.proxy, stat.name) };
        match scope {
            Some(scope) => self.row.append_to(stat, scope, layout.kept),
            None => stat.broken += 1,
        }
        Ok(())
    }

    fn header(&mut self) -> Option<Layout> {
        let mut names: Vec<&str> =
            (0..self.row.fields).map(|i| std::str::from_utf8(self.row.field(i)).unwrap_or_default()).collect();
        // The header ends in a comma, and so does each row.
        if names.last() == Some(&"") {
            names.pop();
        }
        let first = names.first_mut()?;
        *first = first.trim_start_matches(['#', ' ']);
        let width = names.len();
        let modules = names.iter().position(|name| *name == MODULES).unwrap_or(width);
        let stat = &mut self.stat;
        stat.columns = names[..modules].iter().enumerate().map(|(i, &name)| (name.into(), i)).collect();
        if self.with_modules {
            stat.modules = (modules + 1..width).map(|i| (names[i].into(), i)).collect();
        }
        (stat.proxy, stat.name) = (stat.column("pxname")?, stat.column("svname")?);
        let kept = if self.with_modules { width } else { modules };
        Some(Layout { width, kept, scope: stat.column("type") })
    }
}

/// A record of the CSV, in buffers that the next one will use.
struct Record {
    text: Vec<u8>,
    ends: Vec<usize>,
    text_len: usize,
    fields: usize,
}

impl Record {
    fn field(&self, i: usize) -> &[u8] {
        let start = if i == 0 { 0 } else { self.ends[i - 1] };
        self.text.get(start..self.ends[i]).unwrap_or_default()
    }

    /// What the row is about; `None` if it is torn or of a kind that is not known.
    fn scope(&self, layout: &Layout, proxy: usize, name: usize) -> Option<Scope> {
        let torn = self.fields < layout.width || (layout.width..self.fields).any(|extra| !self.field(extra).is_empty());
        if torn || self.field(proxy).is_empty() || self.field(name).is_empty() {
            return None;
        }
        match layout.scope.map(|column| self.field(column)) {
            Some(b"0") => Some(Scope::Frontend),
            Some(b"1") => Some(Scope::Backend),
            Some(b"2") => Some(Scope::Server),
            Some(b"3") => Some(Scope::Listener),
            Some(_) => None,
            // Before HAProxy 1.4 there was no such column.
            None => Some(match self.field(name) {
                b"FRONTEND" => Scope::Frontend,
                b"BACKEND" => Scope::Backend,
                _ => Scope::Server,
            }),
        }
    }

    fn append_to(&self, stat: &mut Stat, scope: Scope, kept: usize) {
        // Bounded, as the response is: all offsets are far below 4 GiB.
        stat.rows[scope as usize].push(stat.ends.len() as u32 - 1);
        let base = stat.text.len();
        match std::str::from_utf8(&self.text[..self.ends[kept - 1]]) {
            Ok(text) => {
                stat.text.push_str(text);
                stat.ends.extend(self.ends[..kept].iter().map(|end| (base + end) as u32));
            }
            // A name in another encoding.
            Err(_) => {
                for field in 0..kept {
                    stat.text.push_str(&String::from_utf8_lossy(self.field(field)));
                    stat.ends.push(stat.text.len() as u32);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(stat: &Stat, scope: Scope) -> Vec<String> {
        stat.rows(scope).map(|row| format!("{}/{}", row.proxy(), row.name())).collect()
    }

    #[test]
    fn rows_by_scope_and_fields_by_name() {
        let stat = Stat::parse(
            "# pxname,svname,scur,status,type,new_one,\n\
             fe,FRONTEND,1,OPEN,0,x,\n\
             be,one,2,UP,2,x,\n\
             be,BACKEND,,UP,1,x,\n\
             fe,sock-1,4,OPEN,3,x,\n\n",
        )
        .unwrap();
        assert_eq!(names(&stat, Scope::Server), ["be/one"]);
        assert_eq!(names(&stat, Scope::Listener), ["fe/sock-1"]);
        let backend = stat.rows(Scope::Backend).next().unwrap();
        assert_eq!((backend.get("status"), backend.get("scur"), backend.get("missing")), ("UP", "", ""));
        assert_eq!(stat.rows(Scope::Frontend).next().unwrap().get("scur"), "1");
        assert_eq!(stat.broken, 0);
    }

    #[test]
    fn quotes_commas_and_line_feeds_in_fields() {
        let stat =
            Stat::parse("# pxname,svname,last_chk,type,\nbe,\"a,\"\"b\"\"\",\"two\nlines\",2,\nbe,c,,2,\n").unwrap();
        assert_eq!(names(&stat, Scope::Server), ["be/a,\"b\"", "be/c"]);
        assert_eq!(stat.rows(Scope::Server).next().unwrap().get("last_chk"), "two\nlines");
    }

    #[test]
    fn broken_rows_are_counted_and_cost_no_other() {
        let long = "x".repeat(MAX_ROW + 1);
        let wide = ",".repeat(MAX_COLUMNS + 1);
        let csv = format!(
            "# pxname,svname,scur,type,\nbe,ok1,1,2,\nbe,torn\nbe,shifted,1,2,3,4,\n,noproxy,1,2,\nbe,kind,1,9,\n\
             be,{long},1,2,\nbe{wide}\nbe,ok2,1,2,\nbe,cut,1"
        );
        let stat = Stat::parse(&csv).unwrap();
        assert_eq!(names(&stat, Scope::Server), ["be/ok1", "be/ok2"]);
        assert_eq!(stat.broken, 7);
    }

    #[test]
    fn rows_without_a_type_go_by_their_name() {
        let stat = Stat::parse("# pxname,svname,scur\na,FRONTEND,1\na,one,1\na,BACKEND,1\n").unwrap();
        assert_eq!(names(&stat, Scope::Server), ["a/one"]);
        assert_eq!(names(&stat, Scope::Backend), ["a/BACKEND"]);
    }

    #[test]
    fn text_that_is_not_haproxys_csv() {
        for text in ["", "\n\n", "<html>\n", "Unknown command\n", "a,b,c\n1,2,3\n", "\u{0}\u{1}"] {
            assert_eq!(Stat::parse(text).unwrap_err(), StatError::NoHeader, "{text:?}");
        }
        assert!(Stat::parse(&",".repeat(MAX_COLUMNS * 2)).is_err());
    }

    #[test]
    fn columns_of_modules_are_kept_on_request() {
        let csv = "# pxname,svname,type,-,ssl_sess,h2_x,\nfe,FRONTEND,0,-,7,8,\nbe,one,2,-,,9,\n";
        let stat = Stat::parse(csv).unwrap();
        let names: Vec<_> = stat.modules().iter().map(|(name, column)| (&**name, *column)).collect();
        assert_eq!(names, [("ssl_sess", 4), ("h2_x", 5)]);
        assert_eq!(stat.rows(Scope::Server).next().unwrap().field(5), "9");
        assert_eq!(stat.column("ssl_sess"), None);

        let mut parser = StatParser::new(false);
        parser.feed(csv.as_bytes()).unwrap();
        let stat = parser.finish().unwrap();
        assert!(stat.modules().is_empty() && stat.text == "feFRONTEND0beone2", "{}", stat.text);
    }

    #[test]
    fn servers_without_the_row_of_their_backend_are_not_all() {
        let ends_early = |rows: &str| Stat::parse(&format!("# pxname,svname,type,\n{rows}")).unwrap().ends_early();
        assert!(ends_early("fe,FRONTEND,0,\nbe,one,2,\n") && ends_early("be,one,2,\n"));
        assert!(!ends_early("be,one,2,\nbe,BACKEND,1,\n") && !ends_early("be,BACKEND,1,\nfe,sock,3,\n"));
        assert!(!ends_early(""));
    }

    #[test]
    fn the_number_of_rows_is_bounded() {
        let row = "be,one,2,\n";
        let csv = |rows| format!("# pxname,svname,type,\n{}", row.repeat(rows));
        assert!(Stat::parse(&csv(MAX_ROWS)).is_ok());
        assert_eq!(Stat::parse(&csv(MAX_ROWS + 1)).unwrap_err(), StatError::TooManyRows);
        assert_eq!(
            Stat::parse(&format!("# pxname,svname,type,\n{}", "x\n".repeat(MAX_ROWS + 1))).unwrap_err(),
            StatError::TooManyRows
        );
    }

    #[test]
    fn names_in_another_encoding_cost_no_other_field() {
        let mut parser = StatParser::new(false);
        parser.feed(b"# pxname,svname,scur,type,\nbe,caf\xe9,7,2,\n").unwrap();
        let stat = parser.finish().unwrap();
        assert_eq!(names(&stat, Scope::Server), ["be/caf\u{fffd}"]);
        assert_eq!(stat.rows(Scope::Server).next().unwrap().get("scur"), "7");
    }

    #[test]
    fn one_quote_without_its_end_makes_the_rest_unreadable() {
        let stat = Stat::parse("# pxname,svname,type,\nbe,\"one,2,\nbe,two,2,\nbe,BACKEND,1,\n\n").unwrap();
        assert!(stat.is_empty() && stat.broken == 1);
    }

    #[test]
    fn numbers() {
        assert_eq!((number("0"), number("7"), number("42")), (Some(0.0), Some(7.0), Some(42.0)));
        assert_eq!(number("-1"), Some(-1.0));
        assert_eq!(number("18446744073709551615"), Some(18446744073709551615.0));
        for text in ["", "inf", "NaN", "1 2", "x"] {
            assert_eq!(number(text), None, "{text}");
        }
    }
}
