//! How much of a server its clients may use.

use std::time::Duration;

/// The limits of one server.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Maximum number of open connections. A new one takes the place of the oldest that waits for its client.
    pub connections: usize,
    /// Whether a request that is being handled for a second may give way too, if no client keeps a connection waiting.
    /// Only where requests change nothing.
    pub handled_give_way: bool,
    /// Bytes of responses over all connections, above which those that their clients do not read give way.
    pub unsent_bytes: u64,
    /// How long a client may take to send a request's headers. It also limits how long a connection may be idle.
    pub header_timeout: Duration,
    /// How long a client may take to read a response.
    pub write_timeout: Duration,
    /// How long requests in progress may continue after the stop.
    pub stop_timeout: Duration,
}
