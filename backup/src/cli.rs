//! The command line.

use std::{num::NonZeroU32, path::PathBuf, time::Duration};

use clap::Parser;

use crate::{
    logging::{Format, Level},
    name::BackupName,
    run::Job,
    server::Address,
};

const AFTER_HELP: &str = "\
Times are written like 90s, 15m or 1h30m.

Exit status: 0 a complete backup (or, with --schedule.every, a stop by SIGTERM or SIGINT), 1 a failed run, 2 a wrong command line.

A backup is complete when its manifest is there and says \"ok\". Anything that ends in .partial or .tmp is not a backup.

Examples:
  # Once, now
  mysql-backup --mysql.address=127.0.0.1:3306 --mysql.user=backup --mysql.password-file=/etc/mysql-backup/password \\
    --backup.name=medassist --backup.databases=medassist --backup.directory=/var/backups/mysql

  # As a service: every 15 minutes, so that no more than 15 minutes and one dump's duration are ever at risk
  mysql-backup ... --schedule.every=15m --pushgateway.url=http://127.0.0.1:9091

  # Restore
  zstd -dc medassist-20261122T180900Z.sql.zst | mariadb --user=root";

/// Backs up MySQL and MariaDB databases to files, and proves each one complete.
///
/// Dumps with the server's own client (mariadb-dump or mysqldump), compresses with zstd, compares what was dumped with what the server has,
/// and writes a manifest last. A run that fails leaves a manifest that says why, and no file that looks like a backup.
#[derive(Debug, Parser)]
#[command(name = "mysql-backup", version, after_help = AFTER_HELP, max_term_width = 120)]
pub struct Cli {
    /// Server to back up: host:port, [IPv6]:port or unix:///path/to/socket
    #[arg(long = "mysql.address", env = "MYSQL_BACKUP_MYSQL_ADDRESS", default_value = "127.0.0.1:3306")]
    pub address: Address,

    /// User with the least privileges that README.md lists
    #[arg(long = "mysql.user", env = "MYSQL_BACKUP_MYSQL_USER", default_value = "backup")]
    pub user: String,

    /// File with the user's password; read anew for each run. Absent: an empty password
    #[arg(long = "mysql.password-file", env = "MYSQL_BACKUP_MYSQL_PASSWORD_FILE", value_name = "FILE")]
    pub password_file: Option<PathBuf>,

    /// Directory for backups and manifests; must exist
    #[arg(long = "backup.directory", env = "MYSQL_BACKUP_BACKUP_DIRECTORY", value_name = "DIRECTORY")]
    pub directory: PathBuf,

    /// Name of the backup: the start of its files' names
    #[arg(long = "backup.name", env = "MYSQL_BACKUP_BACKUP_NAME", value_name = "NAME", default_value = "mysql")]
    pub name: BackupName,

    /// Databases to save, separated by commas. Absent: all that the user sees, without the server's own
    #[arg(
        long = "backup.databases",
        env = "MYSQL_BACKUP_BACKUP_DATABASES",
        value_name = "NAMES",
        value_delimiter = ',',
        value_parser = clap::builder::NonEmptyStringValueParser::new()
    )]
    pub databases: Vec<String>,

    /// How many complete backups to keep; older ones go after a good run only
    #[arg(long = "backup.keep", env = "MYSQL_BACKUP_BACKUP_KEEP", value_name = "COUNT", default_value = "96")]
    pub keep: NonZeroU32,

    /// Longest time for one run; then the dump is killed and the run has failed
    #[arg(
        long = "backup.timeout",
        env = "MYSQL_BACKUP_BACKUP_TIMEOUT",
        value_name = "TIME",
        default_value = "20m",
        value_parser = parse_time
    )]
    pub timeout: Duration,

    /// Keep running, and back up once in this time. Absent: back up once and exit
    #[arg(long = "schedule.every", env = "MYSQL_BACKUP_SCHEDULE_EVERY", value_name = "TIME", value_parser = parse_time)]
    pub every: Option<Duration>,

    /// Pushgateway to tell the result, such as http://127.0.0.1:9091. Its failure never fails a backup
    #[arg(long = "pushgateway.url", env = "MYSQL_BACKUP_PUSHGATEWAY_URL", value_name = "URL", value_parser = parse_gateway)]
    pub pushgateway: Option<reqwest::Url>,

    /// Least severe messages to log
    #[arg(long = "log.level", env = "MYSQL_BACKUP_LOG_LEVEL", value_name = "LEVEL", default_value = "info")]
    pub log_level: Level,

    /// How to log
    #[arg(long = "log.format", env = "MYSQL_BACKUP_LOG_FORMAT", value_name = "FORMAT", default_value = "logfmt")]
    pub log_format: Format,
}

impl Cli {
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
        }
    }
}

fn parse_time(text: &str) -> Result<Duration, String> {
    let time: jiff::SignedDuration = text.parse().map_err(|error: jiff::Error| error.to_string())?;
    match Duration::try_from(time) {
        Ok(time) if !time.is_zero() => Ok(time),
        _ => Err("must be more than zero".to_owned()),
    }
}

/// What a typing error makes of a URL would else show at the first push.
fn parse_gateway(text: &str) -> Result<reqwest::Url, String> {
    let url: Option<reqwest::Url> = text.parse().ok();
    let good = |url: &reqwest::Url| {
        matches!(url.scheme(), "http" | "https") && url.query().is_none() && url.fragment().is_none()
    };
    url.filter(good).ok_or_else(|| "expected http://host:port or https://host:port".to_owned())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn each_flag_is_an_environment_variable_by_the_rule() {
        let command = Cli::command();
        command.clone().debug_assert();
        for argument in
            command.get_arguments().filter(|argument| !["help", "version"].contains(&argument.get_id().as_str()))
        {
            let flag = argument.get_long().unwrap();
            let variable = format!("MYSQL_BACKUP_{}", flag.to_uppercase().replace(['.', '-'], "_"));
            assert_eq!(argument.get_env().unwrap(), variable.as_str());
        }
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

    #[test]
    fn times_are_positive_and_have_units() {
        assert_eq!(parse_time("15m"), Ok(Duration::from_secs(900)));
        assert_eq!(parse_time("1h30m"), Ok(Duration::from_secs(5400)));
        for text in ["", "15", "0s", "-5m", "soon"] {
            assert!(parse_time(text).is_err(), "{text}");
        }
    }
}
