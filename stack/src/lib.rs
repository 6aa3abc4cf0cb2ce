//! The local stack behind `make up`: every program of the suite and every server that it watches, as processes on
//! loopback.
//!
//! - [`services`] is the table of what runs. [`supervise`] starts and stops it.
//! - [`provision`] makes what the services need: directories, secrets, database users, configuration.
//! - [`launch`], [`database`], [`http`] and [`wait`] start a server and await that it answers. The testbed of the test
//!   crate
//!   uses them too, so what the local stack runs is what the tests run.

pub mod database;
pub mod error;
pub mod http;
pub mod launch;
pub mod layout;
pub mod nginx;
pub mod ports;
pub mod provision;
pub mod services;
pub mod supervise;
pub mod wait;

pub use error::Error;
pub use layout::Layout;
pub use services::{SERVICES, Service, service};
pub use supervise::State;
pub use wait::eventually;
