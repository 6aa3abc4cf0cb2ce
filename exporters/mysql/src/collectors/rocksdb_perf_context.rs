//! Statistics of RocksDB (MyRocks) for each table.

use exporter_toolkit::{BoxError, Collector, Desc, Families, Kind, async_trait};

use crate::rows::Rows;
use crate::session::Session;
use crate::sql::MAX_ROWS;
use crate::value::family_name;

const PREFIX: &str = "mysql_info_schema_rocksdb_perf_context_";
const HELP: &str = "Statistic of this name, by table and partition.";
/// With about 90 statistics per table; its limit is [`MAX_ROWS`].
const STATEMENT: &str = "SELECT table_schema, table_name, IFNULL(partition_name, ''), stat_type, value \
                         FROM information_schema.rocksdb_perf_context LIMIT 200000";
const LABELS: &[&str] = &["schema", "table", "part"];

pub(super) struct RocksdbPerfContext;

#[async_trait]
impl Collector<Session> for RocksdbPerfContext {
    fn name(&self) -> &'static str {
        "info_schema.rocksdb_perf_context"
    }

    fn help(&self) -> &'static str {
        "Statistics of RocksDB for each table."
    }

    fn source(&self) -> &'static str {
        "information_schema.rocksdb_perf_context"
    }

    fn enabled_by_default(&self) -> bool {
        false
    }

    fn families(&self) -> Vec<Desc> {
        vec![Desc::counter("mysql_info_schema_rocksdb_perf_context_<statistic>", HELP, LABELS).field("STAT_TYPE")]
    }

    async fn collect(&self, session: &Session, out: &mut Families) -> Result<(), BoxError> {
        let rows = session.query_if_table_exists(STATEMENT).await?;
        write(&rows, out);
        Ok(rows.require_all(MAX_ROWS)?)
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
    fn a_cut_is_noticed() {
        assert!(STATEMENT.ends_with(&format!(" LIMIT {MAX_ROWS}")));
    }

    #[test]
    fn a_statistic_is_a_family() {
        let mut rows = Rows::new((0..5).map(|column| column.to_string()));
        for row in [["d", "t", "", "BLOCK_READ_COUNT", "7"], ["d", "t", "", "GET_READ_BYTES", "many"]] {
            rows.push(row.iter().map(|cell| Some(cell.as_bytes()))).unwrap();
        }
        let expected = "# TYPE mysql_info_schema_rocksdb_perf_context_block_read_count counter\n\
                        mysql_info_schema_rocksdb_perf_context_block_read_count{schema=\"d\",table=\"t\",part=\"\"} 7\n";
        assert_eq!(super::super::testing::page(write, &rows), expected);
    }
}
