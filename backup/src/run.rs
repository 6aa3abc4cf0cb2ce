//! One run: from the lock to the manifest, and the report of it.

use std::{collections::BTreeSet, num::NonZeroU32, path::PathBuf, time::Duration};

use jiff::Timestamp;
use service_kit::{address::Address, secret::Secret};
use tokio::{sync::watch, task};

use crate::{
    client::Client,
    dump::{DumpProcess, Dumped, dump},
    error::RunError,
    manifest::{Compression, Database, Failure, Manifest, Outcome, SCHEMA_VERSION, Server, StoredFile, Success},
    name::{BackupName, RunName},
    push::push,
    scan::{Contents, Databases},
    server::{Login, Session},
    store::Store,
};

/// What to back up, and where to.
#[derive(Clone)]
pub struct Job {
    pub address: Address,
    pub user: String,
    /// Absent: an empty password.
    pub password_file: Option<PathBuf>,
    pub name: BackupName,
    pub directory: PathBuf,
    /// Empty: all that the user sees but the server's own.
    pub databases: Vec<String>,
    pub keep: NonZeroU32,
    /// For everything up to the commit.
    pub timeout: Duration,
    pub pushgateway: Option<reqwest::Url>,
}

/// Turns true when the job is to stop.
pub type ShutdownSignal = watch::Receiver<bool>;

pub(crate) async fn stopped(stop: &mut ShutdownSignal) {
    if stop.wait_for(|stop| *stop).await.is_err() {
        // The sender is gone: no signal can come any more.
        std::future::pending::<()>().await;
    }
}

/// Runs the job once, records, logs and reports the result. An error means that the run couldn't even be recorded in
/// the directory; it is logged and reported all the same, unless it is that another run is at work.
pub async fn run(job: &Job, stop: &mut ShutdownSignal) -> Result<Manifest, RunError> {
    let started_at = Timestamp::now();
    let result = run_in_directory(job, stop, started_at).await;
    match &result {
        // The run at work will report.
        Err(RunError::AlreadyRunning { .. }) => {}
        Err(error) => {
            tracing::error!(backup = %job.name, reason = error.reason().as_str(), %error, "backup failed without a manifest");
            report(job, &failed(job, started_at, error)).await;
        }
        Ok(manifest) => report(job, manifest).await,
    }
    result
}

async fn run_in_directory(job: &Job, stop: &mut ShutdownSignal, started_at: Timestamp) -> Result<Manifest, RunError> {
    let store = Store::open(&job.directory, &job.name)?;
    for name in store.sweep()? {
        tracing::warn!(file = name, "removed a file of a killed run");
    }
    let (run, started_at) = free_name(&store, job, started_at).await?;

    match attempt(job, &store, &run, stop, started_at).await {
        Ok(manifest) => {
            log_success(&manifest);
            match store.prune(Some(job.keep), &run) {
                Ok(0) => {}
                Ok(pruned) => tracing::info!(backup = %job.name, pruned, "removed old backups"),
                Err(error) => tracing::warn!(backup = %job.name, %error, "removing old backups failed"),
            }
            Ok(manifest)
        }
        Err(error) => {
            if let Err(error) = store.discard(&run) {
                tracing::error!(%error, "removing the partial file failed");
            }
            let manifest = failed(job, started_at, &error);
            tracing::error!(
                backup = %job.name,
                reason = error.reason().as_str(),
                duration_seconds = seconds_of(&manifest),
                %error,
                "backup failed"
            );
            store.record_failure(&run, &manifest)?;
            if let Err(error) = store.prune(None, &run) {
                tracing::warn!(backup = %job.name, %error, "removing old manifests failed");
            }
            Ok(manifest)
        }
    }
}

