//! TLS to the server: the Go redis_exporter's flags.

use std::sync::Arc;

use exporter_toolkit::tls::{ClientTls, FlagNames, TlsArgs, TlsError, TlsFlags};
use rustls::pki_types::ServerName;
use tokio_rustls::TlsConnector;

#[derive(Clone, Debug)]
pub(crate) struct RedisTls;

impl TlsFlags for RedisTls {
    const NAMES: &'static FlagNames = &FlagNames {
        ca: "tls-ca-cert-file",
        certificate: "tls-client-cert-file",
        key: "tls-client-key-file",
        server_name: "tls-server-name",
        skip_verify: "skip-tls-verification",
        for_what: "rediss:// servers",
    };
}

pub(crate) type RedisTlsArgs = TlsArgs<RedisTls>;

/// What a connection with TLS needs.
#[derive(Clone)]
pub(crate) struct Connector {
    pub(crate) tls: TlsConnector,
    /// Instead of the host's.
    pub(crate) server_name: Option<ServerName<'static>>,
}

impl Connector {
    /// Reads the files.
    pub(crate) fn new(tls: &ClientTls) -> Result<Self, TlsError> {
        let config = Arc::new(tls.config()?);
        Ok(Self { tls: TlsConnector::from(config), server_name: tls.server_name().cloned() })
    }
}
