//! The command line. Every flag is also an environment variable, see [`service_kit::env`].

use std::{num::NonZeroU32, path::PathBuf, time::Duration};

use clap::{Command, CommandFactory as _, FromArgMatches as _, Parser};
use service_kit::{
    address::{self, Address},
    duration::positive_duration,
    env, healthcheck,
    logging::LogArgs,
    tls::{FlagNames, TlsArgs, TlsFlags},
};

use crate::{name::BackupName, run::Job};

const AFTER_HELP: &str = "\
A duration is a number with units, such as 90s, 15m, 1h30m or 1d; a number without a unit is in seconds.

Every flag is also an environment variable: --backup.keep is MYSQL_BACKUP_BACKUP_KEEP.

Exit status: 0 a complete backup (or, with --schedule.every, a stop by SIGTERM or SIGINT), 1 a failed run, 2 an invalid command line.

A backup is complete when its manifest exists and contains \"ok\". Files that end in .partial or .tmp are not backups.

Examples:
  # Once, now
  mysql-backup --mysql.address=127.0.0.1:3306 --mysql.user=backup --mysql.password-file=/etc/mysql-backup/password \\
    --backup.name=medassist --backup.databases=medassist --backup.directory=/var/backups/mysql

  # As a service: every 15 minutes, so that at most 15 minutes and one dump's duration are at risk
  mysql-backup ... --schedule.every=15m --pushgateway.url=http://127.0.0.1:9091

  # Restore
  zstd -dc medassist-20261122T180900Z.sql.zst | mariadb --user=root";

/// Backs up MySQL and MariaDB databases to files, and proves each backup complete.
///
/// Dumps with the server's own client (mariadb-dump or mysqldump), compresses with zstd, compares the dump with the
/// server's list of objects, and writes a manifest last. A run that fails leaves a manifest with the reason, and no
/// file that looks like a backup.
#[derive(Debug, Parser)]
#[command(name = "mysql-backup", version = service_kit::build::version(env!("CARGO_PKG_VERSION")), after_help = AFTER_HELP, max_term_width = 120)]
pub struct Cli {
    /// Server to back up: host, host:port or unix:///path/to/socket
    #[arg(long = "mysql.address", help_heading = "MySQL", value_name = "ADDRESS", default_value = "127.0.0.1:3306", value_parser = address::parser(3306))]
    pub address: Address,

    /// User name; backup/README.md lists the required grants
    #[arg(long = "mysql.user", help_heading = "MySQL", value_name = "USER", default_value = "backup")]
    pub user: String,

    /// File containing only the password; read for each run [default: an empty password]
    #[arg(long = "mysql.password-file", help_heading = "MySQL", value_name = "FILE")]
    pub password_file: Option<PathBuf>,

    /// Directory for backups and manifests. It must exist
    #[arg(long = "backup.directory", help_heading = "Backup", value_name = "DIRECTORY")]
    pub directory: PathBuf,

    /// Name of the backup, with which its files' names begin
    #[arg(long = "backup.name", help_heading = "Backup", value_name = "NAME", default_value = "mysql")]
    pub name: BackupName,

    /// Databases to back up, comma-separated [default: all that the user can access, except system databases]
    #[arg(
        long = "backup.databases",
        help_heading = "Backup",
        value_name = "NAMES",
        value_delimiter = ',',
        value_parser = clap::builder::NonEmptyStringValueParser::new()
    )]
    pub databases: Vec<String>,

    /// Number of complete backups to keep; older ones are removed after a successful run
    #[arg(long = "backup.keep", help_heading = "Backup", value_name = "COUNT", default_value = "96")]
    pub keep: NonZeroU32,

    /// Timeout of one run, after which the dump is killed and the run fails
    #[arg(long = "backup.timeout", help_heading = "Backup", value_name = "DURATION", default_value = "20m", value_parser = positive_duration)]
    pub timeout: Duration,

    /// Keep running and back up at this interval, such as 15m [default: back up once and exit]
    #[arg(long = "schedule.every", help_heading = "Backup", value_name = "DURATION", value_parser = positive_duration)]
    pub every: Option<Duration>,

    /// Pushgateway to which to push each run's result, such as http://127.0.0.1:9091; a failed push is only logged
    #[arg(long = "pushgateway.url", help_heading = "Pushgateway", value_name = "URL", value_parser = parse_gateway)]
    pub pushgateway: Option<reqwest::Url>,

    #[command(flatten, next_help_heading = "Pushgateway")]
    pub pushgateway_tls: TlsArgs<PushgatewayTls>,

    #[command(flatten)]
    pub log: LogArgs,
}

