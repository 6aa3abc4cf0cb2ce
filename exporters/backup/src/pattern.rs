//! Backups without manifests: files and directories of a pattern that are no longer written to and have the content
//! that their name promises.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use rustix::fs::OFlags;
use tracing::warn;
use wildmatch::WildMatch;

use crate::backup::Backup;
use crate::folder::{self, Folder};
use crate::magic::{self, Content, Ends};
use crate::scan::{FileCache, Identity, MAX_FILES, ScanError, ScanInProgress, modification_time};
use crate::stamp;

/// How programs call a file that they have not finished.
const UNFINISHED: [&str; 3] = [".partial", ".tmp", ".part"];

/// What the content of a file or directory says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Complete {
        bytes: u64,
    },
    /// It holds nothing.
    Empty,
    Unreadable,
}

/// A file or directory that may be a backup.
struct Candidate {
    /// Of the directory: its last file's.
    identity: Identity,
    kind: CandidateKind,
}

enum CandidateKind {
    File { bytes: u64 },
    Directory { snapshot: Option<Timestamp> },
}

/// By the time of the last write. A bound on it keeps the newest.
type Candidates = BTreeMap<(Timestamp, Box<str>), Candidate>;

pub(crate) fn scan(
    scan: &mut ScanInProgress<'_>,
    glob: &WildMatch,
    stable_for: Duration,
    cache: &mut FileCache<Verdict>,
) -> Result<(), ScanError> {
    let candidates = find(scan, glob)?;
    let stable_for = SignedDuration::try_from(stable_for).unwrap_or(SignedDuration::MAX);
    let mut before = std::mem::take(cache);
    let mut unreadable = Vec::new();
    for ((modified, name), Candidate { identity, kind }) in candidates.into_iter().rev() {
        if !scan.should_continue() {
            break;
        }
        if scan.is_future(modified) {
            scan.found.files.future += 1;
            continue;
        }
        if scan.now.duration_since(modified) < stable_for {
            scan.found.files.partial += 1;
            continue;
        }
        let verdict = match before.remove(&name) {
            Some((known, verdict)) if known == identity => Ok(verdict),
            _ => judge(&scan.directory().join(&*name), &name, &kind).map(|(verdict, why)| {
                unreadable.extend(why.map(|why| format!("{name} {why}")));
                verdict
            }),
        };
        match verdict {
            Ok(Verdict::Complete { bytes }) => {
                let snapshot = match kind {
                    CandidateKind::Directory { snapshot } => snapshot,
                    CandidateKind::File { .. } => None,
                };
                let known = stamp::in_name(&name).into_iter().chain(snapshot).filter(|time| *time <= modified).min();
                scan.add_complete(Backup {
                    recovery_point: known.unwrap_or(modified),
                    finished_at: modified,
                    stored_bytes: bytes,
                    uncompressed_bytes: None,
                    duration: None,
                });
            }
            Ok(Verdict::Empty) => scan.found.files.failed += 1,
            Ok(Verdict::Unreadable) => scan.found.files.unreadable += 1,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            // Not cached: a new permission may not change its identity.
            Err(_) => {
                scan.found.files.unreadable += 1;
                continue;
            }
        }
        if let Ok(verdict) = verdict {
            cache.insert(name, (identity, verdict));
        }
    }
    if let Some(newest) = unreadable.first() {
        warn!(backup = %scan.job.name, files = unreadable.len(), error = %newest, "files can't be what their names say");
    }
    Ok(())
}

fn find(scan: &mut ScanInProgress<'_>, glob: &WildMatch) -> Result<Candidates, ScanError> {
    let mut candidates = Candidates::new();
    scan.entries(|scan, name, entry| {
        if name.starts_with('.') {
            return Ok(());
        }
        if let Some(finished) = UNFINISHED.iter().find_map(|suffix| name.strip_suffix(suffix)) {
            scan.found.files.partial += u64::from(glob.matches(finished) || glob.matches(name));
            return Ok(());
        }
        if !glob.matches(name) {
            return Ok(());
        }
        // Of the entry itself: a symbolic link such as `latest` would count a backup twice.
        let Some(metadata) = scan.if_there(entry.metadata())? else { return Ok(()) };
        let (modified, identity, kind) = if metadata.is_dir() {
            match folder::look(&entry.path()) {
                Ok(Folder::Finished { identity, modified, snapshot }) => {
                    (modified, identity, CandidateKind::Directory { snapshot })
                }
                Ok(Folder::Unfinished) => {
                    scan.found.files.partial += 1;
                    return Ok(());
                }
                Ok(Folder::Unknown) => return Ok(()),
                Err(_) => {
                    scan.found.files.unreadable += 1;
                    return Ok(());
                }
            }
        } else if metadata.is_file()
            && let Some(modified) = modification_time(&metadata)
        {
            (modified, Identity::of(&metadata), CandidateKind::File { bytes: metadata.len() })
        } else {
            return Ok(());
        };
        candidates.insert((modified, name.into()), Candidate { identity, kind });
        if candidates.len() > MAX_FILES {
            candidates.pop_first();
            scan.too_many();
        }
        Ok(())
    })?;
    Ok(candidates)
}

