//! For the tests of collectors.

use std::sync::Arc;

use exposition::{Format, Snapshot, encode};

use crate::check::CheckStatus;
use crate::declared;
use crate::exporter::Collector;
use crate::family::Families;

/// What the collector writes for this session. Panics if it fails, or writes a family or check that it does not
/// declare.
pub async fn collect<S>(collector: &dyn Collector<S>, session: &S) -> Families {
    let mut families = Families::default();
    let result = collector.collect(session, &mut families).await;
    assert!(result.is_ok(), "{}: {:?}", collector.name(), result.err());
    assert_eq!(declared::verify(collector, &families), Ok(()));
    families
}

/// The page in the text format, without help texts. Panics if a sample is dropped.
pub fn page(families: Families) -> String {
    let (batch, _) = families.finish();
    assert_eq!(batch.losses(), []);
    let (snapshot, lost) = Snapshot::assemble([Arc::new(batch)]);
    assert_eq!(lost, []);
    let page = encode(&snapshot, Format::Text);
    let page = String::from_utf8_lossy(&page);
    page.lines().filter(|line| !line.starts_with("# HELP")).map(|line| format!("{line}\n")).collect()
}

/// The samples of such a page, one per line.
pub fn samples(families: Families) -> Vec<String> {
    page(families).lines().filter(|line| !line.starts_with('#')).map(str::to_owned).collect()
}

/// The health checks: name, status, reason.
pub fn checks(families: Families) -> Vec<(&'static str, CheckStatus, String)> {
    let (_, checks) = families.finish();
    checks.into_iter().map(|result| (result.check.name, result.status, result.reason)).collect()
}
