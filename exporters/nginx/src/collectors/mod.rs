//! One file per collector.

mod health;
mod stub_status;

use exporter_toolkit::{Collector, HealthCollector};

use crate::target::Session;

pub(crate) fn all() -> Vec<Box<dyn Collector<Session>>> {
    vec![Box::new(stub_status::Connections), Box::new(HealthCollector::<health::Health>::default())]
}
