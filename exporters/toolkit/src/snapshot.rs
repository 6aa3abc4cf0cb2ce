//! All that one scrape saw: families in order of their names, immutable.

use std::cmp::Ordering;
use std::ops::Range;
use std::sync::Arc;

use crate::encode::Names;
use crate::family::{Dropped, Family, Part};

#[derive(Debug, Default)]
pub struct Snapshot {
    /// The collectors' own, and in the last one those families that several wrote to.
    parts: Vec<Arc<Part>>,
    order: Vec<Place>,
}

/// Where a family is: it stays in its part, which scrapes share.
#[derive(Clone, Copy, Debug)]
struct Place {
    part: usize,
    family: usize,
}

impl Snapshot {
    /// Puts finished parts together. Two collectors may write to one family; where they disagree about its type or labels the first one stays
    /// and the other's samples are dropped.
    pub fn assemble(parts: impl IntoIterator<Item = Arc<Part>>) -> (Self, Dropped) {
        let mut dropped = Dropped::default();
        let mut parts: Vec<Arc<Part>> = parts.into_iter().collect();
        let mut all: Vec<(&Family, Place)> = Vec::with_capacity(parts.iter().map(|part| part.families.len()).sum());
        for (index, part) in parts.iter().enumerate() {
            dropped.add(part.dropped);
            let places = (0..).map(|family| Place { part: index, family });
            all.extend(part.families.iter().zip(places));
        }
        // Stable: among families of one name the first part's comes first.
        all.sort_by(|(a, _), (b, _)| a.name.cmp(&b.name));
        let mut order = Vec::with_capacity(all.len());
        let mut merged = Part::default();
        for same in all.chunk_by(|(a, _), (b, _)| a.name == b.name) {
            match same {
                [(_, place)] => order.push(*place),
                [(first, _), others @ ..] => {
                    let mut family = (*first).clone();
                    for (other, _) in others {
                        let (both, lost) = family.merged(other);
                        dropped.add(lost);
                        family = both;
                    }
                    order.push(Place { part: parts.len(), family: merged.families.len() });
                    merged.families.push(family);
                }
                [] => {}
            }
        }
        parts.push(Arc::new(merged));
        (Self { parts, order }, dropped)
    }

    /// In order of their names.
    pub(crate) fn families(&self) -> impl Iterator<Item = &Family> {
        self.order.iter().filter_map(|&place| self.family(place))
    }

    /// The same, by the parts that they come from: a stretch is as many as stand side by side in their part, too.
    pub(crate) fn stretches(&self) -> impl Iterator<Item = Stretch<'_>> {
        let together = |a: &Place, b: &Place| a.part == b.part && a.family + 1 == b.family;
        self.order.chunk_by(together).filter_map(|places| {
            let first = places.first()?;
            Some(Stretch { part: self.parts.get(first.part)?, families: first.family..first.family + places.len() })
        })
    }

    fn family(&self, place: Place) -> Option<&Family> {
        self.parts.get(place.part)?.families.get(place.family)
    }

    pub fn sample_count(&self) -> usize {
        self.families().map(|family| family.rows.len()).sum()
    }
}

impl Names for Snapshot {
    fn contains(&self, name: &str) -> bool {
        let found = self.order.binary_search_by(|&place| {
            self.family(place).map_or(Ordering::Less, |family| family.name.as_ref().cmp(name))
        });
        found.is_ok()
    }
}

/// Some of a part's families.
pub(crate) struct Stretch<'a> {
    pub(crate) part: &'a Part,
    pub(crate) families: Range<usize>,
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
            Arc::new(families.finish())
        };
        let (snapshot, dropped) = Snapshot::assemble([part(&["b", "x"]), part(&["a", "x"])]);
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
            Arc::new(families.finish())
        };
        let first = part(&Desc::gauge("x", "First.", &[]), &[]);
        let other_kind = part(&Desc::counter("x", "Other type.", &[]), &[]);
        let other_labels = part(&Desc::gauge("x", "Other labels.", &["a"]), &["1"]);
        let (snapshot, dropped) = Snapshot::assemble([first, other_kind, other_labels]);
        assert_eq!(
            String::from_utf8(encode(&snapshot, Format::Text)).unwrap(),
            "# HELP x First.\n# TYPE x gauge\nx 1\n"
        );
        assert_eq!(dropped.invalid, 2);
    }
}
