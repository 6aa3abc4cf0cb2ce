//! `PROGRAM healthcheck`: whether the program that runs with the same flags and variables answers. For containers,
//! which have no shell and no curl.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::{Arg, ArgMatches, Command};
use rustls::pki_types::ServerName;
use rustls::{AlertDescription, ClientConfig};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::listen::ListenAddress;
use crate::resolve;
use crate::tls::AnyCertificate;

pub const SUBCOMMAND: &str = "healthcheck";

/// For the whole check. Docker's own default is 30 s, but a program that needs seconds for this path is not healthy.
const TIMEOUT: Duration = Duration::from_secs(2);

/// More than the head of an answer. The body doesn't matter.
const MAX_HEAD_BYTES: usize = 4096;

#[derive(Debug, thiserror::Error)]
pub enum HealthcheckError {
    #[error("cannot connect: {0}")]
    Connect(io::Error),
    #[error("no answer: {0}")]
    Read(io::Error),
    #[error("the connection was closed without an answer")]
    Closed,
    #[error("the answer is not HTTP")]
    NotHttp,
    #[error("status {0}")]
    Status(u16),
    #[error("no answer within {} s", TIMEOUT.as_secs())]
    Timeout,
}

/// Adds the subcommand to a program's command. It takes some of the program's own flags and their variables.
pub fn with_subcommand(command: Command, about: String, takes: impl Fn(&Arg) -> bool) -> Command {
    let args: Vec<_> = command.get_arguments().filter(|arg| takes(arg)).cloned().collect();
    command
        .subcommand(Command::new(SUBCOMMAND).about(about).args(args))
        .args_conflicts_with_subcommands(true)
        .subcommand_negates_reqs(true)
        .disable_help_subcommand(true)
}

/// The same for a program that serves HTTP. `listen_address` is the ID of its argument for the [`ListenAddress`].
pub fn with_http_subcommand(command: Command, listen_address: &str, path: &str) -> Command {
    let about = format!("Check that the running program answers GET {path} on its listen address: exit status 0 or 1");
    with_subcommand(command, about, |arg| arg.get_id() == listen_address)
}

/// Runs the check of [`with_http_subcommand`] if the command line has the subcommand.
pub fn run_http_if_requested(matches: &ArgMatches, listen_address: &str, path: &str) -> Option<ExitCode> {
    let address = matches.subcommand_matches(SUBCOMMAND)?.get_one::<ListenAddress>(listen_address)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let result = match runtime {
        Ok(runtime) => runtime.block_on(check(address, path)),
        Err(error) => Err(HealthcheckError::Connect(error)),
    };
    let target = format!("{address}{path}");
    Some(conclude(result.map(|answer| format!("{target}: {answer}")).map_err(|error| format!("{target}: {error}"))))
}

/// Prints the result in one line on standard error, and makes it an exit status.
#[expect(clippy::print_stderr, reason = "`docker inspect` shows this line as the result of the check")]
pub fn conclude(result: Result<String, String>) -> ExitCode {
    match result {
        Ok(reason) => {
            eprintln!("healthy: {reason}");
            ExitCode::SUCCESS
        }
        Err(reason) => {
            eprintln!("unhealthy: {reason}");
            ExitCode::FAILURE
        }
    }
}

/// What shows that the program is healthy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    Ok,
    /// The TLS handshake got as far as it can without a certificate of a user.
    CertificateRequired,
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ok => "status 200",
            Self::CertificateRequired => "it answers, but requires a client certificate",
        })
    }
}

/// GETs the path with HTTP, or with HTTPS if the listener requires TLS.
pub async fn check(address: &ListenAddress, path: &str) -> Result<Answer, HealthcheckError> {
    let check = async {
        let addresses = addresses(address).await?;
        match get(connect(&addresses).await?, address, path).await {
            // 400 is how our server and Go's answer HTTP on the port of HTTPS.
            Err(HealthcheckError::Closed | HealthcheckError::NotHttp | HealthcheckError::Status(400)) => {
                get_with_tls(&addresses, address, path).await
            }
            answer => answer,
        }
    };
    tokio::time::timeout(TIMEOUT, check).await.unwrap_or(Err(HealthcheckError::Timeout))
}

