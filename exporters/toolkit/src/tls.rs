//! `tls_server_config` of the web configuration: the server's certificate, its clients', and when the files are read again.
//!
//! Renewed certificates count without a reload, as they do in the Go toolkit: a handshake looks, once a second at the most, whether a file
//! is another one than before. A pair that does not fit together, half of it written, is no use yet: the old one stays until it fits.

use std::fmt;
use std::net::IpAddr;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::ring::{ALL_CIPHER_SUITES, default_provider, kx_group};
use rustls::crypto::{CryptoProvider, SupportedKxGroup, WebPkiSupportedAlgorithms};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::version::{TLS12, TLS13};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, RootCertStore, ServerConfig, SignatureScheme,
    SupportedCipherSuite, SupportedProtocolVersion,
};
use serde::Deserialize;
use tracing::{info, warn};

use crate::flags::read_text;
use crate::web_config::Wrong;

const CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// How long a handshake waits for the files: on a hung file system it goes on with the certificate that it has.
const CHECK_PATIENCE: Duration = Duration::from_secs(2);

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct TlsSection {
    cert: Option<String>,
    key: Option<String>,
    client_ca: Option<String>,
    cert_file: Option<String>,
    key_file: Option<String>,
    client_ca_file: Option<String>,
    client_auth_type: Option<String>,
    client_allowed_sans: Option<Vec<String>>,
    min_version: Option<String>,
    max_version: Option<String>,
    cipher_suites: Option<Vec<String>>,
    prefer_server_cipher_suites: Option<bool>,
    curve_preferences: Option<Vec<String>>,
}

/// What the section says, checked; the files are not read yet.
pub(crate) struct TlsSettings {
    certificate: Pem,
    key: Pem,
    client_ca: Option<Pem>,
    client_auth: ClientAuth,
    allowed_sans: Arc<[San]>,
    versions: Vec<&'static SupportedProtocolVersion>,
    provider: Arc<CryptoProvider>,
    prefer_our_ciphers: bool,
}

/// A text in the file itself, or a file, and the key that names it.
struct Pem {
    key: &'static str,
    place: Place,
}

enum Place {
    Inline(String),
    File(PathBuf),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ClientAuth {
    None,
    Request,
    RequireAny,
    VerifyIfGiven,
    RequireAndVerify,
}

impl ClientAuth {
    fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "" | "NoClientCert" => Self::None,
            "RequestClientCert" => Self::Request,
            // The second name is an old one, which the Go toolkit still takes.
            "RequireAnyClientCert" | "RequireClientCert" => Self::RequireAny,
            "VerifyClientCertIfGiven" => Self::VerifyIfGiven,
            "RequireAndVerifyClientCert" => Self::RequireAndVerify,
            _ => return None,
        })
    }

    fn verifies(self) -> bool {
        matches!(self, Self::VerifyIfGiven | Self::RequireAndVerify)
    }

    fn requires(self) -> bool {
        matches!(self, Self::RequireAny | Self::RequireAndVerify)
    }
}

/// A name that a client's certificate may have. Compared as it is written: `*.example` in a certificate is not `a.example` here.
#[derive(Debug)]
enum San {
    Ip(IpAddr),
    Uri(String),
    Dns(String),
}

impl San {
    fn parse(name: &str) -> Result<Self, Wrong> {
        let wrong = |reason: &str| Wrong::new("tls_server_config.client_allowed_sans", format!("{name:?}: {reason}"));
        match name.parse() {
            Ok(address) => Ok(Self::Ip(address)),
            Err(_) if name.contains(':') => Ok(Self::Uri(name.to_owned())),
            Err(_) if name.contains('@') => {
                Err(wrong("e-mail addresses are not supported; DNS names, IP addresses and URIs are"))
            }
            Err(_) if name.is_empty() => Err(wrong("a DNS name, an IP address or a URI is expected")),
            Err(_) => Ok(Self::Dns(name.to_owned())),
        }
    }

