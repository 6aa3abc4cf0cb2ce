//! Redis as a cache that may vanish at any time.
//!
//! A request never dials: it uses the connection that the prober opened, or does without. So a Redis that hangs costs the requests
//! that were waiting one time-out, and those after them nothing.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use redis::{
    AsyncConnectionConfig, Client, ConnectionAddr, IntoConnectionInfo, RedisConnectionInfo, RedisResult,
    aio::MultiplexedConnection,
};

use crate::{
    address::Address,
    dependency::{Dependency, PROBE_TIMEOUT, Probe},
    secret::Secret,
};

/// A local answer takes well under a millisecond, and asking MySQL instead about one: longer is not worth the wait.
const PATIENCE: Duration = Duration::from_millis(100);

#[derive(Clone)]
pub(crate) struct Cache {
    client: Client,
    connection: Arc<Mutex<Option<MultiplexedConnection>>>,
    health: Arc<Dependency>,
}

impl Cache {
    pub(crate) fn new(address: &Address, password: Option<&Secret>, health: Arc<Dependency>) -> RedisResult<Self> {
        let address = match address {
            Address::Tcp { host, port } => ConnectionAddr::Tcp(host.clone(), *port),
            Address::Unix(path) => ConnectionAddr::Unix(path.clone()),
        };
        let mut settings = RedisConnectionInfo::default();
        if let Some(password) = password {
            settings = settings.set_password(password.expose());
        }
        let client = Client::open(address.into_connection_info()?.set_redis_settings(settings))?;
        Ok(Self { client, connection: Arc::default(), health })
    }

    pub(crate) async fn get(&self, key: &str) -> Option<String> {
        self.ask(redis::cmd("GET").arg(key)).await.flatten()
    }

    pub(crate) async fn set(&self, key: &str, value: &str, ttl: Duration) {
        let _: Option<()> = self.ask(redis::cmd("SET").arg(key).arg(value).arg("EX").arg(ttl.as_secs())).await;
    }

    async fn ask<T: redis::FromRedisValue>(&self, command: &redis::Cmd) -> Option<T> {
        let mut connection = self.slot().clone()?;
        match command.query_async(&mut connection).await {
            Ok(value) => Some(value),
            Err(error) => {
                tracing::debug!(%error, "the cache did not answer, going on without it");
                *self.slot() = None;
                self.health.doubt.notify_one();
                None
            }
        }
    }

    fn slot(&self) -> std::sync::MutexGuard<'_, Option<MultiplexedConnection>> {
        self.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Probe for Cache {
    type Error = redis::RedisError;

    async fn probe(&mut self) -> RedisResult<()> {
        let existing = self.slot().clone();
        let mut connection = match existing {
            Some(connection) => connection,
            None => {
                let config = AsyncConnectionConfig::new()
                    .set_connection_timeout(Some(PROBE_TIMEOUT))
                    .set_response_timeout(Some(PATIENCE));
                self.client.get_multiplexed_async_connection_with_config(&config).await?
            }
        };
        let answer = redis::cmd("PING").query_async::<()>(&mut connection).await;
        *self.slot() = answer.is_ok().then_some(connection);
        answer
    }
}
