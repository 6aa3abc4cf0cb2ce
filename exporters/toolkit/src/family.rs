//! What a collector writes in one scrape: samples for the page, and results of health checks.

pub use exposition::{Desc, Family, HistogramValue, Kind, SummaryValue};

use std::borrow::Cow;
use std::sync::Arc;

use exposition::memory::Budget;
use exposition::{FamilyBatch, FamilyWriter};

use crate::check::{CheckDef, CheckResult, CheckStatus, Finding};

/// The families and health checks of one collector.
#[derive(Debug, Default)]
pub struct Families {
    writer: FamilyWriter,
    checks: Vec<CheckResult>,
}

impl Families {
    /// Keeps up to `limit` samples in each family, and what the memory budget allows. Further samples are dropped and
    /// counted.
    pub(crate) fn bounded(limit: usize, memory: &Arc<Budget>) -> Self {
        Self { writer: FamilyWriter::new(limit, memory), checks: Vec::new() }
    }

    /// Makes room for exactly this number of further families.
    pub fn reserve(&mut self, families: usize) {
        self.writer.reserve(families);
    }

    /// Adds one sample to the family of this declaration.
    pub fn push(&mut self, desc: &Desc, labels: &[&str], value: f64) {
        self.writer.push(desc, labels, value);
    }

    /// The family of this declaration, to add samples to.
    pub fn family(&mut self, desc: &Desc) -> &mut Family {
        self.writer.family(desc)
    }

    /// Like [`Self::family`], for names that are known at run time only. Nothing is cloned.
    pub fn dynamic_family(
        &mut self,
        name: Cow<'static, str>,
        help: Cow<'static, str>,
        kind: Kind,
        labels: &[&str],
    ) -> &mut Family {
        self.writer.dynamic_family(name, help, kind, labels)
    }

    /// Reports the result of a health check. The reason is a sentence with the numbers in it.
    pub fn check(&mut self, check: &'static CheckDef, status: CheckStatus, reason: impl Into<String>) {
        self.checks.push(CheckResult { check, status, reason: reason.into() });
    }

    /// Like [`Self::check`]. Without a finding the check is absent: it could not be made.
    pub fn finding(&mut self, check: &'static CheckDef, finding: Option<Finding>) {
        if let Some((status, reason)) = finding {
            self.check(check, status, reason);
        }
    }

    /// The names of the families so far.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.writer.names()
    }

    /// The results of the health checks so far.
    pub(crate) fn checks(&self) -> &[CheckResult] {
        &self.checks
    }

    /// Sorts and checks the samples, and hands over the results of the health checks.
    pub(crate) fn finish(self) -> (FamilyBatch, Vec<CheckResult>) {
        (self.writer.finish(), self.checks)
    }
}
