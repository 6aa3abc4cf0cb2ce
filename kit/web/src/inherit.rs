//! `--web.systemd-socket`: listening sockets that systemd passes.

use std::io;

use listenfd::ListenFd;
use tokio::net::TcpListener;

#[derive(Debug, thiserror::Error)]
pub enum InheritError {
    #[error("--web.systemd-socket: no socket was passed; start the program from its .socket unit or remove the flag")]
    None,
    #[error(
        "--web.systemd-socket: socket {number} is not a listening TCP socket ({source}); check ListenStream= in the .socket unit"
    )]
    NotTcp { number: usize, source: io::Error },
}

/// The sockets of `ListenStream=` in the `.socket` unit.
pub fn listeners() -> Result<Vec<TcpListener>, InheritError> {
    let mut sockets = ListenFd::from_env();
    let mut listeners = Vec::new();
    for index in 0..sockets.len() {
        let not_tcp = |source| InheritError::NotTcp { number: index + 1, source };
        if let Some(listener) = sockets.take_tcp_listener(index).map_err(not_tcp)? {
            listener.set_nonblocking(true).map_err(not_tcp)?;
            listeners.push(TcpListener::from_std(listener).map_err(not_tcp)?);
        }
    }
    if listeners.is_empty() { Err(InheritError::None) } else { Ok(listeners) }
}
