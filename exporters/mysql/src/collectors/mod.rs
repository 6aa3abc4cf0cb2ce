//! The collectors, one per file: its families, checks and flags at the top, then how they are made from the server's
//! answer, and the tests.

mod account_statistics;
mod auto_increment;
mod binlog_size;
mod canary;
mod engine_innodb_status;
mod global_status;
mod global_variables;
mod health;
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
mod select;
mod slave_hosts;
mod slave_status;
mod table;
mod table_statistics;
mod tables;
#[cfg(test)]
mod testing;
mod transactions;
mod user;
mod user_summary;

use exporter_toolkit::flags::defaults;
use exporter_toolkit::{Collector, HealthCollector};

use crate::session::Session;

pub(crate) fn all() -> Vec<Box<dyn Collector<Session>>> {
    let mut all: Vec<Box<dyn Collector<Session>>> = vec![
        Box::new(global_status::GlobalStatus),
        Box::new(global_variables::GlobalVariables),
        Box::new(slave_status::SlaveStatus),
        Box::new(innodb_compression::INNODB_CMP),
        Box::new(innodb_compression::INNODB_CMPMEM),
        Box::new(query_response_time::QueryResponseTime),
        Box::new(HealthCollector::<health::Health>::default()),
        Box::new(transactions::Transactions { thresholds: defaults() }),
        Box::new(logins::Logins),
        Box::new(canary::Canary { options: defaults() }),
        Box::new(processlist::Processlist { options: defaults() }),
        Box::new(tables::Tables { options: defaults() }),
        Box::new(innodb_metrics::InnodbMetrics),
        Box::new(auto_increment::COLUMNS),
        Box::new(binlog_size::BinlogSize),
        Box::new(engine_innodb_status::EngineInnodbStatus),
        Box::new(heartbeat::Heartbeat { options: defaults() }),
        Box::new(slave_hosts::SlaveHosts),
        Box::new(account_statistics::CLIENTS),
        Box::new(account_statistics::USERS),
        Box::new(table_statistics::TABLES),
        Box::new(table_statistics::SCHEMAS),
        Box::new(user::User { options: defaults() }),
        Box::new(user_summary::USER_SUMMARY),
        Box::new(innodb_tablespaces::InnodbTablespaces),
        Box::new(replica_host::REPLICA_HOSTS),
        Box::new(rocksdb_perf_context::RocksdbPerfContext),
    ];
    all.extend(perf_schema::all());
    all
}
