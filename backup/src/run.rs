//! One run: from the lock to the manifest, and the report of it.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc, time::Duration};

use jiff::Timestamp;
use tokio::sync::watch;

use crate::{
    blocking::{blocking, storage},
    client::Client,
    dump::{Dumped, Request},
    dumper::{Dumper, Good},
    encryption::Recipient,
    error::RunError,
    login::Account,
    manifest::{
        Compression, Coordinates, Database, Encryption, EncryptionFormat, FailedDatabase, Failure, MAX_LISTED,
        MAX_LISTED_TABLES, Manifest, Omitted, Outcome, ParseError, SCHEMA_VERSION, StoredFile, Success, Warning,
        WarningKind,
    },
    name::{BackupName, RunName},
    process::DumpProcess,
    report,
    retention::Retention,
    scan::Objects,
    server::{About, Session},
    store::Store,
};

/// After a stop signal, for the end of the client and the record of the run.
const STOP_TIMEOUT: Duration = Duration::from_secs(10);

/// For the password's file, which may be on another file system than the backups.
pub(crate) const PASSWORD_TIMEOUT: Duration = Duration::from_secs(10);

/// What to back up, and where to.
#[derive(Clone)]
pub struct Job {
    pub account: Account,
    pub name: BackupName,
    pub directory: PathBuf,
    /// Empty: all that the user sees but the server's own.
    pub databases: Vec<String>,
    /// Whether users and grants belong to the backup.
    pub accounts: bool,
    pub retention: Retention,
    /// Who can decrypt the backups; empty: they are not encrypted.
    pub recipients: Vec<Recipient>,
    /// For everything up to the commit.
    pub timeout: Duration,
    pub report: report::Targets,
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
    let hung = give_up(job, stop.clone());
    let result = tokio::select! {
        result = run_in_directory(job, stop, started_at) => result,
        error = hung => Err(error),
    };
    match &result {
        // The run at work will report.
        Err(RunError::AlreadyRunning { .. }) => {}
        Err(error) => {
            tracing::error!(backup = %job.name, reason = error.reason().as_str(), %error, "backup failed without a manifest");
            report::report(&job.report, &failed(job, 0, started_at, error)).await;
        }
        Ok(manifest) => report::report(&job.report, manifest).await,
    }
    result
}

/// The end of a run whose directory answers none of its calls.
async fn give_up(job: &Job, mut stop: ShutdownSignal) -> RunError {
    let limit = job.timeout + 2 * STOP_TIMEOUT;
    tokio::select! {
        () = tokio::time::sleep(limit) => RunError::StorageHung { action: "record the run", limit },
        () = async {
            stopped(&mut stop).await;
            tokio::time::sleep(STOP_TIMEOUT).await;
        } => RunError::Interrupted,
    }
}

async fn run_in_directory(job: &Job, stop: &mut ShutdownSignal, started_at: Timestamp) -> Result<Manifest, RunError> {
    let (directory, name) = (job.directory.clone(), job.name.clone());
    let opened = storage("open the lock", job.timeout, move || {
        let store = Store::open(&directory, &name)?;
        let swept = store.sweep()?;
        // A full disk shows when the backup is written.
        let _ = store.hold_reserve();
        let sequence = store.next_sequence()?;
        Ok((store, swept, sequence))
    });
    let (store, swept, sequence) = tokio::select! {
        opened = opened => opened?,
        () = stopped(stop) => return Err(RunError::Interrupted),
    };
    for file in swept.removed {
        tracing::warn!(file, "removed a file of a killed run");
    }
    for error in swept.stuck {
        tracing::warn!(backup = %job.name, %error, "a file of a killed run stays");
    }
    let store = Arc::new(store);
    let (run, started_at) = free_name(&store, job, started_at).await?;
    let record = Record { sequence, started_at };

    match attempt(job, &store, &run, stop, record).await {
        Ok(manifest) => {
            log_saved(&manifest);
            prune(job, &store, &run).await;
            Ok(manifest)
        }
        // The directory would answer no further call.
        Err(error @ RunError::StorageHung { .. }) => Err(error),
        Err(error) => {
            let manifest = failed(job, sequence, started_at, &error);
            tracing::error!(
                backup = %job.name,
                reason = error.reason().as_str(),
                duration_seconds = seconds_of(&manifest),
                %error,
                "backup failed"
            );
            let (record, run) = (manifest.clone(), run.clone());
            storage("record the failed run", job.timeout, move || {
                if let Err(error) = store.discard(&run) {
                    tracing::error!(%error, "removing the partial file failed");
                }
                store.record_failure(&run, &record)
            })
            .await?;
            Ok(manifest)
        }
    }
}

#[derive(Clone, Copy)]
struct Record {
    sequence: u64,
    started_at: Timestamp,
}

async fn prune(job: &Job, store: &Arc<Store>, run: &RunName) {
    let (store, run, retention) = (Arc::clone(store), run.clone(), job.retention);
    match storage("remove old backups", job.timeout, move || store.prune(retention, Some(&run), false)).await {
        Ok(pruned) if pruned.is_empty() => {}
        Ok(pruned) => tracing::info!(backup = %job.name, pruned = pruned.len(), "removed old backups"),
        Err(error) => tracing::warn!(backup = %job.name, %error, "removing old backups failed"),
    }
}

