//! `information_schema.tables`: rows and sizes of tables.

use clap::{ArgMatches, Args as _, Command, FromArgMatches as _};
use exporter_toolkit::{BoxError, Collector, Desc, Families, async_trait};

use super::table::SKIPPED_LOCKED;
use crate::rows::{Row, Rows};
use crate::session::Session;
use crate::sql::{MAX_ROWS, literal};

const VERSION: Desc = Desc::gauge(
    "mysql_info_schema_table_version",
    "Version of the table's format, with the table's properties as labels.",
    &["schema", "table", "type", "engine", "row_format", "create_options"],
)
.field("version");
const ROWS: Desc =
    Desc::gauge("mysql_info_schema_table_rows", "Estimated number of rows in the table.", &["schema", "table"])
        .field("table_rows");
const SIZE: Desc = Desc::gauge(
    "mysql_info_schema_table_size",
    "Size of the table's data, indexes and allocated but unused space, in bytes.",
    &["schema", "table", "component"],
)
.field("data_length, index_length, data_free");
const COMPONENTS: [&str; 3] = ["data_length", "index_length", "data_free"];

#[derive(clap::Args, Clone, Debug)]
#[group(skip)]
#[command(next_help_heading = "Collectors")]
pub(super) struct Options {
    /// Databases to include, comma-separated; * means all except the system databases
    #[arg(long = "collect.info_schema.tables.databases", value_name = "DATABASES", default_value = "*")]
    databases: String,
}

pub(super) struct Tables {
    pub(super) options: Options,
}

#[async_trait]
impl Collector<Session> for Tables {
    fn name(&self) -> &'static str {
        "info_schema.tables"
    }

    fn help(&self) -> &'static str {
        "Rows and sizes of tables."
    }

    fn source(&self) -> &'static str {
        "information_schema.tables"
    }

    fn enabled_by_default(&self) -> bool {
        false
    }

    fn families(&self) -> Vec<Desc> {
        vec![VERSION, ROWS, SIZE]
    }

    fn augment_args(&self, command: Command) -> Command {
        Options::augment_args(command)
    }

    fn configure(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        self.options.update_from_arg_matches(matches)
    }

    async fn collect(&self, session: &Session, out: &mut Families) -> Result<(), BoxError> {
        let rows = session.query_tables(statement(&self.options.databases)).await?;
        write(&rows, out);
        match rows.iter().find(is_unread) {
            None => Ok(rows.require_all(MAX_ROWS)?),
            Some(_) if rows.skipped_locked => Err(SKIPPED_LOCKED.into()),
            Some(row) => {
                let [schema, table] = [0, 1].map(|column| row.get(column).unwrap_or_default());
                Err(format!("the server cannot open {schema}.{table}: run CHECK TABLE to find the cause").into())
            }
        }
    }
}

/// For a table that the server could not open, for example during an ALTER, MariaDB has NULL in each column; MySQL has
/// -1 rows and otherwise 0.
fn is_unread(row: &Row<'_>) -> bool {
    let is = |column, text| row.get(column) == Some(text);
    is(2, "BASE TABLE") && (is(3, "NONE") || is(7, "4294967295"))
}

/// One statement, where mysqld_exporter has one per database.
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
         FROM information_schema.tables WHERE table_schema {condition} LIMIT {MAX_ROWS}"
    )
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
    fn a_table_has_rows_and_sizes() {
        let mut rows = Rows::new((0..11).map(|column| column.to_string()));
        let row = ["app", "t", "BASE TABLE", "InnoDB", "Dynamic", "", "10", "42", "16384", "8192", "0"];
        rows.push(row.iter().map(|cell| Some(cell.as_bytes()))).unwrap();
        assert_eq!(
            super::super::testing::page(write, &rows),
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
    fn a_table_that_was_not_opened_has_no_series() {
        let mut rows = Rows::new((0..11).map(|column| column.to_string()));
        for row in [
            ["app", "mariadb", "BASE TABLE", "NONE", "NONE", "NONE", "0", "0", "0", "0", "0"],
            ["app", "mysql", "BASE TABLE", "InnoDB", "Dynamic", "", "10", "4294967295", "0", "0", "0"],
        ] {
            rows.push(row.iter().map(|cell| Some(cell.as_bytes()))).unwrap();
        }
        assert_eq!(super::super::testing::page(write, &rows), "");
        let mut view = Rows::new((0..11).map(|column| column.to_string()));
        let row = ["app", "v", "VIEW", "NONE", "NONE", "NONE", "0", "0", "0", "0", "0"];
        view.push(row.iter().map(|cell| Some(cell.as_bytes()))).unwrap();
        assert!(super::super::testing::page(write, &view).contains(r#"table_rows{schema="app",table="v"} 0"#));
    }

    #[test]
    fn database_names_are_quoted() {
        assert!(statement("*").contains("table_schema NOT IN ('mysql', "));
        assert!(statement("a'b,c\\").contains("WHERE table_schema IN (_utf8mb4 X'612762', _utf8mb4 X'635C') LIMIT"));
    }
}
