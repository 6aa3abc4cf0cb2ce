//! A table whose rows are series: some columns are labels, the others numbers.

use exporter_toolkit::{BoxError, Collector, Desc, Families, async_trait};

use super::{MAX_ROWS, rows};
use crate::rows::Rows;
use crate::session::Session;

/// A collector that is nothing but a table.
pub(super) struct Table {
    pub(super) name: &'static str,
    pub(super) help: &'static str,
    /// What stands behind `FROM`.
    pub(super) from: &'static str,
    pub(super) labels: &'static [&'static str],
    pub(super) measures: &'static [Measure],
    /// MySQL's version that brought the table in this form; `None` where MariaDB has it as well.
    pub(super) mysql_since: Option<(u16, u16, u16)>,
}

/// A family and the columns that it is made of.
pub(super) struct Measure {
    pub(super) desc: Desc,
    /// What the columns' numbers are divided by.
    pub(super) unit: f64,
    /// A column, and the value of the family's last label; without columns' own label it is empty.
    pub(super) columns: &'static [(&'static str, &'static str)],
}

impl Table {
    /// `condition` stands behind the table; it begins with `WHERE`, or is empty.
    pub(super) fn statement(&self, condition: &str) -> String {
        let columns = self.measures.iter().flat_map(|measure| measure.columns).map(|(column, _)| *column);
        let columns: Vec<&str> = self.labels.iter().copied().chain(columns).collect();
        let from = self.from;
        format!("SELECT {} FROM {from}{condition} LIMIT {MAX_ROWS}", columns.join(", "))
    }

    /// `prefix` is left out of the first label's values.
    pub(super) fn write(&self, rows: &Rows, prefix: &str, out: &mut Families) {
        let mut labels = Vec::with_capacity(self.labels.len() + 1);
        for row in rows.iter() {
            labels.clear();
            labels.extend((0..self.labels.len()).map(|column| row.get(column).unwrap_or_default()));
            if let Some(first) = labels.first_mut() {
                *first = first.strip_prefix(prefix).unwrap_or(first);
            }
            let mut column = self.labels.len();
            for measure in self.measures {
                let family = out.family(&measure.desc);
                for (_, operation) in measure.columns {
                    if let Some(value) = row.number(column) {
                        labels.truncate(self.labels.len());
                        if !operation.is_empty() {
                            labels.push(operation);
                        }
                        family.push(&labels, value / measure.unit);
                    }
                    column += 1;
                }
            }
        }
    }

    pub(super) fn families(&self) -> Vec<Desc> {
        self.measures.iter().map(|measure| measure.desc.clone()).collect()
    }
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
        false
    }

    fn families(&self) -> Vec<Desc> {
        Table::families(self)
    }

    async fn collect(&self, session: &Session, out: &mut Families) -> Result<(), BoxError> {
        if self.mysql_since.is_none_or(|since| session.version().is_mysql_since(since)) {
            self.write(&rows(session, self.statement("")).await?, "", out);
        }
        Ok(())
    }
}

/// For the tests of tables: what one writes of a row.
#[cfg(test)]
pub(super) fn samples(table: &Table, prefix: &str, row: &[Option<&str>]) -> Vec<String> {
    let mut rows = Rows::new((0..row.len()).map(|column| column.to_string()));
    rows.push(row.iter().map(|cell| cell.map(str::as_bytes))).unwrap();
    let mut out = Families::default();
    table.write(&rows, prefix, &mut out);
    exporter_toolkit::testing::samples(out)
}
