//! TLS to the server: the trusted certificate authorities, and the exporter's own certificate.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
use tokio_rustls::TlsConnector;

#[derive(clap::Args, Clone, Debug, Default)]
pub(crate) struct TlsArgs {
    /// PEM file of the trusted certificate authorities for rediss:// [default: the system's]
    #[arg(long = "tls-ca-cert-file", value_name = "FILE")]
    pub ca: Option<PathBuf>,

    /// PEM file of the exporter's certificate, for servers that request one
    #[arg(long = "tls-client-cert-file", value_name = "FILE", requires = "key")]
    pub certificate: Option<PathBuf>,

    /// PEM file of the key of --tls-client-cert-file
    #[arg(long = "tls-client-key-file", value_name = "FILE", requires = "certificate")]
    pub key: Option<PathBuf>,
}

#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("{flag}={path}: {reason}: a PEM file with {what} is expected", path = path.display())]
    File { flag: &'static str, path: PathBuf, what: &'static str, reason: String },
    #[error("the system has no trusted certificate authorities: install ca-certificates, or give --tls-ca-cert-file")]
    NoAuthorities,
    #[error("TLS: {0}")]
    Config(#[from] rustls::Error),
}

impl TlsArgs {
    pub(crate) fn connector(&self) -> Result<TlsConnector, TlsError> {
        let mut roots = RootCertStore::empty();
        match &self.ca {
            Some(path) => {
                for certificate in certificates("--tls-ca-cert-file", path)? {
                    roots.add(certificate)?;
                }
            }
            None => {
                roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
                if roots.is_empty() {
                    return Err(TlsError::NoAuthorities);
                }
            }
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots);
        let config = match (&self.certificate, &self.key) {
            (Some(certificate), Some(key)) => {
                let chain = certificates("--tls-client-cert-file", certificate)?;
                config.with_client_auth_cert(chain, private_key(key)?)?
            }
            _ => config.with_no_client_auth(),
        };
        Ok(TlsConnector::from(Arc::new(config)))
    }
}

fn certificates(flag: &'static str, path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let failed = |reason: String| TlsError::File { flag, path: path.to_owned(), what: "certificates", reason };
    let found: Vec<_> =
        CertificateDer::pem_file_iter(path).and_then(Iterator::collect).map_err(|error| failed(error.to_string()))?;
    if found.is_empty() { Err(failed("it has none".to_owned())) } else { Ok(found) }
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    PrivateKeyDer::from_pem_file(path).map_err(|error| TlsError::File {
        flag: "--tls-client-key-file",
        path: path.to_owned(),
        what: "a private key",
        reason: error.to_string(),
    })
}
