//! A backup that is a directory: a physical backup, or a dump in parallel files. Which tool wrote it, and whether it
//! finished, is known by the files that the tool leaves.

use std::fs::{self, Metadata};
use std::io;
use std::path::Path;

use jiff::Timestamp;

use crate::scan::{Identity, modification_time};

/// The tools whose directories are recognised.
const TOOLS: &[Tool] = &[
    // Percona XtraBackup and mariadb-backup, which calls its files so from 11.1 on.
    Tool {
        started: &[
            "xtrabackup_logfile",
            "ib_logfile0",
            "backup-my.cnf",
            "xtrabackup_checkpoints",
            "mariadb_backup_checkpoints",
        ],
        finished: &["xtrabackup_info", "mariadb_backup_info", "xtrabackup_info.zst", "xtrabackup_info.lz4"],
        snapshot: None,
    },
    // mydumper renames it at its end.
    Tool { started: &["metadata.partial"], finished: &["metadata"], snapshot: None },
    // The dumps of MySQL Shell. It writes the first file when the snapshot is taken.
    Tool { started: &["@.json"], finished: &["@.done.json"], snapshot: Some("@.json") },
];

struct Tool {
    /// Any of these: it is a directory of this tool.
    started: &'static [&'static str],
    /// Any of these: and the tool finished.
    finished: &'static [&'static str],
    /// Written at the time of the snapshot.
    snapshot: Option<&'static str>,
}

/// Entries of one directory, in all of its folders. A server with this many tables needs a tool of its own.
const MAX_ENTRIES: usize = 200_000;

#[derive(Debug)]
pub(crate) enum Folder {
    Finished {
        /// Of the file that the tool wrote last: the directory's own times change when somebody copies it.
        identity: Identity,
        modified: Timestamp,
        snapshot: Option<Timestamp>,
    },
    /// Being written, or left by a run that was killed.
    Unfinished,
    /// Of no tool that is known here.
    Unknown,
}

pub(crate) fn look(path: &Path) -> io::Result<Folder> {
    let file = |name: &&str| -> io::Result<Option<Metadata>> {
        match fs::symlink_metadata(path.join(name)) {
            Ok(metadata) => Ok(Some(metadata).filter(Metadata::is_file)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    };
    let first = |names: &[&str]| names.iter().find_map(|name| file(name).transpose()).transpose();
    for tool in TOOLS {
        if first(tool.started)?.is_none() && first(tool.finished)?.is_none() {
            continue;
        }
        // A new run into the directory of an old one has both.
        let running = file(&"metadata.partial")?.is_some();
        let Some(last) = first(tool.finished)?.filter(|_| !running) else { return Ok(Folder::Unfinished) };
        let Some(modified) = modification_time(&last) else { return Ok(Folder::Unknown) };
        let snapshot = first(tool.snapshot.as_slice())?.as_ref().and_then(modification_time);
        return Ok(Folder::Finished { identity: Identity::of(&last), modified, snapshot });
    }
    Ok(Folder::Unknown)
}

/// The sizes of its files together; `None` for more than the limit.
pub(crate) fn bytes(path: &Path) -> io::Result<Option<u64>> {
    let mut folders = vec![path.to_owned()];
    let (mut bytes, mut entries) = (0, 0);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            entries += 1;
            if entries > MAX_ENTRIES {
                return Ok(None);
            }
            let metadata = entry.metadata()?;
            if metadata.is_dir() {
                folders.push(entry.path());
            } else if metadata.is_file() {
                bytes += metadata.len();
            }
        }
    }
    Ok(Some(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_tool_is_recognised_while_it_runs_and_when_it_finished() {
        for (running, last) in [
            (&["xtrabackup_logfile"][..], "xtrabackup_info"),
            (&["ib_logfile0", "mariadb_backup_checkpoints"], "mariadb_backup_info"),
            (&["@.json", "app@payment.tsv.zst"], "@.done.json"),
        ] {
            let folder = tempfile::tempdir().unwrap();
            assert!(matches!(look(folder.path()).unwrap(), Folder::Unknown));
            for name in running {
                fs::write(folder.path().join(name), b"12345").unwrap();
            }
            assert!(matches!(look(folder.path()).unwrap(), Folder::Unfinished), "{running:?}");
            fs::write(folder.path().join(last), b"123").unwrap();
            let Folder::Finished { snapshot, .. } = look(folder.path()).unwrap() else { panic!("{last}") };
            assert_eq!(snapshot.is_some(), running[0] == "@.json");
        }
    }

    #[test]
    fn mydumper_renames_its_metadata() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("metadata.partial"), b"x").unwrap();
        assert!(matches!(look(folder.path()).unwrap(), Folder::Unfinished));
        // Into the directory of an older dump.
        fs::write(folder.path().join("metadata"), b"x").unwrap();
        assert!(matches!(look(folder.path()).unwrap(), Folder::Unfinished));
        fs::remove_file(folder.path().join("metadata.partial")).unwrap();
        assert!(matches!(look(folder.path()).unwrap(), Folder::Finished { .. }));
    }

    #[test]
    fn all_files_in_all_folders_are_counted_and_links_are_not() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join("app/deep")).unwrap();
        fs::write(folder.path().join("a"), [0; 10]).unwrap();
        fs::write(folder.path().join("app/deep/b"), [0; 7]).unwrap();
        std::os::unix::fs::symlink("/", folder.path().join("root")).unwrap();
        assert_eq!(bytes(folder.path()).unwrap(), Some(17));
    }
}
