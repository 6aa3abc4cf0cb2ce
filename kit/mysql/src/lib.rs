//! MySQL and MariaDB specifics, in one place for the exporter, the backup job and the API: connection
//! options, error codes, flavours and versions.

mod connection;
pub mod error_code;
mod typed;
mod version;

pub use connection::{connect, options};
pub use typed::typed;
pub use version::{Flavour, Version};
