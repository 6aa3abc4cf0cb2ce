//! Receives the binary log: starts the client, follows how far it is, and starts it again.

use std::{
    fs::{self, File, OpenOptions},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    process::Child,
    time::Duration,
};

use jiff::Timestamp;
use rustix::fs::OFlags;
use tokio::{sync::oneshot, time::Instant};

use super::{
    BinlogClient, BinlogError, BinlogName, BinlogState, Files, SCHEMA_VERSION, Start, Streaming,
    files::Settled,
    server::{Position, Server},
};
use crate::{
    blocking::blocking,
    catalog::{self, Entry},
    dump::read_end,
    error::RunError,
    login::Login,
    name::BackupName,
    run::{Job, PASSWORD_TIMEOUT, ShutdownSignal, stopped},
    state_file,
    store::last_run,
};

/// Between two looks at the server's position.
const POLL: Duration = Duration::from_secs(2);
/// Without a byte although the server has more.
const STALL: Duration = Duration::from_secs(30);
/// For one look.
const LOOK_TIMEOUT: Duration = Duration::from_secs(20);
/// After a failure; doubled after each further one.
const FIRST_RETRY: Duration = Duration::from_secs(2);
const LAST_RETRY: Duration = Duration::from_secs(60);
/// Between two records of a recovery point.
const RECORD_EVERY: Duration = Duration::from_secs(5);
/// Between two looks for files that can go.
const EXPIRE_EVERY: Duration = Duration::from_mins(1);

/// Receives until a stop signal, whatever fails in between. It costs the runs nothing.
pub async fn keep_streaming(streaming: &Streaming, job: &Job, stop: &mut ShutdownSignal) {
    let mut stream = Stream::new(streaming, job);
    let mut retry = FIRST_RETRY;
    loop {
        let before = stream.recovery_point;
        let error = tokio::select! {
            Err(error) = stream.receive() => error,
            () = stopped(stop) => return,
        };
        // It went well for a while.
        if stream.recovery_point > before {
            retry = FIRST_RETRY;
        }
        tracing::error!(backup = %job.name, %error, retry_seconds = retry.as_secs(), "binary log not received");
        let pause = async {
            stream.record(Some(&error)).await;
            tokio::time::sleep(retry).await;
        };
        tokio::select! {
            () = pause => {}
            () = stopped(stop) => return,
        }
        retry = (retry * 2).min(LAST_RETRY);
    }
}

struct Stream<'a> {
    streaming: &'a Streaming,
    job: &'a Job,
    directory: PathBuf,
    recovery_point: Option<Timestamp>,
    /// The newest run, and where a replay of the newest backup begins. Manifests are read only after a run.
    newest: (Option<Timestamp>, Option<Start>),
    recorded_at: Option<Instant>,
    expired_at: Option<Instant>,
}

/// The client, killed when dropped.
struct Receiver {
    client: BinlogClient,
    child: Child,
    /// The end of its messages, once it has ended.
    messages: oneshot::Receiver<String>,
}

impl Drop for Receiver {
    fn drop(&mut self) {
        // It fails only when it is gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Receiver {
    fn start(
        client: BinlogClient,
        login: &Login,
        directory: &Path,
        first: &BinlogName,
        id: u32,
    ) -> Result<Self, BinlogError> {
        let broken = |source| RunError::ClientBroken { tool: client.program.to_owned(), source };
        // On this thread, with which the client would die.
        let mut child = client.receive(login, directory, first, id)?.spawn().map_err(broken)?;
        let (ended, messages) = oneshot::channel();
        if let Some(stderr) = child.stderr.take() {
            std::thread::spawn(move || ended.send(read_end(stderr)));
        }
        Ok(Self { client, child, messages })
    }

    /// Fails if the client has ended: it never should.
    async fn require_running(&mut self) -> Result<(), BinlogError> {
        let program = self.client.program;
        let broken = |source| RunError::ClientBroken { tool: program.to_owned(), source };
        let Some(status) = self.child.try_wait().map_err(broken)? else { return Ok(()) };
        let messages = tokio::time::timeout(Duration::from_secs(1), &mut self.messages).await;
        let stderr = messages.ok().and_then(Result::ok).unwrap_or_default();
        Err(BinlogError::Ended { program, status: status.to_string(), stderr })
    }
}

impl<'a> Stream<'a> {
    fn new(streaming: &'a Streaming, job: &'a Job) -> Self {
        let directory = super::directory(&job.directory, &job.name);
        Self {
            streaming,
            job,
            directory,
            recovery_point: None,
            newest: (None, None),
            recorded_at: None,
            expired_at: None,
        }
    }

