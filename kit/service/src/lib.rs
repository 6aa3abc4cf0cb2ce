//! What every long-running program of the suite needs: flag values, secrets, logs, signals, name lookup.
//!
//! One concept a module. A module depends at most on leaves: `listen` on `address`, `secret` and `tls` on `file`,
//! `panics` on `lock`, `logging` on `panics`, `healthcheck` on `listen`, `resolve` and `tls`.

pub mod address;
pub mod build;
pub mod duration;
pub mod env;
pub mod error_chain;
pub mod file;
pub mod healthcheck;
pub mod hex;
#[cfg(feature = "http")]
pub mod http;
pub mod listen;
pub mod lock;
pub mod logging;
pub mod panics;
pub mod process;
pub mod resolve;
pub mod secret;
pub mod signals;
pub mod tls;
