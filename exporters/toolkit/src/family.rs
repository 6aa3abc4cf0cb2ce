//! What a collector writes: families and their samples.
//!
//! A family is declared once, as a [`Desc`] in a table next to its collector; samples go to it by label values. Labels are checked, escaped and
//! rendered as they come in, into one buffer a family, so that a family of 10,000 samples is three allocations, sorting compares bytes, and
//! both encoders copy the text as it is.

use std::borrow::Cow;
use std::hash::BuildHasher as _;
use std::sync::OnceLock;

use hashbrown::{DefaultHashBuilder, HashTable};
use smallvec::SmallVec;

use crate::check::{CheckDef, CheckResult, CheckStatus, Finding};
use crate::compress::Piece;
use crate::encode::Names;

/// The type of a family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Counter,
    Gauge,
    /// A number of unknown nature, as peers give for most of `SHOW GLOBAL STATUS`.
    Untyped,
    Summary,
    Histogram,
    /// Always 1; what it says is in its labels. The name ends in `_info`.
    Info,
    /// One sample a state, 1 for the state that holds; the last label names the state.
    StateSet,
}

/// The declaration of a family: one row of a collector's table.
#[derive(Clone, Debug)]
pub struct Desc {
    pub name: Cow<'static, str>,
    pub help: Cow<'static, str>,
    pub kind: Kind,
    pub labels: &'static [&'static str],
    /// The field of the collector's source that it comes from; empty where the source as a whole says it.
    pub field: &'static str,
}

impl Desc {
    pub const fn new(kind: Kind, name: &'static str, help: &'static str, labels: &'static [&'static str]) -> Self {
        Self { name: Cow::Borrowed(name), help: Cow::Borrowed(help), kind, labels, field: "" }
    }

    pub const fn counter(name: &'static str, help: &'static str, labels: &'static [&'static str]) -> Self {
        Self::new(Kind::Counter, name, help, labels)
    }

    pub const fn gauge(name: &'static str, help: &'static str, labels: &'static [&'static str]) -> Self {
        Self::new(Kind::Gauge, name, help, labels)
    }

    pub const fn untyped(name: &'static str, help: &'static str, labels: &'static [&'static str]) -> Self {
        Self::new(Kind::Untyped, name, help, labels)
    }

    pub const fn info(name: &'static str, help: &'static str, labels: &'static [&'static str]) -> Self {
        Self::new(Kind::Info, name, help, labels)
    }

    pub const fn state_set(name: &'static str, help: &'static str, labels: &'static [&'static str]) -> Self {
        Self::new(Kind::StateSet, name, help, labels)
    }

    pub const fn histogram(name: &'static str, help: &'static str, labels: &'static [&'static str]) -> Self {
        Self::new(Kind::Histogram, name, help, labels)
    }

    pub const fn summary(name: &'static str, help: &'static str, labels: &'static [&'static str]) -> Self {
        Self::new(Kind::Summary, name, help, labels)
    }

    /// For families whose name is known at run time only, such as `mysql_global_status_<variable>`.
    pub fn dynamic(
        kind: Kind,
        name: String,
        help: impl Into<Cow<'static, str>>,
        labels: &'static [&'static str],
    ) -> Self {
        Self { name: Cow::Owned(name), help: help.into(), kind, labels, field: "" }
    }

    /// The field of the collector's source that the family comes from, as METRICS.md shows it.
    pub const fn field(mut self, field: &'static str) -> Self {
        self.field = field;
        self
    }
}

/// One label set of a histogram. Bucket counts are cumulative; the `+Inf` bucket is `count` and is added by the encoders.
#[derive(Clone, Debug)]
pub struct HistogramValue {
    pub buckets: Vec<(f64, u64)>,
    pub sum: f64,
    pub count: u64,
}

/// One label set of a summary.
#[derive(Clone, Debug)]
pub struct SummaryValue {
    pub quantiles: Vec<(f64, f64)>,
    pub sum: f64,
    pub count: u64,
}

/// A label set, as a piece of the family's label text, and its value.
#[derive(Clone, Debug)]
pub(crate) struct Row<V> {
    start: u32,
    len: u32,
    pub(crate) value: V,
}

/// One row needs no allocation: a thousand families on a page of MySQL's have no labels.
type RowList<V> = SmallVec<[Row<V>; 1]>;

