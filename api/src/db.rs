//! MySQL or MariaDB: a small pool with a deadline on everything, because the driver has none of its own.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use jiff::{Timestamp, tz::TimeZone};
use mysql_async::{Conn, Opts, OptsBuilder, Pool, PoolConstraints, PoolOpts, Value, prelude::Queryable};
use mysql_kit::error_code;
use service_kit::{address::Address, secret::Secret};
use tokio::{
    sync::watch,
    time::{Instant, sleep},
};

use crate::{
    dependency::{Dependency, DependencyStatus, Probe},
    problem::Problem,
    stall,
};

/// Three replicas stay far below the default `max_connections` of 151.
pub(crate) const MAX_CONNECTIONS: usize = 8;
const POOL: PoolConstraints = match PoolConstraints::new(0, MAX_CONNECTIONS) {
    Some(constraints) => constraints,
    None => unreachable!(),
};
/// The maximum size of the server's packets, which is the default of older servers.
const MAX_PACKET: usize = 16 << 20;
const IDLE_CONNECTION_TTL: Duration = Duration::from_secs(60);

/// Deadline of a request's statements together; below the timeouts of HAProxy and Alertmanager (10 s).
const REQUEST_DEADLINE: Duration = Duration::from_secs(2);
/// The same while the prober reports MySQL as down: long enough to succeed once MySQL is back, short enough to shed
/// load.
const REQUEST_DEADLINE_WHEN_DOWN: Duration = Duration::from_millis(300);

/// A migration may wait for a lock.
const MIGRATION_SESSION: [&str; 1] = ["SET SESSION time_zone = '+00:00', lock_wait_timeout = 10"];

/// The server's own limits: a little longer than ours, and a lock wait shorter than a request.
/// `/*M!` runs on MariaDB only, `/*!80000` on MySQL only: each has its own name for the statement's deadline.
const SESSION: [&str; 2] = [
    "SET SESSION time_zone = '+00:00', innodb_lock_wait_timeout = 1, lock_wait_timeout = 1 \
     /*M!100100 , max_statement_time = 3 */ /*!80000 , max_execution_time = 3000 */",
    // No gap locks: concurrent upserts of different alerts don't deadlock.
    "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED",
];

