//! `mysql-backup` as the tests run it: a server, the user of its README, a directory for the backups.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::error::Error;
use crate::testbed::program::{Finished, Program};
use crate::testbed::servers::Database;
use medassist_stack::database::{self, Flavour};
use serde_json::Value;
use tempfile::TempDir;

/// For a run to its end.
pub const DEADLINE: Duration = Duration::from_secs(120);
/// The name of the backup.
pub const NAME: &str = "nightly";
/// All that an option file or a shell could trip over.
pub const PASSWORD: &str = r#"p"a's\s#s;w o$rd`%"#;

const README: &str = include_str!("../../../backup/README.md");

/// The README's grants for a flavour, on all databases.
pub fn grants(flavour: Flavour) -> Result<String, Error> {
    let word = if flavour.is_mariadb() { "definitions of routines" } else { "SHOW_ROUTINE" };
    block_with(word)
}

/// The README's further grants for `--binlog.stream`.
pub fn stream_grants() -> Result<String, Error> {
    block_with("REPLICATION SLAVE")
}

fn block_with(word: &str) -> Result<String, Error> {
    let blocks = README.split("```sql\n").skip(1).filter_map(|block| block.split("```").next());
    let block = blocks.into_iter().find(|block| block.contains(word));
    let block = block.ok_or_else(|| Error::Series(format!("the README has no block of SQL with {word:?}")))?;
    let quoted = PASSWORD.replace('\\', r"\\").replace('\'', "''");
    Ok(block.replace("'…'", &format!("'{quoted}'")).replace("medassist.*", "*.*"))
}

/// A server with something to save, and a directory to save it in.
pub struct Site {
    pub db: Database,
    pub home: TempDir,
}

impl Site {
    /// A server with the README's user and these statements, with further arguments of the server.
    pub async fn start(flavour: Flavour, args: &[&str], statements: &str) -> Result<Self, Error> {
        let home = TempDir::new().map_err(medassist_stack::Error::io("cannot create a directory"))?;
        let db = Database::start_as(flavour, args).await?;
        db.sql(&grants(flavour)?)?;
        db.sql(statements)?;
        for directory in ["backups", "temporary"] {
            let path = home.path().join(directory);
            std::fs::create_dir(&path).map_err(medassist_stack::Error::file("cannot create", &path))?;
        }
        let password = home.path().join("password");
        std::fs::write(&password, format!("{PASSWORD}\n"))
            .map_err(medassist_stack::Error::file("cannot write", &password))?;
        Ok(Self { db, home })
    }

    pub fn directory(&self) -> PathBuf {
        self.home.path().join("backups")
    }

    /// A command about this backup, with the flavour's programs in its PATH.
    pub fn command(&self, command: &str) -> Result<Program, Error> {
        Ok(self.bare(command)?.arg(format!("--backup.directory={}", self.directory().display())))
    }

    /// The same, without the directory.
    pub fn bare(&self, command: &str) -> Result<Program, Error> {
        Ok(Program::new("mysql-backup")
            .env("TMPDIR", self.home.path().join("temporary"))
            .env("PATH", database::path_of(self.db.flavour())?)
            .arg(command)
            .arg(format!("--backup.name={NAME}")))
    }

    /// `run` or `schedule`, with the login.
    pub fn job(&self, command: &str) -> Result<Program, Error> {
        self.job_at(command, self.db.address())
    }

    /// The same, through another address.
    pub fn job_at(&self, command: &str, address: SocketAddr) -> Result<Program, Error> {
        Ok(self
            .command(command)?
            .arg(format!("--mysql.address={address}"))
            .arg("--mysql.user=backup")
            .arg(format!("--mysql.password-file={}", self.home.path().join("password").display())))
    }

    pub async fn run(&self, args: &[&str]) -> Result<Finished, Error> {
        Ok(self.job("run")?.args(args.iter().copied()).run(DEADLINE).await?)
    }

    pub async fn restore(&self, target: &Path, args: &[&str]) -> Result<Finished, Error> {
        let restore = self.command("restore")?.arg(format!("--target.address=unix://{}", target.display()));
        Ok(restore.args(args.iter().copied()).run(DEADLINE).await?)
    }

    pub async fn verify(&self, args: &[&str]) -> Result<Finished, Error> {
        Ok(self.command("verify")?.args(args.iter().copied()).run(DEADLINE).await?)
    }

    /// What the directory holds but hidden files, sorted.
    pub fn files(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.directory()).into_iter().flatten().flatten();
        let mut names: Vec<String> = entries
            .filter_map(|entry| entry.file_name().into_string().ok())
            .filter(|name| !name.starts_with('.'))
            .collect();
        names.sort();
        names
    }

    /// All manifests, oldest first.
    pub fn manifests(&self) -> Vec<Value> {
        self.files()
            .iter()
            .filter(|name| name.ends_with(".manifest.json"))
            .filter_map(|name| serde_json::from_slice(&std::fs::read(self.directory().join(name)).ok()?).ok())
            .collect()
    }

    /// The newest backup's file.
    pub fn backup(&self) -> PathBuf {
        let files = self.files();
        let newest = files.iter().rfind(|name| name.ends_with(".sql.zst") || name.ends_with(".sql.zst.age"));
        self.directory().join(newest.map_or("none", String::as_str))
    }
}
