//! A server for one restore: on a Unix socket, in a temporary directory, and gone with this process.

use std::{
    fs::{self, File},
    io,
    os::unix::{fs::PermissionsExt as _, process::CommandExt as _},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use rustix::process::{Pid, Signal, geteuid, kill_process_group};
use service_kit::address::Address;
use tempfile::TempDir;
use tokio::time::Instant;

use crate::{blocking::blocking, guard, login::Account, manifest::Flavour};

const PREFIX: &str = "mysql-backup-verify-";
const LOCK: &str = "lock";
const START_TIMEOUT: Duration = Duration::from_secs(120);

#[derive(Debug, thiserror::Error)]
pub enum ThrowawayError {
    #[error("no {0} in PATH; install the server, or name an empty one with --target.address")]
    NotInstalled(&'static str),
    #[error("cannot {action}: {source}")]
    Io { action: &'static str, source: io::Error },
    #[error("{program} failed; {space}: {log}")]
    Install { program: String, space: Space, log: String },
    #[error("the throwaway server does not answer; {space}: {log}")]
    Start { space: Space, log: String },
}

/// The place that the server needs, which is the most frequent cause.
#[derive(Debug)]
pub struct Space(Option<u64>);

impl Space {
    fn of(directory: &Path) -> Self {
        let free = rustix::fs::statvfs(directory).ok();
        Self(free.map(|space| space.f_bavail.saturating_mul(space.f_frsize) >> 20))
    }
}

impl std::fmt::Display for Space {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            Some(mib) => write!(f, "TMPDIR has {mib} MiB free, and it needs about 200 MiB and the size of the data"),
            None => f.write_str("TMPDIR cannot be examined"),
        }
    }
}

/// Killed and removed when dropped.
pub(crate) struct Throwaway {
    server: Child,
    directory: TempDir,
    // Held while the directory is in use.
    _lock: File,
}

impl Throwaway {
    /// Starts an empty server of a flavour.
    pub(crate) async fn start(flavour: Flavour) -> Result<Self, ThrowawayError> {
        let (directory, lock, data, program) = blocking(move || install(flavour)).await?;
        let mut command = guard::command(&program.to_string_lossy());
        command
            .args(server_arguments(&program, directory.path(), &data, flavour))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0);
        // On this thread, with which the server would die.
        let server = command.spawn().map_err(io_error("start the throwaway server"))?;
        let mut throwaway = Self { server, directory, _lock: lock };
        throwaway.until_ready().await?;
        Ok(throwaway)
    }

    pub(crate) fn account(&self) -> Account {
        let address = Address::Unix(socket(self.directory.path()));
        Account { address, user: "root".to_owned(), password_file: None, tls: None }
    }

    async fn until_ready(&mut self) -> Result<(), ThrowawayError> {
        let deadline = Instant::now() + START_TIMEOUT;
        let account = self.account();
        loop {
            if let Ok(login) = account.login()
                && login.connect(1 << 20, Vec::new()).await.is_ok()
            {
                return Ok(());
            }
            let ended = self.server.try_wait().map_err(io_error("wait for the throwaway server"))?;
            if ended.is_some() || Instant::now() > deadline {
                return Err(ThrowawayError::Start {
                    space: Space::of(self.directory.path()),
                    log: last_lines(&log(self.directory.path())),
                });
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

impl Drop for Throwaway {
    fn drop(&mut self) {
        // It fails only when the server is gone already.
        let _ = kill_process_group(Pid::from_child(&self.server), Signal::KILL);
        let _ = self.server.wait();
    }
}

fn io_error(action: &'static str) -> impl Fn(io::Error) -> ThrowawayError {
    move |source| ThrowawayError::Io { action, source }
}

fn socket(directory: &Path) -> PathBuf {
    directory.join("s")
}

fn log(directory: &Path) -> PathBuf {
    directory.join("server.log")
}

/// An empty data directory, and the server's program. Blocks.
fn install(flavour: Flavour) -> Result<(TempDir, File, PathBuf, PathBuf), ThrowawayError> {
    remove_leftovers(&std::env::temp_dir());
    let create = io_error("create a temporary directory");
    let directory = tempfile::Builder::new()
        .prefix(PREFIX)
        .permissions(fs::Permissions::from_mode(0o700))
        .tempdir()
        .map_err(&create)?;
    let lock = File::create_new(directory.path().join(LOCK)).map_err(&create)?;
    lock.lock().map_err(&create)?;
    let data = directory.path().join("data");
    let (program, mut command) = match flavour {
        Flavour::MariaDb => {
            let install = find("mariadb-install-db")?;
            let mut command = Command::new(&install);
            command.args(["--no-defaults", "--auth-root-authentication-method=normal", "--skip-test-db"]);
            (find("mariadbd")?, command)
        }
        Flavour::MySql => {
            let program = find("mysqld")?;
            let mut command = Command::new(&program);
            command.args(["--no-defaults", "--initialize-insecure"]);
            (program, command)
        }
    };
    command.arg(flag("--basedir", &base_directory(&program))).arg(flag("--datadir", &data));
    command.arg(flag("--tmpdir", directory.path())).args(as_root()).stdin(Stdio::null());
    let output = command.output().map_err(io_error("install the throwaway server"))?;
    if !output.status.success() {
        let log = String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
        let space = Space::of(directory.path());
        return Err(ThrowawayError::Install { program: program.display().to_string(), space, log: end_of(&log) });
    }
    Ok((directory, lock, data, program))
}

/// What a killed process left: data of a backup, in plain text.
fn remove_leftovers(parent: &Path) {
    let Ok(entries) = fs::read_dir(parent) else { return };
    for entry in entries.flatten() {
        let is_ours = entry.file_name().to_string_lossy().starts_with(PREFIX);
        if is_ours
            && let Ok(lock) = File::open(entry.path().join(LOCK))
            && lock.try_lock().is_ok()
        {
            // Best effort: it may belong to another user.
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

fn server_arguments(program: &Path, directory: &Path, data: &Path, flavour: Flavour) -> Vec<String> {
    let path = |name: &str, path: &Path| flag(name, path);
    let mut arguments = vec![
        "--no-defaults".to_owned(),
        path("--basedir", &base_directory(program)),
        path("--datadir", data),
        path("--socket", &socket(directory)),
        path("--pid-file", &directory.join("pid")),
        path("--tmpdir", directory),
        path("--log-error", &log(directory)),
    ];
    // Nothing of it is worth an fsync, and no event of the backup may run.
    arguments.extend(
        [
            "--skip-networking",
            "--event-scheduler=OFF",
            "--max-allowed-packet=1G",
            "--innodb-buffer-pool-size=256M",
            "--innodb-flush-log-at-trx-commit=0",
            "--innodb-doublewrite=0",
            "--performance-schema=OFF",
        ]
        .map(str::to_owned),
    );
    if flavour == Flavour::MySql {
        arguments.extend(["--skip-log-bin", "--mysqlx=OFF", "--secure-file-priv=NULL"].map(str::to_owned));
    }
    arguments.extend(as_root());
    arguments
}

fn flag(name: &str, path: &Path) -> String {
    format!("{name}={}", path.display())
}

/// The servers refuse to run as root unless told to.
fn as_root() -> Option<String> {
    geteuid().is_root().then(|| "--user=root".to_owned())
}

/// Servers are in a directory that users' PATH lacks.
fn find(program: &'static str) -> Result<PathBuf, ThrowawayError> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let directories = std::env::split_paths(&path).chain(["/usr/sbin", "/usr/libexec"].map(PathBuf::from));
    directories
        .map(|directory| directory.join(program))
        .find(|candidate| candidate.is_file())
        .ok_or(ThrowawayError::NotInstalled(program))
}

/// `/usr` of `/usr/sbin/mysqld`: where it finds its messages.
fn base_directory(program: &Path) -> PathBuf {
    let program = program.canonicalize().unwrap_or_else(|_| program.to_owned());
    program.parent().and_then(Path::parent).unwrap_or(Path::new("/usr")).to_owned()
}

fn last_lines(path: &Path) -> String {
    end_of(&fs::read_to_string(path).unwrap_or_default())
}

fn end_of(log: &str) -> String {
    let errors: Vec<&str> = log.lines().filter(|line| line.contains("[ERROR]")).collect();
    let log = if errors.is_empty() { log.to_owned() } else { errors.join(" ") };
    let words: Vec<&str> = log.split_whitespace().collect();
    let text = words.join(" ");
    let skip = text.chars().count().saturating_sub(600);
    text.chars().skip(skip).collect()
}
