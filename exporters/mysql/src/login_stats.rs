//! What logging in costs and whether it works: connections are kept between scrapes, and a server that lets nobody in any more would go unseen.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// All logins of one server's [`Client`](crate::client::Client).
#[derive(Debug, Default)]
pub(crate) struct Logins(Mutex<Summary>);

#[derive(Clone, Debug, Default)]
pub(crate) struct Summary {
    pub(crate) succeeded: u64,
    pub(crate) failed: u64,
    /// How long the newest one that succeeded took: the network, TLS, authentication.
    pub(crate) duration: Option<Duration>,
    /// Why the newest one failed; `None` where it did not.
    pub(crate) error: Option<String>,
}

impl Logins {
    pub(crate) fn succeeded(&self, duration: Duration) {
        let mut summary = self.summary_mut();
        summary.succeeded += 1;
        summary.duration = Some(duration);
        summary.error = None;
    }

    pub(crate) fn failed(&self, error: String) {
        let mut summary = self.summary_mut();
        summary.failed += 1;
        summary.error = Some(error);
    }

    pub(crate) fn summary(&self) -> Summary {
        self.summary_mut().clone()
    }

    fn summary_mut(&self) -> MutexGuard<'_, Summary> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
