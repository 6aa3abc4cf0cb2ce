//! How far AUTO_INCREMENT columns are on the way to the end of their type.

use exporter_toolkit::Desc;

use super::table::Table;

const LABELS: &[&str] = &["schema", "table", "column"];

pub(super) const COLUMNS: Table = Table {
    name: "auto_increment.columns",
    help: "AUTO_INCREMENT columns: the next value, and the greatest that fits.",
    by_default: false,
    switches: &[],
    opens_tables: true,
    // Compared as bytes: on a file system that knows case, `Orders` and `orders` are two tables. First `columns`, as few of them match.
    statement: "SELECT c.table_schema, c.table_name, c.column_name, t.auto_increment, \
                POW(2, CASE c.data_type WHEN 'tinyint' THEN 7 WHEN 'smallint' THEN 15 WHEN 'mediumint' THEN 23 \
                WHEN 'int' THEN 31 WHEN 'bigint' THEN 63 END + (c.column_type LIKE '% unsigned')) - 1 \
                FROM information_schema.columns c STRAIGHT_JOIN information_schema.tables t \
                ON CAST(c.table_schema AS BINARY) = t.table_schema AND CAST(c.table_name AS BINARY) = t.table_name \
                WHERE c.extra = 'auto_increment' AND t.auto_increment IS NOT NULL LIMIT 200000",
    labels: 3,
    families: &[
        (
            Desc::gauge(
                "mysql_info_schema_auto_increment_column",
                "The next value of an AUTO_INCREMENT column.",
                LABELS,
            ),
            1.0,
        ),
        (
            Desc::gauge(
                "mysql_info_schema_auto_increment_column_max",
                "The greatest value that fits into an AUTO_INCREMENT column; absent where it isn't an integer.",
                LABELS,
            ),
            1.0,
        ),
    ],
};

#[cfg(test)]
mod tests {
    use super::super::table::written;
    use super::*;

    #[test]
    fn a_column_has_its_value_and_its_end() {
        assert_eq!(
            written(&COLUMNS, &[Some("app"), Some("t"), Some("id"), Some("3"), Some("255")]),
            [
                r#"mysql_info_schema_auto_increment_column{schema="app",table="t",column="id"} 3"#,
                r#"mysql_info_schema_auto_increment_column_max{schema="app",table="t",column="id"} 255"#,
            ]
        );
        // A floating-point column has no end that the server knows.
        assert_eq!(written(&COLUMNS, &[Some("app"), Some("t"), Some("id"), Some("3"), None]).len(), 1);
    }
}
