//! One run of the dump client, with its output led through scanner, zstd and SHA-256 into a file.
//!
//! The pipe is owned here rather than by a shell: `client | zstd > file` hides the client's end behind zstd's, and a
//! compressor happily finishes a valid archive of half a dump. Memory is one chunk, one INSERT, zstd's window and the
//! names of the objects.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
    process::ExitStatus,
};

use jiff::Timestamp;
use service_kit::hex;
use sha2::{Digest, Sha256};

use crate::{
    accounts::AccountStatement,
    client::{Client, Features},
    encryption::{Recipient, Sealed},
    error::RunError,
    login::Login,
    process::DumpProcess,
    scan::{Scanned, Scanner},
};

/// zstd's default: about the speed of one client on one core.
const ZSTD_LEVEL: i32 = 3;
const CHUNK: usize = 128 * 1024;
/// What is kept of the end of the client's complaints, for message and manifest: the cause comes last.
const STDERR_MAX: usize = 2048;

/// What to dump.
#[derive(Debug, Clone, Default)]
pub(crate) struct Request {
    pub(crate) databases: Vec<String>,
    /// As `database.view`.
    pub(crate) ignored: Vec<String>,
    pub(crate) features: Features,
}

impl Request {
    pub(crate) fn flags(&self, client: &Client) -> Vec<String> {
        let ignored = self.ignored.iter().map(|name| format!("--ignore-table={name}"));
        client.flags(self.features).into_iter().map(str::to_owned).chain(ignored).collect()
    }
}

/// What a client that ended well wrote.
pub(crate) struct Dumped {
    /// Taken just before the client started: its snapshot is not older.
    pub(crate) recovery_point: Timestamp,
    pub(crate) stored_bytes: u64,
    pub(crate) uncompressed_bytes: u64,
    pub(crate) sha256: String,
    pub(crate) scanned: Scanned,
}

/// The file of a dump, and who can read it.
#[derive(Clone, Copy)]
pub(crate) struct Output<'a> {
    pub(crate) path: &'a Path,
    /// Empty: it is not encrypted.
    pub(crate) recipients: &'a [Recipient],
}

/// Dumps into a file, which must not exist. On success it is complete by the client's word, and synced. `snapshot` is
/// called once, after the client has taken its snapshot. Blocks.
pub(crate) fn dump_to_file(
    client: &Client,
    login: &Login,
    request: &Request,
    accounts: &[AccountStatement],
    output: Output<'_>,
    process: &DumpProcess,
    snapshot: impl FnOnce(),
) -> Result<Dumped, RunError> {
    let Output { path, recipients } = output;
    let storage = |action| move |source| RunError::Storage { action, path: path.to_owned(), source };
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(storage("create"))?;
    let mut sink = Sink::new(file, recipients).map_err(storage("write"))?;
    for account in accounts {
        sink.write(account.to_line().as_bytes()).map_err(storage("write"))?;
    }
    let recovery_point = Timestamp::now();
    let mut snapshot = Some(snapshot);
    let ended = run_client(client, login, request, process, |chunk| {
        sink.write(chunk)?;
        if sink.scanner.database().is_some()
            && let Some(snapshot) = snapshot.take()
        {
            snapshot();
        }
        Ok(())
    })?;
    ended.written.map_err(storage("write"))?;
    check_end(client, ended.status, &ended.stderr, sink.scanner.database())?;
    let (uncompressed_bytes, hashing, scanned) = sink.finish().map_err(storage("write"))?;
    require_footer(client, &scanned)?;
    let sha256 = hex::lower(hashing.hash.finalize());
    Ok(Dumped { recovery_point, stored_bytes: hashing.bytes, uncompressed_bytes, sha256, scanned })
}

