//! Reading files again while the exporter runs, at SIGHUP and at POST `/-/reload`: all of them, or none.

use std::sync::Arc;
use std::time::Duration;

use service_kit::error_chain::with_sources;
use tokio::time::timeout;
use tracing::{error, info};
use web_kit::ActiveConfig;

use crate::exporter::Exporter;
use crate::gather::Gatherer;

/// How long a request waits for the files: a hung network file system must not hold its connection without a limit.
const RELOAD_TIMEOUT: Duration = Duration::from_secs(10);

#[derive(Debug, thiserror::Error)]
pub(crate) enum ReloadError {
    #[error("{0}")]
    Invalid(String),
    #[error("another reload is still running after {} s", RELOAD_TIMEOUT.as_secs())]
    Busy,
    #[error(
        "reload still running after {} s; see …_config_last_reload_successful for its result",
        RELOAD_TIMEOUT.as_secs()
    )]
    Late,
    #[error("internal error during the reload (a bug in the exporter); see its log")]
    Aborted,
}

pub(crate) struct Reloader<E: Exporter> {
    gatherer: Arc<Gatherer<E>>,
    web: Arc<ActiveConfig>,
    /// Held during a reload.
    running: Arc<tokio::sync::Mutex<()>>,
}

impl<E: Exporter> Reloader<E> {
    pub(crate) fn new(gatherer: Arc<Gatherer<E>>, web: Arc<ActiveConfig>) -> Self {
        Self { gatherer, web, running: Arc::default() }
    }

    /// `Ok` when the new files are in use. After an error the previous configuration is still in use.
    pub(crate) async fn reload(&self) -> Result<(), ReloadError> {
        let Ok(guard) = timeout(RELOAD_TIMEOUT, Arc::clone(&self.running).lock_owned()).await else {
            error!(error = %ReloadError::Busy, "reload refused");
            return Err(ReloadError::Busy);
        };
        let (gatherer, web) = (Arc::clone(&self.gatherer), Arc::clone(&self.web));
        // A separate task, which continues and logs its result when the client has left.
        let reload = tokio::spawn(async move {
            let _guard = guard;
            let read = {
                let gatherer = Arc::clone(&gatherer);
                tokio::task::spawn_blocking(move || all_or_nothing(&*gatherer, &web))
            };
            let result = read.await.unwrap_or(Err(ReloadError::Aborted));
            gatherer.reloaded(result.is_ok());
            match &result {
                Ok(()) => info!("configuration reloaded"),
                Err(error) => error!(%error, "reload failed; keeping the previous configuration"),
            }
            result
        });
        match timeout(RELOAD_TIMEOUT, reload).await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) => Err(ReloadError::Aborted),
            Err(_) => Err(ReloadError::Late),
        }
    }
}

fn all_or_nothing<E: Exporter>(gatherer: &Gatherer<E>, web: &ActiveConfig) -> Result<(), ReloadError> {
    let config = web.read().map_err(|error| ReloadError::Invalid(error.to_string()))?;
    // The last step that can fail, because it takes effect at once.
    gatherer.reload_exporter().map_err(|error| ReloadError::Invalid(with_sources(&*error)))?;
    if let Some(config) = config {
        web.replace(config);
    }
    Ok(())
}
