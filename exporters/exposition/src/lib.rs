//! A page of metrics: families of samples, as the Prometheus text format 0.0.4 or OpenMetrics 1.0.
//!
//! ```text
//! FamilyWriter ── finish() ──▶ FamilyBatch ──▶ Snapshot::assemble ──▶ encode() or Compressor::body()
//! ```
//!
//! A program writes samples to a [`FamilyWriter`]. Samples that Prometheus would refuse are dropped and counted.
//! Nothing here reads a clock, a file or the network, and no runtime is needed.

mod compress;
mod declaration;
mod desc;
mod encode;
mod escape;
mod family;
mod loss;
pub mod memory;
pub mod negotiate;
mod shared;
mod snapshot;
mod writer;

pub use compress::Compressor;
pub use desc::{Desc, Kind};
pub use encode::{Format, encode};
pub use family::{Family, HistogramValue, SummaryValue};
pub use loss::{Dropped, Loss, Problem};
pub use negotiate::{Compression, Form};
pub use shared::{LabelSets, State};
pub use snapshot::Snapshot;
pub use writer::{FamilyBatch, FamilyWriter};