/// Dumps only to list and hash the contents. Blocks.
pub(crate) fn dump_to_nowhere(
    client: &Client,
    login: &Login,
    request: &Request,
    process: &DumpProcess,
) -> Result<Scanned, RunError> {
    let mut scanner = Scanner::new();
    let ended = run_client(client, login, request, process, |chunk| {
        scanner.feed(chunk);
        Ok(())
    })?;
    check_end(client, ended.status, &ended.stderr, scanner.database())?;
    let scanned = scanner.finish();
    require_footer(client, &scanned)?;
    Ok(scanned)
}

struct Ended {
    status: ExitStatus,
    stderr: String,
    written: io::Result<()>,
}

fn run_client(
    client: &Client,
    login: &Login,
    request: &Request,
    process: &DumpProcess,
    mut write: impl FnMut(&[u8]) -> io::Result<()>,
) -> Result<Ended, RunError> {
    let broken = |source| RunError::ClientBroken { tool: client.program.to_owned(), source };
    let mut command = client.command(login)?;
    command.args(request.flags(client)).args(["--databases", "--"]).args(&request.databases);
    let mut child = process.spawn(command).map_err(broken)?;
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    std::thread::scope(|scope| {
        let complaints = scope.spawn(|| stderr.map(read_end).unwrap_or_default());
        let written = stdout.map_or(Ok(()), |stdout| stream(stdout, &mut write));
        if written.is_err() {
            process.kill();
        }
        let status = process.wait(&mut child).map_err(broken)?;
        Ok(Ended { status, stderr: complaints.join().unwrap_or_default(), written })
    })
}

