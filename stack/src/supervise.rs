//! Processes that outlive the command that started them, found again by their pid files.

use std::fmt;
use std::fs::{self, File};
use std::path::Path;
use std::process::{Child, ExitStatus};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group, test_kill_process_group};
use tokio::time::sleep;

use crate::error::{Error, LogTail};
use crate::layout::Layout;
use crate::services::Service;
use crate::wait::eventually;

/// Also covers a MariaDB that recovers from a crash.
const START: Duration = Duration::from_secs(30);
/// The API drains for 3 s and then ends its requests; Prometheus writes its head.
const STOP: Duration = Duration::from_secs(20);
const LOCK: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(50);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    Running,
    Paused,
    /// It was started and ended without having been told to.
    Exited,
    Stopped,
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Exited => "exited",
            Self::Stopped => "stopped",
        })
    }
}

/// A process, identified so that another one with its id is not taken for it.
#[derive(Clone, Copy, Debug)]
struct Identity {
    pid: i32,
    /// In clock ticks since the machine started; the kernel writes it, and no process can change it.
    started: u64,
}

impl Identity {
    fn of(pid: i32) -> Option<Self> {
        Some(Self { pid, started: stat(pid)?.1 })
    }

    fn read(file: &Path) -> Option<Self> {
        let text = fs::read_to_string(file).ok()?;
        let (pid, started) = text.trim().split_once(' ')?;
        Some(Self { pid: pid.parse().ok()?, started: started.parse().ok()? })
    }

    fn write(&self, file: &Path) -> Result<(), Error> {
        fs::write(file, format!("{} {}\n", self.pid, self.started)).map_err(Error::file("cannot write", file))
    }

    /// The kernel's letter for its state; `None` once it is gone, be it unreaped.
    fn state(&self) -> Option<char> {
        let (state, started) = stat(self.pid)?;
        (started == self.started && state != 'Z' && state != 'X').then_some(state)
    }
}

/// State and start time, the third and the 22nd field: the second is a name that may hold anything.
fn stat(pid: i32) -> Option<(char, u64)> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut fields = text.rsplit_once(") ")?.1.split(' ');
    let state = fields.next()?.chars().next()?;
    Some((state, fields.nth(18)?.parse().ok()?))
}

impl Service {
    fn pid_file(&self, layout: &Layout) -> std::path::PathBuf {
        layout.run(&format!("{}.pid", self.name))
    }

    pub fn state(&self, layout: &Layout) -> State {
        let file = self.pid_file(layout);
        match Identity::read(&file).map(|identity| identity.state()) {
            Some(Some('T' | 't')) => State::Paused,
            Some(Some(_)) => State::Running,
            Some(None) => State::Exited,
            None => State::Stopped,
        }
    }

