//! Backups by the manifests of mysql-backup, which are written last: a backup without a successful manifest is not
//! complete.

use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

use jiff::Timestamp;
use mysql_backup::StateFile;
use mysql_backup::binlog::BinlogState;
use mysql_backup::manifest::{Manifest, Outcome, ReadError, Success, WarningKind};
use mysql_backup::name::{FileKind, RunName};
use mysql_backup::offsite::OffsiteState;
use tracing::warn;

use crate::backup::{Backup, ProofRecord, Runs};
use crate::databases::{DatabaseNames, RecoveryPoints};
use crate::history::is_recent;
use crate::proofs;
use crate::scan::{Details, FileCache, Identity, LastRun, MAX_FILES, ScanError, ScanInProgress};

/// A message is for one line on a page; a manifest may be 4 MiB.
const MAX_MESSAGE_CHARS: usize = 300;

/// What the cache keeps of a manifest.
#[derive(Clone, Debug)]
pub(crate) enum Record {
    Saved(Saved),
    Failed { finished_at: Timestamp, why: Box<str> },
    Unreadable { why: Box<str> },
}

/// Of a run that left a backup.
#[derive(Clone, Debug)]
pub(crate) struct Saved {
    backup: Backup,
    databases: DatabaseNames,
    details: Details,
    partial: Option<Box<Missing>>,
}

/// What is not in a partial backup.
#[derive(Clone, Debug)]
struct Missing {
    databases: Vec<Box<str>>,
    why: String,
}

impl Record {
    /// With the names of the backup read before this one, which are mostly the same.
    fn new(manifest: Manifest, others: &DatabaseNames) -> Self {
        let Manifest { started_at, finished_at, outcome, .. } = manifest;
        let duration = Duration::try_from(finished_at.duration_since(started_at)).ok();
        match outcome {
            Outcome::Ok(success) => Self::Saved(Saved::new(&success, finished_at, duration, others)),
            Outcome::Partial(success) => {
                let databases: Vec<Box<str>> = success.failed_databases.iter().map(|one| (*one.name).into()).collect();
                let omitted: usize = success.databases.iter().map(|database| database.omitted.len()).sum();
                let why = format!("{omitted} objects and the databases [{}] are not in it", databases.join(", "));
                let partial = Some(Box::new(Missing { databases, why: cut(&why) }));
                Self::Saved(Saved { partial, ..Saved::new(&success, finished_at, duration, others) })
            }
            Outcome::Failed(failure) => {
                let why = format!("{}: {}", failure.reason.as_str(), cut(&failure.message));
                Self::Failed { finished_at, why: why.into() }
            }
        }
    }
}

impl Saved {
    fn new(success: &Success, finished_at: Timestamp, duration: Option<Duration>, others: &DatabaseNames) -> Self {
        let mut warnings: BTreeMap<WarningKind, u64> = BTreeMap::new();
        for warning in &success.warnings {
            *warnings.entry(warning.kind).or_default() += 1;
        }
        Self {
            backup: Backup {
                recovery_point: success.recovery_point,
                finished_at,
                stored_bytes: success.file.stored_bytes,
                uncompressed_bytes: Some(success.file.uncompressed_bytes),
                duration,
            },
            databases: DatabaseNames::new(success.databases.iter().map(|database| &*database.name), others),
            details: Details {
                longest_statement_bytes: success.file.longest_statement_bytes,
                encrypted: success.file.encryption.is_some(),
                warnings: warnings.into_iter().map(|(kind, count)| (kind.as_str(), count)).collect(),
            },
            partial: None,
        }
    }
}

fn cut(message: &str) -> String {
    message.chars().take(MAX_MESSAGE_CHARS).collect()
}

/// Which of a run's files there are.
#[derive(Clone, Copy, Default)]
struct RunFiles {
    manifest: bool,
    proof: bool,
}