fn stream(mut source: impl Read, write: &mut impl FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
    let mut chunk = vec![0; CHUNK];
    loop {
        match source.read(&mut chunk) {
            Ok(0) => return Ok(()),
            Ok(len) => write(&chunk[..len])?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// The end of the text on one line; all is read, so that the writer never blocks.
pub(crate) fn read_end(mut source: impl Read) -> String {
    let mut end = Vec::new();
    let mut chunk = [0; 4096];
    // An error means that there is no more to read, which is all that matters here.
    while let Ok(len @ 1..) = source.read(&mut chunk) {
        end.extend_from_slice(&chunk[..len]);
        end.drain(..end.len().saturating_sub(STDERR_MAX));
    }
    String::from_utf8_lossy(&end).split_whitespace().collect::<Vec<_>>().join(" ")
}

fn check_end(client: &Client, status: ExitStatus, stderr: &str, database: Option<&str>) -> Result<(), RunError> {
    if status.success() {
        if !stderr.is_empty() {
            tracing::warn!(tool = client.program, text = stderr, "message of the dump client");
        }
        return Ok(());
    }
    // Nothing shows whether the database had a part in the death of the client or of the connection.
    let lost = status.code().is_none() || code_of(stderr).is_some_and(|code| CONNECTION_LOST.contains(&code));
    let database = database.filter(|_| !lost).map(str::to_owned);
    let stderr = stderr.to_owned();
    Err(if code_of(&stderr).is_some_and(|code| CHANGED.contains(&code)) {
        RunError::DefinitionChanged { stderr, database }
    } else {
        RunError::DumpFailed { tool: client.program.to_owned(), status: status.to_string(), stderr, database }
    })
}

fn require_footer(client: &Client, scanned: &Scanned) -> Result<(), RunError> {
    if scanned.is_complete {
        return Ok(());
    }
    Err(RunError::DumpIncomplete {
        tool: client.program.to_owned(),
        what: "its last line is not \"-- Dump completed\"".to_owned(),
    })
}

/// What comes and goes while it is dumped: tables, views, triggers, routines, events. The last is a table of another
/// shape than in the snapshot.
const CHANGED: [u16; 8] = [1049, 1051, 1146, 1305, 1356, 1360, 1539, 1412];
/// The server went away, or an administrator ended the connection.
const CONNECTION_LOST: [u16; 6] = [1053, 1317, 1927, 2002, 2006, 2013];

/// The code in a message of the clients: `Error 1412: …`, `Got error: 1356: …`, `Couldn't execute '…': … (1146)`.
fn code_of(stderr: &str) -> Option<u16> {
    let digits = |text: &str| {
        let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        (end == 4).then(|| text[..end].parse().ok())?
    };
    let after = |word: &str| stderr.rfind(word).and_then(|at| digits(&stderr[at + word.len()..]));
    ["rror ", "rror: ", "("].into_iter().find_map(after)
}

/// Where the dump's bytes end: scanned, compressed, encrypted, hashed, stored.
struct Sink {
    scanner: Scanner,
    uncompressed_bytes: u64,
    encoder: zstd::stream::write::Encoder<'static, Sealed<Hashing>>,
}

impl Sink {
    fn new(file: File, recipients: &[Recipient]) -> io::Result<Self> {
        let sealed = Sealed::new(Hashing { file, hash: Sha256::new(), bytes: 0 }, recipients)?;
        let mut encoder = zstd::stream::write::Encoder::new(sealed, ZSTD_LEVEL)?;
        encoder.include_checksum(true)?;
        // On a thread of its own, while the next chunk is read and scanned.
        encoder.multithread(1)?;
        Ok(Self { scanner: Scanner::new(), uncompressed_bytes: 0, encoder })
    }

    fn write(&mut self, chunk: &[u8]) -> io::Result<()> {
        self.scanner.feed(chunk);
        self.uncompressed_bytes += chunk.len() as u64;
        self.encoder.write_all(chunk)
    }

    fn finish(self) -> io::Result<(u64, Hashing, Scanned)> {
        let hashing = self.encoder.finish()?.finish()?;
        hashing.file.sync_all()?;
        Ok((self.uncompressed_bytes, hashing, self.scanner.finish()))
    }
}

struct Hashing {
    file: File,
    hash: Sha256,
    bytes: u64,
}

impl Write for Hashing {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        let len = self.file.write(data)?;
        self.hash.update(&data[..len]);
        self.bytes += len as u64;
        Ok(len)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_stored_is_what_was_hashed_and_counted() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("dump");
        let mut sink = Sink::new(File::create_new(&path).unwrap(), &[]).unwrap();
        let text = format!(
            "USE `app`;\nCREATE TABLE `t` (\n  `a` int\n) COMMENT='{}';\n-- Dump completed\n",
            "x".repeat(1 << 20)
        );
        stream(text.as_bytes(), &mut |chunk| sink.write(chunk)).unwrap();
        let (uncompressed, hashing, scanned) = sink.finish().unwrap();

        let stored = std::fs::read(&path).unwrap();
        assert_eq!((hashing.bytes, uncompressed), (stored.len() as u64, text.len() as u64));
        assert_eq!(hashing.hash.finalize(), Sha256::digest(&stored));
        assert!(scanned.is_complete);
        assert!(scanned.databases["app"].tables.contains("t"));
        assert_eq!(zstd::stream::decode_all(&stored[..]).unwrap(), text.as_bytes());
        assert_eq!(stored[4] & 0b100, 0b100, "the frame carries a checksum");
    }

    #[test]
    fn the_end_of_the_complaints_is_kept() {
        let text = format!("{}\nmysqldump: Got error: 1356: View\n", "noise ".repeat(10_000));
        let end = read_end(text.as_bytes());
        assert!(end.len() <= STDERR_MAX && end.ends_with("noise mysqldump: Got error: 1356: View"), "{end}");
    }

    #[test]
    fn codes_of_the_clients_are_found() {
        for (stderr, code) in [
            ("mysqldump: Error 1412: Table definition has changed, please retry", Some(1412)),
            ("mysqldump: Error: 'Access denied; you need' when trying", None),
            ("mysqldump: Got error: 1356: View 'a.b' references", Some(1356)),
            ("mariadb-dump: Couldn't execute 'SHOW CREATE TABLE `t`': Table 'a.t' doesn't exist (1146)", Some(1146)),
            ("mysqldump: Error 2013: Lost connection to MySQL server", Some(2013)),
            ("ran into trouble", None),
            ("", None),
        ] {
            assert_eq!(code_of(stderr), code, "{stderr}");
        }
    }
}
