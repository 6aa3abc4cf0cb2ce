//! All families of one scrape in the order of their names, immutable.

use std::cmp::Ordering;
use std::sync::Arc;

use crate::desc::Kind;
use crate::family::Family;
use crate::loss::{Loss, Problem};
use crate::writer::FamilyBatch;

#[derive(Debug, Default)]
pub struct Snapshot {
    /// The collectors' batches, and one with the families that several collectors wrote to.
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
    /// declaration is kept and the samples of the other one are dropped. What this dropped comes with the number of its
    /// batch; the losses of each batch itself are not included.
    pub fn assemble(batches: impl IntoIterator<Item = Arc<FamilyBatch>>) -> (Self, Vec<(usize, Loss)>) {
        let mut lost = Vec::new();
        let mut batches: Vec<Arc<FamilyBatch>> = batches.into_iter().collect();
        let mut all: Vec<(&str, &Family, Position)> =
            Vec::with_capacity(batches.iter().map(|batch| batch.families.len()).sum());
        for (index, batch) in batches.iter().enumerate() {
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
                    let mut family = first.copy();
                    for (_, other, position) in others {
                        let (both, loss) = family.merged(other);
                        lost.extend(loss.map(|(dropped, problem)| {
                            (position.batch, Loss { family: (*name).to_owned(), dropped, problem })
                        }));
                        family = both;
                    }
                    order.push(Position { batch: batches.len(), family: merged.families.len() });
                    merged.families.insert((*name).to_owned().into(), family);
                }
                [] => {}
            }
        }
        batches.push(Arc::new(merged));
        let mut snapshot = Self { batches, order };
        snapshot.drop_series_of_others(&mut lost);
        (snapshot, lost)
    }

    /// Adds a batch of families whose names the snapshot does not have.
    pub fn add(&mut self, batch: Arc<FamilyBatch>) {
        let index = self.batches.len();
        self.batches.push(Arc::clone(&batch));
        for (family, name) in batch.families.keys().enumerate() {
            if let Err(at) = self.find(name) {
                self.order.insert(at, Position { batch: index, family });
            }
        }
    }

    /// Drops the families whose name is a series of a histogram or summary: a scraper would read their samples as its.
    fn drop_series_of_others(&mut self, lost: &mut Vec<(usize, Loss)>) {
        let mut clashes: Vec<(usize, Loss)> = Vec::new();
        for &Position { batch, family } in &self.order {
            let Some((name, family)) = self.family(Position { batch, family }) else { continue };
            if let Some(owner) = self.owner_of_series(name) {
                let problem = Problem::SeriesOf(owner.to_owned());
                let dropped = problem.count(family.rows.len() as u64);
                clashes.push((batch, Loss { family: name.to_owned(), dropped, problem }));
            }
        }
        for (_, loss) in &clashes {
            if let Ok(at) = self.find(&loss.family) {
                self.order.remove(at);
            }
        }
        lost.extend(clashes);
    }

    /// The histogram or summary that has series of this name, in one of the formats.
    pub(crate) fn owner_of_series(&self, name: &str) -> Option<&str> {
        let (stem, suffix) = name.rsplit_once('_')?;
        let kinds: &[Kind] = match suffix {
            "bucket" => &[Kind::Histogram],
            "sum" | "count" | "created" => &[Kind::Histogram, Kind::Summary],
            _ => return None,
        };
        let (owner, family) = self.family(*self.order.get(self.find(stem).ok()?)?)?;
        kinds.contains(&family.kind).then_some(owner)
    }

    /// Names and families in the order of the names.
    pub(crate) fn families(&self) -> impl Iterator<Item = (&str, &Family)> {
        self.order.iter().filter_map(|&position| self.family(position))
    }

    pub(crate) fn contains(&self, name: &str) -> bool {
        self.find(name).is_ok()
    }

    /// The place of the family in the order, or where it would be.
    fn find(&self, name: &str) -> Result<usize, usize> {
        self.order
            .binary_search_by(|&position| self.family(position).map_or(Ordering::Less, |(other, _)| other.cmp(name)))
    }

    fn family(&self, position: Position) -> Option<(&str, &Family)> {
        let (name, family) = self.batches.get(position.batch)?.families.get_index(position.family)?;
        Some((name.as_ref(), family))
    }

    pub fn sample_count(&self) -> usize {
        self.families().map(|(_, family)| family.rows.len()).sum()
    }

    /// An upper estimate of the page's size in bytes.
    pub fn encoded_size(&self) -> usize {
        self.families().map(|(name, family)| family.encoded_size(name)).sum::<usize>() + 8
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::desc::Desc;
    use crate::encode::{Format, encode};
    use crate::family::HistogramValue;
    use crate::loss::Dropped;
    use crate::writer::FamilyWriter;

    fn text(snapshot: &Snapshot) -> String {
        String::from_utf8(encode(snapshot, Format::Text)).unwrap()
    }

    fn loss(family: &str, dropped: Dropped, problem: Problem) -> Loss {
        Loss { family: family.to_owned(), dropped, problem }
    }

    #[test]
    fn two_collectors_may_share_a_family() {
        let desc = Desc::gauge("shared", "Shared.", &["from"]);
        let batch = |from: &[&str]| {
            let mut families = FamilyWriter::default();
            from.iter().for_each(|from| families.push(&desc, &[from], 1.0));
            Arc::new(families.finish())
        };
        let (snapshot, lost) = Snapshot::assemble([batch(&["b", "x"]), batch(&["a", "x"])]);
        assert_eq!(
            String::from_utf8(encode(&snapshot, Format::Text)).unwrap(),
            "# HELP shared Shared.\n# TYPE shared gauge\nshared{from=\"a\"} 1\nshared{from=\"b\"} 1\nshared{from=\"x\"} 1\n"
        );
        let one = Dropped { duplicate: 1, ..Dropped::default() };
        assert_eq!(lost, [(1, loss("shared", one, Problem::Duplicate))]);
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
        let (snapshot, lost) = Snapshot::assemble([first, other_kind, other_labels]);
        assert_eq!(
            String::from_utf8(encode(&snapshot, Format::Text)).unwrap(),
            "# HELP x First.\n# TYPE x gauge\nx 1\n"
        );
        let one = Dropped { invalid: 1, ..Dropped::default() };
        assert_eq!(lost, [1, 2].map(|batch| (batch, loss("x", one, Problem::Declaration))));
    }

    #[test]
    fn a_family_with_the_name_of_anothers_series_is_dropped() {
        let mut out = FamilyWriter::default();
        let value = || HistogramValue { buckets: Vec::new(), sum: 1.0, count: 1 };
        out.family(&Desc::histogram("h", "H.", &[])).push_histogram(&[], value());
        out.family(&Desc::summary("s", "S.", &[]))
            .push_summary(&[], crate::SummaryValue { quantiles: Vec::new(), sum: 1.0, count: 1 });
        // A summary has no buckets.
        for name in ["h_bucket", "h_sum", "h_created", "s_count", "s_bucket", "other_sum"] {
            out.push(&Desc::gauge(name, "G.", &[]), &[], 7.0);
        }
        out.family(&Desc::histogram("h_count", "A histogram, too.", &[])).push_histogram(&[], value());
        let (snapshot, lost) = Snapshot::assemble([Arc::new(out.finish())]);
        let names: Vec<_> = snapshot.families().map(|(name, _)| name).collect();
        assert_eq!(names, ["h", "other_sum", "s", "s_bucket"]);
        let of = |family, owner: &str| {
            let dropped = Dropped { invalid: 1, ..Dropped::default() };
            (0, loss(family, dropped, Problem::SeriesOf(owner.to_owned())))
        };
        assert_eq!(
            lost,
            [of("h_bucket", "h"), of("h_count", "h"), of("h_created", "h"), of("h_sum", "h"), of("s_count", "s")]
        );
    }

    #[test]
    fn a_batch_is_added_in_the_order_of_the_names() {
        let batch = |names: &[&'static str]| {
            let mut out = FamilyWriter::default();
            names.iter().for_each(|name| out.push(&Desc::gauge(name, "G.", &[]), &[], 1.0));
            Arc::new(out.finish())
        };
        let (mut snapshot, _) = Snapshot::assemble([batch(&["b", "d"])]);
        snapshot.add(batch(&["a", "c", "e"]));
        let names: Vec<_> = snapshot.families().map(|(name, _)| name).collect();
        assert_eq!(names, ["a", "b", "c", "d", "e"]);
        assert!(text(&snapshot).ends_with("# HELP e G.\n# TYPE e gauge\ne 1\n"));
    }
}
