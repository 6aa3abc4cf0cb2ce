//! What the handlers share.

use std::{sync::Arc, time::Instant};

use crate::{
    cache::Cache,
    db::Db,
    dependency::{Dependency, Verdict},
    lifecycle::Lifecycle,
    metrics::RequestMetrics,
    secret::Secret,
};

pub(crate) struct App {
    pub(crate) instance: String,
    pub(crate) started: Instant,
    pub(crate) lifecycle: Lifecycle,
    pub(crate) db: Db,
    pub(crate) cache: Cache,
    pub(crate) mysql: Arc<Dependency>,
    pub(crate) redis: Arc<Dependency>,
    pub(crate) webhook_token: Option<Secret>,
    pub(crate) requests: RequestMetrics,
}

impl App {
    /// Whether the load balancer should send requests here. Never a shared dependency's state: MySQL's loss would take all
    /// replicas out at once, and with them the 503 that tells clients when to come back.
    pub(crate) fn ready(&self) -> bool {
        self.started() && !self.lifecycle.draining()
    }

    /// The first migrations were tried and every dependency was probed once, with whatever outcome.
    fn started(&self) -> bool {
        self.lifecycle.migrations_tried() && self.dependencies().iter().all(|d| d.verdict() != Verdict::Unknown)
    }

    pub(crate) fn degraded(&self) -> bool {
        !self.db.schema_in_place() || self.dependencies().iter().any(|d| d.verdict() == Verdict::Down)
    }

    pub(crate) fn dependencies(&self) -> [&Dependency; 2] {
        [&self.mysql, &self.redis]
    }
}
