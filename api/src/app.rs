//! State that the handlers share.

use std::{
    sync::{Arc, Mutex},
    time::Instant,
};

use service_kit::{lock::lock, secret::Secret};
use tokio::sync::Semaphore;
use web_kit::ActiveConfig;

use crate::{
    cache::Cache,
    credentials::Credentials,
    db::Db,
    dependency::{Dependency, DependencyStatus},
    lifecycle::Lifecycle,
    metrics::{BackfillMetrics, RequestMetrics},
};

pub(crate) struct App {
    pub(crate) instance: String,
    pub(crate) started: Instant,
    pub(crate) lifecycle: Lifecycle,
    pub(crate) db: Db,
    pub(crate) cache: Cache,
    pub(crate) mysql: Arc<Dependency>,
    pub(crate) redis: Arc<Dependency>,
    pub(crate) webhook_token: Mutex<Option<Secret>>,
    /// Room for notifications.
    pub(crate) notifications: Arc<Semaphore>,
    pub(crate) web: Arc<ActiveConfig>,
    pub(crate) requests: RequestMetrics,
    pub(crate) backfill: BackfillMetrics,
}

impl App {
    pub(crate) fn use_credentials(&self, credentials: Credentials) {
        self.db.set_password(credentials.mysql_password);
        self.cache.set_password(credentials.redis_password.as_ref());
        *lock(&self.webhook_token) = credentials.webhook_token;
    }

    /// Whether the load balancer should send requests here. A shared dependency's state doesn't count: the loss of
    /// MySQL would remove all replicas at once, and with them the 503 that says when to retry.
    pub(crate) fn ready(&self) -> bool {
        self.started() && !self.lifecycle.draining()
    }

    /// The first migrations were tried and every dependency was probed once, successfully or not.
    fn started(&self) -> bool {
        self.lifecycle.migrations_tried() && self.dependencies().iter().all(|d| d.status() != DependencyStatus::Unknown)
    }

    pub(crate) fn degraded(&self) -> bool {
        !self.db.schema_in_place() || self.dependencies().iter().any(|d| d.status() == DependencyStatus::Down)
    }

    pub(crate) fn dependencies(&self) -> [&Dependency; 2] {
        [&self.mysql, &self.redis]
    }
}
