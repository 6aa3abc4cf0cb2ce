//! `performance_schema.file_summary_by_instance`.

use exporter_toolkit::{BoxError, Collector, Desc, Families, async_trait};

use super::table::{Measure, Table};
use super::{literal, rows};
use crate::session::Session;

const LABELS: &[&str] = &["file_name", "event_name", "mode"];

const TABLE: Table = Table {
    name: "perf_schema.file_instances",
    help: "Input and output of single files, from performance_schema.file_summary_by_instance.",
    from: "performance_schema.file_summary_by_instance",
    labels: &["FILE_NAME", "EVENT_NAME"],
    measures: &[
        // A peer's name: without `_total`.
        Measure {
            desc: Desc::counter(
                "mysql_perf_schema_file_instances_bytes",
                "Bytes read from a file and written to it.",
                LABELS,
            ),
            unit: 1.0,
            columns: &[("SUM_NUMBER_OF_BYTES_READ", "read"), ("SUM_NUMBER_OF_BYTES_WRITE", "write")],
        },
        Measure {
            desc: Desc::counter(
                "mysql_perf_schema_file_instances_total",
                "Reads from a file and writes to it.",
                LABELS,
            ),
            unit: 1.0,
            columns: &[("COUNT_READ", "read"), ("COUNT_WRITE", "write")],
        },
    ],
    mysql_since: None,
};

pub(super) struct FileInstances;

#[async_trait]
impl Collector<Session> for FileInstances {
    fn name(&self) -> &'static str {
        TABLE.name
    }

    fn help(&self) -> &'static str {
        TABLE.help
    }

    fn enabled_by_default(&self) -> bool {
        false
    }

    fn families(&self) -> Vec<Desc> {
        TABLE.families()
    }

    async fn collect(&self, session: &Session, out: &mut Families) -> Result<(), BoxError> {
        let options = &session.options().perf_schema;
        let rows = rows(session, TABLE.statement(&condition(&options.file_filter))).await?;
        TABLE.write(&rows, &options.file_prefix, out);
        Ok(())
    }
}

fn condition(filter: &str) -> String {
    if filter == ".*" { String::new() } else { format!(" WHERE FILE_NAME REGEXP {}", literal(filter)) }
}

#[cfg(test)]
mod tests {
    use super::super::table::samples;
    use super::*;

    #[test]
    fn the_prefix_is_left_out_of_files_names() {
        let written = |name| samples(&TABLE, "/data/", &[name, "wait/io/file/sql/FRM", "1", "2", "3", "4"].map(Some));
        let series = |name: &str| {
            let labels = |mode| format!("{{file_name=\"{name}\",event_name=\"wait/io/file/sql/FRM\",mode=\"{mode}\"}}");
            [("bytes", "read", 1), ("bytes", "write", 2), ("total", "read", 3), ("total", "write", 4)].map(
                |(family, mode, value)| format!("mysql_perf_schema_file_instances_{family}{} {value}", labels(mode)),
            )
        };
        assert_eq!(written("/data/shop/order.frm"), series("shop/order.frm"));
        assert_eq!(written("/elsewhere/data/x"), series("/elsewhere/data/x"));
    }

    #[test]
    fn the_server_filters_where_there_is_a_filter() {
        assert_eq!(condition(".*"), "");
        assert_eq!(condition("i.d$"), " WHERE FILE_NAME REGEXP _utf8mb4 X'692E6424'");
    }
}
