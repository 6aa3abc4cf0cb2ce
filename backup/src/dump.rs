//! One run of the dump client, with its output led through scanner, zstd and SHA-256 into a file.
//!
//! The pipe is owned here rather than by a shell: `client | zstd > file` hides the client's end behind zstd's, and a
//! compressor happily finishes a valid archive of half a dump. Memory is one chunk, one line's start, zstd's window and
//! the names of the tables.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read, Write},
    os::unix::{fs::OpenOptionsExt, process::CommandExt},
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, Mutex},
};

use jiff::Timestamp;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};
use service_kit::{hex, lock::lock};
use sha2::{Digest, Sha256};

use crate::{
    client::{Client, Credentials},
    error::RunError,
    scan::{Databases, Scanner},
    server::Login,
};

/// zstd's default: about the speed of one client on one core.
const ZSTD_LEVEL: i32 = 3;
const CHUNK: usize = 128 * 1024;
/// What is kept of the client's complaints, for message and manifest.
const STDERR_MAX: usize = 2048;

/// What a client that ended well wrote.
pub(crate) struct Dumped {
    /// Taken just before the client started: its snapshot is not older.
    pub(crate) recovery_point: Timestamp,
    pub(crate) stored_bytes: u64,
    pub(crate) uncompressed_bytes: u64,
    pub(crate) sha256: String,
    pub(crate) databases: Databases,
}

/// Runs the client to its end; `path` must not exist. On success the file is complete by the client's word, and synced.
/// Blocks.
pub(crate) fn dump(
    client: &Client,
    login: &Login,
    databases: &[String],
    path: &Path,
    process: &DumpProcess,
) -> Result<Dumped, RunError> {
    let storage = |action| move |source| RunError::Storage { action, path: path.to_owned(), source };
    let tool = || client.program.to_owned();

    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(storage("create"))?;
    let mut sink = Sink::new(file).map_err(storage("write"))?;

    // Removed as soon as the first bytes show that the client has logged in, or on return.
    let mut credentials = Some(Credentials::write(login)?);
    let mut command = Command::new(client.program);
    command
        .args(credentials.as_ref().map(Credentials::argument))
        .args(client.flags())
        .args(["--databases", "--"])
        .args(databases)
        // The clients read a login file in the home directory even where --defaults-file forbids all others.
        .env_remove("HOME")
        .env_remove("MYSQL_PWD")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0);
    let recovery_point = Timestamp::now();
    let mut child = process.spawn(command).map_err(|source| RunError::ClientBroken { tool: tool(), source })?;
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());

    let (streamed, stderr, status) = std::thread::scope(|scope| {
        let complaints = scope.spawn(|| stderr.map(read_start).unwrap_or_default());
        let streamed = match stdout {
            Some(stdout) => stream(stdout, &mut sink, || drop(credentials.take())),
            None => Ok(()),
        };
        if streamed.is_err() {
            process.kill();
        }
        let status = process.wait(&mut child);
        (streamed, complaints.join().unwrap_or_default(), status)
    });

    streamed.map_err(storage("write"))?;
    let status = status.map_err(|source| RunError::ClientBroken { tool: tool(), source })?;
    if !status.success() {
        // "Table definition has changed, please retry transaction"
        return Err(if stderr.contains("Error 1412") || stderr.contains("(1412)") {
            RunError::DefinitionChanged { stderr }
        } else {
            RunError::DumpFailed { tool: tool(), status: status.to_string(), stderr }
        });
    }
    let Finished { stored_bytes, uncompressed_bytes, sha256, databases, footer } =
        sink.finish().map_err(storage("write"))?;
    if !footer {
        return Err(RunError::DumpIncomplete {
            tool: tool(),
            what: "its last line is not \"-- Dump completed\"".to_owned(),
        });
    }
    Ok(Dumped { recovery_point, stored_bytes, uncompressed_bytes, sha256, databases })
}

