mod backup_checks;
mod backups;
mod binlog;
mod databases;
mod offsite;
mod proofs;
mod scans;
mod unix_time;
mod worst;

use exporter_toolkit::Collector;

use crate::target::Session;

pub(crate) fn all() -> Vec<Box<dyn Collector<Session>>> {
    vec![
        Box::new(backups::Backups),
        Box::new(databases::Databases),
        Box::new(proofs::RestoreTests),
        Box::new(offsite::OffsiteCopies),
        Box::new(binlog::BinaryLog),
        Box::new(scans::Scans),
    ]
}
