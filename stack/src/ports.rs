//! Who listens on a port.

use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};

/// The bind fails even on a port of HAProxy, whose SO_REUSEPORT shares only with those that ask for it, too.
pub fn is_free(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
}

/// The process that listens on the port, such as `mariadbd (process 4711)`; `None` if it is another user's.
pub fn holder(port: u16) -> Option<String> {
    let inodes: Vec<String> =
        ["/proc/net/tcp", "/proc/net/tcp6"].iter().flat_map(|table| listeners(table, port)).collect();
    let processes = std::fs::read_dir("/proc").ok()?.flatten().map(|entry| entry.path());
    // Also `self` and other links are there.
    let numbered =
        |path: &PathBuf| path.file_name().is_some_and(|name| name.as_encoded_bytes().iter().all(u8::is_ascii_digit));
    let process = processes.filter(numbered).find(|process| inodes.iter().any(|inode| has_socket(process, inode)))?;
    let name = std::fs::read_to_string(process.join("comm")).unwrap_or_default();
    Some(format!("{} (process {})", name.trim(), process.file_name()?.display()))
}

/// The inodes of the sockets that listen on the port.
fn listeners(table: &str, port: u16) -> Vec<String> {
    const LISTEN: &str = "0A";
    let text = std::fs::read_to_string(table).unwrap_or_default();
    let suffix = format!(":{port:04X}");
    let row = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let (local, state, inode) = (fields.get(1)?, fields.get(3)?, fields.get(9)?);
        (local.ends_with(&suffix) && *state == LISTEN).then(|| (*inode).to_owned())
    };
    text.lines().skip(1).filter_map(row).collect()
}

fn has_socket(process: &Path, inode: &str) -> bool {
    let socket = format!("socket:[{inode}]");
    let Ok(descriptors) = std::fs::read_dir(process.join("fd")) else { return false };
    descriptors
        .flatten()
        .any(|entry| std::fs::read_link(entry.path()).is_ok_and(|target| target.as_os_str() == socket.as_str()))
}
