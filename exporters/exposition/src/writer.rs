//! Collects families and their samples until they are finished.

use std::borrow::Cow;
use std::sync::Arc;

use indexmap::IndexMap;
use indexmap::map::Entry;

use crate::desc::{Desc, Kind};
use crate::family::Family;
use crate::loss::{Dropped, Loss, Problem};
use crate::memory::{Budget, Exhausted, Reservation};

pub(crate) type FamiliesByName = IndexMap<Cow<'static, str>, Family>;

/// What a family needs before it has many samples: its entry, name, help and first label sets.
const FAMILY_BYTES: usize = 1024;

/// How much of it is for label sets.
const FAMILY_ROOM: usize = 256;

/// Families are paid for by the dozen.
const FAMILIES_STEP: usize = 64 * FAMILY_BYTES;

/// Maximum losses that name their family. A service can make up names without an end.
const MAX_LOSSES: usize = 50;

/// What one collector writes in one scrape.
#[derive(Debug)]
pub struct FamilyWriter {
    families: FamiliesByName,
    /// Further declarations of those families, which differ. They keep no samples.
    conflicts: FamiliesByName,
    /// In the place of families for which there is no memory.
    refused: Option<Box<Family>>,
    limit: usize,
    memory: Reservation,
    /// How many of the reserved bytes are free.
    room: usize,
}

impl Default for FamilyWriter {
    fn default() -> Self {
        Self::new(usize::MAX, &Budget::new(usize::MAX))
    }
}

impl FamilyWriter {
    /// Keeps up to `limit` samples in each family, and what the memory budget allows. Further samples are dropped and
    /// counted.
    pub fn new(limit: usize, budget: &Arc<Budget>) -> Self {
        let memory = Reservation::new(budget);
        let (families, conflicts) = (IndexMap::new(), IndexMap::new());
        Self { families, conflicts, refused: None, limit, memory, room: 0 }
    }

    /// Makes room for exactly this number of further families: growing to a thousand step by step moves each one twice.
    pub fn reserve(&mut self, families: usize) {
        self.families.reserve_exact(families);
    }

    /// The family of this declaration, to add samples to.
    pub fn family(&mut self, desc: &Desc) -> &mut Family {
        match self.families.get_index_of(desc.name.as_ref()) {
            Some(index) if self.families[index].is_declared_as(desc.kind, desc.labels) => &mut self.families[index],
            _ => self.dynamic_family(desc.name.clone(), desc.help.clone(), desc.kind, desc.labels),
        }
    }

    /// Like [`Self::family`], for names that are known at run time only. Nothing is cloned.
    pub fn dynamic_family(
        &mut self,
        name: Cow<'static, str>,
        help: Cow<'static, str>,
        kind: Kind,
        labels: &[&str],
    ) -> &mut Family {
        match self.families.entry(name) {
            Entry::Occupied(entry) if entry.get().is_declared_as(kind, labels) => entry.into_mut(),
            // Nothing is written under the labels of another declaration.
            Entry::Occupied(entry) => {
                let memory = self.memory.empty();
                let refused = || Family::refused(Problem::Declaration, memory);
                self.conflicts.entry(entry.key().clone()).or_insert_with(refused)
            }
            Entry::Vacant(entry) => {
                // Long names and helps are those of a service.
                let bytes = FAMILY_BYTES + entry.key().len() + help.len();
                let memory = self.memory.empty();
                match pay(&mut self.memory, &mut self.room, bytes) {
                    Ok(()) => {
                        let family = Family::new(entry.key(), help, kind, labels, self.limit, memory, FAMILY_ROOM);
                        entry.insert(family)
                    }
                    Err(Exhausted { limit }) => {
                        let refused = || Box::new(Family::refused(Problem::MemoryLimit(limit), memory));
                        self.refused.get_or_insert_with(refused)
                    }
                }
            }
        }
    }

    /// Adds one sample to the family of this declaration.
    pub fn push(&mut self, desc: &Desc, labels: &[&str], value: f64) {
        self.family(desc).push(labels, value);
    }

    /// The names of the families so far.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.families.keys().map(AsRef::as_ref)
    }

    /// Sorts families and samples, and drops duplicates.
    pub fn finish(self) -> FamilyBatch {
        let Self { mut families, conflicts, refused, memory, .. } = self;
        let mut losses = Losses::default();
        families.retain(|name, family| {
            losses.note(name, family.finish());
            family.rows.len() > 0
        });
        for (name, mut family) in conflicts {
            losses.note(&name, family.finish());
        }
        if let Some(mut family) = refused {
            losses.note("further families", family.finish());
        }
        // Here, while other collectors wait for the service, and not when all batches are put together.
        families.sort_unstable_keys();
        FamilyBatch { families, losses: losses.0, _memory: Some(memory) }
    }
}

/// Pays for a family from the room that is left, or makes room for more of them.
fn pay(memory: &mut Reservation, room: &mut usize, bytes: usize) -> Result<(), Exhausted> {
    if *room < bytes {
        let step = bytes.max(FAMILIES_STEP);
        *room += memory.add(step).map(|()| step).or_else(|_| memory.add(bytes).map(|()| bytes))?;
    }
    *room -= bytes;
    Ok(())
}

