//! All that one scrape saw: families in order of their names, immutable.

use std::sync::Arc;

use crate::family::{Dropped, Family, Part};

#[derive(Debug, Default)]
pub struct Snapshot {
    pub(crate) families: Vec<Arc<Family>>,
}

impl Snapshot {
    /// Puts finished parts together. Two collectors may write to one family; where they disagree about its type or labels the first one stays
    /// and the other's samples are dropped.
    pub fn assemble<'a>(parts: impl IntoIterator<Item = &'a Part>) -> (Self, Dropped) {
        let mut dropped = Dropped::default();
        let mut families: Vec<Arc<Family>> = Vec::new();
        for part in parts {
            dropped.add(part.dropped);
            families.extend(part.families.iter().cloned());
        }
        // Stable: among families of one name the first part's comes first.
        families.sort_by(|a, b| a.name.cmp(&b.name));
        let mut distinct: Vec<Arc<Family>> = Vec::with_capacity(families.len());
        for family in families {
            match distinct.last_mut().filter(|last| last.name == family.name) {
                Some(last) => {
                    let (merged, lost) = last.merged(&family);
                    *last = Arc::new(merged);
                    dropped.add(lost);
                }
                None => distinct.push(family),
            }
        }
        (Self { families: distinct }, dropped)
    }

    pub fn sample_count(&self) -> usize {
        self.families.iter().map(|family| family.rows.len()).sum()
    }

    pub(crate) fn contains(&self, name: &str) -> bool {
        self.families.binary_search_by(|family| family.name.as_ref().cmp(name)).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encode::{Format, encode};
    use crate::family::{Desc, Families};

    #[test]
    fn two_collectors_may_share_a_family() {
        let desc = Desc::gauge("shared", "Shared.", &["from"]);
        let part = |from: &[&str]| {
            let mut families = Families::default();
            from.iter().for_each(|from| families.push(&desc, &[from], 1.0));
            families.finish()
        };
        let (snapshot, dropped) = Snapshot::assemble([&part(&["b", "x"]), &part(&["a", "x"])]);
        assert_eq!(
            String::from_utf8(encode(&snapshot, Format::Text)).unwrap(),
            "# HELP shared Shared.\n# TYPE shared gauge\nshared{from=\"a\"} 1\nshared{from=\"b\"} 1\nshared{from=\"x\"} 1\n"
        );
        assert_eq!(dropped.duplicate, 1);
    }

    #[test]
    fn a_second_declaration_that_disagrees_is_dropped() {
        let part = |desc: &Desc, labels: &[&str]| {
            let mut families = Families::default();
            families.push(desc, labels, 1.0);
            families.finish()
        };
        let first = part(&Desc::gauge("x", "First.", &[]), &[]);
        let other_kind = part(&Desc::counter("x", "Other type.", &[]), &[]);
        let other_labels = part(&Desc::gauge("x", "Other labels.", &["a"]), &["1"]);
        let (snapshot, dropped) = Snapshot::assemble([&first, &other_kind, &other_labels]);
        assert_eq!(
            String::from_utf8(encode(&snapshot, Format::Text)).unwrap(),
            "# HELP x First.\n# TYPE x gauge\nx 1\n"
        );
        assert_eq!(dropped.invalid, 2);
    }
}