    fn is_of(&self, certificate: &webpki::EndEntityCert<'_>) -> bool {
        match self {
            Self::Ip(address) => {
                certificate.verify_is_valid_for_subject_name(&ServerName::IpAddress((*address).into())).is_ok()
            }
            Self::Uri(uri) => certificate.valid_uri_names().any(|name| name == uri),
            Self::Dns(dns) => certificate.valid_dns_names().any(|name| name == dns),
        }
    }
}

impl TlsSection {
    /// `None` where the section is empty, as all its keys may be commented out.
    pub(crate) fn settings(self, directory: &Path) -> Result<Option<TlsSettings>, Wrong> {
        let Self {
            cert,
            key,
            client_ca,
            cert_file,
            key_file,
            client_ca_file,
            client_auth_type,
            client_allowed_sans,
            min_version,
            max_version,
            cipher_suites,
            prefer_server_cipher_suites,
            curve_preferences,
        } = self;
        let pem = |inline_key, inline: Option<String>, file_key, file: Option<String>| {
            let inline =
                inline.filter(|text| !text.is_empty()).map(|text| Pem { key: inline_key, place: Place::Inline(text) });
            let file = file.filter(|path| !path.is_empty()).map(|path| directory.join(path));
            let file = file.map(|path| Pem { key: file_key, place: Place::File(path) });
            match (inline, file) {
                (Some(_), Some(_)) => Err(Wrong::new(
                    format!("tls_server_config.{inline_key}"),
                    format!("{file_key} is given, too; one of them is expected"),
                )),
                (inline, file) => Ok(inline.or(file)),
            }
        };
        let certificate = pem("cert", cert, "cert_file", cert_file)?;
        let key = pem("key", key, "key_file", key_file)?;
        let client_ca = pem("client_ca", client_ca, "client_ca_file", client_ca_file)?;
        let anything_else = client_ca.is_some()
            || client_auth_type.is_some()
            || client_allowed_sans.is_some()
            || min_version.is_some()
            || max_version.is_some()
            || cipher_suites.is_some()
            || prefer_server_cipher_suites.is_some()
            || curve_preferences.is_some();
        let (certificate, key) = match (certificate, key) {
            (Some(certificate), Some(key)) => (certificate, key),
            (None, None) if !anything_else => return Ok(None),
            // Plain HTTP, as in Go's toolkit, is not what the author of a minimum version wants.
            (None, _) => return Err(Wrong::new("tls_server_config", "cert_file or cert is missing")),
            (_, None) => return Err(Wrong::new("tls_server_config", "key_file or key is missing")),
        };

        let wrong = |key: &str, reason: String| Wrong::new(format!("tls_server_config.{key}"), reason);
        let client_auth = client_auth_type.unwrap_or_default();
        let client_auth = ClientAuth::parse(&client_auth).ok_or_else(|| {
            wrong(
                "client_auth_type",
                format!(
                    "{client_auth:?} is not known; NoClientCert, RequestClientCert, RequireAnyClientCert, VerifyClientCertIfGiven and \
                     RequireAndVerifyClientCert are"
                ),
            )
        })?;
        match &client_ca {
            Some(authority) if client_auth == ClientAuth::None => {
                return Err(wrong(
                    authority.key,
                    "no client is asked for a certificate; client_auth_type: RequireAndVerifyClientCert does"
                        .to_owned(),
                ));
            }
            // Go would take the system's authorities: everybody who has a certificate of the web.
            None if client_auth.verifies() => {
                return Err(wrong("client_auth_type", "client_ca_file or client_ca is missing".to_owned()));
            }
            _ => {}
        }
        let allowed_sans = client_allowed_sans.unwrap_or_default();
        if !allowed_sans.is_empty() && client_auth == ClientAuth::None {
            return Err(wrong(
                "client_allowed_sans",
                "no client is asked for a certificate; client_auth_type: RequireAndVerifyClientCert does".to_owned(),
            ));
        }
        Ok(Some(TlsSettings {
            certificate,
            key,
            client_ca,
            client_auth,
            allowed_sans: allowed_sans.iter().map(|name| San::parse(name)).collect::<Result<_, _>>()?,
            versions: versions(min_version.as_deref(), max_version.as_deref())?,
            provider: Arc::new(CryptoProvider {
                cipher_suites: ciphers(&cipher_suites.unwrap_or_default())?,
                kx_groups: curves(&curve_preferences.unwrap_or_default())?,
                ..default_provider()
            }),
            prefer_our_ciphers: prefer_server_cipher_suites.unwrap_or(true),
        }))
    }
}

