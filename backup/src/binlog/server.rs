//! What the server says about its binary log.

use mysql_async::{Conn, Row, prelude::Queryable as _};
use mysql_kit::{Flavour, Version, error_code};

use super::{BinlogError, BinlogName};
use crate::login::Login;

/// The maximum size of the server's packets.
const MAX_PACKET: usize = 16 << 20;

pub(super) struct Server<'a> {
    login: &'a Login,
    connection: Conn,
    version: Version,
}

/// The end of what the server has written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Position {
    pub(super) file: BinlogName,
    pub(super) position: u64,
}

impl Position {
    pub(super) fn is_before(&self, other: &Self) -> bool {
        (&self.file, self.position) < (&other.file, other.position)
    }
}

impl<'a> Server<'a> {
    pub(super) async fn connect(login: &'a Login) -> Result<Self, BinlogError> {
        let mut connection = login.connect(MAX_PACKET, Vec::new()).await?;
        let about: Option<(String, bool)> =
            connection.query_first("SELECT @@version, @@log_bin").await.map_err(|error| login.error(&error))?;
        let (version, log_bin) = about.unwrap_or_default();
        if !log_bin {
            return Err(BinlogError::Off(login.address.to_string()));
        }
        Ok(Self { login, connection, version: Version::parse(&version) })
    }

    pub(super) fn flavour(&self) -> Flavour {
        self.version.flavour()
    }

    /// The files that the server still has, oldest first.
    pub(super) async fn files(&mut self) -> Result<Vec<BinlogName>, BinlogError> {
        let rows: Vec<Row> = self.connection.query("SHOW BINARY LOGS").await.map_err(|error| self.error(&error))?;
        Ok(rows.iter().filter_map(|row| BinlogName::parse(&row.get::<String, _>(0)?)).collect())
    }

    pub(super) async fn position(&mut self) -> Result<Option<Position>, BinlogError> {
        let query =
            if self.version.is_mysql_since((8, 2, 0)) { "SHOW BINARY LOG STATUS" } else { "SHOW MASTER STATUS" };
        let row: Option<Row> = self.connection.query_first(query).await.map_err(|error| self.error(&error))?;
        Ok(row.and_then(|row| {
            Some(Position { file: BinlogName::parse(&row.get::<String, _>(0)?)?, position: row.get(1)? })
        }))
    }

    fn error(&self, error: &mysql_async::Error) -> BinlogError {
        if error_code::of(error).is_some_and(error_code::is_privilege_missing) {
            let user = self.login.user.clone();
            return BinlogError::Grants { user, message: error_code::describe(error) };
        }
        self.login.error(error).into()
    }
}
