//! TLS to a server: what is verified, and with which files.

use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};

use exporter_toolkit::tls::{AnyCertificate, TrustedCertificates};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{WebPkiServerVerifier, verify_server_name};
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, SignatureScheme};
use rustls::{SupportedProtocolVersion, version};
use tokio_rustls::TlsConnector;

use super::error::WireError;
use super::packets::Stream;

pub(crate) const ALL_VERSIONS: &[&SupportedProtocolVersion] = &[&version::TLS13, &version::TLS12];

/// Entries in a directory of authorities.
const MAX_FILES: usize = 4096;

/// How to connect with TLS. Its files are read at each login, so that a renewed certificate is used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Tls {
    /// Continue without TLS if the server has none.
    pub(crate) optional: bool,
    pub(crate) verify: Verify,
    /// PEM file with the accepted certificate authorities; the system's are not accepted then.
    pub(crate) ca: Option<PathBuf>,
    /// Directory of such files.
    pub(crate) ca_directory: Option<PathBuf>,
    /// PEM files with the client certificate and its key.
    pub(crate) identity: Option<(PathBuf, PathBuf)>,
    /// Name to verify the server's certificate against, if it isn't the host's.
    pub(crate) server_name: Option<String>,
    pub(crate) versions: &'static [&'static SupportedProtocolVersion],
}

/// What of the server's certificate is verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verify {
    Nothing,
    /// Its issuer and dates.
    Chain,
    /// Its issuer, dates and name.
    Name,
}

impl Tls {
    /// Reads the files, on a thread of its own.
    pub(super) async fn connector(&self) -> Result<Connector, WireError> {
        let tls = self.clone();
        let config = tokio::task::spawn_blocking(move || tls.config()).await;
        let config = config.map_err(|error| WireError::Certificates(error.to_string()))??;
        Ok(Connector { connector: TlsConnector::from(Arc::new(config)), server_name: self.server_name.clone() })
    }

    /// Reads the files. It blocks.
    pub(crate) fn config(&self) -> Result<ClientConfig, WireError> {
        let provider = Arc::new(ring::default_provider());
        let verifier: Arc<dyn ServerCertVerifier> = match self.verify {
            Verify::Nothing => Arc::new(AnyCertificate::new(Arc::clone(&provider))),
            Verify::Chain | Verify::Name => {
                let trusted = self.trusted()?;
                let roots = Arc::clone(trusted.roots());
                let chain = WebPkiServerVerifier::builder_with_provider(roots, Arc::clone(&provider)).build();
                let chain = chain.map_err(|error| WireError::Certificates(error.to_string()))?;
                Arc::new(Verifier { chain, trusted, with_name: self.verify == Verify::Name })
            }
        };
        let own = |error: rustls::Error| WireError::Certificates(error.to_string());
        let config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(self.versions)
            .map_err(own)?
            .dangerous()
            .with_custom_certificate_verifier(verifier);
        match &self.identity {
            None => Ok(config.with_no_client_auth()),
            Some((certificate, key)) => {
                let chain = certificates("ssl-cert", certificate)?;
                let key = PrivateKeyDer::from_pem_file(key).map_err(|error| in_file("ssl-key", key, &error))?;
                config.with_client_auth_cert(chain, key).map_err(own)
            }
        }
    }

    fn trusted(&self) -> Result<TrustedCertificates, WireError> {
        if self.ca.is_none() && self.ca_directory.is_none() {
            return match SYSTEM.is_empty() {
                true => {
                    Err(WireError::Certificates("the system has no certificate authorities: set ssl-ca".to_owned()))
                }
                false => Ok(SYSTEM.clone()),
            };
        }
        let mut all = Vec::new();
        let mut add = |key, path: &Path| {
            let found = certificates(key, path)?;
            TrustedCertificates::new(found.clone()).map_err(|error| in_file(key, path, &error))?;
            all.extend(found);
            Ok::<_, WireError>(())
        };
        if let Some(path) = &self.ca {
            add("ssl-ca", path)?;
        }
        if let Some(directory) = &self.ca_directory {
            let failed = |error| in_file("ssl-capath", directory, &error);
            for (number, file) in std::fs::read_dir(directory).map_err(failed)?.enumerate() {
                let path = file.map_err(failed)?.path();
                if number == MAX_FILES {
                    let many = format!("it has more than {MAX_FILES} entries: use a directory of authorities only");
                    return Err(in_file("ssl-capath", directory, &many));
                }
                // OpenSSL finds only hashed names. Those that lead elsewhere or hold no certificate don't matter there.
                if path.is_file() {
                    let _ = add("ssl-capath", &path);
                }
            }
        }
        Ok(TrustedCertificates::parsable(all))
    }
}

/// The system's authorities, read once: there are some 150.
static SYSTEM: LazyLock<TrustedCertificates> =
    LazyLock::new(|| TrustedCertificates::parsable(rustls_native_certs::load_native_certs().certs));

fn certificates(key: &str, path: &Path) -> Result<Vec<CertificateDer<'static>>, WireError> {
    let found = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let found = found.map_err(|error| in_file(key, path, &error))?;
    match found.as_slice() {
        // Not a PEM file: one certificate in DER.
        [] => Ok(vec![std::fs::read(path).map_err(|error| in_file(key, path, &error))?.into()]),
        _ => Ok(found),
    }
}

fn in_file(key: &str, path: &Path, error: &dyn std::fmt::Display) -> WireError {
    WireError::Certificates(format!("{key}={}: {error}", path.display()))
}

pub(super) struct Connector {
    connector: TlsConnector,
    server_name: Option<String>,
}

impl Connector {
    pub(super) async fn connect(self, host: &str, stream: Box<dyn Stream>) -> Result<Box<dyn Stream>, WireError> {
        let name = self.server_name.unwrap_or_else(|| host.to_owned());
        let name = ServerName::try_from(name).map_err(|error| WireError::Certificates(error.to_string()))?;
        Ok(Box::new(self.connector.connect(name, stream).await.map_err(WireError::Tls)?))
    }
}

#[derive(Debug)]
struct Verifier {
    chain: Arc<WebPkiServerVerifier>,
    trusted: TrustedCertificates,
    with_name: bool,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        match self.chain.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now) {
            // The name is verified last.
            Err(rustls::Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) if !self.with_name => Ok(ServerCertVerified::assertion()),
            // MySQL's clients accept a server's own certificate in ssl-ca, too.
            Err(refused) => {
                self.trusted.accept_listed(end_entity, refused)?;
                if self.with_name {
                    verify_server_name(&ParsedCertificate::try_from(end_entity)?, server_name)?;
                }
                Ok(ServerCertVerified::assertion())
            }
            accepted => accepted,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.chain.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.chain.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.chain.supported_verify_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_of_authorities_that_is_not_read_as_a_whole_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        for number in 0..=MAX_FILES {
            std::fs::write(directory.path().join(number.to_string()), "").unwrap();
        }
        let tls = Tls {
            optional: false,
            verify: Verify::Chain,
            ca: None,
            ca_directory: Some(directory.path().to_owned()),
            identity: None,
            server_name: None,
            versions: ALL_VERSIONS,
        };
        let error = tls.trusted().unwrap_err();
        assert!(
            matches!(&error, WireError::Certificates(text) if text.contains("more than 4096 entries")),
            "{error:?}"
        );
        std::fs::remove_file(directory.path().join("0")).unwrap();
        assert!(tls.trusted().unwrap().is_empty());
    }
}