/// A name that no earlier run has. Names have whole seconds, so a second run in the same one waits for the next.
async fn free_name(store: &Store, job: &Job, mut started_at: Timestamp) -> Result<(RunName, Timestamp), RunError> {
    for _ in 0..10 {
        let run = RunName::new(job.name.clone(), started_at);
        if !store.is_taken(&run) {
            return Ok((run, started_at));
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
        started_at = Timestamp::now();
    }
    Err(RunError::Storage {
        action: "find a free name in",
        path: job.directory.clone(),
        source: std::io::Error::other("runs with later starts are there already; was the clock set back?"),
    })
}

async fn attempt(
    job: &Job,
    store: &Store,
    run: &RunName,
    stop: &mut ShutdownSignal,
    started_at: Timestamp,
) -> Result<Manifest, RunError> {
    let process = DumpProcess::default();
    let work = make_backup(job, store, run, process.clone());
    tokio::pin!(work);
    let cancelled = tokio::select! {
        result = &mut work => return commit(job, store, run, started_at, result?),
        () = stopped(stop) => RunError::Interrupted,
        () = tokio::time::sleep(job.timeout) => RunError::Timeout(job.timeout),
    };
    if process.kill() {
        // The thread with the pipe sees the client's end and returns; until then it may still write to the partial
        // file. It can hang only where the disk does.
        let _ = tokio::time::timeout(Duration::from_secs(5), work).await;
    }
    Err(cancelled)
}

/// All that may take long; ends early when `process` is killed.
async fn make_backup(
    job: &Job,
    store: &Store,
    run: &RunName,
    process: DumpProcess,
) -> Result<(Server, Client, Dumped), RunError> {
    let login = log_in(job)?;
    let mut session = Session::connect(&login).await?;
    let server = session.server().await?;
    let flavour = server.flavour;
    let client = blocking(move || Client::find(flavour)).await?;
    // Before the databases are looked up: one without any grant looks missing.
    session.require_grants(&server, &job.databases).await?;
    let databases = session.databases(&job.databases).await?;
    session.require_grants(&server, &databases).await?;
    let before = session.inventory(&databases).await?;
    session.close().await;
    if before.without_snapshot > 0 {
        tracing::warn!(
            backup = %job.name,
            tables = before.without_snapshot,
            "tables without snapshot support are not consistent with the others"
        );
    }

    let mut retried = false;
    let dumped = loop {
        let (client, login, databases) = (client.clone(), login.clone(), databases.clone());
        let (path, process) = (store.partial_path(run), process.clone());
        let result = blocking(move || dump(&client, &login, &databases, &path, &process)).await;
        match result {
            Err(RunError::DefinitionChanged { stderr }) if !retried => {
                tracing::warn!(backup = %job.name, error = stderr, "table definition changed during the dump; retrying");
                store.discard(run)?;
                retried = true;
            }
            result => break result?,
        }
    };

    // A dump takes its time, so the connection for questions is a new one.
    let mut session = Session::connect(&login).await?;
    let after = session.inventory(&databases).await?;
    session.close().await;
    match difference(&before.databases, &dumped.databases, &after.databases) {
        None => Ok((server, client, dumped)),
        Some(what) => Err(RunError::DumpIncomplete { tool: client.program.to_owned(), what }),
    }
}

/// Reads the password for each run, so that a new one needs no restart.
fn log_in(job: &Job) -> Result<Login, RunError> {
    let password = job.password_file.as_deref().map(|path| Secret::read("--mysql.password-file", path)).transpose()?;
    Ok(Login { address: job.address.clone(), user: job.user.clone(), password })
}

/// Runs on its own thread. A panic there continues here.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // Cancelled: only when the runtime shuts down, and then this is not polled.
            Err(_) => std::future::pending().await,
        },
    }
}

/// What the dump lacks, or has too much, by the server's lists before and after it. Objects may come and go meanwhile:
/// what is in both lists must be in the dump, and what is in the dump must be in one of them.
fn difference(before: &Databases, dumped: &Databases, after: &Databases) -> Option<String> {
    let none = Contents::default();
    let databases: BTreeSet<&String> = before.keys().chain(dumped.keys()).collect();
    for database in databases {
        let (before, after) = (before.get(database).unwrap_or(&none), after.get(database).unwrap_or(&none));
        let Some(dumped) = dumped.get(database) else { return Some(format!("database `{database}` is not in it")) };
        for (kind, before, dumped, after) in [
            ("table", &before.tables, &dumped.tables, &after.tables),
            ("view", &before.views, &dumped.views, &after.views),
        ] {
            if let Some(name) = before.intersection(after).find(|&name| !dumped.contains(name)) {
                return Some(format!("{kind} `{database}`.`{name}` is not in it"));
            }
            if let Some(name) = dumped.iter().find(|&name| !before.contains(name) && !after.contains(name)) {
                return Some(format!("it has a {kind} `{database}`.`{name}` that the server doesn't list"));
            }
        }
        for (kind, before, dumped, after) in [
            ("triggers", before.triggers, dumped.triggers, after.triggers),
            ("routines", before.routines, dumped.routines, after.routines),
            ("events", before.events, dumped.events, after.events),
        ] {
            if !(before.min(after)..=before.max(after)).contains(&dumped) {
                return Some(format!("it has {dumped} {kind} of database `{database}`, the server has {after}"));
            }
        }
    }
    None
}