fn stream(mut source: impl Read, sink: &mut Sink, mut started: impl FnMut()) -> io::Result<()> {
    let mut chunk = vec![0; CHUNK];
    loop {
        match source.read(&mut chunk) {
            Ok(0) => return Ok(()),
            Ok(len) => {
                started();
                sink.write(&chunk[..len])?;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// The start of the text on one line; the rest is read and dropped, so that the writer never blocks.
fn read_start(mut source: impl Read) -> String {
    let mut start = Vec::new();
    // An error means that there is no more to read, which is all that matters here.
    let _ = source.by_ref().take(STDERR_MAX as u64).read_to_end(&mut start);
    let _ = io::copy(&mut source, &mut io::sink());
    String::from_utf8_lossy(&start).split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Where the dump's bytes end: scanned, compressed, hashed, stored.
struct Sink {
    scanner: Scanner,
    uncompressed_bytes: u64,
    encoder: zstd::stream::write::Encoder<'static, Hashing>,
}

struct Finished {
    stored_bytes: u64,
    uncompressed_bytes: u64,
    sha256: String,
    databases: Databases,
    footer: bool,
}

impl Sink {
    fn new(file: File) -> io::Result<Self> {
        let mut encoder =
            zstd::stream::write::Encoder::new(Hashing { file, hash: Sha256::new(), bytes: 0 }, ZSTD_LEVEL)?;
        encoder.include_checksum(true)?;
        Ok(Self { scanner: Scanner::new(), uncompressed_bytes: 0, encoder })
    }

    fn write(&mut self, chunk: &[u8]) -> io::Result<()> {
        self.scanner.feed(chunk);
        self.uncompressed_bytes += chunk.len() as u64;
        self.encoder.write_all(chunk)
    }

    fn finish(self) -> io::Result<Finished> {
        let Hashing { file, hash, bytes } = self.encoder.finish()?;
        file.sync_all()?;
        let (databases, footer) = self.scanner.finish();
        let sha256 = hex::lower(hash.finalize());
        Ok(Finished { stored_bytes: bytes, uncompressed_bytes: self.uncompressed_bytes, sha256, databases, footer })
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

/// The dump client's process. Another thread can kill it, and with it its children: signals go to its process group.
#[derive(Clone, Default)]
pub(crate) struct DumpProcess(Arc<Mutex<State>>);

#[derive(Default)]
enum State {
    #[default]
    Idle,
    Running(Pid),
    Killed,
}

impl DumpProcess {
    /// Kills the client and refuses to start another one. Returns whether one was running.
    pub(crate) fn kill(&self) -> bool {
        let mut state = lock(&self.0);
        let ran = if let State::Running(group) = *state {
            // It fails only when the group is gone already.
            let _ = kill_process_group(group, Signal::KILL);
            true
        } else {
            false
        };
        *state = State::Killed;
        ran
    }

    fn spawn(&self, mut command: Command) -> io::Result<Child> {
        let mut state = lock(&self.0);
        if matches!(*state, State::Killed) {
            return Err(io::Error::other("the run was stopped"));
        }
        let child = command.spawn()?;
        *state = State::Running(Pid::from_child(&child));
        Ok(child)
    }

    /// Waits for the child without holding the lock. It is reaped only under the lock, so `kill` can't hit a process
    /// that got its number.
    fn wait(&self, child: &mut Child) -> io::Result<ExitStatus> {
        let pid = Pid::from_child(child);
        while let Err(error) = waitid(WaitId::Pid(pid), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT) {
            if error != rustix::io::Errno::INTR {
                return Err(error.into());
            }
        }
        let mut state = lock(&self.0);
        if matches!(*state, State::Running(_)) {
            *state = State::Idle;
        }
        child.wait()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_stored_is_what_was_hashed_and_counted() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("dump");
        let mut sink = Sink::new(File::create_new(&path).unwrap()).unwrap();
        let text = "USE `app`;\nCREATE TABLE `t` (\n".to_owned() + &"x".repeat(1 << 20) + "\n-- Dump completed\n";
        stream(text.as_bytes(), &mut sink, || ()).unwrap();
        let finished = sink.finish().unwrap();

        let stored = std::fs::read(&path).unwrap();
        assert_eq!(finished.stored_bytes, stored.len() as u64);
        assert_eq!(finished.uncompressed_bytes, text.len() as u64);
        let hash = hex::lower(Sha256::digest(&stored));
        assert_eq!(finished.sha256, hash);
        assert!(finished.footer);
        assert!(finished.databases["app"].tables.contains("t"));
        assert_eq!(zstd::stream::decode_all(&stored[..]).unwrap(), text.as_bytes());
        assert_eq!(stored[4] & 0b100, 0b100, "the frame carries a checksum");
    }

    #[test]
    fn a_kill_ends_what_the_child_started_too() {
        let process = DumpProcess::default();
        let mut command = Command::new("sh");
        // The grandchild holds the pipe: reading ends only when both are gone.
        command.args(["-c", "sleep 600 & echo ready; wait"]).stdout(Stdio::piped()).process_group(0);
        let mut child = process.spawn(command).unwrap();
        let mut stdout = child.stdout.take().unwrap();
        let mut ready = [0; 6];
        stdout.read_exact(&mut ready).unwrap();
        assert!(process.kill());
        assert_eq!(stdout.read(&mut ready).unwrap(), 0);
        assert!(!process.wait(&mut child).unwrap().success());
        assert!(process.spawn(Command::new("true")).is_err(), "nothing starts after a kill");
    }
}
