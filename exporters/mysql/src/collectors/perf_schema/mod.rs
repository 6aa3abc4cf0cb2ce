//! The tables of `performance_schema`, one file per table. A server without such a table has no series.

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
mod table_io_waits;
mod table_locks;

use exporter_toolkit::Collector;
use exporter_toolkit::flags::defaults;

use crate::session::Session;

pub(super) fn all() -> [Box<dyn Collector<Session>>; 12] {
    [
        Box::new(events_statements::EventsStatements { options: defaults() }),
        Box::new(events_statements_sum::EVENTS_STATEMENTS_SUM),
        Box::new(table_io_waits::TABLE_IO_WAITS),
        Box::new(index_io_waits::INDEX_IO_WAITS),
        Box::new(file_events::FILE_EVENTS),
        Box::new(file_instances::FileInstances { options: defaults() }),
        Box::new(events_waits::EVENTS_WAITS),
        Box::new(table_locks::TABLE_LOCKS),
        Box::new(memory_events::MemoryEvents { options: defaults() }),
        Box::new(group_members::GroupMembers),
        Box::new(group_member_stats::GroupMemberStats),
        Box::new(applier_workers::APPLIER_WORKERS),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn collectors_are_off_by_default_and_share_no_family() {
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
