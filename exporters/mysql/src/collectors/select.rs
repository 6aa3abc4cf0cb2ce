//! A statement whose columns are declared next to the families that they fill.

use exporter_toolkit::{Desc, Families};

use crate::rows::Rows;
use crate::sql::MAX_ROWS;

/// Reads rows of a table: some columns are label values, the others are numbers.
pub(super) struct Select {
    /// The table, and after a space anything else that follows `FROM`: a join, a condition, a grouping.
    pub(super) from: &'static str,
    /// The columns of the label values.
    pub(super) labels: &'static [&'static str],
    pub(super) measures: &'static [Measure],
}

/// A family and the columns that fill it.
pub(super) struct Measure {
    desc: Desc,
    columns: Columns,
    /// Converts the columns' unit into the family's.
    divisor: f64,
}

enum Columns {
    One(&'static str),
    /// A column for each value of the family's last label.
    ByLabel(&'static [(&'static str, &'static str)]),
}

impl Measure {
    pub(super) const fn one(desc: Desc, column: &'static str) -> Self {
        Self { desc, columns: Columns::One(column), divisor: 1.0 }
    }

    /// Columns, each with the value of the family's last label.
    pub(super) const fn by_label(desc: Desc, columns: &'static [(&'static str, &'static str)]) -> Self {
        Self { desc, columns: Columns::ByLabel(columns), divisor: 1.0 }
    }

    pub(super) const fn divided_by(mut self, divisor: f64) -> Self {
        self.divisor = divisor;
        self
    }

    /// The columns, each with the value of the family's last label if it has one.
    pub(super) fn columns(&self) -> impl Iterator<Item = (&'static str, Option<&'static str>)> {
        let (one, several): (_, &'static [_]) = match self.columns {
            Columns::One(column) => (Some((column, None)), &[]),
            Columns::ByLabel(columns) => (None, columns),
        };
        one.into_iter().chain(several.iter().map(|(column, label)| (*column, Some(*label))))
    }
}

impl Select {
    /// The statement, with anything else that follows `FROM`, such as ` WHERE …`.
    pub(super) fn statement(&self, condition: &str) -> String {
        format!("SELECT {} FROM {}{condition} LIMIT {MAX_ROWS}", self.columns(), self.from)
    }

    /// All columns, separated by commas.
    pub(super) fn columns(&self) -> String {
        let numbers = self.measures.iter().flat_map(Measure::columns).map(|(column, _)| column);
        self.labels.iter().copied().chain(numbers).collect::<Vec<_>>().join(", ")
    }

    /// The number of columns.
    pub(super) fn width(&self) -> usize {
        self.labels.len() + self.measures.iter().flat_map(Measure::columns).count()
    }

    /// The name of the table.
    pub(super) fn table(&self) -> &'static str {
        self.from.split(' ').next().unwrap_or(self.from)
    }

    /// The families. Unless declared otherwise, the field of a family is the column that fills it.
    pub(super) fn families(&self) -> Vec<Desc> {
        let family = |measure: &Measure| match measure.columns {
            Columns::One(column) if measure.desc.field.is_empty() => measure.desc.clone().field(column),
            _ => measure.desc.clone(),
        };
        self.measures.iter().map(family).collect()
    }

    /// Writes the rows. `prefix` is removed from the first label's values.
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
                for (_, label) in measure.columns() {
                    if let Some(value) = row.number(column) {
                        labels.truncate(self.labels.len());
                        labels.extend(label);
                        family.push(&labels, value / measure.divisor);
                    }
                    column += 1;
                }
            }
        }
    }
}

/// For tests: the samples written for one row.
#[cfg(test)]
pub(super) fn samples(select: &Select, prefix: &str, row: &[Option<&str>]) -> Vec<String> {
    assert_eq!(row.len(), select.width(), "{}", select.from);
    let mut rows = Rows::new((0..row.len()).map(|column| column.to_string()));
    rows.push(row.iter().map(|cell| cell.map(str::as_bytes))).unwrap();
    let mut out = Families::default();
    select.write(&rows, prefix, &mut out);
    exporter_toolkit::testing::samples(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SELECT: Select = Select {
        from: "db.t WHERE a > 0",
        labels: &["name"],
        measures: &[
            Measure::one(Desc::gauge("seconds", "S.", &["name"]), "milliseconds").divided_by(1000.0),
            Measure::by_label(Desc::gauge("files", "F.", &["name", "mode"]), &[("reads", "read"), ("writes", "write")]),
        ],
    };

    #[test]
    fn the_statement_has_all_columns_and_a_limit() {
        let expected = "SELECT name, milliseconds, reads, writes FROM db.t WHERE a > 0 AND b LIMIT 200000";
        assert_eq!(SELECT.statement(" AND b"), expected);
        assert_eq!(SELECT.table(), "db.t");
        assert_eq!(SELECT.families()[0].field, "milliseconds");
    }

    #[test]
    fn a_row_is_a_sample_per_column() {
        let row = [Some("memory/x"), Some("1500"), Some("2"), None];
        let expected = [r#"files{name="x",mode="read"} 2"#, r#"seconds{name="x"} 1.5"#];
        assert_eq!(samples(&SELECT, "memory/", &row), expected);
    }
}
