//! What is not on the page, and why.

use std::fmt;

/// The number of dropped samples, by reason. A dropped sample is counted and never fails the scrape.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Dropped {
    /// A label set that the family already has. The first sample is kept.
    pub duplicate: u64,
    /// What Prometheus would refuse or mistake, such as an invalid name or a second declaration of the family that
    /// differs.
    pub invalid: u64,
    /// Over a limit of samples or of memory.
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

/// The dropped samples of one family of one batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loss {
    pub family: String,
    pub dropped: Dropped,
    /// The first reason, or the one that makes the collector incomplete.
    pub problem: Problem,
}

/// Why samples were dropped. It never quotes a label's value, which may be a user's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Problem {
    Duplicate,
    FamilyName,
    LabelName(String),
    LabelTwice(String),
    ReservedLabel(&'static str),
    LabelCount {
        declared: usize,
        given: usize,
    },
    /// A number for a histogram or summary, or the other way round.
    Type,
    CounterValue,
    InfoValue,
    StateValue,
    /// The family is declared a second time with another type or other labels.
    Declaration,
    /// The name is one of the series that this histogram or summary has.
    SeriesOf(String),
    /// The exporter itself exports a family of this name.
    OwnFamily,
    SampleLimit(usize),
    /// In bytes.
    MemoryLimit(usize),
}

impl Problem {
    /// The dropped samples, counted as what they are.
    pub(crate) fn count(&self, samples: u64) -> Dropped {
        let mut dropped = Dropped::default();
        *match self {
            Self::Duplicate => &mut dropped.duplicate,
            Self::SampleLimit(_) | Self::MemoryLimit(_) => &mut dropped.limit,
            _ => &mut dropped.invalid,
        } += samples;
        dropped
    }

    /// Whether the collector is incomplete or wrong. Other losses are those of single rows, which a service may send.
    pub fn fails_collector(&self) -> bool {
        matches!(
            self,
            Self::Declaration | Self::SeriesOf(_) | Self::OwnFamily | Self::SampleLimit(_) | Self::MemoryLimit(_)
        )
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Duplicate => f.write_str("its label set is there twice; the first sample is kept"),
            Self::FamilyName => f.write_str("the family's name is invalid; use letters, digits, `_` and `:`"),
            Self::LabelName(name) => write!(f, "the label name {name:?} is invalid; use letters, digits and `_`"),
            Self::LabelTwice(name) => write!(f, "the label {name} is declared twice"),
            Self::ReservedLabel(name) => write!(f, "the label {name} belongs to the format in a family of this type"),
            Self::LabelCount { declared, given } => write!(f, "{given} label values for {declared} labels"),
            Self::Type => f.write_str("its value does not have the family's type"),
            Self::CounterValue => f.write_str("a counter is NaN or negative; declare a gauge"),
            Self::InfoValue => f.write_str("an info family's value is always 1"),
            Self::StateValue => f.write_str("a state is 0 or 1"),
            Self::Declaration => f.write_str(
                "the family is declared twice, with different types or labels; the first declaration is kept",
            ),
            Self::SeriesOf(other) => write!(f, "the name is a series of the family {other}; rename one of them"),
            Self::OwnFamily => f.write_str("the exporter itself exports a family of this name; rename this one"),
            Self::SampleLimit(limit) => write!(f, "over the limit of {limit} samples in one family"),
            Self::MemoryLimit(bytes) => write!(f, "over its share of {} MiB of memory", bytes / (1 << 20)),
        }
    }
}
