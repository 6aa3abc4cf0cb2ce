//! Error codes of the servers, under the names of their manuals (without `ER_`), and what a group of them means.

use std::fmt;

use mysql_async::{Error, IoError};

pub const DISK_FULL: u16 = 1021;
const CON_COUNT_ERROR: u16 = 1040;
const DBACCESS_DENIED_ERROR: u16 = 1044;
const ACCESS_DENIED_ERROR: u16 = 1045;
pub const UNKNOWN_COM_ERROR: u16 = 1047;
const SERVER_SHUTDOWN: u16 = 1053;
pub const DUP_ENTRY: u16 = 1062;
const UNKNOWN_TABLE: u16 = 1109;
pub const RECORD_FILE_FULL: u16 = 1114;
const HOST_NOT_PRIVILEGED: u16 = 1130;
const TABLEACCESS_DENIED_ERROR: u16 = 1142;
const COLUMNACCESS_DENIED_ERROR: u16 = 1143;
const NO_SUCH_TABLE: u16 = 1146;
const TOO_MANY_USER_CONNECTIONS: u16 = 1203;
pub const LOCK_WAIT_TIMEOUT: u16 = 1205;
pub const LOCK_DEADLOCK: u16 = 1213;
const USER_LIMIT_REACHED: u16 = 1226;
const SPECIFIC_ACCESS_DENIED_ERROR: u16 = 1227;
pub const OPTION_PREVENTS_STATEMENT: u16 = 1290;
const ACCESS_DENIED_NO_PASSWORD_ERROR: u16 = 1698;
const MUST_CHANGE_PASSWORD: u16 = 1820;
const MUST_CHANGE_PASSWORD_LOGIN: u16 = 1862;
const MARIADB_CONNECTION_KILLED: u16 = 1927;
const ACCOUNT_HAS_BEEN_LOCKED: u16 = 3118;
const SERVER_OFFLINE_MODE: u16 = 3032;
pub const SECURE_TRANSPORT_REQUIRED: u16 = 3159;
const ACCOUNT_BLOCKED_BY_PASSWORD_LOCK: u16 = 3955;
const SERVER_OFFLINE_MODE_WITH_REASON: u16 = 6400;
const CLIENT_INTERACTION_TIMEOUT: u16 = 4031;
const MARIADB_USER_IS_BLOCKED: u16 = 4150;
const MARIADB_ACCOUNT_HAS_BEEN_LOCKED: u16 = 4151;

/// The server's code; `None` for an error of the driver, of TLS or of the network.
pub fn of(error: &Error) -> Option<u16> {
    match error {
        Error::Server(error) => Some(error.code),
        _ => None,
    }
}

/// A code with its name, for logs and answers: `error 1062 (ER_DUP_ENTRY)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Code(pub u16);

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(code) = self;
        match NAMES.binary_search_by_key(code, |(known, _)| *known) {
            Ok(index) => write!(f, "error {code} ({})", NAMES[index].1),
            Err(_) => write!(f, "error {code}"),
        }
    }
}

/// The error of a statement, without the server's message: it can quote a row ("Duplicate entry 'patient@…'") or the
/// statement, and a trigger can set any message with any code.
pub fn describe(error: &Error) -> String {
    match error {
        Error::Server(error) => Code(error.code).to_string(),
        // The driver's own texts wrap each other ("Input/output error: Input/output error: …").
        Error::Io(IoError::Io(error)) => error.to_string(),
        Error::Io(error) => error.to_string(),
        Error::Driver(error) => error.to_string(),
        error => error.to_string(),
    }
}

/// Before any statement runs, the messages of these codes name only our own account and host, and the server's limits.
pub fn names_only_the_account(code: u16) -> bool {
    is_login_rejected(code) || is_too_many_connections(code)
}

/// The error of a login.
pub fn describe_login(error: &Error) -> String {
    match error {
        Error::Server(error) if names_only_the_account(error.code) => {
            format!("{}: {}", Code(error.code), error.message)
        }
        error => describe(error),
    }
}

/// The server rejects the login: the password, the host, the database or the state of the account.
pub fn is_login_rejected(code: u16) -> bool {
    matches!(
        code,
        DBACCESS_DENIED_ERROR
            | ACCESS_DENIED_ERROR
            | HOST_NOT_PRIVILEGED
            | ACCESS_DENIED_NO_PASSWORD_ERROR
            | MUST_CHANGE_PASSWORD
            | MUST_CHANGE_PASSWORD_LOGIN
            | ACCOUNT_HAS_BEEN_LOCKED
            | ACCOUNT_BLOCKED_BY_PASSWORD_LOCK
            | MARIADB_USER_IS_BLOCKED
            | MARIADB_ACCOUNT_HAS_BEEN_LOCKED
    )
}

