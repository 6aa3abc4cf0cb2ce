//! A connection with a timeout for sending a response.
//!
//! hyper limits the time to receive a request's headers, but not the time until the client has read the response.
//! Without this timeout, clients that never read would occupy all allowed connections and block every other client.

use std::future::Future as _;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

use crate::connections::Connection;

/// Fails a write when the whole response is not sent within `limit`, measured from the first write that had to wait for
/// the client. Reading single bytes does not extend the limit: only a flush, which follows a whole response, resets it.
pub(crate) struct WriteTimeout<S> {
    stream: S,
    limit: Duration,
    connection: Arc<Connection>,
    expired: Option<Pin<Box<Sleep>>>,
}

impl<S> WriteTimeout<S> {
    pub(crate) fn new(stream: S, limit: Duration, connection: Arc<Connection>) -> Self {
        Self { stream, limit, connection, expired: None }
    }

    fn limited<T>(&mut self, written: Poll<io::Result<T>>, cx: &mut Context<'_>) -> Poll<io::Result<T>> {
        if written.is_pending() {
            let limit = self.limit;
            let expired = self.expired.get_or_insert_with(|| Box::pin(sleep(limit)));
            ready!(expired.as_mut().poll(cx));
            let error = format!("client did not read the response within {} s", limit.as_secs_f64());
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, error)));
        }
        written
    }

    fn written(&mut self, written: Poll<io::Result<usize>>, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if written.is_ready() {
            self.connection.progressed();
        }
        self.limited(written, cx)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for WriteTimeout<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for WriteTimeout<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.written(written, cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, bytes);
        self.written(written, cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(cx);
        if flushed.is_ready() {
            self.expired = None;
            self.connection.flushed();
        }
        self.limited(flushed, cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let shut = Pin::new(&mut self.stream).poll_shutdown(cx);
        self.limited(shut, cx)
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;
    use crate::connections::Connections;
    use crate::limits::Limits;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};
    use tokio::time::Instant;

    const LIMIT: Duration = Duration::from_secs(30);
    const LIMITS: Limits = Limits {
        connections: 1,
        handled_give_way: false,
        unsent_bytes: 0,
        header_timeout: LIMIT,
        write_timeout: LIMIT,
        stop_timeout: LIMIT,
    };

    async fn write_timeout<S>(stream: S) -> WriteTimeout<S> {
        let connection = Connections::new(LIMITS).admit(IpAddr::from([127, 0, 0, 1])).await;
        WriteTimeout::new(stream, LIMIT, Arc::new(connection))
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_does_not_read_times_out() {
        let (ours, _client) = duplex(64);
        let started = Instant::now();
        let error = write_timeout(ours).await.write_all(&[0; 1000]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert!(started.elapsed() >= LIMIT);
    }

    #[tokio::test(start_paused = true)]
    async fn reading_single_bytes_does_not_extend_the_timeout() {
        let (ours, mut client) = duplex(64);
        let drip = tokio::spawn(async move {
            while client.read_u8().await.is_ok() {
                sleep(Duration::from_secs(1)).await;
            }
        });
        let error = write_timeout(ours).await.write_all(&[0; 1000]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        drip.await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn each_response_has_the_whole_timeout() {
        let (ours, mut client) = duplex(64);
        let mut ours = write_timeout(ours).await;
        for _ in 0..3 {
            let read = async {
                sleep(LIMIT - Duration::from_secs(1)).await;
                client.read_exact(&mut [0; 1000]).await.unwrap();
            };
            let write = async {
                ours.write_all(&[0; 1000]).await.unwrap();
                ours.flush().await.unwrap();
            };
            futures::future::join(read, write).await;
        }
    }
}
