//! What RocksDB (MyRocks) did for each table.

use exporter_toolkit::{BoxError, Collector, Desc, Families, Kind, async_trait};

use crate::rows::Rows;
use crate::session::Session;
use crate::value::family_name;

const PREFIX: &str = "mysql_info_schema_rocksdb_perf_context_";
const HELP: &str = "The statistic of this name of information_schema.rocksdb_perf_context, by table and partition.";
const LABELS: &[&str] = &["schema", "table", "part"];

pub(super) struct RocksdbPerfContext;

#[async_trait]
impl Collector<Session> for RocksdbPerfContext {
    fn name(&self) -> &'static str {
        "info_schema.rocksdb_perf_context"
    }

    fn help(&self) -> &'static str {
        "What RocksDB did for each table, from information_schema.rocksdb_perf_context."
    }

    fn enabled_by_default(&self) -> bool {
        false
    }

    fn families(&self) -> Vec<Desc> {
        vec![Desc::counter("mysql_info_schema_rocksdb_perf_context_<statistic>", HELP, LABELS)]
    }

    async fn collect(&self, session: &Session, out: &mut Families) -> Result<(), BoxError> {
        // Some 90 statistics a table; the cap of samples in a family counts what it drops.
        let statement = "SELECT table_schema, table_name, IFNULL(partition_name, ''), stat_type, value \
                         FROM information_schema.rocksdb_perf_context LIMIT 1000000";
        match session.query(statement).await {
            Ok(rows) => {
                write(&rows, out);
                Ok(())
            }
            // A server without that engine.
            Err(error) if error.is_unknown_table() => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

fn write(rows: &Rows, out: &mut Families) {
    for row in rows.iter() {
        let text = |column| row.get(column).unwrap_or_default();
        if let Some(value) = row.number(4) {
            let desc = Desc::dynamic(Kind::Counter, family_name(PREFIX, text(3)), HELP, LABELS);
            out.push(&desc, &[text(0), text(1), text(2)], value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_statistic_is_a_family() {
        let mut rows = Rows::new((0..5).map(|column| column.to_string()));
        for row in [["d", "t", "", "BLOCK_READ_COUNT", "7"], ["d", "t", "", "GET_READ_BYTES", "many"]] {
            rows.push(row.iter().map(|cell| Some(cell.as_bytes()))).unwrap();
        }
        let expected = "# TYPE mysql_info_schema_rocksdb_perf_context_block_read_count counter\n\
                        mysql_info_schema_rocksdb_perf_context_block_read_count{schema=\"d\",table=\"t\",part=\"\"} 7\n";
        assert_eq!(super::super::page(write, &rows), expected);
    }
}
