//! `performance_schema.memory_summary_global_by_event_name`.

use exporter_toolkit::{BoxError, Collector, Desc, Families, async_trait};

use super::rows;
use super::table::{Measure, Table};
use crate::session::Session;

const LABELS: &[&str] = &["event_name"];

const TABLE: Table = Table {
    name: "perf_schema.memory_events",
    help: "Memory by what it is for, from performance_schema.memory_summary_global_by_event_name.",
    from: "performance_schema.memory_summary_global_by_event_name WHERE COUNT_ALLOC > 0",
    labels: &["EVENT_NAME"],
    measures: &[
        Measure {
            desc: Desc::counter("mysql_perf_schema_memory_events_alloc_bytes_total", "Bytes allocated.", LABELS),
            unit: 1.0,
            columns: &[("SUM_NUMBER_OF_BYTES_ALLOC", "")],
        },
        Measure {
            desc: Desc::counter("mysql_perf_schema_memory_events_free_bytes_total", "Bytes freed.", LABELS),
            unit: 1.0,
            columns: &[("SUM_NUMBER_OF_BYTES_FREE", "")],
        },
        Measure {
            // Below zero where memory was allocated before its instrument was switched on.
            desc: Desc::gauge("mysql_perf_schema_memory_events_used_bytes", "Bytes in use.", LABELS),
            unit: 1.0,
            columns: &[("CURRENT_NUMBER_OF_BYTES_USED", "")],
        },
    ],
    mysql_since: None,
};

pub(super) struct MemoryEvents;

#[async_trait]
impl Collector<Session> for MemoryEvents {
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
        let rows = rows(session, TABLE.statement("")).await?;
        TABLE.write(&rows, &session.options().perf_schema.memory_prefix, out);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::table::samples;
    use super::*;

    #[test]
    fn the_prefix_is_left_out_and_use_may_be_below_zero() {
        assert_eq!(
            samples(&TABLE, "memory/", &["memory/sql/THD", "8", "16", "-8"].map(Some)),
            [
                "mysql_perf_schema_memory_events_alloc_bytes_total{event_name=\"sql/THD\"} 8",
                "mysql_perf_schema_memory_events_free_bytes_total{event_name=\"sql/THD\"} 16",
                "mysql_perf_schema_memory_events_used_bytes{event_name=\"sql/THD\"} -8",
            ]
        );
    }
}
