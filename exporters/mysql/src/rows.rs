//! A result set: all its cells in one buffer.

use std::ops::Range;

use exporter_toolkit::memory::{self, Exhausted, Reservation};

/// Maximum size of an answer. The largest expected one, information_schema.tables with 20,000 tables, has 4 MB.
pub(crate) const MAX_BYTES: usize = 32 << 20;

/// The rows of one result set. A cell needs eight bytes and its text, but no allocation.
#[derive(Debug)]
pub(crate) struct Rows {
    memory: Reservation,
    columns: Vec<String>,
    text: String,
    /// The end of each cell's text, and whether the cell is NULL; row by row.
    cells: Vec<Cell>,
    /// The server omitted tables that others had locked.
    pub(crate) skipped_locked: bool,
}

#[derive(Clone, Copy, Debug)]
struct Cell {
    end: u32,
    null: bool,
}

/// Why not all rows are there.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum TooLarge {
    /// More than [`MAX_BYTES`].
    Answer,
    /// More than the memory that is left for the scrape.
    Memory(Exhausted),
}

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("incomplete: only the first {0} rows were read, and there may be more")]
pub(crate) struct Cut(usize);

impl Default for Rows {
    fn default() -> Self {
        Self::new([])
    }
}

impl Rows {
    pub(crate) fn new(columns: impl IntoIterator<Item = String>) -> Self {
        let columns = columns.into_iter().collect();
        Self { memory: memory::reservation(), columns, text: String::new(), cells: Vec::new(), skipped_locked: false }
    }

    /// Rows of names and values, as in the answers to `SHOW` statements.
    #[cfg(test)]
    pub(crate) fn pairs(pairs: &[(&str, &str)]) -> Self {
        let mut rows = Self::new(["Variable_name", "Value"].map(str::to_owned));
        for (name, value) in pairs {
            rows.push([Some(name.as_bytes()), Some(value.as_bytes())].into_iter()).unwrap();
        }
        rows
    }

    /// Adds a row. Missing cells become NULL, surplus cells are ignored, and invalid UTF-8 is replaced.
    pub(crate) fn push<'a>(&mut self, mut cells: impl Iterator<Item = Option<&'a [u8]>>) -> Result<(), TooLarge> {
        for _ in 0..self.columns.len() {
            let cell = cells.next().flatten();
            if let Some(bytes) = cell {
                match std::str::from_utf8(bytes) {
                    Ok(text) => self.text.push_str(text),
                    Err(_) => self.text.push_str(&String::from_utf8_lossy(bytes)),
                }
            }
            let used = self.text.len() + self.cells.len() * size_of::<Cell>();
            let end = u32::try_from(self.text.len()).ok().filter(|_| used <= MAX_BYTES).ok_or(TooLarge::Answer)?;
            self.cells.push(Cell { end, null: cell.is_none() });
        }
        let used = self.text.len() + self.cells.len() * size_of::<Cell>();
        self.memory.grow_to(used).map_err(TooLarge::Memory)
    }

    pub(crate) fn columns(&self) -> impl Iterator<Item = &str> {
        self.columns.iter().map(String::as_str)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.cells.is_empty()
    }

    pub(crate) fn len(&self) -> usize {
        self.cells.len().checked_div(self.columns.len()).unwrap_or(0)
    }

    /// An error for an answer of as many rows as its statement allows: there may be more, which nobody would miss.
    pub(crate) fn require_all(&self, limit: usize) -> Result<(), Cut> {
        if self.len() < limit { Ok(()) } else { Err(Cut(limit)) }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = Row<'_>> {
        let width = self.columns.len();
        (0..self.len()).map(move |row| Row { rows: self, first: row * width })
    }

    /// Names and values: the first two columns.
    pub(crate) fn iter_pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        self.iter().filter_map(|row| Some((row.get(0)?, row.get(1)?)))
    }

    /// The value of a variable; names are case-insensitive.
    pub(crate) fn lookup(&self, name: &str) -> Option<&str> {
        let mut start = 0;
        for (index, row) in self.cells.chunks_exact(self.columns.len().max(1)).enumerate() {
            let end = row.first()?.end as usize;
            // About twenty lookups per scrape in a thousand rows: most names differ in length, which is cheap to
            // compare.
            if end - start == name.len() && self.text.get(start..end)?.eq_ignore_ascii_case(name) {
                return Row { rows: self, first: index * row.len() }.get(1);
            }
            start = row.last()?.end as usize;
        }
        None
    }

    pub(crate) fn lookup_number(&self, name: &str) -> Option<f64> {
        self.lookup(name)?.parse().ok()
    }
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Row<'a> {
    rows: &'a Rows,
    first: usize,
}

