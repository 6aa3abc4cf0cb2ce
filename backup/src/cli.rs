//! The command line. Every flag is also an environment variable, see [`service_kit::env`].

use std::{ffi::OsString, num::NonZeroU32, path::PathBuf, time::Duration};

use clap::{
    Args, Command, FromArgMatches as _,
    error::{ContextKind, ContextValue},
};
use jiff::Timestamp;
use service_kit::{
    address::{self, Address},
    duration::positive_duration,
    env,
    logging::LogArgs,
};

use crate::{
    binlog_flags::BinlogArgs,
    encryption::Recipient,
    healthcheck, help,
    login::{Account, Tls},
    name::BackupName,
    offsite::Offsite,
    offsite_flags::OffsiteArgs,
    proving::Proving,
    report_flags::ReportArgs,
    restore::{AccountPolicy, At, BinlogPolicy},
    retention::Retention,
    run::Job,
};

const PROGRAM: &str = "mysql-backup";

const ABOUT: &str = "\
Backs up MySQL and MariaDB databases to files, restores them, and proves that they can be restored.

A backup is a compressed dump, made by the server's own client, and a manifest that is written last. A backup is complete when its manifest exists and contains \"ok\". Files that end in .partial or .tmp are not backups.";

/// What the command line asks for.
#[derive(Debug)]
pub enum Task {
    Run(RunArgs),
    Schedule(ScheduleArgs),
    Healthcheck(ScheduleArgs),
    List(ListArgs),
    Verify(VerifyArgs),
    Restore(RestoreArgs),
    Prune(PruneArgs),
    Fetch(FetchArgs),
}

/// Where the backups are.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Backup")]
pub struct PlaceArgs {
    /// Directory for backups and manifests. It must exist
    #[arg(long = "backup.directory", value_name = "DIRECTORY")]
    pub directory: PathBuf,

    /// Name of the backup, with which its files' names begin
    #[arg(long = "backup.name", value_name = "NAME", default_value = "mysql")]
    pub name: BackupName,
}

#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "MySQL")]
pub struct ServerArgs {
    /// Server to back up: host, host:port or unix:///path/to/socket
    #[arg(long = "mysql.address", value_name = "ADDRESS", default_value = "127.0.0.1:3306", value_parser = address::parser(3306))]
    pub address: Address,

    /// User name; backup/README.md lists the required grants
    #[arg(long = "mysql.user", value_name = "USER", default_value = "backup")]
    pub user: String,

    /// File containing only the password; read for each run [default: an empty password]
    #[arg(long = "mysql.password-file", value_name = "FILE")]
    pub password_file: Option<PathBuf>,

    /// PEM file with the certificate authority of the server; connects with TLS
    #[arg(long = "mysql.tls-ca", value_name = "FILE")]
    pub tls_ca: Option<PathBuf>,

    /// Connect with TLS, but do not verify the server's certificate
    #[arg(long = "mysql.tls-insecure-skip-verify")]
    pub tls_skip_verify: bool,
}

#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Retention")]
pub struct KeepArgs {
    /// Number of newest complete backups to keep; older ones are removed after a successful run
    #[arg(long = "backup.keep", value_name = "COUNT", default_value = "96")]
    pub last: NonZeroU32,

    /// In addition, keep the newest backup of each of the last hours that have one
    #[arg(long = "backup.keep-hourly", value_name = "COUNT", default_value = "0")]
    pub hourly: u32,

    /// In addition, keep the newest backup of each of the last days that have one
    #[arg(long = "backup.keep-daily", value_name = "COUNT", default_value = "0")]
    pub daily: u32,

    /// In addition, keep the newest backup of each of the last weeks that have one
    #[arg(long = "backup.keep-weekly", value_name = "COUNT", default_value = "0")]
    pub weekly: u32,

    /// In addition, keep the newest backup of each of the last months that have one
    #[arg(long = "backup.keep-monthly", value_name = "COUNT", default_value = "0")]
    pub monthly: u32,
}

#[derive(Debug, Clone, Args)]
pub struct FetchArgs {
    #[command(flatten)]
    pub place: PlaceArgs,

    #[command(flatten)]
    pub choice: ChoiceArgs,

    #[command(flatten)]
    pub offsite: OffsiteArgs,

    #[command(flatten)]
    pub log: LogArgs,
}

