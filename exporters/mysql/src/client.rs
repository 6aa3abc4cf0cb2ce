//! The bounded way to a server: at most two connections, kept for the next scrape, every wait under the scrape's deadline.

use std::borrow::Cow;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use exporter_toolkit::resolve::addresses;
use futures::FutureExt as _;
use mysql_async::prelude::Queryable as _;
use mysql_async::{Conn, Opts, OptsBuilder, SslOpts, Value};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};
use tracing::debug;

use crate::config::{Account, Address, ConnectionSettings};
use crate::error::{Error, is_without_room};
use crate::history::History;
use crate::logins::Logins;
use crate::rows::{MAX_BYTES, Rows, TooLarge};
use crate::version::Version;

/// A connection that was not used for so long is closed at the next scrape. Scrapes are at most minutes apart.
const IDLE_LIMIT: Duration = Duration::from_secs(240);
/// Where there is no next scrape the server closes it. It is longer, lest both do it at the same moment.
pub(crate) const SERVER_IDLE_LIMIT: Duration = Duration::from_secs(300);

/// After so long a connection is made anew, if there is another one: so the login is measured, and its failure seen before it is needed. mysqld_exporter
/// logs in twice a scrape.
const RENEWED_AFTER: Duration = Duration::from_secs(60);

/// The version by a SHOW statement: a Galera node outside the primary component refuses SELECT, but not SHOW.
const VERSION_STATEMENT: &str = "SHOW GLOBAL VARIABLES LIKE 'version'";

/// The first statement of a connection, lest any of the exporter's own get into a slow log: which settings a server knows is asked only then.
const QUIET_STATEMENT: &str = "SET long_query_time=31536000";

/// How long the statements of one scrape may take: here, and at the server.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// A connection that has answered since then needs no ping before its next statement.
    pub(crate) started: Instant,
    pub(crate) deadline: Instant,
    /// Seconds, for the server's own limit.
    pub(crate) statement_seconds: u64,
}

pub(crate) struct Client {
    address: String,
    /// The name to look up before each connection; `None` for a socket.
    host: Option<String>,
    user: String,
    options: Opts,
    /// Not in the options, which would keep the files' first contents for ever: for each connection they are read anew.
    tls: Option<SslOpts>,
    settings: ConnectionSettings,
    permits: Arc<Semaphore>,
    /// One of the connections at the most is for statements that open tables, see [`Client::query_tables`].
    tables: Semaphore,
    idle: Mutex<Vec<Connection>>,
    history: History,
    logins: Logins,
    /// Counts the connections that there are: each holds a clone.
    open: Arc<()>,
}

/// A connection between two answers.
struct Connection {
    conn: Conn,
    version: Version,
    /// The server's limit that it was set to; `None`: not set up yet.
    statement_seconds: Option<u64>,
    made: Instant,
    last_used: Instant,
    _open: Arc<()>,
}

impl Client {
    pub(crate) fn new(address: Address, account: &Account, settings: ConnectionSettings) -> Self {
        let options = OptsBuilder::default()
            .user(Some(account.user.as_str()))
            .pass(account.password.as_deref())
            .enable_cleartext_plugin(account.cleartext)
            .stmt_cache_size(0)
            // Given, so that mysql_async doesn't ask the server for them on each connect; nor for its socket, to connect again by that.
            .max_allowed_packet(Some(MAX_BYTES / 2))
            .wait_timeout(Some(28_800))
            .prefer_socket(false);
        let options = match &address {
            Address::Tcp { host, port } => options.ip_or_hostname(host).tcp_port(*port),
            Address::Unix(path) => options.socket(Some(path)),
        };
        // Without TLS over a socket: mysql_async would announce it to the server and then go on in the clear.
        let tls = account.tls.clone().filter(|_| matches!(address, Address::Tcp { .. }));
        Self {
            address: address.to_string(),
            host: match address {
                Address::Tcp { host, .. } => Some(host),
                Address::Unix(_) => None,
            },
            user: account.user.clone(),
            options: options.into(),
            tls,
            settings,
            permits: Arc::new(Semaphore::new(settings.max_open_connections)),
            tables: Semaphore::new(1),
            idle: Mutex::default(),
            history: History::default(),
            logins: Logins::default(),
            open: Arc::default(),
        }
    }

    /// What earlier scrapes of this server saw.
    pub(crate) fn history(&self) -> &History {
        &self.history
    }

    pub(crate) fn logins(&self) -> &Logins {
        &self.logins
    }

    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// Makes sure that the server answers now, and returns its version.
    pub(crate) async fn ping(self: &Arc<Self>, limits: Limits) -> Result<Version, Error> {
        let lease = self.lease_trusted(limits, Duration::ZERO).await?;
        let version = lease.connection.as_ref().map(|connection| connection.version);
        lease.give_back();
        version.ok_or_else(|| self.no_answer("a ping", Instant::now()))
    }

    /// Runs one statement and reads its whole answer.
    pub(crate) async fn query(self: &Arc<Self>, statement: Cow<'static, str>, limits: Limits) -> Result<Rows, Error> {
        self.run(statement, limits, false).await
    }

