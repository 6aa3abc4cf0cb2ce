//! The samples of one family.
//!
//! Label values are escaped and rendered when a sample is added, into one buffer per family. A family of 10,000 samples
//! is three allocations, sorting compares bytes, and both encoders copy the label text as it is.

use std::borrow::Cow;
use std::sync::Arc;

use smallvec::SmallVec;

use crate::declaration;
use crate::desc::Kind;
use crate::escape::push_escaped;
use crate::loss::{Dropped, Problem};
use crate::memory::{Exhausted, Reservation};
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

/// From this size on, memory that a family does not use is given back.
const LARGE_TEXT_BYTES: usize = 1024 * 1024;

/// What one row of a family needs in addition to its labels, in bytes: 16, in a list that may have doubled.
const ROW_BYTES: usize = 32;

impl Rows {
    /// The number of samples.
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Scalar(rows) => rows.len(),
            Self::Histogram(rows) => rows.len(),
            Self::Summary(rows) => rows.len(),
            Self::Shared(rows) => rows.iter().map(|rows| rows.count).sum(),
        }
    }
}

/// One family, which samples are added to. Its name is its key in the [`FamilyWriter`](crate::FamilyWriter).
#[derive(Debug)]
pub struct Family {
    pub(crate) help: Cow<'static, str>,
    pub(crate) kind: Kind,
    /// `a="`, then `",b="`: the text before each label value.
    before_value: Vec<Box<str>>,
    before_bytes: usize,
    /// The rendered labels of all rows, without braces: `a="1",b="2"a="1",b="3"`…
    text: String,
    pub(crate) rows: Rows,
    is_valid: bool,
    limit: usize,
    memory: Reservation,
    /// How many of the reserved bytes are free.
    room: usize,
    dropped: Dropped,
    problem: Option<Box<Problem>>,
}

impl Family {
    /// The first `room` bytes are paid for.
    pub(crate) fn new(
        name: &str,
        help: Cow<'static, str>,
        kind: Kind,
        labels: &[&str],
        limit: usize,
        memory: Reservation,
        room: usize,
    ) -> Self {
        let problem = declaration::problem(name, kind, labels);
        let before_value = before_values(labels);
        let rows = match kind {
            Kind::Histogram => Rows::Histogram(RowList::new()),
            Kind::Summary => Rows::Summary(RowList::new()),
            _ => Rows::Scalar(RowList::new()),
        };
        Self {
            help,
            kind,
            before_bytes: before_value.iter().map(|before| before.len()).sum(),
            before_value,
            text: String::new(),
            rows,
            is_valid: problem.is_none(),
            limit,
            memory,
            room,
            dropped: Dropped::default(),
            problem: problem.map(Box::new),
        }
    }

    /// A family that keeps nothing.
    pub(crate) fn refused(problem: Problem, memory: Reservation) -> Self {
        let mut family = Self::new("refused", Cow::Borrowed(""), Kind::Untyped, &[], 0, memory, 0);
        (family.is_valid, family.problem) = (false, Some(Box::new(problem)));
        family
    }

    /// Whether it was declared like this.
    pub(crate) fn is_declared_as(&self, kind: Kind, labels: &[&str]) -> bool {
        self.kind == kind
            && self.before_value.len() == labels.len()
            && self.before_value.iter().zip(labels).all(|(before, label)| label_name(before) == *label)
    }

    /// Adds a sample. The label values are in the order of the family's labels.
    pub fn push(&mut self, labels: &[&str], value: f64) {
        let problem = match self.kind {
            Kind::Counter if value.is_nan() || value < 0.0 => Some(Problem::CounterValue),
            Kind::Info if value != 1.0 => Some(Problem::InfoValue),
            Kind::StateSet if value != 0.0 && value != 1.0 => Some(Problem::StateValue),
            _ => None,
        };
        if let Some(problem) = problem {
            return self.drop_samples(1, problem);
        }
        let Some((start, len)) = self.render(labels, ROW_BYTES) else { return };
        match &mut self.rows {
            Rows::Scalar(rows) => rows.push(Row { start, len, value }),
            _ => self.drop_samples(1, Problem::Type),
        }
    }

    pub fn push_histogram(&mut self, labels: &[&str], value: HistogramValue) {
        let bytes = ROW_BYTES + size_of::<HistogramValue>() + size_of_val(value.buckets.as_slice());
        let Some((start, len)) = self.render(labels, bytes) else { return };
        match &mut self.rows {
            Rows::Histogram(rows) => rows.push(Row { start, len, value: Box::new(value) }),
            _ => self.drop_samples(1, Problem::Type),
        }
    }