#[derive(Debug, Clone, Args)]
pub struct RunArgs {
    #[command(flatten)]
    pub server: ServerArgs,

    #[command(flatten)]
    pub place: PlaceArgs,

    /// Databases to back up, comma-separated [default: all that the user can access, except system databases]
    #[arg(
        long = "backup.databases",
        help_heading = "Backup",
        value_name = "NAMES",
        value_delimiter = ',',
        value_parser = clap::builder::NonEmptyStringValueParser::new()
    )]
    pub databases: Vec<String>,

    /// Leave users and grants out of the backup, which has the hashes of their passwords
    #[arg(long = "backup.no-accounts", help_heading = "Backup")]
    pub no_accounts: bool,

    /// Encrypt to these public keys (age recipients), comma-separated; the secret key of any one decrypts
    #[arg(long = "encrypt.recipients", help_heading = "Backup", value_name = "KEYS", value_delimiter = ',')]
    pub recipients: Vec<Recipient>,

    /// Timeout of one run, after which the dump is killed and the run fails
    #[arg(long = "backup.timeout", help_heading = "Backup", value_name = "DURATION", default_value = "20m", value_parser = positive_duration)]
    pub timeout: Duration,

    #[command(flatten)]
    pub keep: KeepArgs,

    #[command(flatten)]
    pub offsite: OffsiteArgs,

    #[command(flatten)]
    pub report: ReportArgs,

    #[command(flatten)]
    pub log: LogArgs,
}

#[derive(Debug, Clone, Args)]
pub struct ScheduleArgs {
    /// Interval between the starts of two runs; a failed run is repeated before the next one is due
    #[arg(long = "schedule.every", help_heading = "Schedule", value_name = "DURATION", value_parser = positive_duration)]
    pub every: Option<Duration>,

    #[command(flatten)]
    pub proving: ProvingArgs,

    #[command(flatten)]
    pub binlog: BinlogArgs,

    #[command(flatten)]
    pub run: RunArgs,
}

#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Restore test")]
pub struct ProvingArgs {
    /// Interval of restore tests into a throwaway server, such as 1d; of the off-site copy, if there is one
    #[arg(long = "verify.every", value_name = "DURATION", value_parser = positive_duration)]
    pub verify_every: Option<Duration>,

    /// Timeout of one restore test
    #[arg(long = "verify.timeout", value_name = "DURATION", default_value = "1h", value_parser = positive_duration)]
    pub verify_timeout: Duration,

    #[command(flatten)]
    pub decrypt: DecryptArgs,
}

impl ProvingArgs {
    pub fn proving(self, offsite: Option<Offsite>) -> Option<Proving> {
        let identity_file = self.decrypt.identity_file;
        Some(Proving { every: self.verify_every?, timeout: self.verify_timeout, identity_file, offsite })
    }
}

impl ServerArgs {
    fn account(self) -> Account {
        let tls = (self.tls_ca.is_some() || self.tls_skip_verify)
            .then_some(Tls { ca: self.tls_ca, skip_verify: self.tls_skip_verify });
        Account { address: self.address, user: self.user, password_file: self.password_file, tls }
    }
}

impl KeepArgs {
    pub fn retention(&self) -> Retention {
        let Self { last, hourly, daily, weekly, monthly } = *self;
        Retention { last, hourly, daily, weekly, monthly }
    }
}

impl RunArgs {
    pub fn job(self) -> Job {
        Job {
            account: self.server.account(),
            name: self.place.name,
            directory: self.place.directory,
            databases: self.databases,
            accounts: !self.no_accounts,
            retention: self.keep.retention(),
            recipients: self.recipients,
            timeout: self.timeout,
            report: self.report.targets(),
        }
    }
}

#[derive(Debug, Clone, Args)]
pub struct ListArgs {
    #[command(flatten)]
    pub place: PlaceArgs,

    /// Print one JSON object per line instead of a table
    #[arg(long = "json")]
    pub json: bool,
}

#[derive(Debug, Clone, Args)]
pub struct PruneArgs {
    #[command(flatten)]
    pub place: PlaceArgs,

    #[command(flatten)]
    pub keep: KeepArgs,

    /// Print what would be removed, and remove nothing
    #[arg(long = "dry-run")]
    pub dry_run: bool,
}

