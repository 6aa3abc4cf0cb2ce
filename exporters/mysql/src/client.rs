//! A bounded client: at most two connections per server, kept for the next scrape. Every wait ends at the scrape's
//! deadline.

use std::borrow::Cow;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use exporter_toolkit::address::Address;
use futures::FutureExt as _;
use mysql_async::prelude::Queryable as _;
use mysql_async::{Conn, OptsBuilder, Value};
use mysql_kit::{Tls, Version, error_code};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};
use tracing::debug;

use crate::connection::{Account, ConnectionSettings};
use crate::error::Error;
use crate::history::History;
use crate::login_stats::Logins;
use crate::rows::{MAX_BYTES, Rows, TooLarge};

/// An idle connection older than this is closed at the next scrape. Scrapes are at most minutes apart.
const IDLE_LIMIT: Duration = Duration::from_secs(240);
/// The server closes the connection if no scrape follows. It is longer than [`IDLE_LIMIT`], so that both ends don't
/// close at the same time.
const SERVER_IDLE_LIMIT: Duration = Duration::from_secs(300);

/// A connection older than this is replaced if there is another one: the login is measured, and a failure is noticed
/// before a new connection is needed. mysqld_exporter logs in twice per scrape.
const MAX_AGE: Duration = Duration::from_secs(60);

/// A SHOW statement: a Galera node outside the primary component rejects SELECT, but not SHOW.
const VERSION_STATEMENT: &str = "SHOW GLOBAL VARIABLES LIKE 'version'";

/// The first statement of a connection: it keeps the exporter's statements out of the slow query log, and every server
/// accepts it. With a global `max_join_size`, a server rejects even [`VERSION_STATEMENT`] without `sql_big_selects`.
const FIRST_STATEMENT: &str = "SET long_query_time=31536000, sql_big_selects=1";

/// Global values that would change the answers. With `autocommit=0`, a kept connection would hold one transaction open:
/// it would read old rows, block DDL, and never commit the canary.
const PINNED_SETTINGS: [&str; 4] = [
    "autocommit=1",
    "character_set_results=utf8mb4",
    "group_concat_max_len=1024",
    "sql_select_limit=18446744073709551615",
];

/// Time limits of one scrape's statements: ours and the server's.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// A connection that answered after this instant needs no ping before its next statement.
    pub(crate) started: Instant,
    pub(crate) deadline: Instant,
    /// The server-side limit, in seconds.
    pub(crate) statement_seconds: u64,
}

pub(crate) struct Client {
    address: Address,
    /// The address for errors and logs.
    name: String,
    user: String,
    options: OptsBuilder,
    /// Not part of `options`, which would cache the contents of the files: they are read on each connect.
    tls: Option<Tls>,
    settings: ConnectionSettings,
    permits: Arc<Semaphore>,
    /// Limits statements that open tables to one at a time, see [`Client::query_tables`].
    table_statements: Semaphore,
    idle: Mutex<Vec<Connection>>,
    history: History,
    logins: Logins,
    /// Counts the open connections: each holds a clone.
    open: Arc<()>,
}

/// A connection that waits for no answer.
struct Connection {
    conn: Conn,
    version: Version,
    /// The server-side limit in force; `None` before the session is set up.
    statement_seconds: Option<u64>,
    opened: Instant,
    last_used: Instant,
    _open: Arc<()>,
}

impl Client {
    pub(crate) fn new(address: Address, account: &Account, settings: ConnectionSettings) -> Self {
        let options = mysql_kit::options(&address, &account.user, account.password.as_deref(), MAX_BYTES / 2)
            .enable_cleartext_plugin(account.cleartext)
            .stmt_cache_size(0);
        // No TLS over a socket: mysql_async would announce it to the server and then continue in cleartext.
        let tls = account.tls.clone().filter(|_| matches!(address, Address::Tcp { .. }));
        Self {
            name: address.to_string(),
            address,
            user: account.user.clone(),
            options,
            tls,
            settings,
            permits: Arc::new(Semaphore::new(settings.max_open_connections)),
            table_statements: Semaphore::new(1),
            idle: Mutex::default(),
            history: History::default(),
            logins: Logins::default(),
            open: Arc::default(),
        }
    }

