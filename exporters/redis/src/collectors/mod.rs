//! One file a collector: its families in a table at the top, what it makes of the session below.

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

use exporter_toolkit::Collector;

use crate::client::Session;

pub(crate) use health::CHECKS;

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
        Box::new(health::Health),
    ]
}

/// For collectors' tests: the page of one collector.
#[cfg(test)]
fn page(collector: &dyn Collector<Session>, session: &Session) -> String {
    use futures::FutureExt as _;

    let mut families = exporter_toolkit::Families::default();
    collector.collect(session, &mut families).now_or_never().expect("collectors don't wait").unwrap();
    exporter_toolkit::testing::samples(families).into_iter().map(|line| line + "\n").collect()
}
