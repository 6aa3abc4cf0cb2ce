//! The command line; every flag is also an environment variable.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use clap::{Args, Parser, ValueEnum};

use crate::address::Address;

/// MedAssist's companion API: payments, the alert webhook, health.
///
/// Needs MySQL 8+ or MariaDB 10.11+ and, as a cache it can do without, Redis. It comes up and stays in rotation when
/// either is down: what needs the database then answers 503 with Retry-After.
///
/// Every flag is also an environment variable: MEDASSIST_API_ and the flag in capitals, `.` and `-` as `_`.
/// Passwords come from files or from MEDASSIST_API_MYSQL_PASSWORD and MEDASSIST_API_REDIS_PASSWORD, never from flags.
#[derive(Debug, Clone, Parser)]
#[command(name = "medassist-api", version, max_term_width = 120)]
pub struct Flags {
    /// Where the API listens. `:8080` means every address
    #[arg(long = "web.listen-address", env = "MEDASSIST_API_WEB_LISTEN_ADDRESS", default_value = ":8080", value_name = "HOST:PORT", value_parser = listen_address)]
    pub listen_address: SocketAddr,

    /// Where /metrics is served: a listener of its own, so that it stays off the public frontend
    #[arg(long = "web.metrics-address", env = "MEDASSIST_API_WEB_METRICS_ADDRESS", default_value = ":8081", value_name = "HOST:PORT", value_parser = listen_address)]
    pub metrics_address: SocketAddr,

    /// This replica's name in logs and in /health
    #[arg(long = "instance", env = "MEDASSIST_API_INSTANCE", default_value = "api", value_name = "NAME")]
    pub instance: String,

    /// MySQL or MariaDB: host:port or unix:///path
    #[arg(
        long = "mysql.address",
        env = "MEDASSIST_API_MYSQL_ADDRESS",
        default_value = "127.0.0.1:3306",
        value_name = "ADDRESS"
    )]
    pub mysql_address: Address,

    /// Its rights are in README.md; it must be able to create tables at the first start
    #[arg(long = "mysql.user", env = "MEDASSIST_API_MYSQL_USER", default_value = "medassist", value_name = "USER")]
    pub mysql_user: String,

    /// File that holds the password, alone
    #[arg(long = "mysql.password-file", env = "MEDASSIST_API_MYSQL_PASSWORD_FILE", value_name = "FILE")]
    pub mysql_password_file: Option<PathBuf>,

    /// The database must exist; its tables are created
    #[arg(
        long = "mysql.database",
        env = "MEDASSIST_API_MYSQL_DATABASE",
        default_value = "medassist",
        value_name = "NAME"
    )]
    pub mysql_database: String,

    /// Redis or Valkey: host:port or unix:///path
    #[arg(
        long = "redis.address",
        env = "MEDASSIST_API_REDIS_ADDRESS",
        default_value = "127.0.0.1:6379",
        value_name = "ADDRESS"
    )]
    pub redis_address: Address,

    /// File that holds the password, alone
    #[arg(long = "redis.password-file", env = "MEDASSIST_API_REDIS_PASSWORD_FILE", value_name = "FILE")]
    pub redis_password_file: Option<PathBuf>,

    /// File that holds the bearer token which POST /api/webhook/alert then demands
    ///
    /// The same file serves Alertmanager as `authorization.credentials_file`. Without it the webhook is open: keep it on a private network.
    #[arg(long = "webhook.token-file", env = "MEDASSIST_API_WEBHOOK_TOKEN_FILE", value_name = "FILE")]
    pub webhook_token_file: Option<PathBuf>,

    /// How long to go on serving after SIGTERM while /readyz already says 503
    ///
    /// Longer than the load balancer takes to notice: its check interval times its `fall`.
    #[arg(long = "drain.delay", env = "MEDASSIST_API_DRAIN_DELAY", default_value = "3s", value_name = "DURATION", value_parser = duration)]
    pub drain_delay: Duration,

    #[command(flatten)]
    pub log: LogFlags,
}

#[derive(Debug, Clone, Args)]
pub struct LogFlags {
    /// `debug` adds health checks to the access log
    #[arg(long = "log.level", env = "MEDASSIST_API_LOG_LEVEL", default_value = "info", value_name = "LEVEL")]
    pub level: LogLevel,

    #[arg(long = "log.format", env = "MEDASSIST_API_LOG_FORMAT", default_value = "json", value_name = "FORMAT")]
    pub format: LogFormat,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum LogLevel {
    Error,
    Warn,
    Info,
    Debug,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum LogFormat {
    Json,
    Logfmt,
}

fn listen_address(text: &str) -> Result<SocketAddr, String> {
    let full = if text.starts_with(':') { format!("[::]{text}") } else { text.to_owned() };
    full.parse().map_err(|_| "expected IP:PORT, [v6]:PORT or :PORT".to_owned())
}

fn duration(text: &str) -> Result<Duration, String> {
    let parsed: jiff::SignedDuration =
        text.parse().map_err(|_| "expected a duration such as 3s or 500ms".to_owned())?;
    Duration::try_from(parsed).map_err(|_| "must not be negative".to_owned())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn every_flag_has_the_environment_variable_that_its_name_spells() {
        let command = Flags::command();
        command.clone().debug_assert();
        for arg in command.get_arguments() {
            let flag = arg.get_long().unwrap();
            let spelled = format!("MEDASSIST_API_{}", flag.to_uppercase().replace(['.', '-'], "_"));
            assert_eq!(arg.get_env().unwrap().to_str(), Some(spelled.as_str()), "--{flag}");
        }
    }

    #[test]
    fn durations_and_listen_addresses_as_prometheus_users_write_them() {
        assert_eq!(duration("3s"), Ok(Duration::from_secs(3)));
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
        assert!(duration("-1s").is_err());
        assert!(duration("soon").is_err());
        assert_eq!(listen_address(":8080").unwrap().to_string(), "[::]:8080");
        assert_eq!(listen_address("127.0.0.1:18081").unwrap().to_string(), "127.0.0.1:18081");
        assert!(listen_address("8080").is_err());
    }
}
