//! The status of a number that is compared with two thresholds.

use exporter_toolkit::CheckStatus;

/// For a number that is worse the larger it is.
pub(super) fn grade(value: f64, warn: f64, fail: f64) -> CheckStatus {
    if value >= fail {
        CheckStatus::Fail
    } else if value >= warn {
        CheckStatus::Warn
    } else {
        CheckStatus::Ok
    }
}
