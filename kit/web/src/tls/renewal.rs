//! TLS in use, with the certificate files that were read last.
//!
//! Renewed files need no reload, as in the Go toolkit. A handshake checks whether a file has changed, at most once a
//! second. While a certificate and its key do not match, because only one is written so far, the previous ones stay in
//! use.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use rustls::ServerConfig;
use service_kit::file::Stamp;
use service_kit::lock::lock;
use tracing::{info, warn};

use super::settings::TlsSettings;
use crate::error::KeyError;

pub(super) const CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// How long a handshake waits for the files. On a hung file system it continues with the certificate in use.
const CHECK_TIMEOUT: Duration = Duration::from_secs(2);

pub(crate) struct Tls {
    settings: TlsSettings,
    loaded: Mutex<Loaded>,
    /// Held during a check: a hung file system blocks one thread, not all threads of the pool.
    check: Arc<tokio::sync::Mutex<()>>,
}

pub(super) struct Loaded {
    config: Arc<ServerConfig>,
    stamps: Vec<Option<Stamp>>,
    pub(super) checked: Instant,
    /// Why the files that are there now are not used. It is logged when it changes.
    pub(super) error: Option<String>,
}

impl Tls {
    /// Reads the files. This call blocks.
    pub(crate) fn load(settings: TlsSettings) -> Result<Self, KeyError> {
        // Taken before the files are read: a file that changes meanwhile is read again.
        let stamps = settings.stamps();
        let config = Arc::new(settings.server_config()?);
        let loaded = Mutex::new(Loaded { config, stamps, checked: Instant::now(), error: None });
        Ok(Self { settings, loaded, check: Arc::default() })
    }

    /// The configuration for a handshake that begins now.
    pub(crate) async fn server_config(self: &Arc<Self>) -> Arc<ServerConfig> {
        if self.loaded().checked.elapsed() >= CHECK_INTERVAL
            && let Ok(guard) = Arc::clone(&self.check).try_lock_owned()
        {
            let this = Arc::clone(self);
            let check = tokio::task::spawn_blocking(move || {
                this.check_files();
                drop(guard);
            });
            // A late or failed check changes nothing: the files that were read before stay in use.
            let _ = tokio::time::timeout(CHECK_TIMEOUT, check).await;
        }
        Arc::clone(&self.loaded().config)
    }

    fn check_files(&self) {
        let stamps = self.settings.stamps();
        let changed = {
            let mut loaded = self.loaded();
            loaded.checked = Instant::now();
            loaded.stamps != stamps
        };
        if !changed {
            return;
        }
        let result = self.settings.server_config();
        let mut loaded = self.loaded();
        match result {
            Ok(config) => {
                info!("using new certificate files");
                *loaded = Loaded { config: Arc::new(config), stamps, checked: loaded.checked, error: None };
            }
            Err(error) => {
                let error = error.to_string();
                if loaded.error.as_ref() != Some(&error) {
                    warn!(%error, "new certificate files are invalid; keeping the previous ones");
                    loaded.error = Some(error);
                }
            }
        }
    }

    pub(super) fn loaded(&self) -> MutexGuard<'_, Loaded> {
        lock(&self.loaded)
    }
}