    /// Values of earlier scrapes of this server.
    pub(crate) fn history(&self) -> &History {
        &self.history
    }

    pub(crate) fn logins(&self) -> &Logins {
        &self.logins
    }

    pub(crate) fn address(&self) -> &str {
        &self.name
    }

    /// Checks that the server answers now, and returns its version.
    pub(crate) async fn ping(self: &Arc<Self>, limits: Limits) -> Result<Version, Error> {
        let lease = self.lease_verified(limits, Duration::ZERO).await?;
        let version = lease.connection.as_ref().map(|connection| connection.version);
        lease.release();
        version.ok_or_else(|| self.no_answer("a ping", Instant::now()))
    }

    /// Runs one statement and reads its whole answer.
    pub(crate) async fn query(self: &Arc<Self>, statement: Cow<'static, str>, limits: Limits) -> Result<Rows, Error> {
        self.run(statement, limits, false).await
    }

    /// As [`Client::query`], for a statement that opens the application's tables and so may wait for a lock on one of
    /// them. Only one such statement runs at a time, so that the other connection stays available.
    pub(crate) async fn query_tables(
        self: &Arc<Self>,
        statement: Cow<'static, str>,
        limits: Limits,
    ) -> Result<Rows, Error> {
        let started = Instant::now();
        let busy = || Error::Busy { address: self.name.clone(), waited: started.elapsed() };
        let _permit = timeout_at(limits.deadline, self.table_statements.acquire())
            .await
            .ok()
            .and_then(Result::ok)
            .ok_or_else(busy)?;
        self.run(statement, limits, true).await
    }

    async fn run(
        self: &Arc<Self>,
        statement: Cow<'static, str>,
        limits: Limits,
        opens_tables: bool,
    ) -> Result<Rows, Error> {
        let mut lease = self.lease(limits).await?;
        let started = Instant::now();
        let deadline = self.settings.statement_deadline(started, limits.deadline);
        let answer = async {
            let mut rows = lease.read(&statement).await?;
            if let Ok(rows) = &mut rows
                && opens_tables
            {
                rows.skipped_locked = lease.skipped_locked().await?;
            }
            Ok::<_, mysql_async::Error>(rows)
        };
        match timeout_at(deadline, answer).await {
            Ok(Ok(Ok(rows))) => {
                lease.release();
                Ok(rows)
            }
            Ok(Ok(Err(TooLarge))) => Err(Error::TooLarge { address: self.name.clone(), statement, limit: MAX_BYTES }),
            Ok(Err(error)) => {
                // A rejected statement is a complete answer.
                if !error.is_fatal() {
                    lease.release();
                }
                Err(Error::statement(&self.name, statement, &error))
            }
            Err(_) => Err(self.no_answer(statement, started)),
        }
    }

    /// A connection that is ready for a statement.
    async fn lease(self: &Arc<Self>, limits: Limits) -> Result<Lease, Error> {
        self.lease_verified(limits, limits.started.elapsed()).await
    }

