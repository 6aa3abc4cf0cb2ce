//! Which part of the binary log a restore replays. What would stop it later is refused here, before anything is
//! changed.

use std::{collections::BTreeSet, path::PathBuf};

use jiff::{Timestamp, ToSpan as _};
use mysql_kit::Flavour;

use crate::{
    binlog::{self, BinlogClient, BinlogName, BinlogState, Chain, Events, Files, Start},
    choose::Chosen,
    manifest::Coordinates,
    restore::{
        error::RestoreError,
        filter::Scope,
        request::{At, Request},
    },
    state_file::StateFile as _,
};

#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) client: BinlogClient,
    pub(crate) flavour: Flavour,
    pub(crate) passes: Vec<Pass>,
    /// `None`: all but the server's own.
    pub(crate) databases: Option<BTreeSet<String>>,
    /// The state that is restored.
    pub(crate) recovery_point: Timestamp,
    pub(crate) bytes: u64,
}

/// Files that follow each other, which the flavour's program prints at once.
#[derive(Debug, Clone)]
pub(crate) struct Pass {
    pub(crate) files: Vec<(BinlogName, PathBuf)>,
    /// In the first file.
    pub(crate) from: u64,
    /// In the last file.
    pub(crate) to: u64,
    /// Events from this time on are left out.
    pub(crate) before: Option<Timestamp>,
    /// Whether some of it may be in the backup already.
    pub(crate) is_repeated: bool,
}

/// `None` if nothing is to be replayed; a note then says why, if a time was asked for. Blocks.
pub(crate) fn plan(
    request: &Request,
    chosen: &Chosen,
    scope: &Scope,
    notes: &mut Vec<String>,
) -> Result<Option<Plan>, RestoreError> {
    let Some(at) = request.at else { return Ok(None) };
    let saved = chosen.saved()?;
    let mut without = |why: &str| {
        notes.push(format!("{why}: the target has the state of the backup's recovery point, not that of --at"));
        Ok(None)
    };
    if scope.rename.is_some() || !scope.tables.is_empty() {
        return without("the binary log is not replayed with --as or --table");
    }
    let files = Files::read(&binlog::directory(&request.directory, &request.backup)).map_err(refused)?;
    if files.newest().is_none() {
        return without("no binary log was received (schedule --binlog.stream)");
    }
    if let At::Time(at) = at
        && at < saved.recovery_point
    {
        return refuse(format!("{} has a later recovery point: {}", chosen.run, saved.recovery_point));
    }
    let start = saved.coordinates.as_ref().and_then(|c| Some((c, Start::of(c, saved.recovery_point)?)));
    let Some((coordinates, start)) = start else {
        return refuse(format!("{} has no position in the binary log from which a replay could continue", chosen.run));
    };
    let chain = files.chain(&start).or_else(refuse)?;
    let settled = settled(coordinates, &start, &chain).or_else(refuse)?;
    if let At::Time(at) = at {
        require_snapshot_before(at, &chain, &settled, &chosen.run.to_string())?;
    }
    let (_, last) = chain.files.last().ok_or_else(|| refused("there is no file of the binary log"))?;
    let end = Events::read(last, u64::MAX).map_err(refused)?;
    let state = BinlogState::read(&request.directory.join(BinlogState::file(&request.backup))).ok();
    let recovery_point = recovery_point(at, &chain, end.last, state)?;

    let before = match at {
        // Events have whole seconds.
        At::Time(at) => Some(at + 1.second()),
        At::Latest => None,
    };
    let pass = |from: &Start, to: Option<&Start>| Pass {
        files: chain
            .files
            .iter()
            .filter(|(name, _)| *name >= from.file && to.is_none_or(|to| *name <= to.file))
            .cloned()
            .collect(),
        from: from.position,
        to: to.map_or(end.end, |to| to.position),
        before,
        is_repeated: to.is_some(),
    };
    let repeated = (!coordinates.exact).then(|| pass(&start, Some(&settled)));
    let passes: Vec<Pass> = repeated.into_iter().chain([pass(&settled, None)]).filter(Pass::has_events).collect();
    let is_whole_server = saved.all_databases && saved.failed_databases.is_empty() && request.databases.is_empty();
    Ok(Some(Plan {
        client: BinlogClient::find(saved.server.flavour).map_err(refused)?,
        flavour: saved.server.flavour,
        bytes: passes.iter().map(Pass::bytes).sum(),
        passes,
        databases: (!is_whole_server).then(|| scope.databases.clone()),
        recovery_point,
    }))
}

impl Pass {
    fn has_events(&self) -> bool {
        self.files.len() > 1 || self.from < self.to
    }

    pub(crate) fn sizes(&self) -> Vec<(BinlogName, u64)> {
        let size = |path: &PathBuf| path.metadata().map_or(0, |file| file.len());
        self.files.iter().map(|(name, path)| (name.clone(), size(path))).collect()
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.sizes().iter().map(|(_, size)| size).sum()
    }
}

fn refuse<T>(why: String) -> Result<T, RestoreError> {
    Err(RestoreError::Refused(format!("{why}. Without --at, the backup alone is restored; --run chooses another one")))
}

fn refused(error: impl std::fmt::Display) -> RestoreError {
    RestoreError::Refused(error.to_string())
}

/// The first position of which nothing is in the backup.
fn settled(coordinates: &Coordinates, start: &Start, chain: &Chain) -> Result<Start, String> {
    if coordinates.exact {
        return Ok(start.clone());
    }
    let settled = coordinates.settled.as_ref().and_then(|after| {
        let file = BinlogName::parse(&after.binlog_file)?;
        Some(Start { file, position: after.binlog_position, at: start.at })
    });
    let settled = settled.ok_or("the backup's position in the binary log is not exact")?;
    if chain.files.iter().all(|(name, _)| *name != settled.file) {
        return Err(format!("{} is not among the received files of the binary log", settled.file));
    }
    Ok(settled)
}

/// A backup that took its snapshot late has changes after the time.
fn require_snapshot_before(at: Timestamp, chain: &Chain, settled: &Start, run: &str) -> Result<(), RestoreError> {
    let Some((_, path)) = chain.files.iter().find(|(name, _)| *name == settled.file) else { return Ok(()) };
    match Events::read(path, settled.position).map_err(refused)?.last {
        Some(last) if last > at => refuse(format!("{run} has changes until {last}, which is after --at")),
        _ => Ok(()),
    }
}

fn recovery_point(
    at: At,
    chain: &Chain,
    last_event: Option<Timestamp>,
    state: Option<BinlogState>,
) -> Result<Timestamp, RestoreError> {
    let known = state.filter(|_| chain.is_whole).and_then(|state| state.recovery_point);
    let Some(reach) = known.max(last_event) else { return refuse("the received binary log is empty".to_owned()) };
    match at {
        At::Latest if chain.is_whole => Ok(reach),
        At::Latest => Err(refused(format!("files of the binary log are missing after {reach}: use --at={reach}"))),
        At::Time(at) if at <= reach => Ok(at),
        At::Time(_) if chain.is_whole => {
            Err(refused(format!("the binary log is received up to {reach}: for the newest state, use --at=latest")))
        }
        At::Time(_) => Err(refused(format!("files of the binary log are missing after {reach}: use --at={reach}"))),
    }
}