#[derive(Clone, Debug)]
pub(crate) enum Rows {
    Scalar(RowList<f64>),
    // Boxed, lest every family have the room of the largest value.
    Histogram(RowList<Box<HistogramValue>>),
    Summary(RowList<Box<SummaryValue>>),
}

impl Rows {
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Scalar(rows) => rows.len(),
            Self::Histogram(rows) => rows.len(),
            Self::Summary(rows) => rows.len(),
        }
    }
}

/// How many samples were dropped, by reason. Dropping is counted, never an error of the scrape.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Dropped {
    /// A label set that was already there; the first one stays.
    pub duplicate: u64,
    /// A name that Prometheus would refuse, a wrong number of label values, or a family declared twice in different ways.
    pub invalid: u64,
    /// Over the cap of samples in one family.
    pub limit: u64,
}

impl Dropped {
    pub(crate) fn add(&mut self, other: Self) {
        self.duplicate += other.duplicate;
        self.invalid += other.invalid;
        self.limit += other.limit;
    }

    pub fn total(&self) -> u64 {
        self.duplicate + self.invalid + self.limit
    }
}

/// The samples of one family.
#[derive(Clone, Debug)]
pub struct Family {
    pub(crate) name: Cow<'static, str>,
    pub(crate) help: Cow<'static, str>,
    pub(crate) kind: Kind,
    /// `a="` then `",b="`: what stands before each label value.
    before_value: Vec<Box<str>>,
    /// The rendered labels of all rows, without braces: `a="1",b="2"a="1",b="3"`…
    text: String,
    pub(crate) rows: Rows,
    valid: bool,
    limit: usize,
    dropped: Dropped,
}

impl Family {
    fn new(name: Cow<'static, str>, help: Cow<'static, str>, kind: Kind, labels: &[&str], limit: usize) -> Self {
        let distinct = labels.iter().enumerate().all(|(i, label)| !labels[..i].contains(label));
        // The encoders add this label themselves.
        let reserved = match kind {
            Kind::Histogram => "le",
            Kind::Summary => "quantile",
            _ => "",
        };
        let valid =
            is_metric_name(&name) && distinct && labels.iter().all(|label| is_label_name(label) && *label != reserved);
        let before_value = labels
            .iter()
            .enumerate()
            .map(|(i, label)| if i == 0 { format!("{label}=\"") } else { format!("\",{label}=\"") }.into_boxed_str())
            .collect();
        let rows = match kind {
            Kind::Histogram => Rows::Histogram(RowList::new()),
            Kind::Summary => Rows::Summary(RowList::new()),
            _ => Rows::Scalar(RowList::new()),
        };
        Self { name, help, kind, before_value, text: String::new(), rows, valid, limit, dropped: Dropped::default() }
    }

    /// Adds a sample. The label values stand in the order of the family's labels.
    pub fn push(&mut self, labels: &[&str], value: f64) {
        let Some((start, len)) = self.render(labels) else { return };
        match &mut self.rows {
            Rows::Scalar(rows) => rows.push(Row { start, len, value }),
            _ => self.dropped.invalid += 1,
        }
    }

    pub fn push_histogram(&mut self, labels: &[&str], value: HistogramValue) {
        let Some((start, len)) = self.render(labels) else { return };
        match &mut self.rows {
            Rows::Histogram(rows) => rows.push(Row { start, len, value: Box::new(value) }),
            _ => self.dropped.invalid += 1,
        }
    }

    pub fn push_summary(&mut self, labels: &[&str], value: SummaryValue) {
        let Some((start, len)) = self.render(labels) else { return };
        match &mut self.rows {
            Rows::Summary(rows) => rows.push(Row { start, len, value: Box::new(value) }),
            _ => self.dropped.invalid += 1,
        }
    }

    /// Adds a state set: one sample for each of `states`, 1 for `current`. The state is the family's last label.
    pub fn push_states(&mut self, labels: &[&str], states: &[&str], current: &str) {
        let mut values = Vec::with_capacity(labels.len() + 1);
        for state in states {
            values.clear();
            values.extend_from_slice(labels);
            values.push(state);
            self.push(&values, if *state == current { 1.0 } else { 0.0 });
        }
    }

