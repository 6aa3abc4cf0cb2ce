//! `SHOW BINARY LOGS`: the number of binary logs and their total size.

use exporter_toolkit::{BoxError, Collector, Desc, Families, async_trait};

use super::table::is_any_on;
use crate::rows::Rows;
use crate::session::Session;

const SIZE: Desc =
    Desc::gauge("mysql_binlog_size_bytes", "Current total size of all binary logs, in bytes.", &[]).field("File_size");
const FILES: Desc = Desc::gauge("mysql_binlog_files", "Current number of binary logs.", &[]);
const FILE_NUMBER: Desc =
    Desc::gauge("mysql_binlog_file_number", "Sequence number of the newest binary log.", &[]).field("Log_name");

pub(super) struct BinlogSize;

#[async_trait]
impl Collector<Session> for BinlogSize {
    fn name(&self) -> &'static str {
        "binlog_size"
    }

    fn help(&self) -> &'static str {
        "Number and size of the binary logs."
    }

    fn source(&self) -> &'static str {
        "SHOW BINARY LOGS"
    }

    fn enabled_by_default(&self) -> bool {
        false
    }

    fn families(&self) -> Vec<Desc> {
        vec![SIZE, FILES, FILE_NUMBER]
    }

    async fn collect(&self, session: &Session, out: &mut Families) -> Result<(), BoxError> {
        // Without binary logs the statement is an error.
        if is_any_on(session, &["log_bin"]).await? {
            write(&session.query("SHOW BINARY LOGS").await?, out);
        }
        Ok(())
    }
}

fn write(rows: &Rows, out: &mut Families) {
    let sizes = rows.iter().filter_map(|row| row.number(1));
    let (files, bytes) = sizes.fold((0.0, 0.0), |(files, bytes), size| (files + 1.0, bytes + size));
    out.push(&SIZE, &[], bytes);
    out.push(&FILES, &[], files);
    // After the last dot: mysqld_exporter uses the first one, which is wrong for `db1.example-bin.000007`.
    let newest = rows.iter().last().and_then(|row| row.get(0)?.rsplit_once('.')?.1.parse::<u64>().ok());
    if let Some(number) = newest {
        out.push(&FILE_NUMBER, &[], number as f64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_summed_and_the_last_log_is_the_newest() {
        let mut rows = Rows::new(["Log_name", "File_size", "Encrypted"].map(str::to_owned));
        for (name, size) in [("db1.example-bin.000009", "1000"), ("db1.example-bin.000010", "24")] {
            rows.push([Some(name.as_bytes()), Some(size.as_bytes()), Some(b"No")].into_iter()).unwrap();
        }
        let page = super::super::testing::page(write, &rows);
        let samples: Vec<_> = page.lines().filter(|line| !line.starts_with('#')).collect();
        assert_eq!(samples, ["mysql_binlog_file_number 10", "mysql_binlog_files 2", "mysql_binlog_size_bytes 1024"]);
    }
}