/// A name that no earlier run has. Names have whole seconds, so a second run in the same one waits for the next.
async fn free_name(store: &Arc<Store>, job: &Job, mut started_at: Timestamp) -> Result<(RunName, Timestamp), RunError> {
    for _ in 0..10 {
        let run = RunName::new(job.name.clone(), started_at);
        let (at, name) = (Arc::clone(store), run.clone());
        if !storage("look for a free name", job.timeout, move || Ok(at.is_taken(&name))).await? {
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
    store: &Arc<Store>,
    run: &RunName,
    stop: &mut ShutdownSignal,
    record: Record,
) -> Result<Manifest, RunError> {
    let process = DumpProcess::default();
    let work = async {
        let made = make_backup(job, store, run, &process).await?;
        let manifest = describe(job, run, record, made);
        let (store, run, stored) = (Arc::clone(store), run.clone(), manifest.clone());
        storage("commit the backup", job.timeout, move || store.commit(&run, &stored)).await?;
        Ok(manifest)
    };
    tokio::pin!(work);
    let cancelled = tokio::select! {
        result = &mut work => return result,
        () = stopped(stop) => RunError::Interrupted,
        () = tokio::time::sleep(job.timeout) => RunError::Timeout(job.timeout),
    };
    if process.kill() {
        // The thread with the pipe reads the client's end and returns; until then it may still write to the partial
        // file. It can hang only where the disk does.
        let _ = tokio::time::timeout(Duration::from_secs(5), work).await;
    }
    Err(cancelled)
}

/// A dump, checked against the server.
struct Made {
    about: About,
    client: Client,
    request: Request,
    dumped: Dumped,
    coordinates: Option<Coordinates>,
    accounts: Option<u64>,
    broken_views: BTreeMap<String, Vec<Omitted>>,
    failed: Vec<FailedDatabase>,
    warnings: Vec<Warning>,
}

/// All that may take long; ends early when `process` is killed.
async fn make_backup(job: &Job, store: &Arc<Store>, run: &RunName, process: &DumpProcess) -> Result<Made, RunError> {
    let account = job.account.clone();
    let login = tokio::time::timeout(PASSWORD_TIMEOUT, blocking(move || account.login()))
        .await
        .map_err(|_| RunError::PasswordHung { limit: PASSWORD_TIMEOUT })??;
    let mut session = Session::connect(&login).await?;
    let about = session.about().await?;
    let flavour = about.server.flavour;
    let client = blocking(move || Client::find(flavour)).await?;
    // Before the databases are looked up: one without any grant looks missing.
    session.require_grants(&about.server, &job.databases).await?;
    let (databases, mut warnings) = session.databases(&job.databases).await?;
    session.require_grants(&about.server, &databases).await?;
    let accounts = if job.accounts { session.accounts(&about.server).await? } else { None };
    session.close().await;
    if job.recipients.len() == 1 {
        warnings.push(Warning {
            kind: WarningKind::SingleRecipient,
            message: "only one key decrypts this backup, and a lost key cannot be replaced: set a second recipient"
                .to_owned(),
            objects: Vec::new(),
        });
    }
    if job.accounts && accounts.is_none() {
        warnings.push(Warning {
            kind: WarningKind::AccountsMissing,
            message: "users and grants are not in the backup: grant SELECT ON mysql.* to the job's user".to_owned(),
            objects: Vec::new(),
        });
    }
    let (accounts, statements) = accounts.map_or((None, Vec::new()), |(count, list)| (Some(count), list));
    let (backup, timeout, recipients) = (&job.name, job.timeout, &job.recipients);
    let dumper = Dumper { backup, timeout, store, run, process, login, about, client, statements, recipients };
    let mut good = dumper.dump_all(databases).await?;
    warnings.append(&mut good.inventory.warnings(dumper.client.keeps_history()));
    if dumper.about.binary_log && good.coordinates.is_none() {
        warnings.push(Warning {
            kind: WarningKind::CoordinatesMissing,
            message: "the position in the binary log could not be read, so no replay can follow a restore".to_owned(),
            objects: Vec::new(),
        });
    }
    let longest = good.dumped.scanned.longest_statement;
    if let Some(packet) = dumper.about.server.max_allowed_packet.filter(|packet| longest >= *packet) {
        warnings.push(Warning {
            kind: WarningKind::LargeStatement,
            message: format!(
                "a statement has {longest} bytes, and the server's max_allowed_packet is {packet}: a restore needs more, \
                 which `mysql-backup restore` sets"
            ),
            objects: Vec::new(),
        });
    }
    let Good { request, dumped, coordinates, inventory, failed } = good;
    let Dumper { about, client, .. } = dumper;
    Ok(Made {
        about,
        client,
        request,
        dumped,
        coordinates,
        accounts,
        broken_views: inventory.broken_views,
        failed,
        warnings,
    })
}

fn describe(job: &Job, run: &RunName, record: Record, made: Made) -> Manifest {
    let Made { about, client, request, dumped, coordinates, accounts, mut broken_views, failed, warnings } = made;
    let mut rows = dumped.scanned.rows;
    let tables: usize = dumped.scanned.databases.values().map(|objects| objects.tables.len()).sum();
    let is_failed = |name: &String| failed.iter().any(|database| database.name == *name);
    let databases: Vec<Database> = dumped
        .scanned
        .databases
        .into_iter()
        .filter(|(name, _)| !is_failed(name))
        .map(|(name, objects)| {
            let Objects { tables: names, views, triggers, routines, events, libraries } = objects;
            let contents = rows.remove(&name).unwrap_or_default();
            let mut omitted = broken_views.remove(&name).unwrap_or_default();
            omitted.truncate(MAX_LISTED);
            Database {
                tables: names.len() as u64,
                views: views.len() as u64,
                triggers,
                routines: routines.len() as u64,
                events: events.len() as u64,
                libraries: libraries.len() as u64,
                rows: Some(contents.iter().map(|table| table.rows).sum()),
                contents: (tables <= MAX_LISTED_TABLES).then_some(contents),
                omitted,
                name,
            }
        })
        .collect();
    let lacks = !failed.is_empty() || databases.iter().any(|database| !database.omitted.is_empty());
    let mut flags = request.flags(&client);
    flags.truncate(MAX_LISTED);
    let encryption = (!job.recipients.is_empty()).then(|| Encryption {
        format: EncryptionFormat::Age,
        recipients: job.recipients.iter().map(Recipient::to_string).collect(),
    });
    let saved = Success {
        recovery_point: dumped.recovery_point,
        coordinates,
        file: StoredFile {
            name: if encryption.is_some() { run.encrypted_file() } else { run.backup_file() },
            stored_bytes: dumped.stored_bytes,
            uncompressed_bytes: dumped.uncompressed_bytes,
            longest_statement_bytes: dumped.scanned.longest_statement,
            sha256: dumped.sha256,
            compression: Compression::Zstd,
            encryption,
        },
        server: about.server,
        tool: client.tool(flags),
        all_databases: job.databases.is_empty(),
        databases,
        failed_databases: failed,
        accounts,
        definers: dumped.scanned.definers.into_iter().take(10 * MAX_LISTED).collect(),
        warnings,
    };
    let outcome = if lacks { Outcome::Partial(saved) } else { Outcome::Ok(saved) };
    let mut manifest = manifest(job, record.sequence, record.started_at, outcome);
    // A manifest that is too long must not cost a backup: the list of tables goes first.
    if matches!(manifest.to_json(), Err(ParseError::TooLarge))
        && let Outcome::Ok(saved) | Outcome::Partial(saved) = &mut manifest.outcome
    {
        saved.databases.iter_mut().for_each(|database| database.contents = None);
    }
    manifest
}

fn failed(job: &Job, sequence: u64, started_at: Timestamp, error: &RunError) -> Manifest {
    let failure = Failure { reason: error.reason(), message: error.to_string() };
    manifest(job, sequence, started_at, Outcome::Failed(failure))
}

fn manifest(job: &Job, sequence: u64, started_at: Timestamp, outcome: Outcome) -> Manifest {
    Manifest {
        schema_version: SCHEMA_VERSION,
        backup: job.name.to_string(),
        sequence,
        started_at,
        // Never before the start, even when the clock was set back: readers rely on it.
        finished_at: Timestamp::now().max(match &outcome {
            Outcome::Ok(saved) | Outcome::Partial(saved) => saved.recovery_point.max(started_at),
            Outcome::Failed(_) => started_at,
        }),
        outcome,
    }
}

fn log_saved(manifest: &Manifest) {
    let Some(saved) = manifest.saved() else { return };
    for warning in &saved.warnings {
        tracing::warn!(
            backup = manifest.backup,
            kind = warning.kind.as_str(),
            meaning = warning.message,
            objects = warning.objects.len(),
            "warning of the backup"
        );
    }
    for (database, view) in
        saved.databases.iter().flat_map(|database| database.omitted.iter().map(|o| (&database.name, o)))
    {
        tracing::error!(backup = manifest.backup, database, kind = %view.kind, name = view.name, reason = view.message, "object left out of the backup");
    }
    tracing::info!(
        backup = manifest.backup,
        file = saved.file.name,
        stored_bytes = saved.file.stored_bytes,
        uncompressed_bytes = saved.file.uncompressed_bytes,
        databases = saved.databases.len(),
        failed_databases = saved.failed_databases.len(),
        tables = saved.databases.iter().map(|database| database.tables).sum::<u64>(),
        duration_seconds = seconds_of(manifest),
        partial = manifest.success().is_none(),
        "backup complete"
    );
}

fn seconds_of(manifest: &Manifest) -> f64 {
    manifest.finished_at.duration_since(manifest.started_at).as_secs_f64()
}
