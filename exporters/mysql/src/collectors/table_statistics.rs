//! Rows that were read and changed, by table and by schema, as MariaDB and Percona Server count them with `userstat=1`.

use exporter_toolkit::Desc;

use super::account_statistics::SWITCHES;
use super::table::Table;

pub(super) const TABLES: Table = Table {
    name: "info_schema.tablestats",
    help: "Rows read and changed, by table, from information_schema.table_statistics; needs userstat=1 (MariaDB, Percona Server).",
    by_default: false,
    switches: SWITCHES,
    opens_tables: false,
    statement: "SELECT table_schema, table_name, rows_read, rows_changed, rows_changed_x_indexes \
                FROM information_schema.table_statistics LIMIT 200000",
    labels: 2,
    families: &[
        (
            Desc::counter(
                "mysql_info_schema_table_statistics_rows_read_total",
                "Rows read from the table.",
                &["schema", "table"],
            ),
            1.0,
        ),
        (
            Desc::counter(
                "mysql_info_schema_table_statistics_rows_changed_total",
                "Rows changed in the table.",
                &["schema", "table"],
            ),
            1.0,
        ),
        (
            Desc::counter(
                "mysql_info_schema_table_statistics_rows_changed_x_indexes_total",
                "Rows changed in the table, times the indexes that changed with them.",
                &["schema", "table"],
            ),
            1.0,
        ),
    ],
};

pub(super) const SCHEMAS: Table = Table {
    name: "info_schema.schemastats",
    help: "Rows read and changed, by schema, from information_schema.table_statistics; needs userstat=1 (MariaDB, Percona Server).",
    by_default: false,
    switches: SWITCHES,
    opens_tables: false,
    statement: "SELECT table_schema, SUM(rows_read), SUM(rows_changed), SUM(rows_changed_x_indexes) \
                FROM information_schema.table_statistics GROUP BY table_schema LIMIT 200000",
    labels: 1,
    families: &[
        (
            Desc::counter(
                "mysql_info_schema_schema_statistics_rows_read_total",
                "Rows read from the schema's tables.",
                &["schema"],
            ),
            1.0,
        ),
        (
            Desc::counter(
                "mysql_info_schema_schema_statistics_rows_changed_total",
                "Rows changed in the schema's tables.",
                &["schema"],
            ),
            1.0,
        ),
        (
            Desc::counter(
                "mysql_info_schema_schema_statistics_rows_changed_x_indexes_total",
                "Rows changed in the schema's tables, times the indexes that changed with them.",
                &["schema"],
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
    fn rows_are_counted_by_table_and_by_schema() {
        assert_eq!(
            written(&TABLES, &[Some("app"), Some("t"), Some("3"), Some("2"), Some("4")]),
            [
                r#"mysql_info_schema_table_statistics_rows_changed_total{schema="app",table="t"} 2"#,
                r#"mysql_info_schema_table_statistics_rows_changed_x_indexes_total{schema="app",table="t"} 4"#,
                r#"mysql_info_schema_table_statistics_rows_read_total{schema="app",table="t"} 3"#,
            ]
        );
        assert_eq!(
            written(&SCHEMAS, &[Some("app"), Some("3"), Some("2"), Some("4")]),
            [
                r#"mysql_info_schema_schema_statistics_rows_changed_total{schema="app"} 2"#,
                r#"mysql_info_schema_schema_statistics_rows_changed_x_indexes_total{schema="app"} 4"#,
                r#"mysql_info_schema_schema_statistics_rows_read_total{schema="app"} 3"#,
            ]
        );
    }
}
