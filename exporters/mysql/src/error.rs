//! Errors of the exporter. Each text says what failed, on which target, and what to do. None contains a secret, or the
//! server's message about a statement, which can quote a row.

use exporter_toolkit::memory::Exhausted;
use std::borrow::Cow;
use std::time::Duration;

use mysql_kit::error_code;

use crate::wire::WireError;

const GRANTS: &str = "exporters/mysql/README.md";

#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("no account for {address}: set --mysqld.username, or user= in [client] of --config.my-cnf; /probe works")]
    NoAccount { address: String },
    #[error(
        "{address} refuses user {user:?} ({reason}): check --mysqld.username, the password, the hosts that the account \
         allows, and whether it requires TLS (REQUIRE)"
    )]
    LoginRejected { address: String, user: String, reason: String },
    #[error(
        "{address} has no connection left ({reason}): raise max_connections or the account's MAX_USER_CONNECTIONS, or find \
         the clients that use them with SHOW PROCESSLIST"
    )]
    NoConnectionLeft { address: String, reason: String },
    #[error("cannot connect to {address} ({reason}): check that the server runs and listens there")]
    Connect { address: String, reason: String },
    #[error(
        "{address} is in offline mode ({reason}), in which only administrators can connect: Group Replication sets it on a \
         member that leaves on an error; check its error log and offline_mode"
    )]
    Offline { address: String, reason: String },
    #[error("{address} ends the session ({reason}): its error log has the message")]
    SessionRejected { address: String, reason: String },
    #[error(
        "{address} requires an authentication method for user {user:?} that the exporter does not support ({reason}): use \
         caching_sha2_password, mysql_native_password, ed25519 or parsec; cleartext needs enable-cleartext-plugin in \
         --config.my-cnf"
    )]
    Plugin { address: String, user: String, reason: String },
    #[error(
        "login to {address} given up ({reason}): no MySQL or MariaDB server does that with its own settings; check that it \
         is the server that you mean"
    )]
    TooExpensive { address: String, reason: String },
    #[error(
        "no TLS with {address} ({reason}): check ssl-mode, tls, ssl-ca, ssl-cert and tls-server-name in --config.my-cnf, and the \
         server's certificate"
    )]
    Tls { address: String, reason: String },
    #[error(
        "cannot begin TLS with {address} ({reason}): check tls-server-name and the files ssl-ca, ssl-cert and ssl-key in \
         --config.my-cnf (PEM, X.509 version 3, an unencrypted key)"
    )]
    Certificates { address: String, reason: String },
    #[error(
        "{address} did not complete {} within {:.2} s: the server hangs, is overloaded or is unreachable",
        short(what), waited.as_secs_f64()
    )]
    NoAnswer { address: String, what: Cow<'static, str>, waited: Duration },
    #[error(
        "timed out after {:.2} s waiting for a free connection to {address}: a previous statement is still running",
        waited.as_secs_f64()
    )]
    Busy { address: String, waited: Duration },
    #[error(
        "{address} does not allow {} ({reason}): grant the exporter's user the privileges in {GRANTS}",
        short(statement)
    )]
    NotAllowed { address: String, statement: Cow<'static, str>, reason: String },
    #[error("{} on {address}: {reason}{}", short(statement), hint(*code))]
    Statement { address: String, statement: Cow<'static, str>, code: Option<u16>, reason: String },
    #[error("the answer of {address} to {} exceeds {limit} bytes; it was discarded", short(statement))]
    TooLarge { address: String, statement: Cow<'static, str>, limit: usize },
    #[error(
        "no memory for the answer of {address} to {}: {source}; probe fewer targets at a time, or raise --scrape.memory-limit",
        short(statement)
    )]
    Memory { address: String, statement: Cow<'static, str>, source: Exhausted },
}

impl Error {
    pub(crate) fn connecting(address: &str, user: &str, error: &WireError) -> Self {
        let (address, reason) = (address.to_owned(), error.describe_login());
        match error {
            WireError::Server { code, .. } => match *code {
                code if error_code::is_login_rejected(code) => {
                    Self::LoginRejected { address, user: user.to_owned(), reason }
                }
                code if error_code::is_too_many_connections(code) => Self::NoConnectionLeft { address, reason },
                error_code::SECURE_TRANSPORT_REQUIRED => Self::Tls { address, reason },
                code if error_code::is_offline(code) => Self::Offline { address, reason },
                _ => Self::SessionRejected { address, reason },
            },
            WireError::Plugin(_) => Self::Plugin { address, user: user.to_owned(), reason },
            WireError::Certificates(_) => Self::Certificates { address, reason },
            WireError::NoTls | WireError::Tls(_) => Self::Tls { address, reason },
            WireError::TooExpensive(_) => Self::TooExpensive { address, reason },
            WireError::Io(_) | WireError::Closed | WireError::Protocol(_) => Self::Connect { address, reason },
        }
    }

    pub(crate) fn statement(address: &str, statement: Cow<'static, str>, error: &WireError) -> Self {
        let (address, reason) = (address.to_owned(), error.to_string());
        match error.code() {
            Some(code) if error_code::is_privilege_missing(code) => Self::NotAllowed { address, statement, reason },
            code => Self::Statement { address, statement, code, reason },
        }
    }

    /// The server has no such table: a plugin or an engine is not installed.
    pub(crate) fn is_unknown_table(&self) -> bool {
        matches!(self, Self::Statement { code: Some(code), .. } if error_code::is_unknown_table(*code))
    }
}

/// A long statement without its columns.
fn short(statement: &str) -> Cow<'_, str> {
    match statement.split_once(" FROM ") {
        Some((_, table)) if statement.len() > 100 => Cow::Owned(format!("SELECT … FROM {table}")),
        _ => Cow::Borrowed(statement),
    }
}

/// What the error means, or where the message is that [`error_code::describe`] leaves out.
fn hint(code: Option<u16>) -> &'static str {
    match code {
        Some(error_code::LOCK_WAIT_TIMEOUT) => "; another session holds a lock on the row or the table",
        Some(error_code::OPTION_PREVENTS_STATEMENT) => "; the server runs with read_only or super_read_only",
        Some(error_code::DISK_FULL | error_code::RECORD_FILE_FULL) => "; a disk or a tablespace is full",
        Some(error_code::UNKNOWN_COM_ERROR) => "; a Galera node outside the primary component refuses statements",
        Some(_) => "; run the statement as the exporter's user for the server's message",
        None => "",
    }
}

/// Invalid configuration: the exporter does not start, or a probe fails.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfigError {
    #[error(transparent)]
    Address(#[from] exporter_toolkit::address::AddressError),
    #[error(
        "--mysqld.address contains a login; expected HOST:PORT or unix:///path: set --mysqld.username, and \
         --mysqld.password-file or MYSQLD_EXPORTER_PASSWORD"
    )]
    LoginInAddress,
    #[error("cannot read {flag}={path}: {source}", path = path.display())]
    File { flag: &'static str, path: std::path::PathBuf, source: std::io::Error },
    #[error(transparent)]
    Secret(#[from] exporter_toolkit::secret::SecretError),
    #[error("{path}:{line}: {reason}", path = path.display())]
    Syntax { path: std::path::PathBuf, line: usize, reason: String },
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
    fn long_statements_are_shortened() {
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
