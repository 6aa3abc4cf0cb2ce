//! One snapshot of all databases, repeated until nothing changes under it, and checked against the server.

use std::{sync::Arc, time::Duration};

use tokio::sync::oneshot;

use crate::{
    accounts::AccountStatement,
    blocking::{blocking, storage},
    client::{Client, Features},
    compare::missing,
    dump::{Dumped, Output, Request, dump_to_file},
    encryption::Recipient,
    error::RunError,
    login::Login,
    manifest::{BinlogPosition, Coordinates, FailedDatabase, Reason},
    name::{BackupName, RunName},
    process::DumpProcess,
    server::{About, Inventory, Session},
    store::Store,
};

/// How often a dump is made again because objects changed under it.
const ATTEMPTS: u32 = 3;

pub(crate) struct Dumper<'a> {
    pub(crate) backup: &'a BackupName,
    pub(crate) timeout: Duration,
    pub(crate) store: &'a Arc<Store>,
    pub(crate) run: &'a RunName,
    pub(crate) process: &'a DumpProcess,
    pub(crate) login: Login,
    pub(crate) about: About,
    pub(crate) client: Client,
    pub(crate) statements: Vec<AccountStatement>,
    pub(crate) recipients: &'a [Recipient],
}

pub(crate) struct Good {
    pub(crate) request: Request,
    pub(crate) dumped: Dumped,
    pub(crate) coordinates: Option<Coordinates>,
    pub(crate) inventory: Inventory,
    pub(crate) failed: Vec<FailedDatabase>,
}

