//! All families of one scrape in the order of their names, immutable.

use std::cmp::Ordering;
use std::sync::Arc;

use crate::family::{Dropped, Family};
use crate::writer::FamilyBatch;

#[derive(Debug, Default)]
pub struct Snapshot {
    /// The collectors' batches. The last one has the families that several collectors wrote to.
    batches: Vec<Arc<FamilyBatch>>,
    order: Vec<Position>,
}

/// Where a family is. It stays in its batch, which scrapes share.
#[derive(Clone, Copy, Debug)]
struct Position {
    batch: usize,
    family: usize,
}

impl Snapshot {
    /// Puts finished batches together. Two collectors may write to one family. If type or labels differ, the first
    /// declaration is kept and the samples of the other one are dropped.
    pub fn assemble(batches: impl IntoIterator<Item = Arc<FamilyBatch>>) -> (Self, Dropped) {
        let mut dropped = Dropped::default();
        let mut batches: Vec<Arc<FamilyBatch>> = batches.into_iter().collect();
        let mut all: Vec<(&str, &Family, Position)> =
            Vec::with_capacity(batches.iter().map(|batch| batch.families.len()).sum());
        for (index, batch) in batches.iter().enumerate() {
            dropped.add(batch.dropped);
            let positions = (0..).map(|family| Position { batch: index, family });
            all.extend(batch.families.iter().zip(positions).map(|((name, family), at)| (name.as_ref(), family, at)));
        }
        // Stable: of families with the same name the one of the first batch is first.
        all.sort_by_key(|(name, ..)| *name);
        let mut order = Vec::with_capacity(all.len());
        let mut merged = FamilyBatch::default();
        for same in all.chunk_by(|(a, ..), (b, ..)| a == b) {
            match same {
                [(.., position)] => order.push(*position),
                [(name, first, _), others @ ..] => {
                    let mut family = (*first).clone();
                    for (_, other, _) in others {
                        let (both, lost) = family.merged(other);
                        dropped.add(lost);
                        family = both;
                    }
                    order.push(Position { batch: batches.len(), family: merged.families.len() });
                    merged.families.insert((*name).to_owned().into(), family);
                }
                [] => {}
            }
        }
        batches.push(Arc::new(merged));
        (Self { batches, order }, dropped)
    }

    /// Names and families in the order of the names.
    pub(crate) fn families(&self) -> impl Iterator<Item = (&str, &Family)> {
        self.order.iter().filter_map(|&position| self.family(position))
    }

    pub(crate) fn contains(&self, name: &str) -> bool {
        let found = self
            .order
            .binary_search_by(|&position| self.family(position).map_or(Ordering::Less, |(other, _)| other.cmp(name)));
        found.is_ok()
    }

    fn family(&self, position: Position) -> Option<(&str, &Family)> {
        let (name, family) = self.batches.get(position.batch)?.families.get_index(position.family)?;
        Some((name.as_ref(), family))
    }

    pub fn sample_count(&self) -> usize {
        self.families().map(|(_, family)| family.rows.len()).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::desc::Desc;
    use crate::encode::{Format, encode};
    use crate::writer::FamilyWriter;

    #[test]
    fn two_collectors_may_share_a_family() {
        let desc = Desc::gauge("shared", "Shared.", &["from"]);
        let batch = |from: &[&str]| {
            let mut families = FamilyWriter::default();
            from.iter().for_each(|from| families.push(&desc, &[from], 1.0));
            Arc::new(families.finish())
        };
        let (snapshot, dropped) = Snapshot::assemble([batch(&["b", "x"]), batch(&["a", "x"])]);
        assert_eq!(
            String::from_utf8(encode(&snapshot, Format::Text)).unwrap(),
            "# HELP shared Shared.\n# TYPE shared gauge\nshared{from=\"a\"} 1\nshared{from=\"b\"} 1\nshared{from=\"x\"} 1\n"
        );
        assert_eq!(dropped.duplicate, 1);
    }

    #[test]
    fn a_second_declaration_that_disagrees_is_dropped() {
        let batch = |desc: &Desc, labels: &[&str]| {
            let mut families = FamilyWriter::default();
            families.push(desc, labels, 1.0);
            Arc::new(families.finish())
        };
        let first = batch(&Desc::gauge("x", "First.", &[]), &[]);
        let other_kind = batch(&Desc::counter("x", "Other type.", &[]), &[]);
        let other_labels = batch(&Desc::gauge("x", "Other labels.", &["a"]), &["1"]);
        let (snapshot, dropped) = Snapshot::assemble([first, other_kind, other_labels]);
        assert_eq!(
            String::from_utf8(encode(&snapshot, Format::Text)).unwrap(),
            "# HELP x First.\n# TYPE x gauge\nx 1\n"
        );
        assert_eq!(dropped.invalid, 2);
    }
}