/// The user lacks a privilege for a statement.
pub fn is_privilege_missing(code: u16) -> bool {
    matches!(
        code,
        DBACCESS_DENIED_ERROR | TABLEACCESS_DENIED_ERROR | COLUMNACCESS_DENIED_ERROR | SPECIFIC_ACCESS_DENIED_ERROR
    )
}

/// The server has reached its maximum of connections, in all or for this user.
pub fn is_too_many_connections(code: u16) -> bool {
    matches!(code, CON_COUNT_ERROR | TOO_MANY_USER_CONNECTIONS | USER_LIMIT_REACHED)
}

/// The server closes the session after it.
pub fn ends_session(code: u16) -> bool {
    matches!(code, SERVER_SHUTDOWN | MARIADB_CONNECTION_KILLED | CLIENT_INTERACTION_TIMEOUT)
}

/// The server is in offline mode: only administrators can connect.
pub fn is_offline(code: u16) -> bool {
    matches!(code, SERVER_OFFLINE_MODE | SERVER_OFFLINE_MODE_WITH_REASON)
}

/// The server has no such table, in an application's database or in `information_schema`.
pub fn is_unknown_table(code: u16) -> bool {
    matches!(code, UNKNOWN_TABLE | NO_SUCH_TABLE)
}

/// The names of frequent codes, sorted. The source is `perror`, and MySQL's error reference from 3000.
const NAMES: &[(u16, &str)] = &[
    (1021, "ER_DISK_FULL"),
    (1030, "ER_GET_ERRNO"),
    (1032, "ER_KEY_NOT_FOUND"),
    (1034, "ER_NOT_KEYFILE"),
    (1037, "ER_OUTOFMEMORY"),
    (1040, "ER_CON_COUNT_ERROR"),
    (1041, "ER_OUT_OF_RESOURCES"),
    (1044, "ER_DBACCESS_DENIED_ERROR"),
    (1045, "ER_ACCESS_DENIED_ERROR"),
    (1047, "ER_UNKNOWN_COM_ERROR"),
    (1049, "ER_BAD_DB_ERROR"),
    (1053, "ER_SERVER_SHUTDOWN"),
    (1054, "ER_BAD_FIELD_ERROR"),
    (1062, "ER_DUP_ENTRY"),
    (1064, "ER_PARSE_ERROR"),
    (1104, "ER_TOO_BIG_SELECT"),
    (1109, "ER_UNKNOWN_TABLE"),
    (1114, "ER_RECORD_FILE_FULL"),
    (1129, "ER_HOST_IS_BLOCKED"),
    (1130, "ER_HOST_NOT_PRIVILEGED"),
    (1135, "ER_CANT_CREATE_THREAD"),
    (1142, "ER_TABLEACCESS_DENIED_ERROR"),
    (1143, "ER_COLUMNACCESS_DENIED_ERROR"),
    (1146, "ER_NO_SUCH_TABLE"),
    (1153, "ER_NET_PACKET_TOO_LARGE"),
    (1158, "ER_NET_READ_ERROR"),
    (1159, "ER_NET_READ_INTERRUPTED"),
    (1160, "ER_NET_ERROR_ON_WRITE"),
    (1161, "ER_NET_WRITE_INTERRUPTED"),
    (1184, "ER_NEW_ABORTING_CONNECTION"),
    (1194, "ER_CRASHED_ON_USAGE"),
    (1195, "ER_CRASHED_ON_REPAIR"),
    (1203, "ER_TOO_MANY_USER_CONNECTIONS"),
    (1205, "ER_LOCK_WAIT_TIMEOUT"),
    (1213, "ER_LOCK_DEADLOCK"),
    (1226, "ER_USER_LIMIT_REACHED"),
    (1227, "ER_SPECIFIC_ACCESS_DENIED_ERROR"),
    (1236, "ER_MASTER_FATAL_ERROR_READING_BINLOG"),
    (1264, "ER_WARN_DATA_OUT_OF_RANGE"),
    (1290, "ER_OPTION_PREVENTS_STATEMENT"),
    (1292, "ER_TRUNCATED_WRONG_VALUE"),
    (1317, "ER_QUERY_INTERRUPTED"),
    (1356, "ER_VIEW_INVALID"),
    (1364, "ER_NO_DEFAULT_FOR_FIELD"),
    (1366, "ER_TRUNCATED_WRONG_VALUE_FOR_FIELD"),
    (1370, "ER_PROCACCESS_DENIED_ERROR"),
    (1396, "ER_CANNOT_USER"),
    (1406, "ER_DATA_TOO_LONG"),
    (1449, "ER_NO_SUCH_USER"),
    (1451, "ER_ROW_IS_REFERENCED_2"),
    (1452, "ER_NO_REFERENCED_ROW_2"),
    (1526, "ER_NO_PARTITION_FOR_GIVEN_VALUE"),
    (1593, "ER_SLAVE_FATAL_ERROR"),
    (1594, "ER_SLAVE_RELAY_LOG_READ_FAILURE"),
    (1595, "ER_SLAVE_RELAY_LOG_WRITE_FAILURE"),
    (1644, "ER_SIGNAL_EXCEPTION"),
    (1677, "ER_SLAVE_CONVERSION_FAILED"),
    (1698, "ER_ACCESS_DENIED_NO_PASSWORD_ERROR"),
    (1756, "ER_MTS_INCONSISTENT_DATA"),
    (1792, "ER_CANT_EXECUTE_IN_READ_ONLY_TRANSACTION"),
    (1820, "ER_MUST_CHANGE_PASSWORD"),
    (1836, "ER_READ_ONLY_MODE"),
    (1862, "ER_MUST_CHANGE_PASSWORD_LOGIN"),
    (1872, "ER_SLAVE_RLI_INIT_REPOSITORY"),
    (1927, "ER_CONNECTION_KILLED"),
    (1932, "ER_NO_SUCH_TABLE_IN_ENGINE"),
    (1950, "ER_GTID_STRICT_OUT_OF_ORDER"),
    (1969, "ER_STATEMENT_TIMEOUT"),
    // MariaDB's 1900 to 1999 end here; the client's library reports 2000 to 2099 for a replica's connection.
    (2002, "CR_CONNECTION_ERROR"),
    (2003, "CR_CONN_HOST_ERROR"),
    (2005, "CR_UNKNOWN_HOST"),
    (2006, "CR_SERVER_GONE_ERROR"),
    (2013, "CR_SERVER_LOST"),
    (2026, "CR_SSL_CONNECTION_ERROR"),
    (2061, "CR_AUTH_PLUGIN_ERR"),
    (3024, "ER_QUERY_TIMEOUT"),
    (3032, "ER_SERVER_OFFLINE_MODE"),
    (3118, "ER_ACCOUNT_HAS_BEEN_LOCKED"),
    (3159, "ER_SECURE_TRANSPORT_REQUIRED"),
    (3955, "ER_USER_ACCESS_DENIED_FOR_USER_ACCOUNT_BLOCKED_BY_PASSWORD_LOCK"),
    (4031, "ER_CLIENT_INTERACTION_TIMEOUT"),
    (4150, "ER_USER_IS_BLOCKED"),
    (4151, "ER_ACCOUNT_HAS_BEEN_LOCKED"),
    (13114, "ER_SERVER_SOURCE_FATAL_ERROR_READING_BINLOG"),
];

