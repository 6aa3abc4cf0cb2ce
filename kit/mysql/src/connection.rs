//! Connections that every program makes in the same way.

use std::path::PathBuf;

use mysql_async::{ClientIdentity, Conn, OptsBuilder, SslOpts};
use service_kit::address::Address;
use service_kit::resolve;

/// Options for one server and account. No packet of the server may be larger than `max_packet` bytes.
pub fn options(address: &Address, user: &str, password: Option<&str>, max_packet: usize) -> OptsBuilder {
    let options = OptsBuilder::default()
        .user(Some(user))
        .pass(password)
        // The driver queries the server for these two on each connect unless they are given.
        .max_allowed_packet(Some(max_packet))
        .wait_timeout(Some(28_800))
        // The driver would query the server for its socket and connect a second time through it.
        .prefer_socket(false);
    match address {
        Address::Tcp { host, port } => options.ip_or_hostname(host).tcp_port(*port),
        Address::Unix(path) => options.socket(Some(path.to_string_lossy())),
    }
}

/// Connects with these options. The host is resolved here: the driver's lookup would hold a thread beyond any deadline.
pub async fn connect(address: &Address, options: OptsBuilder) -> mysql_async::Result<Conn> {
    let ips = match address {
        Address::Tcp { host, .. } => Some(resolve::addresses(host).await?),
        Address::Unix(_) => None,
    };
    Conn::new(options.resolved_ips(ips)).await
}

/// How to connect with TLS. The driver reads the files on each connect, so that a renewed certificate is used.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tls {
    /// PEM file with the accepted certificate authorities; the system's are not accepted then.
    pub ca: Option<PathBuf>,
    /// PEM files with the client certificate and its key.
    pub identity: Option<(PathBuf, PathBuf)>,
    /// Name to verify the server's certificate against, where it isn't the host's.
    pub server_name: Option<String>,
    /// Do not verify the server's certificate.
    pub skip_verify: bool,
}

impl From<Tls> for SslOpts {
    fn from(tls: Tls) -> Self {
        let identity = tls.identity.map(|(certificate, key)| ClientIdentity::new(certificate.into(), key.into()));
        Self::default()
            .with_disable_built_in_roots(tls.ca.is_some())
            .with_root_certs(tls.ca.into_iter().map(Into::into).collect())
            .with_client_identity(identity)
            .with_danger_tls_hostname_override(tls.server_name)
            .with_danger_accept_invalid_certs(tls.skip_verify)
    }
}

#[cfg(test)]
mod tests {
    use mysql_async::Opts;

    use super::*;

    #[test]
    fn the_driver_queries_no_settings_on_connect() {
        let address = Address::parse("db", 3306).unwrap();
        let options = Opts::from(options(&address, "exporter", Some("secret"), 1 << 20));
        assert_eq!((options.ip_or_hostname(), options.tcp_port()), ("db", 3306));
        assert_eq!((options.user(), options.pass()), (Some("exporter"), Some("secret")));
        assert_eq!((options.max_allowed_packet(), options.wait_timeout()), (Some(1 << 20), Some(28_800)));
        assert!(!options.prefer_socket());
    }

    #[test]
    fn a_configured_ca_replaces_the_systems() {
        let options = SslOpts::from(Tls { ca: Some("ca.pem".into()), ..Tls::default() });
        assert!(options.disable_built_in_roots() && !options.accept_invalid_certs());
        assert!(!SslOpts::from(Tls::default()).disable_built_in_roots());
    }
}
