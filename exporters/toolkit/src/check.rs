//! One question about a service's health, and the answer that a collector gives.

use serde::Serialize;

/// One check that an exporter knows, declared once.
#[derive(Debug, PartialEq, Eq)]
pub struct CheckDef {
    pub name: &'static str,
    pub help: &'static str,
    /// Without it the service does not do its work: its failure means `down`, any other failure `degraded`.
    pub essential: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum CheckStatus {
    Ok,
    Warn,
    Fail,
}

impl CheckStatus {
    pub(crate) const NAMES: [&str; 3] = ["ok", "warn", "fail"];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warn => "warn",
            Self::Fail => "fail",
        }
    }
}

/// What a check found, and the sentence with the numbers.
pub type Finding = (CheckStatus, String);

#[derive(Clone, Debug)]
pub struct CheckResult {
    pub check: &'static CheckDef,
    pub status: CheckStatus,
    pub reason: String,
}
