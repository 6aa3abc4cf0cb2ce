//! Rows that were read and changed, by table and by schema, as MariaDB and Percona Server count them with `userstat=1`.

use exporter_toolkit::Desc;

use super::account_statistics::USERSTAT_VARIABLES;
use super::select::{Measure, Select};
use super::table::{Requires, Table};

const TABLE: &[&str] = &["schema", "table"];
const SCHEMA: &[&str] = &["schema"];

pub(super) const TABLES: Table = Table {
    name: "info_schema.tablestats",
    help: "Rows read and changed, by table; requires userstat=1 (MariaDB, Percona Server).",
    enabled_by_default: false,
    requires: Requires::AnyOn(USERSTAT_VARIABLES),
    opens_tables: false,
    select: Select {
        from: "information_schema.table_statistics",
        labels: &["table_schema", "table_name"],
        measures: &[
            Measure::one(
                Desc::counter(
                    "mysql_info_schema_table_statistics_rows_read_total",
                    "Total number of rows read from the table.",
                    TABLE,
                ),
                "rows_read",
            ),
            Measure::one(
                Desc::counter(
                    "mysql_info_schema_table_statistics_rows_changed_total",
                    "Total number of rows changed in the table.",
                    TABLE,
                ),
                "rows_changed",
            ),
            Measure::one(
                Desc::counter(
                    "mysql_info_schema_table_statistics_rows_changed_x_indexes_total",
                    "Total number of rows changed in the table, multiplied by the number of changed indexes.",
                    TABLE,
                ),
                "rows_changed_x_indexes",
            ),
        ],
    },
};

pub(super) const SCHEMAS: Table = Table {
    name: "info_schema.schemastats",
    help: "Rows read and changed, by schema; requires userstat=1 (MariaDB, Percona Server).",
    enabled_by_default: false,
    requires: Requires::AnyOn(USERSTAT_VARIABLES),
    opens_tables: false,
    select: Select {
        from: "information_schema.table_statistics GROUP BY table_schema",
        labels: &["table_schema"],
        measures: &[
            Measure::one(
                Desc::counter(
                    "mysql_info_schema_schema_statistics_rows_read_total",
                    "Total number of rows read from the schema's tables.",
                    SCHEMA,
                ),
                "SUM(rows_read)",
            ),
            Measure::one(
                Desc::counter(
                    "mysql_info_schema_schema_statistics_rows_changed_total",
                    "Total number of rows changed in the schema's tables.",
                    SCHEMA,
                ),
                "SUM(rows_changed)",
            ),
            Measure::one(
                Desc::counter(
                    "mysql_info_schema_schema_statistics_rows_changed_x_indexes_total",
                    "Total number of rows changed in the schema's tables, multiplied by the number of changed indexes.",
                    SCHEMA,
                ),
                "SUM(rows_changed_x_indexes)",
            ),
        ],
    },
};

#[cfg(test)]
mod tests {
    use super::super::select::samples;
    use super::*;

    #[test]
    fn rows_are_counted_by_table_and_by_schema() {
        assert_eq!(
            samples(&TABLES.select, "", &[Some("app"), Some("t"), Some("3"), Some("2"), Some("4")]),
            [
                r#"mysql_info_schema_table_statistics_rows_changed_total{schema="app",table="t"} 2"#,
                r#"mysql_info_schema_table_statistics_rows_changed_x_indexes_total{schema="app",table="t"} 4"#,
                r#"mysql_info_schema_table_statistics_rows_read_total{schema="app",table="t"} 3"#,
            ]
        );
        assert_eq!(
            samples(&SCHEMAS.select, "", &[Some("app"), Some("3"), Some("2"), Some("4")]),
            [
                r#"mysql_info_schema_schema_statistics_rows_changed_total{schema="app"} 2"#,
                r#"mysql_info_schema_schema_statistics_rows_changed_x_indexes_total{schema="app"} 4"#,
                r#"mysql_info_schema_schema_statistics_rows_read_total{schema="app"} 3"#,
            ]
        );
    }
}
