//! One connection: bounded in what it reads, and one error for each way in which it can fail.

use std::future::Future;
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};

use exporter_toolkit::memory::{self, Exhausted, Reservation};
use exporter_toolkit::resolve::connect;
use redis::{ErrorKind, Pipeline, RedisError, Value, parse_redis_value_async};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf, Take};
use tokio::net::{TcpStream, UnixStream};
use tokio::task::yield_now;
use tokio::time::{Instant, timeout_at};

use crate::address::Endpoint;
use crate::credentials::CredentialsError;
use crate::refusal::advice;
use crate::tls::Connector;

/// Maximum bytes of one response. INFO ALL of a busy server is about 100 kB.
const MAX_ANSWER_BYTES: u64 = 4 << 20;

/// Maximum lines of one response. Each value takes one at least, so this bounds memory and the loops of the collectors.
/// 4 MiB of INFO have fewer.
const MAX_ANSWER_LINES: usize = 256 << 10;

/// After so much, other scrapes have their turn.
const BYTES_PER_TURN: usize = 8 << 10;

#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("{target}: cannot connect: {source}: check --redis.addr, and that Redis listens there")]
    Connect { target: String, source: io::Error },
    #[error(
        "{target}: the TLS handshake failed: {source}: check that the server speaks TLS on this port, its certificate, and --tls-ca-cert-file"
    )]
    Handshake { target: String, source: io::Error },
    #[error("{target}: {source}")]
    Credentials { target: String, source: CredentialsError },
    #[error("{target}: {step}: no answer within {seconds:.2} s: {advice}")]
    Timeout { target: String, step: &'static str, seconds: f64, advice: &'static str },
    #[error("{target}: {step}: the connection broke: {source}: the server may be restarting; see its log")]
    Broken { target: String, step: &'static str, source: RedisError },
    #[error(
        "{target}: {step}: the answer is not Redis' protocol ({reason}): check that --redis.addr names a Redis port, with rediss:// for TLS"
    )]
    NotRedis { target: String, step: &'static str, reason: String },
    #[error(
        "{target}: {step}: the answer is larger than {} MiB or {MAX_ANSWER_LINES} lines: the target may not be Redis, or its INFO is abnormally large", MAX_ANSWER_BYTES >> 20
    )]
    TooLarge { target: String, step: &'static str },
    #[error(
        "{target}: {step}: no memory for the answer: {source}: probe fewer targets at a time, or raise --scrape.memory-limit"
    )]
    Memory { target: String, step: &'static str, source: Exhausted },
    #[error("{target}: {step} was refused: {reply}: {advice}")]
    Refused { target: String, step: &'static str, reply: String, advice: &'static str },
}

/// The target and the deadline of a scrape, for the errors of each step.
pub(crate) struct ScrapeContext<'a> {
    pub(crate) endpoint: &'a Endpoint,
    pub(crate) started: Instant,
    pub(crate) deadline: Instant,
}

impl ScrapeContext<'_> {
    pub(crate) fn target(&self) -> String {
        self.endpoint.to_string()
    }

    pub(crate) async fn with_deadline<T>(
        &self,
        step: &'static str,
        advice: &'static str,
        work: impl Future<Output = T>,
    ) -> Result<T, Error> {
        timeout_at(self.deadline, work).await.map_err(|_| Error::Timeout {
            target: self.target(),
            step,
            seconds: self.started.elapsed().as_secs_f64(),
            advice,
        })
    }

    pub(crate) fn refused(&self, step: &'static str, reply: String) -> Error {
        let advice = advice(&reply);
        Error::Refused { target: self.target(), step, reply, advice }
    }
}

/// A parser's error continues with a dump of its input.
fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().chars().take(200).collect()
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// Dropping it closes the connection, and with it whatever answer has not come yet.
pub(crate) struct Connection {
    stream: Box<dyn Stream>,
    /// For the largest answer. Its values are used up before the connection is closed.
    memory: Reservation,
}

impl Connection {
    /// Connects; nothing is sent yet. The addresses of a host are tried one after the other, so there is never a
    /// second connection.
    pub(crate) async fn open(context: &ScrapeContext<'_>, tls: Option<&Connector>) -> Result<Self, Error> {
        let stream: Box<dyn Stream> = match context.endpoint {
            Endpoint::Unix(path) => {
                let failed = |source| Error::Connect { target: context.target(), source };
                Box::new(UnixStream::connect(path).await.map_err(failed)?)
            }
            Endpoint::Tcp { host, port } => Box::new(connect_tcp(context, host, *port).await?),
            Endpoint::Tls { host, port } => {
                let failed = |source| Error::Handshake { target: context.target(), source };
                let connector = tls.ok_or_else(|| failed(io::Error::other("TLS is not set up")))?;
                let name = match &connector.server_name {
                    Some(name) => name.clone(),
                    None => ServerName::try_from(host.clone()).map_err(|error| failed(io::Error::other(error)))?,
                };
                let stream = connect_tcp(context, host, *port).await?;
                let advice = "the server may not speak TLS on this port, or be stopped";
                let stream =
                    context.with_deadline("the TLS handshake", advice, connector.tls.connect(name, stream)).await?;
                Box::new(stream.map_err(failed)?)
            }
        };
        Ok(Self { stream, memory: memory::reservation() })
    }

