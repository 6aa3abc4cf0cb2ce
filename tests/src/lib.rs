//! The [`testbed`]: real servers for tests. It starts them as the local stack does: [`launch`] and [`database`] are the
//! stack's.

pub mod error;
pub mod testbed;

pub use error::Error;
pub use medassist_stack::{database, launch};