    /// Returns only with an error.
    async fn receive(&mut self) -> Result<std::convert::Infallible, BinlogError> {
        let _lock = self.lock().await?;
        let account = self.job.account.clone();
        let login = tokio::time::timeout(PASSWORD_TIMEOUT, blocking(move || account.login()))
            .await
            .map_err(|_| RunError::PasswordHung { limit: PASSWORD_TIMEOUT })?
            .map_err(RunError::from)?;
        let mut server = within(Server::connect(&login)).await?;
        let flavour = server.flavour();
        let client = blocking(move || BinlogClient::find(flavour)).await?;
        let first = self.first(&mut server).await?;
        tracing::info!(backup = %self.job.name, from = %first, "receiving the binary log");
        let mut receiver = Receiver::start(client, &login, &self.directory, &first, self.streaming.server_id)?;
        let mut progress = (0, Instant::now());
        let mut seen: Option<Position> = None;
        loop {
            tokio::time::sleep(POLL).await;
            receiver.require_running().await?;
            let now = Timestamp::now();
            let position = match within(server.position()).await {
                Ok(position) => position,
                Err(_) => {
                    server = within(Server::connect(&login)).await?;
                    continue;
                }
            };
            let (directory, resumed) = (self.directory.clone(), first.clone());
            let settled = blocking(move || Files::settle_previous(&directory, &resumed)).await?;
            let went_back = seen.as_ref().zip(position.as_ref()).is_some_and(|(seen, now)| now.is_before(seen));
            if settled == Settled::Reset || went_back {
                drop(receiver);
                self.set_aside().await?;
                return Err(BinlogError::Reset);
            }
            let (received, bytes) = self.received().await?;
            let has_all = position.as_ref().is_some_and(|position| has(received.as_ref(), position));
            seen = position.or(seen);
            if has_all && settled == Settled::Same {
                self.recovery_point = Some(now);
                progress = (bytes, Instant::now());
                if self.recorded_at.is_none_or(|at| at.elapsed() >= RECORD_EVERY) {
                    self.record(None).await;
                }
            } else if bytes != progress.0 {
                progress = (bytes, Instant::now());
            } else if progress.1.elapsed() > STALL {
                return Err(BinlogError::Stalled(STALL));
            }
            self.expire().await?;
        }
    }

    /// Held while this stream receives: two would write the same files.
    async fn lock(&self) -> Result<File, BinlogError> {
        let (directory, path) =
            (self.directory.clone(), self.job.directory.join(format!(".{}.binlog.lock", self.job.name)));
        blocking(move || {
            let mut options = OpenOptions::new();
            options.write(true).create(true).truncate(false).mode(0o600);
            options.custom_flags((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed());
            let lock = options.open(&path).map_err(BinlogError::io("open the lock", &path))?;
            lock.try_lock().map_err(|_| BinlogError::Busy(path))?;
            match fs::create_dir(&directory) {
                Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
                    Err(BinlogError::io("create", directory)(error))
                }
                _ => Ok(lock),
            }
        })
        .await
    }

    /// The file to begin with: the newest that is there, else the one from which the newest backup continues.
    async fn first(&mut self, server: &mut Server<'_>) -> Result<BinlogName, BinlogError> {
        let there = within(server.files()).await?;
        let directory = self.directory.clone();
        let newest = blocking(move || Files::read(&directory)).await?.newest().map(|(name, _)| name.clone());
        let directory = self.directory.clone();
        if let Some(newest) = newest {
            if there.contains(&newest) {
                let name = newest.clone();
                blocking(move || Files::set_previous(&directory, &name)).await?;
                return Ok(newest);
            }
            if there.last().is_some_and(|last| newest.is_followed_by(last)) {
                tracing::error!(
                    backup = %self.job.name, after = %newest,
                    "gap in the binary log: the server has removed files before they were received; make a backup now"
                );
                blocking(move || Files::mark_gap(&directory, &newest)).await?;
            } else {
                self.set_aside().await?;
            }
        }
        let needed = self.start().await.map(|start| start.file).filter(|name| there.contains(name));
        let current = || there.last().cloned();
        needed.or_else(current).ok_or_else(|| BinlogError::Off(self.job.account.address.to_string()))
    }

