//! A bounded client: at most two connections per server. Every wait ends at the scrape's deadline.
//!
//! Each scrape logs in, as an address can lead to another server than before: after a switch-over, or because a proxy
//! is in between. The connection of the scrape before is the second one, if it leads to the same server and still
//! answers. If the server accepts no more connections, it is the only one.

use std::borrow::Cow;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use exporter_toolkit::address::Address;
use futures::FutureExt as _;
use mysql_kit::{Version, error_code};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};
use tracing::debug;

use crate::connection::{Account, ConnectionSettings};
use crate::error::Error;
use crate::history::History;
use crate::login_stats::Logins;
use crate::rows::{MAX_BYTES, Rows, TooLarge};
use crate::wire::{Conn, Login, WireError};

/// An idle connection older than this is closed at the next scrape. Scrapes are at most minutes apart.
const IDLE_LIMIT: Duration = Duration::from_secs(240);
/// The server closes the connection if no scrape follows. It is longer than [`IDLE_LIMIT`], so that both ends don't
/// close at the same time.
const SERVER_IDLE_LIMIT: Duration = Duration::from_secs(300);

/// A ping of a kept connection may take four times as long as the login of this scrape, which is several round trips,
/// and at least this. A firewall that dropped the connection answers nothing.
const MIN_PING_TIMEOUT: Duration = Duration::from_millis(200);

/// Its version, and what identifies a server: a kept connection may lead to another one than the address does now.
/// `SHOW`, because a Galera node outside the primary component rejects SELECT.
const SERVER_STATEMENT: &str = "SHOW GLOBAL VARIABLES WHERE Variable_name IN \
     ('version','server_uuid','server_uid','server_id','hostname','port','datadir','pid_file','wsrep_sync_wait')";

/// The first statement of a connection: it keeps the exporter's statements out of the slow query log, and every server
/// accepts it. Without the rest, global values can reject or shorten even [`SERVER_STATEMENT`].
const FIRST_STATEMENT: &str = "SET long_query_time=31536000, sql_big_selects=1, sql_select_limit=18446744073709551615";

/// Global values that would change the answers. With `autocommit=0`, a kept connection would hold one transaction open:
/// it would read old rows, block DDL, and never commit the canary.
const PINNED_SETTINGS: [&str; 3] = ["autocommit=1", "character_set_results=utf8mb4", "group_concat_max_len=1024"];

/// With 0, nothing would show that a locked table is missing from an answer. On MySQL it needs a privilege that the
/// exporter does not have.
const KEEP_WARNINGS: &str = "max_error_count=64";

/// On a Galera node that lags behind, statements would wait. Other servers have no such variable.
const NO_SYNC_WAIT: &str = "wsrep_sync_wait=0";

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
    /// The address for errors and logs.
    name: String,
    login: Login,
    settings: ConnectionSettings,
    permits: Arc<Semaphore>,
    /// Limits statements that open tables to one at a time, see [`Client::query_tables`].
    table_statements: Semaphore,
    /// The oldest first.
    idle: Mutex<Vec<Connection>>,
    history: History,
    logins: Logins,
    /// No connection is kept before this instant. A firewall dropped an idle one: the server doesn't notice, and its
    /// sessions would accumulate up to the account's limit.
    keep_from: Mutex<Instant>,
    /// Counts the open connections: each holds a clone.
    open: Arc<()>,
}

/// A connection that waits for no answer.
struct Connection {
    conn: Conn,
    version: Version,
    /// The answer to [`SERVER_STATEMENT`].
    server: Vec<String>,
    /// The server-side limit in force; `None` before the session is set up.
    statement_seconds: Option<u64>,
    opened: Instant,
    last_used: Instant,
    _open: Arc<()>,
}