pub(crate) fn scan(
    scan: &mut ScanInProgress<'_>,
    cache: &mut FileCache<Record>,
    proof_cache: &mut FileCache<ProofRecord>,
) -> Result<(), ScanError> {
    // The names of one backup sort by time.
    let mut found: BTreeMap<RunName, RunFiles> = BTreeMap::new();
    let job = scan.job;
    scan.entries(|scan, name, _| {
        if name.starts_with(job.name.as_str())
            && let Some((run, kind)) = RunName::parse(name)
            && *run.backup() == job.name
        {
            let files = found.entry(run).or_default();
            files.manifest |= kind == FileKind::Manifest;
            files.proof |= kind == FileKind::Proof;
            if found.len() > MAX_FILES {
                found.pop_first();
                scan.too_many();
            }
        }
        Ok(())
    })?;
    proofs::scan(scan, found.iter().rev().filter(|(_, files)| files.proof).map(|(run, _)| run), proof_cache)?;

    scan.found.offsite = state(scan, &OffsiteState::file(&job.name))?;
    scan.found.binlog = state(scan, &BinlogState::file(&job.name))?;

    let mut reader = Reader::default();
    let mut before = std::mem::take(cache);
    let mut unreadable = Vec::new();
    for (run, files) in found.into_iter().rev() {
        if !scan.should_continue() {
            break;
        }
        if !files.manifest {
            scan.found.files.partial += 1;
            continue;
        }
        let name = run.manifest_file();
        let Some(metadata) = scan.metadata(&name)? else { continue };
        let identity = Identity::of(&metadata);
        let record = match before.remove(name.as_str()) {
            Some((known, record)) if known == identity => record,
            _ => match Manifest::read(&scan.directory().join(&name)) {
                Ok(manifest) => Record::new(manifest, &reader.names),
                Err(ReadError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => {
                    let why = cut(&error.to_string());
                    unreadable.push(why.clone());
                    Record::Unreadable { why: why.into() }
                }
            },
        };
        reader.evaluate(scan, &run, &record)?;
        cache.insert(name.into(), (identity, record));
    }
    scan.found.runs = Some(reader.runs);
    scan.found.databases = reader.points.finish();
    // Only what is unreadable since the last scan: one line, however many there are.
    if let Some(newest) = unreadable.first() {
        warn!(backup = %scan.job.name, manifests = unreadable.len(), error = %newest, "manifests can't be read");
    }
    Ok(())
}

/// A state file of the job; `None` if it is not there.
fn state<T: StateFile>(scan: &ScanInProgress<'_>, name: &str) -> Result<Option<Result<T, String>>, ScanError> {
    if scan.metadata(name)?.is_none() {
        return Ok(None);
    }
    Ok(Some(T::read(&scan.directory().join(name)).map_err(|error| cut(&error.to_string()))))
}

/// What the manifests add up to, newest first.
#[derive(Default)]
struct Reader {
    runs: Runs,
    /// Of the backup before.
    names: DatabaseNames,
    points: RecoveryPoints,
}

impl Reader {
    fn evaluate(&mut self, scan: &mut ScanInProgress<'_>, run: &RunName, record: &Record) -> Result<(), ScanError> {
        let finished_at = match record {
            Record::Saved(saved) => Some(saved.backup.finished_at),
            Record::Failed { finished_at, .. } => Some(*finished_at),
            // It has a time only in its name.
            Record::Unreadable { .. } => None,
        };
        if finished_at.into_iter().chain(run.started_at()).any(|time| scan.is_future(time))
            || run.started_at().is_none()
        {
            scan.found.files.future += 1;
            return Ok(());
        }
        let last_run = match record {
            Record::Saved(saved) => match self.saved(scan, run, saved)? {
                Some(last_run) => last_run,
                None => return Ok(()),
            },
            Record::Failed { finished_at, why } => {
                self.runs.failed += 1;
                self.runs.recent_failed += u64::from(is_recent(*finished_at, scan.now));
                scan.found.files.failed += 1;
                LastRun::Failed { finished_at: *finished_at, why: why.to_string() }
            }
            Record::Unreadable { why } => {
                scan.found.files.unreadable += 1;
                LastRun::Unknown { why: why.to_string() }
            }
        };
        // The first one is the newest.
        scan.found.last_run.get_or_insert(last_run);
        Ok(())
    }

    /// `None` for a backup that was pruned during the scan.
    fn saved(
        &mut self,
        scan: &mut ScanInProgress<'_>,
        run: &RunName,
        saved: &Saved,
    ) -> Result<Option<LastRun>, ScanError> {
        let Saved { backup, databases, details, partial } = saved;
        let finished_at = backup.finished_at;
        let problem = validate(scan, run, saved)?;
        // Pruning takes the manifest first.
        if problem.is_some() && scan.metadata(&run.manifest_file())?.is_none() {
            return Ok(None);
        }
        match partial {
            None => self.runs.ok += 1,
            Some(_) => self.runs.partial += 1,
        }
        self.runs.recent_ok += u64::from(is_recent(finished_at, scan.now));
        self.names = databases.clone();
        if let Some(why) = problem {
            scan.found.files.missing += 1;
            return Ok(Some(LastRun::Failed { finished_at, why }));
        }
        let missing = partial.as_deref().map(|missing| missing.databases.as_slice()).unwrap_or_default();
        self.points.add(databases, missing, backup.recovery_point);
        scan.add_complete(*backup);
        scan.found.details.get_or_insert_with(|| details.clone());
        Ok(Some(match partial {
            None => LastRun::Ok { finished_at },
            Some(missing) => LastRun::Partial { finished_at, why: missing.why.clone() },
        }))
    }
}

/// Why a file is not complete although its manifest is `ok`. Its checksum is not verified: that would read every byte.
fn validate(scan: &ScanInProgress<'_>, run: &RunName, saved: &Saved) -> Result<Option<String>, ScanError> {
    let Saved { backup, details, .. } = saved;
    let file = if details.encrypted { run.encrypted_file() } else { run.backup_file() };
    Ok(match scan.metadata(&file)? {
        None => Some(format!("the manifest says that it is good, but {file} is gone")),
        Some(metadata) if !metadata.is_file() => Some(format!("{file} is not a regular file")),
        Some(metadata) if metadata.len() != backup.stored_bytes => {
            Some(format!("{file} has {} bytes, but the manifest says {}", metadata.len(), backup.stored_bytes))
        }
        Some(_) => None,
    })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::config::Source;
    use crate::scan::Files;
    use crate::scanner::testing::{TestDirectory, at};

    const OK: &str = include_str!("../../../backup/fixtures/ok.good.json");
    const FAILED: &str = include_str!("../../../backup/fixtures/failed.good.json");
    /// When the runs of the two fixtures began, and the time at which the tests scan.
    const BEGAN: &str = "2026-11-22T18:09:00Z";
    const NOW: &str = "2026-11-22T18:20:00Z";

    fn site() -> TestDirectory {
        TestDirectory::new(Source::Manifests, NOW)
    }

    impl TestDirectory {
        /// A fixture, moved in time by whole minutes, whose backup has 7 bytes.
        fn manifest(&self, fixture: &str, minutes: i64) -> RunName {
            let moved = |text: String, time: &str| {
                let later = at(time) + jiff::SignedDuration::from_mins(minutes);
                text.replace(time, &later.to_string())
            };
            let mut json = fixture.replace("43012", "7");
            for time in ["2026-11-22T18:09:00.12Z", "2026-11-22T18:09:00.204Z", "2026-11-22T18:09:04.873Z"] {
                json = moved(json, time);
            }
            let run = RunName::new(self.job.name.clone(), at(BEGAN) + jiff::SignedDuration::from_mins(minutes));
            let json = json.replace("medassist-20261122T180900Z", &run.to_string());
            self.write(&run.manifest_file(), json.as_bytes());
            run
        }

        fn backup(&self, minutes: i64) -> RunName {
            let run = self.manifest(OK, minutes);
            self.write(&run.backup_file(), b"1234567");
            run
        }
    }

    #[test]
    fn a_complete_backup_has_all_its_facts() {
        let mut site = site();
        site.backup(-30);
        site.backup(0);
        site.backup(-15);
        let scan = site.scan();
        let complete = scan.complete.unwrap();
        assert_eq!(
            complete.newest,
            Backup {
                recovery_point: at("2026-11-22T18:09:00.204Z"),
                finished_at: at("2026-11-22T18:09:04.873Z"),
                stored_bytes: 7,
                uncompressed_bytes: Some(4_460_122),
                duration: Some(Duration::from_millis(4753)),
            }
        );
        assert_eq!(complete.oldest.finished_at, at("2026-11-22T17:39:04.873Z"));
        assert_eq!(scan.files, Files { complete: 3, ..Files::default() });
        assert_eq!(scan.runs, Some(Runs { ok: 3, recent_ok: 3, ..Runs::default() }));
        assert_eq!(scan.last_run, Some(LastRun::Ok { finished_at: at("2026-11-22T18:09:04.873Z") }));
        assert!(scan.truncated.is_none() && scan.available_bytes.is_some());
    }

    #[test]
    fn only_what_is_whole_is_complete() {
        let mut site = site();
        let gone = site.manifest(OK, -1);
        let truncated = site.manifest(OK, -2);
        site.write(&truncated.backup_file(), b"123456");
        let still_partial = site.manifest(OK, -3);
        site.write(&still_partial.partial_file(), b"1234567");
        let directory = site.manifest(OK, -4);
        fs::create_dir(site.path().join(directory.backup_file())).unwrap();
        let scan = site.scan();
        assert_eq!(scan.files, Files { missing: 4, ..Files::default() });
        assert_eq!((scan.complete, scan.runs), (None, Some(Runs { ok: 4, recent_ok: 4, ..Runs::default() })));
        let Some(LastRun::Failed { why, .. }) = scan.last_run else { panic!("{:?}", scan.last_run) };
        assert_eq!(why, format!("the manifest says that it is good, but {} is gone", gone.backup_file()));
    }

    #[test]
    fn a_file_without_a_manifest_is_partial() {
        let mut site = site();
        let run = |minutes: i64| {
            RunName::new("medassist".parse().unwrap(), at(BEGAN) - jiff::SignedDuration::from_mins(minutes))
        };
        site.write(&run(1).partial_file(), b"1");
        site.write(&run(2).backup_file(), b"1");
        // One run, of which two files are left.
        site.write(&run(3).backup_file(), b"1");
        site.write(&run(3).manifest_temporary_file(), b"{}");
        assert_eq!(site.scan().files, Files { partial: 3, ..Files::default() });
    }

    #[test]
    fn unreadable_manifests_are_counted_and_their_backups_are_not_complete() {
        let mut site = site();
        site.backup(-10);
        let newer_version = OK.replace("\"schema_version\": 2", "\"schema_version\": 3");
        for (minutes, json) in [(-3, "garbage".to_owned()), (-2, " ".repeat(5 << 20)), (-1, newer_version)] {
            let run = site.backup(minutes);
            site.write(&run.manifest_file(), json.as_bytes());
        }
        let scan = site.scan();
        assert_eq!(scan.files, Files { complete: 1, unreadable: 3, ..Files::default() });
        assert_eq!(scan.runs, Some(Runs { ok: 1, recent_ok: 1, ..Runs::default() }));
        assert_eq!(scan.complete.unwrap().newest.finished_at, at("2026-11-22T17:59:04.873Z"));
        let Some(LastRun::Unknown { why }) = scan.last_run else { panic!("{:?}", scan.last_run) };
        assert!(why.contains("schema version 3"), "{why}");
    }

    #[test]
    fn a_failed_run_is_the_last_one_and_hides_no_backup() {
        let mut site = site();
        site.backup(-15);
        site.manifest(FAILED, 0);
        let scan = site.scan();
        assert_eq!(scan.files, Files { complete: 1, failed: 1, ..Files::default() });
        assert_eq!(scan.runs, Some(Runs { ok: 1, failed: 1, recent_ok: 1, recent_failed: 1, ..Runs::default() }));
        let Some(LastRun::Failed { why, finished_at }) = scan.last_run else { panic!("{:?}", scan.last_run) };
        assert_eq!(why, "server_unreachable: cannot connect to 127.0.0.1:3306: Connection refused");
        assert_eq!(finished_at, at("2026-11-22T18:09:04.873Z"));
    }

    #[test]
    fn a_backup_from_the_future_is_counted_and_not_believed() {
        let mut site = site();
        site.backup(0);
        site.backup(60);
        let unreadable = site.backup(120);
        site.write(&unreadable.manifest_file(), b"garbage");
        let scan = site.scan();
        assert_eq!(scan.files, Files { complete: 1, future: 2, ..Files::default() });
        assert_eq!(scan.complete.unwrap().newest.finished_at, at("2026-11-22T18:09:04.873Z"));
        assert_eq!(scan.last_run, Some(LastRun::Ok { finished_at: at("2026-11-22T18:09:04.873Z") }));
        // Less than a minute ahead is two clocks, not a mistake.
        site.now = at("2026-11-22T18:08:30Z");
        assert_eq!(site.scan().files.complete, 1);
    }

    #[test]
    fn other_backups_in_the_directory_are_not_ours() {
        let mut site = site();
        let run = site.backup(0);
        for name in [run.manifest_file(), run.backup_file()] {
            fs::copy(site.path().join(&name), site.path().join(name.replace("medassist-", "medassist-eu-"))).unwrap();
        }
        site.write("medassist.manifest.json", b"{}");
        site.write("notes.txt", b"x");
        assert_eq!(site.scan().files, Files { complete: 1, ..Files::default() });
    }

    #[test]
    fn a_manifest_is_read_again_only_when_it_changed() {
        let mut site = site();
        let run = site.backup(0);
        assert_eq!(site.scan().files.complete, 1);
        // What is cached is used …
        let (_, record) = site.cache.manifests.get_mut(run.manifest_file().as_str()).unwrap();
        *record = Record::Unreadable { why: "".into() };
        assert_eq!(site.scan().files.unreadable, 1);
        // … until the file is another one, …
        site.manifest(OK, 0);
        assert_eq!(site.scan().files.complete, 1);
        // … and forgotten with it.
        fs::remove_file(site.path().join(run.manifest_file())).unwrap();
        assert_eq!(site.scan().files, Files { partial: 1, ..Files::default() });
        assert!(site.cache.manifests.is_empty());
    }

    #[test]
    fn a_long_message_is_cut() {
        let mut site = site();
        let long = FAILED.replace("cannot connect", &"é".repeat(1 << 20));
        site.manifest(&long, 0);
        let Some(LastRun::Failed { why, .. }) = site.scan().last_run else { panic!("failed") };
        assert_eq!(why.chars().count(), "server_unreachable: ".len() + MAX_MESSAGE_CHARS);
    }

    const PARTIAL: &str = include_str!("../../../backup/fixtures/partial.good.json");
    const PROVEN: &str = include_str!("../../../backup/fixtures/proven.good.json");

    #[test]
    fn a_partial_backup_is_a_recovery_point_of_what_is_in_it() {
        let mut site = site();
        let before = site.manifest(&OK.replace("\"name\": \"app\"", "\"name\": \"old\""), -15);
        site.write(&before.backup_file(), b"1234567");
        let run = site.manifest(PARTIAL, 0);
        site.write(&run.backup_file(), b"1234567");
        let scan = site.scan();
        assert_eq!(scan.runs, Some(Runs { ok: 1, partial: 1, recent_ok: 2, ..Runs::default() }));
        assert_eq!(scan.complete.unwrap().newest.recovery_point, at("2026-11-22T18:09:00.204Z"));
        let expected = [("app", "2026-11-22T18:09:00.204Z"), ("old", "2026-11-22T17:54:00.204Z")];
        assert_eq!(scan.databases, expected.map(|(name, time)| (name.into(), Some(at(time)))));
        let Some(LastRun::Partial { why, .. }) = scan.last_run else { panic!("{:?}", scan.last_run) };
        assert_eq!(why, "1 objects and the databases [old] are not in it");
        let details = scan.details.unwrap();
        assert_eq!((details.longest_statement_bytes, &*details.warnings), (1_047_033, &[("float_digits", 1)][..]));
    }

    #[test]
    fn the_newest_proof_counts_and_the_newest_success_is_kept() {
        let mut site = site();
        site.now = at("2026-11-22T20:00:00Z");
        let (old, new) = (site.backup(-15), site.backup(0));
        assert_eq!(site.scan().proofs, None);
        site.write(&old.proof_file(), PROVEN.as_bytes());
        let proofs = site.scan().proofs.unwrap();
        assert_eq!(
            (proofs.newest.problem, proofs.proven.unwrap().restore),
            (None, Some(Duration::from_secs_f64(181.2)))
        );
        let failed = PROVEN
            .replace("\"proven\"", "\"different\"")
            .replace("[]", "[\"app.payment has 4 rows, the manifest says 5\"]")
            .replace("19:04:10Z", "19:34:10Z");
        site.write(&new.proof_file(), failed.as_bytes());
        let proofs = site.scan().proofs.unwrap();
        let problem = proofs.newest.problem.unwrap();
        assert_eq!(&*problem, "1 differences, the first: app.payment has 4 rows, the manifest says 5");
        assert_eq!(proofs.proven.unwrap().finished_at, at("2026-11-22T19:04:10Z"));
        // One that can't be read proves nothing.
        site.write(&new.proof_file(), b"garbage");
        site.now = Timestamp::now();
        assert!(site.scan().proofs.unwrap().newest.problem.unwrap().contains("proof.json"));
    }
}
