//! Verifies a backup: its file, and with `--restore` what a restore of it brings back.

mod throwaway;

use std::{path::PathBuf, time::Duration};

use jiff::Timestamp;
use mysql_async::prelude::Queryable as _;

use crate::{
    blocking::{blocking, storage_call},
    choose::{ChooseError, Chosen, choose},
    client::{Client, Features},
    dump::{Request as DumpRequest, dump_to_nowhere},
    encryption::{IDENTITY_FLAG, Identities, IdentityError},
    error::RunError,
    login::{Account, Login},
    manifest::Success,
    name::{BackupName, RunName},
    process::DumpProcess,
    progress::Progress,
    proof::{Canary, Proof, ProofResult, ProofSource, SCHEMA_VERSION},
    restore::{self, AccountPolicy, BinlogPolicy, RestoreError, Restored},
    run::ShutdownSignal,
    store::write_proof,
    stored::{self, Keys},
};
use throwaway::{Throwaway, ThrowawayError};

/// Which backup to verify, and how.
pub struct Request {
    pub directory: PathBuf,
    pub backup: BackupName,
    pub at: Option<Timestamp>,
    pub run: Option<String>,
    pub identity_file: Option<PathBuf>,
    pub restore: Option<RestoreRequest>,
}

/// How to prove a backup by restoring it.
pub struct RestoreRequest {
    /// `None`: a server that is started for it.
    pub target: Option<Account>,
    /// `DATABASE.TABLE.COLUMN`.
    pub canary: Option<String>,
    pub canary_max_age: Duration,
    pub timeout: Duration,
}

