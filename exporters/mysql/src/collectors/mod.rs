//! One file a collector: its families in a table at the top, how they come from the server's answer below, and the tests of that.

mod account_statistics;
mod auto_increment;
mod binlog_size;
mod canary;
mod engine_innodb_status;
mod global_status;
mod global_variables;
pub(crate) mod health;
mod heartbeat;
mod innodb_compression;
mod innodb_metrics;
mod innodb_tablespaces;
mod logins;
mod perf_schema;
mod processlist;
mod query_response_time;
mod replica_host;
mod rocksdb_perf_context;
mod slave_hosts;
mod slave_status;
mod table;
mod table_statistics;
mod tables;
mod transactions;
mod user;
mod user_summary;

use exporter_toolkit::Collector;

use crate::session::Session;

// Flags of single collectors. (No doc comment: clap would take it for the program's description.)
#[derive(clap::Args, Clone, Debug)]
#[group(skip)]
pub(crate) struct Options {
    #[command(flatten)]
    perf_schema: perf_schema::Options,

    #[command(flatten)]
    processlist: processlist::Options,

    #[command(flatten)]
    tables: tables::Options,

    #[command(flatten)]
    heartbeat: heartbeat::Options,

    #[command(flatten)]
    user: user::Options,

    #[command(flatten)]
    canary: canary::Options,
}

pub(crate) fn all() -> Vec<Box<dyn Collector<Session>>> {
    let mut all: Vec<Box<dyn Collector<Session>>> = vec![
        Box::new(global_status::GlobalStatus),
        Box::new(global_variables::GlobalVariables),
        Box::new(slave_status::SlaveStatus),
        Box::new(innodb_compression::INNODB_CMP),
        Box::new(innodb_compression::INNODB_CMPMEM),
        Box::new(query_response_time::QueryResponseTime),
        Box::new(health::Health),
        Box::new(transactions::Transactions),
        Box::new(logins::Logins),
        Box::new(canary::Canary),
        Box::new(processlist::Processlist),
        Box::new(tables::Tables),
        Box::new(innodb_metrics::InnodbMetrics),
        Box::new(auto_increment::COLUMNS),
        Box::new(binlog_size::BinlogSize),
        Box::new(engine_innodb_status::EngineInnodbStatus),
        Box::new(heartbeat::Heartbeat),
        Box::new(slave_hosts::SlaveHosts),
        Box::new(account_statistics::CLIENTS),
        Box::new(account_statistics::USERS),
        Box::new(table_statistics::TABLES),
        Box::new(table_statistics::SCHEMAS),
        Box::new(user::User),
        Box::new(user_summary::USER_SUMMARY),
        Box::new(innodb_tablespaces::InnodbTablespaces),
        Box::new(replica_host::REPLICA_HOSTS),
        Box::new(rocksdb_perf_context::RocksdbPerfContext),
    ];
    all.extend(perf_schema::all());
    all
}

/// For collectors' tests: what one writes of an answer.
#[cfg(test)]
fn page(write: fn(&crate::rows::Rows, &mut exporter_toolkit::Families), answer: &crate::rows::Rows) -> String {
    let mut out = exporter_toolkit::Families::default();
    write(answer, &mut out);
    exporter_toolkit::testing::page(out)
}
