//! All that an exporter needs except knowing its service.
//!
//! An exporter implements [`Exporter`], a [`Target`] with a session, and one [`Collector`] a file; its main is `exporter_toolkit::run::<MyExporter>()`.
//! The toolkit owns the rest: flags, HTTP, deadlines, one gather for concurrent scrapes, partial results, the snapshot, both encoders, health.
//! `CONTRIBUTING.md` walks through a new exporter.

pub mod check;
mod cli;
mod compress;
pub mod docs;
pub mod encode;
pub mod exporter;
pub mod family;
pub mod flags;
mod gather;
mod handler;
pub mod health;
mod landing_page;
pub mod negotiate;
mod process;
mod reload;
mod response;
pub mod snapshot;
pub mod testing;

pub use async_trait::async_trait;
pub use check::{CheckDef, CheckStatus, Finding};
pub use cli::run;
pub use exporter::{BoxError, Collector, Exporter, Target};
pub use family::{Desc, Families, HistogramValue, Kind, SummaryValue};
/// What an exporter needs of the service kit, so that it depends on the toolkit only.
pub use service_kit::{address, duration, error_chain, file, hex, lock, resolve, secret};

/// The revision that the program was built from, where the build said so.
const REVISION: &str = match option_env!("BUILD_REVISION") {
    Some(revision) => revision,
    None => "unknown",
};
