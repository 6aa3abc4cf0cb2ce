//! The account of a server, and connections with it.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use mysql_async::{Conn, OptsBuilder, SslOpts};
use mysql_kit::error_code;
use service_kit::{
    address::Address,
    secret::{Secret, SecretError},
};

use crate::error::RunError;

/// For the TCP or socket connection and the login; the queries are under the run's deadline.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// How to connect with TLS. Both the driver and the dump client can do this much. The driver reads the file on each
/// connect, so that a renewed one is used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tls {
    /// PEM file with the accepted certificate authorities; the system's are not accepted then.
    pub ca: Option<PathBuf>,
    /// Do not verify the server's certificate.
    pub skip_verify: bool,
}

impl From<Tls> for SslOpts {
    fn from(tls: Tls) -> Self {
        Self::default()
            .with_disable_built_in_roots(tls.ca.is_some())
            .with_root_certs(tls.ca.into_iter().map(Into::into).collect())
            .with_danger_accept_invalid_certs(tls.skip_verify)
    }
}

/// Where to connect, and as whom. The password is read for each connection's run.
#[derive(Debug, Clone)]
pub struct Account {
    pub address: Address,
    pub user: String,
    /// Absent: an empty password.
    pub password_file: Option<PathBuf>,
    pub tls: Option<Tls>,
}

impl Account {
    /// Reads the password. Blocks.
    pub(crate) fn login(&self) -> Result<Login, SecretError> {
        let read = |path: &PathBuf| Secret::read("--mysql.password-file", Path::new(path));
        let password = self.password_file.as_ref().map(read).transpose()?;
        Ok(Login { address: self.address.clone(), user: self.user.clone(), password, tls: self.tls.clone() })
    }
}

/// The address and the account of the login.
#[derive(Clone)]
pub(crate) struct Login {
    pub(crate) address: Address,
    pub(crate) user: String,
    /// `None`: an empty password.
    pub(crate) password: Option<Secret>,
    /// `None`: without TLS.
    pub(crate) tls: Option<Tls>,
}

impl Login {
    /// Connects with these settings of the session. No packet may be larger than `max_packet`.
    pub(crate) async fn connect(&self, max_packet: usize, setup: Vec<String>) -> Result<Conn, RunError> {
        let password = self.password.as_ref().map(Secret::expose);
        let options: OptsBuilder = mysql_kit::options(&self.address, &self.user, password, max_packet)
            .ssl_opts(self.tls.clone().map(Into::into))
            .setup(setup);
        match tokio::time::timeout(CONNECT_TIMEOUT, mysql_kit::connect(&self.address, options)).await {
            Ok(Ok(connection)) => Ok(connection),
            Ok(Err(error)) => Err(self.error(&error)),
            Err(_) => Err(RunError::ServerUnreachable {
                address: self.address.to_string(),
                message: format!("no connection within {} s", CONNECT_TIMEOUT.as_secs()),
            }),
        }
    }

    pub(crate) fn error(&self, error: &mysql_async::Error) -> RunError {
        let (address, message) = (self.address.to_string(), error_code::describe_login(error));
        let code = error_code::of(error);
        let is_denied = |code| error_code::is_login_rejected(code) || error_code::is_privilege_missing(code);
        if code.is_some_and(is_denied) {
            RunError::AccessDenied { address, user: self.user.clone(), message }
        } else if code == Some(error_code::SECURE_TRANSPORT_REQUIRED) {
            let advice = "it requires TLS: set --mysql.tls-ca, or connect to its Unix socket";
            RunError::ServerUnreachable { address, message: format!("{message}: {advice}") }
        } else {
            RunError::ServerUnreachable { address, message }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_configured_ca_replaces_the_systems() {
        let options = SslOpts::from(Tls { ca: Some("ca.pem".into()), skip_verify: false });
        assert!(options.disable_built_in_roots() && !options.accept_invalid_certs());
        let options = SslOpts::from(Tls { ca: None, skip_verify: true });
        assert!(!options.disable_built_in_roots() && options.accept_invalid_certs());
    }
}