fn commit(
    job: &Job,
    store: &Store,
    run: &RunName,
    started_at: Timestamp,
    (server, client, dumped): (Server, Client, Dumped),
) -> Result<Manifest, RunError> {
    let databases = dumped
        .databases
        .into_iter()
        .map(|(name, contents)| Database {
            name,
            tables: contents.tables.len() as u64,
            views: contents.views.len() as u64,
            triggers: contents.triggers,
            routines: contents.routines,
            events: contents.events,
            libraries: 0,
            rows: None,
            contents: None,
            omitted: Vec::new(),
        })
        .collect();
    let outcome = Outcome::Ok(Success {
        recovery_point: dumped.recovery_point,
        coordinates: None,
        file: StoredFile {
            name: run.backup_file(),
            stored_bytes: dumped.stored_bytes,
            uncompressed_bytes: dumped.uncompressed_bytes,
            longest_statement_bytes: 0,
            sha256: dumped.sha256,
            compression: Compression::Zstd,
        },
        server,
        tool: client.tool(),
        databases,
        failed_databases: Vec::new(),
        accounts: None,
        definers: Vec::new(),
        warnings: Vec::new(),
    });
    let manifest = manifest(job, started_at, outcome);
    store.commit(run, &manifest)?;
    Ok(manifest)
}

fn failed(job: &Job, started_at: Timestamp, error: &RunError) -> Manifest {
    manifest(job, started_at, Outcome::Failed(Failure { reason: error.reason(), message: error.to_string() }))
}

fn manifest(job: &Job, started_at: Timestamp, outcome: Outcome) -> Manifest {
    Manifest {
        schema_version: SCHEMA_VERSION,
        backup: job.name.to_string(),
        sequence: 0,
        started_at,
        // Never before the start, even when the clock was set back: readers rely on it.
        finished_at: Timestamp::now().max(match &outcome {
            Outcome::Ok(saved) | Outcome::Partial(saved) => saved.recovery_point.max(started_at),
            Outcome::Failed(_) => started_at,
        }),
        outcome,
    }
}

fn log_success(manifest: &Manifest) {
    let Some(success) = manifest.success() else { return };
    tracing::info!(
        backup = manifest.backup,
        file = success.file.name,
        stored_bytes = success.file.stored_bytes,
        uncompressed_bytes = success.file.uncompressed_bytes,
        databases = success.databases.len(),
        tables = success.databases.iter().map(|database| database.tables).sum::<u64>(),
        duration_seconds = seconds_of(manifest),
        "backup complete"
    );
}

fn seconds_of(manifest: &Manifest) -> f64 {
    manifest.finished_at.duration_since(manifest.started_at).as_secs_f64()
}

async fn report(job: &Job, manifest: &Manifest) {
    let Some(gateway) = &job.pushgateway else { return };
    if let Err(error) = push(gateway, manifest).await {
        tracing::warn!(gateway = service_kit::http::without_login(gateway), %error, "push failed");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(tables: &[&str], triggers: u64) -> Databases {
        let tables = tables.iter().map(|&name| name.to_owned()).collect();
        Databases::from([("app".to_owned(), Contents { tables, triggers, ..Contents::default() })])
    }

    #[test]
    fn a_complete_dump_differs_in_nothing() {
        let all = with(&["a", "b"], 1);
        assert_eq!(difference(&all, &all, &all), None);
    }

    #[test]
    fn what_came_or_went_meanwhile_may_be_in_it_or_not() {
        let (old, new) = (with(&["a", "gone"], 1), with(&["a", "new"], 2));
        for dumped in [with(&["a"], 1), with(&["a", "gone"], 2), with(&["a", "new"], 1), with(&["a", "gone", "new"], 1)]
        {
            assert_eq!(difference(&old, &dumped, &new), None);
        }
    }

    #[test]
    fn what_is_missing_is_named() {
        let all = with(&["a", "b"], 2);
        for (dumped, what) in [
            (with(&["a"], 2), "table `app`.`b` is not in it"),
            (with(&["a", "b", "c"], 2), "it has a table `app`.`c` that the server doesn't list"),
            (with(&["a", "b"], 1), "it has 1 triggers of database `app`, the server has 2"),
            (Databases::new(), "database `app` is not in it"),
        ] {
            assert_eq!(difference(&all, &dumped, &all).as_deref(), Some(what));
        }
    }
}
