//! Bytes that all gathers share: who needs more than is left fails, and the process keeps its size.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A number of bytes that several users share.
#[derive(Debug)]
pub struct Budget {
    limit: usize,
    used: AtomicUsize,
    /// The budget that this one is a part of.
    whole: Option<Arc<Budget>>,
}

/// The bytes are not available.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exhausted {
    /// The limit that was reached.
    pub limit: usize,
}

impl Budget {
    pub fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self { limit, used: AtomicUsize::new(0), whole: None })
    }

    /// A part of this budget, which others cannot use up.
    pub fn part(self: &Arc<Self>, limit: usize) -> Arc<Self> {
        Arc::new(Self { limit, used: AtomicUsize::new(0), whole: Some(Arc::clone(self)) })
    }

    pub fn limit(&self) -> usize {
        self.limit
    }

    pub fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    fn take(&self, bytes: usize) -> Result<(), Exhausted> {
        let take = |used: usize| used.checked_add(bytes).filter(|used| *used <= self.limit);
        if self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_err() {
            return Err(Exhausted { limit: self.limit });
        }
        let Some(whole) = &self.whole else { return Ok(()) };
        whole.take(bytes).inspect_err(|_| self.give_own(bytes))
    }

    fn give(&self, bytes: usize) {
        self.give_own(bytes);
        if let Some(whole) = &self.whole {
            whole.give(bytes);
        }
    }

    fn give_own(&self, bytes: usize) {
        self.used.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// Bytes of a budget that are in use until the reservation is dropped.
#[derive(Debug)]
pub struct Reservation {
    budget: Arc<Budget>,
    bytes: usize,
}

impl Reservation {
    /// Nothing yet.
    pub fn new(budget: &Arc<Budget>) -> Self {
        Self { budget: Arc::clone(budget), bytes: 0 }
    }

    /// Another one of the same budget, with nothing yet.
    pub fn empty(&self) -> Self {
        Self::new(&self.budget)
    }

    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Takes further bytes. After an error the reservation is as before.
    pub fn add(&mut self, bytes: usize) -> Result<(), Exhausted> {
        self.budget.take(bytes)?;
        self.bytes += bytes;
        Ok(())
    }

    /// Grows to this number of bytes, for a buffer whose capacity has grown. It does not shrink.
    pub fn grow_to(&mut self, bytes: usize) -> Result<(), Exhausted> {
        self.add(bytes.saturating_sub(self.bytes))
    }

    /// Gives back what exceeds this number of bytes.
    pub fn shrink_to(&mut self, bytes: usize) {
        let surplus = self.bytes.saturating_sub(bytes);
        self.budget.give(surplus);
        self.bytes -= surplus;
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if self.bytes > 0 {
            self.budget.give(self.bytes);
        }
    }
}

impl std::fmt::Display for Exhausted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "the limit of {} MiB of memory", self.limit / (1 << 20))
    }
}

impl std::error::Error for Exhausted {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_is_bounded_by_itself_and_by_the_whole() {
        let whole = Budget::new(100);
        let part = whole.part(60);
        let mut ours = Reservation::new(&part);
        assert_eq!(ours.add(61), Err(Exhausted { limit: 60 }));
        ours.add(50).unwrap();
        let mut theirs = Reservation::new(&whole);
        assert_eq!(theirs.add(51), Err(Exhausted { limit: 100 }));
        theirs.grow_to(45).unwrap();
        assert_eq!(ours.add(10), Err(Exhausted { limit: 100 }), "the part has room, the whole has not");
        assert_eq!((part.used(), whole.used()), (50, 95));
        theirs.shrink_to(5);
        drop(ours);
        assert_eq!((part.used(), whole.used()), (0, 5));
        assert!(Reservation::new(&whole).add(usize::MAX).is_err());
    }
}