#[cfg(test)]
mod tests {
    use mysql_async::ServerError;

    use super::*;

    fn server(code: u16, message: &str) -> Error {
        Error::Server(ServerError { code, message: message.to_owned(), state: "HY000".to_owned() })
    }

    #[test]
    fn names_are_sorted_and_used() {
        assert!(NAMES.is_sorted_by_key(|(code, _)| *code));
        for (code, text) in [
            (DUP_ENTRY, "error 1062 (ER_DUP_ENTRY)"),
            (LOCK_WAIT_TIMEOUT, "error 1205 (ER_LOCK_WAIT_TIMEOUT)"),
            (SECURE_TRANSPORT_REQUIRED, "error 3159 (ER_SECURE_TRANSPORT_REQUIRED)"),
            (65_000, "error 65000"),
        ] {
            assert_eq!(Code(code).to_string(), text);
        }
    }

    #[test]
    fn messages_that_can_quote_a_row_are_left_out() {
        for code in [1, 1062, 1064, 1142, 1227, 1292, 1366, 1526, 1644, 65_000] {
            let error = server(code, "Duplicate entry 'patient@example.org' for key 'email'");
            assert_eq!(describe(&error), Code(code).to_string());
            assert_eq!(describe_login(&error), Code(code).to_string());
        }
        // A trigger can set this code, too.
        assert_eq!(describe(&server(1045, "patient@example.org")), "error 1045 (ER_ACCESS_DENIED_ERROR)");
    }

    #[test]
    fn a_rejected_login_quotes_the_server() {
        let error = server(1045, "Access denied for user 'exporter'@'db'");
        assert_eq!(
            describe_login(&error),
            "error 1045 (ER_ACCESS_DENIED_ERROR): Access denied for user 'exporter'@'db'"
        );
    }
}