    /// As [`Client::query`], for a statement that opens the application's tables and so waits for whoever holds one of them: one such waits at a
    /// time, so that the other connection is there for everything else.
    pub(crate) async fn query_tables(
        self: &Arc<Self>,
        statement: Cow<'static, str>,
        limits: Limits,
    ) -> Result<Rows, Error> {
        let started = Instant::now();
        let busy = || Error::Busy { address: self.address.clone(), waited: started.elapsed() };
        let _turn =
            timeout_at(limits.deadline, self.tables.acquire()).await.ok().and_then(Result::ok).ok_or_else(busy)?;
        self.run(statement, limits, true).await
    }

    async fn run(
        self: &Arc<Self>,
        statement: Cow<'static, str>,
        limits: Limits,
        opens_tables: bool,
    ) -> Result<Rows, Error> {
        let mut lease = Some(self.lease(limits).await?);
        let rows = self.ask(&mut lease, statement, limits, opens_tables).await;
        if let Some(lease) = lease {
            lease.give_back();
        }
        rows
    }

    /// Asks over this connection, and takes it away if it can't be used any more.
    pub(crate) async fn ask(
        &self,
        lease: &mut Option<Lease>,
        statement: Cow<'static, str>,
        limits: Limits,
        opens_tables: bool,
    ) -> Result<Rows, Error> {
        let started = Instant::now();
        let Some(mut leased) = lease.take() else { return Err(self.no_answer(statement, started)) };
        let deadline = self.settings.statement_deadline(started, limits.deadline);
        let answer = async {
            let mut rows = leased.read(&statement).await?;
            if let Ok(rows) = &mut rows
                && opens_tables
            {
                rows.skipped_locked = leased.skipped_locked().await?;
            }
            Ok::<_, mysql_async::Error>(rows)
        };
        match timeout_at(deadline, answer).await {
            Ok(Ok(Ok(rows))) => {
                *lease = Some(leased);
                Ok(rows)
            }
            Ok(Ok(Err(TooLarge))) => {
                Err(Error::TooLarge { address: self.address.clone(), statement, limit: MAX_BYTES })
            }
            Ok(Err(error)) => {
                // A refused statement is a whole answer.
                if !error.is_fatal() {
                    *lease = Some(leased);
                }
                Err(Error::statement(&self.address, statement, &error))
            }
            Err(_) => Err(self.no_answer(statement, started)),
        }
    }

    /// A connection that is ready for a statement.
    pub(crate) async fn lease(self: &Arc<Self>, limits: Limits) -> Result<Lease, Error> {
        self.lease_trusted(limits, limits.started.elapsed()).await
    }

    /// One that has been idle for longer than `trust` proves first that it is alive.
    async fn lease_trusted(self: &Arc<Self>, limits: Limits, trust: Duration) -> Result<Lease, Error> {
        let started = Instant::now();
        let busy = || Error::Busy { address: self.address.clone(), waited: started.elapsed() };
        let permit =
            timeout_at(limits.deadline, Arc::clone(&self.permits).acquire_owned()).await.ok().and_then(Result::ok);
        // A permit that a timed-out statement has just given back comes too late: a connection begun now could only be thrown away.
        let permit = permit.filter(|_| Instant::now() < limits.deadline).ok_or_else(busy)?;
        let mut lease = Lease { client: Arc::clone(self), connection: None, _permit: permit };
        while let Some(connection) = self.take_idle() {
            let unused = connection.last_used.elapsed();
            // Itself and the client's own beside: without a third there is no other connection, and a full server would not give this one back.
            let is_due = connection.made.elapsed() > RENEWED_AFTER && Arc::strong_count(&self.open) > 2;
            if unused > IDLE_LIMIT || is_due {
                goodbye(connection.conn);
                continue;
            }
            lease.connection = Some(connection);
            if unused <= trust || lease.is_alive(limits.deadline).await {
                break;
            }
            lease.close();
        }
        match timeout_at(limits.deadline, self.make_ready(&mut lease, limits)).await {
            Ok(Ok(())) => Ok(lease),
            Ok(Err(error)) => Err(Error::connecting(&self.address, &self.user, &error)),
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
                Err(error) if is_without_room(&error) => Some(self.existing().await.ok_or(error)?),
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
                self.logins.failed(Error::connecting(&self.address, &self.user, &error).to_string());
                Err(error)
            }
        }
    }

    async fn connect(&self) -> mysql_async::Result<Conn> {
        let options = OptsBuilder::from_opts(self.options.clone()).ssl_opts(self.tls.clone());
        let addresses = match &self.host {
            Some(host) => Some(addresses(host).await?),
            None => None,
        };
        Conn::new(options.resolved_ips(addresses)).await
    }

    fn connection(&self, conn: Conn) -> Connection {
        Connection {
            conn,
            version: Version::parse(""),
            statement_seconds: None,
            made: Instant::now(),
            last_used: Instant::now(),
            _open: Arc::clone(&self.open),
        }
    }

    /// Where the server has no room for a second connection the first has to do for all. While another statement has it, that one's permit is
    /// waited for; without one there is nothing to wait for.
    async fn existing(&self) -> Option<Connection> {
        let idle = self.take_idle();
        if idle.is_some() || Arc::strong_count(&self.open) == 1 {
            return idle;
        }
        let _turn = self.permits.acquire().await.ok()?;
        self.take_idle()
    }

    fn no_answer(&self, what: impl Into<Cow<'static, str>>, started: Instant) -> Error {
        Error::NoAnswer { address: self.address.clone(), what: what.into(), waited: started.elapsed() }
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
            goodbye(connection.conn);
        }
    }
}

