//! Handshakes between the server's TLS and clients of each kind, in memory.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, SanType};
use rustls::crypto::CryptoProvider;
use rustls::crypto::ring::default_provider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::renewal::CHECK_INTERVAL;
use super::settings::{ciphers, curves};
use super::{Tls, TlsSection};

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

    /// A client that trusts this authority, with a certificate or without one.
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

/// The certificate that the server presented, if the handshake succeeded on both sides.
async fn presented(tls: &Arc<Tls>, client: ClientConfig) -> Option<CertificateDer<'static>> {
    let (ours, theirs) = duplex(1 << 16);
    let acceptor = TlsAcceptor::from(tls.server_config().await);
    let server = async {
        let mut stream = acceptor.accept(ours).await.ok()?;
        stream.write_all(b"x").await.ok()?;
        stream.shutdown().await.ok()
    };
    let client = async {
        let name = ServerName::try_from("localhost").unwrap();
        let mut stream = TlsConnector::from(Arc::new(client)).connect(name, theirs).await.ok()?;
        // In TLS 1.3 a client gets the refusal of its certificate with the first response.
        stream.read_u8().await.ok()?;
        Some(stream.get_ref().1.peer_certificates()?.first()?.clone().into_owned())
    };
    let (server, client) = futures::future::join(server, client).await;
    server.and(client)
}

#[tokio::test]
async fn each_client_auth_type_requests_and_verifies_certificates() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let server = authority.issue(&["localhost"]);
    let (good, bad) = (authority.issue(&["client"]), stranger.issue(&["client"]));
    // Whether a client is accepted: without a certificate; with a certificate of another authority.
    for (name, without, other) in [
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
            for (identity, taken) in [(None, without), (Some(&good), true), (Some(&bad), other)] {
                let taken_now = presented(&tls, authority.client(identity, &[version])).await.is_some();
                assert_eq!(taken_now, taken, "{name}, {version:?}, with a certificate: {}", identity.is_some());
            }
        }
    }
}

/// As `openssl req -x509` makes it: an authority by its own words.
fn self_signed(name: &str) -> Pair {
    let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    (params.self_signed(&key).unwrap().pem(), key.serialize_pem())
}

#[tokio::test]
async fn a_self_signed_client_certificate_is_accepted_if_it_is_the_configured_one() {
    let authority = Authority::new();
    let server = authority.issue(&["localhost"]);
    let (listed, stranger) = (self_signed("scraper"), self_signed("scraper"));
    for version in [&TLS12, &TLS13] {
        for (client, name, taken) in
            [(&listed, "scraper", true), (&stranger, "scraper", false), (&listed, "other", false)]
        {
            let mut section = section(&server);
            section.client_auth_type = Some("RequireAndVerifyClientCert".to_owned());
            section.client_ca = Some(listed.0.clone());
            section.client_allowed_sans = Some(vec![name.to_owned()]);
            let presented = presented(&tls(section), authority.client(Some(client), &[version])).await;
            assert_eq!(presented.is_some(), taken, "{version:?} {name}");
        }
    }
}

#[tokio::test]
async fn only_clients_with_an_allowed_name_are_accepted() {
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
        let presented = presented(&tls(section), authority.client(Some(&client), &[&TLS12, &TLS13])).await;
        assert_eq!(presented.is_some(), taken, "{allowed:?}");
    }
}

#[tokio::test]
async fn versions_ciphers_and_curves_follow_the_settings() {
    let authority = Authority::new();
    let server = authority.issue(&["localhost"]);
    let takes = async |section: TlsSection, client: ClientConfig| presented(&tls(section), client).await.is_some();
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

#[tokio::test]
async fn a_renewed_certificate_is_used_without_a_reload_once_it_matches_its_key() {
    let authority = Authority::new();
    let directory = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(directory.path().join(name), text).unwrap();
    let (first, second) = (authority.issue(&["localhost"]), authority.issue(&["localhost"]));
    write("cert", &first.0);
    write("key", &first.1);
    let files =
        TlsSection { cert_file: Some("cert".to_owned()), key_file: Some("key".to_owned()), ..TlsSection::default() };
    let tls = Arc::new(Tls::load(files.settings(directory.path()).unwrap().unwrap()).unwrap());
    // As if a second had passed.
    let later = || tls.loaded().checked = Instant::now().checked_sub(CHECK_INTERVAL).unwrap();
    let presented_now = async || presented(&tls, authority.client(None, &[&TLS13])).await.unwrap();
    let der = |pair: &Pair| CertificateDer::from_pem_slice(pair.0.as_bytes()).unwrap();

    assert_eq!(presented_now().await, der(&first));
    write("cert", &second.0);
    assert_eq!(presented_now().await, der(&first), "no check within a second");
    later();
    assert_eq!(presented_now().await, der(&first), "the certificate does not match the key yet");
    assert!(tls.loaded().error.as_ref().unwrap().starts_with("tls_server_config.cert_file: "));
    write("key", &second.1);
    later();
    assert_eq!(presented_now().await, der(&second));
    assert!(tls.loaded().error.is_none());
    std::fs::remove_file(directory.path().join("cert")).unwrap();
    later();
    assert_eq!(presented_now().await, der(&second), "a missing file keeps the certificate");
}
