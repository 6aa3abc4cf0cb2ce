//! The command line. Every flag is also an environment variable, see [`service_kit::env`].

use std::{path::PathBuf, process::ExitCode, time::Duration};

use clap::{Args, Command, CommandFactory as _, FromArgMatches as _, Parser};
use reqwest::Url;
use service_kit::{
    address::{self, Address},
    duration::duration,
    env, healthcheck,
    listen::ListenAddress,
    logging::LogArgs,
    tls::{FlagNames, TlsArgs, TlsFlags},
};

use crate::routes::LIVEZ;

const LISTEN_ADDRESS: &str = "listen_address";

/// MedAssist's companion API: payments, the alert webhook, health.
///
/// Requires MySQL 8.0 or later, or MariaDB 10.11 or later. Redis is an optional cache. The API starts and stays in
/// rotation while either is down: requests that need the database then get 503 with Retry-After.
///
/// Every flag is also an environment variable: --web.listen-address is MEDASSIST_API_WEB_LISTEN_ADDRESS.
/// A duration is a number with units, such as 500ms, 3s or 1m30s; a number without a unit is in seconds.
/// SIGHUP reads the password and token files and --web.config.file again.
#[derive(Debug, Clone, Parser)]
#[command(name = "medassist-api", version = service_kit::build::version(env!("CARGO_PKG_VERSION")), max_term_width = 120)]
pub struct Flags {
    /// Address to listen on: `:PORT` for every interface, `HOST:PORT` or `[IPv6]:PORT` for one
    #[arg(long = "web.listen-address", help_heading = "Web", default_value = ":8080", value_name = "ADDRESS")]
    pub listen_address: ListenAddress,

    /// Address of the separate listener for /metrics, which keeps it off the public frontend
    #[arg(long = "web.metrics-address", help_heading = "Web", default_value = ":8081", value_name = "ADDRESS")]
    pub metrics_address: ListenAddress,

    /// YAML file with TLS, users, headers and a rate limit for both listeners, in the format of the Go exporter-toolkit
    #[arg(long = "web.config.file", help_heading = "Web", value_name = "FILE")]
    pub web_config_file: Option<PathBuf>,

    /// Name of this replica in logs and in /health
    #[arg(long = "instance", default_value = "api", value_name = "NAME")]
    pub instance: String,

    /// MySQL or MariaDB server: host, host:port or unix:///path/to/socket
    #[arg(long = "mysql.address", help_heading = "MySQL", default_value = "127.0.0.1:3306", value_name = "ADDRESS", value_parser = address::parser(3306))]
    pub mysql_address: Address,

    /// User name; api/README.md lists the required grants
    #[arg(long = "mysql.user", help_heading = "MySQL", default_value = "medassist", value_name = "USER")]
    pub mysql_user: String,

    /// File containing only the password; or set MEDASSIST_API_MYSQL_PASSWORD
    #[arg(long = "mysql.password-file", help_heading = "MySQL", value_name = "FILE")]
    pub mysql_password_file: Option<PathBuf>,

    /// Name of the database. It must exist; the first start creates its tables
    #[arg(long = "mysql.database", help_heading = "MySQL", default_value = "medassist", value_name = "NAME")]
    pub mysql_database: String,

    /// Redis or Valkey server: host, host:port or unix:///path/to/socket
    #[arg(long = "redis.address", help_heading = "Redis", default_value = "127.0.0.1:6379", value_name = "ADDRESS", value_parser = address::parser(6379))]
    pub redis_address: Address,

    /// File containing only the password; or set MEDASSIST_API_REDIS_PASSWORD
    #[arg(long = "redis.password-file", help_heading = "Redis", value_name = "FILE")]
    pub redis_password_file: Option<PathBuf>,

    /// File containing only the bearer token that POST /api/webhook/alert requires
    ///
    /// Alertmanager reads the same file as `authorization.credentials_file`. Without the flag, the webhook needs no
    /// token: keep it on a private network.
    #[arg(long = "webhook.token-file", help_heading = "Web", value_name = "FILE")]
    pub webhook_token_file: Option<PathBuf>,

    #[command(flatten)]
    pub backfill: BackfillArgs,