/// The finished families of one collector, sorted by name.
#[derive(Debug, Default)]
pub struct FamilyBatch {
    pub(crate) families: FamiliesByName,
    losses: Vec<Loss>,
    _memory: Option<Reservation>,
}

impl FamilyBatch {
    /// Which samples are not in it, and why.
    pub fn losses(&self) -> &[Loss] {
        &self.losses
    }

    /// Drops the families of these names, which somebody else exports.
    pub fn remove(&mut self, names: impl IntoIterator<Item = impl AsRef<str>>) {
        for name in names {
            if let Some(family) = self.families.shift_remove(name.as_ref()) {
                let problem = Problem::OwnFamily;
                let dropped = problem.count(family.rows.len() as u64);
                self.losses.push(Loss { family: name.as_ref().to_owned(), dropped, problem });
            }
        }
    }
}

/// Losses by family, a bounded number of them.
#[derive(Default)]
struct Losses(Vec<Loss>);

impl Losses {
    fn note(&mut self, family: &str, lost: Option<(Dropped, Problem)>) {
        let Some((dropped, problem)) = lost else { return };
        let is_full = self.0.len() >= MAX_LOSSES;
        match self.0.last_mut() {
            Some(last) if is_full => {
                "further families".clone_into(&mut last.family);
                last.dropped.add(dropped);
                if problem.fails_collector() && !last.problem.fails_collector() {
                    last.problem = problem;
                }
            }
            _ => self.0.push(Loss { family: family.to_owned(), dropped, problem }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::family::{HistogramValue, Rows};

    fn dropped(batch: &FamilyBatch) -> Dropped {
        let mut dropped = Dropped::default();
        batch.losses().iter().for_each(|loss| dropped.add(loss.dropped));
        dropped
    }

    const TABLE_ROWS: Desc = Desc::gauge("table_rows", "Rows of a table.", &["schema", "table"]);

    fn texts(batch: &FamilyBatch) -> Vec<String> {
        let family = &batch.families[0];
        match &family.rows {
            Rows::Scalar(rows) => rows.iter().map(|row| format!("{} {}", family.labels(row), row.value)).collect(),
            _ => panic!("scalars expected"),
        }
    }

    #[test]
    fn samples_are_sorted_and_the_first_of_two_equal_label_sets_is_kept() {
        let mut families = FamilyWriter::default();
        for (schema, table, value) in
            [("b", "x", 1.0), ("a", "long_table_name_2", 2.0), ("b", "x", 3.0), ("a", "long_table_name_1", 4.0)]
        {
            families.push(&TABLE_ROWS, &[schema, table], value);
        }
        let batch = families.finish();
        assert_eq!(
            texts(&batch),
            [
                r#"schema="a",table="long_table_name_1" 4"#,
                r#"schema="a",table="long_table_name_2" 2"#,
                r#"schema="b",table="x" 1"#
            ]
        );
        assert_eq!(dropped(&batch), Dropped { duplicate: 1, ..Dropped::default() });
    }

    #[test]
    fn a_family_without_labels_has_one_sample() {
        let desc = Desc::gauge("up", "Up.", &[]);
        let mut families = FamilyWriter::default();
        families.push(&desc, &[], 1.0);
        families.push(&desc, &[], 0.0);
        let batch = families.finish();
        assert_eq!(texts(&batch), [" 1"]);
        assert_eq!(dropped(&batch).duplicate, 1);
    }

    #[test]
    fn label_values_are_escaped() {
        let mut families = FamilyWriter::default();
        families.push(&TABLE_ROWS, &["a\"b\\c\nd", "ü"], 1.0);
        assert_eq!(texts(&families.finish()), [r#"schema="a\"b\\c\nd",table="ü" 1"#]);
    }

    #[test]
    fn samples_that_prometheus_would_refuse_are_dropped_and_counted() {
        let mut families = FamilyWriter::default();
        families.push(&TABLE_ROWS, &["only one value"], 1.0);
        families.push(&Desc::gauge("9lives", "A bad name.", &[]), &[], 1.0);
        families.push(&Desc::gauge("bad_label", "A bad label.", &["a-b"]), &["x"], 1.0);
        families.push(&Desc::gauge("twice", "A label twice.", &["a", "a"]), &["x", "y"], 1.0);
        families.push(&Desc::histogram("h", "A number in a histogram.", &[]), &[], 1.0);
        let histogram = HistogramValue { buckets: Vec::new(), sum: 0.0, count: 0 };
        families.family(&Desc::histogram("le", "Its own bound.", &["le"])).push_histogram(&["1"], histogram);
        let batch = families.finish();
        assert!(batch.families.is_empty());
        assert_eq!(dropped(&batch), Dropped { invalid: 6, ..Dropped::default() });
    }

    #[test]
    fn a_family_stops_growing_at_its_limit() {
        let mut families = FamilyWriter::new(2, &Budget::new(usize::MAX));
        for table in ["a", "b", "c"] {
            families.push(&TABLE_ROWS, &["s", table], 1.0);
        }
        let batch = families.finish();
        assert_eq!(texts(&batch).len(), 2);
        assert_eq!(dropped(&batch).limit, 1);
        assert_eq!(batch.losses()[0].problem, Problem::SampleLimit(2));
    }

    #[test]
    fn a_second_declaration_writes_nothing_under_the_labels_of_the_first() {
        let mut out = FamilyWriter::default();
        out.push(&Desc::gauge("g", "G.", &["l"]), &["1"], 1.0);
        out.push(&Desc::gauge("g", "G.", &["m"]), &["2"], 2.0);
        out.push(&Desc::counter("g", "G.", &["l"]), &["3"], 3.0);
        out.dynamic_family("g".into(), "G.".into(), Kind::Gauge, &["c"]).push(&["4"], 4.0);
        out.push(&Desc::gauge("g", "Another help is not another declaration.", &["l"]), &["5"], 5.0);
        let batch = out.finish();
        assert_eq!(texts(&batch), [r#"l="1" 1"#, r#"l="5" 5"#]);
        let loss = Loss {
            family: "g".to_owned(),
            dropped: Dropped { invalid: 3, ..Dropped::default() },
            problem: Problem::Declaration,
        };
        assert!(loss.problem.fails_collector());
        assert_eq!(batch.losses(), [loss]);
    }

    #[test]
    fn values_that_the_type_does_not_have_are_dropped() {
        let mut out = FamilyWriter::default();
        for (desc, good, bad) in [
            (Desc::counter("c_total", "C.", &["n"]), f64::INFINITY, [f64::NAN, -5.0]),
            (Desc::info("i_info", "I.", &["n"]), 1.0, [0.0, f64::NAN]),
            (Desc::state_set("s", "S.", &["n"]), 0.0, [0.5, 2.0]),
        ] {
            out.push(&desc, &["good"], good);
            bad.iter().for_each(|value| out.push(&desc, &["bad"], *value));
        }
        let batch = out.finish();
        assert!(batch.families.values().all(|family| family.rows.len() == 1));
        assert_eq!(dropped(&batch).invalid, 6);
        assert!(batch.losses().iter().all(|loss| !loss.problem.fails_collector()), "a service can send such values");
    }

    #[test]
    fn samples_and_families_stop_at_the_memory_limit_and_give_it_back() {
        let budget = Budget::new(1 << 20);
        let desc = Desc::gauge("large", "Large.", &["value"]);
        let mut out = FamilyWriter::new(usize::MAX, &budget);
        out.push(&desc, &[&"x".repeat(2 << 20)], 1.0);
        for i in 0..100_000 {
            out.push(&desc, &[&format!("{i:06}")], 1.0);
        }
        assert!(budget.used() > (1 << 20) - 1024, "{}", budget.used());
        for i in 0..10_000 {
            out.push(&Desc::dynamic(Kind::Gauge, format!("family_{i}"), "Many.", &[]), &[], 1.0);
        }
        assert!(budget.used() <= 1 << 20);
        let batch = out.finish();
        let rows = batch.families["large"].rows.len() as u64;
        assert!(rows > 10_000 && rows < 50_000, "{rows}");
        let [large, families] = batch.losses() else { panic!("{:?}", batch.losses()) };
        assert_eq!(large.problem, Problem::MemoryLimit(1 << 20));
        assert_eq!(large.dropped, Dropped { limit: 100_001 - rows, ..Dropped::default() });
        assert_eq!((families.family.as_str(), &families.problem), ("further families", &large.problem));
        drop(batch);
        assert_eq!(budget.used(), 0);
    }

    #[test]
    fn losses_name_a_bounded_number_of_families() {
        let mut out = FamilyWriter::default();
        for i in 0..MAX_LOSSES + 10 {
            out.push(&Desc::dynamic(Kind::Gauge, format!("bad-name-{i}"), "Bad.", &[]), &[], 1.0);
        }
        let batch = out.finish();
        assert_eq!(batch.losses().len(), MAX_LOSSES);
        assert_eq!(dropped(&batch).invalid, MAX_LOSSES as u64 + 10);
    }

    #[test]
    fn samples_of_any_label_text_are_sorted_by_it() {
        // Common beginnings, empty texts, zero bytes and many duplicates.
        let mut names = Vec::new();
        for i in 0..500u32 {
            names.push(format!("{}", i.wrapping_mul(2_654_435_761) % 997));
            names.push("common_prefix_".repeat((i % 4) as usize) + &(i % 37).to_string());
            names.push("x".repeat((i % 9) as usize) + &"\0".repeat((i % 5) as usize));
            names.push("deep".repeat(40) + &(i % 101).to_string());
        }
        let desc = Desc::gauge("g", "G.", &["name"]);
        let mut families = FamilyWriter::default();
        for name in &names {
            families.push(&desc, &[name], 0.0);
        }
        let batch = families.finish();
        let mut expected: Vec<String> = names.iter().map(|name| format!("name=\"{name}\" 0")).collect();
        expected.sort();
        expected.dedup();
        assert_eq!(texts(&batch), expected);
        assert_eq!(dropped(&batch).duplicate, (names.len() - expected.len()) as u64);
    }
}
