//! The programs of this workspace, as they were built with the test.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::ops::{Deref, DerefMut};
use std::process::Stdio;
use std::time::Duration;

use crate::testbed::port::Port;
use crate::testbed::process::{Directory, Process};
use medassist_stack::Error;
use medassist_stack::launch::{Launch, Ready};

/// A program to be started. Flags of listening addresses get free ports: [`Program::listen`].
pub struct Program {
    name: String,
    args: Vec<OsString>,
    env: Vec<(String, OsString)>,
    listen: Vec<&'static str>,
    ready: Option<&'static str>,
}

/// What a program that ran to its end left.
#[derive(Debug)]
pub struct Finished {
    /// `None` if a signal ended it.
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Program {
    pub fn new(name: &str) -> Self {
        Self { name: name.to_owned(), args: Vec::new(), env: Vec::new(), listen: Vec::new(), ready: None }
    }

    /// An exporter, ready when `/-/healthy` is.
    pub fn exporter(name: &str) -> Self {
        Self::new(name).listen("--web.listen-address").ready("/-/healthy")
    }

    /// The API, with its second port for metrics; ready when it can answer at all.
    pub fn api() -> Self {
        Self::new("medassist-api").listen("--web.listen-address").listen("--web.metrics-address").ready("/livez")
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

    #[must_use]
    pub fn env(mut self, key: impl Into<String>, value: impl Into<OsString>) -> Self {
        self.env.push((key.into(), value.into()));
        self
    }

    /// Gives `flag` a free loopback port. The first one is where [`Program::ready`] asks and `url` points.
    #[must_use]
    pub fn listen(mut self, flag: &'static str) -> Self {
        self.listen.push(flag);
        self
    }

    /// It is ready when this path answers 200. Without it, running is being ready.
    #[must_use]
    pub fn ready(mut self, path: &'static str) -> Self {
        self.ready = Some(path);
        self
    }

    fn launch(&self) -> Result<(Launch, Vec<Port>), Error> {
        let mut launch = Launch::built(&self.name)?;
        launch.env.clone_from(&self.env);
        let ports = self.listen.iter().map(|_| Port::lease()).collect::<Result<Vec<_>, _>>()?;
        for (flag, port) in self.listen.iter().zip(&ports) {
            launch = launch.arg(format!("{flag}={}", port.address()));
        }
        Ok((launch.args(&self.args), ports))
    }

    pub async fn start(self) -> Result<RunningProgram, Error> {
        let (launch, ports) = self.launch()?;
        let ready = match (self.ready, ports.first()) {
            (Some(path), Some(port)) => Ready::Http(format!("http://{}{path}", port.address())),
            _ => Ready::Running,
        };
        let process = Process::start(&self.name, launch, ready, Directory::new(&self.name)?).await?;
        Ok(RunningProgram { process, ports })
    }

    /// Runs it to its end, for a program that is expected to end: a backup, a wrong flag, `--help`.
    pub async fn run(self, deadline: Duration) -> Result<Finished, Error> {
        let (launch, _ports) = self.launch()?;
        let mut command = tokio::process::Command::from(launch.wrapped(&[]));
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true).process_group(0);
        let failed = |source| Error::Spawn { name: self.name.clone(), source };
        let child = command.spawn().map_err(failed)?;
        let what = format!("{} ends", self.name);
        let output = tokio::time::timeout(deadline, child.wait_with_output())
            .await
            .map_err(|_| Error::NotInTime { what, deadline, last: "it still runs".to_owned() })?
            .map_err(|source| Error::Spawn { name: self.name.clone(), source })?;
        Ok(Finished {
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        })
    }
}

/// A program that runs until it is dropped; a [`Process`] by `Deref`.
pub struct RunningProgram {
    process: Process,
    ports: Vec<Port>,
}

impl RunningProgram {
    /// One for each [`Program::listen`], in that order.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.ports.iter().map(Port::address).collect()
    }

    /// On its first address, or a URL that nothing serves if it listens nowhere.
    pub fn url(&self, path: &str) -> String {
        self.url_of(0, path)
    }

    /// On its n-th address: the API's metrics are `url_of(1, "/metrics")`.
    pub fn url_of(&self, n: usize, path: &str) -> String {
        let port = self.ports.get(n).map_or(0, Port::number);
        format!("http://127.0.0.1:{port}{path}")
    }
}

impl Deref for RunningProgram {
    type Target = Process;
    fn deref(&self) -> &Process {
        &self.process
    }
}

impl DerefMut for RunningProgram {
    fn deref_mut(&mut self) -> &mut Process {
        &mut self.process
    }
}
