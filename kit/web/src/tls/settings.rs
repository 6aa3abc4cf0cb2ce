//! The keys of `tls_server_config`, checked.

use std::path::Path;
use std::sync::Arc;

use rustls::crypto::ring::{ALL_CIPHER_SUITES, default_provider, kx_group};
use rustls::crypto::{CryptoProvider, SupportedKxGroup};
use rustls::version::{TLS12, TLS13};
use rustls::{ServerConfig, SupportedCipherSuite, SupportedProtocolVersion};
use serde::Deserialize;
use service_kit::file::Stamp;

use super::clients::{ClientAuth, ClientVerifier, San};
use super::pem::Pem;
use crate::error::KeyError;

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct TlsSection {
    pub(super) cert: Option<String>,
    pub(super) key: Option<String>,
    pub(super) client_ca: Option<String>,
    pub(super) cert_file: Option<String>,
    pub(super) key_file: Option<String>,
    pub(super) client_ca_file: Option<String>,
    pub(super) client_auth_type: Option<String>,
    pub(super) client_allowed_sans: Option<Vec<String>>,
    pub(super) min_version: Option<String>,
    pub(super) max_version: Option<String>,
    pub(super) cipher_suites: Option<Vec<String>>,
    pub(super) prefer_server_cipher_suites: Option<bool>,
    pub(super) curve_preferences: Option<Vec<String>>,
}

/// Valid settings. The files are not read yet.
pub(crate) struct TlsSettings {
    certificate: Pem,
    key: Pem,
    client_ca: Option<Pem>,
    client_auth: ClientAuth,
    allowed_sans: Arc<[San]>,
    versions: Vec<&'static SupportedProtocolVersion>,
    provider: Arc<CryptoProvider>,
    prefer_server_ciphers: bool,
}

fn key_error(key: &str, reason: impl Into<String>) -> KeyError {
    KeyError::new(format!("tls_server_config.{key}"), reason)
}

impl TlsSection {
    /// `None` if the section has no values: all of its keys may be commented out.
    pub(crate) fn settings(self, directory: &Path) -> Result<Option<TlsSettings>, KeyError> {
        let certificate = Pem::either(("cert", self.cert), ("cert_file", self.cert_file), directory)?;
        let key = Pem::either(("key", self.key), ("key_file", self.key_file), directory)?;
        let client_ca = Pem::either(("client_ca", self.client_ca), ("client_ca_file", self.client_ca_file), directory)?;
        let other_keys = client_ca.is_some()
            || self.client_auth_type.is_some()
            || self.client_allowed_sans.is_some()
            || self.min_version.is_some()
            || self.max_version.is_some()
            || self.cipher_suites.is_some()
            || self.prefer_server_cipher_suites.is_some()
            || self.curve_preferences.is_some();
        let (certificate, key) = match (certificate, key) {
            (Some(certificate), Some(key)) => (certificate, key),
            (None, None) if !other_keys => return Ok(None),
            // The Go toolkit serves plain HTTP here, which is not what the author of a minimum version intends.
            (None, _) => return Err(KeyError::new("tls_server_config", "cert_file or cert is missing")),
            (_, None) => return Err(KeyError::new("tls_server_config", "key_file or key is missing")),
        };
        let allowed_sans = self.client_allowed_sans.unwrap_or_default();
        let client_auth = client_auth(self.client_auth_type.as_deref(), client_ca.as_ref(), &allowed_sans)?;
        Ok(Some(TlsSettings {
            certificate,
            key,
            client_ca,
            client_auth,
            allowed_sans: allowed_sans.iter().map(|name| San::parse(name)).collect::<Result<_, _>>()?,
            versions: versions(self.min_version.as_deref(), self.max_version.as_deref())?,
            provider: Arc::new(CryptoProvider {
                cipher_suites: ciphers(&self.cipher_suites.unwrap_or_default())?,
                kx_groups: curves(&self.curve_preferences.unwrap_or_default())?,
                ..default_provider()
            }),
            prefer_server_ciphers: self.prefer_server_cipher_suites.unwrap_or(true),
        }))
    }
}

/// The type of client authentication, if the other keys about clients fit it.
fn client_auth(name: Option<&str>, client_ca: Option<&Pem>, allowed_sans: &[String]) -> Result<ClientAuth, KeyError> {
    let name = name.unwrap_or_default();
    let client_auth = ClientAuth::parse(name).ok_or_else(|| {
        key_error(
            "client_auth_type",
            format!(
                "{name:?} is not a valid type; use NoClientCert, RequestClientCert, RequireAnyClientCert, \
                 VerifyClientCertIfGiven or RequireAndVerifyClientCert"
            ),
        )
    })?;
    // The Go toolkit would use the system's certificate authorities and so accept any certificate of the public web.
    if client_auth.verifies() && client_ca.is_none() {
        return Err(key_error("client_auth_type", "client_ca_file or client_ca is missing"));
    }
    if client_auth == ClientAuth::None {
        let unused = client_ca.map(Pem::key).or((!allowed_sans.is_empty()).then_some("client_allowed_sans"));
        if let Some(key) = unused {
            return Err(key_error(key, "has no effect; set client_auth_type to RequireAndVerifyClientCert"));
        }
    }
    Ok(client_auth)
}