    fn render(&mut self, labels: &[&str]) -> Option<(u32, u32)> {
        if !self.valid || labels.len() != self.before_value.len() {
            self.dropped.invalid += 1;
            return None;
        }
        // Offsets are 32 bits wide: half the size of a row's bookkeeping, and 4 GiB of labels is far beyond any cap.
        let start = u32::try_from(self.text.len()).ok();
        let (Some(start), true) = (start, self.rows.len() < self.limit) else {
            self.dropped.limit += 1;
            return None;
        };
        for (before, value) in self.before_value.iter().zip(labels) {
            self.text.push_str(before);
            push_escaped(&mut self.text, value);
        }
        if !labels.is_empty() {
            self.text.push('"');
        }
        let len = u32::try_from(self.text.len()).ok().map(|end| end - start);
        if len.is_none() {
            self.dropped.limit += 1;
        }
        len.map(|len| (start, len))
    }

    pub(crate) fn labels<V>(&self, row: &Row<V>) -> &str {
        label_text(&self.text, row)
    }

    pub(crate) fn last_label(&self) -> Option<&str> {
        self.before_value.last().map(|before| before.trim_matches(['"', ',', '=']))
    }

    /// Sorts the rows by their labels and drops duplicates: afterwards the family is what will be encoded.
    fn finish(&mut self) -> Dropped {
        self.dropped.duplicate += match &mut self.rows {
            Rows::Scalar(rows) => sort_and_deduplicate(&mut self.text, rows),
            Rows::Histogram(rows) => sort_and_deduplicate(&mut self.text, rows),
            Rows::Summary(rows) => sort_and_deduplicate(&mut self.text, rows),
        };
        std::mem::take(&mut self.dropped)
    }

    /// The rows of both, where two collectors write to one family.
    pub(crate) fn merged(&self, other: &Self) -> (Self, Dropped) {
        let mut merged = self.clone();
        let same_labels = self.before_value == other.before_value;
        let offset = u32::try_from(merged.text.len()).ok().filter(|_| same_labels);
        let Some(offset) = offset else {
            return (merged, Dropped { invalid: other.rows.len() as u64, ..Dropped::default() });
        };
        merged.text.push_str(&other.text);
        let fits = match (&mut merged.rows, &other.rows) {
            (Rows::Scalar(ours), Rows::Scalar(theirs)) => append_rows(ours, theirs, offset),
            (Rows::Histogram(ours), Rows::Histogram(theirs)) => append_rows(ours, theirs, offset),
            (Rows::Summary(ours), Rows::Summary(theirs)) => append_rows(ours, theirs, offset),
            _ => false,
        };
        if !fits || self.kind != other.kind {
            return (self.clone(), Dropped { invalid: other.rows.len() as u64, ..Dropped::default() });
        }
        let dropped = merged.finish();
        (merged, dropped)
    }

    /// About how many bytes the family takes when encoded; a little too many.
    pub(crate) fn encoded_size(&self) -> usize {
        let lines = match &self.rows {
            Rows::Scalar(rows) => rows.len(),
            Rows::Histogram(rows) => rows.iter().map(|row| row.value.buckets.len() + 3).sum(),
            Rows::Summary(rows) => rows.iter().map(|row| row.value.quantiles.len() + 2).sum(),
        };
        let labels = self.text.len() * lines / self.rows.len().max(1);
        // 24: braces, blank, newline and the longest usual value.
        self.help.len() + 3 * self.name.len() + 40 + labels + lines * (self.name.len() + 24)
    }
}

fn append_rows<V: Clone>(ours: &mut RowList<V>, theirs: &[Row<V>], offset: u32) -> bool {
    for row in theirs {
        let Some(start) = row.start.checked_add(offset) else { return false };
        ours.push(Row { start, len: row.len, value: row.value.clone() });
    }
    true
}

fn label_text<'a, V>(text: &'a str, row: &Row<V>) -> &'a str {
    text.get(row.start as usize..(row.start + row.len) as usize).unwrap_or_default()
}

fn sort_and_deduplicate<V>(text: &mut String, rows: &mut RowList<V>) -> u64 {
    let before = rows.len();
    // Services mostly answer in order: one pass instead of a sort.
    if !rows.is_sorted_by(|a, b| label_text(text, a) < label_text(text, b)) {
        sort(text, rows);
        rows.dedup_by(|later, first| label_text(text, later) == label_text(text, first));
        *text = in_order(text, rows);
    }
    (before - rows.len()) as u64
}