#[derive(Debug, thiserror::Error)]
pub(crate) enum DbError {
    #[error("MySQL at {address}: the tables are not in place yet, see the log of the migrations")]
    NoSchema { address: Arc<str> },
    #[error("MySQL at {address}: {doing}: no answer before the deadline")]
    Deadline { address: Arc<str>, doing: &'static str },
    /// Without the server's message, which can quote a row.
    #[error("MySQL at {address}: {doing}: {}", error_code::describe_login(source))]
    Driver { address: Arc<str>, doing: &'static str, source: Box<mysql_async::Error> },
}

impl DbError {
    pub(crate) fn code(&self) -> Option<u16> {
        match self {
            Self::Driver { source, .. } => error_code::of(source),
            _ => None,
        }
    }

    /// The server rolled this transaction back to resolve a deadlock: it can be repeated.
    pub(crate) fn is_deadlock(&self) -> bool {
        self.code() == Some(error_code::LOCK_DEADLOCK)
    }
}

impl From<DbError> for Problem {
    fn from(error: DbError) -> Self {
        Self::unavailable(error)
    }
}

/// When MySQL must have answered, and the address that the error names.
#[derive(Debug, Clone)]
pub(crate) struct Deadline {
    at: Instant,
    address: Arc<str>,
    health: Arc<Dependency>,
}

impl Deadline {
    pub(crate) async fn run<T>(
        &self,
        doing: &'static str,
        work: impl Future<Output = mysql_async::Result<T>>,
    ) -> Result<T, DbError> {
        match stall::deadline(self.at, work).await {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(source)) => {
                if source.is_fatal() {
                    self.health.recheck.notify_one();
                }
                Err(DbError::Driver { address: self.address.clone(), doing, source: Box::new(source) })
            }
            // The driver marks a connection whose statement was abandoned, and the pool drops it.
            Err(_) => {
                self.health.recheck.notify_one();
                Err(DbError::Deadline { address: self.address.clone(), doing })
            }
        }
    }
}

/// A connection for one request, until its deadline.
pub(crate) struct Session {
    pub(crate) conn: Conn,
    pub(crate) deadline: Deadline,
}

pub(crate) struct Db {
    address: Arc<str>,
    /// Without a password.
    options: OptsBuilder,
    /// Replaced as a whole when the password changes.
    connections: watch::Sender<Arc<Connections>>,
    health: Arc<Dependency>,
    schema_in_place: AtomicBool,
}

/// Connections that log in with one password.
struct Connections {
    password: Option<Secret>,
    opts: Opts,
    pool: Pool,
}

impl Connections {
    fn new(options: &OptsBuilder, password: Option<Secret>) -> Arc<Self> {
        let opts = Opts::from(options.clone().pass(password.as_ref().map(Secret::expose)));
        Arc::new(Self { password, pool: Pool::new(opts.clone()), opts })
    }
}

impl Db {
    pub(crate) fn new(
        address: &Address,
        user: &str,
        password: Option<Secret>,
        database: &str,
        health: Arc<Dependency>,
    ) -> Self {
        let pool = PoolOpts::default()
            .with_constraints(POOL)
            .with_inactive_connection_ttl(IDLE_CONNECTION_TTL)
            .with_ttl_check_interval(IDLE_CONNECTION_TTL / 4)
            // A reset costs a round trip a request and throws prepared statements away; our requests leave nothing
            // behind but an open transaction, which the pool rolls back.
            .with_reset_connection(false);
        // The pool can only resolve a name with the C library, on a thread of Tokio's blocking pool.
        let options = mysql_kit::options(address, user, None, MAX_PACKET)
            .db_name(Some(database))
            .setup(SESSION.to_vec())
            .pool_opts(pool)
            .tcp_keepalive(Some(Duration::from_secs(30)));
        Self {
            address: address.to_string().into(),
            connections: watch::Sender::new(Connections::new(&options, password)),
            options,
            health,
            schema_in_place: AtomicBool::new(false),
        }
    }

    /// New connections log in with this password. Requests that use an old connection keep it to their end.
    pub(crate) fn set_password(&self, password: Option<Secret>) {
        if self.connections.borrow().password == password {
            return;
        }
        let old = self.connections.send_replace(Connections::new(&self.options, password));
        tokio::spawn(async move {
            // A pool that disconnects fails the requests that wait for a connection.
            sleep(REQUEST_DEADLINE).await;
            if let Err(error) = old.pool.clone().disconnect().await {
                tracing::debug!(%error, "disconnecting the previous pool failed");
            }
        });
        self.health.recheck.notify_one();
    }

    pub(crate) async fn session(&self) -> Result<Session, DbError> {
        self.session_within(REQUEST_DEADLINE).await
    }

    /// Shorter while MySQL is down.
    pub(crate) async fn session_within(&self, timeout: Duration) -> Result<Session, DbError> {
        if !self.schema_in_place() {
            return Err(DbError::NoSchema { address: self.address.clone() });
        }
        let timeout = match self.health.status() {
            DependencyStatus::Down => REQUEST_DEADLINE_WHEN_DOWN,
            DependencyStatus::Up | DependencyStatus::Unknown => timeout,
        };
        let deadline = self.deadline(timeout);
        let pool = self.connections.borrow().pool.clone();
        let conn = deadline.run("get a connection", pool.get_conn()).await?;
        Ok(Session { conn, deadline })
    }

    fn deadline(&self, timeout: Duration) -> Deadline {
        Deadline { at: Instant::now() + timeout, address: self.address.clone(), health: self.health.clone() }
    }

    pub(crate) fn schema_in_place(&self) -> bool {
        self.schema_in_place.load(Ordering::Acquire)
    }

