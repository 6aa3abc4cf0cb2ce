//! A bound on the memory of all responses that are held at a time.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

const UNIT: usize = 1024;

/// Memory that several targets share.
#[derive(Clone, Debug)]
pub(crate) struct Memory {
    free: Arc<Semaphore>,
    limit: usize,
}

/// There is not as much left.
#[derive(Debug)]
pub(crate) struct Exhausted;

impl Memory {
    pub(crate) fn new(limit: usize) -> Self {
        Self { free: Arc::new(Semaphore::new(limit / UNIT)), limit }
    }

    pub(crate) fn limit(&self) -> usize {
        self.limit
    }

    pub(crate) fn reserve(&self) -> Reserved {
        Reserved { memory: self.clone(), held: None }
    }
}

/// The part of one response. It is free again when this is dropped.
#[derive(Debug)]
pub(crate) struct Reserved {
    memory: Memory,
    held: Option<OwnedSemaphorePermit>,
}

impl Reserved {
    pub(crate) fn grow_to(&mut self, bytes: usize) -> Result<(), Exhausted> {
        let held = self.held.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
        let more = bytes.div_ceil(UNIT).saturating_sub(held);
        if more == 0 {
            return Ok(());
        }
        let more = u32::try_from(more).map_err(|_| Exhausted)?;
        let permit = Arc::clone(&self.memory.free).try_acquire_many_owned(more).map_err(|_| Exhausted)?;
        match &mut self.held {
            Some(held) => held.merge(permit),
            None => self.held = Some(permit),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_one_holds_the_other_cannot_have() {
        let memory = Memory::new(10 * UNIT);
        let (mut one, mut other) = (memory.reserve(), memory.reserve());
        assert!(one.grow_to(6 * UNIT - 1).is_ok() && one.grow_to(6 * UNIT).is_ok());
        assert!(other.grow_to(4 * UNIT).is_ok() && other.grow_to(4 * UNIT + 1).is_err());
        drop(one);
        assert!(other.grow_to(10 * UNIT).is_ok());
    }
}