fn versions(min: Option<&str>, max: Option<&str>) -> Result<Vec<&'static SupportedProtocolVersion>, Wrong> {
    let parse = |key: &str, name: Option<&str>, default| match name.unwrap_or_default() {
        "" => Ok(default),
        "TLS12" => Ok(12),
        "TLS13" => Ok(13),
        old @ ("TLS10" | "TLS11") => Err(Wrong::new(
            format!("tls_server_config.{key}"),
            format!("{old} is broken and not spoken here; TLS12 and TLS13 are"),
        )),
        _ => Err(Wrong::new(format!("tls_server_config.{key}"), "TLS12 or TLS13 is expected")),
    };
    let (min, max) = (parse("min_version", min, 12)?, parse("max_version", max, 13)?);
    if min > max {
        return Err(Wrong::new("tls_server_config.min_version", "it is above max_version"));
    }
    Ok([(12, &TLS12), (13, &TLS13)]
        .into_iter()
        .filter(|(n, _)| (min..=max).contains(n))
        .map(|(_, version)| version)
        .collect())
}

/// The ciphers of that list, in its order; those of TLS 1.3, which Go's list is not about, are all there unless it names some.
fn ciphers(names: &[String]) -> Result<Vec<SupportedCipherSuite>, Wrong> {
    if names.is_empty() {
        return Ok(ALL_CIPHER_SUITES.to_vec());
    }
    // TLS13_AES_128_GCM_SHA256 is TLS_AES_128_GCM_SHA256 everywhere else.
    let name_of = |suite: &SupportedCipherSuite| suite.suite().as_str().unwrap_or_default().replace("TLS13_", "TLS_");
    let mut suites = Vec::new();
    for name in names {
        let suite = ALL_CIPHER_SUITES.iter().find(|suite| name_of(suite) == *name).ok_or_else(|| {
            let known: Vec<_> = ALL_CIPHER_SUITES.iter().map(name_of).collect();
            Wrong::new(
                "tls_server_config.cipher_suites",
                format!("{name:?} is not supported; {} are", known.join(", ")),
            )
        })?;
        suites.push(*suite);
    }
    if !suites.iter().any(|suite| suite.tls13().is_some()) {
        suites.extend(ALL_CIPHER_SUITES.iter().filter(|suite| suite.tls13().is_some()));
    }
    Ok(suites)
}

fn curves(names: &[String]) -> Result<Vec<&'static dyn SupportedKxGroup>, Wrong> {
    const CURVES: [(&str, &dyn SupportedKxGroup); 3] =
        [("X25519", kx_group::X25519), ("CurveP256", kx_group::SECP256R1), ("CurveP384", kx_group::SECP384R1)];
    if names.is_empty() {
        return Ok(CURVES.map(|(_, group)| group).to_vec());
    }
    let curve = |name: &String| {
        let curve = CURVES.iter().find(|(known, _)| known == name).map(|(_, group)| *group);
        curve.ok_or_else(|| {
            Wrong::new(
                "tls_server_config.curve_preferences",
                format!("{name:?} is not supported; {} are", CURVES.map(|(known, _)| known).join(", ")),
            )
        })
    };
    names.iter().map(curve).collect()
}

impl Pem {
    fn read(&self) -> Result<String, Wrong> {
        match &self.place {
            Place::Inline(text) => Ok(text.clone()),
            Place::File(path) => read_text(path).map_err(|error| self.wrong(error)),
        }
    }

