//! The result of one gather, and its page in the formats that scrapers requested.

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use exposition::memory::{Budget, Exhausted, Reservation};
use exposition::{Compression, Compressor, Form, Format, Snapshot};
use tokio::sync::OnceCell;

use crate::health::Report;
use service_kit::lock::lock;

/// From this number of samples on, the page is made on another thread. 10,000 samples take about 1 ms to encode and 5
/// ms to compress, and more would delay `/-/healthy` and other scrapes.
const LARGE_PAGE_SAMPLES: usize = 10_000;

/// The compressor of the page before, for reuse. While one page is in the making, another one makes its own.
pub(super) type IdleCompressor = Arc<Mutex<Option<Compressor>>>;

pub(crate) struct Exposition {
    snapshot: Snapshot,
    pub(crate) report: Report,
    pub(crate) up: bool,
    compressor: IdleCompressor,
    memory: Arc<Budget>,
    /// Made at the first request of each form, and shared by all scrapers that waited for this gather.
    encoded: [OnceCell<Bytes>; 6],
}

/// An encoded page, which counts until the slowest scraper has read it.
struct Encoded {
    body: Vec<u8>,
    _memory: Reservation,
}

impl AsRef<[u8]> for Encoded {
    fn as_ref(&self) -> &[u8] {
        &self.body
    }
}

impl Exposition {
    pub(super) fn new(
        snapshot: Snapshot,
        report: Report,
        up: bool,
        compressor: IdleCompressor,
        memory: Arc<Budget>,
    ) -> Self {
        Self { snapshot, report, up, compressor, memory, encoded: Default::default() }
    }

    /// The page. It fails if there is no memory for it.
    pub(crate) async fn body(self: Arc<Self>, form: Form) -> Result<Bytes, Exhausted> {
        let index = 3 * usize::from(form.format == Format::OpenMetrics)
            + match form.compression {
                Compression::Identity => 0,
                Compression::Gzip => 1,
                Compression::Zstd => 2,
            };
        let encoded = self.encoded[index].get_or_try_init(async || {
            if self.snapshot.sample_count() < LARGE_PAGE_SAMPLES {
                return self.encode(form);
            }
            let this = Arc::clone(&self);
            match tokio::task::spawn_blocking(move || this.encode(form)).await {
                Ok(bytes) => bytes,
                Err(_) => self.encode(form),
            }
        });
        encoded.await.cloned()
    }

    fn encode(&self, form: Form) -> Result<Bytes, Exhausted> {
        let mut memory = Reservation::new(&self.memory);
        memory.add(match form.compression {
            Compression::Identity => self.snapshot.encoded_size(),
            // A page of metrics has an eighth of its size.
            Compression::Gzip | Compression::Zstd => self.snapshot.encoded_size() / 4,
        })?;
        let mut compressor = lock(&self.compressor).take().unwrap_or_default();
        let body = compressor.body(&self.snapshot, form);
        *lock(&self.compressor) = Some(compressor);
        memory.shrink_to(body.len());
        Ok(Bytes::from_owner(Encoded { body, _memory: memory }))
    }
}
