//! The received files: which there are, which follow each other, and which can go. Its functions block.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File},
    io::{self, Read as _},
    path::{Path, PathBuf},
    time::Duration,
};

use jiff::Timestamp;

use super::{BinlogError, BinlogName};
use crate::manifest::Coordinates;

/// Ends the name of a file that is being received again: what was received before.
const PREVIOUS_SUFFIX: &str = ".previous";
/// Ends the name of an empty file that says that what followed on the server was never received.
const GAP_SUFFIX: &str = ".gap";
/// Begins the names of directories with the files of a binary log that was reset.
const SET_ASIDE: &str = "set-aside-";
const STAMP_FORMAT: &str = "%Y%m%dT%H%M%SZ";
/// Clocks of events and manifests are cut to the second.
const CLOCK_TOLERANCE: Duration = Duration::from_secs(2);

/// What the beginning of a file says about it: equal for two copies of one file, different after a reset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Origin {
    /// When the server began the file, in seconds since 1970.
    created: u32,
    server_id: u32,
}

impl Origin {
    /// `None` while too little of it is there.
    pub(crate) fn read(path: &Path) -> io::Result<Option<Self>> {
        const MAGIC: [u8; 4] = [0xfe, b'b', b'i', b'n'];
        let mut start = Vec::new();
        File::open(path)?.take(13).read_to_end(&mut start)?;
        let number = |at: usize| Some(u32::from_le_bytes(start.get(at..at + 4)?.try_into().ok()?));
        Ok(match (start.starts_with(&MAGIC), number(4), number(9)) {
            (true, Some(created), Some(server_id)) => Some(Self { created, server_id }),
            _ => None,
        })
    }

    fn created(self) -> Timestamp {
        Timestamp::from_second(self.created.into()).unwrap_or(Timestamp::MIN)
    }
}

#[derive(Debug, Clone)]
pub(crate) struct Received {
    pub(crate) path: PathBuf,
    pub(crate) bytes: u64,
}

/// What has become of a file that is received again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Settled {
    Same,
    /// What was received before is still the longer copy.
    Pending,
    /// It is another file of the same name.
    Reset,
}

/// The files in a directory.
#[derive(Debug, Default)]
pub(crate) struct Files {
    directory: PathBuf,
    files: BTreeMap<BinlogName, Received>,
    gaps: BTreeSet<BinlogName>,
}

/// Where a replay begins.
#[derive(Debug, Clone)]
pub(crate) struct Start {
    pub(crate) file: BinlogName,
    pub(crate) position: u64,
    /// The server was at the position then.
    pub(crate) at: Timestamp,
}

impl Start {
    /// `None` without a position, or with a name that no server writes.
    pub(crate) fn of(coordinates: &Coordinates, at: Timestamp) -> Option<Self> {
        let file = BinlogName::parse(coordinates.binlog_file.as_deref()?)?;
        Some(Self { file, position: coordinates.binlog_position?, at })
    }
}

/// Files that follow each other without a gap.
#[derive(Debug)]
pub(crate) struct Chain {
    pub(crate) files: Vec<(BinlogName, PathBuf)>,
    /// Whether it ends with the newest file there is.
    pub(crate) is_whole: bool,
}

