//! `performance_schema.file_summary_by_instance`.

use clap::{ArgMatches, Args as _, Command, FromArgMatches as _};
use exporter_toolkit::{BoxError, Collector, Desc, Families, async_trait};

use crate::collectors::select::{Measure, Select};
use crate::session::Session;
use crate::sql::MAX_ROWS;
use crate::sql::literal;

const LABELS: &[&str] = &["file_name", "event_name", "mode"];

const SELECT: Select = Select {
    from: "performance_schema.file_summary_by_instance",
    labels: &["FILE_NAME", "EVENT_NAME"],
    measures: &[
        // The peer's name, without `_total`.
        Measure::by_label(
            Desc::counter(
                "mysql_perf_schema_file_instances_bytes",
                "Total number of bytes read from and written to the file, by mode.",
                LABELS,
            )
            .field("SUM_NUMBER_OF_BYTES_*"),
            &[("SUM_NUMBER_OF_BYTES_READ", "read"), ("SUM_NUMBER_OF_BYTES_WRITE", "write")],
        ),
        Measure::by_label(
            Desc::counter(
                "mysql_perf_schema_file_instances_total",
                "Total number of reads from and writes to the file, by mode.",
                LABELS,
            )
            .field("COUNT_*"),
            &[("COUNT_READ", "read"), ("COUNT_WRITE", "write")],
        ),
    ],
};

#[derive(clap::Args, Clone, Debug)]
#[group(skip)]
#[command(next_help_heading = "Collectors")]
pub(super) struct Options {
    /// Regular expression, evaluated by the server, that file names must match
    #[arg(long = "collect.perf_schema.file_instances.filter", value_name = "REGEXP", default_value = ".*")]
    file_filter: String,

    /// Prefix to remove from the label file_name
    #[arg(
        long = "collect.perf_schema.file_instances.remove_prefix",
        value_name = "PREFIX",
        default_value = "/var/lib/mysql/"
    )]
    file_prefix: String,
}

pub(super) struct FileInstances {
    pub(super) options: Options,
}

#[async_trait]
impl Collector<Session> for FileInstances {
    fn name(&self) -> &'static str {
        "perf_schema.file_instances"
    }

    fn help(&self) -> &'static str {
        "Input and output of single files."
    }

    fn source(&self) -> &'static str {
        SELECT.table()
    }

    fn enabled_by_default(&self) -> bool {
        false
    }

    fn families(&self) -> Vec<Desc> {
        SELECT.families()
    }

    fn augment_args(&self, command: Command) -> Command {
        Options::augment_args(command)
    }

    fn configure(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        self.options.update_from_arg_matches(matches)
    }

    async fn collect(&self, session: &Session, out: &mut Families) -> Result<(), BoxError> {
        let statement = SELECT.statement(&condition(&self.options.file_filter));
        let rows = session.query_if_table_exists(statement).await?;
        SELECT.write(&rows, &self.options.file_prefix, out);
        Ok(rows.require_all(MAX_ROWS)?)
    }
}

fn condition(filter: &str) -> String {
    if filter == ".*" { String::new() } else { format!(" WHERE FILE_NAME REGEXP {}", literal(filter)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::collectors::select::samples;

    #[test]
    fn the_prefix_is_removed_from_file_names() {
        let written = |name| samples(&SELECT, "/data/", &[name, "wait/io/file/sql/FRM", "1", "2", "3", "4"].map(Some));
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
    fn the_filter_is_a_condition_of_the_statement() {
        assert_eq!(condition(".*"), "");
        assert_eq!(condition("i.d$"), " WHERE FILE_NAME REGEXP _utf8mb4 X'692E6424'");
    }
}
