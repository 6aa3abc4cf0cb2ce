//! The target of a scrape: its one connection, and what a scrape reads over it.

use std::time::Duration;

use exporter_toolkit::secret::Secret;
use exporter_toolkit::{BoxError, Target, async_trait};
use redis::{Pipeline, Value};
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::address::Address;
use crate::connection::{Connection, Error, ScrapeContext};
use crate::credentials::{Credentials, Login};
use crate::info::Info;
use crate::refusal::{self, Verdict};
use crate::tls::Connector;

/// A command that the server refused. Only the families of that command are absent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{command} was refused: {reply}: {advice}, or disable this collector", advice = refusal::advice(reply))]
pub struct Refused {
    pub command: &'static str,
    pub reply: String,
}

pub(crate) type Answer<T> = Result<T, Refused>;

/// How the server answered PING.
#[derive(Clone, Debug)]
pub struct Ping {
    pub round_trip: Duration,
    /// The error reply to PING of a server that still answers INFO.
    pub refusal: Option<String>,
}

/// All that one scrape read; the collectors wait for nothing more.
#[derive(Debug)]
pub struct Session {
    pub info: Info,
    /// The requested settings that the server has.
    pub config: Answer<Vec<(String, String)>>,
    pub slow_log: Answer<SlowLog>,
    pub latency: Answer<Vec<LatencyEvent>>,
    /// Of a node of a cluster.
    pub cluster: Option<Answer<Info>>,
    pub ping: Ping,
    /// How long it took to connect and to log in, when that was last necessary.
    pub connect: Duration,
    /// How long connecting and reading took in this scrape.
    pub duration: Duration,
    /// `rejected_connections` at the previous scrape.
    pub rejected_before: Option<f64>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SlowLog {
    pub length: i64,
    pub newest: Option<SlowCommand>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlowCommand {
    pub id: i64,
    pub microseconds: i64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LatencyEvent {
    pub name: String,
    pub unix_seconds: i64,
    pub milliseconds: i64,
}

/// Read one by one, not as `CONFIG GET *`, whose answer would carry the server's passwords.
const SETTINGS: [&str; 6] =
    ["client-output-buffer-limit", "databases", "io-threads", "maxclients", "maxmemory", "repl-backlog-size"];

pub struct Client {
    address: Address,
    shown: String,
    credentials: Credentials,
    tls: Option<Connector>,
    state: Mutex<State>,
}

/// Held by the scrape that runs: a second one, with another filter of collectors, waits for the connection instead of
/// opening its own.
#[derive(Default)]
struct State {
    connection: Option<Connection>,
    connect: Duration,
    rejected: Option<f64>,
}

impl Client {
    pub(crate) fn new(address: Address, credentials: Credentials, tls: Option<Connector>) -> Self {
        let shown = address.endpoint.to_string();
        Self { address, shown, credentials, tls, state: Mutex::default() }
    }

    async fn read(&self, context: &ScrapeContext<'_>) -> Result<Session, Error> {
        let advice = "another scrape of the same server still holds the one connection";
        let mut state = context.with_deadline("waiting for the connection", advice, self.state.lock()).await?;
        // Taken out: whatever goes wrong from here on, or drops this future, closes the connection with the answers
        // that may still come.
        let (mut connection, ping) = match state.connection.take() {
            Some(mut connection) => match ping(&mut connection, context).await {
                Ok(ping) => (connection, ping),
                Err(error @ Error::Timeout { .. }) => return Err(error),
                // The server was restarted or closed the idle connection since the last scrape, or now requires a
                // password.
                Err(_) => self.connect(context, &mut state).await?,
            },
            None => self.connect(context, &mut state).await?,
        };
        let answers = request_all(&mut connection, context).await?;
        let cluster = match answers.info.get("cluster_enabled") {
            Some("1") => Some(request_cluster_info(&mut connection, context).await?),
            _ => None,
        };
        state.connection = Some(connection);
        let rejected = answers.info.number("rejected_connections");
        let rejected_before = std::mem::replace(&mut state.rejected, rejected);
        Ok(Session {
            info: answers.info,
            config: answers.config,
            slow_log: answers.slow_log,
            latency: answers.latency,
            cluster,
            ping,
            connect: state.connect,
            duration: context.started.elapsed(),
            rejected_before,
        })
    }

    async fn connect(&self, context: &ScrapeContext<'_>, state: &mut State) -> Result<(Connection, Ping), Error> {
        let started = Instant::now();
        let login = self
            .credentials
            .login(&self.address)
            .map_err(|source| Error::Credentials { target: context.target(), source })?;
        let mut connection = Connection::open(context, self.tls.as_ref()).await?;
        authenticate(&mut connection, context, &login).await?;
        state.connect = started.elapsed();
        let ping = ping(&mut connection, context).await?;
        // For CLIENT LIST; not worth an error where it is not allowed.
        let mut name = Pipeline::new();
        name.cmd("CLIENT").arg("SETNAME").arg("redis_exporter");
        connection.request(context, "CLIENT SETNAME", &name).await?;
        Ok((connection, ping))
    }
}

#[async_trait]
impl Target for Client {
    type Session = Session;

    fn address(&self) -> &str {
        &self.shown
    }

    async fn open(&self, deadline: Instant) -> Result<Session, BoxError> {
        let context = ScrapeContext { endpoint: &self.address.endpoint, started: Instant::now(), deadline };
        Ok(self.read(&context).await?)
    }
}

/// Logs in if a user or a password is configured.
async fn authenticate(connection: &mut Connection, context: &ScrapeContext<'_>, login: &Login) -> Result<(), Error> {
    let mut command = Pipeline::new();
    match (&login.user, &login.password) {
        (None, None) => return Ok(()),
        // A user without a password accepts any.
        (Some(user), password) => command.cmd("AUTH").arg(user).arg(password.as_ref().map_or("", Secret::expose)),
        (None, Some(password)) => command.cmd("AUTH").arg(password.expose()),
    };
    match connection.request(context, "AUTH", &command).await?.pop() {
        Some(Value::ServerError(error)) => Err(context.refused("AUTH", error_text(&error))),
        _ => Ok(()),
    }
}

/// Alone in its round trip: a server that is out of connections answers one error and closes.
async fn ping(connection: &mut Connection, context: &ScrapeContext<'_>) -> Result<Ping, Error> {
    let mut command = Pipeline::new();
    command.cmd("PING");
    let sent = Instant::now();
    let answer = connection.request(context, "PING", &command).await?.pop();
    let round_trip = sent.elapsed();
    let refusal = match answer {
        Some(Value::ServerError(error)) => error_text(&error),
        _ => return Ok(Ping { round_trip, refusal: None }),
    };
    match refusal::verdict(&refusal) {
        Verdict::Unusable => Err(context.refused("PING", refusal)),
        // INFO decides whether the server is up.
        _ => Ok(Ping { round_trip, refusal: Some(refusal) }),
    }
}

struct Answers {
    info: Info,
    config: Answer<Vec<(String, String)>>,
    slow_log: Answer<SlowLog>,
    latency: Answer<Vec<LatencyEvent>>,
}

async fn request_all(connection: &mut Connection, context: &ScrapeContext<'_>) -> Result<Answers, Error> {
    let mut commands = Pipeline::new();
    commands.cmd("INFO").arg("ALL");
    commands.cmd("SLOWLOG").arg("LEN");
    commands.cmd("SLOWLOG").arg("GET").arg(1);
    commands.cmd("LATENCY").arg("LATEST");
    // Servers before 7.0 take one name per command.
    for setting in SETTINGS {
        commands.cmd("CONFIG").arg("GET").arg(setting);
    }
    let mut values = connection.request(context, "INFO ALL", &commands).await?.into_iter();
    let mut next = || values.next().unwrap_or(Value::Nil);

    let info = match text(next()) {
        Ok(text) if !text.is_empty() => text,
        // Before 2.6, and on some services in the cloud, INFO takes no argument.
        _ => {
            let mut plain = Pipeline::new();
            plain.cmd("INFO");
            let answer = connection.request(context, "INFO", &plain).await?.pop().unwrap_or(Value::Nil);
            text(answer).map_err(|reply| context.refused("INFO", reply))?
        }
    };
    let info = Info::parse(info);
    if info.is_empty() {
        let reason = "INFO has no fields".to_owned();
        return Err(Error::NotRedis { target: context.target(), step: "INFO", reason });
    }
    let length = integer(next()).map_err(|reply| Refused { command: "SLOWLOG LEN", reply });
    let newest = slow_command(next()).map_err(|reply| Refused { command: "SLOWLOG GET", reply });
    let slow_log = length.and_then(|length| Ok(SlowLog { length, newest: newest? }));
    let latency = latency_events(next()).map_err(|reply| Refused { command: "LATENCY LATEST", reply });
    let settings: Result<Vec<Option<_>>, _> = SETTINGS.iter().map(|_| setting(next())).collect();
    let config = settings.map_err(|reply| Refused { command: "CONFIG GET", reply });
    let config = config.map(|settings| settings.into_iter().flatten().collect());
    Ok(Answers { info, config, slow_log, latency })
}

async fn request_cluster_info(connection: &mut Connection, context: &ScrapeContext<'_>) -> Result<Answer<Info>, Error> {
    let mut commands = Pipeline::new();
    commands.cmd("CLUSTER").arg("INFO");
    let answer = connection.request(context, "CLUSTER INFO", &commands).await?.pop().unwrap_or(Value::Nil);
    Ok(text(answer).map(Info::parse).map_err(|reply| Refused { command: "CLUSTER INFO", reply }))
}

fn error_text(error: &redis::ServerError) -> String {
    match error.details() {
        Some(details) => format!("{} {details}", error.code()),
        None => error.code().to_owned(),
    }
}

/// The reply that was not expected, for an error.
fn unexpected(value: &Value) -> String {
    match value {
        Value::ServerError(error) => error_text(error),
        Value::Nil => "an empty answer".to_owned(),
        Value::Array(_) => "a list".to_owned(),
        Value::Int(_) => "a number".to_owned(),
        _ => "an answer of another type".to_owned(),
    }
}

fn text(value: Value) -> Result<String, String> {
    match value {
        // Names of commands and errors may be any bytes.
        Value::BulkString(bytes) => {
            Ok(String::from_utf8(bytes).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned()))
        }
        Value::SimpleString(text) | Value::VerbatimString { text, .. } => Ok(text),
        other => Err(unexpected(&other)),
    }
}

fn integer(value: Value) -> Result<i64, String> {
    match value {
        Value::Int(number) => Ok(number),
        other => Err(unexpected(&other)),
    }
}

fn list(value: Value) -> Result<Vec<Value>, String> {
    match value {
        Value::Array(values) => Ok(values),
        other => Err(unexpected(&other)),
    }
}

/// Of entries `[id, time, microseconds, arguments, …]`, of which there is one at most.
fn slow_command(value: Value) -> Result<Option<SlowCommand>, String> {
    let Some(entry) = list(value)?.into_iter().next() else { return Ok(None) };
    match list(entry)?.as_slice() {
        [Value::Int(id), _, Value::Int(microseconds), ..] => {
            Ok(Some(SlowCommand { id: *id, microseconds: *microseconds }))
        }
        _ => Err("an entry of another shape".to_owned()),
    }
}

/// Of entries `[event, time, last milliseconds, …]`. One of another shape costs itself only.
fn latency_events(value: Value) -> Result<Vec<LatencyEvent>, String> {
    let events = list(value)?.into_iter().filter_map(|entry| {
        let mut entry = list(entry).ok()?.into_iter();
        let name = text(entry.next()?).ok()?;
        let unix_seconds = integer(entry.next()?).ok()?;
        let milliseconds = integer(entry.next()?).ok()?;
        Some(LatencyEvent { name, unix_seconds, milliseconds })
    });
    Ok(events.collect())
}

/// Of `[name, value]`; the list of a setting that the server does not know is empty.
fn setting(value: Value) -> Result<Option<(String, String)>, String> {
    let mut pair = list(value)?.into_iter();
    match (pair.next(), pair.next()) {
        (Some(name), Some(value)) => Ok(Some((text(name)?, text(value)?))),
        _ => Ok(None),
    }
}

/// For collectors' tests: a session as a server with this INFO would give.
#[cfg(test)]
pub(crate) fn session(info: &str) -> Session {
    Session {
        info: Info::parse(info.to_owned()),
        config: Ok(Vec::new()),
        slow_log: Ok(SlowLog::default()),
        latency: Ok(Vec::new()),
        cluster: None,
        ping: Ping { round_trip: Duration::from_millis(1), refusal: None },
        connect: Duration::from_millis(2),
        duration: Duration::from_millis(3),
        rejected_before: None,
    }
}

impl Session {
    pub fn setting(&self, name: &str) -> Option<&str> {
        let settings = self.config.as_ref().ok()?;
        settings.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bulk(text: &str) -> Value {
        Value::BulkString(text.as_bytes().to_vec())
    }

    #[test]
    fn slow_log_entries() {
        let entry = |values: Vec<Value>| Value::Array(vec![Value::Array(values)]);
        let whole =
            entry(vec![Value::Int(7), Value::Int(1_700_000_000), Value::Int(12_345), Value::Array(vec![bulk("KEYS")])]);
        assert_eq!(slow_command(whole), Ok(Some(SlowCommand { id: 7, microseconds: 12_345 })));
        assert_eq!(slow_command(Value::Array(Vec::new())), Ok(None));
        assert!(slow_command(entry(vec![bulk("7")])).is_err());
        assert!(slow_command(Value::Okay).is_err());
    }

    #[test]
    fn a_latency_event_of_another_shape_costs_itself_only() {
        let good = Value::Array(vec![bulk("command"), Value::Int(1_700_000_000), Value::Int(250), Value::Int(1000)]);
        let events = latency_events(Value::Array(vec![Value::Int(1), good, Value::Array(vec![bulk("fork")])])).unwrap();
        let expected = LatencyEvent { name: "command".to_owned(), unix_seconds: 1_700_000_000, milliseconds: 250 };
        assert_eq!(events, [expected]);
    }

    #[test]
    fn unknown_settings_are_skipped() {
        assert_eq!(setting(Value::Array(Vec::new())), Ok(None));
        let pair = setting(Value::Array(vec![bulk("maxclients"), bulk("10000")])).unwrap();
        assert_eq!(pair, Some(("maxclients".to_owned(), "10000".to_owned())));
    }

    #[test]
    fn texts_that_are_not_utf_8_stay_readable() {
        assert_eq!(text(Value::BulkString(b"a:1\nb\xff:2".to_vec())).unwrap(), "a:1\nb\u{fffd}:2");
    }
}