impl Files {
    /// Without the directory, there are none.
    pub(crate) fn read(directory: &Path) -> Result<Self, BinlogError> {
        let mut found = Self { directory: directory.to_owned(), ..Self::default() };
        let entries = match fs::read_dir(directory) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(found),
            Err(error) => return Err(BinlogError::io("list", directory)(error)),
        };
        for entry in entries {
            let entry = entry.map_err(BinlogError::io("list", directory))?;
            let name = entry.file_name();
            let Some(name) = name.to_str() else { continue };
            if let Some(name) = name.strip_suffix(GAP_SUFFIX).and_then(BinlogName::parse) {
                found.gaps.insert(name);
                continue;
            }
            let plain = name.strip_suffix(PREVIOUS_SUFFIX).unwrap_or(name);
            let Some(name) = BinlogName::parse(plain) else { continue };
            // Removed since.
            let Ok(metadata) = entry.metadata() else { continue };
            let received = Received { path: entry.path(), bytes: metadata.len() };
            // While a file is received again, the longer copy counts.
            match found.files.get(&name) {
                Some(other) if other.bytes >= received.bytes => {}
                _ => drop(found.files.insert(name, received)),
            }
        }
        Ok(found)
    }

    pub(crate) fn newest(&self) -> Option<(&BinlogName, &Received)> {
        self.files.last_key_value()
    }

    pub(crate) fn len(&self) -> usize {
        self.files.len()
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.files.values().map(|file| file.bytes).sum()
    }

    /// Where files are missing between the oldest and the newest one.
    pub(crate) fn gaps(&self) -> usize {
        let (names, nexts) = (self.files.keys(), self.files.keys().skip(1));
        names.zip(nexts).filter(|(name, next)| name.next() != **next || self.gaps.contains(name)).count()
    }

    /// The files from a position on. An error is why there is nothing to replay from there.
    pub(crate) fn chain(&self, start: &Start) -> Result<Chain, String> {
        let Start { file, position, at } = start;
        let Some(first) = self.files.get(file) else {
            return Err(format!("{file} is not among the received files of the binary log"));
        };
        let created = |received: &Received| Origin::read(&received.path).ok().flatten().map(Origin::created);
        // The same name after RESET MASTER, or on another server.
        let is_later = created(first).is_none_or(|created| created > *at + CLOCK_TOLERANCE);
        let is_earlier = self
            .files
            .get(&file.next())
            .is_some_and(|next| created(next).is_some_and(|created| created < *at - CLOCK_TOLERANCE));
        if is_later || is_earlier {
            return Err(format!(
                "the received {file} is not the one of the backup: the binary log was reset in between"
            ));
        }
        if first.bytes < *position {
            return Err(format!(
                "{file} is received up to byte {}, and the backup continues at {position}",
                first.bytes
            ));
        }
        let mut chain = Chain { files: vec![(file.clone(), first.path.clone())], is_whole: false };
        let mut last = file.clone();
        while !self.gaps.contains(&last)
            && let Some(received) = self.files.get(&last.next())
        {
            last = last.next();
            chain.files.push((last.clone(), received.path.clone()));
        }
        chain.is_whole = self.newest().is_some_and(|(newest, _)| *newest == last);
        Ok(chain)
    }

    /// Keeps what was received of a file that is received again.
    pub(crate) fn set_previous(directory: &Path, name: &BinlogName) -> Result<(), BinlogError> {
        let (path, previous) = (directory.join(name.to_string()), previous(directory, name));
        let len = |path: &Path| path.metadata().map_or(0, |metadata| metadata.len());
        // A killed stream left one, and had not received as much again.
        if len(&previous) >= len(&path) {
            return Ok(());
        }
        fs::rename(&path, &previous).map_err(BinlogError::io("rename", path))
    }

    /// Removes the kept copy when the new one is as long, or the server has gone on to the next file.
    pub(crate) fn settle_previous(directory: &Path, name: &BinlogName) -> Result<Settled, BinlogError> {
        let (path, previous) = (directory.join(name.to_string()), previous(directory, name));
        let Ok(before) = previous.metadata() else { return Ok(Settled::Same) };
        let Ok(now) = path.metadata() else { return Ok(Settled::Pending) };
        let origin = |path: &Path| Origin::read(path).map_err(BinlogError::io("read", path));
        match (origin(&previous)?, origin(&path)?) {
            (Some(old), Some(new)) if old != new => Ok(Settled::Reset),
            (_, None) => Ok(Settled::Pending),
            _ if now.len() >= before.len() || directory.join(name.next().to_string()).exists() => {
                fs::remove_file(&previous).map_err(BinlogError::io("remove", previous))?;
                Ok(Settled::Same)
            }
            _ => Ok(Settled::Pending),
        }
    }

    /// Records that what followed this file on the server is lost.
    pub(crate) fn mark_gap(directory: &Path, name: &BinlogName) -> Result<(), BinlogError> {
        let path = directory.join(format!("{name}{GAP_SUFFIX}"));
        File::create(&path).map(drop).map_err(BinlogError::io("create", path))
    }

    /// Moves all away: the server's binary log begins again, with names that were used before.
    pub(crate) fn set_aside(directory: &Path) -> Result<PathBuf, BinlogError> {
        let place = directory.join(format!("{SET_ASIDE}{}", Timestamp::now().strftime(STAMP_FORMAT)));
        fs::create_dir(&place).map_err(BinlogError::io("create", &place))?;
        for entry in fs::read_dir(directory).map_err(BinlogError::io("list", directory))? {
            let name = entry.map_err(BinlogError::io("list", directory))?.file_name();
            if !name.to_string_lossy().starts_with(SET_ASIDE) {
                let path = directory.join(&name);
                fs::rename(&path, place.join(&name)).map_err(BinlogError::io("rename", path))?;
            }
        }
        Ok(place)
    }

    /// Removes files that are older than `keep`, and from which no replay of the newest backup begins.
    pub(crate) fn expire(&self, keep: Duration, needed: Option<&BinlogName>) -> Result<u64, BinlogError> {
        let before = Timestamp::now() - jiff::SignedDuration::try_from(keep).unwrap_or(jiff::SignedDuration::MAX);
        let mut removed = 0;
        // A file is as old as its end, which is the beginning of the next one.
        for ((name, file), (next, after)) in self.files.iter().zip(self.files.iter().skip(1)) {
            let ended = Origin::read(&after.path).ok().flatten().map(Origin::created);
            if ended.is_none_or(|ended| ended >= before) || needed.is_some_and(|needed| needed < next) {
                break;
            }
            fs::remove_file(&file.path).map_err(BinlogError::io("remove", &file.path))?;
            // It is there only behind a gap.
            let _ = fs::remove_file(self.directory.join(format!("{name}{GAP_SUFFIX}")));
            removed += 1;
        }
        Self::expire_set_aside(&self.directory, before)?;
        Ok(removed)
    }

    fn expire_set_aside(directory: &Path, before: Timestamp) -> Result<(), BinlogError> {
        let oldest = format!("{SET_ASIDE}{}", before.strftime(STAMP_FORMAT));
        for entry in fs::read_dir(directory).map_err(BinlogError::io("list", directory))? {
            let name = entry.map_err(BinlogError::io("list", directory))?.file_name();
            // Their names sort by time.
            if name.to_str().is_some_and(|name| name.starts_with(SET_ASIDE) && *name < *oldest) {
                let path = directory.join(&name);
                fs::remove_dir_all(&path).map_err(BinlogError::io("remove", path))?;
            }
        }
        Ok(())
    }
}