/// Where to connect to reach a listener on this machine.
async fn addresses(address: &ListenAddress) -> Result<Vec<SocketAddr>, HealthcheckError> {
    let loopback = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];
    let ips = match address.host() {
        None => loopback.to_vec(),
        Some(host) => match host.parse::<IpAddr>() {
            Ok(ip) if ip.is_unspecified() => loopback.to_vec(),
            _ => resolve::addresses(host).await.map_err(HealthcheckError::Connect)?,
        },
    };
    Ok(resolve::with_port(ips, address.port()))
}

async fn connect(addresses: &[SocketAddr]) -> Result<TcpStream, HealthcheckError> {
    TcpStream::connect(addresses).await.map_err(HealthcheckError::Connect)
}

async fn get(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    address: &ListenAddress,
    path: &str,
) -> Result<Answer, HealthcheckError> {
    let host = address.host().unwrap_or("localhost");
    let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    // A write may fail because the other side has answered already, and closed.
    let written = stream.write_all(request.as_bytes()).await;
    let mut head = Vec::new();
    let mut chunk = [0; 512];
    while head.len() < MAX_HEAD_BYTES && !head.contains(&b'\n') {
        match stream.read(&mut chunk).await {
            Ok(0) => break,
            Ok(read) => head.extend_from_slice(&chunk[..read]),
            Err(error) if certificate_required(&error) => return Ok(Answer::CertificateRequired),
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => break,
            Err(error) => return Err(HealthcheckError::Read(error)),
        }
    }
    if head.is_empty() {
        return Err(written.map_or_else(HealthcheckError::Read, |()| HealthcheckError::Closed));
    }
    match status(&head).ok_or(HealthcheckError::NotHttp)? {
        200 => Ok(Answer::Ok),
        status => Err(HealthcheckError::Status(status)),
    }
}

/// The status of `HTTP/1.1 200 OK`.
fn status(head: &[u8]) -> Option<u16> {
    let line = std::str::from_utf8(head.split(|byte| *byte == b'\r').next()?).ok()?;
    line.strip_prefix("HTTP/1.")?.split(' ').nth(1)?.parse().ok()
}

async fn get_with_tls(
    addresses: &[SocketAddr],
    address: &ListenAddress,
    path: &str,
) -> Result<Answer, HealthcheckError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| HealthcheckError::Connect(io::Error::other(error)))?
        .dangerous()
        // Nothing secret is sent, and the other side is this machine.
        .with_custom_certificate_verifier(Arc::new(AnyCertificate::new(provider)))
        .with_no_client_auth();
    let stream = connect(addresses).await?;
    // The certificate is for the name that clients use, which is not this address.
    let name = ServerName::from(Ipv4Addr::LOCALHOST);
    match TlsConnector::from(Arc::new(config)).connect(name, stream).await {
        Ok(stream) => get(stream, address, path).await,
        Err(error) if certificate_required(&error) => Ok(Answer::CertificateRequired),
        Err(error) => Err(HealthcheckError::Read(error)),
    }
}

fn certificate_required(error: &io::Error) -> bool {
    let error = error.get_ref().and_then(|error| error.downcast_ref::<rustls::Error>());
    matches!(error, Some(rustls::Error::AlertReceived(AlertDescription::CertificateRequired)))
}

#[cfg(test)]
mod tests {
    use rustls::ServerConfig;
    use rustls::server::WebPkiClientVerifier;
    use rustls::{RootCertStore, SupportedProtocolVersion, version};
    use tokio::net::TcpListener;
    use tokio_rustls::TlsAcceptor;

    use super::*;

    const PATH: &str = "/-/healthy";

