//! The configuration in use, which a reload replaces.

use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::watch;

use crate::config::{ConfigError, WebConfig};

/// The configuration in use and the file to read the next one from.
pub struct ActiveConfig {
    file: Option<PathBuf>,
    current: watch::Sender<Arc<WebConfig>>,
}

impl ActiveConfig {
    /// Reads the file. Without a file, or with an empty path, the server is plain HTTP without users. Service files of
    /// Go exporters have `--web.config.file=` for that. This call blocks.
    pub fn load(file: Option<PathBuf>) -> Result<Self, ConfigError> {
        let file = file.filter(|file| !file.as_os_str().is_empty());
        let active = Self { file, current: watch::Sender::default() };
        if let Some(config) = active.read()? {
            active.replace(config);
        }
        Ok(active)
    }

    /// Reads the file again, if there is one, and does not use it yet. This call blocks.
    pub fn read(&self) -> Result<Option<WebConfig>, ConfigError> {
        self.file.as_deref().map(WebConfig::load).transpose()
    }

    /// Uses another configuration from now on. Connections that are open end after their current response.
    pub fn replace(&self, config: WebConfig) {
        self.current.send_replace(Arc::new(config));
    }

    pub fn current(&self) -> Arc<WebConfig> {
        Arc::clone(&self.current.borrow())
    }

    pub(crate) fn subscribe(&self) -> watch::Receiver<Arc<WebConfig>> {
        self.current.subscribe()
    }
}