    /// Starts it in a session of its own, waits until it is ready, and provisions it.
    pub async fn start(&self, layout: &Layout) -> Result<(), Error> {
        let path = layout.log(self.name);
        // The last run's log stays, the one before goes: logs of a stack that is started daily don't pile up.
        match fs::rename(&path, path.with_extension("log.1")) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(Error::file("cannot rename", &path)(error));
            }
            _ => {}
        }
        // A program may open it a second time, as nginx does with /dev/stdout: both append.
        let log = File::options().create(true).append(true).open(&path);
        let log = log.map_err(Error::file("cannot create", &path))?;
        let errors = log.try_clone().map_err(Error::file("cannot open", &path))?;
        let mut command = self.launch(layout)?.wrapped(&["setsid", "--"]);
        command.stdout(log).stderr(errors).current_dir(layout.directory());
        let spawned = command.spawn();
        let mut child = spawned.map_err(|source| Error::Spawn { name: self.name.to_owned(), source })?;
        let identity = i32::try_from(child.id()).ok().and_then(Identity::of);
        if let Some(identity) = identity {
            identity.write(&self.pid_file(layout))?;
        }
        self.await_ready(layout, &mut child).await?;
        (self.provision)(layout)
    }

    /// For one that runs already: the command that started it may have been ended before it was provisioned.
    pub async fn settle(&self, layout: &Layout) -> Result<(), Error> {
        let ready = self.ready(layout);
        eventually(START, &format!("{} runs and is ready", self.name), async || ready.probe().await).await?;
        (self.provision)(layout)
    }

    async fn await_ready(&self, layout: &Layout, child: &mut Child) -> Result<(), Error> {
        let (ready, name, end) = (self.ready(layout), self.name.to_owned(), Instant::now() + START);
        loop {
            let seen = ready.probe().await;
            let exited: Option<ExitStatus> = child.try_wait().map_err(Error::io(format!("cannot wait for {name}")))?;
            let log = || LogTail::of(layout.log(self.name));
            match (exited, seen) {
                (Some(status), _) => return Err(Error::Exited { name, status, log: log() }),
                (None, Ok(())) => return Ok(()),
                (None, Err(last)) if Instant::now() >= end => {
                    return Err(Error::NotReady { name, deadline: START, last, log: log() });
                }
                (None, Err(_)) => sleep(PAUSE).await,
            }
        }
    }

    /// SIGTERM, then SIGKILL after the deadline; the whole session is gone when it returns. Harmless when it is
    /// stopped. Returns whether it had to be killed.
    pub async fn stop(&self, layout: &Layout) -> Result<bool, Error> {
        self.end(layout, Signal::TERM).await
    }

    pub async fn kill(&self, layout: &Layout) -> Result<(), Error> {
        if matches!(self.state(layout), State::Stopped | State::Exited) {
            return Err(Error::NotRunning { name: self.name.to_owned() });
        }
        self.end(layout, Signal::KILL).await.map(drop)
    }

    async fn end(&self, layout: &Layout, signal: Signal) -> Result<bool, Error> {
        let file = self.pid_file(layout);
        let Some(identity) = Identity::read(&file) else { return Ok(false) };
        let group = Pid::from_raw(identity.pid);
        // A leader that is gone may have left children, in a group whose number the kernel does not reuse
        // meanwhile; but if another process has that number, the group died out and it is not ours.
        let ours = stat(identity.pid).is_none_or(|(_, started)| started == identity.started);
        let mut killed = false;
        if let Some(group) = group.filter(|_| ours) {
            let alive = || test_kill_process_group(group).is_ok() && !only_zombies(identity.pid);
            // Errors mean that it is gone, which the loop sees.
            let _ = kill_process_group(group, signal);
            let _ = kill_process_group(group, Signal::CONT);
            let end = Instant::now() + STOP;
            while alive() {
                if Instant::now() >= end {
                    if killed {
                        let (name, log) = (self.name.to_owned(), LogTail::of(layout.log(self.name)));
                        return Err(Error::NotStopped { name, deadline: STOP, log });
                    }
                    killed = true;
                }
                if killed {
                    let _ = kill_process_group(group, Signal::KILL);
                }
                sleep(PAUSE).await;
            }
        }
        fs::remove_file(&file).map_err(Error::file("cannot remove", &file))?;
        Ok(killed)
    }

    /// SIGSTOP: the kernel still accepts its connections, but gets no answer from the process.
    pub fn pause(&self, layout: &Layout) -> Result<(), Error> {
        self.signal(layout, Signal::STOP)
    }

    pub fn resume(&self, layout: &Layout) -> Result<(), Error> {
        self.signal(layout, Signal::CONT)
    }

    /// SIGHUP to those that read their configuration again by it: what `up` has just staged counts for them without a
    /// restart.
    pub fn reload(&self, layout: &Layout) -> Result<bool, Error> {
        let reloads = matches!(self.name, "prometheus" | "alertmanager");
        if reloads {
            self.signal(layout, Signal::HUP)?;
        }
        Ok(reloads)
    }

    fn signal(&self, layout: &Layout, signal: Signal) -> Result<(), Error> {
        let identity = Identity::read(&self.pid_file(layout)).filter(|identity| identity.state().is_some());
        let group = identity.and_then(|identity| Pid::from_raw(identity.pid));
        let group = group.ok_or_else(|| Error::NotRunning { name: self.name.to_owned() })?;
        kill_process_group(group, signal)
            .map_err(|errno| Error::Io { what: format!("cannot signal {}", self.name), source: errno.into() })
    }
}

/// Whether no process of the group is alive. Where process 1 reaps nothing (some containers), the dead stay visible.
fn only_zombies(group: i32) -> bool {
    let Ok(processes) = fs::read_dir("/proc") else { return false };
    let pids = processes.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    !pids.filter_map(|pid| fs::read_to_string(format!("/proc/{pid}/stat")).ok()).any(|text| {
        let fields: Vec<&str> = text.rsplit_once(") ").map_or(Vec::new(), |(_, rest)| rest.split(' ').collect());
        fields.get(2).and_then(|field| field.parse().ok()) == Some(group)
            && !matches!(fields.first(), Some(&("Z" | "X")))
    })
}

/// One command at a time works on a stack; another waits a little, for most are over soon.
pub async fn lock(layout: &Layout) -> Result<File, Error> {
    let directory = layout.directory();
    fs::create_dir_all(directory).map_err(Error::file("cannot create", directory))?;
    let path = directory.join("lock");
    let file = File::create(&path).map_err(Error::file("cannot create", &path))?;
    let end = Instant::now() + LOCK;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(fs::TryLockError::WouldBlock) if Instant::now() >= end => {
                let path = path.display();
                return Err(Error::Stack(format!("another command works on this stack ({path}); wait for its end")));
            }
            Err(fs::TryLockError::WouldBlock) => sleep(PAUSE).await,
            Err(fs::TryLockError::Error(error)) => return Err(Error::file("cannot lock", path)(error)),
        }
    }
}
