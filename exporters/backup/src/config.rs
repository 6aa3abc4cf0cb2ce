//! The configuration from the flags: which backups there are, where, and their maximum age.

use std::collections::HashMap;
use std::path::PathBuf;
use std::time::Duration;

use exporter_toolkit::duration::{self, DurationError};
use mysql_backup::name::{BackupName, InvalidBackupName};
use wildmatch::WildMatch;

/// Each one costs a thread for the time of its scan.
const MAX_JOBS: usize = 100;

#[derive(clap::Args, Debug)]
pub struct Args {
    /// Backup with manifests, as mysql-backup writes them: its --backup.name and its directory. Repeatable
    #[arg(long = "backup.job", value_name = "NAME:DIRECTORY", value_delimiter = ',', help_heading = "Backups")]
    pub jobs: Vec<String>,

    /// Backup without manifests: a name and a path, with wildcards * and ? in the file name. Repeatable
    #[arg(long = "backup.pattern", value_name = "NAME:GLOB", value_delimiter = ',', help_heading = "Backups")]
    pub patterns: Vec<String>,

    /// Maximum age of the recovery point: DURATION for all backups, NAME=DURATION for one. Repeatable [default: 30m]
    #[arg(long = "backup.rpo", value_name = "[NAME=]DURATION", value_delimiter = ',', help_heading = "Backups")]
    pub rpo: Vec<String>,

    /// Maximum duration of a restore: DURATION for all backups, NAME=DURATION for one. Repeatable [default: 60m]
    #[arg(long = "backup.rto", value_name = "[NAME=]DURATION", value_delimiter = ',', help_heading = "Backups")]
    pub rto: Vec<String>,

    /// Interval of the runs, to count missed ones: DURATION for all backups, NAME=DURATION for one. Repeatable
    #[arg(long = "backup.interval", value_name = "[NAME=]DURATION", value_delimiter = ',', help_heading = "Backups")]
    pub interval: Vec<String>,

    /// Time without a write after which a file of --backup.pattern counts as complete
    #[arg(long = "backup.stable-for", value_name = "DURATION", default_value = "60s", help_heading = "Backups")]
    pub stable_for: String,
}

/// One configured backup.
#[derive(Debug)]
pub(crate) struct Job {
    /// The label `backup`.
    pub name: BackupName,
    pub directory: PathBuf,
    pub source: Source,
    pub rpo: Duration,
    pub rto: Duration,
    pub interval: Option<Duration>,
}

/// How the backups in a directory are recognised.
#[derive(Debug)]
pub(crate) enum Source {
    Manifests,
    Pattern { glob: WildMatch, stable_for: Duration },
}

