//! Pages of two exporters of HAProxy, series by series.

use std::collections::{BTreeMap, BTreeSet};

use crate::testbed::Page;

pub type Series = (String, BTreeMap<String, String>);

/// The series of a page that are about HAProxy. Those with the value `NaN` are absent from our page.
pub fn series(page: &Page) -> BTreeMap<Series, f64> {
    let known = page.samples().iter().filter(|sample| sample.name.starts_with("haproxy_") && !sample.value.is_nan());
    known.map(|sample| ((sample.name.clone(), sample.labels.clone()), sample.value)).collect()
}

/// Every series of the peer must be on our page with the peer's type, and with a value between those of the peer's page
/// before and after ours: counters of time grow between the scrapes. `expected` selects the series that may differ.
pub fn compare(before: &Page, ours: &Page, after: &Page, expected: impl Fn(&Series) -> bool) -> usize {
    let (mine, after_values) = (series(ours), series(after));
    let mut differences = Vec::new();
    let mut compared = 0;
    for (key, first) in series(before) {
        let Some(second) = after_values.get(&key).copied() else { continue };
        if expected(&key) {
            continue;
        }
        compared += 1;
        let family = &key.0;
        if before.kind(family) != ours.kind(family) {
            differences.push(format!("{family}: type {:?} there, {:?} here", before.kind(family), ours.kind(family)));
        }
        match mine.get(&key) {
            Some(value) if (first.min(second)..=first.max(second)).contains(value) => {}
            Some(value) => differences.push(format!("{key:?}: {first} to {second} there, {value} here")),
            None => differences.push(format!("{key:?}: {first} there, absent here")),
        }
    }
    assert!(differences.is_empty(), "{}", differences.join("\n"));
    compared
}

/// The families with series on our page that the peer's lacks, without those about the exporter itself.
pub fn additional(ours: &Page, peer: &Page) -> Vec<String> {
    let theirs: BTreeSet<Series> = peer.samples().iter().map(|s| (s.name.clone(), s.labels.clone())).collect();
    let own = ["haproxy_health_", "haproxy_exporter_"];
    let more = series(ours).into_keys().filter(|key| !theirs.contains(key)).map(|(name, _)| name);
    let mut more: Vec<String> = more.filter(|name| !own.iter().any(|prefix| name.starts_with(prefix))).collect();
    more.dedup();
    more
}
