//! How long logins take and whether they succeed. A server that accepts no more connections is scraped over the one
//! from before, which would otherwise go unnoticed.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// The logins to one server.
#[derive(Debug, Default)]
pub(crate) struct Logins(Mutex<LoginStats>);

#[derive(Clone, Debug, Default)]
pub(crate) struct LoginStats {
    pub(crate) succeeded: u64,
    pub(crate) failed: u64,
    /// The duration of the newest successful login: the network, TLS and authentication.
    pub(crate) duration: Option<Duration>,
    /// Why the newest login failed; `None` if it succeeded.
    pub(crate) error: Option<String>,
}

impl Logins {
    pub(crate) fn succeeded(&self, duration: Duration) {
        let mut stats = self.lock();
        stats.succeeded += 1;
        stats.duration = Some(duration);
        stats.error = None;
    }

    pub(crate) fn failed(&self, error: String) {
        let mut stats = self.lock();
        stats.failed += 1;
        stats.error = Some(error);
    }

    pub(crate) fn stats(&self) -> LoginStats {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, LoginStats> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
