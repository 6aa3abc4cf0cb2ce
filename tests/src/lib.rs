//! Everything that starts real servers: the [`testbed`] for tests, and the local [`stack`] behind `make up`.
//!
//! Both build their processes with [`launch`] and [`database`], so what the local stack runs is what the tests run.

pub mod database;
pub mod error;
pub mod launch;
pub mod stack;
pub mod testbed;

pub use error::Error;
