//! SIGHUP: reads the password and token files and `--web.config.file` again. New connections use the new passwords. The
//! token and the web configuration take effect at once.

use std::{sync::Arc, time::Duration};

use service_kit::{secret::SecretError, signals::ReloadSignals};
use tokio::{task, time::timeout};
use web_kit::{ActiveConfig, ConfigError, WebConfig};

use crate::{
    app::App,
    credentials::{CredentialFiles, Credentials},
};

/// A hung network file system must not stop later reloads.
const READ_TIMEOUT: Duration = Duration::from_secs(10);

#[derive(Debug, thiserror::Error)]
enum ReloadError {
    #[error(transparent)]
    Secret(#[from] SecretError),
    #[error(transparent)]
    WebConfig(#[from] ConfigError),
    #[error("the files were not read within {} s", READ_TIMEOUT.as_secs())]
    Timeout,
    #[error("internal error (a bug): {0}")]
    Internal(#[from] task::JoinError),
}

/// Reloads at each signal. A bad file changes nothing.
pub(crate) async fn reload_on_signals(app: Arc<App>, files: CredentialFiles, mut signals: ReloadSignals) {
    loop {
        signals.recv().await;
        let result = read(files.clone(), app.web.clone()).await;
        app.lifecycle.set_reloaded(result.is_ok());
        match result {
            Ok((credentials, config)) => {
                app.use_credentials(credentials);
                if let Some(config) = config {
                    app.web.replace(config);
                }
                tracing::info!(instance = app.instance, "configuration reloaded");
            }
            Err(error) => {
                tracing::error!(instance = app.instance, %error, "reload failed; keeping the previous configuration");
            }
        }
    }
}

async fn read(files: CredentialFiles, web: Arc<ActiveConfig>) -> Result<(Credentials, Option<WebConfig>), ReloadError> {
    let read = task::spawn_blocking(move || Ok((files.read()?, web.read()?)));
    timeout(READ_TIMEOUT, read).await.map_err(|_| ReloadError::Timeout)??
}
