//! MedAssist's companion API. [`run`] is the program; `README.md` documents its endpoints.

mod address;
mod alert;
mod app;
mod body;
mod cache;
mod db;
mod dependency;
mod flags;
mod health;
mod lifecycle;
mod logging;
mod metrics;
mod migrate;
mod observe;
mod payment;
mod problem;
mod router;
mod secret;
mod server;
mod stall;
mod trace;

use std::{sync::Arc, time::Instant};

use prometheus_client::registry::Registry;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

pub use crate::{
    address::{Address, AddressError},
    flags::{Flags, LogFlags, LogFormat, LogLevel},
    logging::init_logging,
    secret::SecretError,
    server::ListenError,
};
use crate::{
    app::App, cache::Cache, db::Db, dependency::Dependency, lifecycle::Lifecycle, metrics::RequestMetrics,
    secret::Secret,
};

/// HAProxy and its health checks hold some dozens.
const MAX_CONNECTIONS: usize = 1024;
const MAX_METRICS_CONNECTIONS: usize = 32;

#[derive(Debug, thiserror::Error)]
pub enum RunError {
    #[error(transparent)]
    Secret(#[from] SecretError),
    #[error(transparent)]
    Listen(#[from] ListenError),
    #[error("--redis.address: {0}")]
    Redis(#[from] redis::RedisError),
    #[error("cannot listen for signals: {0}")]
    Signals(std::io::Error),
    #[error("a second signal: stopped at once")]
    SecondSignal,
}

/// Serves until SIGTERM or SIGINT, then drains.
pub async fn run(flags: Flags) -> Result<(), RunError> {
    let mut signals = Signals::new().map_err(RunError::Signals)?;
    let api = server::listen("web.listen-address", flags.listen_address).await?;
    let metrics = server::listen("web.metrics-address", flags.metrics_address).await?;
    let drain_delay = flags.drain_delay;
    let (app, registry) = assemble(flags)?;
    tracing::info!(
        instance = app.instance,
        version = env!("CARGO_PKG_VERSION"),
        api = api.local_addr().map_or_else(|e| e.to_string(), |a| a.to_string()),
        metrics = metrics.local_addr().map_or_else(|e| e.to_string(), |a| a.to_string()),
        "listening"
    );
    start_background_work(&app);

    let (stop_api, stop_metrics) = (CancellationToken::new(), CancellationToken::new());
    tokio::spawn(server::serve(metrics, router::metrics_router(registry), MAX_METRICS_CONNECTIONS, stop_metrics));
    let serving = server::serve(api, router::api_router(app.clone()), MAX_CONNECTIONS, stop_api.clone());
    let stopping = async {
        signals.next().await;
        app.lifecycle.set_draining();
        tracing::info!(delay = ?drain_delay, "draining: still serving, no longer ready");
        tokio::select! {
            () = tokio::time::sleep(drain_delay) => stop_api.cancel(),
            () = signals.next() => return,
        }
        signals.next().await;
    };
    tokio::select! {
        () = serving => {
            tracing::info!("stopped");
            Ok(())
        }
        () = stopping => Err(RunError::SecondSignal),
    }
}

fn assemble(flags: Flags) -> Result<(Arc<App>, Registry), RunError> {
    let mysql_password =
        Secret::from_file_or_env("mysql.password-file", flags.mysql_password_file, "MEDASSIST_API_MYSQL_PASSWORD")?;
    let redis_password =
        Secret::from_file_or_env("redis.password-file", flags.redis_password_file, "MEDASSIST_API_REDIS_PASSWORD")?;
    let webhook_token =
        flags.webhook_token_file.map(|path| Secret::from_file("webhook.token-file", path)).transpose()?;
    let mysql = Arc::new(Dependency::new("mysql", &flags.mysql_address));
    let redis = Arc::new(Dependency::new("redis", &flags.redis_address));
    let mut registry = Registry::default();
    let app = Arc::new(App {
        instance: flags.instance,
        started: Instant::now(),
        lifecycle: Lifecycle::default(),
        db: Db::new(
            &flags.mysql_address,
            &flags.mysql_user,
            mysql_password.as_ref(),
            &flags.mysql_database,
            mysql.clone(),
        ),
        cache: Cache::new(&flags.redis_address, redis_password.as_ref(), redis.clone())?,
        mysql,
        redis,
        webhook_token,
        requests: RequestMetrics::register(&mut registry),
    });
    registry.register_collector(Box::new(metrics::AppCollector(app.clone())));
    Ok((app, registry))
}

fn start_background_work(app: &Arc<App>) {
    let watched = app.clone();
    tokio::spawn(async move { watched.mysql.watch(watched.db.prober()).await });
    let watched = app.clone();
    tokio::spawn(async move { watched.redis.watch(watched.cache.clone()).await });
    let migrated = app.clone();
    tokio::spawn(
        async move { migrate::migrate_until_done(&migrated.db, &migrated.lifecycle, &migrated.instance).await },
    );
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