/// Which backup.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Choice")]
pub struct ChoiceArgs {
    /// Use the newest backup whose recovery point is not after this time, such as 2026-11-22T18:00:00Z
    #[arg(long = "at", value_name = "TIME", conflicts_with = "run")]
    pub at: Option<Timestamp>,

    /// Use the backup of this run, such as medassist-20261122T180900Z [default: the newest complete backup]
    #[arg(long = "run", value_name = "RUN")]
    pub run: Option<String>,
}

#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Choice")]
pub struct DecryptArgs {
    /// File with the secret keys (age identities), one of which decrypts the backup
    #[arg(long = "decrypt.identity-file", value_name = "FILE")]
    pub identity_file: Option<PathBuf>,
}

#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Target")]
pub struct TargetArgs {
    /// User name on the target; it needs all privileges
    #[arg(long = "target.user", value_name = "USER", default_value = "root")]
    pub user: String,

    /// File containing only the password on the target [default: an empty password]
    #[arg(long = "target.password-file", value_name = "FILE")]
    pub password_file: Option<PathBuf>,

    /// PEM file with the certificate authority of the target; connects with TLS
    #[arg(long = "target.tls-ca", value_name = "FILE")]
    pub tls_ca: Option<PathBuf>,

    /// Connect with TLS, but do not verify the target's certificate
    #[arg(long = "target.tls-insecure-skip-verify")]
    pub tls_skip_verify: bool,
}

#[derive(Debug, Clone, Args)]
pub struct RestoreArgs {
    #[command(flatten)]
    pub place: PlaceArgs,

    /// State to restore: a time, such as 2026-11-22T18:00:00Z, or latest; replays the received binary log
    #[arg(long = "at", help_heading = "Choice", value_name = "TIME")]
    pub at: Option<At>,

    /// Begin with the backup of this run [default: with --at the newest one before that time, else the newest]
    #[arg(long = "run", help_heading = "Choice", value_name = "RUN")]
    pub run: Option<String>,

    #[command(flatten)]
    pub decrypt: DecryptArgs,

    /// Server to restore to: host, host:port or unix:///path/to/socket
    #[arg(long = "target.address", help_heading = "Target", value_name = "ADDRESS", value_parser = address::parser(3306))]
    pub address: Address,

    #[command(flatten)]
    pub target: TargetArgs,

    /// Restore only these databases, comma-separated [default: all in the backup]
    #[arg(long = "database", help_heading = "Scope", value_name = "NAMES", value_delimiter = ',')]
    pub databases: Vec<String>,

    /// Restore the one database of --database under another name
    #[arg(long = "as", help_heading = "Scope", value_name = "NAME", requires = "databases")]
    pub rename: Option<String>,

    /// Restore only these tables of the one database, comma-separated, with their rows and triggers
    #[arg(long = "table", help_heading = "Scope", value_name = "NAMES", value_delimiter = ',', requires = "databases")]
    pub tables: Vec<String>,

    /// Drop databases (with --table: tables) that are to be restored and exist on the target
    #[arg(long = "overwrite", help_heading = "Safety")]
    pub overwrite: bool,

    /// Restore to a replica, which then differs from its primary
    #[arg(long = "allow-replica", help_heading = "Safety")]
    pub allow_replica: bool,

    /// Whether the load is written to the target's binary log, and so reaches its replicas: write or skip
    #[arg(long = "binlog", help_heading = "Safety", value_name = "POLICY", default_value = "write")]
    pub binlog: BinlogPolicy,

    /// Users and roles to create if they do not exist: those that definers need, all in the backup, or none
    #[arg(long = "accounts", help_heading = "Scope", value_name = "WHICH", default_value = "definers")]
    pub accounts: AccountPolicy,

    #[command(flatten)]
    pub log: LogArgs,
}

#[derive(Debug, Clone, Args)]
pub struct VerifyArgs {
    #[command(flatten)]
    pub place: PlaceArgs,

    #[command(flatten)]
    pub choice: ChoiceArgs,

    #[command(flatten)]
    pub decrypt: DecryptArgs,

    /// Load the backup into a throwaway server, compare the contents, and write a proof next to the manifest
    #[arg(long = "restore")]
    pub restore: bool,

