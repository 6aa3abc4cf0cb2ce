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

#[cfg(test)]
mod tests {
    use std::path::Path;

    /// Those whose limit is not a bound: the flag's number of digests, the one row of a member.
    const CUT_BY_INTENT: [&str; 2] = ["events_statements.rs", "group_member_stats.rs"];

    fn sources(directory: &Path, found: &mut Vec<(String, String)>) {
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                sources(&path, found);
            } else {
                let text = std::fs::read_to_string(&path).unwrap();
                let code = text.split("#[cfg(test)]").next().unwrap_or_default().to_owned();
                found.push((path.file_name().unwrap().to_string_lossy().into_owned(), code));
            }
        }
    }

    /// A bound that cuts an answer must fail its collector: nothing else would show that series are missing.
    #[test]
    fn every_limit_of_a_statement_is_reported() {
        let mut all = Vec::new();
        sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src/collectors"), &mut all);
        let limited: Vec<_> = all
            .iter()
            .filter(|(name, code)| {
                (code.contains(" LIMIT ") || code.contains(".statement(")) && !CUT_BY_INTENT.contains(&name.as_str())
            })
            // It builds the statements of others.
            .filter(|(name, _)| name != "select.rs")
            .collect();
        assert!(limited.len() >= 9, "{}", limited.len());
        let silent: Vec<_> =
            limited.iter().filter(|(_, code)| !code.contains(".require_all(")).map(|(name, _)| name).collect();
        assert!(silent.is_empty(), "without Rows::require_all: {silent:?}");
    }
}
