//! Which client certificates the server accepts.

use std::net::IpAddr;
use std::sync::Arc;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, SignatureScheme};
use service_kit::tls::TrustedCertificates;

use super::pem::Pem;
use crate::error::KeyError;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ClientAuth {
    None,
    Request,
    RequireAny,
    VerifyIfGiven,
    RequireAndVerify,
}

impl ClientAuth {
    pub(super) fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "" | "NoClientCert" => Self::None,
            "RequestClientCert" => Self::Request,
            // The second name is an old one, which the Go toolkit still accepts.
            "RequireAnyClientCert" | "RequireClientCert" => Self::RequireAny,
            "VerifyClientCertIfGiven" => Self::VerifyIfGiven,
            "RequireAndVerifyClientCert" => Self::RequireAndVerify,
            _ => return None,
        })
    }

    pub(super) fn verifies(self) -> bool {
        matches!(self, Self::VerifyIfGiven | Self::RequireAndVerify)
    }

    fn requires(self) -> bool {
        matches!(self, Self::RequireAny | Self::RequireAndVerify)
    }
}

/// A subject alternative name that a client's certificate may have. The comparison is literal: `*.example` in a
/// certificate does not match `a.example`.
#[derive(Debug)]
pub(super) enum San {
    Ip(IpAddr),
    Uri(String),
    Dns(String),
}

impl San {
    pub(super) fn parse(name: &str) -> Result<Self, KeyError> {
        let error = |reason| KeyError::new("tls_server_config.client_allowed_sans", format!("{name:?}: {reason}"));
        match name.parse() {
            Ok(address) => Ok(Self::Ip(address)),
            Err(_) if name.contains(':') => Ok(Self::Uri(name.to_owned())),
            Err(_) if name.contains('@') => {
                Err(error("email addresses are not supported; use a DNS name, an IP address or a URI"))
            }
            Err(_) if name.is_empty() => Err(error("expected a DNS name, an IP address or a URI")),
            Err(_) => Ok(Self::Dns(name.to_owned())),
        }
    }

    fn matches(&self, certificate: &webpki::EndEntityCert<'_>) -> bool {
        match self {
            Self::Ip(address) => {
                certificate.verify_is_valid_for_subject_name(&ServerName::IpAddress((*address).into())).is_ok()
            }
            Self::Uri(uri) => certificate.valid_uri_names().any(|name| name == uri),
            Self::Dns(dns) => certificate.valid_dns_names().any(|name| name == dns),
        }
    }
}

#[derive(Debug)]
pub(super) struct ClientVerifier {
    /// `None` accepts certificates of every issuer.
    chain: Option<(Arc<dyn ClientCertVerifier>, TrustedCertificates)>,
    required: bool,
    /// If empty, every name is accepted.
    allowed_sans: Arc<[San]>,
    root_hints: Vec<DistinguishedName>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ClientVerifier {
    /// Reads the file of the certificate authority, if there is one.
    pub(super) fn new(
        auth: ClientAuth,
        authority: Option<&Pem>,
        allowed_sans: Arc<[San]>,
        provider: &Arc<CryptoProvider>,
    ) -> Result<Self, KeyError> {
        let trusted = match authority {
            Some(authority) => {
                let certificates = authority.certificates()?;
                Some(TrustedCertificates::new(certificates).map_err(|error| authority.error(error))?)
            }
            None => None,
        };
        let root_hints = trusted.as_ref().map(|trusted| trusted.roots().subjects()).unwrap_or_default();
        let chain = match (authority, trusted) {
            (Some(authority), Some(trusted)) if auth.verifies() => {
                let roots = Arc::clone(trusted.roots());
                let verifier = WebPkiClientVerifier::builder_with_provider(roots, Arc::clone(provider)).build();
                Some((verifier.map_err(|error| authority.error(error))?, trusted))
            }
            _ => None,
        };
        let algorithms = provider.signature_verification_algorithms;
        Ok(Self { chain, required: auth.requires(), allowed_sans, root_hints, algorithms })
    }
}

impl ClientCertVerifier for ClientVerifier {
    fn client_auth_mandatory(&self) -> bool {
        self.required
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &self.root_hints
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        if let Some((chain, trusted)) = &self.chain
            && let Err(refused) = chain.verify_client_cert(end_entity, intermediates, now)
        {
            trusted.accept_listed(end_entity, refused)?;
        }
        if !self.allowed_sans.is_empty() {
            let certificate = webpki::EndEntityCert::try_from(end_entity)
                .map_err(|_| rustls::Error::InvalidCertificate(CertificateError::BadEncoding))?;
            if !self.allowed_sans.iter().any(|san| san.matches(&certificate)) {
                return Err(rustls::Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure));
            }
        }
        Ok(ClientCertVerified::assertion())
    }

    // The client must prove that it has the certificate's key, whoever issued the certificate.
    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(message, certificate, signature, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, certificate, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