impl Dumper<'_> {
    /// Dumps all databases in one snapshot. What changes under the dump makes it start again; a database that fails
    /// even so is left out, so that it costs no other one its recovery point.
    pub(crate) async fn dump_all(&self, mut databases: Vec<String>) -> Result<Good, RunError> {
        let mut failed: Vec<FailedDatabase> = Vec::new();
        let mut attempts = ATTEMPTS;
        loop {
            attempts = attempts.saturating_sub(1);
            match self.dump_once(&databases).await {
                Ok((mut good, lacks)) => {
                    if lacks.is_empty() || attempts == 0 {
                        if lacks.len() == databases.len() {
                            return Err(self.incomplete(&lacks));
                        }
                        failed.extend(lacks.into_iter().map(|(name, message)| FailedDatabase {
                            name,
                            reason: Reason::DumpIncomplete,
                            message,
                        }));
                        good.failed = failed;
                        return Ok(good);
                    }
                    tracing::warn!(backup = %self.backup, error = %self.incomplete(&lacks), "dump is not complete; retrying");
                }
                Err(RunError::DefinitionChanged { stderr, .. }) if attempts > 0 => {
                    tracing::warn!(backup = %self.backup, error = stderr, "objects changed during the dump; retrying");
                }
                Err(error) => {
                    let (RunError::DefinitionChanged { database, .. } | RunError::DumpFailed { database, .. }) = &error
                    else {
                        return Err(error);
                    };
                    let at = database.as_ref().and_then(|name| databases.iter().position(|other| other == name));
                    let Some(at) = at.filter(|_| databases.len() > 1) else { return Err(error) };
                    let name = databases.remove(at);
                    tracing::error!(backup = %self.backup, database = name, %error, "database left out");
                    failed.push(FailedDatabase { name, reason: error.reason(), message: short(&error.to_string()) });
                    attempts = ATTEMPTS;
                }
            }
            let (store, run) = (Arc::clone(self.store), self.run.clone());
            storage("remove the partial file", self.timeout, move || store.discard(&run)).await?;
        }
    }

    fn incomplete(&self, lacks: &[(String, String)]) -> RunError {
        let list: Vec<String> =
            lacks.iter().take(10).map(|(name, what)| format!("in database `{name}`, {what}")).collect();
        RunError::DumpIncomplete { tool: self.client.program.to_owned(), what: list.join("; ") }
    }

    /// One dump, and what it lacks of which database.
    async fn dump_once(&self, databases: &[String]) -> Result<(Good, Vec<(String, String)>), RunError> {
        let server = &self.about.server;
        let mut session = Session::connect(&self.login).await?;
        let before = session.inventory(server, databases).await?;
        let ignored = before
            .broken_views
            .iter()
            .flat_map(|(database, views)| views.iter().map(move |view| format!("{database}.{}", view.name)))
            .collect();
        let features = Features {
            binary_log: self.about.binary_log,
            versioned_tables: !before.versioned_tables.is_empty(),
            verify_tls: self.login.tls.as_ref().is_some_and(|tls| !tls.skip_verify),
        };
        let request = Request { databases: databases.to_vec(), ignored, features };
        let earlier = if self.about.binary_log { Some(session.coordinates(server).await?) } else { None };
        session.close().await;

        let (taken, snapshot) = oneshot::channel();
        let dump = {
            let (client, login, request) = (self.client.clone(), self.login.clone(), request.clone());
            let (statements, process) = (self.statements.clone(), self.process.clone());
            let (path, recipients) = (self.store.partial_path(self.run), self.recipients.to_vec());
            blocking(move || {
                let snapshot = || {
                    // The receiver is gone only if the run was stopped.
                    let _ = taken.send(());
                };
                let output = Output { path: &path, recipients: &recipients };
                dump_to_file(&client, &login, &request, &statements, output, &process, snapshot)
            })
        };
        let (dumped, later) = tokio::join!(dump, self.coordinates_after(snapshot, earlier.is_some()));
        let dumped = dumped?;

        // A dump takes its time, so the connection for questions is a new one.
        let mut session = Session::connect(&self.login).await?;
        let after = session.inventory(server, databases).await?;
        session.close().await;
        let lacks = missing(&before.databases, &dumped.scanned.databases, &after.databases);
        let coordinates = dumped.scanned.coordinates.clone().or_else(|| settle(earlier, later.as_ref()));
        Ok((Good { request, dumped, coordinates, inventory: before, failed: Vec::new() }, lacks))
    }

    /// The position just after the snapshot. Best effort: without it, the one before is not exact.
    async fn coordinates_after(&self, snapshot: oneshot::Receiver<()>, wanted: bool) -> Option<Coordinates> {
        if !wanted || snapshot.await.is_err() {
            return None;
        }
        let mut session = Session::connect(&self.login).await.ok()?;
        let coordinates = session.coordinates(&self.about.server).await.ok();
        session.close().await;
        coordinates
    }
}

/// MySQL has no way to read the position of a snapshot without a lock that stalls the application. The position before
/// it is exact if nothing was committed until after it.
fn settle(earlier: Option<Coordinates>, later: Option<&Coordinates>) -> Option<Coordinates> {
    let earlier = earlier.filter(|at| at.gtid.is_some() || at.binlog_file.is_some())?;
    let exact = later == Some(&earlier);
    let settled = later.filter(|_| !exact).and_then(|later| {
        Some(BinlogPosition { binlog_file: later.binlog_file.clone()?, binlog_position: later.binlog_position? })
    });
    Some(Coordinates { exact, settled, ..earlier })
}

/// A message fit for a manifest, which has a bound.
fn short(message: &str) -> String {
    message.chars().take(1000).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn coordinates_are_exact_if_nothing_was_committed_meanwhile() {
        let at = |position| Coordinates {
            binlog_position: Some(position),
            binlog_file: Some("b.1".to_owned()),
            ..Coordinates::default()
        };
        assert!(settle(Some(at(4)), Some(&at(4))).unwrap().exact);
        let moved = settle(Some(at(4)), Some(&at(5))).unwrap();
        assert!(!moved.exact && moved.binlog_position == Some(4));
        assert_eq!(moved.settled.unwrap().binlog_position, 5);
        assert!(!settle(Some(at(4)), None).unwrap().exact);
        assert_eq!(settle(Some(Coordinates::default()), Some(&Coordinates::default())), None);
    }
}
