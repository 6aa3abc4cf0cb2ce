//! When a check warns and when it fails: a flag each.

use exporter_toolkit::CheckStatus;
use exporter_toolkit::flags::positive;

// (No doc comment: clap would take it for the program's description.)
#[derive(clap::Args, Clone, Copy, Debug)]
pub(crate) struct Thresholds {
    /// Seconds for an answer to SHOW GLOBAL STATUS from which on the check `query` warns
    #[arg(long = "health.query-warn", value_name = "SECONDS", default_value_t = 1.0, value_parser = positive, help_heading = "Health")]
    pub(super) query_warn: f64,

    /// Percent of max_connections in use from which on the check `connections` warns
    #[arg(long = "health.connections-warn", value_name = "PERCENT", default_value_t = 80.0, value_parser = positive, help_heading = "Health")]
    pub(super) connections_warn: f64,

    /// Percent of max_connections in use from which on the check `connections` fails
    #[arg(long = "health.connections-fail", value_name = "PERCENT", default_value_t = 95.0, value_parser = positive, help_heading = "Health")]
    pub(super) connections_fail: f64,

    /// Seconds until max_connections is reached, as connections grow now, below which the check `connections` warns
    #[arg(long = "health.connections-forecast", value_name = "SECONDS", default_value_t = 900.0, value_parser = positive, help_heading = "Health")]
    pub(super) connections_forecast: f64,

    /// Seconds behind the source, beyond a delay that is configured, from which on the check `replication` warns
    #[arg(long = "health.replication-lag-warn", value_name = "SECONDS", default_value_t = 30.0, value_parser = positive, help_heading = "Health")]
    pub(super) lag_warn: f64,

    /// Seconds behind the source, beyond a delay that is configured, from which on the check `replication` fails
    #[arg(long = "health.replication-lag-fail", value_name = "SECONDS", default_value_t = 300.0, value_parser = positive, help_heading = "Health")]
    pub(super) lag_fail: f64,

    /// Seconds that a transaction has been open from which on the check `transactions` warns
    #[arg(long = "health.transaction-warn", value_name = "SECONDS", default_value_t = 300.0, value_parser = positive, help_heading = "Health")]
    pub(in crate::collectors) transaction_warn: f64,

    /// Seconds that a transaction has been open from which on the check `transactions` fails
    #[arg(long = "health.transaction-fail", value_name = "SECONDS", default_value_t = 3600.0, value_parser = positive, help_heading = "Health")]
    pub(in crate::collectors) transaction_fail: f64,

    /// Seconds that a statement has waited for a metadata lock from which on the check `metadata_locks` warns
    #[arg(long = "health.metadata-lock-warn", value_name = "SECONDS", default_value_t = 10.0, value_parser = positive, help_heading = "Health")]
    pub(in crate::collectors) metadata_lock_warn: f64,

    /// Seconds that a statement has waited for a metadata lock from which on the check `metadata_locks` fails
    #[arg(long = "health.metadata-lock-fail", value_name = "SECONDS", default_value_t = 60.0, value_parser = positive, help_heading = "Health")]
    pub(in crate::collectors) metadata_lock_fail: f64,

    /// Old versions of rows that InnoDB keeps from which on the check `history` warns
    #[arg(long = "health.history-warn", value_name = "VERSIONS", default_value_t = 1e6, value_parser = positive, help_heading = "Health")]
    pub(in crate::collectors) history_warn: f64,

    /// Old versions of rows that InnoDB keeps from which on the check `history` fails
    #[arg(long = "health.history-fail", value_name = "VERSIONS", default_value_t = 1e7, value_parser = positive, help_heading = "Health")]
    pub(in crate::collectors) history_fail: f64,

    /// Tables opened a second, while table_open_cache is full, from which on the check `table_cache` warns
    #[arg(long = "health.table-opens-warn", value_name = "PER_SECOND", default_value_t = 10.0, value_parser = positive, help_heading = "Health")]
    pub(super) table_opens_warn: f64,

    /// Temporary tables a second that go to disk, if they are a quarter of all or more, from which on the check `temp_tables` warns
    #[arg(long = "health.temp-tables-warn", value_name = "PER_SECOND", default_value_t = 10.0, value_parser = positive, help_heading = "Health")]
    pub(super) temp_tables_warn: f64,

    /// Days before the end of the server's TLS certificate from which on the check `certificate` warns
    #[arg(long = "health.certificate-warn", value_name = "DAYS", default_value_t = 30.0, value_parser = positive, help_heading = "Health")]
    pub(super) certificate_warn: f64,

    /// Days before the end of the server's TLS certificate from which on the check `certificate` fails
    #[arg(long = "health.certificate-fail", value_name = "DAYS", default_value_t = 7.0, value_parser = positive, help_heading = "Health")]
    pub(super) certificate_fail: f64,

    /// Seconds for the write of the canary from which on the check `write` warns
    #[arg(long = "health.write-warn", value_name = "SECONDS", default_value_t = 1.0, value_parser = positive, help_heading = "Health")]
    pub(in crate::collectors) write_warn: f64,
}

/// The status of a number that is worse the larger it is.
pub(in crate::collectors) fn grade(value: f64, warn: f64, fail: f64) -> CheckStatus {
    if value >= fail {
        CheckStatus::Fail
    } else if value >= warn {
        CheckStatus::Warn
    } else {
        CheckStatus::Ok
    }
}

#[cfg(test)]
impl Thresholds {
    /// As without flags.
    pub(in crate::collectors) fn defaults() -> Self {
        #[derive(clap::Parser)]
        struct Command {
            #[command(flatten)]
            thresholds: Thresholds,
        }
        <Command as clap::Parser>::parse_from(["test"]).thresholds
    }
}