/// With a reason for the log if it is unreadable.
fn judge(path: &Path, name: &str, kind: &CandidateKind) -> io::Result<(Verdict, Option<&'static str>)> {
    let bytes = match *kind {
        CandidateKind::Directory { .. } => {
            return Ok(match folder::bytes(path)? {
                Some(bytes) => (Verdict::Complete { bytes }, None),
                None => (Verdict::Unreadable, Some("has more than 200,000 files")),
            });
        }
        CandidateKind::File { bytes: 0 } => return Ok((Verdict::Empty, None)),
        CandidateKind::File { bytes } => bytes,
    };
    let Some(extension) = magic::extension(name) else { return Ok((Verdict::Complete { bytes }, None)) };
    Ok(match content(path, extension, bytes)? {
        Content::Genuine => (Verdict::Complete { bytes }, None),
        Content::Empty => (Verdict::Empty, None),
        Content::Foreign => (Verdict::Unreadable, Some("does not begin like a file of its kind")),
        Content::Truncated => (Verdict::Unreadable, Some("does not end like a file of its kind")),
    })
}

fn content(path: &Path, extension: &'static str, bytes: u64) -> io::Result<Content> {
    // Whatever took the place of the regular file since it was looked at, opening it neither waits nor leads elsewhere.
    let flags = OFlags::NONBLOCK | OFlags::NOFOLLOW;
    let mut file = File::options().read(true).custom_flags(flags.bits().cast_signed()).open(path)?;
    let mut head = Vec::with_capacity(magic::HEAD);
    (&mut file).take(magic::HEAD as u64).read_to_end(&mut head)?;
    let mut tail = Vec::with_capacity(magic::TAIL);
    file.seek(SeekFrom::Start(bytes.saturating_sub(magic::TAIL as u64)))?;
    file.take(magic::TAIL as u64).read_to_end(&mut tail)?;
    Ok(magic::content(extension, &Ends { head: &head, tail: &tail, bytes }))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::config::Source;
    use crate::scan::{Files, MAX_FILES};
    use crate::scanner::testing::{TestDirectory, at};

    const NOW: &str = "2026-11-22T18:20:00Z";
    const GZIP: &[u8] = b"\x1f\x8b\x08 and so on, to its end";

    fn site(glob: &str) -> TestDirectory {
        TestDirectory::new(Source::Pattern { glob: WildMatch::new(glob), stable_for: Duration::from_secs(60) }, NOW)
    }

    impl TestDirectory {
        fn file(&self, name: &str, content: &[u8], modified: &str) {
            self.write(name, content);
            let file = File::options().write(true).open(self.path().join(name)).unwrap();
            file.set_modified(at(modified).into()).unwrap();
        }
    }

    #[test]
    fn the_newest_complete_file_has_its_facts() {
        let mut site = site("app-*.gz");
        site.file("app-1.gz", GZIP, "2026-11-22T17:00:00Z");
        site.file("app-2.gz", &[GZIP, GZIP].concat(), "2026-11-22T18:19:00Z");
        site.file("other.gz", GZIP, "2026-11-22T18:19:00Z");
        let scan = site.scan();
        assert_eq!(scan.files, Files { complete: 2, ..Files::default() });
        assert_eq!((scan.runs, scan.last_run), (None, None), "files say nothing about runs");
        let complete = scan.complete.unwrap();
        let modified = at("2026-11-22T18:19:00Z");
        assert_eq!(
            complete.newest,
            Backup {
                recovery_point: modified,
                finished_at: modified,
                stored_bytes: 2 * GZIP.len() as u64,
                uncompressed_bytes: None,
                duration: None
            }
        );
        assert_eq!(complete.oldest.finished_at, at("2026-11-22T17:00:00Z"));
    }

    #[test]
    fn incomplete_backups_are_counted_by_state() {
        let mut site = site("*.gz");
        let old = "2026-11-22T17:00:00Z";
        site.file("young.gz", GZIP, "2026-11-22T18:19:01Z");
        site.file("named.gz.partial", GZIP, old);
        site.file("named.gz.tmp", GZIP, old);
        site.file("empty.gz", b"", old);
        site.file("plain.gz", b"-- MySQL dump 10.13", old);
        site.file("future.gz", GZIP, "2026-11-22T18:21:01Z");
        site.file("skewed.gz", GZIP, "2026-11-22T18:20:59Z");
        // None of these is a backup at all.
        site.file(".hidden.gz", GZIP, old);
        site.file("notes.txt.tmp", b"x", old);
        fs::create_dir(site.path().join("directory.gz")).unwrap();
        std::os::unix::fs::symlink("young.gz", site.path().join("latest.gz")).unwrap();
        let scan = site.scan();
        assert_eq!(scan.files, Files { partial: 4, failed: 1, unreadable: 1, future: 1, ..Files::default() });
        assert_eq!(scan.complete, None);
    }

    #[test]
    fn the_name_tells_the_recovery_point_unless_it_is_after_the_content() {
        let mut site = site("*.gz");
        site.file("app-20261122T180000Z.gz", GZIP, "2026-11-22T18:09:00Z");
        let newest = site.scan().complete.unwrap().newest;
        assert_eq!(
            (newest.recovery_point, newest.finished_at),
            (at("2026-11-22T18:00:00Z"), at("2026-11-22T18:09:00Z"))
        );
        // An old backup that was copied back has a young file and stays old.
        site.file("app-20260101T000000Z.gz", GZIP, "2026-11-22T18:15:00Z");
        assert_eq!(site.scan().complete.unwrap().newest, newest);
        site.file("app-20261122T235959Z.gz", GZIP, "2026-11-22T18:10:00Z");
        assert_eq!(site.scan().complete.unwrap().newest.recovery_point, at("2026-11-22T18:10:00Z"));
    }

    #[test]
    fn content_is_read_again_only_when_the_file_changed() {
        let mut site = site("*.gz");
        site.file("app.gz", GZIP, "2026-11-22T18:00:00Z");
        assert_eq!(site.scan().files.complete, 1);
        site.cache.contents.get_mut("app.gz").unwrap().1 = Verdict::Unreadable;
        assert_eq!(site.scan().files.unreadable, 1);
        site.file("app.gz", GZIP, "2026-11-22T18:00:00Z");
        assert_eq!(site.scan().files.complete, 1);
        fs::remove_file(site.path().join("app.gz")).unwrap();
        assert_eq!(site.scan().files, Files::default());
        assert!(site.cache.contents.is_empty());
    }

    #[test]
    fn of_too_many_files_the_newest_are_read() {
        let mut site = site("app-*.gz");
        site.file("original", GZIP, "2026-11-22T18:00:00Z");
        let link = |number: usize| {
            let (hour, minute, second) = (number / 3600, number / 60 % 60, number % 60);
            let name = format!("app-20261122T{hour:02}{minute:02}{second:02}Z.gz");
            fs::hard_link(site.path().join("original"), site.path().join(name)).unwrap();
        };
        (0..20_000).for_each(link);
        let scan = site.scan();
        assert_eq!((scan.files.complete, scan.truncated), (20_000, None));
        let link = |number: usize| {
            fs::hard_link(site.path().join("original"), site.path().join(format!("app-{number}.gz"))).unwrap();
        };
        (0..=MAX_FILES - 20_000).for_each(link);
        site.file("app-newest.gz", GZIP, "2026-11-22T18:15:00Z");
        let scan = site.scan();
        assert_eq!((scan.files.complete, scan.truncated.is_some()), (MAX_FILES as u64, true));
        assert_eq!(scan.complete.unwrap().newest.finished_at, at("2026-11-22T18:15:00Z"));
    }

    #[test]
    fn an_archive_of_nothing_is_no_backup() {
        let mut site = site("db-*.gz");
        site.file("db-1.gz", GZIP, "2026-11-22T17:00:00Z");
        // What `false | gzip` writes.
        let nothing = b"\x1f\x8b\x08\0\0\0\0\0\0\x03\x03\0\0\0\0\0\0\0\0\0";
        site.file("db-2.gz", nothing, "2026-11-22T18:00:00Z");
        let scan = site.scan();
        assert_eq!(scan.files, Files { complete: 1, failed: 1, ..Files::default() });
        assert_eq!(scan.complete.unwrap().newest.finished_at, at("2026-11-22T17:00:00Z"));
    }

    #[test]
    fn a_directory_of_a_known_tool_is_one_backup() {
        let mut site = site("dump-*");
        for (name, last) in
            [("dump-1", None), ("dump-20261122T170000Z", Some("metadata")), ("dump-3", Some("notes.txt"))]
        {
            fs::create_dir(site.path().join(name)).unwrap();
            site.file(&format!("{name}/app.payment.sql"), &[b'x'; 100], "2026-11-22T17:05:00Z");
            site.file(&format!("{name}/{}", last.unwrap_or("metadata.partial")), b"12345", "2026-11-22T17:10:00Z");
        }
        let scan = site.scan();
        assert_eq!(scan.files, Files { complete: 1, partial: 1, ..Files::default() });
        let newest = scan.complete.unwrap().newest;
        assert_eq!(
            (newest.recovery_point, newest.finished_at),
            (at("2026-11-22T17:00:00Z"), at("2026-11-22T17:10:00Z"))
        );
        assert_eq!(newest.stored_bytes, 105);
    }

    #[test]
    fn files_of_others_cost_no_place() {
        let mut site = site("app-*.gz");
        site.file("app-1.gz", GZIP, "2026-11-22T18:00:00Z");
        for number in 0..=MAX_FILES {
            fs::hard_link(site.path().join("app-1.gz"), site.path().join(format!("other-{number}"))).unwrap();
        }
        let scan = site.scan();
        assert_eq!((scan.files.complete, scan.truncated), (1, None));
    }
}
