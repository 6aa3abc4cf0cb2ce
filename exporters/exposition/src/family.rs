//! The samples of one family.
//!
//! Label values are escaped and rendered when a sample is added, into one buffer per family. A family of 10,000 samples
//! is three allocations, sorting compares bytes, and both encoders copy the label text as it is.

use std::borrow::Cow;
use std::sync::Arc;

use smallvec::SmallVec;

use crate::desc::Kind;
use crate::escape::push_escaped;
use crate::shared::{Cells, LabelSets, SharedRows, State, absent, before_values};

/// One label set of a histogram. Bucket counts are cumulative. The encoders add the `+Inf` bucket from `count`.
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

/// A value and its label set, which is a range of the family's label text.
#[derive(Clone, Debug)]
pub(crate) struct Row<V> {
    start: u32,
    len: u32,
    pub(crate) value: V,
}

/// One row needs no allocation: on a page of MySQL a thousand families have no labels.
type RowList<V> = SmallVec<[Row<V>; 1]>;

#[derive(Clone, Debug)]
pub(crate) enum Rows {
    Scalar(RowList<f64>),
    // Boxed, so that a family of numbers is not as large as one of histograms.
    Histogram(RowList<Box<HistogramValue>>),
    Summary(RowList<Box<SummaryValue>>),
    Shared(Vec<SharedRows>),
}

impl Rows {
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Scalar(rows) => rows.len(),
            Self::Histogram(rows) => rows.len(),
            Self::Summary(rows) => rows.len(),
            Self::Shared(rows) => rows.iter().map(|rows| rows.count).sum(),
        }
    }
}

/// The number of dropped samples, by reason. A dropped sample is counted and never fails the scrape.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Dropped {
    /// A label set that the family already has. The first sample is kept.
    pub duplicate: u64,
    /// An invalid name, a wrong number of label values, or a second declaration of the family that differs.
    pub invalid: u64,
    /// More samples in one family than the limit allows.
    pub limit: u64,
}

impl Dropped {
    pub fn add(&mut self, other: Self) {
        self.duplicate += other.duplicate;
        self.invalid += other.invalid;
        self.limit += other.limit;
    }

    pub fn total(&self) -> u64 {
        self.duplicate + self.invalid + self.limit
    }
}

/// One family, which samples are added to. Its name is its key in the [`FamilyWriter`](crate::FamilyWriter).
#[derive(Clone, Debug)]
pub struct Family {
    pub(crate) help: Cow<'static, str>,
    pub(crate) kind: Kind,
    /// `a="`, then `",b="`: the text before each label value.
    before_value: Vec<Box<str>>,
    /// The rendered labels of all rows, without braces: `a="1",b="2"a="1",b="3"`…
    text: String,
    pub(crate) rows: Rows,
    valid: bool,
    limit: usize,
    dropped: Dropped,
}

impl Family {
    pub(crate) fn new(name: &str, help: Cow<'static, str>, kind: Kind, labels: &[&str], limit: usize) -> Self {
        let distinct = labels.iter().enumerate().all(|(i, label)| !labels[..i].contains(label));
        // The encoders add this label themselves.
        let reserved = match kind {
            Kind::Histogram => "le",
            Kind::Summary => "quantile",
            _ => "",
        };
        let valid =
            is_metric_name(name) && distinct && labels.iter().all(|label| is_label_name(label) && *label != reserved);
        let rows = match kind {
            Kind::Histogram => Rows::Histogram(RowList::new()),
            Kind::Summary => Rows::Summary(RowList::new()),
            _ => Rows::Scalar(RowList::new()),
        };
        Self {
            help,
            kind,
            before_value: before_values(labels),
            text: String::new(),
            rows,
            valid,
            limit,
            dropped: Dropped::default(),
        }
    }

    /// Adds a sample. The label values are in the order of the family's labels.
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

    /// Adds a sample for each of these label sets that has a value. The family's labels are those of the sets and, with
    /// `last`, one more with this value. A family with shared label sets has no other samples.
    pub fn push_values(
        &mut self,
        sets: &Arc<LabelSets>,
        last: Option<&str>,
        values: impl Iterator<Item = Option<f64>>,
    ) {
        let room = self.limit.saturating_sub(self.rows.len());
        let (mut count, mut cut) = (0, 0);
        let mut bounded = |value: Option<f64>| {
            let value = value?;
            if count == room {
                cut += 1;
                return None;
            }
            count += 1;
            Some(value)
        };
        let values: Box<[f64]> = values.take(sets.len()).map(|value| bounded(value).unwrap_or_else(absent)).collect();
        self.dropped.limit += cut;
        let last_label = last.map_or_else(|| Some(Box::default()), |value| self.last_label_text(sets, value));
        let Some(last_label) = last_label.filter(|_| self.shares(sets, usize::from(last.is_some()))) else {
            self.dropped.invalid += count as u64;
            return;
        };
        self.share(SharedRows { sets: Arc::clone(sets), cells: Cells::Values { last_label, values }, count });
    }