/// The text in the order of its rows, so that encoding reads it from front to back: a fifth of the time for 300,000 samples, where one
/// family's text fits the processor's cache now but not all families' together later.
fn in_order<V>(text: &str, rows: &mut [Row<V>]) -> String {
    let mut ordered = String::with_capacity(text.len());
    for row in rows {
        let labels = label_text(text, row);
        // No longer than the text it comes from, whose offsets fit.
        row.start = ordered.len() as u32;
        ordered.push_str(labels);
    }
    ordered
}

/// Sorts by the label texts; equal ones keep the order in which they came.
///
/// Label texts of one family begin alike (`schema="medassist_0…`), so comparing them whole is slow. Instead the eight bytes after the common
/// beginning are packed into an integer, and what is equal in these is sorted again by the bytes behind: a third of the time for 10,000 rows.
fn sort<V>(text: &str, rows: &mut RowList<V>) {
    let mut keys: Vec<SortKey> = (0u32..).zip(rows.iter()).map(|(index, _)| SortKey { bytes: 0, index }).collect();
    let labels = |key: &SortKey| rows.get(key.index as usize).map_or("", |row| label_text(text, row)).as_bytes();
    sort_keys(&mut keys, 0, 0, &labels);
    let mut unsorted: Vec<Option<Row<V>>> = rows.drain(..).map(Some).collect();
    rows.extend(keys.iter().filter_map(|key| unsorted.get_mut(key.index as usize).and_then(Option::take)));
}

struct SortKey {
    bytes: u64,
    index: u32,
}

/// Sorts keys whose texts agree in the first `same` bytes.
fn sort_keys<'a>(keys: &mut [SortKey], same: usize, depth: usize, labels: &impl Fn(&SortKey) -> &'a [u8]) {
    // Eight levels are at least 64 bytes in which label texts differ from their neighbours: beyond that it is no longer the usual case.
    if keys.len() < 8 || depth > 8 {
        keys.sort_unstable_by(|a, b| labels(a).cmp(labels(b)).then(a.index.cmp(&b.index)));
        return;
    }
    let rest = |key: &SortKey| labels(key).get(same..).unwrap_or_default();
    let first = keys.first().map(rest).unwrap_or_default();
    let common = keys.iter().fold(first.len(), |common, key| {
        let rest = rest(key);
        // Mostly nothing is lost by one more text: a whole comparison of slices is quicker than one by bytes.
        match rest.get(..common) == first.get(..common) {
            true => common,
            false => first.iter().zip(rest).take_while(|(a, b)| a == b).count(),
        }
    });
    for key in keys.iter_mut() {
        let rest = labels(key).get(same + common..).unwrap_or_default();
        key.bytes = match rest.first_chunk::<8>() {
            Some(bytes) => u64::from_be_bytes(*bytes),
            None => rest.iter().rev().fold(0, |key, byte| key >> 8 | u64::from(*byte) << 56),
        };
    }
    keys.sort_unstable_by_key(|key| (key.bytes, key.index));
    for equal in keys.chunk_by_mut(|a, b| a.bytes == b.bytes) {
        if equal.len() > 1 {
            sort_keys(equal, same + common + 8, depth + 1, labels);
        }
    }
}

fn push_escaped(out: &mut String, value: &str) {
    // Without an early exit the compiler compares many bytes at once; hardly any value needs escaping.
    if !value.bytes().fold(false, |found, b| found | matches!(b, b'\\' | b'"' | b'\n')) {
        out.push_str(value);
        return;
    }
    for c in value.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '"' => out.push_str("\\\""),
            '\n' => out.push_str("\\n"),
            c => out.push(c),
        }
    }
}

fn is_metric_name(name: &str) -> bool {
    is_name(name, |b| b == b':')
}

fn is_label_name(name: &str) -> bool {
    !name.starts_with("__") && is_name(name, |_| false)
}

fn is_name(name: &str, also: impl Fn(u8) -> bool) -> bool {
    // Without an early exit, as above.
    name.bytes().next().is_some_and(|first| !first.is_ascii_digit())
        && name.bytes().fold(true, |valid, b| valid & (b.is_ascii_alphanumeric() | (b == b'_') | also(b)))
}

/// Samples in one family at the most, unless the operator sets another cap: a database host with 20,000 tables has 60,000 of their sizes.
pub const DEFAULT_SAMPLE_LIMIT: usize = 100_000;

