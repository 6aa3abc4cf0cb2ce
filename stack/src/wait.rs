//! Awaiting a condition instead of sleeping.

use std::fmt::Display;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout_at};

use crate::error::Error;

/// Short enough not to be seen in a test's duration, long enough to leave the two cores of CI to the servers.
const PAUSE: Duration = Duration::from_millis(25);

/// Polls `condition` until it is `Ok`, and returns its value; after the deadline the error names
/// `what` and the last reason. The deadline also ends a condition that hangs.
pub async fn eventually<T, E: Display>(
    deadline: Duration,
    what: &str,
    mut condition: impl AsyncFnMut() -> Result<T, E>,
) -> Result<T, Error> {
    let end = Instant::now() + deadline;
    let mut last = "the condition gave no answer".to_owned();
    loop {
        match timeout_at(end, condition()).await {
            Ok(Ok(value)) => return Ok(value),
            Ok(Err(reason)) => last = reason.to_string(),
            Err(_) => {}
        }
        if Instant::now() + PAUSE >= end {
            return Err(Error::NotInTime { what: what.to_owned(), deadline, last });
        }
        sleep(PAUSE).await;
    }
}