    pub fn push_summary(&mut self, labels: &[&str], value: SummaryValue) {
        let bytes = ROW_BYTES + size_of::<SummaryValue>() + size_of_val(value.quantiles.as_slice());
        let Some((start, len)) = self.render(labels, bytes) else { return };
        match &mut self.rows {
            Rows::Summary(rows) => rows.push(Row { start, len, value: Box::new(value) }),
            _ => self.drop_samples(1, Problem::Type),
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
        if cut > 0 {
            self.drop_samples(cut, Problem::SampleLimit(self.limit));
        }
        let last_label = last.map_or_else(|| Some(Box::default()), |value| self.last_label_text(sets, value));
        let Some(last_label) = last_label.filter(|_| self.shares(sets, usize::from(last.is_some()))) else {
            let declared = self.before_value.len();
            return self.drop_samples(count, Problem::LabelCount { declared, given: sets.before_value().len() });
        };
        if self.pay(size_of_val(&*values), count) {
            self.share(SharedRows { sets: Arc::clone(sets), cells: Cells::Values { last_label, values }, count });
        }
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
                cut += samples;
                return State::Absent;
            }
            count += samples;
            state
        };
        let current: Box<[State]> = current.take(sets.len()).map(&mut bounded).collect();
        if cut > 0 {
            self.drop_samples(cut, Problem::SampleLimit(self.limit));
        }
        let last_labels: Option<Box<[Box<str>]>> =
            states.iter().map(|state| self.last_label_text(sets, state)).collect();
        let Some(last_labels) = last_labels.filter(|_| self.shares(sets, 1)) else {
            let declared = self.before_value.len();
            return self.drop_samples(count, Problem::LabelCount { declared, given: sets.before_value().len() });
        };
        if self.pay(size_of_val(&*current), count) {
            let cells = Cells::States { last_labels, current, only_current };
            self.share(SharedRows { sets: Arc::clone(sets), cells, count });
        }
    }

    /// Whether the family has the labels of these sets and `more`.
    fn shares(&self, sets: &LabelSets, more: usize) -> bool {
        let own = self.before_value.strip_prefix(sets.before_value());
        let free = matches!(&self.rows, Rows::Shared(_)) || matches!(&self.rows, Rows::Scalar(rows) if rows.is_empty());
        self.is_valid && free && own.is_some_and(|own| own.len() == more)
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
        if rows.sets.duplicates() > 0 {
            self.drop_samples(rows.sets.duplicates(), Problem::Duplicate);
        }
        match &mut self.rows {
            Rows::Shared(all) => all.push(rows),
            other => *other = Rows::Shared(vec![rows]),
        }
    }

    /// Adds the text of a row's labels.
    fn render(&mut self, labels: &[&str], row_bytes: usize) -> Option<(u32, u32)> {
        if !self.is_valid {
            let count = self.problem.as_deref().map(|problem| problem.count(1));
            self.dropped.add(count.unwrap_or_default());
            return None;
        }
        let declared = self.before_value.len();
        if labels.len() != declared {
            self.drop_samples(1, Problem::LabelCount { declared, given: labels.len() });
            return None;
        }
        if self.rows.len() >= self.limit {
            self.drop_samples(1, Problem::SampleLimit(self.limit));
            return None;
        }
        let values: usize = labels.iter().map(|value| value.len()).sum();
        if !self.pay(row_bytes + self.before_bytes + values, 1) {
            return None;
        }
        // 32-bit offsets halve the size of a row's bookkeeping. A family of 4 GiB is beyond any memory limit.
        let start = u32::try_from(self.text.len()).ok()?;
        for (before, value) in self.before_value.iter().zip(labels) {
            self.text.push_str(before);
            push_escaped(&mut self.text, value);
        }
        if !labels.is_empty() {
            self.text.push('"');
        }
        let len = u32::try_from(self.text.len()).ok()? - start;
        Some((start, len))
    }

    /// Reserves memory for so many samples, or drops them.
    fn pay(&mut self, bytes: usize, samples: usize) -> bool {
        if self.room >= bytes {
            self.room -= bytes;
            return true;
        }
        self.reserve(bytes, samples)
    }

    #[cold]
    fn reserve(&mut self, bytes: usize, samples: usize) -> bool {
        // In growing steps, as the text grows.
        let step = bytes.max(self.text.len() / 2).max(1024);
        match self.memory.add(step).map(|()| step).or_else(|_| self.memory.add(bytes).map(|()| bytes)) {
            Ok(added) => {
                self.room += added - bytes;
                true
            }
            Err(Exhausted { limit }) => {
                self.drop_samples(samples, Problem::MemoryLimit(limit));
                false
            }
        }
    }

    fn drop_samples(&mut self, samples: usize, problem: Problem) {
        self.dropped.add(problem.count(samples as u64));
        // The first reason is kept, unless a later one says more.
        if self.problem.as_ref().is_none_or(|first| problem.fails_collector() && !first.fails_collector()) {
            self.problem = Some(Box::new(problem));
        }
    }

    pub(crate) fn labels<V>(&self, row: &Row<V>) -> &str {
        label_text(&self.text, row)
    }

    pub(crate) fn last_label(&self) -> Option<&str> {
        self.before_value.last().map(|before| label_name(before))
    }

    /// Sorts the rows by their labels and drops duplicates. The family does not change any more. Returns what was
    /// dropped, if anything was.
    pub(crate) fn finish(&mut self) -> Option<(Dropped, Problem)> {
        let duplicates = match &mut self.rows {
            Rows::Scalar(rows) => sort_and_deduplicate(&mut self.text, rows),
            Rows::Histogram(rows) => sort_and_deduplicate(&mut self.text, rows),
            Rows::Summary(rows) => sort_and_deduplicate(&mut self.text, rows),
            // The sets are in order.
            Rows::Shared(_) => 0,
        };
        if duplicates > 0 {
            self.drop_samples(duplicates, Problem::Duplicate);
        }
        let dropped = std::mem::take(&mut self.dropped);
        (dropped.total() > 0).then(|| (dropped, self.problem.as_deref().cloned().unwrap_or(Problem::Duplicate)))
    }

    /// The rows of both families, for two collectors that write to the same family, and what of the other one was
    /// dropped.
    pub(crate) fn merged(mut self, other: &Self) -> (Self, Option<(Dropped, Problem)>) {
        if self.kind != other.kind || self.before_value != other.before_value {
            let problem = Problem::Declaration;
            return (self, Some((problem.count(other.rows.len() as u64), problem)));
        }
        let bytes = other.text.len() + other.rows.len() * ROW_BYTES;
        let offset = u32::try_from(self.text.len()).ok();
        if let Some(offset) = offset.filter(|_| self.pay(bytes, other.rows.len())) {
            self.text.push_str(&other.text);
            match (&mut self.rows, &other.rows) {
                (Rows::Scalar(ours), Rows::Scalar(theirs)) => append_rows(ours, theirs, offset),
                (Rows::Histogram(ours), Rows::Histogram(theirs)) => append_rows(ours, theirs, offset),
                (Rows::Summary(ours), Rows::Summary(theirs)) => append_rows(ours, theirs, offset),
                // Families of one kind have rows of one kind.
                _ => {}
            }
        }
        let lost = self.finish();
        (self, lost)
    }

    /// The same rows once more. They are not reserved: two collectors seldom write to one family, and then little.
    pub(crate) fn copy(&self) -> Self {
        let Self { help, kind, before_value, before_bytes, text, rows, is_valid, limit, memory, .. } = self;
        Self {
            help: help.clone(),
            kind: *kind,
            before_value: before_value.clone(),
            before_bytes: *before_bytes,
            text: text.clone(),
            rows: rows.clone(),
            is_valid: *is_valid,
            limit: *limit,
            memory: memory.empty(),
            room: 0,
            dropped: Dropped::default(),
            problem: None,
        }
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

/// The name in the text before a label's value.
fn label_name(before: &str) -> &str {
    before.trim_start_matches(['"', ',']).trim_end_matches(['"', '='])
}

fn append_rows<V: Clone>(ours: &mut RowList<V>, theirs: &[Row<V>], offset: u32) {
    ours.extend(theirs.iter().map(|row| Row { start: row.start.saturating_add(offset), ..row.clone() }));
}

fn label_text<'a, V>(text: &'a str, row: &Row<V>) -> &'a str {
    text.get(row.start as usize..(row.start + row.len) as usize).unwrap_or_default()
}

fn sort_and_deduplicate<V>(text: &mut String, rows: &mut RowList<V>) -> usize {
    let before = rows.len();
    // Most services answer in order: then one pass is enough.
    if !rows.is_sorted_by(|a, b| label_text(text, a) < label_text(text, b)) {
        // Stable, so that the first of two equal label sets is kept.
        rows.sort_by(|a, b| label_text(text, a).cmp(label_text(text, b)));
        rows.dedup_by(|later, first| label_text(text, later) == label_text(text, first));
        *text = in_order(text, rows);
    }
    // They may have doubled just now. A large page is read for as long as the slowest scraper takes.
    if text.len() >= LARGE_TEXT_BYTES {
        text.shrink_to_fit();
        rows.shrink_to_fit();
    }
    before - rows.len()
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
