//! `performance_schema.memory_summary_global_by_event_name`.

use clap::{ArgMatches, Args as _, Command, FromArgMatches as _};
use exporter_toolkit::{BoxError, Collector, Desc, Families, async_trait};

use crate::collectors::select::{Measure, Select};
use crate::session::Session;
use crate::sql::MAX_ROWS;

const LABELS: &[&str] = &["event_name"];

const SELECT: Select = Select {
    from: "performance_schema.memory_summary_global_by_event_name WHERE COUNT_ALLOC > 0",
    labels: &["EVENT_NAME"],
    measures: &[
        Measure::one(
            Desc::counter(
                "mysql_perf_schema_memory_events_alloc_bytes_total",
                "Total number of bytes allocated, by event.",
                LABELS,
            ),
            "SUM_NUMBER_OF_BYTES_ALLOC",
        ),
        Measure::one(
            Desc::counter(
                "mysql_perf_schema_memory_events_free_bytes_total",
                "Total number of bytes freed, by event.",
                LABELS,
            ),
            "SUM_NUMBER_OF_BYTES_FREE",
        ),
        Measure::one(
            Desc::gauge(
                "mysql_perf_schema_memory_events_used_bytes",
                "Current number of bytes in use, by event; negative if memory was allocated before its instrument was enabled.",
                LABELS,
            ),
            "CURRENT_NUMBER_OF_BYTES_USED",
        ),
    ],
};

#[derive(clap::Args, Clone, Debug)]
#[group(skip)]
#[command(next_help_heading = "Collectors")]
pub(super) struct Options {
    /// Prefix to remove from the label event_name
    #[arg(long = "collect.perf_schema.memory_events.remove_prefix", value_name = "PREFIX", default_value = "memory/")]
    memory_prefix: String,
}

pub(super) struct MemoryEvents {
    pub(super) options: Options,
}

#[async_trait]
impl Collector<Session> for MemoryEvents {
    fn name(&self) -> &'static str {
        "perf_schema.memory_events"
    }

    fn help(&self) -> &'static str {
        "Memory by instrument."
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
        let rows = session.query_if_table_exists(SELECT.statement("")).await?;
        SELECT.write(&rows, &self.options.memory_prefix, out);
        Ok(rows.require_all(MAX_ROWS)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::collectors::select::samples;

    #[test]
    fn the_prefix_is_removed_and_usage_may_be_negative() {
        assert_eq!(
            samples(&SELECT, "memory/", &["memory/sql/THD", "8", "16", "-8"].map(Some)),
            [
                "mysql_perf_schema_memory_events_alloc_bytes_total{event_name=\"sql/THD\"} 8",
                "mysql_perf_schema_memory_events_free_bytes_total{event_name=\"sql/THD\"} 16",
                "mysql_perf_schema_memory_events_used_bytes{event_name=\"sql/THD\"} -8",
            ]
        );
    }
}
