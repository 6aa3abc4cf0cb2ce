//! The backup job of MedAssist, and the manifest in which each run records its result.
//!
//! [`manifest`] and [`name`] are the contract with readers such as `backup-exporter`; everything else serves the
//! program.
//!
//! One run, from top to bottom ([`run`] calls them):
//!
//! ```text
//! store    lock, sweep
//! server   flavour, grants, inventory
//! client   choose, flags
//! dump     pipe through scan, zstd, sha256
//! server   inventory again
//! store    commit, prune
//! push     Pushgateway
//! ```

mod client;
mod dump;
mod error;
mod grants;
mod push;
mod scan;
mod server;
mod store;

pub mod cli;
pub mod healthcheck;
pub mod manifest;
pub mod name;
pub mod proof;
pub mod run;
pub mod schedule;

pub use error::RunError;
