//! SIGHUP: reads the password and token files again. New connections use the new passwords; the token counts at once.

use std::{sync::Arc, time::Duration};

use service_kit::{secret::SecretError, signals::ReloadSignals};
use tokio::{task, time::timeout};

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
    #[error("the files were not read within {} s", READ_TIMEOUT.as_secs())]
    Timeout,
    #[error("internal error (a bug): {0}")]
    Internal(#[from] task::JoinError),
}

/// Reloads at each signal. A bad file changes nothing.
pub(crate) async fn reload_on_signals(app: Arc<App>, files: CredentialFiles, mut signals: ReloadSignals) {
    loop {
        signals.recv().await;
        let result = read(files.clone()).await;
        app.lifecycle.set_reloaded(result.is_ok());
        match result {
            Ok(credentials) => {
                app.use_credentials(credentials);
                tracing::info!(instance = app.instance, "reloaded");
            }
            Err(error) => {
                tracing::error!(instance = app.instance, %error, "reload failed; keeping the previous configuration");
            }
        }
    }
}

async fn read(files: CredentialFiles) -> Result<Credentials, ReloadError> {
    let read = task::spawn_blocking(move || files.read());
    Ok(timeout(READ_TIMEOUT, read).await.map_err(|_| ReloadError::Timeout)???)
}
