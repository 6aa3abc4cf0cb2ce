//! The local stack: every program of the suite and every server that it watches, as processes on loopback.
//!
//! [`services`] is the table of what runs, [`supervise`] starts and stops it, [`provision`] makes what it needs (secrets,
//! database users, configuration), [`ports`] says who holds a port.

pub mod layout;
pub mod ports;
pub mod provision;
pub mod services;
pub mod supervise;

pub use layout::Layout;
pub use services::{SERVICES, Service, service};
pub use supervise::State;
