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

use jiff::Timestamp;

/// The state to restore.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum At {
    /// As it was at this time.
    Time(Timestamp),
    /// The newest that can be restored.
    Latest,
}

impl std::str::FromStr for At {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "latest" {
            return Ok(Self::Latest);
        }
        text.parse().map(Self::Time).map_err(|error: jiff::Error| format!("neither \"latest\" nor a time: {error}"))
    }
}
