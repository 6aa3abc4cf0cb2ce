//! The state of this replica: starting, ready or draining, and how its last reload ended.

use std::sync::{
    Mutex,
    atomic::{AtomicBool, Ordering},
};

use jiff::Timestamp;
use service_kit::lock::lock;

#[derive(Debug)]
pub(crate) struct Lifecycle {
    migrations_tried: AtomicBool,
    draining: AtomicBool,
    last_reload_successful: AtomicBool,
    last_reload_success: Mutex<Timestamp>,
}

impl Lifecycle {
    /// At the start, after every file was read.
    pub(crate) fn new() -> Self {
        Self {
            migrations_tried: AtomicBool::new(false),
            draining: AtomicBool::new(false),
            last_reload_successful: AtomicBool::new(true),
            last_reload_success: Mutex::new(Timestamp::now()),
        }
    }

    /// The first attempt ended, successful or not: a replica that starts while MySQL is down must become ready, too.
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

    pub(crate) fn set_reloaded(&self, successful: bool) {
        if successful {
            *lock(&self.last_reload_success) = Timestamp::now();
        }
        self.last_reload_successful.store(successful, Ordering::Release);
    }

    pub(crate) fn last_reload_successful(&self) -> bool {
        self.last_reload_successful.load(Ordering::Acquire)
    }

    pub(crate) fn last_reload_success(&self) -> Timestamp {
        *lock(&self.last_reload_success)
    }
}
