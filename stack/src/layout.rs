//! Where the stack's files lie and which ports it uses.

use std::path::{Path, PathBuf};

use crate::error::Error;
use crate::launch::target_directory;

/// The longest path that a unix socket's address can hold on Linux, less its final zero.
const SOCKET_PATH: usize = 107;

/// All of one stack is below one directory; two stacks differ in it and in the ports' offset.
#[derive(Clone, Debug)]
pub struct Layout {
    directory: PathBuf,
    offset: u16,
}

impl Layout {
    pub const DIRECTORY: &'static str = "STACK_DIRECTORY";
    pub const PORT_OFFSET: &'static str = "STACK_PORT_OFFSET";

    pub fn new(directory: PathBuf, offset: u16) -> Result<Self, Error> {
        let layout = Self { directory, offset };
        let socket = layout.run("mysql.sock");
        if socket.as_os_str().len() > SOCKET_PATH {
            return Err(Error::Stack(format!(
                "{} is too long for a unix socket: set {} to a shorter directory",
                socket.display(),
                Self::DIRECTORY
            )));
        }
        Ok(layout)
    }

    /// `target/stack` and the documented ports, unless the environment says otherwise.
    pub fn from_environment() -> Result<Self, Error> {
        let directory = match std::env::var_os(Self::DIRECTORY) {
            Some(directory) => std::path::absolute(directory).map_err(Error::io("cannot resolve STACK_DIRECTORY"))?,
            None => target_directory()?.join("stack"),
        };
        let offset = match std::env::var(Self::PORT_OFFSET) {
            Ok(text) => text.parse().ok().filter(|offset| *offset <= Self::MAX_OFFSET).ok_or_else(|| {
                Error::Stack(format!("{}={text}: expected 0 to {}", Self::PORT_OFFSET, Self::MAX_OFFSET))
            })?,
            Err(_) => 0,
        };
        Self::new(directory, offset)
    }

    /// Keeps the highest port, 19404, below Linux's ephemeral range (32768…).
    pub const MAX_OFFSET: u16 = 13_000;

    pub fn port(&self, documented: u16) -> u16 {
        documented + self.offset
    }

    pub fn offset(&self) -> u16 {
        self.offset
    }

    pub fn directory(&self) -> &Path {
        &self.directory
    }

    pub fn data(&self, name: &str) -> PathBuf {
        self.directory.join("data").join(name)
    }

    pub fn run(&self, name: &str) -> PathBuf {
        self.directory.join("run").join(name)
    }

    pub fn log(&self, service: &str) -> PathBuf {
        self.directory.join("log").join(format!("{service}.log"))
    }

    /// A password or token, alone in its file, readable by its owner.
    pub fn secret(&self, name: &str) -> PathBuf {
        self.directory.join("secrets").join(name)
    }

    /// The repository's configuration as this stack uses it.
    pub fn config(&self, name: &str) -> PathBuf {
        self.directory.join("config").join(name)
    }

    /// Targets of this stack alone, such as `email_to`: alertmanager/README.md lists them.
    pub fn alertmanager_targets(&self) -> PathBuf {
        self.directory.join("alertmanager")
    }

    /// What is in git. The stack is a tool of this checkout: it runs where it was built.
    pub fn repository(&self) -> &'static Path {
        let own = Path::new(env!("CARGO_MANIFEST_DIR"));
        own.parent().unwrap_or(own)
    }
}