    /// As [`Client::lease`]; a connection that was idle for longer than `max_idle` must answer a ping first.
    async fn lease_verified(self: &Arc<Self>, limits: Limits, max_idle: Duration) -> Result<Lease, Error> {
        let started = Instant::now();
        let busy = || Error::Busy { address: self.name.clone(), waited: started.elapsed() };
        let permit =
            timeout_at(limits.deadline, Arc::clone(&self.permits).acquire_owned()).await.ok().and_then(Result::ok);
        // A permit that a timed-out statement has just released is too late: a new connection would be discarded at
        // once.
        let permit = permit.filter(|_| Instant::now() < limits.deadline).ok_or_else(busy)?;
        let mut lease = Lease { client: Arc::clone(self), connection: None, _permit: permit };
        while let Some(connection) = self.take_idle() {
            let unused = connection.last_used.elapsed();
            // Two counts are this connection's and the client's. Without a third one there is no other connection, and
            // a full server would not accept a new one in its place.
            let is_expired = connection.opened.elapsed() > MAX_AGE && Arc::strong_count(&self.open) > 2;
            if unused > IDLE_LIMIT || is_expired {
                close(connection.conn);
                continue;
            }
            lease.connection = Some(connection);
            if unused <= max_idle || lease.is_alive(limits.deadline).await {
                break;
            }
            lease.abort();
        }
        match timeout_at(limits.deadline, self.make_ready(&mut lease, limits)).await {
            Ok(Ok(())) => Ok(lease),
            Ok(Err(error)) => Err(Error::connecting(&self.name, &self.user, &error)),
            Err(_) => {
                let error = self.no_answer("the connection", started);
                if lease.connection.is_none() {
                    self.logins.failed(error.to_string());
                }
                Err(error)
            }
        }
    }

    async fn make_ready(&self, lease: &mut Lease, limits: Limits) -> mysql_async::Result<()> {
        if lease.connection.is_none() {
            lease.connection = match self.log_in().await {
                Err(error) if error_code::of(&error).is_some_and(error_code::is_too_many_connections) => {
                    Some(self.existing().await.ok_or(error)?)
                }
                result => Some(result?),
            };
        }
        lease.set_up(self.settings.statement_seconds(limits.statement_seconds)).await
    }

    async fn log_in(&self) -> mysql_async::Result<Connection> {
        let started = Instant::now();
        match self.connect().await {
            Ok(conn) => {
                self.logins.succeeded(started.elapsed());
                Ok(self.connection(conn))
            }
            Err(error) => {
                self.logins.failed(Error::connecting(&self.name, &self.user, &error).to_string());
                Err(error)
            }
        }
    }

    async fn connect(&self) -> mysql_async::Result<Conn> {
        let options = self.options.clone().ssl_opts(self.tls.clone().map(Into::into));
        mysql_kit::connect(&self.address, options).await
    }

    fn connection(&self, conn: Conn) -> Connection {
        Connection {
            conn,
            version: Version::parse(""),
            statement_seconds: None,
            opened: Instant::now(),
            last_used: Instant::now(),
            _open: Arc::clone(&self.open),
        }
    }

    /// If the server accepts no second connection, all statements share the first. While another statement uses it,
    /// wait for that one's permit.
    async fn existing(&self) -> Option<Connection> {
        let idle = self.take_idle();
        if idle.is_some() || Arc::strong_count(&self.open) == 1 {
            return idle;
        }
        let _permit = self.permits.acquire().await.ok()?;
        self.take_idle()
    }

    fn no_answer(&self, what: impl Into<Cow<'static, str>>, started: Instant) -> Error {
        Error::NoAnswer { address: self.name.clone(), what: what.into(), waited: started.elapsed() }
    }

    fn take_idle(&self) -> Option<Connection> {
        self.idle().pop()
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Connection>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        for connection in self.idle().drain(..) {
            close(connection.conn);
        }
    }
}

