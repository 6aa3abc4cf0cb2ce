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
/// HAProxy 3.4 has about 150 columns.
const MAX_COLUMNS: usize = 1024;

#[derive(Debug, Default)]
pub(crate) struct Stat {
    text: String,
    /// Where each field ends in `text`, after a 0: field `i` is `ends[i]..ends[i + 1]`.
    ends: Vec<u32>,
    columns: HashMap<String, usize>,
    /// The columns that every row is looked up by, without hashing.
    proxy: usize,
    name: usize,
    /// The first field of each row, by scope.
    rows: [Vec<usize>; 4],
    /// Rows that could not be read.
    pub(crate) broken: u64,
}

/// Why a text isn't an answer to `show stat`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NoHeader;

impl Stat {
    pub(crate) fn parse(csv: &str) -> Result<Self, NoHeader> {
        let mut records = Records::new(csv.as_bytes());
        let Some(Ok(header)) = records.next() else { return Err(NoHeader) };
        let mut names: Vec<&str> = header.fields().collect();
        // The header ends in a comma, and so does each row.
        if names.last() == Some(&"") {
            names.pop();
        }
        let Some(first) = names.first_mut() else { return Err(NoHeader) };
        *first = first.trim_start_matches(['#', ' ']);
        let columns: HashMap<String, usize> = names.iter().enumerate().map(|(i, &name)| (name.to_owned(), i)).collect();
        let (Some(&proxy), Some(&name)) = (columns.get("pxname"), columns.get("svname")) else { return Err(NoHeader) };
        let scope = columns.get("type").copied();
        let width = names.len();

        let mut stat = Self { ends: vec![0], columns, proxy, name, ..Self::default() };
        while let Some(record) = records.next() {
            match record.ok().and_then(|record| Some((record.scope(width, proxy, name, scope)?, record))) {
                Some((scope, record)) => stat.add(scope, &record, width),
                None => stat.broken += 1,
            }
        }
        Ok(stat)
    }

    fn add(&mut self, scope: Scope, record: &Record<'_>, width: usize) {
        self.rows[scope as usize].push(self.ends.len() - 1);
        for field in record.fields().take(width) {
            self.text.push_str(field);
            // The answer's size is bounded far below 4 GiB.
            self.ends.push(self.text.len() as u32);
        }
    }

    pub(crate) fn column(&self, name: &str) -> Option<usize> {
        self.columns.get(name).copied()
    }

    /// Whether no row could be read.
    pub(crate) fn is_empty(&self) -> bool {
        self.rows.iter().all(Vec::is_empty)
    }

    pub(crate) fn rows(&self, scope: Scope) -> impl Iterator<Item = Row<'_>> {
        self.rows[scope as usize].iter().map(|&first| Row { stat: self, first })
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
    text.parse().ok().filter(|value: &f64| value.is_finite())
}

/// A record of the CSV, in the buffers that the next one will use.
struct Record<'a> {
    text: &'a str,
    ends: &'a [usize],
}

impl<'a> Record<'a> {
    fn fields(&self) -> impl Iterator<Item = &'a str> {
        let (text, ends) = (self.text, self.ends);
        (0..ends.len()).map(move |i| {
            let start = if i == 0 { 0 } else { ends[i - 1] };
            text.get(start..ends[i]).unwrap_or_default()
        })
    }

    /// What the row is about; `None` if it is torn or of a kind that isn't known.
    fn scope(&self, width: usize, proxy: usize, name: usize, scope: Option<usize>) -> Option<Scope> {
        let field = |i: usize| self.fields().nth(i).unwrap_or_default();
        let torn = self.ends.len() < width || self.fields().skip(width).any(|extra| !extra.is_empty());
        if torn || field(proxy).is_empty() || field(name).is_empty() {
            return None;
        }
        match scope.map(field) {
            Some("0") => Some(Scope::Frontend),
            Some("1") => Some(Scope::Backend),
            Some("2") => Some(Scope::Server),
            Some("3") => Some(Scope::Listener),
            Some(_) => None,
            // Before HAProxy 1.4 there was no such column.
            None => Some(match field(name) {
                "FRONTEND" => Scope::Frontend,
                "BACKEND" => Scope::Backend,
                _ => Scope::Server,
            }),
        }
    }
}

struct Records<'a> {
    reader: Reader,
    input: &'a [u8],
    text: Vec<u8>,
    ends: Vec<usize>,
}

/// A row that is longer or wider than any of HAProxy's.
struct Oversized;

impl<'a> Records<'a> {
    fn new(input: &'a [u8]) -> Self {
        Self { reader: Reader::new(), input, text: vec![0; MAX_ROW], ends: vec![0; MAX_COLUMNS] }
    }

    fn next(&mut self) -> Option<Result<Record<'_>, Oversized>> {
        let (mut text_len, mut ends_len, mut oversized) = (0, 0, false);
        loop {
            let (result, read, written, ended) =
                self.reader.read_record(self.input, &mut self.text[text_len..], &mut self.ends[ends_len..]);
            self.input = &self.input[read..];
            (text_len, ends_len) = (text_len + written, ends_len + ended);
            match result {
                // Reading on with an empty input ends the last record.
                ReadRecordResult::InputEmpty => {}
                ReadRecordResult::OutputFull | ReadRecordResult::OutputEndsFull => {
                    // The rest of the row is read over.
                    (text_len, ends_len, oversized) = (0, 0, true);
                }
                ReadRecordResult::Record if oversized => return Some(Err(Oversized)),
                ReadRecordResult::Record => break,
                ReadRecordResult::End => return None,
            }
        }
        // The input is valid UTF-8 and is cut at ASCII characters only.
        let text = std::str::from_utf8(&self.text[..text_len]).unwrap_or_default();
        Some(Ok(Record { text, ends: &self.ends[..ends_len] }))
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
            assert!(Stat::parse(text).is_err(), "{text:?}");
        }
        assert!(Stat::parse(&",".repeat(MAX_COLUMNS * 2)).is_err());
    }

    #[test]
    fn numbers() {
        assert_eq!(number("-1"), Some(-1.0));
        assert_eq!(number("18446744073709551615"), Some(18446744073709551615.0));
        for text in ["", "inf", "NaN", "1 2", "x"] {
            assert_eq!(number(text), None, "{text}");
        }
    }
}