    fn certificates(&self) -> Result<Vec<CertificateDer<'static>>, Wrong> {
        let certificates = CertificateDer::pem_slice_iter(self.read()?.as_bytes()).collect::<Result<Vec<_>, _>>();
        let certificates = certificates.map_err(|error| self.wrong(error))?;
        if certificates.is_empty() { Err(self.wrong("there is no PEM certificate in it")) } else { Ok(certificates) }
    }

    fn wrong(&self, reason: impl fmt::Display) -> Wrong {
        let reason = match &self.place {
            Place::Inline(_) => reason.to_string(),
            Place::File(path) => format!("{}: {reason}", path.display()),
        };
        Wrong::new(format!("tls_server_config.{}", self.key), reason)
    }

    fn stamp(&self) -> Option<Stamp> {
        match &self.place {
            Place::Inline(_) => None,
            Place::File(path) => {
                // Follows links: Kubernetes renews by turning one.
                let file = std::fs::metadata(path).ok()?;
                Some((file.dev(), file.ino(), file.size(), file.mtime(), file.mtime_nsec()))
            }
        }
    }
}

/// By what a file is known to be the same: device, inode, size, time of the last change in seconds and nanoseconds.
type Stamp = (u64, u64, u64, i64, i64);

impl TlsSettings {
    /// Reads the files.
    fn config(&self) -> Result<ServerConfig, Wrong> {
        let certificates = self.certificate.certificates()?;
        let key = PrivateKeyDer::from_pem_slice(self.key.read()?.as_bytes())
            .map_err(|_| self.key.wrong("there is no PEM private key in it"))?;
        let builder = ServerConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_protocol_versions(&self.versions)
            .map_err(|error| Wrong::new("tls_server_config", error.to_string()))?;
        let builder = match self.client_auth {
            ClientAuth::None => builder.with_no_client_auth(),
            _ => builder.with_client_cert_verifier(Arc::new(self.clients()?)),
        };
        // It compares the two, so that a key of another certificate does not fail each handshake.
        let mut config = builder.with_single_cert(certificates, key).map_err(|error| self.certificate.wrong(error))?;
        config.ignore_client_order = self.prefer_our_ciphers;
        Ok(config)
    }

    fn clients(&self) -> Result<Clients, Wrong> {
        let mut roots = RootCertStore::empty();
        if let Some(authority) = &self.client_ca {
            for certificate in authority.certificates()? {
                roots.add(certificate).map_err(|error| authority.wrong(error))?;
            }
        }
        let hints = roots.subjects();
        let chain = match &self.client_ca {
            Some(authority) if self.client_auth.verifies() => {
                let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&self.provider));
                Some(verifier.build().map_err(|error| authority.wrong(error))?)
            }
            _ => None,
        };
        Ok(Clients {
            chain,
            required: self.client_auth.requires(),
            allowed_sans: Arc::clone(&self.allowed_sans),
            hints,
            algorithms: self.provider.signature_verification_algorithms,
        })
    }

    fn stamps(&self) -> Vec<Option<Stamp>> {
        [Some(&self.certificate), Some(&self.key), self.client_ca.as_ref()].map(|pem| pem.and_then(Pem::stamp)).to_vec()
    }
}

/// Which clients' certificates are taken.
#[derive(Debug)]
struct Clients {
    /// `None`: whoever issued it.
    chain: Option<Arc<dyn ClientCertVerifier>>,
    required: bool,
    /// Empty: any name.
    allowed_sans: Arc<[San]>,
    hints: Vec<DistinguishedName>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ClientCertVerifier for Clients {
    fn client_auth_mandatory(&self) -> bool {
        self.required
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &self.hints
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        if let Some(chain) = &self.chain {
            chain.verify_client_cert(end_entity, intermediates, now)?;
        }
        if !self.allowed_sans.is_empty() {
            let certificate = webpki::EndEntityCert::try_from(end_entity)
                .map_err(|_| rustls::Error::InvalidCertificate(CertificateError::BadEncoding))?;
            if !self.allowed_sans.iter().any(|san| san.is_of(&certificate)) {
                return Err(rustls::Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure));
            }
        }
        Ok(ClientCertVerified::assertion())
    }

