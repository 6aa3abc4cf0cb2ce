//! Loads a dump: one thread reads and splits it, and the statements run one after the other.

use std::{io::Read, path::Path};

use mysql_async::{Conn, prelude::Queryable as _};
use mysql_kit::error_code;
use tokio::sync::mpsc;

use crate::{
    accounts::AccountStatement,
    blocking::blocking,
    restore::{
        error::RestoreError,
        filter::{Filter, Scope},
    },
    statements::{Item, Splitter},
    stored::{self, Keys},
};

/// The largest statement: no server takes a larger packet.
const MAX_STATEMENT: usize = 1 << 30;
const CHUNK: usize = 128 * 1024;
/// Statements that wait for the server. They are up to 1 MiB long, or one row.
const QUEUE: usize = 2;

/// What the reading thread sends.
enum Part {
    /// All accounts, before the first statement.
    Accounts(Vec<AccountStatement>),
    Statement {
        text: Vec<u8>,
        place: String,
        is_rows: bool,
        read: u64,
    },
}

/// What was found on the way.
#[derive(Debug, Default)]
pub(crate) struct Loaded {
    pub(crate) statements: u64,
    /// Objects whose text still has the old name of a renamed database.
    pub(crate) old_names: Vec<String>,
}

/// Runs the statements of a scope. `accounts` is called with the backup's accounts before the first one, `progress`
/// with the bytes of the dump that were read.
pub(crate) async fn load(
    path: &Path,
    keys: Keys,
    scope: Scope,
    connection: &mut Conn,
    accounts: impl AsyncFnOnce(Vec<AccountStatement>) -> Result<(), RestoreError>,
    progress: impl Fn(u64),
) -> Result<Loaded, RestoreError> {
    let (sender, mut parts) = mpsc::channel(QUEUE);
    let file = path.to_owned();
    let reading = tokio::spawn(blocking(move || read(&file, &keys, scope, &sender)));
    let mut accounts = Some(accounts);
    let mut loaded = Loaded::default();
    while let Some(part) = parts.recv().await {
        match part {
            Part::Accounts(list) => {
                if let Some(accounts) = accounts.take() {
                    accounts(list).await?;
                }
            }
            Part::Statement { text, place, is_rows, read } => {
                progress(read);
                if let Err(error) = connection.query_drop(text.as_slice()).await {
                    return Err(RestoreError::Failed(describe(&error, &text, &place, is_rows, loaded.statements)));
                }
                loaded.statements += 1;
            }
        }
    }
    let read = reading.await.map_err(|error| RestoreError::Failed(error.to_string()))?;
    loaded.old_names =
        read.map_err(|error| RestoreError::Failed(format!("cannot read {}: {error}", path.display())))?;
    Ok(loaded)
}

/// A statement of rows, and the server's message about it, would show data.
fn describe(error: &mysql_async::Error, text: &[u8], place: &str, is_rows: bool, done: u64) -> String {
    let cause = match error {
        mysql_async::Error::Server(server) if !is_rows => {
            format!("{}: {}", error_code::describe(error), server.message)
        }
        error => error_code::describe(error),
    };
    let start = if is_rows {
        "INSERT".to_owned()
    } else {
        let text = String::from_utf8_lossy(text);
        text.split_whitespace().collect::<Vec<_>>().join(" ").chars().take(120).collect()
    };
    format!("statement {} failed at {place}: {cause}; it begins with: {start}", done + 1)
}

/// Reads the whole file. Returns the objects with old names. Ends early when nobody receives any more.
fn read(path: &Path, keys: &Keys, scope: Scope, sender: &mpsc::Sender<Part>) -> std::io::Result<Vec<String>> {
    let mut source = stored::open(path, keys)?;
    let mut splitter = Splitter::new(MAX_STATEMENT);
    let mut filter = Filter::new(scope);
    let mut accounts = Some(Vec::new());
    let mut chunk = vec![0; CHUNK];
    let mut bytes = 0;
    loop {
        let len = source.read(&mut chunk)?;
        if len == 0 {
            return Ok(filter.old_names);
        }
        bytes += len as u64;
        let sent = splitter.feed(&chunk[..len], |item| match item {
            Item::Comment(text) => {
                if let Some(list) = &mut accounts {
                    list.extend(AccountStatement::parse(text));
                }
                Ok(())
            }
            Item::Statement(statement) => {
                if let Some(list) = accounts.take() {
                    sender.blocking_send(Part::Accounts(list)).map_err(drop)?;
                }
                let Some(text) = filter.apply(&statement) else { return Ok(()) };
                let part = Part::Statement { text, place: filter.place(), is_rows: statement.rows > 0, read: bytes };
                sender.blocking_send(part).map_err(drop)
            }
        });
        if sent.is_err() {
            return Ok(Vec::new());
        }
    }
}
