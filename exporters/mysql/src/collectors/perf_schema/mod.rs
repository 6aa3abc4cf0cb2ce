//! The tables of `performance_schema`, each of which its own file reads. A server without it, or with an older one, has nothing to see there.

mod applier_workers;
mod events_statements;
mod events_statements_sum;
mod events_waits;
mod file_events;
mod file_instances;
mod group_member_stats;
mod group_members;
mod index_io_waits;
mod memory_events;
mod table;
mod table_io_waits;
mod table_locks;

use std::fmt::Write as _;

use exporter_toolkit::Collector;

use crate::error::Error;
use crate::rows::Rows;
use crate::session::Session;

/// Divides the timers' picoseconds into seconds.
const PICOSECONDS: f64 = 1e12;

/// Rows of one answer at the most: one more than a family takes samples by default, so that an answer that was cut off shows in the count of
/// dropped samples.
const MAX_ROWS: usize = exporter_toolkit::family::DEFAULT_SAMPLE_LIMIT + 1;

// The collectors' own flags. (No doc comment: clap would take it for the program's description.)
#[derive(clap::Args, Clone, Debug)]
#[group(skip)]
pub(crate) struct Options {
    /// Statement digests at the most; those that took the most time
    #[arg(
        long = "collect.perf_schema.eventsstatements.limit",
        value_name = "DIGESTS",
        default_value_t = 250,
        help_heading = "Collectors"
    )]
    digest_limit: u32,

    /// Seconds after which a digest that was not seen again is left out
    #[arg(
        long = "collect.perf_schema.eventsstatements.timelimit",
        value_name = "SECONDS",
        default_value_t = 86_400,
        help_heading = "Collectors"
    )]
    digest_age: u32,

    /// Characters of a digest's text at the most
    #[arg(
        long = "collect.perf_schema.eventsstatements.digest_text_limit",
        value_name = "CHARACTERS",
        default_value_t = 120,
        help_heading = "Collectors"
    )]
    digest_text: u32,

    /// Schema whose statements are left out, besides mysql, performance_schema and information_schema; repeatable
    #[arg(
        long = "collect.perf_schema.eventsstatements.exclude_schemas",
        value_name = "SCHEMA",
        help_heading = "Collectors"
    )]
    exclude_schemas: Vec<String>,

    /// Files whose names match, by the server's REGEXP; all without it
    #[arg(
        long = "collect.perf_schema.file_instances.filter",
        value_name = "REGEXP",
        default_value = ".*",
        help_heading = "Collectors"
    )]
    file_filter: String,

    /// Beginning of files' names to leave out of the label
    #[arg(
        long = "collect.perf_schema.file_instances.remove_prefix",
        value_name = "PREFIX",
        default_value = "/var/lib/mysql/",
        help_heading = "Collectors"
    )]
    file_prefix: String,

    /// Beginning of instruments' names to leave out of the label
    #[arg(
        long = "collect.perf_schema.memory_events.remove_prefix",
        value_name = "PREFIX",
        default_value = "memory/",
        help_heading = "Collectors"
    )]
    memory_prefix: String,
}

pub(super) fn all() -> [Box<dyn Collector<Session>>; 12] {
    [
        Box::new(events_statements::EventsStatements),
        Box::new(events_statements_sum::EVENTS_STATEMENTS_SUM),
        Box::new(table_io_waits::TABLE_IO_WAITS),
        Box::new(index_io_waits::INDEX_IO_WAITS),
        Box::new(file_events::FILE_EVENTS),
        Box::new(file_instances::FileInstances),
        Box::new(events_waits::EVENTS_WAITS),
        Box::new(table_locks::TABLE_LOCKS),
        Box::new(memory_events::MemoryEvents),
        Box::new(group_members::GroupMembers),
        Box::new(group_member_stats::GroupMemberStats),
        Box::new(applier_workers::APPLIER_WORKERS),
    ]
}

/// The rows of a statement, none where the server has no such table. A table without the privilege to read it is an error.
async fn rows(session: &Session, statement: String) -> Result<Rows, Error> {
    match session.query(statement).await {
        Err(error) if error.is_unknown_table() => Ok(Rows::default()),
        result => result,
    }
}

/// A text in a statement, in a spelling that no sql_mode reads differently.
fn literal(text: &str) -> String {
    let mut literal = "_utf8mb4 X'".to_owned();
    for byte in text.bytes() {
        let _ = write!(literal, "{byte:02X}");
    }
    literal.push('\'');
    literal
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_cannot_leave_their_literal() {
        assert_eq!(literal("a'\\ü"), "_utf8mb4 X'61275CC3BC'");
        assert_eq!(literal(""), "_utf8mb4 X''");
    }

    #[test]
    fn all_are_off_by_default_and_told_apart() {
        let mut families: Vec<_> =
            all().iter().flat_map(|collector| collector.families()).map(|desc| desc.name).collect();
        assert!(families.iter().all(|name| name.starts_with("mysql_perf_schema_")));
        let count = families.len();
        families.sort();
        families.dedup();
        assert_eq!(families.len(), count);
        assert!(all().iter().all(|collector| !collector.enabled_by_default()));
    }
}
