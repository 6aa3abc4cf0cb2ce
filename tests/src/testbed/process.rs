//! A server as a process of the test: started, awaited, disturbed, and gone when dropped.

use std::fs::File;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{LazyLock, Once, mpsc};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};
use tempfile::TempDir;
use tokio::time::sleep;

use medassist_stack::Error;
use medassist_stack::error::LogTail;
use medassist_stack::eventually;
use medassist_stack::launch::{Launch, Ready, target_directory};

/// For a start or a stop on a CI machine with two busy cores; a healthy one takes a second.
const DEADLINE: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_millis(25);

/// Dropping it kills the process and its children; their directory goes, too, unless the test is panicking.
pub struct Process {
    name: String,
    launch: Launch,
    ready: Ready,
    child: Option<Child>,
    log: PathBuf,
    // Declared last: removed after the process is dead.
    directory: Directory,
}

/// A directory below `target/testbed` that a failing test leaves behind for a look at the logs, for a day.
pub struct Directory(Option<TempDir>, PathBuf);

impl Directory {
    /// As many random characters end each directory's name, and no other's there.
    const RANDOM: usize = 6;
    const KEPT: Duration = Duration::from_hours(24);
    /// Maximum that one test process removes: a test must not wait for what others left.
    const PRUNED: usize = 20;

    pub fn new(name: &str) -> Result<Self, Error> {
        static PRUNE: Once = Once::new();
        let root = target_directory()?.join("testbed");
        std::fs::create_dir_all(&root).map_err(Error::file("cannot create", &root))?;
        PRUNE.call_once(|| prune(&root));
        let directory = tempfile::Builder::new()
            .prefix(&format!("{name}-"))
            .rand_bytes(Self::RANDOM)
            .tempdir_in(&root)
            .map_err(Error::file("cannot create a directory in", &root))?;
        let path = directory.path().to_owned();
        Ok(Self(Some(directory), path))
    }

    pub fn path(&self) -> &Path {
        &self.1
    }

    fn keep(&mut self) {
        if let Some(directory) = self.0.take() {
            let path = directory.keep();
            // A database is 100 MB, so only logs and configuration are kept.
            let _ = std::fs::remove_dir_all(path.join("data"));
            eprintln!("testbed: kept {}", path.display());
        }
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.keep();
        }
    }
}

/// Errors are another test process that prunes as well.
fn prune(root: &Path) {
    let old = std::fs::read_dir(root).into_iter().flatten().flatten().filter(|entry| {
        let name = entry.file_name();
        let random = name.to_str().and_then(|name| name.rsplit_once('-')).map_or("", |(_, random)| random);
        let ours = random.len() == Directory::RANDOM && random.bytes().all(|byte| byte.is_ascii_alphanumeric());
        let age = || entry.metadata().ok()?.modified().ok()?.elapsed().ok();
        ours && age().is_some_and(|age| age > Directory::KEPT)
    });
    for entry in old.take(Directory::PRUNED) {
        let _ = std::fs::remove_dir_all(entry.path());
    }
}

impl Process {
    /// Starts `launch`, and waits until `ready`. The whole log stays of one that crashes or hangs meanwhile, which its
    /// last lines in the error seldom explain.
    pub async fn start(name: &str, launch: Launch, ready: Ready, directory: Directory) -> Result<Self, Error> {
        let log = directory.path().join(format!("{name}.log"));
        let mut process = Self { name: name.to_owned(), launch, ready, child: None, log, directory };
        process.spawn()?;
        let outcome = process.await_ready().await;
        let explained = |error: &Error| matches!(error, Error::Exited { status, .. } if status.code().is_some());
        if outcome.as_ref().is_err_and(|error| !explained(error)) {
            if process.is_running() {
                process.kill()?;
            }
            process.directory.keep();
        }
        outcome.map(|()| process)
    }

    fn spawn(&mut self) -> Result<(), Error> {
        let log = File::options().create(true).append(true).open(&self.log);
        let log = log.map_err(Error::file("cannot open", &self.log))?;
        let errors = log.try_clone().map_err(Error::file("cannot open", &self.log))?;
        // Killed with us even when we are killed ourselves and `drop` never runs.
        let mut command = self.launch.wrapped(&["setpriv", "--pdeathsig", "KILL", "--"]);
        command.stdout(log).stderr(errors).stdin(Stdio::null()).process_group(0);
        let spawned = spawn_from_one_thread(command);
        self.child = Some(spawned.map_err(|source| Error::Spawn { name: self.name.clone(), source })?);
        Ok(())
    }

    async fn await_ready(&mut self) -> Result<(), Error> {
        let end = Instant::now() + DEADLINE;
        loop {
            let seen = self.ready.probe().await;
            if let Some(status) = self.exit_status()? {
                return Err(Error::Exited { name: self.name.clone(), status, log: LogTail::of(&self.log) });
            }
            match seen {
                Ok(()) => return Ok(()),
                Err(last) if Instant::now() >= end => {
                    let log = LogTail::of(&self.log);
                    return Err(Error::NotReady { name: self.name.clone(), deadline: DEADLINE, last, log });
                }
                Err(_) => sleep(PAUSE).await,
            }
        }
    }

    fn exit_status(&mut self) -> Result<Option<std::process::ExitStatus>, Error> {
        let Some(child) = self.child.as_mut() else { return Ok(None) };
        child.try_wait().map_err(Error::io(format!("cannot wait for {}", self.name)))
    }

    pub fn is_running(&mut self) -> bool {
        self.child.is_some() && matches!(self.exit_status(), Ok(None))
    }

