//! The commands, from their flags to what they print and their exit status.

use std::{fmt::Write as _, io::Write as _, process::ExitCode};

use jiff::{Timestamp, fmt::strtime, tz::TimeZone};

use crate::{
    binlog::keep_streaming,
    blocking::storage_call,
    catalog::{self, Entry, State},
    cli::{FetchArgs, ListArgs, PruneArgs, RestoreArgs, RunArgs, ScheduleArgs, VerifyArgs},
    error::RunError,
    manifest::Outcome,
    offsite::{self, OffsiteError},
    proving::keep_proving,
    restore::{self, RestoreError},
    run::{self, Job, ShutdownSignal, stopped},
    schedule,
    store::Store,
    verify,
};

/// A partial backup, or data that differ from the manifest.
const DIFFERENT: u8 = 3;
/// Nothing was changed.
const REFUSED: u8 = 4;

pub async fn run(args: RunArgs, mut stop: ShutdownSignal) -> ExitCode {
    let offsite = args.offsite.clone().offsite();
    let job = args.job();
    let status = run_once(&job, &mut stop).await;
    let Some(offsite) = &offsite else { return status };
    let copied = tokio::select! {
        copied = offsite::copy_once(offsite, &job) => copied,
        () = stopped(&mut stop) => false,
    };
    if status == ExitCode::SUCCESS && !copied { ExitCode::from(DIFFERENT) } else { status }
}

async fn run_once(job: &Job, stop: &mut ShutdownSignal) -> ExitCode {
    match run::run(job, stop).await {
        Ok(manifest) => match manifest.outcome {
            Outcome::Ok(_) => ExitCode::SUCCESS,
            Outcome::Partial(_) => ExitCode::from(DIFFERENT),
            Outcome::Failed(_) => ExitCode::FAILURE,
        },
        Err(error @ RunError::AlreadyRunning { .. }) => {
            tracing::error!(%error, "backup not started");
            ExitCode::FAILURE
        }
        Err(_) => ExitCode::FAILURE,
    }
}

pub async fn schedule(args: ScheduleArgs, stop: ShutdownSignal) -> ExitCode {
    let Some(period) = args.every else {
        tracing::error!("--schedule.every is not set");
        return ExitCode::from(2);
    };
    if args.binlog.stream && !args.run.recipients.is_empty() && !args.binlog.plain_text {
        tracing::error!(
            "--binlog.stream stores the binary log without encryption, unlike the backups (--encrypt.recipients): put \
             --backup.directory on an encrypted file system and set --binlog.plain-text, or remove --binlog.stream"
        );
        return ExitCode::from(2);
    }
    let keyless = args.proving.verify_every.is_some() && args.proving.decrypt.identity_file.is_none();
    if keyless && !args.run.recipients.is_empty() {
        tracing::error!("--verify.every needs --decrypt.identity-file to restore encrypted backups");
        return ExitCode::from(2);
    }
    let offsite = args.run.offsite.clone().offsite();
    let proving = args.proving.proving(offsite.clone());
    let streaming = args.binlog.streaming();
    let job = args.run.job();
    let copying = async {
        if let Some(offsite) = &offsite {
            offsite::keep_copying(offsite, &job, &mut stop.clone()).await;
        }
    };
    let proving = async {
        if let Some(proving) = &proving {
            keep_proving(proving, &job, &mut stop.clone()).await;
        }
    };
    let streaming = async {
        if let Some(streaming) = &streaming {
            keep_streaming(streaming, &job, &mut stop.clone()).await;
        }
    };
    let mut runs_stop = stop.clone();
    tokio::join!(schedule::every(&job, period, &mut runs_stop), copying, proving, streaming);
    tracing::info!("stopped");
    ExitCode::SUCCESS
}

pub async fn list(args: ListArgs) -> ExitCode {
    let place = args.place;
    let directory = place.directory.clone();
    match storage_call("list the backups", move || catalog::list(&directory, &place.name)).await {
        Ok(entries) if args.json => print(&entries.iter().map(json).collect::<String>()),
        Ok(entries) => print(&table(&entries)),
        Err(error) => fail(&error.to_string()),
    }
}

