//! Handshakes of a client with servers of each kind, in memory. The certificates are those of `openssl req -x509`: an
//! authority by its own words, with the server's name.

use std::path::PathBuf;
use std::sync::Arc;

use clap::Parser as _;
use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair, date_time_ymd};
use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tempfile::TempDir;
use tokio::io::duplex;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::*;

const NAMES: &FlagNames = &FlagNames {
    ca: "ca",
    certificate: "cert",
    key: "key",
    server_name: "name",
    skip_verify: "no-verify",
    for_what: "servers",
};

struct Test;

impl TlsFlags for Test {
    const NAMES: &'static FlagNames = NAMES;
}

#[derive(clap::Parser)]
struct Cli {
    #[command(flatten)]
    tls: TlsArgs<Test>,
}

fn tls(flags: &[&str]) -> ClientTls {
    Cli::parse_from([&["test"], flags].concat()).tls.tls
}

struct Certificate {
    pem: String,
    der: CertificateDer<'static>,
    key: KeyPair,
}

/// As `openssl req -x509 -subj /CN=db.test -addext subjectAltName=DNS:db.test`.
fn self_signed(change: impl FnOnce(&mut CertificateParams)) -> Certificate {
    let mut params = CertificateParams::new(vec!["db.test".to_owned()]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    change(&mut params);
    let key = KeyPair::generate().unwrap();
    let certificate = params.self_signed(&key).unwrap();
    Certificate { pem: certificate.pem(), der: certificate.der().clone(), key }
}

struct Files(TempDir);

impl Files {
    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    }
}

fn files() -> Files {
    Files(tempfile::tempdir().unwrap())
}

async fn handshake(tls: &ClientTls, server: &Certificate, host: &str) -> Result<(), String> {
    let config = tls.config().map_err(|error| error.to_string())?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let key = PrivateKeyDer::try_from(server.key.serialize_der()).unwrap();
    let server = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![server.der.clone()], key)
        .unwrap();
    let (ours, theirs) = duplex(1 << 16);
    let acceptor = TlsAcceptor::from(Arc::new(server));
    let connector = TlsConnector::from(Arc::new(config));
    let name = ServerName::try_from(host.to_owned()).unwrap();
    let (_, client) = tokio::join!(acceptor.accept(theirs), connector.connect(name, ours));
    client.map(drop).map_err(|error| error.to_string())
}

#[tokio::test]
async fn a_listed_certificate_is_accepted_whatever_it_calls_itself() {
    let files = files();
    for is_ca in [IsCa::Ca(BasicConstraints::Unconstrained), IsCa::ExplicitNoCa, IsCa::NoCa] {
        let server = self_signed(|params| params.is_ca = is_ca);
        let ca = files.write("ca.pem", &server.pem);
        let tls = tls(&["--ca", ca.to_str().unwrap()]);
        assert_eq!(handshake(&tls, &server, "db.test").await, Ok(()), "{is_ca:?}");
    }
}

#[tokio::test]
async fn only_the_listed_certificate_with_its_name_and_time_is_accepted() {
    let files = files();
    let server = self_signed(|_| {});
    let ca = files.write("ca.pem", &server.pem);
    let trusted = tls(&["--ca", ca.to_str().unwrap()]);
    let refused = async |server: &Certificate, host: &str| handshake(&trusted, server, host).await.unwrap_err();
    // Another one of the same name is not it.
    let other = refused(&self_signed(|_| {}), "db.test").await;
    assert!(other.contains("CaUsedAsEndEntity"), "{other}");
    let name = refused(&server, "other.test").await;
    assert!(name.contains("not valid for name"), "{name}");
    for (from, to, reason) in [(2001, 2002, "expired"), (2101, 2102, "not valid yet")] {
        let server = self_signed(|params| {
            params.not_before = date_time_ymd(from, 1, 1);
            params.not_after = date_time_ymd(to, 1, 1);
        });
        let ca = files.write("ca.pem", &server.pem);
        let error = handshake(&tls(&["--ca", ca.to_str().unwrap()]), &server, "db.test").await.unwrap_err();
        assert!(error.contains(reason), "{error}");
    }
}

#[tokio::test]
async fn the_server_name_replaces_the_hosts_and_skip_verify_all_checks() {
    let files = files();
    let server = self_signed(|_| {});
    let ca = files.write("ca.pem", &server.pem);
    let ca = ca.to_str().unwrap();
    assert_eq!(handshake(&tls(&["--ca", ca, "--name=db.test"]), &server, "192.0.2.1").await, Ok(()));
    assert!(handshake(&tls(&["--ca", ca, "--name=other.test"]), &server, "db.test").await.is_err());
    assert_eq!(handshake(&tls(&["--no-verify"]), &server, "anything").await, Ok(()));
}

#[test]
fn a_wrong_file_is_an_error_that_names_its_flag() {
    let files = files();
    let (one, other) = (self_signed(|_| {}), self_signed(|_| {}));
    let certificate = files.write("cert.pem", &one.pem);
    let certificate = certificate.to_str().unwrap();
    let key = files.write("key.pem", &one.key.serialize_pem());
    let other = files.write("other.pem", &other.key.serialize_pem());
    let error = |flags: &[&str]| tls(flags).config().err().map(|error| error.to_string()).unwrap_or_default();
    assert!(error(&["--ca=/nonexistent"]).starts_with("--ca=/nonexistent: "));
    assert!(error(&["--ca", key.to_str().unwrap()]).contains("it has none: expected a PEM file with certificates"));
    let ca = ["--ca", certificate, "--cert", certificate, "--key"];
    assert!(error(&[&ca[..], &[certificate]].concat()).starts_with("--key="));
    assert!(error(&[&ca[..], &[other.to_str().unwrap()]].concat()).contains("does not belong"));
    assert_eq!(error(&[&ca[..], &[key.to_str().unwrap()]].concat()), "");
    assert!(Cli::try_parse_from(["test", "--cert=c"]).is_err(), "without a key");
    assert!(Cli::try_parse_from(["test", "--name=no name"]).is_err());
}

#[test]
fn a_renewed_file_has_another_stamp() {
    let files = files();
    let ca = files.write("ca.pem", "old");
    let tls = tls(&["--ca", ca.to_str().unwrap()]);
    let before = tls.stamps();
    files.write("ca.pem", "renewed");
    assert_ne!(tls.stamps(), before);
    assert_eq!(tls.stamps().len(), 1);
}