fn previous(directory: &Path, name: &BinlogName) -> PathBuf {
    directory.join(format!("{name}{PREVIOUS_SUFFIX}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: i64 = 3600;

    /// A file that the server began so many hours ago.
    fn file(directory: &Path, name: &str, hours: i64) {
        let created = u32::try_from(Timestamp::now().as_second() - hours * HOUR).unwrap();
        let mut bytes = b"\xfebin".to_vec();
        bytes.extend(created.to_le_bytes());
        bytes.extend([15, 1, 0, 0, 0, 100, 0, 0, 0]);
        fs::write(directory.join(name), bytes).unwrap();
    }

    fn name(number: u32) -> BinlogName {
        BinlogName::parse(&format!("b.{number:06}")).unwrap()
    }

    fn start(number: u32, hours: i64) -> Start {
        let at = Timestamp::now() - jiff::SignedDuration::from_hours(hours);
        Start { file: name(number), position: 10, at }
    }

    #[test]
    fn files_follow_each_other_up_to_a_gap() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path();
        for (number, hours) in [(7, 9), (8, 7), (9, 5), (11, 1)] {
            file(path, &name(number).to_string(), hours);
        }
        let chain = |start: &Start| {
            let chain = Files::read(path).unwrap().chain(start)?;
            Ok::<_, String>((chain.files.len(), chain.is_whole))
        };
        assert_eq!(Files::read(path).unwrap().gaps(), 1);
        assert_eq!(chain(&start(7, 8)), Ok((3, false)));
        assert_eq!(chain(&start(11, 0)), Ok((1, true)));
        assert!(chain(&start(10, 3)).unwrap_err().contains("b.000010 is not among"));
        // The file had not begun then, or had ended.
        assert!(chain(&start(8, 8)).unwrap_err().contains("reset in between"));
        assert!(chain(&start(7, 2)).unwrap_err().contains("reset in between"));
        Files::mark_gap(path, &name(8)).unwrap();
        assert_eq!(chain(&start(7, 8)), Ok((2, false)));
        let late = Start { position: 1 << 20, ..start(7, 8) };
        assert!(chain(&late).unwrap_err().contains("is received up to byte"));
    }

    #[test]
    fn old_files_go_and_those_of_the_newest_backup_stay() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path();
        for (number, hours) in [(1, 9), (2, 7), (3, 5), (4, 1)] {
            file(path, &name(number).to_string(), hours);
        }
        for stamp in ["20200101T000000Z", "29990101T000000Z"] {
            fs::create_dir(path.join(format!("{SET_ASIDE}{stamp}"))).unwrap();
        }
        let expire =
            |needed| Files::read(path).unwrap().expire(Duration::from_secs(3 * 3600), Some(&name(needed))).unwrap();
        assert_eq!(expire(1), 0);
        assert_eq!(expire(2), 1);
        // The third ended an hour ago.
        assert_eq!(expire(4), 1);
        let mut left: Vec<_> = fs::read_dir(path).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        left.sort();
        assert_eq!(left, ["b.000003", "b.000004", "set-aside-29990101T000000Z"]);
    }

    #[test]
    fn the_longer_copy_counts_until_the_new_one_is_as_long() {
        let directory = tempfile::tempdir().unwrap();
        let (path, one) = (directory.path(), name(1));
        file(path, "b.000001", 1);
        let long = [fs::read(path.join("b.000001")).unwrap(), vec![0; 100]].concat();
        fs::write(path.join("b.000001"), &long).unwrap();
        Files::set_previous(path, &one).unwrap();
        assert_eq!(Files::settle_previous(path, &one).unwrap(), Settled::Pending);
        fs::write(path.join("b.000001"), &long[..50]).unwrap();
        assert_eq!(Files::settle_previous(path, &one).unwrap(), Settled::Pending);
        assert_eq!(Files::read(path).unwrap().newest().unwrap().1.bytes, long.len() as u64);
        // A killed stream: the long copy is not lost.
        Files::set_previous(path, &one).unwrap();
        assert_eq!(Files::read(path).unwrap().newest().unwrap().1.bytes, long.len() as u64);
        fs::write(path.join("b.000001"), &long).unwrap();
        assert_eq!(Files::settle_previous(path, &one).unwrap(), Settled::Same);
        assert!(!path.join("b.000001.previous").exists());
        // Of another server, or after a reset.
        Files::set_previous(path, &one).unwrap();
        file(path, "b.000001", 0);
        assert_eq!(Files::settle_previous(path, &one).unwrap(), Settled::Reset);
    }
}