impl<'a> Row<'a> {
    /// The cell of a column; `None` is NULL.
    pub(crate) fn get(&self, column: usize) -> Option<&'a str> {
        if column >= self.rows.columns.len() {
            return None;
        }
        let index = self.first + column;
        self.rows.cells.get(index).filter(|cell| !cell.null)?;
        self.rows.text.get(self.range(index))
    }

    /// The position of a cell's text.
    fn range(&self, index: usize) -> Range<usize> {
        let end = |index: usize| self.rows.cells.get(index).map_or(0, |cell| cell.end as usize);
        index.checked_sub(1).map_or(0, end)..end(index)
    }

    pub(crate) fn number(&self, column: usize) -> Option<f64> {
        self.get(column)?.trim().parse().ok()
    }

    /// Names of columns and cells that aren't NULL.
    pub(crate) fn cells(self) -> impl Iterator<Item = (&'a str, &'a str)> {
        self.rows
            .columns
            .iter()
            .enumerate()
            .filter_map(move |(index, column)| Some((column.as_str(), self.get(index)?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_found_by_row_and_column() {
        let mut rows = Rows::new(["a", "b", "c"].map(str::to_owned));
        rows.push([Some(b"1".as_slice()), None, Some(b"")].into_iter()).unwrap();
        rows.push([None, Some(b"x\xffy".as_slice()), None].into_iter()).unwrap();
        rows.push([Some(b"too".as_slice()), Some(b"many"), Some(b"cells"), Some(b"here")].into_iter()).unwrap();
        rows.push([Some(b"few".as_slice())].into_iter()).unwrap();
        let cells: Vec<Vec<_>> = rows.iter().map(|row| (0..4).map(|column| row.get(column)).collect()).collect();
        assert_eq!(
            cells,
            [
                [Some("1"), None, Some(""), None],
                [None, Some("x\u{fffd}y"), None, None],
                [Some("too"), Some("many"), Some("cells"), None],
                [Some("few"), None, None, None],
            ]
        );
        assert_eq!(rows.iter().next().unwrap().cells().collect::<Vec<_>>(), [("a", "1"), ("c", "")]);
    }

    #[test]
    fn an_answer_without_columns_has_no_rows() {
        let mut rows = Rows::new([]);
        rows.push([Some(b"1".as_slice())].into_iter()).unwrap();
        assert!(rows.is_empty());
        assert_eq!(rows.iter().count(), 0);
    }

    #[test]
    fn lookup_ignores_case() {
        let rows = Rows::pairs(&[("Threads_connected", "3"), ("Uptime", "x")]);
        assert_eq!(rows.lookup_number("threads_connected"), Some(3.0));
        assert_eq!(rows.lookup_number("uptime"), None);
        assert_eq!(rows.lookup("missing"), None);
    }

    #[test]
    fn an_answer_has_a_maximum_size() {
        let mut rows = Rows::new(["a".to_owned()]);
        let large = vec![b'x'; MAX_BYTES / 2];
        rows.push([Some(large.as_slice())].into_iter()).unwrap();
        let pairs = Rows::pairs(&[("a", "1"), ("b", "2")]);
        assert_eq!((pairs.require_all(3), pairs.require_all(2)), (Ok(()), Err(Cut(2))));
        assert_eq!(rows.push([Some(large.as_slice())].into_iter()), Err(TooLarge::Answer));
    }
}
