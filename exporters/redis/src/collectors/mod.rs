//! One file per collector: its families and checks in a table at the top, its reading of the session below.

mod cluster;
mod commandstats;
mod config;
mod fields;
mod health;
mod info;
mod keyspace;
mod latency;
mod replication;
mod scrape;
mod sentinel;
mod slowlog;

use exporter_toolkit::{Collector, HealthCollector};

use crate::client::Session;

pub(crate) fn all() -> Vec<Box<dyn Collector<Session>>> {
    vec![
        Box::new(info::InfoFields),
        Box::new(keyspace::Keyspace),
        Box::new(commandstats::CommandStats),
        Box::new(replication::Replication),
        Box::new(config::Config),
        Box::new(slowlog::SlowLog),
        Box::new(latency::Latency),
        Box::new(cluster::Cluster),
        Box::new(sentinel::Sentinel),
        Box::new(scrape::Scrape),
        Box::new(HealthCollector::<health::Health>::default()),
    ]
}

/// For tests of collectors: the samples of one collector.
#[cfg(test)]
fn page(collector: &dyn Collector<Session>, session: &Session) -> String {
    use futures::FutureExt as _;

    let families =
        exporter_toolkit::testing::collect(collector, session).now_or_never().expect("collectors don't wait");
    exporter_toolkit::testing::samples(families).into_iter().map(|line| line + "\n").collect()
}
