//! Why HAProxy's statistics could not be read, and what to do.

use exporter_toolkit::memory::Exhausted;
use std::io;

use exporter_toolkit::http::{HttpError, StatusCode};

use crate::answer::MAX_ANSWER;

#[derive(Debug, thiserror::Error)]
pub(crate) enum ReadError {
    #[error("another scrape of {0} still waits for HAProxy's answer")]
    Busy(String),
    #[error("can't connect to HAProxy at {address}: {advice}")]
    Connect { address: String, advice: &'static str, source: io::Error },
    #[error("HAProxy at {address} did not take the connection within {seconds:.2} s: is the host reachable?")]
    ConnectTimeout { address: String, seconds: f64 },
    #[error(
        "HAProxy at {address} took the connection, but its answer was not complete within {seconds:.2} s ({received} bytes came): is it stopped \
         or overloaded?"
    )]
    Silent { address: String, seconds: f64, received: usize },
    #[error("the connection to HAProxy at {address} broke")]
    Broken { address: String, source: io::Error },
    #[error("HAProxy at {address} ended its answer in the middle, after {received} bytes")]
    Truncated { address: String, received: usize },
    #[error("the answer of {address} is over {} MiB or 200,000 rows; it is not read further", MAX_ANSWER / 1024 / 1024)]
    TooLarge { address: String },
    #[error(
        "no memory for the answer of {address}: {source}; probe fewer large targets at a time, or raise --scrape.memory-limit"
    )]
    Memory { address: String, source: Exhausted },
    #[error("what {address} answers is not HAProxy's statistics: {advice}")]
    NotStatistics { address: String, advice: &'static str },
    #[error(
        "the statistics of HAProxy at {address} have no row that can be read (unreadable: {broken}): is it HAProxy, and does `stats scope` \
         hide all proxies?"
    )]
    NoRows { address: String, broken: u64 },
    #[error("can't ask {address}: {advice}")]
    Request { address: String, advice: &'static str, source: HttpError },
    #[error("{address} answers {status}: {advice}")]
    Status { address: String, status: StatusCode, advice: &'static str },
}
