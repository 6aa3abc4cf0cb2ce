//! The memory that all running gathers share: `--scrape.memory-limit`.
//!
//! The samples of a page count. What a client of the service reads counts, if the client reserves it. Encoded pages may
//! use twice as much again: only pages that the scraper does not accept compressed come close to it. Probes together
//! have at most half of it, so that they never take the memory of `/metrics`.
//!
//! ```
//! use exporter_toolkit::memory;
//!
//! # fn read(buffer: &mut Vec<u8>) -> Result<(), memory::Exhausted> {
//! let mut memory = memory::reservation();
//! // Before a buffer grows:
//! memory.grow_to(buffer.len() + 4096)?;
//! buffer.reserve_exact(4096);
//! // The bytes are free again when the reservation is dropped: keep it together with the buffer.
//! # Ok(())
//! # }
//! ```

use std::future::Future;
use std::sync::{Arc, LazyLock};

pub use exposition::memory::{Budget, Exhausted, Reservation};

/// The default of `--scrape.memory-limit`. A sample with two labels needs 70 bytes: 730,000 of them, as 10,000 HAProxy
/// servers with checks have, are 50 MiB.
pub(crate) const DEFAULT_LIMIT_MIB: usize = 128;

tokio::task_local! {
    static GATHER: Arc<Budget>;
}

/// Outside of a gather nothing is limited.
static UNLIMITED: LazyLock<Arc<Budget>> = LazyLock::new(|| Budget::new(usize::MAX));

/// An empty reservation of the gather that runs this code, in [`Target::open`](crate::Target::open) or
/// [`Collector::collect`](crate::Collector::collect). Tasks that these spawn are not part of the gather.
pub fn reservation() -> Reservation {
    Reservation::new(&GATHER.try_with(Arc::clone).unwrap_or_else(|_| Arc::clone(&UNLIMITED)))
}

/// Runs a part of a gather.
pub(crate) fn within<T>(budget: &Arc<Budget>, work: impl Future<Output = T>) -> impl Future<Output = T> {
    GATHER.scope(Arc::clone(budget), work)
}

/// The part of a gather's budget that one collector, or opening the session, can use: the others have the rest.
pub(crate) fn share_of_one(gather: &Arc<Budget>) -> Arc<Budget> {
    gather.part(gather.limit() / 4 * 3)
}

/// The budgets of one kind of gathers.
pub(crate) struct Budgets {
    /// For what the gather reads and writes.
    pub(crate) gather: Arc<Budget>,
    /// For the encoded page: not what samples have used up, or nobody could be told that they have.
    pub(crate) page: Arc<Budget>,
}

impl Budgets {
    /// Those of `/metrics`, and those of all probes, which are at most half of them.
    pub(crate) fn new(limit: usize) -> (Self, Self) {
        let main = Self { gather: Budget::new(limit), page: Budget::new(limit.saturating_mul(2)) };
        let probes = Self { gather: main.gather.part(limit / 2), page: main.page.part(limit) };
        (main, probes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_gather_pays_for_what_it_reserves() {
        let (main, probes) = Budgets::new(100);
        within(&probes.gather, async {
            let mut memory = reservation();
            assert_eq!(memory.grow_to(51), Err(Exhausted { limit: 50 }));
            memory.grow_to(50).unwrap();
            assert_eq!(main.gather.used(), 50);
        })
        .await;
        assert_eq!(main.gather.used(), 0);
        reservation().grow_to(1000).unwrap();
    }
}
