//! Backups by the manifests of mysql-backup, which are written last: a backup without a successful manifest is not
//! complete.

use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

use mysql_backup::manifest::{Manifest, Outcome, ReadError};
use mysql_backup::name::{FileKind, RunName};
use tracing::warn;

use crate::scan::{Backup, FileCache, Identity, LastRun, Runs, ScanError, ScanInProgress};

/// A message is for one line on a page; a manifest may be 4 MiB.
const MAX_MESSAGE_CHARS: usize = 300;

/// What the cache keeps of a manifest.
#[derive(Clone, Debug)]
pub(crate) enum Record {
    Ok(Backup),
    Failed { finished_at: jiff::Timestamp, why: String },
    Unreadable { why: String },
}

impl From<Manifest> for Record {
    fn from(manifest: Manifest) -> Self {
        let Manifest { started_at, finished_at, outcome, .. } = manifest;
        match outcome {
            Outcome::Ok(success) => Self::Ok(Backup {
                recovery_point: success.recovery_point,
                finished_at,
                stored_bytes: success.file.stored_bytes,
                uncompressed_bytes: Some(success.file.uncompressed_bytes),
                duration: Duration::try_from(finished_at.duration_since(started_at)).ok(),
            }),
            Outcome::Partial(saved) => {
                let failed: Vec<&str> = saved.failed_databases.iter().map(|database| &*database.name).collect();
                let omitted: usize = saved.databases.iter().map(|database| database.omitted.len()).sum();
                let why = format!("partial: {omitted} objects and the databases [{}] are not in it", failed.join(", "));
                Self::Failed { finished_at, why: why.chars().take(MAX_MESSAGE_CHARS).collect() }
            }
            Outcome::Failed(failure) => {
                let message: String = failure.message.chars().take(MAX_MESSAGE_CHARS).collect();
                Self::Failed { finished_at, why: format!("{}: {message}", failure.reason.as_str()) }
            }
        }
    }
}

pub(crate) fn scan(scan: &mut ScanInProgress<'_>, cache: &mut FileCache<Record>) -> Result<(), ScanError> {
    // The names of one backup sort by time.
    let mut has_manifest: BTreeMap<RunName, bool> = BTreeMap::new();
    let job = scan.job;
    scan.names(|name| {
        if !name.starts_with(job.name.as_str()) {
            return;
        }
        if let Some((run, kind)) = RunName::parse(name)
            && *run.backup() == job.name
            && kind != FileKind::Proof
        {
            *has_manifest.entry(run).or_default() |= kind == FileKind::Manifest;
        }
    })?;

    let mut before = std::mem::take(cache);
    let mut runs = Runs::default();
    let mut unreadable = Vec::new();
    for (count, (run, has_manifest)) in has_manifest.into_iter().rev().enumerate() {
        if !scan.should_continue(count) {
            break;
        }
        if !has_manifest {
            scan.found.files.partial += 1;
            continue;
        }
        let name = run.manifest_file();
        let Some(metadata) = scan.metadata(&name)? else { continue };
        let identity = Identity::of(&metadata);
        let record = match before.remove(name.as_str()) {
            Some((known, record)) if known == identity => record,
            _ => match Manifest::read(&scan.directory().join(&name)) {
                Ok(manifest) => manifest.into(),
                Err(ReadError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => {
                    let why: String = error.to_string().chars().take(MAX_MESSAGE_CHARS).collect();
                    unreadable.push(why.clone());
                    Record::Unreadable { why }
                }
            },
        };
        evaluate(scan, &run, &record, &mut runs)?;
        cache.insert(name.into(), (identity, record));
    }
    scan.found.runs = Some(runs);
    // Only what is unreadable since the last scan: one line, however many there are.
    if let Some(newest) = unreadable.first() {
        warn!(backup = %scan.job.name, manifests = unreadable.len(), error = %newest, "manifests can't be read");
    }
    Ok(())
}

fn evaluate(scan: &mut ScanInProgress<'_>, run: &RunName, record: &Record, runs: &mut Runs) -> Result<(), ScanError> {
    let last_run = match record {
        // An unreadable one has a time only in its name.
        Record::Ok(Backup { finished_at, .. }) | Record::Failed { finished_at, .. } if scan.is_future(*finished_at) => {
            None
        }
        _ if run.started_at().is_none_or(|started_at| scan.is_future(started_at)) => None,
        Record::Ok(backup) => {
            let finished_at = backup.finished_at;
            let problem = validate(scan, run, backup)?;
            // Pruning takes the manifest first: this one was pruned during the scan.
            if problem.is_some() && scan.metadata(&run.manifest_file())?.is_none() {
                return Ok(());
            }
            runs.ok += 1;
            Some(match problem {
                None => {
                    scan.add_complete(*backup);
                    LastRun::Ok { finished_at }
                }
                Some(why) => {
                    scan.found.files.missing += 1;
                    LastRun::Failed { finished_at, why }
                }
            })
        }
        Record::Failed { finished_at, why } => {
            runs.failed += 1;
            scan.found.files.failed += 1;
            Some(LastRun::Failed { finished_at: *finished_at, why: why.clone() })
        }
        Record::Unreadable { why } => {
            scan.found.files.unreadable += 1;
            Some(LastRun::Unknown { why: why.clone() })
        }
    };
    match last_run {
        None => scan.found.files.future += 1,
        // The first that is not from the future is the newest.
        some if scan.found.last_run.is_none() => scan.found.last_run = some,
        _ => {}
    }
    Ok(())
}

/// Why a file is not complete although its manifest is `ok`. Its checksum is not verified: that would read every byte.
fn validate(scan: &ScanInProgress<'_>, run: &RunName, backup: &Backup) -> Result<Option<String>, ScanError> {
    let file = run.backup_file();
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
        assert_eq!(scan.runs, Some(Runs { ok: 3, failed: 0 }));
        assert_eq!(scan.last_run, Some(LastRun::Ok { finished_at: at("2026-11-22T18:09:04.873Z") }));
        assert!(!scan.truncated && scan.available_bytes.is_some());
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
        assert_eq!((scan.complete, scan.runs), (None, Some(Runs { ok: 4, failed: 0 })));
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
        assert_eq!(scan.runs, Some(Runs { ok: 1, failed: 0 }));
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
        assert_eq!(scan.runs, Some(Runs { ok: 1, failed: 1 }));
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
        *record = Record::Unreadable { why: String::new() };
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
}
