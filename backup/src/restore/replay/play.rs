//! Runs the plan: one thread reads what the flavour's program prints, and the statements run one after the other.

use std::process::{Child, ChildStdout};

use mysql_async::{Conn, prelude::Queryable as _};
use mysql_kit::{Flavour, error_code};
use tokio::sync::mpsc;

use super::{
    log::{Log, Skipped},
    plan::Plan,
};
use crate::{
    blocking::blocking,
    dump::read_end,
    restore::error::RestoreError,
    statements::{Item, Splitter},
};

/// The largest statement: no server takes a larger packet.
const MAX_STATEMENT: usize = 1 << 30;
const CHUNK: usize = 128 * 1024;
/// Statements that wait for the server.
const QUEUE: usize = 16;

struct Part {
    text: Vec<u8>,
    place: String,
    /// Bytes of the pass that were read.
    read: u64,
}

#[derive(Debug, Default)]
pub(crate) struct Played {
    pub(crate) statements: u64,
    pub(crate) skipped: Skipped,
}

/// Runs the statements of all passes. `progress` is called with the bytes of the files that were read.
pub(crate) async fn play(plan: &Plan, connection: &mut Conn, progress: impl Fn(u64)) -> Result<Played, RestoreError> {
    let mut played = Played::default();
    let mut earlier = 0;
    for pass in &plan.passes {
        if plan.flavour == Flavour::MySql {
            // Rows that are there already are overwritten, and rows that are gone are not missed.
            let mode = if pass.is_repeated { "IDEMPOTENT" } else { "STRICT" };
            let set = format!("SET SESSION rbr_exec_mode = '{mode}'");
            connection.query_drop(set).await.map_err(|error| failed("rbr_exec_mode", &error))?;
        }
        let log = Log::new(plan.flavour, plan.databases.clone(), pass.sizes(), pass.is_repeated);
        let bytes = pass.bytes();
        let (sender, mut parts) = mpsc::channel(QUEUE);
        let (client, pass, flavour) = (plan.client, pass.clone(), plan.flavour);
        let reading = tokio::spawn(blocking(move || {
            let mut child = client
                .print(&pass.files, pass.from, pass.to, pass.before)
                .spawn()
                .map_err(|error| error.to_string())?;
            read(&mut child, log, flavour, &sender)
        }));
        while let Some(Part { text, place, read }) = parts.recv().await {
            connection.query_drop(text.as_slice()).await.map_err(|error| failed(&place, &error))?;
            played.statements += 1;
            progress(earlier + read);
        }
        let read = reading.await.map_err(|error| RestoreError::Failed(error.to_string()))?;
        let mut skipped =
            read.map_err(|error| RestoreError::Failed(format!("the binary log cannot be read: {error}")))?;
        played.skipped.databases.append(&mut skipped.databases);
        played.skipped.accounts += skipped.accounts;
        earlier += bytes;
    }
    Ok(played)
}

/// Without the statement and the server's message, which may show data.
fn failed(place: &str, error: &mysql_async::Error) -> RestoreError {
    RestoreError::Failed(format!(
        "the backup is restored, but the replay of the binary log stopped at {place}: {}; what is before it has been replayed",
        error_code::describe(error)
    ))
}

/// Reads all that a program prints. An error is what it says.
fn read(child: &mut Child, log: Log, flavour: Flavour, sender: &mpsc::Sender<Part>) -> Result<Skipped, String> {
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    std::thread::scope(|scope| {
        let messages = scope.spawn(|| stderr.map(read_end).unwrap_or_default());
        let read = stdout.map_or_else(|| Err("no output".to_owned()), |stdout| feed(stdout, log, flavour, sender));
        if read.is_err() {
            // It fails only when it has ended already.
            let _ = child.kill();
        }
        let status = child.wait().map_err(|error| error.to_string())?;
        let messages = messages.join().unwrap_or_default();
        match read {
            Ok(_) if !status.success() => Err(format!("{status}: {messages}")),
            read => read,
        }
    })
}

fn feed(
    mut stdout: ChildStdout,
    mut log: Log,
    flavour: Flavour,
    sender: &mpsc::Sender<Part>,
) -> Result<Skipped, String> {
    use std::io::Read as _;

    let splitter = Splitter::new(MAX_STATEMENT);
    let mut splitter = if flavour == Flavour::MySql { splitter.with_dollar_quotes() } else { splitter };
    let mut chunk = vec![0; CHUNK];
    loop {
        let len = match stdout.read(&mut chunk) {
            Ok(0) => return Ok(log.skipped),
            Ok(len) => len,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error.to_string()),
        };
        splitter.feed(&chunk[..len], |item| match item {
            Item::Comment(text) => {
                log.comment(text);
                Ok(())
            }
            Item::Statement(statement) => {
                if !log.wants(statement.text)? {
                    return Ok(());
                }
                let part = Part { text: statement.text.to_vec(), place: log.place(), read: log.read() };
                sender.blocking_send(part).map_err(|_| "the target ended the replay".to_owned())
            }
        })?;
    }
}
