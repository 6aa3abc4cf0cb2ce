//! InnoDB's tablespaces: what they are and how large their files are.

use exporter_toolkit::{BoxError, Collector, Desc, Families, async_trait};

use crate::rows::Rows;
use crate::session::Session;

const SPACE_INFO: Desc = Desc::gauge(
    "mysql_info_schema_innodb_tablespace_space_info",
    "The tablespace's number; the labels say what it is.",
    &["tablespace_name", "file_format", "row_format", "space_type"],
);
/// By column.
const SIZES: [(&str, Desc); 2] = [
    (
        "FILE_SIZE",
        Desc::gauge(
            "mysql_info_schema_innodb_tablespace_file_size_bytes",
            "Size of the tablespace's file, as if nothing in it were compressed.",
            &["tablespace_name"],
        ),
    ),
    (
        "ALLOCATED_SIZE",
        Desc::gauge(
            "mysql_info_schema_innodb_tablespace_allocated_size_bytes",
            "Bytes on disk of the tablespace's file.",
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
        "Tablespaces and their sizes, from information_schema.innodb_tablespaces or innodb_sys_tablespaces."
    }

    fn enabled_by_default(&self) -> bool {
        false
    }

    fn families(&self) -> Vec<Desc> {
        std::iter::once(SPACE_INFO).chain(SIZES.into_iter().map(|(_, desc)| desc)).collect()
    }

    async fn collect(&self, session: &Session, out: &mut Families) -> Result<(), BoxError> {
        // All columns: which there are depends on the version, and there are at most 15.
        let statement = match session.version().is_mysql_since((8, 0, 0)) {
            true => "SELECT * FROM information_schema.innodb_tablespaces LIMIT 200000",
            false => "SELECT * FROM information_schema.innodb_sys_tablespaces LIMIT 200000",
        };
        write(&session.query(statement).await?, out);
        Ok(())
    }
}

fn write(rows: &Rows, out: &mut Families) {
    for row in rows.iter() {
        let cell = |name: &str| row.cells().find(|(column, _)| column.eq_ignore_ascii_case(name)).map(|(_, text)| text);
        let label = |name| cell(name).unwrap_or("NONE");
        let number = |name| cell(name).and_then(|text| text.parse::<f64>().ok());
        // MariaDB's undo tablespaces may have none.
        let name = cell("NAME").unwrap_or_default();
        if let Some(space) = number("SPACE") {
            // Where there is no such column mysqld_exporter leaves the type empty, but not the format.
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
    fn a_tablespace_has_its_sizes_and_what_it_is() {
        let columns = ["SPACE", "NAME", "FLAG", "ROW_FORMAT", "SPACE_TYPE", "FILE_SIZE", "ALLOCATED_SIZE"];
        let mut rows = Rows::new(columns.map(str::to_owned));
        rows.push(
            ["7", "app/t", "33", "Dynamic", "Single", "114688", "98304"].iter().map(|cell| Some(cell.as_bytes())),
        )
        .unwrap();
        assert_eq!(
            super::super::page(write, &rows),
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