/// Closes a connection properly: without it the server logs an aborted connection. It is one write into the kernel's buffer; where that isn't
/// possible at once, so be it.
fn goodbye(conn: Conn) {
    let _ = conn.disconnect().now_or_never();
}

/// The right to use a connection, and the connection. Dropped before the answer was read, be it by an error, the deadline or a panic, it closes
/// the connection: no other statement may meet the rest of that answer.
pub(crate) struct Lease {
    client: Arc<Client>,
    connection: Option<Connection>,
    _permit: OwnedSemaphorePermit,
}

impl Lease {
    async fn is_alive(&mut self, deadline: Instant) -> bool {
        let Some(connection) = &mut self.connection else { return false };
        // Half of the time is left for a new connection: the network may have forgotten this one without a word.
        let now = Instant::now();
        let half = now + deadline.saturating_duration_since(now) / 2;
        matches!(timeout_at(half, connection.conn.ping()).await, Ok(Ok(())))
    }

    /// Asks a new connection for the version, and sets its limits; an old one only where this scrape's limit is another one.
    async fn set_up(&mut self, statement_seconds: u64) -> mysql_async::Result<()> {
        let Some(connection) = &mut self.connection else { return Ok(()) };
        if connection.statement_seconds == Some(statement_seconds) {
            return Ok(());
        }
        if connection.statement_seconds.is_none() {
            match connection.conn.query_drop(QUIET_STATEMENT).await {
                Err(error) if error.is_fatal() => return Err(error),
                Err(error) => debug!(target = %self.client.address, QUIET_STATEMENT, %error, "setting refused"),
                Ok(()) => {}
            }
            let row: Option<(String, String)> = connection.conn.query_first(VERSION_STATEMENT).await?;
            connection.version = Version::parse(&row.map(|(_, version)| version).unwrap_or_default());
        }
        let settings = connection.version.session_settings(&self.client.settings, statement_seconds);
        match connection.conn.query_drop(format!("SET {}", settings.join(", "))).await {
            Err(mysql_async::Error::Server(_)) => {
                // A fork or a proxy that lacks one of them; the others still count.
                for setting in settings {
                    match connection.conn.query_drop(format!("SET {setting}")).await {
                        Err(error) if error.is_fatal() => return Err(error),
                        Err(error) => debug!(target = %self.client.address, setting, %error, "setting refused"),
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
        let mut result = connection.conn.query_iter(statement).await?;
        let mut rows = Rows::new(result.columns_ref().iter().map(|column| column.name_str().into_owned()));
        while let Some(row) = result.next().await? {
            let cells = (0..row.len()).map(|column| match row.as_ref(column) {
                // In the text protocol all that isn't NULL is bytes.
                Some(Value::Bytes(bytes)) => Some(bytes.as_slice()),
                _ => None,
            });
            if let Err(too_large) = rows.push(cells) {
                return Ok(Err(too_large));
            }
        }
        Ok(Ok(rows))
    }

    /// Whether the answer that was read lacks tables that somebody else held for longer than `lock_wait_timeout`: it warns of them, no more.
    async fn skipped_locked(&mut self) -> mysql_async::Result<bool> {
        let Some(connection) = &mut self.connection else { return Ok(false) };
        if connection.conn.get_warnings() == 0 {
            return Ok(false);
        }
        let warnings: Vec<(String, u16, String)> = connection.conn.query("SHOW WARNINGS").await?;
        // ER_LOCK_WAIT_TIMEOUT
        Ok(warnings.iter().any(|(_, code, _)| *code == 1205))
    }

    /// Keeps the connection, whose last answer was read to its end, for the next statement.
    pub(crate) fn give_back(mut self) {
        if let Some(mut connection) = self.connection.take() {
            connection.last_used = Instant::now();
            self.client.idle().push(connection);
        }
    }

    /// Closes the socket now. A dropped `Conn` would first read the rest of its answer, in a task that nobody bounds: behind a hung server
    /// those tasks and their sockets would pile up. On a thread without a runtime it can only close.
    fn close(&mut self) {
        if let Some(connection) = self.connection.take() {
            let closing = std::thread::Builder::new().name("close".to_owned()).spawn(move || drop(connection));
            // Joined, so that the permit is given back after the connection is gone; the thread lives for some 50 µs.
            let _ = closing.map(std::thread::JoinHandle::join);
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.close();
    }
}