    async fn set_aside(&self) -> Result<(), BinlogError> {
        let directory = self.directory.clone();
        let place = blocking(move || Files::set_aside(&directory)).await?;
        tracing::error!(
            backup = %self.job.name, old_files = %place.display(),
            "the server's binary log was reset, so no replay crosses this point; make a backup now"
        );
        Ok(())
    }

    /// The newest file and its size, and the size of all. What is counted is on disk.
    async fn received(&self) -> Result<(Option<Position>, u64), BinlogError> {
        let directory = self.directory.clone();
        blocking(move || {
            let files = Files::read(&directory)?;
            let Some((name, newest)) = files.newest() else { return Ok((None, 0)) };
            let sync = || File::open(&newest.path)?.sync_data();
            sync().map_err(BinlogError::io("sync", &newest.path))?;
            Ok((Some(Position { file: name.clone(), position: newest.bytes }), files.bytes()))
        })
        .await
    }

    async fn expire(&mut self) -> Result<(), BinlogError> {
        if self.expired_at.is_some_and(|at| at.elapsed() < EXPIRE_EVERY) {
            return Ok(());
        }
        self.expired_at = Some(Instant::now());
        let needed = self.start().await.map(|start| start.file);
        let (directory, keep) = (self.directory.clone(), self.streaming.keep);
        let removed = blocking(move || Files::read(&directory)?.expire(keep, needed.as_ref())).await?;
        if removed > 0 {
            tracing::info!(backup = %self.job.name, removed, "removed old files of the binary log");
        }
        Ok(())
    }

    /// Where a replay of the newest backup begins.
    async fn start(&mut self) -> Option<Start> {
        let (directory, backup, known) = (self.job.directory.clone(), self.job.name.clone(), self.newest.clone());
        self.newest = blocking(move || match last_run(&directory, &backup) {
            run if run == known.0 => known,
            run => (run, start_of_newest(&directory, &backup)),
        })
        .await;
        self.newest.1.clone()
    }

    async fn record(&mut self, error: Option<&BinlogError>) {
        self.recorded_at = Some(Instant::now());
        let start = self.start().await;
        let (directory, backup) = (self.job.directory.clone(), self.job.name.clone());
        let (point, error) = (self.recovery_point, error.map(|error| error.to_string().chars().take(500).collect()));
        if let Err(error) = blocking(move || record(&directory, &backup, start.as_ref(), point, error)).await {
            tracing::warn!(backup = %self.job.name, %error, "recording the state of the binary log failed");
        }
    }
}

async fn within<T>(work: impl Future<Output = Result<T, BinlogError>>) -> Result<T, BinlogError> {
    tokio::time::timeout(LOOK_TIMEOUT, work).await.unwrap_or(Err(BinlogError::Stalled(LOOK_TIMEOUT)))
}

fn has(received: Option<&Position>, position: &Position) -> bool {
    received.is_some_and(|received| !received.is_before(position))
}

fn start_of_newest(directory: &Path, backup: &BackupName) -> Option<Start> {
    let entries = catalog::read(directory, backup).ok()?;
    let saved = entries.iter().find(|entry| entry.is_complete()).and_then(Entry::manifest)?.saved()?;
    Start::of(saved.coordinates.as_ref()?, saved.recovery_point)
}

fn record(
    directory: &Path,
    backup: &BackupName,
    start: Option<&Start>,
    recovery_point: Option<Timestamp>,
    error: Option<String>,
) -> Result<(), BinlogError> {
    let file = BinlogState::file(backup);
    let files = Files::read(&super::directory(directory, backup))?;
    let chain = start.and_then(|start| files.chain(start).ok());
    let before =
        || state_file::StateFile::read(&directory.join(&file)).ok().and_then(|state: BinlogState| state.recovery_point);
    let state = BinlogState {
        schema_version: SCHEMA_VERSION,
        updated_at: Timestamp::now(),
        recovery_point: recovery_point.or_else(before),
        newest_file: files.newest().map(|(name, _)| name.to_string()),
        files: files.len() as u64,
        bytes: files.bytes(),
        gaps: files.gaps() as u64,
        covers_newest_backup: chain.is_some_and(|chain| chain.is_whole),
        error,
    };
    Ok(state_file::write(directory, &file, &state)?)
}