/// What one collector writes in one scrape: its families and its health checks.
#[derive(Debug)]
pub struct Families {
    list: Vec<Family>,
    /// Where in the list a name is. The names are the list's: a thousand families are a thousand names, not two thousand.
    by_name: HashTable<usize>,
    hasher: DefaultHashBuilder,
    checks: Vec<CheckResult>,
    limit: usize,
    dropped: Dropped,
}

impl Default for Families {
    fn default() -> Self {
        Self::with_limit(DEFAULT_SAMPLE_LIMIT)
    }
}

impl Families {
    pub fn with_limit(limit: usize) -> Self {
        Self {
            list: Vec::new(),
            by_name: HashTable::new(),
            hasher: DefaultHashBuilder::default(),
            checks: Vec::new(),
            limit,
            dropped: Dropped::default(),
        }
    }

    /// Makes room for so many more families. Growing to a thousand of them bit by bit moves each twice, and ends with room for a thousand more.
    pub fn reserve(&mut self, families: usize) {
        let Self { list, by_name, hasher, .. } = self;
        list.reserve_exact(families);
        by_name.reserve(families, |&index| hasher.hash_one(list[index].name.as_ref()));
    }

    /// The family of this declaration, to push samples to.
    pub fn family(&mut self, desc: &Desc) -> &mut Family {
        let hash = self.hasher.hash_one(desc.name.as_ref());
        match self.find(hash, &desc.name) {
            Some(index) => &mut self.list[index],
            None => {
                self.add(hash, Family::new(desc.name.clone(), desc.help.clone(), desc.kind, desc.labels, self.limit))
            }
        }
    }

    /// As [`Self::family`], for names that are known at run time only; nothing is cloned.
    pub fn dynamic_family(
        &mut self,
        name: Cow<'static, str>,
        help: Cow<'static, str>,
        kind: Kind,
        labels: &[&str],
    ) -> &mut Family {
        let hash = self.hasher.hash_one(name.as_ref());
        match self.find(hash, &name) {
            Some(index) => &mut self.list[index],
            None => self.add(hash, Family::new(name, help, kind, labels, self.limit)),
        }
    }

    fn find(&self, hash: u64, name: &str) -> Option<usize> {
        self.by_name.find(hash, |&index| self.list[index].name == name).copied()
    }

    fn add(&mut self, hash: u64, family: Family) -> &mut Family {
        let Self { list, by_name, hasher, .. } = self;
        let index = list.len();
        by_name.insert_unique(hash, index, |&index| hasher.hash_one(list[index].name.as_ref()));
        list.push(family);
        &mut list[index]
    }

    /// Adds one sample to the family of this declaration.
    pub fn push(&mut self, desc: &Desc, labels: &[&str], value: f64) {
        self.family(desc).push(labels, value);
    }

    /// Reports a health check. The reason is a sentence with the numbers in it.
    pub fn check(&mut self, check: &'static CheckDef, status: CheckStatus, reason: impl Into<String>) {
        self.checks.push(CheckResult { check, status, reason: reason.into() });
    }

    /// As [`Self::check`]; a check that could not be made is absent.
    pub fn finding(&mut self, check: &'static CheckDef, finding: Option<Finding>) {
        if let Some((status, reason)) = finding {
            self.check(check, status, reason);
        }
    }

    /// Sorts and checks: afterwards nothing changes any more.
    pub fn finish(mut self) -> Part {
        let mut dropped = self.dropped;
        self.list.retain_mut(|family| {
            dropped.add(family.finish());
            family.rows.len() > 0
        });
        // Here, where the other collectors still wait for the service, and not when all parts are put together.
        self.list.sort_by(|a, b| a.name.cmp(&b.name));
        Part { families: self.list, checks: self.checks, dropped, ahead: OnceLock::new() }
    }
}

/// One collector's finished contribution to a scrape.
#[derive(Debug, Default)]
pub struct Part {
    /// In order of their names.
    pub(crate) families: Vec<Family>,
    pub(crate) checks: Vec<CheckResult>,
    pub(crate) dropped: Dropped,
    /// Pieces of it as they will most likely stand on the page, in their order.
    pub(crate) ahead: OnceLock<Vec<Piece>>,
}