impl Client {
    pub(crate) fn new(address: Address, account: Account, settings: ConnectionSettings) -> Self {
        Self {
            name: address.to_string(),
            login: Login {
                address,
                user: account.user,
                password: account.password.unwrap_or_default(),
                tls: account.tls,
                cleartext: account.cleartext,
            },
            settings,
            permits: Arc::new(Semaphore::new(settings.max_open_connections)),
            table_statements: Semaphore::new(1),
            idle: Mutex::default(),
            history: History::default(),
            logins: Logins::default(),
            keep_from: Mutex::new(Instant::now()),
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

    /// Logs in, and returns the server's version. What the address leads to now may not be what it led to in the scrape
    /// before. If the server accepts no more connections, the one of the scrape before is used.
    pub(crate) async fn begin(self: &Arc<Self>, limits: Limits) -> Result<Version, Error> {
        let mut lease = self.permit(limits).await?;
        // One place must be free for the new connection.
        while self.open_connections() >= self.settings.max_open_connections
            && let Some(connection) = self.take_oldest()
        {
            close(connection);
        }
        self.connect(&mut lease, limits).await?;
        let (version, server) = lease.connection.as_ref().map_or_else(
            || (Version::parse(""), Vec::new()),
            |connection| (connection.version, connection.server.clone()),
        );
        lease.release();
        for connection in self.idle().extract_if(.., |connection| connection.server != server) {
            close(connection);
        }
        Ok(version)
    }

    /// Keeps the newest connection for the next scrape, if that one may have two.
    pub(crate) fn end(&self) {
        let mut idle = self.idle();
        let kept = if Instant::now() < *self.keep_from() { 0 } else { self.settings.max_open_connections - 1 };
        let surplus = idle.len().saturating_sub(kept);
        idle.drain(..surplus).for_each(close);
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
            Ok::<_, WireError>(rows)
        };
        match timeout_at(deadline, answer).await {
            Ok(Ok(Ok(rows))) => {
                lease.release();
                Ok(rows)
            }
            Ok(Ok(Err(TooLarge::Answer))) => {
                Err(Error::TooLarge { address: self.name.clone(), statement, limit: MAX_BYTES })
            }
            Ok(Ok(Err(TooLarge::Memory(source)))) => {
                Err(Error::Memory { address: self.name.clone(), statement, source })
            }
            Ok(Err(error)) => {
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
        let mut lease = self.permit(limits).await?;
        while let Some(connection) = self.take_idle() {
            if connection.last_used.elapsed() > IDLE_LIMIT {
                close(connection);
                continue;
            }
            let is_used = connection.last_used >= limits.started;
            lease.connection = Some(connection);
            if is_used || lease.is_alive(limits.deadline).await {
                break;
            }
            lease.connection = None;
        }
        self.connect(&mut lease, limits).await?;
        Ok(lease)
    }

    async fn permit(self: &Arc<Self>, limits: Limits) -> Result<Lease, Error> {
        let started = Instant::now();
        let busy = || Error::Busy { address: self.name.clone(), waited: started.elapsed() };
        let permit =
            timeout_at(limits.deadline, Arc::clone(&self.permits).acquire_owned()).await.ok().and_then(Result::ok);
        // A permit that a timed-out statement has just released is too late: a new connection would be discarded at
        // once.
        let permit = permit.filter(|_| Instant::now() < limits.deadline).ok_or_else(busy)?;
        Ok(Lease { client: Arc::clone(self), connection: None, _permit: permit })
    }

    /// Logs in unless the lease has a connection, and sets up the session.
    async fn connect(&self, lease: &mut Lease, limits: Limits) -> Result<(), Error> {
        let started = Instant::now();
        match timeout_at(limits.deadline, self.make_ready(lease, limits)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(Error::connecting(&self.name, &self.login.user, &error)),
            Err(_) => {
                let error = self.no_answer("the connection", started);
                if lease.connection.is_none() {
                    self.logins.failed(error.to_string());
                }
                Err(error)
            }
        }
    }

    async fn make_ready(&self, lease: &mut Lease, limits: Limits) -> Result<(), WireError> {
        if lease.connection.is_none() {
            lease.connection = match self.log_in().await {
                Err(error) if error.code().is_some_and(error_code::is_too_many_connections) => {
                    lease.connection = self.existing().await;
                    if !lease.is_alive(limits.deadline).await {
                        return Err(error);
                    }
                    lease.connection.take()
                }
                result => Some(result?),
            };
        }
        lease.set_up(self.settings.statement_seconds(limits.statement_seconds)).await
    }

    async fn log_in(&self) -> Result<Connection, WireError> {
        let started = Instant::now();
        match Conn::open(&self.login).await {
            Ok(conn) => {
                self.logins.succeeded(started.elapsed());
                Ok(self.connection(conn))
            }
            Err(error) => {
                self.logins.failed(Error::connecting(&self.name, &self.login.user, &error).to_string());
                Err(error)
            }
        }
    }

    fn connection(&self, conn: Conn) -> Connection {
        Connection {
            conn,
            version: Version::parse(""),
            server: Vec::new(),
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
        if idle.is_some() || self.open_connections() == 0 {
            return idle;
        }
        let _permit = self.permits.acquire().await.ok()?;
        self.take_idle()
    }

    fn open_connections(&self) -> usize {
        // One count is the client's.
        Arc::strong_count(&self.open) - 1
    }

    fn no_answer(&self, what: impl Into<Cow<'static, str>>, started: Instant) -> Error {
        Error::NoAnswer { address: self.name.clone(), what: what.into(), waited: started.elapsed() }
    }

    /// The newest idle connection.
    fn take_idle(&self) -> Option<Connection> {
        self.idle().pop()
    }

    fn take_oldest(&self) -> Option<Connection> {
        let mut idle = self.idle();
        (!idle.is_empty()).then(|| idle.remove(0))
    }

    fn keep_from(&self) -> MutexGuard<'_, Instant> {
        self.keep_from.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Connection>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.idle().drain(..).for_each(close);
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
        settings.extend([format!("max_statement_time={statement_seconds}"), KEEP_WARNINGS.to_owned()]);
    } else if version.is_mysql_since((5, 7, 8)) {
        settings.push(format!("max_execution_time={}", statement_seconds.saturating_mul(1000)));
    }
    settings
}

/// Best effort: the one write goes into the kernel's buffer.
fn close(connection: Connection) {
    let _ = connection.conn.quit().now_or_never();
}

/// A permit and its connection. If it is dropped before the answer was read (an error, the deadline, a panic), the
/// connection is closed: no other statement may read the rest of that answer.
struct Lease {
    client: Arc<Client>,
    /// Before the permit: it is released after the connection is closed.
    connection: Option<Connection>,
    _permit: OwnedSemaphorePermit,
}

impl Lease {
    async fn is_alive(&mut self, deadline: Instant) -> bool {
        let Some(connection) = &mut self.connection else { return false };
        let login = self.client.logins.stats().duration.unwrap_or_default();
        let now = Instant::now();
        // At least half of the time is left for a new connection.
        let half = now + deadline.saturating_duration_since(now) / 2;
        let limit = half.min(now + (login * 4).max(MIN_PING_TIMEOUT));
        match timeout_at(limit, connection.conn.ping()).await {
            Ok(result) => result.is_ok(),
            Err(_) => {
                *self.client.keep_from() = Instant::now() + 2 * SERVER_IDLE_LIMIT;
                false
            }
        }
    }

    /// Reads the version over a new connection, and sets its limits. Of a kept connection only a changed limit is set.
    async fn set_up(&mut self, statement_seconds: u64) -> Result<(), WireError> {
        let Some(connection) = &mut self.connection else { return Ok(()) };
        if connection.statement_seconds == Some(statement_seconds) {
            return Ok(());
        }
        if connection.statement_seconds.is_none() {
            connection.set(&self.client.name, FIRST_STATEMENT).await?;
            let rows = connection.conn.query_all(SERVER_STATEMENT).await?;
            connection.version = Version::parse(rows.lookup("version").unwrap_or_default());
            connection.server = rows.iter_pairs().map(|(name, value)| format!("{name}={value}")).collect();
        }
        let mut settings = session_settings(connection.version, &self.client.settings, statement_seconds);
        if connection.server.iter().any(|variable| variable.starts_with("wsrep_sync_wait=")) {
            settings.push(NO_SYNC_WAIT.to_owned());
        }
        match connection.conn.run(&format!("SET {}", settings.join(", "))).await {
            Err(error) if error.is_fatal() => return Err(error),
            Err(_) => {
                // A fork or a proxy rejects one of them; set the others one by one.
                for setting in settings {
                    connection.set(&self.client.name, &format!("SET {setting}")).await?;
                }
            }
            Ok(()) => {}
        }
        connection.statement_seconds = Some(statement_seconds);
        Ok(())
    }

    async fn read(&mut self, statement: &str) -> Result<Result<Rows, TooLarge>, WireError> {
        let Some(connection) = &mut self.connection else { return Ok(Ok(Rows::default())) };
        connection.conn.query(statement).await
    }

    /// Whether the answer lacks tables that others locked for longer than `lock_wait_timeout`: the server only warns.
    async fn skipped_locked(&mut self) -> Result<bool, WireError> {
        let Some(connection) = &mut self.connection else { return Ok(false) };
        if connection.conn.warnings() == 0 {
            return Ok(false);
        }
        let warnings = connection.conn.query_all("SHOW WARNINGS").await?;
        Ok(warnings.iter().any(|row| row.number(1) == Some(f64::from(error_code::LOCK_WAIT_TIMEOUT))))
    }

    /// Keeps the connection for the next statement; its last answer was read completely.
    fn release(mut self) {
        if let Some(mut connection) = self.connection.take() {
            connection.last_used = Instant::now();
            let mut idle = self.client.idle();
            idle.push(connection);
            idle.sort_unstable_by_key(|connection| connection.opened);
        }
    }
}

impl Connection {
    /// Runs a SET that the server may reject.
    async fn set(&mut self, target: &str, statement: &str) -> Result<(), WireError> {
        match self.conn.run(statement).await {
            Err(error) if !error.is_fatal() => {
                debug!(target, statement, error = %error, "setting refused");
                Ok(())
            }
            result => result,
        }
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
        let limit = "max_statement_time=10 max_error_count=64";
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