/// The settings of a new session: assignments for one `SET`.
fn session_settings(version: Version, wanted: &ConnectionSettings, statement_seconds: u64) -> Vec<String> {
    let mut settings = vec![
        // The server closes a connection that is no longer used.
        format!("wait_timeout={}", SERVER_IDLE_LIMIT.as_secs()),
    ];
    settings.extend(PINNED_SETTINGS.map(str::to_owned));
    // Neither an ALTER TABLE nor a lock on the canary's row may block the scrape.
    if let Some(seconds) = wanted.lock_wait_timeout() {
        settings.extend(["lock_wait_timeout", "innodb_lock_wait_timeout"].map(|name| format!("{name}={seconds}")));
    }
    if wanted.log_slow_filter {
        settings.push("log_slow_filter='tmp_table_on_disk,filesort_on_disk'".to_owned());
    }
    // The server ends abandoned statements, so that they don't accumulate there. MySQL limits SELECT only.
    if version.is_mariadb_since((10, 1, 0)) {
        settings.push(format!("max_statement_time={statement_seconds}"));
    } else if version.is_mysql_since((5, 7, 8)) {
        settings.push(format!("max_execution_time={}", statement_seconds.saturating_mul(1000)));
    }
    settings
}

/// Runs a statement and reads its answer. The driver's own conversions panic on an unexpected row, and quote it.
async fn read(conn: &mut Conn, statement: &str) -> mysql_async::Result<Result<Rows, TooLarge>> {
    let mut result = conn.query_iter(statement).await?;
    let mut rows = Rows::new(result.columns_ref().iter().map(|column| column.name_str().into_owned()));
    while let Some(row) = result.next().await? {
        let cells = (0..row.len()).map(|column| match row.as_ref(column) {
            // In the text protocol every value is NULL or bytes.
            Some(Value::Bytes(bytes)) => Some(bytes.as_slice()),
            _ => None,
        });
        if let Err(too_large) = rows.push(cells) {
            return Ok(Err(too_large));
        }
    }
    Ok(Ok(rows))
}

/// Closes a connection with a quit packet; without it the server logs an aborted connection. Best effort: one write
/// into the kernel's buffer.
fn close(conn: Conn) {
    let _ = conn.disconnect().now_or_never();
}

/// A permit and its connection. If it is dropped before the answer was read (an error, the deadline, a panic), the
/// connection is closed: no other statement may read the rest of that answer.
struct Lease {
    client: Arc<Client>,
    connection: Option<Connection>,
    _permit: OwnedSemaphorePermit,
}

impl Lease {
    async fn is_alive(&mut self, deadline: Instant) -> bool {
        let Some(connection) = &mut self.connection else { return false };
        // Half of the time is left for a new connection, in case a network device has dropped this one silently.
        let now = Instant::now();
        let half = now + deadline.saturating_duration_since(now) / 2;
        matches!(timeout_at(half, connection.conn.ping()).await, Ok(Ok(())))
    }

    /// Reads the version over a new connection, and sets its limits. Of a kept connection only a changed limit is set.
    async fn set_up(&mut self, statement_seconds: u64) -> mysql_async::Result<()> {
        let Some(connection) = &mut self.connection else { return Ok(()) };
        if connection.statement_seconds == Some(statement_seconds) {
            return Ok(());
        }
        if connection.statement_seconds.is_none() {
            match connection.conn.query_drop(FIRST_STATEMENT).await {
                Err(error) if error.is_fatal() => return Err(error),
                Err(error) => {
                    debug!(target = %self.client.name, FIRST_STATEMENT, error = error_code::describe(&error), "setting refused")
                }
                Ok(()) => {}
            }
            let rows = read(&mut connection.conn, VERSION_STATEMENT).await?.unwrap_or_default();
            connection.version = Version::parse(rows.lookup("version").unwrap_or_default());
        }
        let settings = session_settings(connection.version, &self.client.settings, statement_seconds);
        match connection.conn.query_drop(format!("SET {}", settings.join(", "))).await {
            Err(mysql_async::Error::Server(_)) => {
                // A fork or a proxy rejects one of them; set the others one by one.
                for setting in settings {
                    match connection.conn.query_drop(format!("SET {setting}")).await {
                        Err(error) if error.is_fatal() => return Err(error),
                        Err(error) => {
                            debug!(target = %self.client.name, setting, error = error_code::describe(&error), "setting refused")
                        }
                        Ok(()) => {}
                    }
                }
            }
            result => result?,
        }
        connection.statement_seconds = Some(statement_seconds);
        Ok(())
    }

