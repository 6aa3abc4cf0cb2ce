//! How to connect to a server: the account, and the limits of a connection.

use std::time::Duration;

use exporter_toolkit::duration::duration;
use tokio::time::Instant;

use crate::wire::Tls;

/// The account to log in with. It has no `Debug`: it contains a password.
pub(crate) struct Account {
    pub(crate) user: String,
    pub(crate) password: Option<String>,
    pub(crate) tls: Option<Tls>,
    pub(crate) cleartext: bool,
}

/// Limits of the exporter's connections, under mysqld_exporter's names.
#[derive(clap::Args, Clone, Copy, Debug)]
#[group(skip)]
#[command(next_help_heading = "Connections")]
pub(crate) struct ConnectionSettings {
    /// Limit in seconds for a statement's wait for a metadata lock or a row lock
    #[arg(long = "exporter.lock_wait_timeout", value_name = "SECONDS", default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=31_536_000))]
    lock_wait_timeout: u32,

    /// Set lock_wait_timeout for the exporter's connections [default: on]
    #[arg(long = "exporter.enable_lock_wait_timeout")]
    enable_lock_wait_timeout: bool,

    /// Leave the server's own lock_wait_timeout in force
    #[arg(long = "no-exporter.enable_lock_wait_timeout", overrides_with = "enable_lock_wait_timeout")]
    no_lock_wait_timeout: bool,

    /// Set log_slow_filter (MariaDB, Percona Server) to on-disk temporary tables and sorts, as mysqld_exporter does
    #[arg(long = "exporter.log_slow_filter")]
    pub(crate) log_slow_filter: bool,

    /// Timeout for one statement; 0 means the scrape timeout
    #[arg(long = "exporter.query_timeout", value_name = "DURATION", default_value = "0", value_parser = duration)]
    query_timeout: Duration,

    /// Maximum connections per server: 1 or 2; larger values and 0 mean 2
    #[arg(long = "exporter.max_open_connections", value_name = "CONNECTIONS", default_value_t = MAX_CONNECTIONS, value_parser = connections)]
    pub(crate) max_open_connections: usize,
}

impl ConnectionSettings {
    /// The deadline of a statement that starts at `now`.
    pub(crate) fn statement_deadline(&self, now: Instant, scrape_deadline: Instant) -> Instant {
        if self.query_timeout.is_zero() { scrape_deadline } else { scrape_deadline.min(now + self.query_timeout) }
    }

    /// The server-side limit of a statement, in whole seconds.
    pub(crate) fn statement_seconds(&self, scrape_seconds: u64) -> u64 {
        let seconds = self.query_timeout.as_secs() + u64::from(self.query_timeout.subsec_nanos() > 0);
        if seconds == 0 { scrape_seconds } else { seconds.min(scrape_seconds) }
    }

    pub(crate) fn lock_wait_timeout(&self) -> Option<u32> {
        (self.enable_lock_wait_timeout || !self.no_lock_wait_timeout).then_some(self.lock_wait_timeout)
    }
}

/// One for a statement that hangs and one for the others; mysqld_exporter has the same default.
const MAX_CONNECTIONS: usize = 2;

/// mysqld_exporter takes 0 as "unlimited".
fn connections(text: &str) -> Result<usize, String> {
    match text.parse::<usize>() {
        Ok(1) => Ok(1),
        Ok(0 | 2..) => Ok(MAX_CONNECTIONS),
        Err(_) => Err("expected a number of connections".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl ConnectionSettings {
        /// The settings that these flags make.
        pub(crate) fn from_flags(flags: &[&str]) -> Self {
            #[derive(clap::Parser)]
            struct Command {
                #[command(flatten)]
                settings: ConnectionSettings,
            }
            <Command as clap::Parser>::parse_from(["test"].iter().chain(flags)).settings
        }
    }

    #[test]
    fn statements_end_with_the_scrape_or_earlier() {
        let now = Instant::now();
        let scrape = now + Duration::from_secs(10);
        for (flag, ours, servers) in [("0", 10_000, 10), ("2", 2_000, 2), ("1500ms", 1_500, 2), ("3650d", 10_000, 10)] {
            let settings = ConnectionSettings::from_flags(&[&format!("--exporter.query_timeout={flag}")]);
            assert_eq!(settings.statement_deadline(now, scrape) - now, Duration::from_millis(ours), "{flag}");
            assert_eq!(settings.statement_seconds(10), servers, "{flag}");
        }
    }

    #[test]
    fn no_flag_opens_more_than_two_connections() {
        for (flag, connections) in [("0", 2), ("1", 1), ("2", 2), ("10", 2)] {
            let settings = ConnectionSettings::from_flags(&[&format!("--exporter.max_open_connections={flag}")]);
            assert_eq!(settings.max_open_connections, connections);
        }
    }
}
