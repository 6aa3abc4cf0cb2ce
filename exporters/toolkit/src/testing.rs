//! For the tests of collectors.

use std::sync::Arc;

use crate::check::CheckStatus;
use crate::encode::{Format, encode};
use crate::family::Families;
use crate::snapshot::Snapshot;

/// What a collector wrote, as a page of the text format without its help texts. Panics where a sample would be dropped.
pub fn page(families: Families) -> String {
    let (snapshot, dropped) = Snapshot::assemble([Arc::new(families.finish())]);
    assert_eq!(dropped.total(), 0, "{dropped:?}");
    let page = encode(&snapshot, Format::Text);
    let page = String::from_utf8_lossy(&page);
    page.lines().filter(|line| !line.starts_with("# HELP")).map(|line| format!("{line}\n")).collect()
}

/// The samples of such a page, a line each.
pub fn samples(families: Families) -> Vec<String> {
    page(families).lines().filter(|line| !line.starts_with('#')).map(str::to_owned).collect()
}

/// The checks that a collector reported: name, status, reason.
pub fn checks(families: Families) -> Vec<(&'static str, CheckStatus, String)> {
    let checks = families.finish().checks.into_iter();
    checks.map(|result| (result.check.name, result.status, result.reason)).collect()
}