    pub(crate) fn set_schema_in_place(&self) {
        self.schema_in_place.store(true, Ordering::Release);
    }

    /// A connection outside of the pool and without the limits of a request.
    pub(crate) async fn for_migrations(&self, timeout: Duration) -> Result<Session, DbError> {
        let deadline = self.deadline(timeout);
        let opts = self.connections.borrow().opts.clone();
        let opts = OptsBuilder::from_opts(opts).setup(MIGRATION_SESSION.to_vec());
        let conn = deadline.run("connect", Conn::new(opts)).await?;
        Ok(Session { conn, deadline })
    }

    /// The pool's connections: all, and those in use.
    pub(crate) fn connections(&self) -> (usize, usize) {
        let metrics = self.connections.borrow().pool.metrics();
        (metrics.connection_count.load(Ordering::Relaxed), metrics.connections_in_use.load(Ordering::Relaxed))
    }

    /// It has its own connection, so that a busy pool doesn't look like a dead server.
    pub(crate) fn prober(&self) -> impl Probe + use<> {
        MysqlProbe { connections: self.connections.subscribe(), conn: None }
    }
}

struct MysqlProbe {
    connections: watch::Receiver<Arc<Connections>>,
    conn: Option<Conn>,
}

impl Probe for MysqlProbe {
    type Error = mysql_async::Error;

    async fn probe(&mut self) -> Result<(), mysql_async::Error> {
        if self.connections.has_changed().unwrap_or(false) {
            self.conn = None;
        }
        let mut conn = match self.conn.take() {
            Some(conn) => conn,
            None => {
                let opts = self.connections.borrow_and_update().opts.clone();
                Conn::new(opts).await?
            }
        };
        conn.query_drop("SELECT 1").await?;
        self.conn = Some(conn);
        Ok(())
    }
}

/// `DATETIME(6)` in UTC. Callers pass times of whole microseconds, see [`whole_micros`].
pub(crate) fn datetime(time: Timestamp) -> Value {
    let t = TimeZone::UTC.to_datetime(time);
    let part = |n: i8| n.unsigned_abs();
    let micros = u32::try_from(t.subsec_nanosecond() / 1000).unwrap_or(0);
    Value::Date(
        t.year().unsigned_abs(),
        part(t.month()),
        part(t.day()),
        part(t.hour()),
        part(t.minute()),
        part(t.second()),
        micros,
    )
}

/// Back again; `None` for NULL.
pub(crate) fn timestamp(value: &Value) -> Option<Timestamp> {
    let Value::Date(year, month, day, hour, minute, second, micros) = *value else {
        return None;
    };
    let part = |n: u8| i8::try_from(n).ok();
    let nanos = i32::try_from(micros).ok()? * 1000;
    let time = jiff::civil::DateTime::new(
        i16::try_from(year).ok()?,
        part(month)?,
        part(day)?,
        part(hour)?,
        part(minute)?,
        part(second)?,
        nanos,
    );
    TimeZone::UTC.to_timestamp(time.ok()?).ok()
}

/// Cuts to what `DATETIME(6)` holds, so that what we store and what we answer are equal: MySQL would round.
pub(crate) fn whole_micros(time: Timestamp) -> Timestamp {
    Timestamp::from_microsecond(time.as_microsecond()).unwrap_or(time)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_survive_the_way_to_mysql_and_back() {
        for text in ["2026-11-22T18:09:24.123456Z", "1970-01-01T00:00:00Z", "2024-02-29T23:59:59.999999Z"] {
            let time: Timestamp = text.parse().unwrap();
            assert_eq!(timestamp(&datetime(time)), Some(time));
        }
        assert_eq!(timestamp(&Value::NULL), None);
    }

    #[test]
    fn nanoseconds_are_cut_not_rounded() {
        let time: Timestamp = "2026-11-22T18:09:24.999999999Z".parse().unwrap();
        assert_eq!(whole_micros(time).to_string(), "2026-11-22T18:09:24.999999Z");
    }
}
