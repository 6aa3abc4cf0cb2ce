//! The declaration of a family.

use std::borrow::Cow;

/// The type of a family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Counter,
    Gauge,
    /// Counter or gauge: the source does not say which.
    Untyped,
    Summary,
    Histogram,
    /// Always 1: the information is in the labels. The name ends in `_info`.
    Info,
    /// One sample per state, 1 for the current state. The last label names the state.
    StateSet,
}

/// The declaration of a family: name, type, labels and help.
#[derive(Clone, Debug)]
pub struct Desc {
    pub name: Cow<'static, str>,
    pub help: Cow<'static, str>,
    pub kind: Kind,
    pub labels: &'static [&'static str],
    /// The field of the source that the samples come from, for documentation. Empty if the source has no fields.
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

    /// A family whose name is known at run time only, such as `mysql_global_status_<variable>`.
    pub fn dynamic(
        kind: Kind,
        name: String,
        help: impl Into<Cow<'static, str>>,
        labels: &'static [&'static str],
    ) -> Self {
        Self { name: Cow::Owned(name), help: help.into(), kind, labels, field: "" }
    }

    /// Names the field of the source that the samples come from, for documentation.
    pub const fn field(mut self, field: &'static str) -> Self {
        self.field = field;
        self
    }
}
