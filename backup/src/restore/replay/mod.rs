//! Replays the binary log on top of a restored backup, up to a time.
//!
//! ```text
//! plan    which files, from where to where: before anything is changed
//! play    the flavour's program prints them as statements, which run on the target
//! log     which of the statements belong to what is restored
//! ```

mod log;
mod plan;
mod play;

pub(crate) use plan::{Plan, plan};
pub(crate) use play::play;