    // That the client has the certificate's key is checked whoever issued it.
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

/// TLS as it is in force, with the files that were read last.
pub(crate) struct Tls {
    settings: TlsSettings,
    read: Mutex<Read>,
    /// One look at the files at a time: those on a hung file system hold one thread and not all.
    looking: Arc<tokio::sync::Mutex<()>>,
}

struct Read {
    config: Arc<ServerConfig>,
    stamps: Vec<Option<Stamp>>,
    looked: Instant,
    /// Why the files that are there now are not used; logged when it changes.
    complaint: Option<String>,
}

impl Tls {
    /// Reads the files. It blocks.
    pub(crate) fn load(settings: TlsSettings) -> Result<Self, Wrong> {
        // Before they are read: what changes meanwhile is read again.
        let stamps = settings.stamps();
        let config = Arc::new(settings.config()?);
        let read = Mutex::new(Read { config, stamps, looked: Instant::now(), complaint: None });
        Ok(Self { settings, read, looking: Arc::default() })
    }

    /// For the handshake that begins now.
    pub(crate) async fn config(self: &Arc<Self>) -> Arc<ServerConfig> {
        if self.read().looked.elapsed() >= CHECK_INTERVAL
            && let Ok(turn) = Arc::clone(&self.looking).try_lock_owned()
        {
            let this = Arc::clone(self);
            let look = tokio::task::spawn_blocking(move || {
                this.look();
                drop(turn);
            });
            // An error is a fault in there, and what was read before still serves.
            let _ = tokio::time::timeout(CHECK_PATIENCE, look).await;
        }
        Arc::clone(&self.read().config)
    }

    fn look(&self) {
        let stamps = self.settings.stamps();
        let changed = {
            let mut read = self.read();
            read.looked = Instant::now();
            read.stamps != stamps
        };
        if !changed {
            return;
        }
        let result = self.settings.config();
        let mut read = self.read();
        match result {
            Ok(config) => {
                info!("certificate files have changed, the new ones are in use");
                *read = Read { config: Arc::new(config), stamps, looked: read.looked, complaint: None };
            }
            Err(error) => {
                let complaint = error.to_string();
                if read.complaint.as_ref() != Some(&complaint) {
                    warn!(error = %complaint, "certificate files have changed, but are not usable; those before stay in use");
                    read.complaint = Some(complaint);
                }
            }
        }
    }

