//! Faults: what is done to the running stack, and how it is undone.

use std::process::Stdio;
use std::time::Duration;

use medassist_stack::launch::{self, Launch};
use medassist_stack::{Error, Layout, database, http, service, services};
use medassist_tests::testbed::Recorder;
use serde_json::json;
use tokio::process::{Child, Command};
use tokio::task::JoinHandle;

use crate::page::{Edits, Pages};

#[derive(Clone, Copy, Debug)]
pub(crate) enum Fault {
    /// Nothing: the alert fires always.
    Nothing,
    /// SIGTERM to these services.
    Stop(&'static [&'static str]),
    /// SIGKILL.
    Kill(&'static [&'static str]),
    /// SIGSTOP.
    Pause(&'static [&'static str]),
    /// SIGKILL and a start, so many times.
    Restart(&'static str, usize),
    /// Statements of root, and what undoes them.
    Sql(&'static str, &'static str),
    /// A session of root that runs this statement until it is ended.
    Session(&'static str),
    /// Clients that pay through HAProxy without a pause.
    Payments,
    /// Other values on an exporter's page.
    Page(&'static str, Edits),
    /// An exporter's page that takes so many milliseconds longer.
    Slow(&'static str, u64),
    /// Other values for some seconds, and then the target that was there before, if there was one.
    Vanish(&'static str, Edits),
    /// The webhook answers 500, with an alert to be delivered.
    Webhook,
    /// A backup while the database is down. Undone by one that succeeds.
    Backup,
    /// One after another, undone in the opposite order.
    All(&'static [Fault]),
}

/// What is touched.
pub(crate) struct Site<'a> {
    pub(crate) layout: &'a Layout,
    pub(crate) pages: &'a Pages,
    pub(crate) webhook: &'a Recorder,
}

/// What runs as long as the fault does.
#[derive(Debug, Default)]
pub(crate) struct Injected {
    clients: Vec<JoinHandle<()>>,
    session: Option<Child>,
}

impl Drop for Injected {
    fn drop(&mut self) {
        self.clients.iter().for_each(JoinHandle::abort);
    }
}

const CLIENTS: usize = 6;

impl Site<'_> {
    pub(crate) async fn inject(&self, fault: &Fault) -> Result<Vec<Injected>, Error> {
        let mut injected = Vec::new();
        for fault in fault.parts() {
            injected.push(self.inject_one(fault).await?);
        }
        Ok(injected)
    }

    pub(crate) async fn undo(&self, fault: &Fault, injected: Vec<Injected>) -> Result<(), Error> {
        // Sessions and clients end first: they hold locks and load.
        drop(injected);
        for fault in fault.parts().iter().rev() {
            self.undo_one(fault).await?;
        }
        Ok(())
    }

    async fn inject_one(&self, fault: &Fault) -> Result<Injected, Error> {
        let mut injected = Injected::default();
        match *fault {
            Fault::Nothing | Fault::All(_) => {}
            Fault::Stop(names) => {
                let stopping = names.iter().map(async |name| service(name)?.stop(self.layout).await);
                futures::future::try_join_all(stopping).await?;
            }
            Fault::Kill(names) => {
                let killing = names.iter().map(async |name| service(name)?.kill(self.layout).await);
                futures::future::try_join_all(killing).await?;
            }
            Fault::Pause(names) => names.iter().try_for_each(|name| service(name)?.pause(self.layout))?,
            Fault::Restart(name, times) => {
                for _ in 0..times {
                    service(name)?.kill(self.layout).await?;
                    service(name)?.start(self.layout).await?;
                    // Until it was scraped: a start between two scrapes is not seen.
                    tokio::time::sleep(Duration::from_secs(3)).await;
                }
            }
            Fault::Sql(inject, _) => drop(database::sql(&self.layout.run("mysql.sock"), inject)?),
            Fault::Session(statement) => injected.session = Some(session(self.layout, statement)?),
            Fault::Payments => injected.clients = (0..CLIENTS).map(|client| self.pay(client)).collect(),
            Fault::Page(job, edits) => self.pages.doctor(job, edits, Duration::ZERO)?,
            Fault::Slow(job, delay) => self.pages.doctor(job, &[], Duration::from_millis(delay))?,
            Fault::Vanish(job, edits) => {
                self.pages.doctor(job, edits, Duration::ZERO)?;
                // Some scrapes: a rate needs two.
                tokio::time::sleep(Duration::from_secs(10)).await;
                self.pages.restore(job)?;
            }
            Fault::Webhook => {
                self.webhook.answer(500);
                let port = service("alertmanager")?.port(self.layout);
                let alert = json!([{"labels": {"alertname": "Undeliverable", "severity": "p2", "service": "fire"}}]);
                http::post_json(&format!("http://127.0.0.1:{port}/api/v2/alerts"), &[], &alert).await?;
            }
            Fault::Backup => {
                service("mysql")?.stop(self.layout).await?;
                let run = self.backup().await;
                service("mysql")?.start(self.layout).await?;
                if run.is_ok() {
                    return Err(Error::Stack("the backup succeeded without a database".to_owned()));
                }
            }
        }
        Ok(injected)
    }

    async fn undo_one(&self, fault: &Fault) -> Result<(), Error> {
        match *fault {
            Fault::Stop(names) | Fault::Kill(names) => {
                for name in names {
                    service(name)?.start(self.layout).await?;
                }
            }
            Fault::Pause(names) => names.iter().try_for_each(|name| service(name)?.resume(self.layout))?,
            Fault::Sql(_, undo) => drop(database::sql(&self.layout.run("mysql.sock"), undo)?),
            Fault::Page(job, _) | Fault::Slow(job, _) => self.pages.restore(job)?,
            Fault::Webhook => self.webhook.answer(200),
            Fault::Backup => self.backup().await?,
            Fault::Nothing
            | Fault::Restart(..)
            | Fault::Session(_)
            | Fault::Payments
            | Fault::Vanish(..)
            | Fault::All(_) => {}
        }
        Ok(())
    }

    fn pay(&self, client: usize) -> JoinHandle<()> {
        let port = service("haproxy").map_or(0, |haproxy| haproxy.port(self.layout));
        let url = format!("http://127.0.0.1:{port}/api/payment");
        // The keys of an earlier fault are used up.
        let since = std::time::UNIX_EPOCH.elapsed().unwrap_or_default().as_nanos();
        tokio::spawn(async move {
            let body = json!({"consultation_id": "fire", "amount_cents": 100, "currency": "EUR"});
            for number in 0_u64.. {
                let key = format!("fire-{since}-{client}-{number}");
                // A failure is what some faults are about.
                let _ = http::post_json(&url, &[("idempotency-key", &key)], &body).await;
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        })
    }

    async fn backup(&self) -> Result<(), Error> {
        let mut command = services::backup_now(self.layout)?.wrapped(&[]);
        let run = tokio::task::spawn_blocking(move || launch::run(&mut command, "mysql-backup", "")).await;
        run.map_err(|error| Error::Stack(error.to_string()))?.map(drop)
    }
}

impl Fault {
    fn parts(&self) -> &[Self] {
        match self {
            Self::All(parts) => parts,
            one => std::slice::from_ref(one),
        }
    }
}

fn session(layout: &Layout, statement: &str) -> Result<Child, Error> {
    let launch = Launch::installed(&["mariadb"])?
        .arg("--no-defaults")
        .path("--socket", &layout.run("mysql.sock"))
        .args(["--user=root", "--execute", statement]);
    let mut command = Command::from(launch.wrapped(&[]));
    let spawned = command.kill_on_drop(true).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
    spawned.map_err(|source| Error::Spawn { name: "mariadb".to_owned(), source })
}
