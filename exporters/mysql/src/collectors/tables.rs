//! `information_schema.tables`: rows and sizes of tables.

use exporter_toolkit::{BoxError, Collector, Desc, Families, async_trait};

use super::table::SKIPPED;
use crate::rows::{Row, Rows};
use crate::session::Session;

const VERSION: Desc = Desc::gauge(
    "mysql_info_schema_table_version",
    "Version of the table's format; the labels say what the table is.",
    &["schema", "table", "type", "engine", "row_format", "create_options"],
);
const ROWS: Desc =
    Desc::gauge("mysql_info_schema_table_rows", "Rows of the table, by the engine's estimate.", &["schema", "table"]);
const SIZE: Desc = Desc::gauge(
    "mysql_info_schema_table_size",
    "Bytes of the table's data and indexes, and bytes that are allocated but free.",
    &["schema", "table", "component"],
);
const COMPONENTS: [&str; 3] = ["data_length", "index_length", "data_free"];

// (No doc comment: clap would take it for the program's description.)
#[derive(clap::Args, Clone, Debug)]
#[group(skip)]
pub(crate) struct Options {
    /// Databases whose tables are looked at, with commas between them; * is all but the server's own
    #[arg(
        long = "collect.info_schema.tables.databases",
        value_name = "DATABASES",
        default_value = "*",
        help_heading = "Collectors"
    )]
    databases: String,
}

pub(super) struct Tables;

#[async_trait]
impl Collector<Session> for Tables {
    fn name(&self) -> &'static str {
        "info_schema.tables"
    }

    fn help(&self) -> &'static str {
        "Rows and sizes of tables, from information_schema.tables."
    }

    fn enabled_by_default(&self) -> bool {
        false
    }

    fn families(&self) -> Vec<Desc> {
        vec![VERSION, ROWS, SIZE]
    }

    async fn collect(&self, session: &Session, out: &mut Families) -> Result<(), BoxError> {
        let rows = session.query_tables(statement(&session.options().tables.databases)).await?;
        write(&rows, out);
        match rows.iter().find(is_unread) {
            None => Ok(()),
            Some(_) if rows.skipped_locked => Err(SKIPPED.into()),
            Some(row) => {
                let [schema, table] = [0, 1].map(|column| row.get(column).unwrap_or_default());
                Err(format!("the server can't open {schema}.{table}, which CHECK TABLE may explain").into())
            }
        }
    }
}

/// Of a table that it could not open, as an ALTER or a RENAME holds it, MariaDB has NULL in each column, and MySQL has -1 rows and else 0.
fn is_unread(row: &Row<'_>) -> bool {
    let is = |column, text| row.get(column) == Some(text);
    is(2, "BASE TABLE") && (is(3, "NONE") || is(7, "4294967295"))
}

/// One statement, where mysqld_exporter has one a database. Its limit is above the cap of samples in a family, which counts what it drops.
fn statement(databases: &str) -> String {
    let condition = match databases {
        // Without `sys`, as mysqld_exporter since 0.16.
        "*" => "NOT IN ('mysql', 'performance_schema', 'information_schema', 'sys')".to_owned(),
        databases => {
            let names: Vec<String> = databases.split(',').map(literal).collect();
            format!("IN ({})", names.join(", "))
        }
    };
    format!(
        "SELECT table_schema, table_name, table_type, IFNULL(engine, 'NONE'), IFNULL(row_format, 'NONE'), \
         IFNULL(create_options, 'NONE'), IFNULL(version, 0), IFNULL(table_rows, 0), IFNULL(data_length, 0), \
         IFNULL(index_length, 0), IFNULL(data_free, 0) \
         FROM information_schema.tables WHERE table_schema {condition} LIMIT 200000"
    )
}

/// In hexadecimal: whether a backslash escapes depends on the server's sql_mode.
fn literal(text: &str) -> String {
    let digits: String = text.bytes().map(|byte| format!("{byte:02x}")).collect();
    format!("_utf8mb4 x'{digits}'")
}

fn write(rows: &Rows, out: &mut Families) {
    for row in rows.iter().filter(|row| !is_unread(row)) {
        let text = |column| row.get(column).unwrap_or_default();
        let (schema, table) = (text(0), text(1));
        if let Some(version) = row.number(6) {
            out.push(&VERSION, &[schema, table, text(2), text(3), text(4), text(5)], version);
        }
        if let Some(rows) = row.number(7) {
            out.push(&ROWS, &[schema, table], rows);
        }
        for (column, component) in (8..).zip(COMPONENTS) {
            if let Some(bytes) = row.number(column) {
                out.push(&SIZE, &[schema, table, component], bytes);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_has_its_rows_and_sizes() {
        let mut rows = Rows::new((0..11).map(|column| column.to_string()));
        let row = ["app", "t", "BASE TABLE", "InnoDB", "Dynamic", "", "10", "42", "16384", "8192", "0"];
        rows.push(row.iter().map(|cell| Some(cell.as_bytes()))).unwrap();
        assert_eq!(
            super::super::page(write, &rows),
            r#"# TYPE mysql_info_schema_table_rows gauge
mysql_info_schema_table_rows{schema="app",table="t"} 42
# TYPE mysql_info_schema_table_size gauge
mysql_info_schema_table_size{schema="app",table="t",component="data_free"} 0
mysql_info_schema_table_size{schema="app",table="t",component="data_length"} 16384
mysql_info_schema_table_size{schema="app",table="t",component="index_length"} 8192
# TYPE mysql_info_schema_table_version gauge
mysql_info_schema_table_version{schema="app",table="t",type="BASE TABLE",engine="InnoDB",row_format="Dynamic",create_options=""} 10
"#
        );
    }

    #[test]
    fn a_table_that_was_not_opened_has_no_zeros() {
        let mut rows = Rows::new((0..11).map(|column| column.to_string()));
        for row in [
            ["app", "mariadb", "BASE TABLE", "NONE", "NONE", "NONE", "0", "0", "0", "0", "0"],
            ["app", "mysql", "BASE TABLE", "InnoDB", "Dynamic", "", "10", "4294967295", "0", "0", "0"],
        ] {
            rows.push(row.iter().map(|cell| Some(cell.as_bytes()))).unwrap();
        }
        assert_eq!(super::super::page(write, &rows), "");
        let mut view = Rows::new((0..11).map(|column| column.to_string()));
        let row = ["app", "v", "VIEW", "NONE", "NONE", "NONE", "0", "0", "0", "0", "0"];
        view.push(row.iter().map(|cell| Some(cell.as_bytes()))).unwrap();
        assert!(super::super::page(write, &view).contains(r#"table_rows{schema="app",table="v"} 0"#));
    }

    #[test]
    fn a_databases_name_can_not_end_the_statement() {
        assert!(statement("*").contains("table_schema NOT IN ('mysql', "));
        assert!(statement("a'b,c\\").contains("WHERE table_schema IN (_utf8mb4 x'612762', _utf8mb4 x'635c') LIMIT"));
    }
}
