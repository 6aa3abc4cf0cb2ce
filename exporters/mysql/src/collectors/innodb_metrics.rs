//! `information_schema.innodb_metrics`: InnoDB's enabled metrics.

use exporter_toolkit::{BoxError, Collector, Desc, Families, Kind, async_trait};

use crate::rows::Rows;
use crate::session::Session;

const PREFIX: &str = "mysql_info_schema_innodb_metrics_";

const PAGES_READ: Desc = Desc::counter(
    "mysql_info_schema_innodb_metrics_buffer_page_read_total",
    "Total number of pages read into the buffer pool, by type.",
    &["type"],
);
const PAGES_WRITTEN: Desc = Desc::counter(
    "mysql_info_schema_innodb_metrics_buffer_page_written_total",
    "Total number of pages written from the buffer pool, by type.",
    &["type"],
);
const POOL_PAGES: Desc = Desc::gauge(
    "mysql_info_schema_innodb_metrics_buffer_pool_pages",
    "Current number of pages in the buffer pool, by state.",
    &["state"],
);
const DIRTY_PAGES: Desc = Desc::gauge(
    "mysql_info_schema_innodb_metrics_buffer_pool_dirty_pages",
    "Current number of dirty pages in the buffer pool.",
    &[],
);

pub(super) struct InnodbMetrics;

#[async_trait]
impl Collector<Session> for InnodbMetrics {
    fn name(&self) -> &'static str {
        "info_schema.innodb_metrics"
    }

    fn help(&self) -> &'static str {
        "InnoDB's enabled metrics."
    }

    fn source(&self) -> &'static str {
        "information_schema.innodb_metrics"
    }

    fn enabled_by_default(&self) -> bool {
        false
    }

    fn families(&self) -> Vec<Desc> {
        let counter = Desc::counter(
            "mysql_info_schema_innodb_metrics_<metric>_total",
            "InnoDB metric of type counter (help text taken from INNODB_METRICS.COMMENT).",
            &[],
        );
        let gauge = Desc::gauge(
            "mysql_info_schema_innodb_metrics_<metric>",
            "InnoDB metric of another type (help text taken from INNODB_METRICS.COMMENT).",
            &[],
        );
        vec![PAGES_READ, PAGES_WRITTEN, POOL_PAGES, DIRTY_PAGES, counter, gauge]
    }

    async fn collect(&self, session: &Session, out: &mut Families) -> Result<(), BoxError> {
        let statement = match session.version().is_mariadb_since((10, 5, 0)) {
            true => {
                "SELECT name, subsystem, type, comment, count FROM information_schema.innodb_metrics WHERE enabled = 1"
            }
            false => {
                "SELECT name, subsystem, type, comment, count FROM information_schema.innodb_metrics \
                 WHERE status = 'enabled'"
            }
        };
        write(&session.query(statement).await?, out);
        Ok(())
    }
}

fn write(rows: &Rows, out: &mut Families) {
    for row in rows.iter() {
        let text = |column| row.get(column).unwrap_or_default();
        let Some(value) = row.number(4) else { continue };
        let (name, subsystem) = (text(0), text(1));
        if subsystem == "buffer_page_io" {
            if let Some(kind) = name.strip_prefix("buffer_page_read_") {
                out.push(&PAGES_READ, &[kind], value);
            } else if let Some(kind) = name.strip_prefix("buffer_page_written_") {
                out.push(&PAGES_WRITTEN, &[kind], value);
            }
        } else if let Some(state) = name.strip_prefix("buffer_pool_pages_").filter(|_| subsystem == "buffer") {
            match state {
                // The sum of the states.
                "total" => {}
                "dirty" => out.push(&DIRTY_PAGES, &[], value),
                state => out.push(&POOL_PAGES, &[state], value),
            }
        } else {
            // In the original case, as in mysqld_exporter: `buffer_LRU_batch_scanned`.
            let family = format!("{PREFIX}{subsystem}_{name}");
            // A negative counter is a bug of the server (https://bugs.mysql.com/bug.php?id=75966); mysqld_exporter
            // makes it a gauge.
            let desc = match text(2) {
                "counter" | "status_counter" if value >= 0.0 => {
                    Desc::dynamic(Kind::Counter, family + "_total", text(3).to_owned(), &[])
                }
                _ => Desc::dynamic(Kind::Gauge, family, text(3).to_owned(), &[]),
            };
            out.push(&desc, &[], value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_are_counters_gauges_or_share_a_family() {
        let mut rows = Rows::new(["name", "subsystem", "type", "comment", "count"].map(str::to_owned));
        for row in [
            ["buffer_page_read_index_leaf", "buffer_page_io", "counter", "c", "1"],
            ["buffer_page_written_undo_log", "buffer_page_io", "counter", "c", "2"],
            ["buffer_page_other", "buffer_page_io", "counter", "c", "3"],
            ["buffer_pool_pages_total", "buffer", "value", "c", "4"],
            ["buffer_pool_pages_dirty", "buffer", "value", "c", "5"],
            ["buffer_pool_pages_free", "buffer", "value", "c", "6"],
            ["buffer_pool_reads", "buffer", "status_counter", "c", "7"],
            ["lock_TIMEOUTS", "lock", "counter", "c", "8"],
            ["lock_row_lock_current_waits", "lock", "value", "c", "9"],
            ["trx_active", "transaction", "counter", "c", "-1"],
        ] {
            rows.push(row.iter().map(|cell| Some(cell.as_bytes()))).unwrap();
        }
        assert_eq!(
            super::super::testing::page(write, &rows),
            r#"# TYPE mysql_info_schema_innodb_metrics_buffer_buffer_pool_reads_total counter
mysql_info_schema_innodb_metrics_buffer_buffer_pool_reads_total 7
# TYPE mysql_info_schema_innodb_metrics_buffer_page_read_total counter
mysql_info_schema_innodb_metrics_buffer_page_read_total{type="index_leaf"} 1
# TYPE mysql_info_schema_innodb_metrics_buffer_page_written_total counter
mysql_info_schema_innodb_metrics_buffer_page_written_total{type="undo_log"} 2
# TYPE mysql_info_schema_innodb_metrics_buffer_pool_dirty_pages gauge
mysql_info_schema_innodb_metrics_buffer_pool_dirty_pages 5
# TYPE mysql_info_schema_innodb_metrics_buffer_pool_pages gauge
mysql_info_schema_innodb_metrics_buffer_pool_pages{state="free"} 6
# TYPE mysql_info_schema_innodb_metrics_lock_lock_TIMEOUTS_total counter
mysql_info_schema_innodb_metrics_lock_lock_TIMEOUTS_total 8
# TYPE mysql_info_schema_innodb_metrics_lock_lock_row_lock_current_waits gauge
mysql_info_schema_innodb_metrics_lock_lock_row_lock_current_waits 9
# TYPE mysql_info_schema_innodb_metrics_transaction_trx_active gauge
mysql_info_schema_innodb_metrics_transaction_trx_active -1
"#
        );
    }
}
