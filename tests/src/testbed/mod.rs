//! Real servers for tests, on free loopback ports, gone when the test ends, be it by a panic or by `kill -9`.
//!
//! ```no_run
//! use std::time::Duration;
//! use medassist_tests::testbed::{Database, Page, Program, eventually, http};
//!
//! #[tokio::main(flavor = "current_thread")]
//! async fn main() -> Result<(), medassist_tests::Error> {
//!     let mut db = Database::start().await?;
//!     db.sql("CREATE USER exporter@'127.0.0.1' IDENTIFIED BY 'secret'")?;
//!     let exporter = Program::exporter("mysql-exporter")
//!         .arg(format!("--mysqld.address={}", db.address()))
//!         .arg("--mysqld.username=exporter")
//!         .env("MYSQLD_EXPORTER_PASSWORD", "secret")
//!         .start()
//!         .await?;
//!
//!     let page = Page::parse(&http::get(&exporter.url("/metrics")).await?.text())?;
//!     assert_eq!(page.value("mysql_up", &[])?, 1.0);
//!
//!     db.pause()?;
//!     eventually(Duration::from_secs(10), "mysql_up falls to 0", async || {
//!         let page = Page::parse(&http::get(&exporter.url("/metrics")).await?.text())?;
//!         Ok::<_, medassist_tests::Error>(page.expect("mysql_up", &[], 0.0)?)
//!     })
//!     .await?;
//!     db.resume()?;
//!     db.kill()?;
//!     db.restart().await?; // same port, same data
//!     Ok(())
//! }
//! ```
//!
//! Every server is a [`Process`] by `Deref`: `stop`, `kill`, `pause`, `resume`, `restart`, `hang_up`, `is_running`,
//! `pid`, `log`, `log_path`, `directory`. Tests need a tokio runtime (`#[tokio::test]`); calls that don't wait are not
//! async. Programs of this workspace are taken from the directory of the test's own profile, so build them first:
//! `cargo build --workspace --bins` (or `-p mysql-exporter`).

pub mod answering;
pub mod backup;
pub mod fake;
pub mod forwarder;
pub mod haproxy;
pub mod local;
pub mod mount;
pub mod mysql;
pub mod page;
pub mod port;
pub mod process;
pub mod program;
pub mod recorder;
pub mod scrape;
pub mod series;
pub mod servers;

pub use answering::Answering;
pub use fake::{Behaviour, Fake};
pub use forwarder::Forwarder;
pub use local::LocalStack;
pub use medassist_stack::http::Reply;
pub use medassist_stack::{eventually, http};
pub use mount::Mount;
pub use page::Page;
pub use port::Port;
pub use process::Process;
pub use program::{Finished, Program, RunningProgram};
pub use recorder::{Delivery, Recorder};
pub use servers::{
    Alertmanager, Database, HaProxy, HaProxyVersion, MailServer, Nginx, NodeExporter, Prometheus, Pushgateway, Redis,
    Release, S3,
};
