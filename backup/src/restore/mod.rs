//! Restores a backup to a server.
//!
//! ```text
//! choose   a backup
//! stored   verify the file
//! target   check, clear, prepare
//! load     accounts, statements
//! count    compare with the manifest
//! replay   the binary log, up to a time
//! target   reset
//! ```

mod account;
mod count;
mod error;
mod filter;
mod load;
mod policy;
mod replay;
mod request;
mod target;

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use jiff::Timestamp;
use tokio::time::Instant;

use crate::{
    accounts::AccountStatement,
    blocking::blocking,
    choose::{Chosen, choose},
    encryption::{IDENTITY_FLAG, Identities},
    error::RunError,
    login::Login,
    manifest::Success,
    progress::Progress,
    run::{ShutdownSignal, stopped},
    stored::{self, Keys},
};
use filter::{Scope, quoted};
use policy::Policy;
use replay::Plan;
use target::Target;

pub use error::RestoreError;
pub use policy::{AccountPolicy, BinlogPolicy};
pub use request::{At, Request};

/// What a restore did.
#[derive(Debug)]
pub struct Restored {
    pub run: String,
    pub recovery_point: Timestamp,
    pub duration: Duration,
    pub databases: Vec<String>,
    pub tables: u64,
    pub rows: u64,
    pub statements: u64,
    /// Where the target's contents are not the manifest's.
    pub differences: Vec<String>,
    /// What a person should read.
    pub notes: Vec<String>,
}

/// Chooses, verifies and loads a backup.
pub async fn restore(request: Request, stop: &mut ShutdownSignal) -> Result<Restored, RestoreError> {
    let started = Instant::now();
    let request = Arc::new(request);
    let wanted = Arc::clone(&request);
    let chosen = blocking(move || {
        let at = match wanted.at {
            Some(At::Time(at)) => Some(at),
            Some(At::Latest) | None => None,
        };
        choose(&wanted.directory, &wanted.backup, at, wanted.run.as_deref())
    });
    let chosen = Arc::new(chosen.await?);
    let scope = scope(&request, &chosen)?;
    let (wanted, from, whole) = (Arc::clone(&request), Arc::clone(&chosen), scope.clone());
    let (plan, notes) = blocking(move || {
        let mut notes = Vec::new();
        replay::plan(&wanted, &from, &whole, &mut notes).map(|plan| (plan, notes))
    })
    .await?;
    let keys = keys(&request, &chosen).await?;
    let account = request.target.clone();
    let login = blocking(move || account.login()).await.map_err(RunError::from)?;
    let what = What { chosen: &chosen, keys, scope, plan, notes };
    restore_chosen(&request, what, &login, started, stop).await
}

fn scope(request: &Request, chosen: &Chosen) -> Result<Scope, RestoreError> {
    let saved = chosen.saved()?;
    let refuse = |why: String| Err(RestoreError::Refused(why));
    let there: BTreeSet<String> = saved.databases.iter().map(|database| database.name.clone()).collect();
    if let Some(name) = request.databases.iter().find(|name| !there.contains(*name)) {
        let list: Vec<&str> = there.iter().map(String::as_str).collect();
        return refuse(format!("{} has no database {}; it has {}", chosen.run, quoted(name), list.join(", ")));
    }
    if (request.rename.is_some() || !request.tables.is_empty()) && request.databases.len() != 1 {
        return refuse("--as and --table need exactly one --database".to_owned());
    }
    for table in &request.tables {
        let contents = saved.databases.iter().filter(|database| request.databases.contains(&database.name));
        let mut tables = contents.filter_map(|database| database.contents.as_ref());
        // Without a list, the count at the end shows what is missing.
        if let Some(list) = tables.next()
            && !list.iter().any(|other| other.table == *table)
        {
            return refuse(format!("{} has no table {} in that database", chosen.run, quoted(table)));
        }
    }
    let databases = if request.databases.is_empty() { there } else { request.databases.iter().cloned().collect() };
    Ok(Scope { databases, tables: request.tables.iter().cloned().collect(), rename: request.rename.clone() })
}

/// What is restored, all of it checked.
struct What<'a> {
    chosen: &'a Chosen,
    keys: Keys,
    scope: Scope,
    /// `None`: the backup alone.
    plan: Option<Plan>,
    notes: Vec<String>,
}