#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    #[error(transparent)]
    Choose(#[from] ChooseError),
    #[error(transparent)]
    Identity(#[from] IdentityError),
    #[error("cannot read {}: {source}", path.display())]
    Read { path: PathBuf, source: std::io::Error },
    #[error(transparent)]
    Throwaway(#[from] ThrowawayError),
    #[error("invalid --canary {0:?}: expected DATABASE.TABLE.COLUMN")]
    Canary(String),
    #[error(transparent)]
    Run(#[from] RunError),
}

/// What was verified.
#[derive(Debug)]
pub struct Verified {
    pub run: RunName,
    pub recovery_point: Timestamp,
    /// Empty: all is as the manifest says.
    pub differences: Vec<String>,
    /// Present after a restore.
    pub proof: Option<Proof>,
}

pub async fn verify(request: Request, stop: &mut ShutdownSignal) -> Result<Verified, VerifyError> {
    let Request { directory, backup, at, run, identity_file, restore } = request;
    let place = directory.clone();
    let chosen = blocking(move || choose(&place, &backup, at, run.as_deref())).await?;
    let saved = chosen.saved()?;
    let (run, recovery_point) = (chosen.run.clone(), saved.recovery_point);
    let Some(restore) = restore else {
        let differences = check_file(&chosen, saved, identity_file).await?;
        return Ok(Verified { run, recovery_point, differences, proof: None });
    };
    let proof = prove(&chosen, saved, (&directory, identity_file), restore, stop).await?;
    let (run_name, stored, place) = (chosen.run.clone(), proof.clone(), directory);
    storage_call("write the proof", move || write_proof(&place, &run_name, &stored)).await?;
    let mut differences = proof.differences.clone();
    differences.extend(proof.message.clone());
    Ok(Verified { run, recovery_point, differences, proof: Some(proof) })
}

async fn check_file(
    chosen: &Chosen,
    saved: &Success,
    identity_file: Option<PathBuf>,
) -> Result<Vec<String>, VerifyError> {
    let identities = match identity_file {
        Some(path) => Some(blocking(move || Identities::read(&path)).await?),
        None => None,
    };
    let keys = Keys::of(&saved.file, identities.as_ref());
    if keys.is_none() {
        tracing::warn!(run = %chosen.run, missing = IDENTITY_FLAG, "only the checksum is verified: the file is encrypted");
    }
    let progress = Progress::start("verify", saved.file.stored_bytes);
    let (path, copy, shown) = (chosen.path.clone(), saved.clone(), progress.clone());
    let differences = blocking(move || stored::check(&path, &copy, keys.as_ref(), |bytes| shown.set(bytes))).await;
    progress.finish();
    differences.map_err(|source| VerifyError::Read { path: chosen.path.clone(), source })
}

async fn prove(
    chosen: &Chosen,
    saved: &Success,
    (directory, identity_file): (&std::path::Path, Option<PathBuf>),
    request: RestoreRequest,
    stop: &mut ShutdownSignal,
) -> Result<Proof, VerifyError> {
    let canary = request.canary.map(|text| CanaryColumn::parse(&text).ok_or(VerifyError::Canary(text))).transpose()?;
    let started_at = Timestamp::now();
    let (_server, account) = match request.target {
        Some(account) => (None, account),
        None => {
            let server = Throwaway::start(saved.server.flavour).await?;
            let account = server.account();
            (Some(server), account)
        }
    };
    let wanted = restore::Request {
        directory: directory.to_owned(),
        backup: chosen.run.backup().clone(),
        at: None,
        run: Some(chosen.run.to_string()),
        identity_file,
        target: account.clone(),
        databases: Vec::new(),
        rename: None,
        tables: Vec::new(),
        overwrite: false,
        allow_replica: false,
        binlog: BinlogPolicy::Write,
        accounts: AccountPolicy::Definers,
    };
    let compared = async {
        let restored = restore::restore(wanted, stop).await?;
        let login = blocking(move || account.login()).await.map_err(RunError::from)?;
        Compared::of(saved, &restored, login, canary, request.canary_max_age).await
    };
    let compared = match tokio::time::timeout(request.timeout, compared).await {
        Ok(compared) => compared,
        Err(_) => Err(RestoreError::Failed(format!("the restore took longer than {} s", request.timeout.as_secs()))),
    };
    let proof = Proof {
        schema_version: SCHEMA_VERSION,
        run: chosen.run.to_string(),
        started_at,
        finished_at: Timestamp::now().max(started_at),
        result: ProofResult::Failed,
        message: None,
        source: ProofSource::Local,
        recovery_point: saved.recovery_point,
        restore_seconds: None,
        server_version: None,
        tables: 0,
        rows: 0,
        tables_compared: 0,
        canary: None,
        differences: Vec::new(),
    };
    Ok(match compared {
        Ok(compared) => compared.complete(proof),
        Err(error) => Proof { message: Some(error.to_string()), ..proof },
    })
}

struct Compared {
    restore_seconds: f64,
    server_version: String,
    tables: u64,
    rows: u64,
    tables_compared: u64,
    canary: Option<Canary>,
    differences: Vec<String>,
}

impl Compared {
    async fn of(
        saved: &Success,
        restored: &Restored,
        login: Login,
        canary: Option<CanaryColumn>,
        max_age: Duration,
    ) -> Result<Self, RestoreError> {
        let mut differences = restored.differences.clone();
        let mut connection = login.connect(1 << 24, vec!["SET SESSION time_zone = '+00:00'".to_owned()]).await?;
        let version: Option<String> =
            connection.query_first("SELECT @@version").await.map_err(|error| login.error(&error))?;
        let canary = match canary {
            Some(column) => {
                let found = column.newest(&mut connection).await.map_err(|error| login.error(&error))?;
                differences.extend(column.difference(found, saved.recovery_point, max_age));
                Some(Canary { column: column.to_string(), newest: found })
            }
            None => None,
        };
        let _ = tokio::time::timeout(Duration::from_secs(1), connection.disconnect()).await;

        // The same dump of it must have the same contents.
        let databases = saved.databases.clone();
        let features = Features {
            versioned_tables: saved.tool.flags.iter().any(|flag| flag == "--dump-history"),
            ..Features::default()
        };
        let flavour = saved.server.flavour;
        let (mut more, tables_compared) = blocking(move || {
            let names = databases.iter().map(|database| database.name.clone()).collect();
            let client = Client::find(flavour)?;
            let request = DumpRequest { databases: names, ignored: Vec::new(), features };
            let scanned = dump_to_nowhere(&client, &login, &request, &DumpProcess::default())?;
            // One-off events whose time is past are not created.
            Ok::<_, RunError>(stored::compare(&databases, &scanned, |_, kind| kind == "events"))
        })
        .await?;
        differences.append(&mut more);
        Ok(Self {
            restore_seconds: restored.duration.as_secs_f64(),
            server_version: version.unwrap_or_default(),
            tables: restored.tables,
            rows: restored.rows,
            tables_compared,
            canary,
            differences,
        })
    }

    fn complete(self, proof: Proof) -> Proof {
        let result = if self.differences.is_empty() { ProofResult::Proven } else { ProofResult::Different };
        Proof {
            result,
            restore_seconds: Some(self.restore_seconds),
            server_version: Some(self.server_version),
            tables: self.tables,
            rows: self.rows,
            tables_compared: self.tables_compared,
            canary: self.canary,
            differences: self.differences,
            ..proof
        }
    }
}

/// A column of times that the application writes all the time.
struct CanaryColumn {
    database: String,
    table: String,
    column: String,
}

impl CanaryColumn {
    fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('.').map(str::to_owned).filter(|part| !part.is_empty());
        let column = Self { database: parts.next()?, table: parts.next()?, column: parts.next()? };
        parts.next().is_none().then_some(column)
    }

    async fn newest(&self, connection: &mut mysql_async::Conn) -> mysql_async::Result<Option<Timestamp>> {
        let quoted = |name: &str| format!("`{}`", name.replace('`', "``"));
        let query = format!(
            "SELECT CAST(UNIX_TIMESTAMP(MAX({})) AS DOUBLE) FROM {}.{}",
            quoted(&self.column),
            quoted(&self.database),
            quoted(&self.table)
        );
        let seconds: Option<Option<f64>> = connection.query_first(query).await?;
        let seconds = seconds.flatten().and_then(|seconds| jiff::SignedDuration::try_from_secs_f64(seconds).ok());
        Ok(seconds.and_then(|since| Timestamp::from_duration(since).ok()))
    }

    fn difference(&self, newest: Option<Timestamp>, recovery_point: Timestamp, max_age: Duration) -> Option<String> {
        let Some(newest) = newest else { return Some(format!("the canary {self} has no value")) };
        let age = Duration::try_from(recovery_point.duration_since(newest)).unwrap_or_default();
        (age > max_age).then(|| {
            format!("the canary {self} is {} s older than the recovery point: is the application down?", age.as_secs())
        })
    }
}

impl std::fmt::Display for CanaryColumn {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}.{}", self.database, self.table, self.column)
    }
}