#[derive(Debug)]
pub struct PushgatewayTls;

impl TlsFlags for PushgatewayTls {
    const NAMES: &'static FlagNames = &FlagNames {
        ca: "pushgateway.ssl-ca-cert",
        certificate: "pushgateway.ssl-client-cert",
        key: "pushgateway.ssl-client-key",
        server_name: "pushgateway.ssl-server-name",
        skip_verify: "no-pushgateway.ssl-verify",
        for_what: "an https:// Pushgateway",
    };
}

/// The task that the command line selects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Task {
    Backup,
    Healthcheck,
}

impl Cli {
    /// Reads the command line and the environment.
    pub fn read() -> (Task, Self) {
        let matches = command().get_matches();
        let (task, matches) = match matches.subcommand_matches(healthcheck::SUBCOMMAND) {
            Some(matches) => (Task::Healthcheck, matches),
            None => (Task::Backup, &matches),
        };
        (task, Self::from_arg_matches(matches).unwrap_or_else(|error| error.exit()))
    }

    pub fn job(self) -> Job {
        Job {
            address: self.address,
            user: self.user,
            password_file: self.password_file,
            name: self.name,
            directory: self.directory,
            databases: self.databases,
            keep: self.keep,
            timeout: self.timeout,
            pushgateway: self.pushgateway,
            pushgateway_tls: self.pushgateway_tls.tls,
        }
    }
}

fn command() -> Command {
    let command = env::with_variables(Cli::command());
    // All flags, so that the check takes the very command line of the job.
    let about = "Check that no run of --schedule.every is overdue: exit status 0 or 1";
    healthcheck::with_subcommand(command, about.to_owned(), |_| true)
}

/// Checked at the start: a typing error would otherwise show at the first push.
fn parse_gateway(text: &str) -> Result<reqwest::Url, String> {
    let url: Option<reqwest::Url> = text.parse().ok();
    let good = |url: &reqwest::Url| {
        matches!(url.scheme(), "http" | "https") && url.query().is_none() && url.fragment().is_none()
    };
    url.filter(good).ok_or_else(|| "expected http://host:port or https://host:port".to_owned())
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
            let variable = env::variable("mysql-backup", flag);
            assert_eq!(arg.get_env().unwrap().to_str(), Some(variable.as_str()), "--{flag}");
        }
    }

    #[test]
    fn the_healthcheck_takes_the_command_line_of_the_job() {
        let flags = ["--backup.directory=/b", "--schedule.every=15m", "--mysql.address=db"];
        let matches = command().try_get_matches_from([&["mysql-backup", "healthcheck"], &flags[..]].concat()).unwrap();
        let cli = Cli::from_arg_matches(matches.subcommand_matches(healthcheck::SUBCOMMAND).unwrap()).unwrap();
        assert_eq!(cli.every, Some(Duration::from_secs(900)));
    }

    #[test]
    fn a_gateway_is_an_http_url() {
        for text in ["http://127.0.0.1:9091", "https://me:secret@gateway.example/push/"] {
            assert!(parse_gateway(text).is_ok(), "{text}");
        }
        for text in
            ["", "localhost:9091", "127.0.0.1:9091", "ftp://gateway", "http://gateway/?a=b", "http://gateway/#a"]
        {
            assert!(parse_gateway(text).is_err(), "{text}");
        }
    }
}
