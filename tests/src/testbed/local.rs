//! The local stack as `make up` runs it, in a directory and on ports of its own, gone when dropped.

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use medassist_stack::launch::Launch;
use medassist_stack::{Error, Layout, SERVICES, service};

use crate::testbed::port::Port;
use crate::testbed::process::Directory;

/// It goes down with its owner, however that ends.
pub struct LocalStack {
    layout: Layout,
    guard: Child,
    _ports: Vec<Port>,
    // Declared last: removed after everything in it is down.
    directory: Directory,
}

impl LocalStack {
    /// Nothing runs yet.
    pub fn new() -> Result<Self, Error> {
        let directory = Directory::new("stack")?;
        let mut leased = None;
        for offset in (7_200..Layout::MAX_OFFSET).step_by(7) {
            leased = lease_all(offset)?.map(|ports| (offset, ports));
            if leased.is_some() {
                break;
            }
        }
        let (offset, ports) = leased.ok_or(Error::NoPort(7_200, Layout::MAX_OFFSET))?;
        let layout = Layout::new(directory.path().to_owned(), offset)?;
        // The pipe closes when we end, even by SIGKILL; its process group keeps it out of the terminal's Ctrl-C.
        let mut guard = Command::new("sh");
        guard
            .args(["-c", "read -r _; exec \"$0\" down"])
            .arg(Launch::built("stack")?.program)
            .stdin(Stdio::piped())
            .stdout(Stdio::null());
        let guard = with_environment(&mut guard, &layout).process_group(0).spawn();
        let guard = guard.map_err(|source| Error::Spawn { name: "sh".to_owned(), source })?;
        Ok(Self { layout, guard, _ports: ports, directory })
    }

    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// One command of the program behind `make up`. One that outlived us would keep the guard from its work.
    pub fn run(&self, args: &[&str]) -> Result<Output, Error> {
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "--"]).arg(Launch::built("stack")?.program).args(args);
        let output = with_environment(&mut command, &self.layout).output();
        output.map_err(|source| Error::Spawn { name: "stack".to_owned(), source })
    }

    /// On the service's first port.
    pub fn url(&self, name: &str, path: &str) -> Result<String, Error> {
        Ok(format!("http://127.0.0.1:{}{path}", service(name)?.port(&self.layout)))
    }
}

impl Drop for LocalStack {
    fn drop(&mut self) {
        drop(self.guard.stdin.take());
        let down = self.guard.wait();
        if !std::thread::panicking() {
            let stopped = down.is_ok_and(|status| status.success());
            assert!(stopped, "the stack in {} did not go down", self.directory.path().display());
        }
    }
}

fn with_environment<'a>(command: &'a mut Command, layout: &Layout) -> &'a mut Command {
    command.env(Layout::DIRECTORY, layout.directory()).env(Layout::PORT_OFFSET, layout.offset().to_string())
}

fn lease_all(offset: u16) -> Result<Option<Vec<Port>>, Error> {
    let ports = SERVICES.iter().flat_map(|service| service.ports);
    ports.map(|port| Port::try_lease(port + offset)).collect()
}
