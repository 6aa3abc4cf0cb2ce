//! Backups without manifests: files of a pattern that are no longer written to and have the content of their extension.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use rustix::fs::OFlags;
use tracing::warn;
use wildmatch::WildMatch;

use crate::scan::{Backup, FileCache, Identity, ScanError, ScanInProgress};
use crate::{magic, stamp};

/// How programs call a file that they have not finished.
const UNFINISHED: [&str; 3] = [".partial", ".tmp", ".part"];

pub(crate) fn scan(
    scan: &mut ScanInProgress<'_>,
    glob: &WildMatch,
    stable_for: Duration,
    cache: &mut FileCache<bool>,
) -> Result<(), ScanError> {
    let mut names = Vec::new();
    let mut unfinished = 0;
    scan.names(|name| {
        if name.starts_with('.') {
            return;
        }
        match UNFINISHED.iter().find_map(|suffix| name.strip_suffix(suffix)) {
            Some(finished) if glob.matches(finished) || glob.matches(name) => unfinished += 1,
            None if glob.matches(name) => names.push(Box::<str>::from(name)),
            _ => {}
        }
    })?;
    scan.found.files.partial += unfinished;

    let mut files = Vec::with_capacity(names.len());
    for name in names {
        if !scan.should_continue(0) {
            break;
        }
        // A symbolic link such as `latest` would count a backup twice.
        if let Some(metadata) = scan.metadata(&name)?.filter(|metadata| metadata.is_file()) {
            let nanoseconds = i32::try_from(metadata.mtime_nsec()).unwrap_or_default();
            let Ok(modified) = Timestamp::new(metadata.mtime(), nanoseconds) else { continue };
            files.push((modified, metadata.len(), Identity::of(&metadata), name));
        }
    }
    files.sort_unstable_by(|a, b| b.0.cmp(&a.0).then_with(|| b.3.cmp(&a.3)));

    let stable_for = SignedDuration::try_from(stable_for).unwrap_or(SignedDuration::MAX);
    let mut before = std::mem::take(cache);
    let mut unreadable = Vec::new();
    for (count, (modified, bytes, identity, name)) in files.into_iter().enumerate() {
        if !scan.should_continue(count) {
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
        if bytes == 0 {
            scan.found.files.failed += 1;
            continue;
        }
        let genuine = match before.remove(&name) {
            Some((known, genuine)) if known == identity => Ok(genuine),
            _ => is_genuine(scan.directory(), &name).inspect(|genuine| {
                if !genuine {
                    unreadable.push(format!("{name} does not begin like a file of its kind"));
                }
            }),
        };
        match genuine {
            Ok(true) => scan.add_complete(Backup {
                recovery_point: stamp::in_name(&name).filter(|stamp| *stamp <= modified).unwrap_or(modified),
                finished_at: modified,
                stored_bytes: bytes,
                uncompressed_bytes: None,
                duration: None,
            }),
            Ok(false) => scan.found.files.unreadable += 1,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            // Not cached: a new permission may not change its identity.
            Err(_) => {
                scan.found.files.unreadable += 1;
                continue;
            }
        }
        if let Ok(genuine) = genuine {
            cache.insert(name, (identity, genuine));
        }
    }
    if let Some(newest) = unreadable.first() {
        warn!(backup = %scan.job.name, files = unreadable.len(), error = %newest, "files can't be what their names say");
    }
    Ok(())
}

fn is_genuine(directory: &Path, name: &str) -> io::Result<bool> {
    let Some(extension) = magic::extension(name) else { return Ok(true) };
    // Whatever took the place of the regular file since it was looked at, opening it neither waits nor leads elsewhere.
    let flags = OFlags::NONBLOCK | OFlags::NOFOLLOW;
    let file = File::options().read(true).custom_flags(flags.bits().cast_signed()).open(directory.join(name))?;
    let mut head = Vec::with_capacity(magic::LONGEST);
    file.take(magic::LONGEST as u64).read_to_end(&mut head)?;
    Ok(magic::matches(extension, &head))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::config::Source;
    use crate::scan::{Files, MAX_FILES};
    use crate::scanner::testing::{TestDirectory, at};

    const NOW: &str = "2026-11-22T18:20:00Z";
    const GZIP: &[u8] = b"\x1f\x8b\x08 and so on";

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
        site.cache.contents.get_mut("app.gz").unwrap().1 = false;
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
        assert_eq!((scan.files.complete, scan.truncated), (20_000, false));
        let link = |number: usize| {
            fs::hard_link(site.path().join("original"), site.path().join(format!("app-{number}.gz"))).unwrap();
        };
        (0..=MAX_FILES - 20_000).for_each(link);
        site.file("app-newest.gz", GZIP, "2026-11-22T18:15:00Z");
        let scan = site.scan();
        assert_eq!((scan.files.complete, scan.truncated), (MAX_FILES as u64, true));
        assert_eq!(scan.complete.unwrap().newest.finished_at, at("2026-11-22T18:15:00Z"));
    }
}
