//! How much of their range AUTO_INCREMENT columns have used.

use exporter_toolkit::Desc;

use super::select::{Measure, Select};
use super::table::{Requires, Table};

const LABELS: &[&str] = &["schema", "table", "column"];

pub(super) const COLUMNS: Table = Table {
    name: "auto_increment.columns",
    help: "Next and maximum values of AUTO_INCREMENT columns.",
    enabled_by_default: false,
    requires: Requires::Nothing,
    opens_tables: true,
    select: Select {
        // Compared as bytes: on a case-sensitive file system, `Orders` and `orders` are two tables. `columns` comes
        // first, as few of them match.
        from: "information_schema.columns c STRAIGHT_JOIN information_schema.tables t \
               ON CAST(c.table_schema AS BINARY) = t.table_schema AND CAST(c.table_name AS BINARY) = t.table_name \
               WHERE c.extra = 'auto_increment' AND t.auto_increment IS NOT NULL",
        labels: &["c.table_schema", "c.table_name", "c.column_name"],
        measures: &[
            Measure::one(
                Desc::gauge(
                    "mysql_info_schema_auto_increment_column",
                    "Next value of the AUTO_INCREMENT column.",
                    LABELS,
                ),
                "t.auto_increment",
            ),
            Measure::one(
                Desc::gauge(
                    "mysql_info_schema_auto_increment_column_max",
                    "Maximum value of the AUTO_INCREMENT column; absent if the column is not an integer.",
                    LABELS,
                )
                .field("c.data_type, c.column_type"),
                "POW(2, CASE c.data_type WHEN 'tinyint' THEN 7 WHEN 'smallint' THEN 15 WHEN 'mediumint' THEN 23 \
                 WHEN 'int' THEN 31 WHEN 'bigint' THEN 63 END + (c.column_type LIKE '% unsigned')) - 1",
            ),
        ],
    },
};

#[cfg(test)]
mod tests {
    use super::super::select::samples;
    use super::*;

    #[test]
    fn a_column_has_a_value_and_a_maximum() {
        assert_eq!(
            samples(&COLUMNS.select, "", &[Some("app"), Some("t"), Some("id"), Some("3"), Some("255")]),
            [
                r#"mysql_info_schema_auto_increment_column{schema="app",table="t",column="id"} 3"#,
                r#"mysql_info_schema_auto_increment_column_max{schema="app",table="t",column="id"} 255"#,
            ]
        );
        // A floating-point column has no maximum.
        let row = [Some("app"), Some("t"), Some("id"), Some("3"), None];
        assert_eq!(samples(&COLUMNS.select, "", &row).len(), 1);
    }
}