impl Names for Part {
    fn contains(&self, name: &str) -> bool {
        self.families.binary_search_by(|family| family.name.as_ref().cmp(name)).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE_ROWS: Desc = Desc::gauge("table_rows", "Rows of a table.", &["schema", "table"]);

    fn texts(part: &Part) -> Vec<String> {
        let family = &part.families[0];
        match &family.rows {
            Rows::Scalar(rows) => rows.iter().map(|row| format!("{} {}", family.labels(row), row.value)).collect(),
            _ => panic!("scalars expected"),
        }
    }

    #[test]
    fn rows_are_sorted_and_the_first_of_two_equal_label_sets_stays() {
        let mut families = Families::default();
        for (schema, table, value) in
            [("b", "x", 1.0), ("a", "long_table_name_2", 2.0), ("b", "x", 3.0), ("a", "long_table_name_1", 4.0)]
        {
            families.push(&TABLE_ROWS, &[schema, table], value);
        }
        let part = families.finish();
        assert_eq!(
            texts(&part),
            [
                r#"schema="a",table="long_table_name_1" 4"#,
                r#"schema="a",table="long_table_name_2" 2"#,
                r#"schema="b",table="x" 1"#
            ]
        );
        assert_eq!(part.dropped, Dropped { duplicate: 1, ..Dropped::default() });
    }

    #[test]
    fn a_family_without_labels_has_one_sample() {
        let desc = Desc::gauge("up", "Up.", &[]);
        let mut families = Families::default();
        families.push(&desc, &[], 1.0);
        families.push(&desc, &[], 0.0);
        let part = families.finish();
        assert_eq!(texts(&part), [" 1"]);
        assert_eq!(part.dropped.duplicate, 1);
    }

    #[test]
    fn label_values_are_escaped() {
        let mut families = Families::default();
        families.push(&TABLE_ROWS, &["a\"b\\c\nd", "ü"], 1.0);
        assert_eq!(texts(&families.finish()), [r#"schema="a\"b\\c\nd",table="ü" 1"#]);
    }

    #[test]
    fn what_prometheus_would_refuse_is_dropped_and_counted() {
        let mut families = Families::default();
        families.push(&TABLE_ROWS, &["only one value"], 1.0);
        families.push(&Desc::gauge("9lives", "A bad name.", &[]), &[], 1.0);
        families.push(&Desc::gauge("bad_label", "A bad label.", &["a-b"]), &["x"], 1.0);
        families.push(&Desc::gauge("twice", "A label twice.", &["a", "a"]), &["x", "y"], 1.0);
        families.push(&Desc::histogram("h", "A number in a histogram.", &[]), &[], 1.0);
        let histogram = HistogramValue { buckets: Vec::new(), sum: 0.0, count: 0 };
        families.family(&Desc::histogram("le", "Its own bound.", &["le"])).push_histogram(&["1"], histogram);
        let part = families.finish();
        assert!(part.families.is_empty());
        assert_eq!(part.dropped, Dropped { invalid: 6, ..Dropped::default() });
    }

    #[test]
    fn a_family_stops_growing_at_its_cap() {
        let mut families = Families::with_limit(2);
        for table in ["a", "b", "c"] {
            families.push(&TABLE_ROWS, &["s", table], 1.0);
        }
        let part = families.finish();
        assert_eq!(texts(&part).len(), 2);
        assert_eq!(part.dropped.limit, 1);
    }

    #[test]
    fn sorting_by_prefix_agrees_with_sorting_by_text() {
        // Prefixes shorter and longer than eight bytes, common ones, empty ones, and many ties.
        let mut names = Vec::new();
        for i in 0..500u32 {
            names.push(format!("{}", i.wrapping_mul(2_654_435_761) % 997));
            names.push("common_prefix_".repeat((i % 4) as usize) + &(i % 37).to_string());
            // Ends and zero bytes look the same in a packed key.
            names.push("x".repeat((i % 9) as usize) + &"\0".repeat((i % 5) as usize));
            names.push("deep".repeat(40) + &(i % 101).to_string());
        }
        let desc = Desc::gauge("g", "G.", &["name"]);
        let mut families = Families::default();
        for name in &names {
            families.push(&desc, &[name], 0.0);
        }
        let part = families.finish();
        let mut expected: Vec<String> = names.iter().map(|name| format!("name=\"{name}\" 0")).collect();
        expected.sort();
        expected.dedup();
        assert_eq!(texts(&part), expected);
        assert_eq!(part.dropped.duplicate, (names.len() - expected.len()) as u64);
    }
}