    fn read(&self) -> MutexGuard<'_, Read> {
        self.read.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, SanType};
    use rustls::ClientConfig;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};
    use tokio_rustls::{TlsAcceptor, TlsConnector};

    use super::*;

    struct Authority(CertifiedIssuer<'static, KeyPair>);

    /// PEM of a certificate and of its key.
    type Pair = (String, String);

    impl Authority {
        fn new() -> Self {
            let mut params = CertificateParams::new(Vec::new()).unwrap();
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
        }

        fn issue(&self, names: &[&str]) -> Pair {
            let mut params =
                CertificateParams::new(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>()).unwrap();
            params.subject_alt_names.push(SanType::URI("spiffe://example/scraper".try_into().unwrap()));
            let key = KeyPair::generate().unwrap();
            (params.signed_by(&key, &self.0).unwrap().pem(), key.serialize_pem())
        }

        /// A client that trusts us, with a certificate or without one.
        fn client(&self, identity: Option<&Pair>, versions: &[&'static SupportedProtocolVersion]) -> ClientConfig {
            let mut roots = RootCertStore::empty();
            roots.add(self.0.der().clone()).unwrap();
            let builder = ClientConfig::builder_with_provider(Arc::new(default_provider()));
            let builder = builder.with_protocol_versions(versions).unwrap().with_root_certificates(roots);
            match identity {
                None => builder.with_no_client_auth(),
                Some((certificate, key)) => {
                    let certificate = CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap();
                    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
                    builder.with_client_auth_cert(vec![certificate], key).unwrap()
                }
            }
        }
    }

    fn section(server: &Pair) -> TlsSection {
        TlsSection { cert: Some(server.0.clone()), key: Some(server.1.clone()), ..TlsSection::default() }
    }

    fn tls(section: TlsSection) -> Arc<Tls> {
        Arc::new(Tls::load(section.settings(Path::new("")).unwrap().unwrap()).unwrap())
    }

    /// The certificate that the server showed, where both sides were content.
    async fn shown(tls: &Arc<Tls>, client: ClientConfig) -> Option<CertificateDer<'static>> {
        let (ours, theirs) = duplex(1 << 16);
        let acceptor = TlsAcceptor::from(tls.config().await);
        let server = async {
            let mut stream = acceptor.accept(ours).await.ok()?;
            stream.write_all(b"x").await.ok()?;
            stream.shutdown().await.ok()
        };
        let client = async {
            let name = ServerName::try_from("localhost").unwrap();
            let mut stream = TlsConnector::from(Arc::new(client)).connect(name, theirs).await.ok()?;
            // In TLS 1.3 a client learns with the first answer that its certificate was refused.
            stream.read_u8().await.ok()?;
            Some(stream.get_ref().1.peer_certificates()?.first()?.clone().into_owned())
        };
        let (server, client) = futures::future::join(server, client).await;
        server.and(client)
    }

    #[tokio::test]
    async fn client_certificates_are_asked_for_and_checked_as_each_type_says() {
        let (authority, stranger) = (Authority::new(), Authority::new());
        let server = authority.issue(&["localhost"]);
        let (good, bad) = (authority.issue(&["client"]), stranger.issue(&["client"]));
        // Whether it takes a client without a certificate, with a good one, with a stranger's.
        for (name, none, any) in [
            ("NoClientCert", true, true),
            ("RequestClientCert", true, true),
            ("RequireAnyClientCert", false, true),
            ("VerifyClientCertIfGiven", true, false),
            ("RequireAndVerifyClientCert", false, false),
        ] {
            let mut section = section(&server);
            section.client_auth_type = Some(name.to_owned());
            if name.contains("Verify") {
                section.client_ca = Some(authority.0.pem());
            }
            let tls = tls(section);
            for version in [&TLS12, &TLS13] {
                for (identity, taken) in [(None, none), (Some(&good), true), (Some(&bad), any)] {
                    let taken_now = shown(&tls, authority.client(identity, &[version])).await.is_some();
                    assert_eq!(taken_now, taken, "{name}, {version:?}, with a certificate: {}", identity.is_some());
                }
            }
        }
    }

    #[tokio::test]
    async fn only_clients_with_an_allowed_name_are_let_in() {
        let authority = Authority::new();
        let server = authority.issue(&["localhost"]);
        let client = authority.issue(&["scraper.example", "10.1.2.3"]);
        for (allowed, taken) in [
            (&["scraper.example"][..], true),
            (&["other", "scraper.example"], true),
            (&["10.1.2.3"], true),
            (&["spiffe://example/scraper"], true),
            (&["other"], false),
            (&["10.1.2.4"], false),
            (&["example"], false),
            (&["spiffe://example/other"], false),
        ] {
            let mut section = section(&server);
            section.client_auth_type = Some("RequireAndVerifyClientCert".to_owned());
            section.client_ca = Some(authority.0.pem());
            section.client_allowed_sans = Some(allowed.iter().map(|name| (*name).to_owned()).collect());
            let shown = shown(&tls(section), authority.client(Some(&client), &[&TLS12, &TLS13])).await;
            assert_eq!(shown.is_some(), taken, "{allowed:?}");
        }
    }

    #[tokio::test]
    async fn versions_ciphers_and_curves_are_those_of_the_file() {
        let authority = Authority::new();
        let server = authority.issue(&["localhost"]);
        let takes = async |section: TlsSection, client: ClientConfig| shown(&tls(section), client).await.is_some();
        let client = |versions: &[&'static SupportedProtocolVersion]| authority.client(None, versions);
        let min = || TlsSection { min_version: Some("TLS13".to_owned()), ..section(&server) };
        assert!(takes(min(), client(&[&TLS13])).await && !takes(min(), client(&[&TLS12])).await);
        let max = || TlsSection { max_version: Some("TLS12".to_owned()), ..section(&server) };
        assert!(takes(max(), client(&[&TLS12])).await && !takes(max(), client(&[&TLS13])).await);

        let limited = |provider: CryptoProvider, version| {
            let mut roots = RootCertStore::empty();
            roots.add(authority.0.der().clone()).unwrap();
            let builder = ClientConfig::builder_with_provider(Arc::new(provider)).with_protocol_versions(&[version]);
            builder.unwrap().with_root_certificates(roots).with_no_client_auth()
        };
        let aes = "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256";
        for (cipher, taken) in [(aes, true), ("TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256", false)] {
            let only = CryptoProvider { cipher_suites: ciphers(&[cipher.to_owned()]).unwrap(), ..default_provider() };
            let section = TlsSection { cipher_suites: Some(vec![aes.to_owned()]), ..section(&server) };
            assert_eq!(takes(section, limited(only, &TLS12)).await, taken, "{cipher}");
        }
        for (curve, taken) in [("CurveP384", true), ("X25519", false)] {
            let only = CryptoProvider { kx_groups: curves(&[curve.to_owned()]).unwrap(), ..default_provider() };
            let section = TlsSection { curve_preferences: Some(vec!["CurveP384".to_owned()]), ..section(&server) };
            assert_eq!(takes(section, limited(only, &TLS13)).await, taken, "{curve}");
        }
    }

    #[test]
    fn ciphers_come_in_the_order_of_the_list_and_those_of_tls_1_3_stay() {
        let names = ["TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384"];
        let suites = ciphers(&names.map(str::to_owned)).unwrap();
        let named: Vec<_> = suites.iter().map(|suite| suite.suite().as_str().unwrap()).collect();
        assert_eq!(named[..2], names);
        assert!(named[2..].iter().all(|name| name.starts_with("TLS13_")) && named.len() == 5, "{named:?}");
        assert_eq!(ciphers(&["TLS_AES_128_GCM_SHA256".to_owned()]).unwrap().len(), 1);
    }

    #[tokio::test]
    async fn a_renewed_certificate_is_shown_without_a_reload_once_it_fits_its_key() {
        let authority = Authority::new();
        let directory = std::env::temp_dir().join(format!("tls-renewal-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let write = |name: &str, text: &str| std::fs::write(directory.join(name), text).unwrap();
        let (first, second) = (authority.issue(&["localhost"]), authority.issue(&["localhost"]));
        write("cert", &first.0);
        write("key", &first.1);
        let files = TlsSection {
            cert_file: Some("cert".to_owned()),
            key_file: Some("key".to_owned()),
            ..TlsSection::default()
        };
        let tls = Arc::new(Tls::load(files.settings(&directory).unwrap().unwrap()).unwrap());
        // As if a second had gone by.
        let later = || tls.read().looked = Instant::now().checked_sub(CHECK_INTERVAL).unwrap();
        let shown_now = async || shown(&tls, authority.client(None, &[&TLS13])).await.unwrap();
        let der = |pair: &Pair| CertificateDer::from_pem_slice(pair.0.as_bytes()).unwrap();

        assert_eq!(shown_now().await, der(&first));
        write("cert", &second.0);
        assert_eq!(shown_now().await, der(&first), "no look within a second");
        later();
        assert_eq!(shown_now().await, der(&first), "half of a pair is of no use");
        assert!(tls.read().complaint.as_ref().unwrap().starts_with("tls_server_config.cert_file: "));
        write("key", &second.1);
        later();
        assert_eq!(shown_now().await, der(&second));
        assert!(tls.read().complaint.is_none());
        std::fs::remove_file(directory.join("cert")).unwrap();
        later();
        assert_eq!(shown_now().await, der(&second), "without its file the certificate stays");
        std::fs::remove_dir_all(&directory).unwrap();
    }
}