    /// Empty server to load into [default: one that is started for it, mariadbd or mysqld from PATH]
    #[arg(long = "target.address", help_heading = "Target", value_name = "ADDRESS", value_parser = address::parser(3306))]
    pub address: Option<Address>,

    #[command(flatten)]
    pub target: TargetArgs,

    /// Column that the application writes all the time, as DATABASE.TABLE.COLUMN; its newest value is in the proof
    #[arg(long = "canary", help_heading = "Canary", value_name = "COLUMN", requires = "restore")]
    pub canary: Option<String>,

    /// Maximum age of the newest canary at the recovery point
    #[arg(long = "canary-max-age", help_heading = "Canary", value_name = "DURATION", default_value = "15m", value_parser = positive_duration)]
    pub canary_max_age: Duration,

    /// Timeout of the restore
    #[arg(long = "timeout", value_name = "DURATION", default_value = "1h", value_parser = positive_duration)]
    pub timeout: Duration,

    #[command(flatten)]
    pub log: LogArgs,
}

impl TargetArgs {
    pub fn account(self, address: Address) -> Account {
        ServerArgs {
            address,
            user: self.user,
            password_file: self.password_file,
            tls_ca: self.tls_ca,
            tls_skip_verify: self.tls_skip_verify,
        }
        .account()
    }
}

/// Reads the command line and the environment.
pub fn read() -> Task {
    let every = env::variable(PROGRAM, "schedule.every");
    let is_schedule = std::env::var_os(every).is_some_and(|value| !value.is_empty());
    parse(with_command(std::env::args_os().collect(), is_schedule)).unwrap_or_else(|error| error.exit())
}

/// Flags without a command, as before there were commands.
fn with_command(mut args: Vec<OsString>, is_schedule: bool) -> Vec<OsString> {
    let flag = |arg: &OsString| arg.to_str().is_some_and(|arg| arg.starts_with('-'));
    let about = |arg: &OsString| ["-h", "--help", "-V", "--version"].iter().any(|other| arg == other);
    if args.get(1).is_none_or(|first| flag(first) && !about(first)) {
        let every = |arg: &OsString| arg.to_str().is_some_and(|arg| arg.starts_with("--schedule.every"));
        let command = if is_schedule || args.iter().any(every) { "schedule" } else { "run" };
        args.insert(args.len().min(1), command.into());
    }
    args
}

/// A refused URL may hold a login, which must not get into logs.
fn without_login(mut error: clap::Error) -> clap::Error {
    let rest = match error.get(ContextKind::InvalidValue) {
        Some(ContextValue::String(value)) => value.rsplit_once('@').map(|(_, rest)| rest.to_owned()),
        _ => None,
    };
    if let Some(rest) = rest {
        error.insert(ContextKind::InvalidValue, ContextValue::String(format!("…@{rest}")));
    }
    error
}

fn parse(args: Vec<OsString>) -> Result<Task, clap::Error> {
    let matches = command().try_get_matches_from(args).map_err(without_login)?;
    let Some((name, matches)) = matches.subcommand() else {
        return Err(command().error(clap::error::ErrorKind::MissingSubcommand, "a command is required"));
    };
    Ok(match name {
        "schedule" => Task::Schedule(ScheduleArgs::from_arg_matches(matches)?),
        healthcheck::SUBCOMMAND => Task::Healthcheck(ScheduleArgs::from_arg_matches(matches)?),
        "list" => Task::List(ListArgs::from_arg_matches(matches)?),
        "verify" => Task::Verify(VerifyArgs::from_arg_matches(matches)?),
        "restore" => Task::Restore(RestoreArgs::from_arg_matches(matches)?),
        "fetch" => Task::Fetch(FetchArgs::from_arg_matches(matches)?),
        "prune" => Task::Prune(PruneArgs::from_arg_matches(matches)?),
        _ => Task::Run(RunArgs::from_arg_matches(matches)?),
    })
}