fn versions(min: Option<&str>, max: Option<&str>) -> Result<Vec<&'static SupportedProtocolVersion>, KeyError> {
    let parse = |key: &str, name: Option<&str>, default| match name.unwrap_or_default() {
        "" => Ok(default),
        "TLS12" => Ok(12),
        "TLS13" => Ok(13),
        old @ ("TLS10" | "TLS11") => {
            Err(key_error(key, format!("{old} is insecure and not supported; use TLS12 or TLS13")))
        }
        _ => Err(key_error(key, "expected TLS12 or TLS13")),
    };
    let (min, max) = (parse("min_version", min, 12)?, parse("max_version", max, 13)?);
    if min > max {
        return Err(key_error("min_version", "higher than max_version"));
    }
    Ok([(12, &TLS12), (13, &TLS13)]
        .into_iter()
        .filter(|(n, _)| (min..=max).contains(n))
        .map(|(_, version)| version)
        .collect())
}

/// The named ciphers in their order. If none of them is of TLS 1.3, all ciphers of TLS 1.3 are added: the Go toolkit's
/// list does not apply to them.
pub(super) fn ciphers(names: &[String]) -> Result<Vec<SupportedCipherSuite>, KeyError> {
    if names.is_empty() {
        return Ok(ALL_CIPHER_SUITES.to_vec());
    }
    // TLS13_AES_128_GCM_SHA256 is TLS_AES_128_GCM_SHA256 everywhere else.
    let name_of = |suite: &SupportedCipherSuite| suite.suite().as_str().unwrap_or_default().replace("TLS13_", "TLS_");
    let mut suites = Vec::new();
    for name in names {
        let suite = ALL_CIPHER_SUITES.iter().find(|suite| name_of(suite) == *name).ok_or_else(|| {
            let known: Vec<_> = ALL_CIPHER_SUITES.iter().map(name_of).collect();
            key_error("cipher_suites", format!("{name:?} is not supported; supported are {}", known.join(", ")))
        })?;
        suites.push(*suite);
    }
    if !suites.iter().any(|suite| suite.tls13().is_some()) {
        suites.extend(ALL_CIPHER_SUITES.iter().filter(|suite| suite.tls13().is_some()));
    }
    Ok(suites)
}

pub(super) fn curves(names: &[String]) -> Result<Vec<&'static dyn SupportedKxGroup>, KeyError> {
    const CURVES: [(&str, &dyn SupportedKxGroup); 3] =
        [("X25519", kx_group::X25519), ("CurveP256", kx_group::SECP256R1), ("CurveP384", kx_group::SECP384R1)];
    if names.is_empty() {
        return Ok(CURVES.map(|(_, group)| group).to_vec());
    }
    let curve = |name: &String| {
        let curve = CURVES.iter().find(|(known, _)| known == name).map(|(_, group)| *group);
        curve.ok_or_else(|| {
            let known = CURVES.map(|(known, _)| known).join(", ");
            key_error("curve_preferences", format!("{name:?} is not supported; supported are {known}"))
        })
    };
    names.iter().map(curve).collect()
}

impl TlsSettings {
    /// Reads the files.
    pub(super) fn server_config(&self) -> Result<ServerConfig, KeyError> {
        let certificates = self.certificate.certificates()?;
        let key = self.key.private_key()?;
        let builder = ServerConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_protocol_versions(&self.versions)
            .map_err(|error| KeyError::new("tls_server_config", error.to_string()))?;
        let builder = match self.client_auth {
            ClientAuth::None => builder.with_no_client_auth(),
            auth => builder.with_client_cert_verifier(Arc::new(ClientVerifier::new(
                auth,
                self.client_ca.as_ref(),
                Arc::clone(&self.allowed_sans),
                &self.provider,
            )?)),
        };
        // This call compares the two: a key of another certificate is an error here, not in each handshake.
        let mut config = builder.with_single_cert(certificates, key).map_err(|error| self.certificate.error(error))?;
        config.ignore_client_order = self.prefer_server_ciphers;
        Ok(config)
    }

    pub(super) fn stamps(&self) -> Vec<Option<Stamp>> {
        [Some(&self.certificate), Some(&self.key), self.client_ca.as_ref()].map(|pem| pem.and_then(Pem::stamp)).to_vec()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ciphers_keep_the_order_of_the_list_and_tls_1_3_ciphers_are_added() {
        let names = ["TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384"];
        let suites = ciphers(&names.map(str::to_owned)).unwrap();
        let named: Vec<_> = suites.iter().map(|suite| suite.suite().as_str().unwrap()).collect();
        assert_eq!(named[..2], names);
        assert!(named[2..].iter().all(|name| name.starts_with("TLS13_")) && named.len() == 5, "{named:?}");
        assert_eq!(ciphers(&["TLS_AES_128_GCM_SHA256".to_owned()]).unwrap().len(), 1);
    }
}
