//! One health check of a service, and its result.

use serde::Serialize;

/// The declaration of a health check, next to the collector that makes it.
#[derive(Debug, PartialEq, Eq)]
pub struct CheckDef {
    pub name: &'static str,
    pub help: &'static str,
    /// Whether the service cannot work while this check fails. Its failure means `down`, any other one `degraded`.
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

    /// The status of a number for which larger is worse. Without a limit for failure pass [`f64::INFINITY`].
    pub fn grade(value: f64, warn: f64, fail: f64) -> Self {
        if value >= fail {
            Self::Fail
        } else if value >= warn {
            Self::Warn
        } else {
            Self::Ok
        }
    }
}

/// The result of a check: the status, and a sentence with the numbers.
pub type Finding = (CheckStatus, String);

#[derive(Clone, Debug)]
pub struct CheckResult {
    pub check: &'static CheckDef,
    pub status: CheckStatus,
    pub reason: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_reaches_its_limits() {
        for (value, expected) in
            [(0.0, CheckStatus::Ok), (5.0, CheckStatus::Warn), (9.9, CheckStatus::Warn), (10.0, CheckStatus::Fail)]
        {
            assert_eq!(CheckStatus::grade(value, 5.0, 10.0), expected, "{value}");
        }
        assert_eq!(CheckStatus::grade(1e300, 5.0, f64::INFINITY), CheckStatus::Warn);
    }
}
