//! Reading files again while the exporter runs, at SIGHUP and at POST `/-/reload`: all of them, or none.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;
use tracing::{error, info};

use crate::exporter::Exporter;
use crate::gather::{Gatherer, with_sources};
use crate::web_config::Web;

/// How long the one who asks waits for the files: a hung network file system must not hold its connection for ever.
const PATIENCE: Duration = Duration::from_secs(10);

#[derive(Debug, thiserror::Error)]
pub(crate) enum ReloadError {
    #[error("{0}")]
    Refused(String),
    #[error("another reload is still under way after {} s: its files are slow to read", PATIENCE.as_secs())]
    Busy,
    #[error(
        "the files were not read within {} s; that goes on, and the series …_config_last_reload_successful will tell its end",
        PATIENCE.as_secs()
    )]
    Late,
    #[error("the reload ended by a fault of the exporter; its log has the details")]
    Aborted,
}

pub(crate) struct Reloader<E: Exporter> {
    gatherer: Arc<Gatherer<E>>,
    web: Arc<Web>,
    /// One reload at a time.
    turn: Arc<tokio::sync::Mutex<()>>,
}

impl<E: Exporter> Reloader<E> {
    pub(crate) fn new(gatherer: Arc<Gatherer<E>>, web: Arc<Web>) -> Self {
        Self { gatherer, web, turn: Arc::default() }
    }

    /// `Ok` once the new files are in force; after an error the old ones still are.
    pub(crate) async fn reload(&self) -> Result<(), ReloadError> {
        let Ok(turn) = timeout(PATIENCE, Arc::clone(&self.turn).lock_owned()).await else {
            error!(error = %ReloadError::Busy, "reload refused");
            return Err(ReloadError::Busy);
        };
        let (gatherer, web) = (Arc::clone(&self.gatherer), Arc::clone(&self.web));
        // A task of its own: it goes on, and notes and logs its end, when the one who asked has left.
        let reload = tokio::spawn(async move {
            let _turn = turn;
            let read = {
                let gatherer = Arc::clone(&gatherer);
                tokio::task::spawn_blocking(move || all_or_nothing(&*gatherer, &web))
            };
            let result = read.await.unwrap_or(Err(ReloadError::Aborted));
            gatherer.reloaded(result.is_ok());
            match &result {
                Ok(()) => info!("reloaded"),
                Err(error) => error!(%error, "not reloaded, what was in force before still is"),
            }
            result
        });
        match timeout(PATIENCE, reload).await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) => Err(ReloadError::Aborted),
            Err(_) => Err(ReloadError::Late),
        }
    }
}

fn all_or_nothing<E: Exporter>(gatherer: &Gatherer<E>, web: &Web) -> Result<(), ReloadError> {
    let config = web.read().map_err(|error| ReloadError::Refused(error.to_string()))?;
    // The last that can fail, as it is in force at once.
    gatherer.reload_exporter().map_err(|error| ReloadError::Refused(with_sources(&*error)))?;
    if let Some(config) = config {
        web.put_in_force(config);
    }
    Ok(())
}
