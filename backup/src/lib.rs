//! The backup job of MedAssist, and the manifest in which each run records its result.
//!
//! [`manifest`] and [`name`] are the contract with readers such as `backup-exporter`; everything else serves the
//! program.
//!
//! A run, from top to bottom ([`run`] calls them):
//!
//! ```text
//! store    lock, sweep
//! server   flavour, grants, inventory, accounts
//! client   choose, flags
//! dumper   dump, compare with the inventory before and after
//! dump     pipe through scan, zstd, encryption, sha256
//! store    commit, prune
//! report   Pushgateway, hooks
//! offsite  copies in another place
//! binlog   the server's binary log
//! ```
//!
//! `statements` and `kind` split and classify a dump, for the scan and for the restore.

mod accounts;
mod binlog_flags;
mod blocking;
mod catalog;
mod choose;
mod client;
mod compare;
mod dump;
mod dumper;
mod encryption;
mod error;
mod grants;
mod help;
mod kind;
mod login;
mod offsite_flags;
mod process;
mod progress;
mod report;
mod report_flags;
mod retention;
mod scan;
mod server;
mod state_file;
mod statements;
mod store;
mod stored;

pub mod binlog;
pub mod cli;
pub mod commands;
pub mod guard;
pub mod healthcheck;
pub mod manifest;
pub mod name;
pub mod offsite;
pub mod proof;
pub mod proving;
pub mod restore;
pub mod run;
pub mod schedule;
pub mod verify;

pub use error::RunError;
pub use login::Account;
pub use report::Targets;
pub use retention::Retention;
pub use state_file::{StateError, StateFile};
