//! The HTTP server that the exporters and the API share: TLS, users, rate limit, timeouts, graceful stop.
//!
//! A program loads an [`ActiveConfig`] from `--web.config.file`, opens its sockets, and passes both to [`serve`] with
//! its own hyper service. The service calls [`WebConfig::admit`] for each request, because the paths that need no user
//! and the form of error responses differ by service.

mod access;
mod active;
mod config;
mod connections;
mod error;
mod headers;
pub mod inherit;
mod limits;
mod plain_http;
mod rate_limit;
mod response;
mod server;
mod tls;
mod users;
mod write_timeout;

pub use access::Refusal;
pub use active::ActiveConfig;
pub use config::{ConfigError, WebConfig};
pub use limits::Limits;
pub use server::serve;
