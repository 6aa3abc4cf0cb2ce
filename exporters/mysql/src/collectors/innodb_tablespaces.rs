//! InnoDB's tablespaces: their properties and the sizes of their files.

use exporter_toolkit::{BoxError, Collector, Desc, Families, async_trait};

use crate::rows::Rows;
use crate::session::Session;
use crate::sql::MAX_ROWS;

const SPACE_INFO: Desc = Desc::gauge(
    "mysql_info_schema_innodb_tablespace_space_info",
    "Space ID of the tablespace, with its properties as labels.",
    &["tablespace_name", "file_format", "row_format", "space_type"],
);
/// By column.
const SIZES: [(&str, Desc); 2] = [
    (
        "FILE_SIZE",
        Desc::gauge(
            "mysql_info_schema_innodb_tablespace_file_size_bytes",
            "Apparent size of the tablespace's file, in bytes.",
            &["tablespace_name"],
        ),
    ),
    (
        "ALLOCATED_SIZE",
        Desc::gauge(
            "mysql_info_schema_innodb_tablespace_allocated_size_bytes",
            "Size of the tablespace's file on disk, in bytes.",
            &["tablespace_name"],
        ),
    ),
];

pub(super) struct InnodbTablespaces;

#[async_trait]
impl Collector<Session> for InnodbTablespaces {
    fn name(&self) -> &'static str {
        "info_schema.innodb_tablespaces"
    }

    fn help(&self) -> &'static str {
        "InnoDB's tablespaces and their sizes."
    }

    fn source(&self) -> &'static str {
        "information_schema.innodb_tablespaces (innodb_sys_tablespaces before MySQL 8.0 and in MariaDB)"
    }

    fn enabled_by_default(&self) -> bool {
        false
    }

    fn families(&self) -> Vec<Desc> {
        std::iter::once(SPACE_INFO.field("SPACE"))
            .chain(SIZES.into_iter().map(|(column, desc)| desc.field(column)))
            .collect()
    }

    async fn collect(&self, session: &Session, out: &mut Families) -> Result<(), BoxError> {
        // All columns, as they depend on the version; there are at most 15.
        let table =
            if session.version().is_mysql_since((8, 0, 0)) { "innodb_tablespaces" } else { "innodb_sys_tablespaces" };
        let statement = format!("SELECT * FROM information_schema.{table} LIMIT {MAX_ROWS}");
        let rows = session.query(statement).await?;
        write(&rows, out);
        Ok(rows.require_all(MAX_ROWS)?)
    }
}

fn write(rows: &Rows, out: &mut Families) {
    for row in rows.iter() {
        let cell = |name: &str| row.cells().find(|(column, _)| column.eq_ignore_ascii_case(name)).map(|(_, text)| text);
        let label = |name| cell(name).unwrap_or("NONE");
        let number = |name| cell(name).and_then(|text| text.parse::<f64>().ok());
        // MariaDB's undo tablespaces may have no name.
        let name = cell("NAME").unwrap_or_default();
        if let Some(space) = number("SPACE") {
            // If the column is missing, mysqld_exporter leaves the type empty, but not the format.
            let space_type = cell("SPACE_TYPE").unwrap_or_default();
            out.push(&SPACE_INFO, &[name, label("FILE_FORMAT"), label("ROW_FORMAT"), space_type], space);
        }
        for (column, desc) in &SIZES {
            if let Some(bytes) = number(column) {
                out.push(desc, &[name], bytes);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tablespace_has_properties_and_sizes() {
        let columns = ["SPACE", "NAME", "FLAG", "ROW_FORMAT", "SPACE_TYPE", "FILE_SIZE", "ALLOCATED_SIZE"];
        let mut rows = Rows::new(columns.map(str::to_owned));
        rows.push(
            ["7", "app/t", "33", "Dynamic", "Single", "114688", "98304"].iter().map(|cell| Some(cell.as_bytes())),
        )
        .unwrap();
        assert_eq!(
            super::super::testing::page(write, &rows),
            r#"# TYPE mysql_info_schema_innodb_tablespace_allocated_size_bytes gauge
mysql_info_schema_innodb_tablespace_allocated_size_bytes{tablespace_name="app/t"} 98304
# TYPE mysql_info_schema_innodb_tablespace_file_size_bytes gauge
mysql_info_schema_innodb_tablespace_file_size_bytes{tablespace_name="app/t"} 114688
# TYPE mysql_info_schema_innodb_tablespace_space_info gauge
mysql_info_schema_innodb_tablespace_space_info{tablespace_name="app/t",file_format="NONE",row_format="Dynamic",space_type="Single"} 7
"#
        );
    }
}
