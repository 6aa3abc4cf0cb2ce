//! Whether this replica wants traffic.

use std::sync::atomic::{AtomicBool, Ordering};

#[derive(Debug, Default)]
pub(crate) struct Lifecycle {
    migrations_tried: AtomicBool,
    draining: AtomicBool,
}

impl Lifecycle {
    /// The first attempt ended, well or not: a replica that comes up while MySQL is down must still come up.
    pub(crate) fn set_migrations_tried(&self) {
        self.migrations_tried.store(true, Ordering::Release);
    }

    pub(crate) fn migrations_tried(&self) -> bool {
        self.migrations_tried.load(Ordering::Acquire)
    }

    pub(crate) fn set_draining(&self) {
        self.draining.store(true, Ordering::Release);
    }

    pub(crate) fn draining(&self) -> bool {
        self.draining.load(Ordering::Acquire)
    }
}
