mod backups;
mod scans;

use exporter_toolkit::Collector;

use crate::Session;

pub(crate) fn all() -> Vec<Box<dyn Collector<Session>>> {
    vec![Box::new(backups::Backups), Box::new(scans::Scans)]
}
