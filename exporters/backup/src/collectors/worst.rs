//! One health check over all backups.

use exporter_toolkit::{CheckDef, Families, Finding};

/// Reports the worst status, and the reasons of the backups that have it.
pub(super) fn report_worst(
    check: &'static CheckDef,
    findings: impl Iterator<Item = Option<Finding>>,
    out: &mut Families,
) {
    let findings: Vec<_> = findings.flatten().collect();
    let Some(worst) = findings.iter().map(|(status, _)| *status).max() else { return };
    let reasons: Vec<_> =
        findings.iter().filter(|(status, _)| *status == worst).map(|(_, reason)| reason.as_str()).collect();
    out.check(check, worst, reasons.join("; "));
}