    async fn listener() -> (TcpListener, ListenAddress) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        (listener, format!("0.0.0.0:{port}").parse().unwrap())
    }

    async fn answer(mut stream: impl AsyncRead + AsyncWrite + Unpin, answer: &str) {
        let mut request = [0; 512];
        let read = stream.read(&mut request).await.unwrap_or(0);
        if request[..read].starts_with(b"GET /-/healthy HTTP/1.1\r\n") {
            stream.write_all(answer.as_bytes()).await.unwrap();
            let _ = stream.shutdown().await;
        }
    }

    async fn check_against(reply: &'static str) -> Result<Answer, HealthcheckError> {
        let (listener, address) = listener().await;
        tokio::spawn(async move {
            loop {
                answer(listener.accept().await.unwrap().0, reply).await;
            }
        });
        check(&address, PATH).await
    }

    #[tokio::test]
    async fn the_status_decides() {
        assert_eq!(check_against("HTTP/1.1 200 OK\r\n\r\nHealthy.").await.unwrap(), Answer::Ok);
        assert!(matches!(
            check_against("HTTP/1.1 503 Service Unavailable\r\n\r\n").await,
            Err(HealthcheckError::Status(503))
        ));
        assert!(check_against("220 mail.example ESMTP\r\n").await.is_err());
    }

    #[tokio::test]
    async fn a_port_where_nothing_listens_is_unhealthy() {
        let (listener, address) = listener().await;
        drop(listener);
        assert!(matches!(check(&address, PATH).await, Err(HealthcheckError::Connect(_))));
    }

    #[tokio::test(start_paused = true)]
    async fn a_program_that_hangs_is_unhealthy_after_the_timeout() {
        // Bound and never accepted: the kernel takes the connection.
        let (_listener, address) = listener().await;
        assert!(matches!(check(&address, PATH).await, Err(HealthcheckError::Timeout)));
    }

    async fn check_against_tls(version: &'static SupportedProtocolVersion, client_certificate: bool) -> Answer {
        let key = rcgen::generate_simple_self_signed(["api.example".to_owned()]).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder =
            ServerConfig::builder_with_provider(Arc::clone(&provider)).with_protocol_versions(&[version]).unwrap();
        let builder = if client_certificate {
            let mut roots = RootCertStore::empty();
            roots.add(key.cert.der().clone()).unwrap();
            builder.with_client_cert_verifier(
                WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build().unwrap(),
            )
        } else {
            builder.with_no_client_auth()
        };
        let private_key = key.signing_key.serialize_der().try_into().unwrap();
        let config = builder.with_single_cert(vec![key.cert.der().clone()], private_key).unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let (listener, address) = listener().await;
        tokio::spawn(async move {
            loop {
                if let Ok(stream) = acceptor.accept(listener.accept().await.unwrap().0).await {
                    answer(stream, "HTTP/1.1 200 OK\r\n\r\n").await;
                }
            }
        });
        check(&address, PATH).await.unwrap()
    }

    #[tokio::test]
    async fn a_listener_with_tls_is_checked_with_tls() {
        for version in [&version::TLS12, &version::TLS13] {
            assert_eq!(check_against_tls(version, false).await, Answer::Ok);
            assert_eq!(check_against_tls(version, true).await, Answer::CertificateRequired);
        }
    }

    #[test]
    fn the_subcommand_takes_the_programs_own_flag() {
        let address = Arg::new("listen_address")
            .long("web.listen-address")
            .default_value(":9104")
            .value_parser(clap::value_parser!(ListenAddress));
        let command = Command::new("program").args([address, Arg::new("needed").long("needed").required(true)]);
        let command = with_http_subcommand(command, "listen_address", PATH);
        let address = |args: &[&str]| {
            let matches = command.clone().try_get_matches_from([&["program"], args].concat()).unwrap();
            matches.subcommand_matches(SUBCOMMAND)?.get_one::<ListenAddress>("listen_address").map(ToString::to_string)
        };
        assert_eq!(address(&["healthcheck"]).as_deref(), Some(":9104"));
        assert_eq!(address(&["healthcheck", "--web.listen-address=:1"]).as_deref(), Some(":1"));
        assert_eq!(address(&["--needed=1"]), None);
    }
}
