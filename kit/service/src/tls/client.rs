//! A TLS client: its files, and the configuration that they make.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::ClientConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};

use super::names::FlagNames;
use super::verify::{AnyCertificate, ServerVerifier, TrustedCertificates};
use crate::file::{Stamp, read_text};

#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("--{flag}={}: {reason}: expected a PEM file with {what}", path.display())]
    File { flag: &'static str, path: PathBuf, what: &'static str, reason: String },
    #[error("the system has no trusted certificate authorities; install ca-certificates, or set --{flag}")]
    NoAuthorities { flag: &'static str },
    #[error("--{flag}={}: the key does not belong to the certificate: {source}", path.display())]
    Identity { flag: &'static str, path: PathBuf, source: rustls::Error },
    #[error("TLS: {0}")]
    Config(#[from] rustls::Error),
}

/// How a client connects with TLS. The files are read when [`ClientTls::config`] is called.
#[derive(Clone)]
pub struct ClientTls {
    pub(super) names: &'static FlagNames,
    /// PEM file of the trusted certificates. Without it, the system's authorities are trusted.
    pub(super) ca: Option<PathBuf>,
    /// PEM files of the client's certificate and its key.
    pub(super) identity: Option<(PathBuf, PathBuf)>,
    pub(super) server_name: Option<ServerName<'static>>,
    pub(super) skip_verify: bool,
}

impl fmt::Debug for ClientTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { names: _, ca, identity, server_name, skip_verify } = self;
        f.debug_struct("ClientTls")
            .field("ca", ca)
            .field("identity", identity)
            .field("server_name", server_name)
            .field("skip_verify", skip_verify)
            .finish()
    }
}

impl ClientTls {
    /// Without flags: the system's authorities are trusted, and the client has no certificate.
    pub fn system() -> Self {
        Self { names: FlagNames::NONE, ca: None, identity: None, server_name: None, skip_verify: false }
    }

    /// The name to verify the server's certificate against, if it isn't the host's.
    pub fn server_name(&self) -> Option<&ServerName<'static>> {
        self.server_name.as_ref()
    }

    /// Reads the files. This call blocks.
    pub fn config(&self) -> Result<ClientConfig, TlsError> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()?
            .dangerous();
        let builder = if self.skip_verify {
            builder.with_custom_certificate_verifier(Arc::new(AnyCertificate::new(provider)))
        } else {
            let verifier = ServerVerifier::new(self.trusted()?, self.server_name.clone(), provider)?;
            builder.with_custom_certificate_verifier(Arc::new(verifier))
        };
        match &self.identity {
            None => Ok(builder.with_no_client_auth()),
            Some((certificate, key)) => {
                let flag = self.names.certificate;
                let chain = certificates(flag, certificate)?;
                let key = private_key(self.names.key, key)?;
                let identity = builder.with_client_auth_cert(chain, key);
                identity.map_err(|source| TlsError::Identity { flag, path: certificate.clone(), source })
            }
        }
    }

    /// Changes when one of the files does.
    pub fn stamps(&self) -> Vec<Option<Stamp>> {
        let identity = self.identity.iter().flat_map(|(certificate, key)| [certificate, key]);
        self.ca.iter().chain(identity).map(|path| Stamp::of(path)).collect()
    }

    fn trusted(&self) -> Result<TrustedCertificates, TlsError> {
        match &self.ca {
            Some(path) => {
                let invalid = |error: rustls::Error| file_error(self.names.ca, path, "certificates", error.to_string());
                TrustedCertificates::new(certificates(self.names.ca, path)?).map_err(invalid)
            }
            None => {
                let trusted = TrustedCertificates::parsable(rustls_native_certs::load_native_certs().certs);
                if trusted.is_empty() { Err(TlsError::NoAuthorities { flag: self.names.ca }) } else { Ok(trusted) }
            }
        }
    }
}

fn file_error(flag: &'static str, path: &Path, what: &'static str, reason: String) -> TlsError {
    TlsError::File { flag, path: path.to_owned(), what, reason }
}

fn certificates(flag: &'static str, path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let failed = |reason: String| file_error(flag, path, "certificates", reason);
    let text = read_text(path).map_err(|error| failed(error.to_string()))?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text.as_bytes()).collect();
    let found = found.map_err(|error| failed(error.to_string()))?;
    if found.is_empty() { Err(failed("it has none".to_owned())) } else { Ok(found) }
}

fn private_key(flag: &'static str, path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    let failed = |reason: String| file_error(flag, path, "a private key", reason);
    let text = read_text(path).map_err(|error| failed(error.to_string()))?;
    PrivateKeyDer::from_pem_slice(text.as_bytes()).map_err(|error| failed(error.to_string()))
}
