//! How each program is started: its command line and the condition that says it is ready. Who owns the process is not
//! decided here: the testbed's processes end with the test, the stack's outlive their shell.

use std::ffi::OsString;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::error::Error;
use crate::http;

/// A command line, and the environment it gets in addition to `PATH`, `HOME` and `TMPDIR`: nobody's exported
/// `MYSQL_EXPORTER_…` must change what is started.
#[derive(Clone, Debug)]
pub struct Launch {
    pub program: PathBuf,
    pub args: Vec<OsString>,
    pub env: Vec<(String, OsString)>,
}

impl Launch {
    pub fn new(program: impl Into<PathBuf>) -> Self {
        Self { program: program.into(), args: Vec::new(), env: Vec::new() }
    }

    /// One of the programs that `tests/install-packages.sh` installs; Debian and upstream name some of them
    /// differently.
    pub fn installed(names: &[&str]) -> Result<Self, Error> {
        Ok(Self::new(installed(names)?))
    }

    /// One of this workspace's programs, as built with the running one.
    pub fn built(name: &str) -> Result<Self, Error> {
        let path = profile_directory()?.join(name);
        if path.is_file() { Ok(Self::new(path)) } else { Err(Error::NotBuilt { program: name.to_owned(), path }) }
    }

    #[must_use]
    pub fn arg(mut self, arg: impl Into<OsString>) -> Self {
        self.args.push(arg.into());
        self
    }

    #[must_use]
    pub fn args<I: IntoIterator<Item: Into<OsString>>>(mut self, args: I) -> Self {
        self.args.extend(args.into_iter().map(Into::into));
        self
    }

    /// `--flag=VALUE` where the value is a path, which need not be UTF-8.
    #[must_use]
    pub fn path(self, flag: &str, path: &Path) -> Self {
        let mut arg = OsString::from(flag);
        arg.push("=");
        arg.push(path);
        self.arg(arg)
    }

    #[must_use]
    pub fn env(mut self, key: impl Into<String>, value: impl Into<OsString>) -> Self {
        self.env.push((key.into(), value.into()));
        self
    }

    /// The command behind a wrapper such as `setsid` or `setpriv`, both of which exec: the process keeps its id.
    pub fn wrapped(&self, wrapper: &[&str]) -> Command {
        let mut command = match wrapper {
            [] => Command::new(&self.program),
            [first, rest @ ..] => {
                let mut command = Command::new(first);
                command.args(rest).arg(&self.program);
                command
            }
        };
        command.args(&self.args).env_clear().stdin(Stdio::null());
        for key in ["PATH", "HOME", "TMPDIR", "RUST_BACKTRACE"] {
            if let Some(value) = std::env::var_os(key) {
                command.env(key, value);
            }
        }
        command.envs(self.env.iter().map(|(key, value)| (key, value)));
        command
    }
}

/// Redis without persistence, which callers may add.
pub fn redis(directory: &Path, port: u16) -> Result<Launch, Error> {
    Ok(Launch::installed(&["redis-server", "valkey-server"])?
        .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--daemonize", "no", "--save", "", "--dir"])
        .arg(directory))
}

/// HAProxy in the foreground; several files are read as one.
pub fn haproxy(configuration: &[&Path]) -> Result<Launch, Error> {
    Ok(haproxy_of(Launch::installed(&["haproxy"])?, configuration))
}

/// The same with this HAProxy.
pub fn haproxy_of(program: Launch, configuration: &[&Path]) -> Launch {
    configuration.iter().fold(program.arg("-db"), |launch, file| launch.arg("-f").arg(*file))
}

/// nginx in the foreground. Relative paths of its configuration are below `prefix`.
pub fn nginx(prefix: &Path, configuration: &Path) -> Result<Launch, Error> {
    Ok(Launch::installed(&["nginx"])?
        .args(["-e", "stderr", "-g", "daemon off;", "-p"])
        .arg(prefix.join(""))
        .arg("-c")
        .arg(configuration))
}

pub fn prometheus(configuration: &Path, data: &Path, port: u16) -> Result<Launch, Error> {
    Ok(Launch::installed(&["prometheus"])?
        .path("--config.file", configuration)
        .path("--storage.tsdb.path", data)
        .arg(format!("--web.listen-address=127.0.0.1:{port}"))
        .arg("--web.enable-lifecycle"))
}

pub fn alertmanager(configuration: &Path, data: &Path, port: u16) -> Result<Launch, Error> {
    Ok(Launch::installed(&["prometheus-alertmanager", "alertmanager"])?
        .path("--config.file", configuration)
        .path("--storage.path", data)
        .arg(format!("--web.listen-address=127.0.0.1:{port}"))
        // Empty: no gossip port, there is only one.
        .arg("--cluster.listen-address="))
}

pub fn pushgateway(port: u16) -> Result<Launch, Error> {
    Ok(Launch::installed(&["prometheus-pushgateway", "pushgateway"])?
        .arg(format!("--web.listen-address=127.0.0.1:{port}")))
}

pub fn node_exporter(port: u16) -> Result<Launch, Error> {
    Ok(Launch::installed(&["prometheus-node-exporter", "node_exporter"])?
        .arg(format!("--web.listen-address=127.0.0.1:{port}")))
}

/// A mail server that delivers to a folder, for tests and drills.
pub fn mail_server(folder: &Path, port: u16) -> Launch {
    // Debian's Python: the module is one of its packages.
    Launch::new("/usr/bin/python3")
        .args(["-m", "aiosmtpd", "-n", "-l", &format!("127.0.0.1:{port}"), "-c", "aiosmtpd.handlers.Mailbox"])
        .arg(folder)
}

