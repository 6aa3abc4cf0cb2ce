//! What can go wrong between the exporter and a server. Each text says what failed, on which target, and what to do; none holds a secret.

use std::borrow::Cow;
use std::time::Duration;

use mysql_async::{DriverError, IoError};

const GRANTS: &str = "exporters/mysql/README.md";

#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error(
        "{address} refuses user {user:?} ({reason}): check --mysqld.username, the password, from which hosts the user may connect, and whether it \
         must with TLS (REQUIRE)"
    )]
    AccessDenied { address: String, user: String, reason: String },
    #[error(
        "{address} has no connection left ({reason}): raise max_connections, or find out with SHOW PROCESSLIST who holds them"
    )]
    NoConnectionLeft { address: String, reason: String },
    #[error("cannot connect to {address} ({reason}): is the server running there?")]
    Connect { address: String, reason: String },
    #[error(
        "{address} identifies user {user:?} in a way that doesn't work here ({reason}): use caching_sha2_password, mysql_native_password, \
         ed25519 or parsec; cleartext needs enable-cleartext-plugin in --config.my-cnf"
    )]
    Plugin { address: String, user: String, reason: String },
    #[error(
        "no TLS with {address} ({reason}): check tls, ssl-ca, ssl-cert and tls-server-name in --config.my-cnf, and the server's certificate"
    )]
    Tls { address: String, reason: String },
    #[error(
        "cannot begin TLS with {address} ({reason}): check tls-server-name and the files ssl-ca, ssl-cert and ssl-key in --config.my-cnf (PEM, X.509 version 3)"
    )]
    Certificates { address: String, reason: String },
    #[error("{address} did not complete {} within {:.2} s: it hangs, is overloaded or out of reach", short(what), waited.as_secs_f64())]
    NoAnswer { address: String, what: Cow<'static, str>, waited: Duration },
    #[error("no connection to {address} was free for {:.2} s: another statement hangs", waited.as_secs_f64())]
    Busy { address: String, waited: Duration },
    #[error("{address} does not allow {} ({reason}): grant the exporter's user what {GRANTS} lists", short(statement))]
    NotAllowed { address: String, statement: Cow<'static, str>, reason: String },
    #[error("{} on {address}: {reason}", short(statement))]
    Statement { address: String, statement: Cow<'static, str>, code: Option<u16>, reason: String },
    #[error("the answer of {address} to {} is over {limit} bytes; it was not read to its end", short(statement))]
    TooLarge { address: String, statement: Cow<'static, str>, limit: usize },
}

impl Error {
    pub(crate) fn connecting(address: &str, user: &str, error: &mysql_async::Error) -> Self {
        let (address, reason) = (address.to_owned(), reason(error));
        match code(error) {
            // ER_DBACCESS_DENIED_ERROR, ER_ACCESS_DENIED_ERROR, ER_ACCESS_DENIED_NO_PASSWORD_ERROR, ER_ACCOUNT_HAS_BEEN_LOCKED (both flavours'),
            // ER_MUST_CHANGE_PASSWORD_LOGIN
            Some(1044 | 1045 | 1698 | 3118 | 4151 | 1862) => {
                Self::AccessDenied { address, user: user.to_owned(), reason }
            }
            _ if is_without_room(error) => Self::NoConnectionLeft { address, reason },
            // ER_SECURE_TRANSPORT_REQUIRED
            Some(3159) => Self::Tls { address, reason },
            _ => match error {
                mysql_async::Error::Driver(
                    DriverError::UnknownAuthPlugin { .. }
                    | DriverError::CleartextPluginDisabled
                    | DriverError::MysqlOldPasswordDisabled,
                ) => Self::Plugin { address, user: user.to_owned(), reason },
                // It comes of our own files, though rustls may speak of the peer's certificate.
                mysql_async::Error::Io(IoError::Tls(_)) => Self::Certificates { address, reason },
                // Of a unix socket it would be the socket that isn't there.
                mysql_async::Error::Io(IoError::Io(error))
                    if error.kind() == std::io::ErrorKind::NotFound && !address.starts_with("unix://") =>
                {
                    Self::Certificates { address, reason }
                }
                _ if is_tls(error) => Self::Tls { address, reason },
                _ => Self::Connect { address, reason },
            },
        }
    }

    pub(crate) fn statement(address: &str, statement: Cow<'static, str>, error: &mysql_async::Error) -> Self {
        let (address, reason) = (address.to_owned(), reason(error));
        match code(error) {
            // ER_TABLEACCESS_DENIED_ERROR, ER_SPECIFIC_ACCESS_DENIED_ERROR
            Some(1142 | 1227) => Self::NotAllowed { address, statement, reason },
            code => Self::Statement { address, statement, code, reason },
        }
    }

    /// The server has no such table: a plugin or an engine that isn't there, which is no fault.
    pub(crate) fn is_unknown_table(&self) -> bool {
        // ER_UNKNOWN_TABLE, ER_NO_SUCH_TABLE
        matches!(self, Self::Statement { code: Some(1109 | 1146), .. })
    }
}

/// A long statement without its columns: which table it asked says enough.
fn short(statement: &str) -> Cow<'_, str> {
    match statement.split_once(" FROM ") {
        Some((_, table)) if statement.len() > 100 => Cow::Owned(format!("SELECT … FROM {table}")),
        _ => Cow::Borrowed(statement),
    }
}

fn code(error: &mysql_async::Error) -> Option<u16> {
    match error {
        mysql_async::Error::Server(error) => Some(error.code),
        _ => None,
    }
}

/// The server has as many connections, of all users or of this one, as it may.
pub(crate) fn is_without_room(error: &mysql_async::Error) -> bool {
    // ER_CON_COUNT_ERROR, ER_TOO_MANY_USER_CONNECTIONS, ER_USER_LIMIT_REACHED
    matches!(code(error), Some(1040 | 1203 | 1226))
}

fn is_tls(error: &mysql_async::Error) -> bool {
    match error {
        // How the handshake reports a certificate that it rejects.
        mysql_async::Error::Io(IoError::Io(error)) => error.get_ref().is_some_and(|cause| cause.is::<rustls::Error>()),
        mysql_async::Error::Driver(DriverError::NoClientSslFlagFromServer) => true,
        _ => false,
    }
}

/// mysql_async's own texts wrap each other ("Input/output error: Input/output error: …").
fn reason(error: &mysql_async::Error) -> String {
    match error {
        mysql_async::Error::Server(error) => format!("error {}: {}", error.code, error.message),
        mysql_async::Error::Io(IoError::Io(error)) => error.to_string(),
        mysql_async::Error::Io(error) => error.to_string(),
        mysql_async::Error::Driver(error) => error.to_string(),
        error => error.to_string(),
    }
}

/// Wrong configuration: it stops the start, or refuses a probe.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfigError {
    #[error("{address:?} is no address of a server: expected is host:port or unix:///path/to/socket")]
    Address { address: String },
    #[error("cannot read {flag}={path}: {source}", path = path.display())]
    File { flag: &'static str, path: std::path::PathBuf, source: std::io::Error },
    #[error(transparent)]
    Secret(#[from] exporter_toolkit::secret::SecretError),
    #[error("{path}:{line}: {reason}", path = path.display())]
    Syntax { path: std::path::PathBuf, line: usize, reason: &'static str },
    #[error("no section [{section}] in {path} (--config.my-cnf)", path = path.display())]
    NoSection { section: String, path: std::path::PathBuf },
    #[error("no user: set --mysqld.username, or user= in [{section}] of {path} (--config.my-cnf)", path = path.display())]
    NoUser { section: String, path: std::path::PathBuf },
    #[error("{key}= in [{section}] of {path}: {reason}", path = path.display())]
    Value { section: String, key: String, path: std::path::PathBuf, reason: String },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_long_statement_is_shown_without_its_columns() {
        let long = format!("SELECT {} FROM t WHERE a = 1", "column, ".repeat(20));
        for (statement, shown) in [
            ("SHOW GLOBAL STATUS", "SHOW GLOBAL STATUS"),
            ("SELECT a FROM t", "SELECT a FROM t"),
            (&long, "SELECT … FROM t WHERE a = 1"),
        ] {
            assert_eq!(short(statement), shown);
        }
    }
}