    fn signal(&self, signal: Signal) -> Result<(), Error> {
        let not_running = || Error::NotRunning { name: self.name.clone() };
        let child = self.child.as_ref().ok_or_else(not_running)?;
        kill_process_group(Pid::from_child(child), signal)
            .map_err(|errno| Error::Io { what: format!("cannot signal {}", self.name), source: errno.into() })
    }

    /// SIGTERM, and waits for the end. Returns the status it exited with.
    pub async fn stop(&mut self) -> Result<std::process::ExitStatus, Error> {
        self.signal(Signal::TERM)?;
        self.signal(Signal::CONT)?;
        let status = self.exited(DEADLINE).await;
        if status.is_err() {
            self.kill()?;
        }
        self.child = None;
        status
    }

    /// Waits until it exits by itself.
    pub async fn exited(&mut self, deadline: Duration) -> Result<std::process::ExitStatus, Error> {
        let end = Instant::now() + deadline;
        loop {
            if let Some(status) = self.exit_status()? {
                return Ok(status);
            }
            if Instant::now() >= end {
                return Err(Error::NotStopped { name: self.name.clone(), deadline, log: LogTail::of(&self.log) });
            }
            sleep(PAUSE).await;
        }
    }

    /// SIGKILL to the process and its children; returns when they are reaped.
    pub fn kill(&mut self) -> Result<(), Error> {
        self.signal(Signal::KILL)?;
        if let Some(mut child) = self.child.take() {
            child.wait().map_err(Error::io(format!("cannot wait for {}", self.name)))?;
        }
        Ok(())
    }

    /// SIGSTOP, and waits until it is stopped: the kernel still accepts its connections, but they get no answer.
    pub fn pause(&self) -> Result<(), Error> {
        self.signal(Signal::STOP)?;
        let end = Instant::now() + DEADLINE;
        while self.state() != Some('T') {
            if Instant::now() >= end {
                let (what, last) = (format!("{} stops on SIGSTOP", self.name), format!("state {:?}", self.state()));
                return Err(Error::NotInTime { what, deadline: DEADLINE, last });
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }

    /// The kernel's letter for it, which comes after the name in parentheses.
    fn state(&self) -> Option<char> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid()?)).ok()?;
        stat.rsplit_once(") ")?.1.chars().next()
    }

    pub fn resume(&self) -> Result<(), Error> {
        self.signal(Signal::CONT)
    }

    /// SIGHUP: read the files again.
    pub fn hang_up(&self) -> Result<(), Error> {
        self.signal(Signal::HUP)
    }

    /// Stops it if it runs, and starts the same command again: same ports, same data.
    pub async fn restart(&mut self) -> Result<(), Error> {
        if self.is_running() {
            self.stop().await?;
        }
        self.spawn()?;
        self.await_ready().await
    }

    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    pub fn log_path(&self) -> &Path {
        &self.log
    }

    /// Everything it wrote to its standard output and error so far.
    pub fn log(&self) -> String {
        std::fs::read(&self.log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
    }

    /// Waits until the log contains the text this many times. Our programs write their log with a thread of its own, so
    /// a line may appear after the response that belongs to it.
    pub async fn logged(&self, text: &str, times: usize) -> Result<(), Error> {
        let what = format!("the log contains {text:?} {times} times");
        eventually(Duration::from_secs(10), &what, async || {
            let log = self.log();
            if log.matches(text).count() == times { Ok(()) } else { Err(log) }
        })
        .await
    }

    /// Where its data and its log lie.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.is_running() {
            // Nothing can be done about an error here, and the death signal stays as the second net.
            let _ = self.kill();
        }
    }
}

/// The death signal comes when the *thread* that spawned the child ends, and a runtime's threads come and go: all
/// children are spawned by one thread that lives as long as the process.
fn spawn_from_one_thread(command: Command) -> std::io::Result<Child> {
    type Order = (Command, mpsc::Sender<std::io::Result<Child>>);
    static SPAWNER: LazyLock<mpsc::Sender<Order>> = LazyLock::new(|| {
        let (orders, inbox) = mpsc::channel::<Order>();
        std::thread::spawn(move || {
            for (mut command, reply) in inbox {
                let _ = reply.send(command.spawn());
            }
        });
        orders
    });
    let gone = || std::io::Error::other("the thread that starts processes is gone");
    let (reply, answer) = mpsc::channel();
    SPAWNER.send((command, reply)).map_err(|_| gone())?;
    answer.recv().map_err(|_| gone())?
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;

    #[test]
    fn only_what_failed_tests_left_a_day_ago_is_pruned_and_not_all_at_once() {
        let root = tempfile::tempdir().unwrap();
        let make = |name: &str, age: Duration| {
            let path = root.path().join(name);
            std::fs::create_dir_all(path.join("inside")).unwrap();
            File::open(&path).unwrap().set_modified(SystemTime::now() - age).unwrap();
            path
        };
        let old = Directory::KEPT + Duration::from_secs(60);
        let kept = [make("redis-abcdef", Duration::ZERO), make("mariadb-template", old), make("ports", old)];
        let left: Vec<_> = (0..=Directory::PRUNED).map(|n| make(&format!("haproxy-abcd{n:02}"), old)).collect();
        let still_there = || left.iter().filter(|path| path.exists()).count();
        prune(root.path());
        assert_eq!(still_there(), 1);
        prune(root.path());
        assert_eq!(still_there(), 0);
        assert!(kept.iter().all(|path| path.is_dir()));
    }
}