#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("no backup is configured: give --backup.job=NAME:DIRECTORY or --backup.pattern=NAME:GLOB at least once")]
    NoJobs,
    #[error("{0} backups, but at most {MAX_JOBS} are possible: run a second backup-exporter for the others")]
    TooManyJobs(usize),
    #[error("--backup.job={0}: NAME:DIRECTORY is expected, such as mysql:/var/backups/mysql")]
    Job(String),
    #[error("--backup.pattern={0}: NAME:DIRECTORY/PATTERN is expected, such as app:/var/backups/app/*.tar.gz")]
    Pattern(String),
    #[error("--backup.pattern={0}: wildcards are allowed in the file's name only, not in the directory")]
    WildDirectory(String),
    #[error("--backup.pattern={0}: only * and ? are wildcards here; give one --backup.pattern for each alternative")]
    Wildcard(String),
    #[error("--backup.{flag}={value}: {source}")]
    Name { flag: &'static str, value: String, source: InvalidBackupName },
    #[error("the backup {0} is given twice: each --backup.job and --backup.pattern needs a name of its own")]
    Duplicate(BackupName),
    #[error("--backup.{flag}={value}: {source}")]
    Duration { flag: &'static str, value: String, source: DurationError },
    #[error("--backup.{flag}={value}: there is no such backup among --backup.job and --backup.pattern")]
    OfUnknown { flag: &'static str, value: String },
    #[error("--backup.{flag}={value}: a second value for the same backup")]
    Twice { flag: &'static str, value: String },
}

impl Args {
    pub(crate) fn jobs(&self) -> Result<Vec<Job>, ConfigError> {
        let count = self.jobs.len() + self.patterns.len();
        if count == 0 {
            return Err(ConfigError::NoJobs);
        }
        if count > MAX_JOBS {
            return Err(ConfigError::TooManyJobs(count));
        }
        let stable_for = parse_duration("stable-for", &self.stable_for, duration::duration)?;
        let mut rpo = PerBackup::parse("rpo", &self.rpo)?;
        let mut rto = PerBackup::parse("rto", &self.rto)?;
        let mut interval = PerBackup::parse("interval", &self.interval)?;
        let mut jobs: Vec<Job> = Vec::with_capacity(count);
        let mut add = |name: BackupName, directory: PathBuf, source| {
            if jobs.iter().any(|job| job.name == name) {
                return Err(ConfigError::Duplicate(name));
            }
            jobs.push(Job {
                rpo: rpo.take(&name).unwrap_or(DEFAULT_RPO),
                rto: rto.take(&name).unwrap_or(DEFAULT_RTO),
                interval: interval.take(&name),
                name,
                directory,
                source,
            });
            Ok(())
        };
        for value in &self.jobs {
            let (name, directory) = split("job", value, ConfigError::Job)?;
            add(name, directory.into(), Source::Manifests)?;
        }
        for value in &self.patterns {
            let (name, path) = split("pattern", value, ConfigError::Pattern)?;
            let (directory, file) = path.rsplit_once('/').ok_or_else(|| ConfigError::Pattern(value.clone()))?;
            if file.is_empty() {
                return Err(ConfigError::Pattern(value.clone()));
            }
            if directory.contains(['*', '?']) {
                return Err(ConfigError::WildDirectory(value.clone()));
            }
            if file.contains(['[', '{']) {
                return Err(ConfigError::Wildcard(value.clone()));
            }
            let directory = if directory.is_empty() { "/" } else { directory };
            add(name, directory.into(), Source::Pattern { glob: WildMatch::new(file), stable_for })?;
        }
        rpo.finish()?;
        rto.finish()?;
        interval.finish()?;
        Ok(jobs)
    }
}

fn split<'a>(
    flag: &'static str,
    value: &'a str,
    expected: fn(String) -> ConfigError,
) -> Result<(BackupName, &'a str), ConfigError> {
    let (name, path) =
        value.split_once(':').filter(|(_, path)| !path.is_empty()).ok_or_else(|| expected(value.to_owned()))?;
    let name = name.parse().map_err(|source| ConfigError::Name { flag, value: value.to_owned(), source })?;
    Ok((name, path))
}

const DEFAULT_RPO: Duration = Duration::from_secs(30 * 60);
const DEFAULT_RTO: Duration = Duration::from_secs(60 * 60);

/// The durations of one flag: one for all backups, and some by name.
struct PerBackup {
    flag: &'static str,
    general: Option<Duration>,
    /// With the flag's value, for an error.
    by_name: HashMap<String, (Duration, String)>,
}

impl PerBackup {
    fn parse(flag: &'static str, values: &[String]) -> Result<Self, ConfigError> {
        let mut general = None;
        let mut by_name = HashMap::new();
        for value in values {
            let (name, text) = match value.split_once('=') {
                Some((name, text)) => (Some(name), text),
                None => (None, value.as_str()),
            };
            let target = parse_duration(flag, text, duration::positive_duration)?;
            let twice = match name {
                Some(name) => by_name.insert(name.to_owned(), (target, value.clone())).is_some(),
                None => general.replace(target).is_some(),
            };
            if twice {
                return Err(ConfigError::Twice { flag, value: value.clone() });
            }
        }
        Ok(Self { flag, general, by_name })
    }

    fn take(&mut self, name: &BackupName) -> Option<Duration> {
        self.by_name.remove(name.as_str()).map(|(duration, _)| duration).or(self.general)
    }

    /// All names must have been taken.
    fn finish(self) -> Result<(), ConfigError> {
        match self.by_name.into_values().map(|(_, value)| value).min() {
            Some(value) => Err(ConfigError::OfUnknown { flag: self.flag, value }),
            None => Ok(()),
        }
    }
}

fn parse_duration(
    flag: &'static str,
    value: &str,
    parser: fn(&str) -> Result<Duration, DurationError>,
) -> Result<Duration, ConfigError> {
    parser(value).map_err(|source| ConfigError::Duration { flag, value: value.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(jobs: &[&str], patterns: &[&str], rpo: &[&str]) -> Args {
        let owned = |values: &[&str]| values.iter().map(|value| (*value).to_owned()).collect();
        Args {
            jobs: owned(jobs),
            patterns: owned(patterns),
            rpo: owned(rpo),
            rto: Vec::new(),
            interval: Vec::new(),
            stable_for: "60s".to_owned(),
        }
    }

    #[test]
    fn jobs_and_patterns_have_directories_and_targets() {
        let jobs = args(
            &["mysql:/var/backups/mysql", "b:relative:with:colons"],
            &["app:/var/backups/app/*.tar.gz", "root:/x?"],
            &["45m", "app=1d"],
        )
        .jobs()
        .unwrap();
        let minutes = |job: &Job| (job.name.to_string(), job.directory.display().to_string(), job.rpo.as_secs() / 60);
        let expected = [
            ("mysql", "/var/backups/mysql", 45),
            ("b", "relative:with:colons", 45),
            ("app", "/var/backups/app", 1440),
            ("root", "/", 45),
        ];
        assert_eq!(
            jobs.iter().map(minutes).collect::<Vec<_>>(),
            expected.map(|(n, d, m)| (n.to_owned(), d.to_owned(), m))
        );
        let Source::Pattern { glob, stable_for } = &jobs[2].source else { panic!("a pattern") };
        assert!(glob.matches("1.tar.gz") && !glob.matches("1.tar.gz.partial"));
        assert_eq!(stable_for.as_secs(), 60);
    }

    #[test]
    fn the_target_is_half_an_hour_unless_given() {
        assert_eq!(args(&["a:/a", "b:/b"], &[], &["b=1h"]).jobs().unwrap()[0].rpo.as_secs(), 1800);
    }

    #[test]
    fn an_interval_is_there_only_if_it_is_given() {
        let args = Args { interval: vec!["a=15m".to_owned()], ..args(&["a:/a", "b:/b"], &[], &[]) };
        let jobs = args.jobs().unwrap();
        assert_eq!((jobs[0].interval, jobs[1].interval), (Some(Duration::from_secs(900)), None));
        let args = Args { interval: vec!["c=15m".to_owned()], ..args };
        assert!(args.jobs().unwrap_err().to_string().starts_with("--backup.interval=c=15m: there is no such backup"));
    }

    #[test]
    fn wrong_flags_are_refused_in_one_line_that_names_them() {
        for (args, reason) in [
            (args(&[], &[], &[]), "no backup is configured: give --backup.job"),
            (args(&["mysql"], &[], &[]), "--backup.job=mysql: NAME:DIRECTORY is expected"),
            (args(&["mysql:"], &[], &[]), "--backup.job=mysql:: NAME:DIRECTORY is expected"),
            (args(&["/var:/x"], &[], &[]), "--backup.job=/var:/x: invalid backup name \"/var\""),
            (args(&[], &["app:*.gz"], &[]), "--backup.pattern=app:*.gz: NAME:DIRECTORY/PATTERN is expected"),
            (args(&[], &["app:/x/"], &[]), "--backup.pattern=app:/x/: NAME:DIRECTORY/PATTERN is expected"),
            (
                args(&[], &["app:/x*/y.gz"], &[]),
                "--backup.pattern=app:/x*/y.gz: wildcards are allowed in the file's name",
            ),
            (args(&[], &["app:/x/[0-9].gz"], &[]), "--backup.pattern=app:/x/[0-9].gz: only * and ? are wildcards"),
            (args(&["a:/x"], &["a:/y/*"], &[]), "the backup a is given twice"),
            (args(&["a:/x"], &[], &["soon"]), "--backup.rpo=soon: expected a duration such as 30s"),
            (args(&["a:/x"], &[], &["30x"]), "--backup.rpo=30x: expected a duration"),
            (args(&["a:/x"], &[], &["-30m"]), "--backup.rpo=-30m: expected a duration"),
            (args(&["a:/x"], &[], &["0s"]), "--backup.rpo=0s: expected a duration of more than zero"),
            (args(&["a:/x"], &[], &["30m", "20m"]), "--backup.rpo=20m: a second value for the same backup"),
            (args(&["a:/x"], &[], &["b=20m"]), "--backup.rpo=b=20m: there is no such backup"),
        ] {
            let error = args.jobs().unwrap_err().to_string();
            assert!(error.starts_with(reason), "{error:?} should start with {reason:?}");
            assert!(!error.contains('\n'), "{error:?}");
        }
        let many: Vec<String> = (0..=MAX_JOBS).map(|i| format!("j{i}:/x")).collect();
        let many = Args { jobs: many, ..args(&[], &[], &[]) };
        assert!(matches!(many.jobs(), Err(ConfigError::TooManyJobs(101))));
    }
}
