//! What a person should read although the backup is good.

use serde::{Deserialize, Serialize};

/// One kind of limitation, and the objects that have it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Warning {
    pub kind: WarningKind,
    /// One line: what it means for a restore, and what to do. Holds no row data.
    pub message: String,
    /// The first hundred of the tables, columns or accounts concerned.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub objects: Vec<String>,
}

/// Few words, fit for a label's values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WarningKind {
    /// The dump client writes FLOAT columns with 6 digits.
    FloatDigits,
    /// Characters without a Unicode mapping become question marks.
    UnmappedCharacters,
    /// Tables whose engine has no snapshots: not consistent with the others.
    NoSnapshot,
    /// A statement is longer than the server's own max_allowed_packet.
    LargeStatement,
    /// The dump client can't save the history of system-versioned tables.
    HistoryLost,
    /// Users and grants are not in the backup.
    AccountsMissing,
    /// The server has a binary log, but its position is not in the manifest.
    CoordinatesMissing,
    /// Only one key decrypts the backup.
    SingleRecipient,
    /// A directory in the data directory that is not a database.
    NotADatabase,
    /// A word of a newer writer.
    #[serde(other)]
    Unknown,
}

impl WarningKind {
    /// The word in the manifest.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::FloatDigits => "float_digits",
            Self::UnmappedCharacters => "unmapped_characters",
            Self::NoSnapshot => "no_snapshot",
            Self::LargeStatement => "large_statement",
            Self::HistoryLost => "history_lost",
            Self::AccountsMissing => "accounts_missing",
            Self::CoordinatesMissing => "coordinates_missing",
            Self::SingleRecipient => "single_recipient",
            Self::NotADatabase => "not_a_database",
            Self::Unknown => "unknown",
        }
    }
}