    /// Time to keep serving after SIGTERM while /readyz returns 503
    ///
    /// Set it longer than the load balancer takes to notice: its check interval times its `fall`.
    #[arg(long = "drain.delay", help_heading = "Web", default_value = "3s", value_name = "DURATION", value_parser = duration)]
    pub drain_delay: Duration,

    #[command(flatten)]
    pub log: LogArgs,
}

/// Alerts that no notification announced.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Backfill")]
pub struct BackfillArgs {
    /// Prometheus from which to read ended alerts that no notification announced. Off by default
    ///
    /// Alertmanager drops an alert that fired and ended before a delivery succeeded, as while every replica was down.
    #[arg(long = "backfill.prometheus-url", value_name = "URL")]
    pub prometheus_url: Option<Url>,

    /// Which alerts, as PromQL label matchers
    ///
    /// Silences, mute times and inhibition don't count here: alerts of severity p1 have none by default.
    #[arg(long = "backfill.matchers", value_name = "MATCHERS", default_value = "severity=\"p1\"")]
    pub matchers: String,

    /// How far back to read: the longest outage to learn of
    #[arg(long = "backfill.window", value_name = "DURATION", default_value = "6h", value_parser = duration)]
    pub window: Duration,

    /// Time between two reads. An alert must have ended for as long, so that its own notification comes first
    #[arg(long = "backfill.interval", value_name = "DURATION", default_value = "1m", value_parser = interval)]
    pub interval: Duration,

    #[command(flatten)]
    pub tls: TlsArgs<BackfillTls>,
}

#[derive(Debug, Clone)]
pub struct BackfillTls;

impl TlsFlags for BackfillTls {
    const NAMES: &'static FlagNames = &FlagNames {
        ca: "backfill.ssl-ca-cert",
        certificate: "backfill.ssl-client-cert",
        key: "backfill.ssl-client-key",
        server_name: "backfill.ssl-server-name",
        skip_verify: "no-backfill.ssl-verify",
        for_what: "an https:// Prometheus",
    };
}

/// A duration to wait between two runs: not zero.
fn interval(text: &str) -> Result<Duration, String> {
    let interval = duration(text).map_err(|error| error.to_string())?;
    if interval.is_zero() { Err("must be longer than 0".to_owned()) } else { Ok(interval) }
}

/// Reads the command line. `Err` is the exit status of a subcommand, which has run.
pub fn parse() -> Result<Flags, ExitCode> {
    let matches = command().get_matches();
    if let Some(status) = healthcheck::run_http_if_requested(&matches, LISTEN_ADDRESS, LIVEZ) {
        return Err(status);
    }
    Ok(Flags::from_arg_matches(&matches).unwrap_or_else(|error| error.exit()))
}

fn command() -> Command {
    let command = Flags::command()
        .mut_arg("log.level", |arg| {
            arg.help("Minimum level of the messages to log; debug adds health checks to the access log")
        })
        .mut_arg("log.format", |arg| arg.default_value("json"));
    healthcheck::with_http_subcommand(env::with_variables(command), LISTEN_ADDRESS, LIVEZ)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_flag_is_an_environment_variable() {
        let command = command();
        command.clone().debug_assert();
        for arg in command.get_arguments() {
            let flag = arg.get_long().unwrap();
            let variable = env::variable("medassist-api", flag);
            assert_eq!(arg.get_env().unwrap().to_str(), Some(variable.as_str()), "--{flag}");
        }
    }

    #[test]
    fn defaults() {
        let flags = Flags::from_arg_matches(&command().get_matches_from(["medassist-api"])).unwrap();
        assert_eq!(flags.listen_address, ListenAddress::all(8080));
        assert_eq!(flags.metrics_address, ListenAddress::all(8081));
        assert_eq!(flags.drain_delay, Duration::from_secs(3));
        assert_eq!(flags.log.log_format, service_kit::logging::Format::Json);
    }

    #[test]
    fn a_host_without_a_port_has_its_servers_default() {
        let matches =
            command().get_matches_from(["medassist-api", "--mysql.address=localhost", "--redis.address=cache"]);
        let flags = Flags::from_arg_matches(&matches).unwrap();
        assert_eq!(
            (flags.mysql_address.to_string(), flags.redis_address.to_string()),
            ("localhost:3306".into(), "cache:6379".into())
        );
    }
}