    /// Adds a state set for each of these label sets. The state is the family's last label, which the sets lack. With
    /// `only_current`, only the sample of the current state is added.
    pub fn push_state_sets(
        &mut self,
        sets: &Arc<LabelSets>,
        states: &[&str],
        only_current: bool,
        current: impl Iterator<Item = State>,
    ) {
        let room = self.limit.saturating_sub(self.rows.len());
        let (mut count, mut cut) = (0, 0);
        let mut bounded = |state| {
            let samples = match state {
                State::Absent => 0,
                State::None if only_current => 0,
                State::Current(_) if only_current => 1,
                _ => states.len(),
            };
            if samples > room - count {
                cut += samples as u64;
                return State::Absent;
            }
            count += samples;
            state
        };
        let current: Box<[State]> = current.take(sets.len()).map(&mut bounded).collect();
        self.dropped.limit += cut;
        let last_labels: Option<Box<[Box<str>]>> =
            states.iter().map(|state| self.last_label_text(sets, state)).collect();
        let Some(last_labels) = last_labels.filter(|_| self.shares(sets, 1)) else {
            self.dropped.invalid += count as u64;
            return;
        };
        let cells = Cells::States { last_labels, current, only_current };
        self.share(SharedRows { sets: Arc::clone(sets), cells, count });
    }

    /// Whether the family has the labels of these sets and `more`.
    fn shares(&self, sets: &LabelSets, more: usize) -> bool {
        let own = self.before_value.strip_prefix(sets.before_value());
        let free = matches!(&self.rows, Rows::Shared(_)) || matches!(&self.rows, Rows::Scalar(rows) if rows.is_empty());
        self.valid && free && own.is_some_and(|own| own.len() == more)
    }

    /// `,code="2xx"`: the label after those of the sets.
    fn last_label_text(&self, sets: &LabelSets, value: &str) -> Option<Box<str>> {
        // The label set has its closing quote.
        let mut text = self.before_value.get(sets.before_value().len())?.strip_prefix('"')?.to_owned();
        push_escaped(&mut text, value);
        text.push('"');
        Some(text.into())
    }

    fn share(&mut self, rows: SharedRows) {
        self.dropped.duplicate += rows.sets.duplicates();
        match &mut self.rows {
            Rows::Shared(all) => all.push(rows),
            other => *other = Rows::Shared(vec![rows]),
        }
    }

    fn render(&mut self, labels: &[&str]) -> Option<(u32, u32)> {
        if !self.valid || labels.len() != self.before_value.len() {
            self.dropped.invalid += 1;
            return None;
        }
        // 32-bit offsets halve the size of a row's bookkeeping, and 4 GiB of labels is far beyond any limit.
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

    /// Sorts the rows by their labels and drops duplicates. The family does not change any more.
    pub(crate) fn finish(&mut self) -> Dropped {
        self.dropped.duplicate += match &mut self.rows {
            Rows::Scalar(rows) => sort_and_deduplicate(&mut self.text, rows),
            Rows::Histogram(rows) => sort_and_deduplicate(&mut self.text, rows),
            Rows::Summary(rows) => sort_and_deduplicate(&mut self.text, rows),
            // The sets are in order.
            Rows::Shared(_) => 0,
        };
        std::mem::take(&mut self.dropped)
    }

    /// The rows of both families, for two collectors that write to the same family.
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

    /// An upper estimate of the encoded size in bytes, for a family of this name.
    pub(crate) fn encoded_size(&self, name: &str) -> usize {
        let lines = match &self.rows {
            Rows::Scalar(rows) => rows.len(),
            Rows::Histogram(rows) => rows.iter().map(|row| row.value.buckets.len() + 3).sum(),
            Rows::Summary(rows) => rows.iter().map(|row| row.value.quantiles.len() + 2).sum(),
            Rows::Shared(rows) => {
                let rows = rows.iter().map(|rows| rows.encoded_size(name));
                return self.help.len() + 3 * name.len() + 40 + rows.sum::<usize>();
            }
        };
        let labels = self.text.len() * lines / self.rows.len().max(1);
        // 24: braces, blank, newline and the longest usual value.
        self.help.len() + 3 * name.len() + 40 + labels + lines * (name.len() + 24)
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
    // Most services answer in order: then one pass is enough.
    if !rows.is_sorted_by(|a, b| label_text(text, a) < label_text(text, b)) {
        // Stable, so that the first of two equal label sets is kept.
        rows.sort_by(|a, b| label_text(text, a).cmp(label_text(text, b)));
        rows.dedup_by(|later, first| label_text(text, later) == label_text(text, first));
        *text = in_order(text, rows);
    }
    (before - rows.len()) as u64
}

/// The label text in the order of the rows, so that encoding reads it from front to back. For 300,000 samples this
/// takes a fifth off: the text of one family fits the processor's cache now, and the text of all families does not
/// later.
fn in_order<V>(text: &str, rows: &mut [Row<V>]) -> String {
    let mut ordered = String::with_capacity(text.len());
    for row in rows {
        let labels = label_text(text, row);
        // Not longer than the old text, whose offsets fit.
        row.start = ordered.len() as u32;
        ordered.push_str(labels);
    }
    ordered
}

fn is_metric_name(name: &str) -> bool {
    is_name(name, |b| b == b':')
}

fn is_label_name(name: &str) -> bool {
    !name.starts_with("__") && is_name(name, |_| false)
}

fn is_name(name: &str, is_also_allowed: impl Fn(u8) -> bool) -> bool {
    name.starts_with(|first: char| !first.is_ascii_digit())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || is_also_allowed(b))
}