async fn restore_chosen(
    request: &Request,
    what: What<'_>,
    login: &Login,
    started: Instant,
    stop: &mut ShutdownSignal,
) -> Result<Restored, RestoreError> {
    let What { chosen, keys, scope, plan, mut notes } = what;
    let saved = chosen.saved()?;
    // Before the file: a refusal should not take minutes.
    let mut target = Target::connect(login).await?;
    let policy = Policy { overwrite: request.overwrite, allow_replica: request.allow_replica, binlog: request.binlog };
    target.check(saved, &scope, policy).await?;
    tokio::select! {
        verified = verify_file(chosen, saved, &keys) => verified?,
        () = stopped(stop) => return Err(RestoreError::Refused("stopped by a signal".to_owned())),
    }

    let loaded = tokio::select! {
        loaded = prepare_and_load(request, chosen, (saved, keys), &scope, &mut target, &mut notes) => loaded,
        () = stopped(stop) => Err(RestoreError::Interrupted),
    };
    let counted = match &loaded {
        Ok(_) => count::compare(&mut target, saved, &scope).await,
        Err(_) => Ok(count::Counted::default()),
    };
    let replayed = match (&plan, &loaded, &counted) {
        (Some(plan), Ok(_), Ok(_)) => tokio::select! {
            replayed = replay(plan, request.binlog, &mut target, &mut notes) => replayed,
            () = stopped(stop) => Err(RestoreError::Interrupted),
        },
        _ => Ok(()),
    };
    target.reset().await;
    let (loaded, counted, ()) = (loaded?, counted?, replayed?);
    notes.extend(loaded.old_names.iter().map(|name| format!("the text of {name} still names the old database")));
    notes.extend(counted.notes);
    notes.extend(saved.failed_databases.iter().map(|database| {
        format!("the backup is partial: it lacks the database {}: {}", quoted(&database.name), database.message)
    }));
    Ok(Restored {
        run: chosen.run.to_string(),
        recovery_point: plan.map_or(saved.recovery_point, |plan| plan.recovery_point),
        duration: started.elapsed(),
        databases: scope.databases.iter().map(|name| scope.target_of(name).to_owned()).collect(),
        tables: counted.tables,
        rows: counted.rows,
        statements: loaded.statements,
        differences: counted.differences,
        notes,
    })
}

/// Replays the binary log on top of the loaded backup.
async fn replay(
    plan: &Plan,
    binlog: BinlogPolicy,
    target: &mut Target<'_>,
    notes: &mut Vec<String>,
) -> Result<(), RestoreError> {
    target.raise_packet(target::MAX_PACKET as u64).await?;
    let mut connection = target.loader(binlog).await?;
    let progress = Progress::start("replay", plan.bytes);
    let played = replay::play(plan, &mut connection, |bytes| progress.set(bytes)).await;
    progress.finish();
    let _ = tokio::time::timeout(Duration::from_secs(1), connection.disconnect()).await;
    let played = played?;
    notes.push(format!("{} statements of the binary log are replayed", played.statements));
    let skipped = played.skipped;
    if !skipped.databases.is_empty() {
        let names: Vec<String> = skipped.databases.iter().map(|name| quoted(name)).collect();
        notes.push(format!("changes of other databases are not replayed: {}", names.join(", ")));
    }
    if skipped.accounts > 0 {
        notes.push(format!("{} changes of users and grants after the backup are not replayed", skipped.accounts));
    }
    Ok(())
}

/// To read the chosen file. Without them nothing can be restored.
async fn keys(request: &Request, chosen: &Chosen) -> Result<Keys, RestoreError> {
    let file = &chosen.saved()?.file;
    let identities = match request.identity_file.clone() {
        Some(path) => {
            let identities = blocking(move || Identities::read(&path)).await;
            Some(identities.map_err(|error| RestoreError::Refused(error.to_string()))?)
        }
        None => None,
    };
    Keys::of(file, identities.as_ref()).ok_or_else(|| {
        let recipients = file.encryption.iter().flat_map(|encryption| encryption.recipients.clone());
        RestoreError::Refused(format!(
            "{} is encrypted: set {IDENTITY_FLAG} to the secret key of one of its recipients: {}",
            chosen.run,
            recipients.collect::<Vec<_>>().join(", ")
        ))
    })
}

async fn verify_file(chosen: &Chosen, saved: &Success, keys: &Keys) -> Result<(), RestoreError> {
    let progress = Progress::start("verify", saved.file.stored_bytes);
    let (path, copy, keys, shown) = (chosen.path.clone(), saved.clone(), keys.clone(), progress.clone());
    let differences = blocking(move || stored::check(&path, &copy, Some(&keys), |bytes| shown.set(bytes))).await;
    progress.finish();
    let refuse = |why: String| {
        Err(RestoreError::Refused(format!("{} is not restored: {why}; choose another run with --run", chosen.run)))
    };
    match differences {
        Ok(differences) if differences.is_empty() => Ok(()),
        Ok(differences) => refuse(differences.join("; ")),
        Err(error) => refuse(format!("cannot read {}: {error}", chosen.path.display())),
    }
}

/// What it changes on the target, [`Target::reset`] undoes.
async fn prepare_and_load(
    request: &Request,
    chosen: &Chosen,
    (saved, keys): (&Success, Keys),
    scope: &Scope,
    target: &mut Target<'_>,
    notes: &mut Vec<String>,
) -> Result<load::Loaded, RestoreError> {
    if request.overwrite {
        target.clear(scope).await?;
    }
    target.prepare(saved).await?;
    let mut connection = target.loader(request.binlog).await?;
    let mut later = Vec::new();
    let progress = Progress::start("load", saved.file.uncompressed_bytes);
    let shown = progress.clone();
    let accounts = async |list: Vec<AccountStatement>| {
        later = account::create(request.accounts, saved, scope, target, list, notes).await?;
        Ok(())
    };
    let loaded =
        load::load(&chosen.path, keys, scope.clone(), &mut connection, accounts, |bytes| shown.set(bytes)).await;
    progress.finish();
    let _ = tokio::time::timeout(Duration::from_secs(1), connection.disconnect()).await;
    let loaded = loaded?;
    // Grants on tables and routines, which are there now.
    for AccountStatement { account, sql } in later {
        if let Err(error) = target.try_run(&sql).await {
            let error = mysql_kit::error_code::describe(&error);
            notes.push(format!("a grant of {account} is not restored: {error}"));
        }
    }
    Ok(loaded)
}
