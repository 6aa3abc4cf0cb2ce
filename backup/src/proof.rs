//! The proof: what `mysql-backup verify --restore` found, as JSON next to the backup that it restored.
//!
//! ```json
//! {
//!   "schema_version": 1,
//!   "run": "medassist-20261122T180900Z",
//!   "started_at": "2026-11-22T19:00:00Z",
//!   "finished_at": "2026-11-22T19:04:10Z",
//!   "result": "proven",
//!   "recovery_point": "2026-11-22T18:09:00.204Z",
//!   "restore_seconds": 181.2,
//!   "server_version": "10.11.19-MariaDB",
//!   "tables": 42, "rows": 1200345, "tables_compared": 40,
//!   "canary": { "column": "app.heartbeat.at", "newest": "2026-11-22T18:08:59Z" },
//!   "differences": []
//! }
//! ```
//!
//! `result` is `proven`, `different` (the restored data is not what the manifest says: `differences`) or `failed` (the
//! restore itself failed: `message`). `restore_seconds` is the measured recovery time: verifying the file, loading it
//! and comparing the counts. `tables_compared` counts the tables whose rows were compared by checksum, the others by
//! number. `source` is `offsite` if the off-site copy was restored. A proof is replaced by the next one of the same
//! backup.

use std::path::Path;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::manifest::{MAX_BYTES, ParseError, ReadError, read_bounded};

/// The version that this code writes, and the only one that it reads.
pub const SCHEMA_VERSION: u32 = 1;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Proof {
    pub schema_version: u32,
    /// The run whose backup was restored: the start of its files' names.
    pub run: String,
    pub started_at: Timestamp,
    pub finished_at: Timestamp,
    pub result: ProofResult,
    /// Why the restore failed; for people, without row data.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// Which copy of the backup was restored; absent: the one next to the proof.
    #[serde(default, skip_serializing_if = "ProofSource::is_local")]
    pub source: ProofSource,
    /// The backup's, which a restore would bring back.
    pub recovery_point: Timestamp,
    /// The measured recovery time; absent if the restore failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restore_seconds: Option<f64>,
    /// Of the throwaway server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server_version: Option<String>,
    pub tables: u64,
    pub rows: u64,
    pub tables_compared: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub canary: Option<Canary>,
    /// The first 100, one sentence each.
    pub differences: Vec<String>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ProofSource {
    #[default]
    Local,
    Offsite,
}

impl ProofSource {
    #[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
    fn is_local(&self) -> bool {
        *self == Self::Local
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ProofResult {
    Proven,
    Different,
    Failed,
}

/// The newest value of a column that the application writes all the time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Canary {
    /// `DATABASE.TABLE.COLUMN`.
    pub column: String,
    /// Absent if the restored table is empty.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub newest: Option<Timestamp>,
}

impl Proof {
    pub fn is_proven(&self) -> bool {
        self.result == ProofResult::Proven
    }

    /// Reads and checks one proof, with the bounds of a manifest.
    pub fn read(path: &Path) -> Result<Self, ReadError> {
        Self::parse(&read_bounded(path)?).map_err(|source| ReadError::Parse { path: path.to_owned(), source })
    }

    pub fn parse(bytes: &[u8]) -> Result<Self, ParseError> {
        if u64::try_from(bytes.len()).is_ok_and(|len| len > MAX_BYTES) {
            return Err(ParseError::TooLarge);
        }
        let proof: Self = serde_json::from_slice(bytes)?;
        if proof.schema_version != SCHEMA_VERSION {
            return Err(ParseError::Version(proof.schema_version));
        }
        if (!proof.is_proven() || proof.differences.is_empty()) && proof.started_at <= proof.finished_at {
            Ok(proof)
        } else {
            Err(ParseError::Invalid("its result, its differences and its times do not agree"))
        }
    }

    /// The JSON to store.
    pub fn to_json(&self) -> Result<Vec<u8>, ParseError> {
        let mut json = serde_json::to_vec_pretty(self)?;
        json.push(b'\n');
        Ok(json)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROVEN: &[u8] = include_bytes!("../fixtures/proven.good.json");

    #[test]
    fn a_proof_survives_a_round_trip() {
        let proof = Proof::parse(PROVEN).unwrap();
        assert!(proof.is_proven());
        assert_eq!(String::from_utf8(proof.to_json().unwrap()).unwrap(), String::from_utf8(PROVEN.to_vec()).unwrap());
    }

    #[test]
    fn a_proof_that_contradicts_itself_is_refused() {
        let text = String::from_utf8(PROVEN.to_vec()).unwrap();
        let other = text.replace("\"differences\": []", "\"differences\": [\"x\"]");
        assert!(matches!(Proof::parse(other.as_bytes()), Err(ParseError::Invalid(_))));
        let newer = text.replace("\"schema_version\": 1", "\"schema_version\": 2");
        assert!(matches!(Proof::parse(newer.as_bytes()), Err(ParseError::Version(2))));
    }
}