fn command() -> Command {
    Command::new(PROGRAM)
        .version(service_kit::build::version(env!("CARGO_PKG_VERSION")))
        .about(ABOUT.lines().next())
        .long_about(ABOUT)
        .after_help(help::AFTER_HELP)
        .max_term_width(120)
        .subcommand_required(true)
        .arg_required_else_help(true)
        .disable_help_subcommand(true)
        .subcommand(subcommand::<RunArgs>("run", "Back up once, now", help::RUN_HELP))
        .subcommand(subcommand::<ScheduleArgs>(
            "schedule",
            "Back up again and again, as a service",
            help::SCHEDULE_HELP,
        ))
        .subcommand(subcommand::<ListArgs>("list", "List the backups, newest first", help::LIST_HELP))
        .subcommand(subcommand::<VerifyArgs>(
            "verify",
            "Verify a backup, with --restore by restoring it",
            help::VERIFY_HELP,
        ))
        .subcommand(subcommand::<RestoreArgs>("restore", "Restore a backup to a server", help::RESTORE_HELP))
        .subcommand(subcommand::<FetchArgs>("fetch", "Bring an off-site copy to a directory", help::FETCH_HELP))
        .subcommand(subcommand::<PruneArgs>(
            "prune",
            "Remove the backups that the retention does not keep",
            help::PRUNE_HELP,
        ))
        .subcommand(subcommand::<ScheduleArgs>(
            healthcheck::SUBCOMMAND,
            "Check that no run of --schedule.every is overdue: exit status 0 or 1",
            "",
        ))
}

/// Its flags' variables begin with the program's name, not with the subcommand's.
fn subcommand<A: Args>(name: &'static str, about: &'static str, after: &'static str) -> Command {
    let command = env::with_variables(A::augment_args(Command::new(PROGRAM)));
    command.name(name).about(about).after_help(after).max_term_width(120)
}

/// Checked at the start: a typing error would otherwise show at the first push.
#[cfg(test)]
mod tests {
    use super::*;

    fn task(args: &[&str], is_schedule: bool) -> Result<Task, clap::Error> {
        let args = std::iter::once("mysql-backup").chain(args.iter().copied()).map(OsString::from).collect();
        parse(with_command(args, is_schedule))
    }

    #[test]
    fn every_flag_is_an_environment_variable() {
        let command = command();
        command.clone().debug_assert();
        for subcommand in command.get_subcommands() {
            for arg in subcommand.get_arguments() {
                let flag = arg.get_long().unwrap();
                let variable = env::variable(PROGRAM, flag);
                assert_eq!(arg.get_env().unwrap().to_str(), Some(variable.as_str()), "--{flag}");
            }
        }
    }

    #[test]
    fn a_refused_url_shows_no_login() {
        let urls = ["http://user:secret@host:99999/", "user:secret@host", "ftp://user:secret@host/"];
        for flag in ["--pushgateway.url", "--on-success", "--on-failure"] {
            for url in urls {
                let error = task(&["run", "--backup.directory=/b", &format!("{flag}={url}")], false).unwrap_err();
                let text = error.to_string();
                assert!(text.contains("…@host") && !text.contains("secret"), "{text}");
            }
        }
    }

    #[test]
    fn flags_without_a_command_run_once_or_on_a_schedule() {
        let directory = "--backup.directory=/b";
        assert!(matches!(task(&[directory], false), Ok(Task::Run(_))));
        assert!(matches!(task(&[directory, "--schedule.every=15m"], false), Ok(Task::Schedule(_))));
        assert!(matches!(task(&[directory], true), Ok(Task::Schedule(_))));
        assert!(matches!(task(&["list", directory], false), Ok(Task::List(_))));
        assert!(task(&["--help"], false).is_err());
    }

    #[test]
    fn the_healthcheck_takes_the_command_line_of_the_job() {
        let flags = ["healthcheck", "--backup.directory=/b", "--schedule.every=15m", "--mysql.address=db"];
        let Ok(Task::Healthcheck(args)) = task(&flags, false) else { panic!("healthcheck") };
        assert_eq!(args.every, Some(Duration::from_secs(900)));
    }

    #[test]
    fn a_restore_says_where_to() {
        assert!(task(&["restore", "--backup.directory=/b"], false).is_err());
        assert!(task(&["restore", "--backup.directory=/b", "--target.address=db", "--as=x"], false).is_err());
        let flags =
            ["restore", "--backup.directory=/b", "--target.address=db", "--database=a", "--as=x", "--table=t,u"];
        let Ok(Task::Restore(args)) = task(&flags, false) else { panic!("restore") };
        assert_eq!((args.rename.as_deref(), args.tables), (Some("x"), vec!["t".to_owned(), "u".to_owned()]));
    }
}
