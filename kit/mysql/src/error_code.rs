//! Error codes of the servers, under the names of their manuals (without `ER_`), and what a group of them means.

use mysql_async::Error;

const CON_COUNT_ERROR: u16 = 1040;
const DBACCESS_DENIED_ERROR: u16 = 1044;
const ACCESS_DENIED_ERROR: u16 = 1045;
pub const DUP_ENTRY: u16 = 1062;
const UNKNOWN_TABLE: u16 = 1109;
const HOST_NOT_PRIVILEGED: u16 = 1130;
const TABLEACCESS_DENIED_ERROR: u16 = 1142;
const COLUMNACCESS_DENIED_ERROR: u16 = 1143;
const NO_SUCH_TABLE: u16 = 1146;
const TOO_MANY_USER_CONNECTIONS: u16 = 1203;
pub const LOCK_WAIT_TIMEOUT: u16 = 1205;
pub const LOCK_DEADLOCK: u16 = 1213;
const USER_LIMIT_REACHED: u16 = 1226;
const SPECIFIC_ACCESS_DENIED_ERROR: u16 = 1227;
const ACCESS_DENIED_NO_PASSWORD_ERROR: u16 = 1698;
const MUST_CHANGE_PASSWORD_LOGIN: u16 = 1862;
const ACCOUNT_HAS_BEEN_LOCKED: u16 = 3118;
pub const SECURE_TRANSPORT_REQUIRED: u16 = 3159;
const MARIADB_ACCOUNT_HAS_BEEN_LOCKED: u16 = 4151;

/// The server's code; `None` for an error of the driver, of TLS or of the network.
pub fn of(error: &Error) -> Option<u16> {
    match error {
        Error::Server(error) => Some(error.code),
        _ => None,
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
            | MUST_CHANGE_PASSWORD_LOGIN
            | ACCOUNT_HAS_BEEN_LOCKED
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

/// The server has no such table, in an application's database or in `information_schema`.
pub fn is_unknown_table(code: u16) -> bool {
    matches!(code, UNKNOWN_TABLE | NO_SUCH_TABLE)
}
