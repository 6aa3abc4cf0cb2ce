//! Everything that an exporter needs except the knowledge of its service.
//!
//! An exporter implements [`Exporter`], a [`Target`] with a session, and one [`Collector`] per file. Its main is
//! `exporter_toolkit::run::<MyExporter>(exporter_toolkit::build!())`. The toolkit has the rest: flags, HTTP, deadlines,
//! one gather for concurrent scrapes, partial results and health. The page itself is the crate [`exposition`].
//! CONTRIBUTING.md shows a whole exporter.

mod build;
pub mod check;
mod cli;
mod debug_page;
mod declared;
pub mod docs;
pub mod exporter;
pub mod family;
pub mod flags;
mod gather;
mod handler;
pub mod health;
mod health_collector;
#[cfg(feature = "http")]
pub mod http;
mod landing_page;
pub mod memory;
pub mod probe;
mod process;
mod reload;
mod response;
pub mod testing;
mod validate;

pub use async_trait::async_trait;
pub use build::Build;
pub use check::{CheckDef, CheckStatus, Finding};
pub use cli::run;
pub use exporter::{BoxError, Collector, Exporter, Target};
pub use exposition;
pub use family::{Desc, Families, HistogramValue, Kind, LabelSets, State, SummaryValue};
pub use health_collector::{HealthChecks, HealthCollector};
pub use probe::{NotListed, Place, ProbeRequest};
/// What an exporter needs of the service kit, so that it depends on the toolkit only.
pub use service_kit::{address, duration, error_chain, file, hex, lock, resolve, secret, tls};