pub async fn prune(args: PruneArgs) -> ExitCode {
    let (retention, place, dry_run) = (args.keep.retention(), args.place, args.dry_run);
    let prune = move || Store::open(&place.directory, &place.name)?.prune(retention, None, dry_run);
    let pruned = storage_call("remove old backups", prune).await;
    match pruned {
        Ok(runs) => {
            let verb = if args.dry_run { "would remove" } else { "removed" };
            print(&runs.iter().map(|run| format!("{verb} {run}\n")).collect::<String>())
        }
        Err(error) => fail(&error.to_string()),
    }
}

pub async fn fetch(args: FetchArgs, mut stop: ShutdownSignal) -> ExitCode {
    let Some(offsite) = args.offsite.offsite() else { return fail("set --offsite.url") };
    let request = offsite::Request {
        location: offsite.location,
        directory: args.place.directory,
        backup: args.place.name,
        at: args.choice.at,
        run: args.choice.run,
    };
    let fetched = tokio::select! {
        fetched = tokio::time::timeout(offsite.timeout, offsite::fetch(request)) => fetched,
        () = stopped(&mut stop) => return fail("stopped by a signal; the next attempt continues"),
    };
    match fetched {
        Ok(Ok(fetched)) => print(&format!(
            "fetched {}: {} bytes\nrecovery point: {}\n",
            fetched.run,
            fetched.stored_bytes,
            time(fetched.recovery_point)
        )),
        Ok(Err(error)) => fail(&error.to_string()),
        Err(_) => fail(&OffsiteError::Timeout(offsite.timeout).to_string()),
    }
}

pub async fn restore(args: RestoreArgs, mut stop: ShutdownSignal) -> ExitCode {
    let request = restore::Request {
        directory: args.place.directory,
        backup: args.place.name,
        at: args.at,
        run: args.run,
        identity_file: args.decrypt.identity_file,
        target: args.target.account(args.address),
        databases: args.databases,
        rename: args.rename,
        tables: args.tables,
        overwrite: args.overwrite,
        allow_replica: args.allow_replica,
        binlog: args.binlog,
        accounts: args.accounts,
    };
    let restored = match restore::restore(request, &mut stop).await {
        Ok(restored) => restored,
        Err(error @ (RestoreError::Refused(_) | RestoreError::Choose(_))) => {
            let _ = fail(&format!("refused, nothing is changed: {error}"));
            return ExitCode::from(REFUSED);
        }
        Err(error) => return fail(&format!("failed: {error}")),
    };
    let mut text = String::new();
    for note in &restored.notes {
        let _ = writeln!(text, "note: {note}");
    }
    for difference in &restored.differences {
        let _ = writeln!(text, "difference: {difference}");
    }
    let _ = writeln!(
        text,
        "restored {} in {:.1} s: databases {}; {} tables, {} rows\nrecovery point: {}",
        restored.run,
        restored.duration.as_secs_f64(),
        restored.databases.join(", "),
        restored.tables,
        restored.rows,
        time(restored.recovery_point)
    );
    let status = print(&text);
    if restored.differences.is_empty() { status } else { ExitCode::from(DIFFERENT) }
}

pub async fn verify(args: VerifyArgs, mut stop: ShutdownSignal) -> ExitCode {
    let target = args.target;
    let restore = args.restore.then(|| verify::RestoreRequest {
        target: args.address.map(|address| target.account(address)),
        canary: args.canary,
        canary_max_age: args.canary_max_age,
        timeout: args.timeout,
    });
    let request = verify::Request {
        directory: args.place.directory,
        backup: args.place.name,
        at: args.choice.at,
        run: args.choice.run,
        identity_file: args.decrypt.identity_file,
        restore,
    };
    let verified = match verify::verify(request, &mut stop).await {
        Ok(verified) => verified,
        Err(error) => return fail(&error.to_string()),
    };
    let mut text = String::new();
    for difference in &verified.differences {
        let _ = writeln!(text, "difference: {difference}");
    }
    let what = match (&verified.proof, verified.differences.is_empty()) {
        (None, true) => "the file is what its manifest says".to_owned(),
        (Some(proof), true) => format!(
            "proven by a restore in {:.1} s: {} tables, {} rows, {} tables compared by checksum",
            proof.restore_seconds.unwrap_or_default(),
            proof.tables,
            proof.rows,
            proof.tables_compared
        ),
        (_, false) => "not proven".to_owned(),
    };
    let _ = writeln!(text, "{}: {what}\nrecovery point: {}", verified.run, time(verified.recovery_point));
    let status = print(&text);
    if verified.differences.is_empty() { status } else { ExitCode::from(DIFFERENT) }
}