/// The mails in such a folder: headers, and text without its quoted-printable line ends.
pub fn mails(folder: &Path) -> Vec<String> {
    let files = std::fs::read_dir(folder.join("new")).into_iter().flatten().flatten();
    let text = |path: PathBuf| String::from_utf8_lossy(&std::fs::read(path).ok()?).into_owned().into();
    files
        .filter_map(|entry| text(entry.path()))
        .map(|mail: String| mail.replace("=\n", "").replace("=3D", "="))
        .collect()
}

/// The condition that says a server answers. Each probe takes at most a second.
#[derive(Clone, Debug)]
pub enum Ready {
    /// GET answers 200.
    Http(String),
    /// The database greets on its unix socket, which it opens after recovery.
    Database(PathBuf),
    /// PING is answered, be it with a demand for the password.
    Redis(u16),
    /// The mail server greets.
    Smtp(u16),
    /// The stats socket answers, which happens after every `bind` succeeded.
    HaProxy(PathBuf),
    /// Being there is all that can be seen.
    Running,
}

impl Ready {
    const PROBE: Duration = Duration::from_secs(1);

    /// `Err` says what was seen instead.
    pub async fn probe(&self) -> Result<(), String> {
        match self {
            Self::Running => Ok(()),
            Self::Http(url) => match http::get_within(url, &[], Self::PROBE).await {
                Ok(reply) if reply.status == 200 => Ok(()),
                Ok(reply) => Err(format!("GET {url} answered {}", reply.status)),
                Err(error) => Err(error.to_string()),
            },
            Self::Database(socket) => greeting(socket).map_err(|error| format!("{}: {error}", socket.display())),
            Self::Redis(port) => match line(*port, b"PING\r\n") {
                Ok(answer) if answer.starts_with("+PONG") || answer.starts_with("-NOAUTH") => Ok(()),
                Ok(answer) => Err(format!("PING on port {port} answered {answer:?}")),
                Err(error) => Err(format!("PING on port {port}: {error}")),
            },
            Self::Smtp(port) => match line(*port, b"") {
                Ok(answer) if answer.starts_with("220") => Ok(()),
                Ok(answer) => Err(format!("port {port} greeted {answer:?}")),
                Err(error) => Err(format!("port {port}: {error}")),
            },
            Self::HaProxy(socket) => match haproxy_command(socket, "show info") {
                Ok(answer) if answer.contains("Pid:") => Ok(()),
                Ok(answer) => Err(format!("show info answered {answer:?}")),
                Err(error) => Err(error.to_string()),
            },
        }
    }
}

fn greeting(socket: &Path) -> std::io::Result<()> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(Ready::PROBE))?;
    // Four bytes of packet header, then the protocol version.
    let mut header = [0; 5];
    stream.read_exact(&mut header)?;
    if header[4] == 10 { Ok(()) } else { Err(std::io::Error::other("the first packet is not a greeting")) }
}

/// The first bytes that a server answers.
fn line(port: u16, request: &[u8]) -> std::io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&SocketAddr::from((Ipv4Addr::LOCALHOST, port)), Ready::PROBE)?;
    stream.set_read_timeout(Some(Ready::PROBE))?;
    stream.write_all(request)?;
    let mut answer = [0; 64];
    let length = stream.read(&mut answer)?;
    Ok(String::from_utf8_lossy(answer.get(..length).unwrap_or_default()).into_owned())
}

/// One command to HAProxy's stats socket, and its whole answer.
pub fn haproxy_command(socket: &Path, command: &str) -> Result<String, Error> {
    let ask = || {
        let mut stream = UnixStream::connect(socket)?;
        stream.set_read_timeout(Some(Ready::PROBE))?;
        stream.write_all(format!("{command}\n").as_bytes())?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    };
    ask().map_err(Error::io(format!("cannot ask HAProxy {command:?} on {}", socket.display())))
}

/// Runs a short command to its end and returns its standard output.
pub fn run(command: &mut Command, name: &str, input: &str) -> Result<String, Error> {
    let failed = |source| Error::Spawn { name: name.to_owned(), source };
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().map_err(failed)?;
    if let Some(mut stdin) = child.stdin.take() {
        // A command that ends before it has read everything says why on its standard error.
        let _ = stdin.write_all(input.as_bytes());
    }
    let output = child.wait_with_output().map_err(|source| Error::Spawn { name: name.to_owned(), source })?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let stderr = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(Error::Failed { command: name.to_owned(), status: output.status, stderr })
}

/// Finds a program; Debian's servers live in /usr/sbin, which a user's `PATH` lacks.
pub fn installed(names: &[&str]) -> Result<PathBuf, Error> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let directories: Vec<PathBuf> =
        std::env::split_paths(&path).chain(["/usr/sbin", "/sbin"].map(PathBuf::from)).collect();
    names
        .iter()
        .flat_map(|name| directories.iter().map(move |directory| directory.join(name)))
        .find(|candidate| candidate.is_file())
        .ok_or_else(|| Error::NotInstalled { program: names.join(" or ") })
}

/// `target/debug` or `target/release`: the directory of the running program and of this workspace's other programs.
pub fn profile_directory() -> Result<PathBuf, Error> {
    let own = std::env::current_exe().map_err(Error::io("cannot find the running program"))?;
    let directory = own.parent().unwrap_or(Path::new("."));
    // Tests lie one deeper.
    let directory = if directory.ends_with("deps") { directory.parent().unwrap_or(directory) } else { directory };
    Ok(directory.to_owned())
}

/// `target`, wherever cargo was told to put it.
pub fn target_directory() -> Result<PathBuf, Error> {
    let profile = profile_directory()?;
    Ok(profile.parent().unwrap_or(&profile).to_owned())
}
