//! Collects families and their samples until they are finished.

use std::borrow::Cow;

use indexmap::IndexMap;
use indexmap::map::Entry;

use crate::desc::{Desc, Kind};
use crate::family::{Dropped, Family};

/// The default limit of samples in one family. A database host with 20,000 tables has 60,000 samples of table sizes.
pub const DEFAULT_SAMPLE_LIMIT: usize = 100_000;

pub(crate) type FamiliesByName = IndexMap<Cow<'static, str>, Family>;

/// What one collector writes in one scrape.
#[derive(Debug)]
pub struct FamilyWriter {
    families: FamiliesByName,
    limit: usize,
}

impl Default for FamilyWriter {
    fn default() -> Self {
        Self::with_limit(DEFAULT_SAMPLE_LIMIT)
    }
}

impl FamilyWriter {
    /// Keeps up to `limit` samples in each family. Further samples are dropped and counted.
    pub fn with_limit(limit: usize) -> Self {
        Self { families: IndexMap::new(), limit }
    }

    /// Makes room for exactly this number of further families: growing to a thousand step by step moves each one twice.
    pub fn reserve(&mut self, families: usize) {
        self.families.reserve_exact(families);
    }

    /// The family of this declaration, to add samples to.
    pub fn family(&mut self, desc: &Desc) -> &mut Family {
        match self.families.get_index_of(desc.name.as_ref()) {
            Some(index) => &mut self.families[index],
            None => self.dynamic_family(desc.name.clone(), desc.help.clone(), desc.kind, desc.labels),
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
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => {
                let family = Family::new(entry.key(), help, kind, labels, self.limit);
                entry.insert(family)
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
    pub fn finish(mut self) -> FamilyBatch {
        let mut dropped = Dropped::default();
        self.families.retain(|_, family| {
            dropped.add(family.finish());
            family.rows.len() > 0
        });
        // Here, while other collectors wait for the service, and not when all batches are put together.
        self.families.sort_unstable_keys();
        FamilyBatch { families: self.families, dropped }
    }
}

/// The finished families of one collector, sorted by name.
#[derive(Debug, Default)]
pub struct FamilyBatch {
    pub(crate) families: FamiliesByName,
    pub(crate) dropped: Dropped,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::family::{HistogramValue, Rows};

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
        assert_eq!(batch.dropped, Dropped { duplicate: 1, ..Dropped::default() });
    }

    #[test]
    fn a_family_without_labels_has_one_sample() {
        let desc = Desc::gauge("up", "Up.", &[]);
        let mut families = FamilyWriter::default();
        families.push(&desc, &[], 1.0);
        families.push(&desc, &[], 0.0);
        let batch = families.finish();
        assert_eq!(texts(&batch), [" 1"]);
        assert_eq!(batch.dropped.duplicate, 1);
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
        assert_eq!(batch.dropped, Dropped { invalid: 6, ..Dropped::default() });
    }

    #[test]
    fn a_family_stops_growing_at_its_limit() {
        let mut families = FamilyWriter::with_limit(2);
        for table in ["a", "b", "c"] {
            families.push(&TABLE_ROWS, &["s", table], 1.0);
        }
        let batch = families.finish();
        assert_eq!(texts(&batch).len(), 2);
        assert_eq!(batch.dropped.limit, 1);
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
        assert_eq!(batch.dropped.duplicate, (names.len() - expected.len()) as u64);
    }
}