    /// One round trip: all commands are sent at once, and error replies are among the values.
    pub(crate) async fn request(
        &mut self,
        context: &ScrapeContext<'_>,
        step: &'static str,
        commands: &Pipeline,
    ) -> Result<Vec<Value>, Error> {
        let advice = "the process may be stopped, or busy with a long command or script (see SLOWLOG GET)";
        context.with_deadline(step, advice, self.exchange(context, step, commands)).await?
    }

    /// Not with redis' own connections: they lose what a server sends before the first request, such as "max number of
    /// clients reached", and they read without a limit.
    async fn exchange(
        &mut self,
        context: &ScrapeContext<'_>,
        step: &'static str,
        commands: &Pipeline,
    ) -> Result<Vec<Value>, Error> {
        let broken = |source| Error::Broken { target: context.target(), step, source };
        self.stream.write_all(&commands.get_packed_pipeline()).await.map_err(|error| broken(error.into()))?;
        self.stream.flush().await.map_err(|error| broken(error.into()))?;
        let mut answers = Answers::of(&mut *self.stream, &mut self.memory);
        let mut decoder = Default::default();
        let mut values = Vec::with_capacity(commands.len());
        while values.len() < commands.len() {
            match parse_redis_value_async(&mut decoder, &mut answers).await {
                Ok(value) => values.push(value),
                Err(_) if let Some(source) = answers.exhausted.take() => {
                    return Err(Error::Memory { target: context.target(), step, source });
                }
                Err(_) if answers.too_large() => return Err(Error::TooLarge { target: context.target(), step }),
                Err(error) if error.kind() == ErrorKind::Io => return Err(broken(error)),
                Err(error) => {
                    let reason = first_line(&error.to_string());
                    return Err(Error::NotRedis { target: context.target(), step, reason });
                }
            }
        }
        Ok(values)
    }
}

/// The answers to one request. A server that always has more bytes keeps neither the memory nor the thread.
struct Answers<'a> {
    stream: Take<&'a mut dyn Stream>,
    memory: &'a mut Reservation,
    exhausted: Option<Exhausted>,
    lines: usize,
    bytes_in_turn: usize,
}

impl<'a> Answers<'a> {
    fn of(stream: &'a mut dyn Stream, memory: &'a mut Reservation) -> Self {
        Self { stream: stream.take(MAX_ANSWER_BYTES), memory, exhausted: None, lines: 0, bytes_in_turn: 0 }
    }

    fn too_large(&self) -> bool {
        self.stream.limit() == 0 || self.lines >= MAX_ANSWER_LINES
    }
}

impl AsyncRead for Answers<'_> {
    /// After a limit it reports the end of the stream.
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.too_large() || self.exhausted.is_some() {
            return Poll::Ready(Ok(()));
        }
        if self.bytes_in_turn >= BYTES_PER_TURN {
            self.bytes_in_turn = 0;
            // Pending at its first poll, until new connections and timers had their turn. A plain wake-up would run
            // this task up to 61 times before them.
            ready!(pin!(yield_now()).poll(context));
        }
        let before = out.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(context, out))?;
        let read = out.filled().get(before..).unwrap_or_default();
        self.bytes_in_turn += read.len();
        self.lines += read.iter().filter(|byte| **byte == b'\n').count();
        // The text is held twice while it is parsed: once as it came, once in values.
        let bytes = usize::try_from(MAX_ANSWER_BYTES - self.stream.limit()).unwrap_or(usize::MAX);
        let needed = 2 * bytes + self.lines * size_of::<Value>();
        self.exhausted = self.memory.grow_to(needed).err();
        Poll::Ready(Ok(()))
    }
}

async fn connect_tcp(context: &ScrapeContext<'_>, host: &str, port: u16) -> Result<TcpStream, Error> {
    let failed = |source| Error::Connect { target: context.target(), source };
    let advice = "the host may be down, or a firewall drops the packets";
    let stream = context.with_deadline("connecting", advice, connect(host, port)).await?.map_err(failed)?;
    stream.set_nodelay(true).map_err(failed)?;
    Ok(stream)
}
