//! Redis as a cache that may vanish at any time.
//!
//! A request never connects: it uses the connection that the prober opened, or no cache. So a Redis that hangs costs
//! the requests that are waiting one timeout, and later requests nothing.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use redis::{
    AsyncConnectionConfig, Client, ConnectionAddr, IntoConnectionInfo, RedisConnectionInfo, RedisFuture, RedisResult,
    aio::MultiplexedConnection, io::AsyncDNSResolver,
};
use service_kit::{address::Address, lock::lock, resolve, secret::Secret};

use crate::dependency::{Dependency, PROBE_TIMEOUT, Probe};

/// A local response takes well under a millisecond, and a query to MySQL instead about one: a longer wait doesn't pay.
const RESPONSE_TIMEOUT: Duration = Duration::from_millis(100);

#[derive(Clone)]
pub(crate) struct Cache {
    address: ConnectionAddr,
    state: Arc<Mutex<State>>,
    health: Arc<Dependency>,
}

struct State {
    client: Client,
    connection: Option<MultiplexedConnection>,
}

impl Cache {
    pub(crate) fn new(address: &Address, password: Option<&Secret>, health: Arc<Dependency>) -> RedisResult<Self> {
        let address = match address {
            Address::Tcp { host, port } => ConnectionAddr::Tcp(host.clone(), *port),
            Address::Unix(path) => ConnectionAddr::Unix(path.clone()),
        };
        let state = State { client: client(&address, password)?, connection: None };
        Ok(Self { address, state: Arc::new(Mutex::new(state)), health })
    }

    /// The prober connects again with this password.
    pub(crate) fn set_password(&self, password: Option<&Secret>) {
        match client(&self.address, password) {
            Ok(client) => *lock(&self.state) = State { client, connection: None },
            // The same address was good at the start.
            Err(error) => tracing::error!(%error, "Redis client not created; keeping the previous password"),
        }
        self.health.recheck.notify_one();
    }

    pub(crate) async fn get(&self, key: &str) -> Option<String> {
        self.query(redis::cmd("GET").arg(key)).await.flatten()
    }

    pub(crate) async fn set(&self, key: &str, value: &str, ttl: Duration) {
        let _: Option<()> = self.query(redis::cmd("SET").arg(key).arg(value).arg("EX").arg(ttl.as_secs())).await;
    }

    async fn query<T: redis::FromRedisValue>(&self, command: &redis::Cmd) -> Option<T> {
        let mut connection = lock(&self.state).connection.clone()?;
        match command.query_async(&mut connection).await {
            Ok(value) => Some(value),
            Err(error) => {
                tracing::debug!(%error, "cache request failed; continuing without it");
                lock(&self.state).connection = None;
                self.health.recheck.notify_one();
                None
            }
        }
    }
}

fn client(address: &ConnectionAddr, password: Option<&Secret>) -> RedisResult<Client> {
    let mut settings = RedisConnectionInfo::default();
    if let Some(password) = password {
        settings = settings.set_password(password.expose());
    }
    Client::open(address.clone().into_connection_info()?.set_redis_settings(settings))
}

struct Resolver;

impl AsyncDNSResolver for Resolver {
    fn resolve<'a, 'b: 'a>(
        &'a self,
        host: &'b str,
        port: u16,
    ) -> RedisFuture<'a, Box<dyn Iterator<Item = SocketAddr> + Send + 'a>> {
        Box::pin(async move {
            let addresses = resolve::with_port(resolve::addresses(host).await?, port);
            Ok(Box::new(addresses.into_iter()) as Box<dyn Iterator<Item = SocketAddr> + Send>)
        })
    }
}

impl Probe for Cache {
    type Error = redis::RedisError;

    async fn probe(&mut self) -> RedisResult<()> {
        let (client, connection) = {
            let state = lock(&self.state);
            (state.client.clone(), state.connection.clone())
        };
        let mut connection = match connection {
            Some(connection) => connection,
            None => {
                let config = AsyncConnectionConfig::new()
                    .set_connection_timeout(Some(PROBE_TIMEOUT))
                    .set_response_timeout(Some(RESPONSE_TIMEOUT))
                    .set_dns_resolver(Resolver);
                client.get_multiplexed_async_connection_with_config(&config).await?
            }
        };
        let answer = redis::cmd("PING").query_async::<()>(&mut connection).await;
        lock(&self.state).connection = answer.is_ok().then_some(connection);
        answer
    }
}
