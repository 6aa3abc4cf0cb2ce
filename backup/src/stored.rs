//! A stored backup, read as a whole: its checksum, its compression, its end, and its contents.

use std::{
    fs::File,
    io::{self, BufReader, Read},
    path::Path,
};

use service_kit::hex;
use sha2::{Digest, Sha256};

use crate::{
    encryption::Identities,
    manifest::{Database, StoredFile, Success},
    scan::{Objects, Scanned, Scanner},
};

const CHUNK: usize = 128 * 1024;
/// More differences say nothing new.
const MAX_DIFFERENCES: usize = 100;

/// The dump in a stored file.
pub(crate) fn open(path: &Path, keys: &Keys) -> io::Result<Box<dyn Read>> {
    decoder(File::open(path)?, keys)
}

fn decoder<'a>(file: impl Read + 'a, keys: &Keys) -> io::Result<Box<dyn Read + 'a>> {
    let file = BufReader::with_capacity(CHUNK, file);
    let compressed: Box<dyn Read + 'a> = match keys {
        Keys::NotEncrypted => Box::new(file),
        Keys::Identities(identities) => Box::new(identities.decrypt(file)?),
    };
    Ok(Box::new(zstd::stream::read::Decoder::new(compressed)?))
}

/// What it takes to read a stored file.
#[derive(Clone)]
pub(crate) enum Keys {
    NotEncrypted,
    Identities(Identities),
}

impl Keys {
    /// Those of one backup; `None` if it is encrypted and there is no identity.
    pub(crate) fn of(file: &StoredFile, identities: Option<&Identities>) -> Option<Self> {
        match (&file.encryption, identities) {
            (None, _) => Some(Self::NotEncrypted),
            (Some(_), identities) => identities.cloned().map(Self::Identities),
        }
    }
}

/// What is wrong with the file, by its manifest; empty if nothing is. Without keys, of an encrypted file only size and
/// checksum are compared. `progress` gets the number of bytes read. Blocks.
pub(crate) fn check(
    path: &Path,
    saved: &Success,
    keys: Option<&Keys>,
    progress: impl Fn(u64),
) -> io::Result<Vec<String>> {
    let mut file = Hashing { file: File::open(path)?, hash: Sha256::new(), bytes: 0, progress };
    let mut scanner = Scanner::new();
    let decoded = keys.map(|keys| decode(&mut file, keys, &mut scanner));
    // What follows a frame that ended early.
    io::copy(&mut file, &mut io::sink())?;
    let mut differences = Vec::new();
    if file.bytes != saved.file.stored_bytes {
        differences
            .push(format!("the file has {} bytes, and its manifest says {}", file.bytes, saved.file.stored_bytes));
    }
    if hex::lower(file.hash.finalize()) != saved.file.sha256 {
        differences.push("the file's SHA-256 is not its manifest's: it was changed or damaged".to_owned());
    }
    match decoded {
        None => return Ok(differences),
        Some(Ok(bytes)) if bytes != saved.file.uncompressed_bytes => differences
            .push(format!("the dump has {bytes} bytes, and its manifest says {}", saved.file.uncompressed_bytes)),
        Some(Ok(_)) => {}
        Some(Err(error)) => {
            differences.push(format!("the file cannot be read: {error}"));
            return Ok(differences);
        }
    }
    let scanned = scanner.finish();
    if !scanned.is_complete {
        differences.push("the dump's last line is not \"-- Dump completed\"".to_owned());
    }
    differences.append(&mut compare(&saved.databases, &scanned, |_, _| false).0);
    differences.truncate(MAX_DIFFERENCES);
    Ok(differences)
}

fn decode(file: &mut impl Read, keys: &Keys, scanner: &mut Scanner) -> io::Result<u64> {
    let mut decoder = decoder(file, keys)?;
    let mut chunk = vec![0; CHUNK];
    let mut bytes = 0;
    loop {
        match decoder.read(&mut chunk)? {
            0 => return Ok(bytes),
            len => {
                bytes += len as u64;
                scanner.feed(&chunk[..len]);
            }
        }
    }
}

/// How a dump differs from what a manifest says of these databases, and how many tables were compared by checksum.
/// `skip` excuses a kind of object of a database.
pub(crate) fn compare(
    databases: &[Database],
    scanned: &Scanned,
    skip: impl Fn(&Database, &str) -> bool,
) -> (Vec<String>, u64) {
    let mut differences = Vec::new();
    let mut compared = 0;
    let none = Objects::default();
    for database in databases {
        let name = &database.name;
        let objects = match scanned.databases.get(name) {
            Some(objects) => objects,
            None => {
                differences.push(format!("database `{name}` is not there"));
                &none
            }
        };
        for (kind, expected, found) in [
            ("tables", database.tables, objects.tables.len() as u64),
            ("views", database.views, objects.views.len() as u64),
            ("triggers", database.triggers, objects.triggers),
            ("routines", database.routines, objects.routines.len() as u64),
            ("events", database.events, objects.events.len() as u64),
            ("libraries", database.libraries, objects.libraries.len() as u64),
        ] {
            if expected != found && !skip(database, kind) {
                differences.push(format!("database `{name}` has {found} {kind}, and the manifest says {expected}"));
            }
        }
        let found = scanned.rows.get(name).map(Vec::as_slice).unwrap_or_default();
        for expected in database.contents.iter().flatten() {
            let table = &expected.table;
            match found.binary_search_by(|other| other.table.cmp(table)) {
                Err(_) => differences.push(format!("table `{name}`.`{table}` is not there")),
                Ok(index) if found[index].rows != expected.rows => differences.push(format!(
                    "table `{name}`.`{table}` has {} rows, and the manifest says {}",
                    found[index].rows, expected.rows
                )),
                Ok(index) => {
                    compared += u64::from(expected.sha256.is_some());
                    if expected.sha256 != found[index].sha256 {
                        differences.push(format!("table `{name}`.`{table}` has other rows than the manifest says"));
                    }
                }
            }
        }
    }
    let more = differences.len().saturating_sub(MAX_DIFFERENCES);
    differences.truncate(MAX_DIFFERENCES);
    if more > 0 {
        differences.push(format!("{more} more differences are not listed"));
    }
    (differences, compared)
}

struct Hashing<P> {
    file: File,
    hash: Sha256,
    bytes: u64,
    progress: P,
}

impl<P: Fn(u64)> Read for Hashing<P> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let len = self.file.read(buffer)?;
        self.hash.update(&buffer[..len]);
        self.bytes += len as u64;
        (self.progress)(self.bytes);
        Ok(len)
    }
}