fn state(entry: &Entry) -> &'static str {
    match entry.state {
        State::Complete(_) => "complete",
        State::Partial(_) => "partial",
        State::Missing(_) => "missing",
        State::Failed(_) => "failed",
        State::Unreadable(_) => "unreadable",
        State::WithoutManifest => "unfinished",
    }
}

/// Why a run is not complete.
fn why(entry: &Entry) -> String {
    match &entry.state {
        State::Unreadable(error) => error.clone(),
        state => match entry.manifest().filter(|_| !matches!(state, State::Complete(_))).map(|m| &m.outcome) {
            Some(Outcome::Failed(failure)) => format!("{}: {}", failure.reason.as_str(), failure.message),
            Some(Outcome::Partial(saved)) => {
                let databases = saved.failed_databases.iter().map(|database| database.name.clone());
                let objects = saved
                    .databases
                    .iter()
                    .flat_map(|database| database.omitted.iter().map(|o| format!("{}.{}", database.name, o.name)));
                format!("without {}", databases.chain(objects).collect::<Vec<_>>().join(", "))
            }
            _ => String::new(),
        },
    }
}

fn table(entries: &[Entry]) -> String {
    let mut text = String::new();
    let width = entries.iter().map(|entry| entry.run.to_string().len()).max().unwrap_or(3);
    let row = |text: &mut String, run: &str, state: &str, point: &str, bytes: &str, proven: &str, why: &str| {
        let line = format!("{run:width$}  {state:10}  {point:20}  {bytes:>13}  {proven:20}  {why}");
        let _ = writeln!(text, "{}", line.trim_end());
    };
    row(&mut text, "RUN", "STATE", "RECOVERY POINT", "BYTES", "PROVEN", "");
    for entry in entries {
        let saved = entry.manifest().and_then(|manifest| manifest.saved());
        let point = saved.map_or_else(|| "-".to_owned(), |saved| time(saved.recovery_point));
        let bytes = saved.map_or_else(|| "-".to_owned(), |saved| saved.file.stored_bytes.to_string());
        let proof = entry.proof.as_ref().filter(|proof| proof.is_proven());
        let proven = proof.map_or_else(|| "-".to_owned(), |proof| time(proof.finished_at));
        let why: String = why(entry).chars().take(120).collect();
        row(&mut text, &entry.run.to_string(), state(entry), &point, &bytes, &proven, &why);
    }
    text
}

fn json(entry: &Entry) -> String {
    let saved = entry.manifest().and_then(|manifest| manifest.saved());
    let object = serde_json::json!({
        "run": entry.run.to_string(),
        "state": state(entry),
        "recovery_point": saved.map(|saved| saved.recovery_point),
        "stored_bytes": saved.map(|saved| saved.file.stored_bytes),
        "proof": entry.proof,
        "message": why(entry),
    });
    format!("{object}\n")
}

/// To the second, in UTC.
fn time(at: Timestamp) -> String {
    strtime::format("%Y-%m-%dT%H:%M:%SZ", &at.to_zoned(TimeZone::UTC)).unwrap_or_else(|_| at.to_string())
}

fn print(text: &str) -> ExitCode {
    match std::io::stdout().write_all(text.as_bytes()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

fn fail(text: &str) -> ExitCode {
    // Nobody reads it: the status remains.
    let _ = std::io::stderr().write_all(format!("mysql-backup: {text}\n").as_bytes());
    ExitCode::FAILURE
}
