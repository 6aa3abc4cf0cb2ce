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
use tokio::time::Instant;

use crate::{
    address::Address,
    dependency::{Dependency, Probe, Verdict},
    problem::Problem,
    secret::Secret,
    stall,
};

/// Three replicas stay far below the default `max_connections` of 151.
pub(crate) const MAX_CONNECTIONS: usize = 8;
const POOL: PoolConstraints = match PoolConstraints::new(0, MAX_CONNECTIONS) {
    Some(constraints) => constraints,
    None => unreachable!(),
};
const IDLE_CONNECTION_TTL: Duration = Duration::from_secs(60);

/// What a request may spend on MySQL, all statements together; under HAProxy's and Alertmanager's time-outs of 10 s.
const REQUEST_DEADLINE: Duration = Duration::from_secs(2);
/// The same while the prober says that MySQL is down: long enough to notice that it isn't any more, short enough to shed.
const REQUEST_DEADLINE_WHEN_DOWN: Duration = Duration::from_millis(300);

/// A migration may wait for a lock and take its time.
const MIGRATION_SESSION: [&str; 1] = ["SET SESSION time_zone = '+00:00', lock_wait_timeout = 10"];

/// The server gives up too, a little after us, and never waits for a lock as long as a client waits for us.
/// `/*M!` runs on MariaDB only, `/*!80000` on MySQL only: each has its own name for the statement's deadline.
const SESSION: [&str; 2] = [
    "SET SESSION time_zone = '+00:00', innodb_lock_wait_timeout = 1, lock_wait_timeout = 1 \
     /*M!100100 , max_statement_time = 3 */ /*!80000 , max_execution_time = 3000 */",
    // No gap locks: concurrent upserts of different alerts don't deadlock.
    "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED",
];

pub(crate) const DUPLICATE_ENTRY: u16 = 1062;
pub(crate) const NO_SUCH_TABLE: u16 = 1146;
pub(crate) const LOCK_WAIT_TIMEOUT: u16 = 1205;
const DEADLOCK: u16 = 1213;

#[derive(Debug, thiserror::Error)]
pub(crate) enum DbError {
    #[error("MySQL at {address}: the tables are not in place yet, see the log of the migrations")]
    NoSchema { address: Arc<str> },
    #[error("MySQL at {address}: {doing}: no answer before the deadline")]
    Deadline { address: Arc<str>, doing: &'static str },
    #[error("MySQL at {address}: {doing}: {source}")]
    Driver { address: Arc<str>, doing: &'static str, source: Box<mysql_async::Error> },
}

impl DbError {
    pub(crate) fn code(&self) -> Option<u16> {
        match self {
            Self::Driver { source, .. } => match source.as_ref() {
                mysql_async::Error::Server(error) => Some(error.code),
                _ => None,
            },
            _ => None,
        }
    }

    /// The server picked this transaction as a deadlock's victim: the same again will work.
    pub(crate) fn is_deadlock(&self) -> bool {
        self.code() == Some(DEADLOCK)
    }
}

impl From<DbError> for Problem {
    fn from(error: DbError) -> Self {
        Self::unavailable(error)
    }
}

/// A point in time until which MySQL may answer, and the name under which it is blamed when it doesn't.
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
                    self.health.doubt.notify_one();
                }
                Err(DbError::Driver { address: self.address.clone(), doing, source: Box::new(source) })
            }
            // The driver marks a connection whose statement was abandoned, and the pool drops it.
            Err(_) => {
                self.health.doubt.notify_one();
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

#[derive(Debug)]
pub(crate) struct Db {
    address: Arc<str>,
    opts: Opts,
    pool: Pool,
    health: Arc<Dependency>,
    schema_in_place: AtomicBool,
}

impl Db {
    pub(crate) fn new(
        address: &Address,
        user: &str,
        password: Option<&Secret>,
        database: &str,
        health: Arc<Dependency>,
    ) -> Self {
        let pool = PoolOpts::default()
            .with_constraints(POOL)
            .with_inactive_connection_ttl(IDLE_CONNECTION_TTL)
            .with_ttl_check_interval(IDLE_CONNECTION_TTL / 4)
            // A reset costs a round trip a request and throws prepared statements away; our requests leave nothing behind
            // but an open transaction, which the pool rolls back.
            .with_reset_connection(false);
        let opts = OptsBuilder::default()
            .user(Some(user))
            .pass(password.map(Secret::expose))
            .db_name(Some(database))
            .setup(SESSION.to_vec())
            .pool_opts(pool)
            .tcp_keepalive(Some(Duration::from_secs(30)))
            // Given here, they are not asked for at each connect; 16 MiB is the default of the older servers.
            .max_allowed_packet(Some(16 << 20))
            .wait_timeout(Some(28_800))
            // Would connect a second time, through the socket that the server names.
            .prefer_socket(Some(false));
        let opts = match address {
            Address::Tcp { host, port } => opts.ip_or_hostname(host).tcp_port(*port),
            Address::Unix(path) => opts.socket(Some(path.to_string_lossy())),
        };
        let opts = Opts::from(opts);
        Self {
            address: address.to_string().into(),
            pool: Pool::new(opts.clone()),
            opts,
            health,
            schema_in_place: AtomicBool::new(false),
        }
    }

    pub(crate) async fn session(&self) -> Result<Session, DbError> {
        if !self.schema_in_place() {
            return Err(DbError::NoSchema { address: self.address.clone() });
        }
        let patience = match self.health.verdict() {
            Verdict::Down => REQUEST_DEADLINE_WHEN_DOWN,
            Verdict::Up | Verdict::Unknown => REQUEST_DEADLINE,
        };
        let deadline = self.deadline(patience);
        let conn = deadline.run("get a connection", self.pool.get_conn()).await?;
        Ok(Session { conn, deadline })
    }

    fn deadline(&self, patience: Duration) -> Deadline {
        Deadline { at: Instant::now() + patience, address: self.address.clone(), health: self.health.clone() }
    }

    pub(crate) fn schema_in_place(&self) -> bool {
        self.schema_in_place.load(Ordering::Acquire)
    }

    pub(crate) fn set_schema_in_place(&self) {
        self.schema_in_place.store(true, Ordering::Release);
    }

    /// A connection outside of the pool and without the limits of a request.
    pub(crate) async fn for_migrations(&self, patience: Duration) -> Result<Session, DbError> {
        let deadline = self.deadline(patience);
        let opts = OptsBuilder::from_opts(self.opts.clone()).setup(MIGRATION_SESSION.to_vec());
        let conn = deadline.run("connect", Conn::new(opts)).await?;
        Ok(Session { conn, deadline })
    }

    /// The pool's connections: all, and those in use.
    pub(crate) fn connections(&self) -> (usize, usize) {
        let metrics = self.pool.metrics();
        (metrics.connection_count.load(Ordering::Relaxed), metrics.connections_in_use.load(Ordering::Relaxed))
    }

    /// A connection of its own, so that a busy pool doesn't look like a dead server.
    pub(crate) fn prober(&self) -> impl Probe + use<> {
        MysqlProbe { opts: self.opts.clone(), conn: None }
    }
}

struct MysqlProbe {
    opts: Opts,
    conn: Option<Conn>,
}

impl Probe for MysqlProbe {
    type Error = mysql_async::Error;

    async fn probe(&mut self) -> Result<(), mysql_async::Error> {
        let mut conn = match self.conn.take() {
            Some(conn) => conn,
            None => Conn::new(self.opts.clone()).await?,
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
