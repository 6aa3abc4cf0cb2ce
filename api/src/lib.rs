//! MedAssist's companion API. [`run`] is the program; `README.md` documents its endpoints.

mod alert;
mod alert_store;
mod app;
mod app_metrics;
mod backfill;
mod body;
mod cache;
mod credentials;
mod db;
mod dependency;
mod flags;
mod health;
mod lifecycle;
mod metrics;
mod migrate;
mod observe;
mod payment;
mod problem;
mod reload;
mod router;
mod routes;
mod server;
mod stall;
mod trace;

use std::{
    sync::{Arc, Mutex},
    time::Instant,
};

use prometheus_client::registry::Registry;
use service_kit::{secret::SecretError, signals::Signals};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use web_kit::ActiveConfig;

use crate::{
    app::App,
    app_metrics::AppCollector,
    cache::Cache,
    credentials::{CredentialFiles, Credentials},
    db::Db,
    dependency::Dependency,
    lifecycle::Lifecycle,
    metrics::{BackfillMetrics, RequestMetrics},
};
pub use crate::{
    flags::{Flags, parse},
    server::ListenError,
};

#[derive(Debug, thiserror::Error)]
pub enum RunError {
    #[error(transparent)]
    Secret(#[from] SecretError),
    #[error(transparent)]
    Listen(#[from] ListenError),
    #[error(transparent)]
    WebConfig(#[from] web_kit::ConfigError),
    #[error("--redis.address: {0}")]
    Redis(#[from] redis::RedisError),
    #[error("cannot listen for signals: {0}")]
    Signals(std::io::Error),
    #[error("second stop signal: stopped without waiting for requests")]
    SecondSignal,
}

/// Serves until SIGTERM or SIGINT, then drains.
pub async fn run(flags: Flags) -> Result<(), RunError> {
    let Signals { mut stop, reload } = Signals::listen().map_err(RunError::Signals)?;
    let api = server::listen("web.listen-address", flags.listen_address.clone()).await?;
    let metrics = server::listen("web.metrics-address", flags.metrics_address.clone()).await?;
    let drain_delay = flags.drain_delay;
    let files = CredentialFiles::new(&flags);
    let web = Arc::new(ActiveConfig::load(flags.web_config_file.clone())?);
    let backfill = flags.backfill.clone();
    let (app, registry) = assemble(flags, files.read()?, web.clone())?;
    tracing::info!(
        instance = app.instance,
        version = env!("CARGO_PKG_VERSION"),
        revision = service_kit::build::REVISION,
        api = api.local_addr().map_or_else(|e| e.to_string(), |a| a.to_string()),
        metrics = metrics.local_addr().map_or_else(|e| e.to_string(), |a| a.to_string()),
        tls = web.current().has_tls(),
        users = web.current().has_users(),
        "listening"
    );
    start_background_work(&app);
    tokio::spawn(backfill::run(app.clone(), backfill));
    tokio::spawn(reload::reload_on_signals(app.clone(), files, reload));

    let (stop_api, stop_metrics) = (CancellationToken::new(), CancellationToken::new());
    let metrics_router = router::metrics_router(registry, web.clone());
    tokio::spawn(server::serve(metrics, metrics_router, server::METRICS_LIMITS, web.clone(), stop_metrics));
    let serving = server::serve(api, router::api_router(app.clone()), server::API_LIMITS, web, stop_api.clone());
    let stopping = async {
        stop.recv().await;
        app.lifecycle.set_draining();
        tracing::info!(delay = ?drain_delay, "draining");
        tokio::select! {
            () = tokio::time::sleep(drain_delay) => stop_api.cancel(),
            () = stop.recv() => return,
        }
        stop.recv().await;
    };
    tokio::select! {
        () = serving => {
            tracing::info!("stopped");
            Ok(())
        }
        () = stopping => Err(RunError::SecondSignal),
    }
}

fn assemble(flags: Flags, credentials: Credentials, web: Arc<ActiveConfig>) -> Result<(Arc<App>, Registry), RunError> {
    let mysql = Arc::new(Dependency::new("mysql", &flags.mysql_address));
    let redis = Arc::new(Dependency::new("redis", &flags.redis_address));
    let mut registry = Registry::default();
    let app = Arc::new(App {
        instance: flags.instance,
        started: Instant::now(),
        lifecycle: Lifecycle::new(),
        db: Db::new(
            &flags.mysql_address,
            &flags.mysql_user,
            credentials.mysql_password,
            &flags.mysql_database,
            mysql.clone(),
        ),
        cache: Cache::new(&flags.redis_address, credentials.redis_password.as_ref(), redis.clone())?,
        mysql,
        redis,
        webhook_token: Mutex::new(credentials.webhook_token),
        notifications: Arc::new(Semaphore::new(alert::AT_ONCE)),
        web,
        requests: RequestMetrics::register(&mut registry),
        backfill: BackfillMetrics::register(&mut registry),
    });
    registry.register_collector(Box::new(AppCollector(app.clone())));
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