    async fn read(&mut self, statement: &str) -> mysql_async::Result<Result<Rows, TooLarge>> {
        let Some(connection) = &mut self.connection else { return Ok(Ok(Rows::default())) };
        read(&mut connection.conn, statement).await
    }

    /// Whether the answer lacks tables that others locked for longer than `lock_wait_timeout`: the server only warns.
    async fn skipped_locked(&mut self) -> mysql_async::Result<bool> {
        let Some(connection) = &mut self.connection else { return Ok(false) };
        if connection.conn.get_warnings() == 0 {
            return Ok(false);
        }
        let warnings = read(&mut connection.conn, "SHOW WARNINGS").await?.unwrap_or_default();
        Ok(warnings.iter().any(|row| row.number(1) == Some(f64::from(error_code::LOCK_WAIT_TIMEOUT))))
    }

    /// Keeps the connection for the next statement; its last answer was read completely.
    fn release(mut self) {
        if let Some(mut connection) = self.connection.take() {
            connection.last_used = Instant::now();
            self.client.idle().push(connection);
        }
    }

    /// Closes the socket at once. A dropped `Conn` would first read the rest of its answer in an unbounded task: for a
    /// hung server, those tasks and their sockets would accumulate. On a thread without a runtime it can only close.
    fn abort(&mut self) {
        if let Some(connection) = self.connection.take() {
            let closing = std::thread::Builder::new().name("close".to_owned()).spawn(move || drop(connection));
            // Joined, so that the permit is released after the connection is closed; the thread lives for about 50 µs.
            let _ = closing.map(std::thread::JoinHandle::join);
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.abort();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_server_gets_the_limit_that_it_supports() {
        for (version, limit) in [
            ("10.11.19-MariaDB-0+deb12u1", Some("max_statement_time=10")),
            ("12.1.2", Some("max_statement_time=10")),
            ("10.0.38-MariaDB", None),
            ("5.5.68-MariaDB", None),
            ("5.6.51", None),
            ("5.7.44-48-log", Some("max_execution_time=10000")),
            ("8.0.21", Some("max_execution_time=10000")),
            ("9.7.0-commercial", Some("max_execution_time=10000")),
            ("", None),
        ] {
            let settings = session_settings(Version::parse(version), &ConnectionSettings::from_flags(&[]), 10);
            assert_eq!(settings[1..=PINNED_SETTINGS.len()], PINNED_SETTINGS);
            let rest = &settings[PINNED_SETTINGS.len() + 1..];
            assert_eq!(rest.first().map(String::as_str), Some("lock_wait_timeout=2"));
            assert_eq!(rest.get(2).map(String::as_str), limit, "{version}");
        }
    }

    #[test]
    fn the_peers_flags_set_the_peers_variables() {
        let set = |flags: &[&str]| {
            let version = Version::parse("10.11.6-MariaDB");
            session_settings(version, &ConnectionSettings::from_flags(flags), 10)[PINNED_SETTINGS.len() + 1..].join(" ")
        };
        let limit = "max_statement_time=10";
        let waits = |seconds| format!("lock_wait_timeout={seconds} innodb_lock_wait_timeout={seconds}");
        assert_eq!(set(&["--exporter.lock_wait_timeout=7"]), format!("{} {limit}", waits(7)));
        assert_eq!(set(&["--no-exporter.enable_lock_wait_timeout"]), limit);
        assert_eq!(
            set(&["--no-exporter.enable_lock_wait_timeout", "--exporter.enable_lock_wait_timeout"]),
            format!("{} {limit}", waits(2))
        );
        assert_eq!(
            set(&["--exporter.log_slow_filter"]),
            format!("{} log_slow_filter='tmp_table_on_disk,filesort_on_disk' {limit}", waits(2))
        );
    }
}
