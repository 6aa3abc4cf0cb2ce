//! The schema: numbered files, each applied once, even if several replicas start together.

use std::time::Duration;

use jiff::Timestamp;
use mysql_async::{Row, prelude::Queryable};
use mysql_kit::{error_code, typed};
use service_kit::hex;
use sha2::{Digest, Sha256};

use crate::{
    db::{self, Db, DbError, Session, datetime},
    lifecycle::Lifecycle,
};

/// One statement per file: MySQL commits DDL at once, so a file of two could stop half-way. A crash between the
/// statement and its record runs the statement again, so it must bear that (`IF NOT EXISTS`). A file that was released
/// never changes.
const MIGRATIONS: &[Migration] = &[
    Migration { version: 1, name: "payment", sql: include_str!("../migrations/0001_payment.sql") },
    Migration { version: 2, name: "alert", sql: include_str!("../migrations/0002_alert.sql") },
];

/// Includes the wait for other replicas. A DDL statement that takes longer continues in the server, which holds the
/// lock until it ends.
const TIMEOUT: Duration = Duration::from_secs(60);
const LOCK_TIMEOUT_SECONDS: u32 = 30;

const FIRST_RETRY: Duration = Duration::from_millis(500);
const LAST_RETRY: Duration = Duration::from_secs(5);

struct Migration {
    version: u32,
    name: &'static str,
    sql: &'static str,
}

impl Migration {
    fn sha256(&self) -> String {
        hex::lower(Sha256::digest(self.sql))
    }
}

#[derive(Debug, thiserror::Error)]
enum MigrateError {
    #[error(transparent)]
    Db(#[from] DbError),
    #[error(
        "migration {version} ({name}) was applied from another text: restore the released file and add a new one instead"
    )]
    Changed { version: u32, name: &'static str },
    #[error("another replica has held the migrations' lock for {LOCK_TIMEOUT_SECONDS} s")]
    Locked,
}

/// Tries until the schema is in place. The replica serves meanwhile; see `Db::session`.
pub(crate) async fn migrate_until_done(db: &Db, lifecycle: &Lifecycle, instance: &str) {
    let mut pause = FIRST_RETRY;
    let mut last_error = String::new();
    loop {
        let outcome = migrate(db, instance).await;
        lifecycle.set_migrations_tried();
        match outcome {
            Ok(()) => {
                db.set_schema_in_place();
                tracing::info!(version = MIGRATIONS.len(), "schema is in place");
                return;
            }
            Err(error) => {
                let error = error.to_string();
                if error != last_error {
                    tracing::error!(error, "migrations failed; retrying");
                    last_error = error;
                }
            }
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LAST_RETRY);
    }
}

async fn migrate(db: &Db, instance: &str) -> Result<(), MigrateError> {
    // A quick look first: in the usual case there is nothing to lock, and no right to create tables is needed.
    let mut session = db.for_migrations(Duration::from_secs(2)).await?;
    if pending(&mut session).await?.is_empty() {
        return Ok(());
    }
    drop(session);

    let mut session = db.for_migrations(TIMEOUT).await?;
    let Session { conn, deadline } = &mut session;
    // The lock's names are the server's, not the database's; it ends with the connection.
    let got: Option<Option<u8>> = deadline
        .run(
            "lock the migrations",
            conn.exec_first(
                "SELECT GET_LOCK(LEFT(CONCAT('medassist_api.', DATABASE()), 64), ?)",
                (LOCK_TIMEOUT_SECONDS,),
            ),
        )
        .await?;
    if got.flatten() != Some(1) {
        return Err(MigrateError::Locked);
    }
    deadline
        .run(
            "create schema_migration",
            conn.query_drop(
                "CREATE TABLE IF NOT EXISTS schema_migration (
                    version    INT UNSIGNED NOT NULL PRIMARY KEY,
                    name       VARCHAR(64)  NOT NULL,
                    sha256     CHAR(64)     NOT NULL,
                    applied_at DATETIME(6)  NOT NULL COMMENT 'UTC',
                    applied_by VARCHAR(255) NOT NULL COMMENT 'the replica'
                ) ENGINE = InnoDB DEFAULT CHARACTER SET = utf8mb4",
            ),
        )
        .await?;
    for migration in pending(&mut session).await? {
        let Session { conn, deadline } = &mut session;
        deadline.run("apply a migration", conn.query_drop(migration.sql)).await?;
        let applied_at = datetime(db::whole_micros(Timestamp::now()));
        deadline
            .run(
                "record a migration",
                conn.exec_drop(
                    "INSERT INTO schema_migration (version, name, sha256, applied_at, applied_by) VALUES (?, ?, ?, ?, ?)",
                    (migration.version, migration.name, migration.sha256(), applied_at, instance),
                ),
            )
            .await?;
        tracing::info!(version = migration.version, name = migration.name, "migration applied");
    }
    let Session { conn, deadline } = session;
    deadline.run("release the migrations' lock", conn.disconnect()).await?;
    Ok(())
}

/// What is not applied yet. A database that is ahead of this program is fine: an older replica during a rolling update.
async fn pending(session: &mut Session) -> Result<Vec<&'static Migration>, MigrateError> {
    let Session { conn, deadline } = session;
    let select = async {
        let rows: Vec<Row> = conn.query("SELECT version, sha256 FROM schema_migration").await?;
        rows.into_iter().map(typed).collect()
    };
    let applied: Vec<(u32, String)> = match deadline.run("read schema_migration", select).await {
        Err(error) if error.code().is_some_and(error_code::is_unknown_table) => Vec::new(),
        outcome => outcome?,
    };
    let mut pending = Vec::new();
    for migration in MIGRATIONS {
        match applied.iter().find(|(version, _)| *version == migration.version) {
            None => pending.push(migration),
            Some((_, sha256)) if *sha256 == migration.sha256() => {}
            Some(_) => return Err(MigrateError::Changed { version: migration.version, name: migration.name }),
        }
    }
    Ok(pending)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_count_from_one_and_each_file_is_one_statement() {
        for (migration, expected) in MIGRATIONS.iter().zip(1..) {
            assert_eq!(migration.version, expected, "{}", migration.name);
            assert!(!migration.sql.contains(';'), "{}", migration.name);
        }
    }
}
