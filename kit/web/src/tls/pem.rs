//! Certificates and keys in PEM, from a file or from the configuration itself.

use std::fmt;
use std::path::{Path, PathBuf};

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use service_kit::file::{Stamp, read_text};

use crate::error::KeyError;

pub(super) struct Pem {
    /// The key of the configuration that names it.
    key: &'static str,
    source: Source,
}

enum Source {
    Inline(String),
    File(PathBuf),
}

impl Pem {
    /// The value of the inline key or of the file key. At most one may be set. An empty value counts as not set.
    pub(super) fn either(
        (inline_key, inline): (&'static str, Option<String>),
        (file_key, file): (&'static str, Option<String>),
        directory: &Path,
    ) -> Result<Option<Self>, KeyError> {
        let inline = inline.filter(|text| !text.is_empty());
        let file = file.filter(|path| !path.is_empty());
        match (inline, file) {
            (Some(_), Some(_)) => Err(KeyError::new(
                format!("tls_server_config.{inline_key}"),
                format!("{file_key} is set as well; set only one of them"),
            )),
            (Some(text), None) => Ok(Some(Self { key: inline_key, source: Source::Inline(text) })),
            (None, Some(path)) => Ok(Some(Self { key: file_key, source: Source::File(directory.join(path)) })),
            (None, None) => Ok(None),
        }
    }

    pub(super) fn key(&self) -> &'static str {
        self.key
    }

    pub(super) fn certificates(&self) -> Result<Vec<CertificateDer<'static>>, KeyError> {
        let certificates = CertificateDer::pem_slice_iter(self.read()?.as_bytes()).collect::<Result<Vec<_>, _>>();
        let certificates = certificates.map_err(|error| self.error(error))?;
        if certificates.is_empty() { Err(self.error("no PEM certificate found")) } else { Ok(certificates) }
    }

    pub(super) fn private_key(&self) -> Result<PrivateKeyDer<'static>, KeyError> {
        PrivateKeyDer::from_pem_slice(self.read()?.as_bytes()).map_err(|_| self.error("no PEM private key found"))
    }

    fn read(&self) -> Result<String, KeyError> {
        match &self.source {
            Source::Inline(text) => Ok(text.clone()),
            Source::File(path) => read_text(path).map_err(|error| self.error(error)),
        }
    }

    pub(super) fn error(&self, reason: impl fmt::Display) -> KeyError {
        let reason = match &self.source {
            Source::Inline(_) => reason.to_string(),
            Source::File(path) => format!("{}: {reason}", path.display()),
        };
        KeyError::new(format!("tls_server_config.{}", self.key), reason)
    }

    /// `None` for inline text, which cannot change, and for a file that cannot be read.
    pub(super) fn stamp(&self) -> Option<Stamp> {
        match &self.source {
            Source::Inline(_) => None,
            Source::File(path) => Stamp::of(path),
        }
    }
}
