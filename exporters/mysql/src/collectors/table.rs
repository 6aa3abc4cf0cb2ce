//! Statements of which the first columns are labels and each further one is a family. Every one has a LIMIT above the cap of samples in a family,
//! which counts what it drops, or a reason why it needs none.

use exporter_toolkit::{BoxError, Collector, Desc, Families, async_trait};

use crate::rows::Rows;
use crate::session::Session;

pub(super) const SKIPPED: &str = "another statement holds tables, and they were left out; SHOW PROCESSLIST tells which waits, and performance_schema.metadata_locks for whom";

pub(super) struct Table {
    pub(super) name: &'static str,
    pub(super) help: &'static str,
    pub(super) by_default: bool,
    /// Variables of which one has to be on, or else there is nothing to see; with none it is always asked.
    pub(super) switches: &'static [&'static str],
    /// Whether it may wait for a table of the application, and so must leave a connection to others.
    pub(super) opens_tables: bool,
    pub(super) statement: &'static str,
    pub(super) labels: usize,
    /// The families in the order of the columns, and what a column's numbers are divided by.
    pub(super) families: &'static [(Desc, f64)],
}

#[async_trait]
impl Collector<Session> for Table {
    fn name(&self) -> &'static str {
        self.name
    }

    fn help(&self) -> &'static str {
        self.help
    }

    fn enabled_by_default(&self) -> bool {
        self.by_default
    }

    fn families(&self) -> Vec<Desc> {
        self.families.iter().map(|(desc, _)| desc.clone()).collect()
    }

    async fn collect(&self, session: &Session, out: &mut Families) -> Result<(), BoxError> {
        if !is_on(session, self.switches).await? {
            return Ok(());
        }
        let answer = match self.opens_tables {
            true => session.query_tables(self.statement).await,
            false => session.query(self.statement).await,
        };
        match answer {
            Ok(rows) => {
                self.write(&rows, out);
                if rows.skipped_locked { Err(SKIPPED.into()) } else { Ok(()) }
            }
            // A server that has no such thing.
            Err(error) if error.is_unknown_table() => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

/// Whether one of these variables is on; of no variables, that nothing turns it off.
pub(super) async fn is_on(session: &Session, switches: &[&str]) -> Result<bool, BoxError> {
    if switches.is_empty() {
        return Ok(true);
    }
    let variables = &session.variables().await?.rows;
    Ok(switches.iter().any(|name| variables.lookup(name).is_some_and(|value| value.eq_ignore_ascii_case("on"))))
}

impl Table {
    fn write(&self, rows: &Rows, out: &mut Families) {
        let mut labels = Vec::with_capacity(self.labels);
        for row in rows.iter() {
            labels.clear();
            labels.extend((0..self.labels).map(|column| row.get(column).unwrap_or_default()));
            for (column, (desc, unit)) in (self.labels..).zip(self.families) {
                if let Some(value) = row.number(column) {
                    out.push(desc, &labels, value / unit);
                }
            }
        }
    }
}

/// For the tables' own tests: what is written of one row of texts.
#[cfg(test)]
pub(super) fn written(table: &Table, row: &[Option<&str>]) -> Vec<String> {
    assert_eq!(row.len(), table.labels + table.families.len(), "{}", table.name);
    assert!(table.families.iter().all(|(desc, _)| desc.labels.len() == table.labels), "{}", table.name);
    let mut rows = Rows::new((0..row.len()).map(|column| column.to_string()));
    rows.push(row.iter().map(|cell| cell.map(str::as_bytes))).unwrap();
    let mut out = Families::default();
    table.write(&rows, &mut out);
    exporter_toolkit::testing::samples(out)
}
