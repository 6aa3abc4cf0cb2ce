//! HTTP/1 connections, limited in number and in time, and how they end.

use std::error::Error;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::{Body, Incoming};
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tracing::{debug, warn};

use crate::active::ActiveConfig;
use crate::connections::{Connection, Connections};
use crate::limits::Limits;
use crate::plain_http;
use crate::response::TrackedBody;
use crate::write_timeout::WriteTimeout;

/// How long a client may take for a TLS handshake: two round trips.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// Read buffer of one connection, and so the maximum size of a request's headers. hyper's default of 400 kB would be
/// 200 MB for 512 connections.
const MAX_HEADER_BYTES: usize = 64 * 1024;

/// How long accepting pauses after an error. Without a pause, a process out of file descriptors would use a whole CPU.
const ACCEPT_RETRY_DELAY: Duration = Duration::from_millis(100);

/// Serves until `stop` resolves, then completes the requests in progress.
pub async fn serve<S, B>(
    listeners: Vec<TcpListener>,
    config: Arc<ActiveConfig>,
    limits: Limits,
    service: S,
    stop: impl Future<Output = ()>,
) where
    S: Service<Request<Incoming>, Response = Response<B>> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: Into<Box<dyn Error + Send + Sync>>,
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let connections = Connections::new(limits);
    let stopping = watch::Sender::new(false);
    let server = Server { config, limits, service, stopping: stopping.subscribe() };
    let accepting = listeners.into_iter().map(|listener| accept(listener, &connections, &server));
    let accepting = futures::future::join_all(accepting);
    tokio::select! {
        _ = accepting => {}
        () = stop => {}
    }
    stopping.send_replace(true);
    if timeout(limits.stop_timeout, connections.all_closed()).await.is_err() {
        let connections = connections.open();
        warn!(connections, seconds = limits.stop_timeout.as_secs_f64(), "stopped with requests in progress");
    }
}

async fn accept<S, B>(listener: TcpListener, connections: &Arc<Connections>, server: &Server<S>)
where
    S: Service<Request<Incoming>, Response = Response<B>> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: Into<Box<dyn Error + Send + Sync>>,
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let mut failing = false;
    loop {
        match listener.accept().await {
            Ok((stream, client)) => {
                failing = false;
                let connection = Arc::new(connections.admit(client.ip()).await);
                let server = server.clone();
                tokio::spawn(async move {
                    tokio::select! {
                        () = server.serve(stream, client, &connection) => {}
                        () = connection.gives_way() => debug!(%client, "connection closed for another one"),
                    }
                });
            }
            Err(error) => {
                if !failing {
                    warn!(%error, "cannot accept connections; retrying");
                }
                failing = true;
                sleep(ACCEPT_RETRY_DELAY).await;
            }
        }
    }
}

/// What a connection needs.
#[derive(Clone)]
struct Server<S> {
    config: Arc<ActiveConfig>,
    limits: Limits,
    service: S,
    stopping: watch::Receiver<bool>,
}

impl<S, B> Server<S>
where
    S: Service<Request<Incoming>, Response = Response<B>>,
    S::Error: Into<Box<dyn Error + Send + Sync>>,
    B: Body + 'static,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    /// Serves one client until it leaves, the configuration changes, or the server stops. After a change, the client
    /// connects again and so gets the new certificate, and the new rules apply to its own.
    async fn serve(self, mut stream: TcpStream, client: SocketAddr, connection: &Arc<Connection>) {
        // The end of a response must not wait for the client's acknowledgement of its start.
        let _ = stream.set_nodelay(true);
        connection.waiting();
        let mut config = self.config.subscribe();
        let mut stopping = self.stopping.clone();
        let mut stopping_in_handshake = self.stopping.clone();
        let tls = config.borrow_and_update().tls.clone();
        let ended = async move {
            tokio::select! {
                _ = config.changed() => {}
                _ = stopping.wait_for(|stopping| *stopping) => {}
            }
        };
        let Some(tls) = tls else { return self.serve_http(stream, client, connection, ended).await };
        let handshake = async {
            if plain_http::is_request(&stream).await {
                plain_http::refuse(&mut stream).await;
                return None;
            }
            Some(TlsAcceptor::from(tls.server_config().await).accept(stream).await)
        };
        let handshake = tokio::select! {
            handshake = timeout(HANDSHAKE_TIMEOUT, handshake) => handshake,
            _ = stopping_in_handshake.wait_for(|stopping| *stopping) => return,
        };
        match handshake {
            Ok(Some(Ok(stream))) => self.serve_http(stream, client, connection, ended).await,
            Ok(Some(Err(error))) => debug!(%client, %error, "TLS handshake failed"),
            Ok(None) => debug!(%client, "HTTP request on the HTTPS port"),
            Err(_) => debug!(%client, seconds = HANDSHAKE_TIMEOUT.as_secs(), "TLS handshake timed out"),
        }
    }

    async fn serve_http(
        self,
        stream: impl AsyncRead + AsyncWrite + Unpin,
        client: SocketAddr,
        connection: &Arc<Connection>,
        ended: impl Future<Output = ()>,
    ) {
        let stream = WriteTimeout::new(stream, self.limits.write_timeout, Arc::clone(connection));
        let service = self.service;
        let service = service_fn(move |request| {
            connection.handling();
            let response = service.call(request);
            async move { Ok::<_, S::Error>(response.await?.map(|body| TrackedBody::new(body, connection))) }
        });
        let http = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(self.limits.header_timeout)
            .max_buf_size(MAX_HEADER_BYTES)
            .serve_connection(TokioIo::new(stream), service);
        let mut http = pin!(http);
        let result = tokio::select! {
            result = http.as_mut() => result,
            () = ended => {
                http.as_mut().graceful_shutdown();
                http.await
            }
        };
        if let Err(error) = result {
            debug!(%client, %error, "connection failed");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::time::Instant;

    use bytes::Bytes;
    use http_body_util::Full;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::sync::{Notify, oneshot};
    use tokio::task::JoinHandle;

    use super::*;
    use crate::config::WebConfig;

    /// The limit of each wait in a test; no test passes by reaching it.
    const TEST_TIMEOUT: Duration = Duration::from_secs(30);
    const SHORT: Duration = Duration::from_millis(300);
    const LIMITS: Limits = Limits {
        connections: 8,
        handled_give_way: false,
        unsent_bytes: 1 << 30,
        header_timeout: TEST_TIMEOUT,
        write_timeout: TEST_TIMEOUT,
        stop_timeout: TEST_TIMEOUT,
    };

    struct Running {
        address: SocketAddr,
        config: Arc<ActiveConfig>,
        /// Notified when a request for `/wait` has arrived; notify `release` to complete it.
        arrived: Arc<Notify>,
        release: Arc<Notify>,
        stop: oneshot::Sender<()>,
        served: JoinHandle<()>,
    }

    async fn start(limits: Limits) -> Running {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let config = Arc::new(ActiveConfig::load(None).unwrap());
        let (arrived, release) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let (stop, stopped) = oneshot::channel();
        let service = {
            let (arrived, release) = (Arc::clone(&arrived), Arc::clone(&release));
            service_fn(move |request: Request<Incoming>| {
                let (arrived, release) = (Arc::clone(&arrived), Arc::clone(&release));
                async move {
                    let body = match request.uri().path() {
                        "/wait" => {
                            arrived.notify_one();
                            release.notified().await;
                            Bytes::from_static(b"released")
                        }
                        // More than the kernel's buffers of both sides.
                        "/large" => Bytes::from(vec![0; 64 << 20]),
                        _ => Bytes::from_static(b"hello"),
                    };
                    Ok::<_, Infallible>(Response::new(Full::new(body)))
                }
            })
        };
        let stopped = async move {
            let _ = stopped.await;
        };
        let served = tokio::spawn(serve(vec![listener], Arc::clone(&config), limits, service, stopped));
        Running { address, config, arrived, release, stop, served }
    }

    impl Running {
        async fn send(&self, request: &str) -> TcpStream {
            let mut stream = TcpStream::connect(self.address).await.unwrap();
            stream.write_all(request.as_bytes()).await.unwrap();
            stream
        }
    }

    /// What the server sends until it closes the connection.
    async fn read_to_end(stream: &mut TcpStream) -> String {
        let mut received = Vec::new();
        // A reset is an end as well.
        let _ = timeout(TEST_TIMEOUT, stream.read_to_end(&mut received)).await.expect("the connection stays open");
        String::from_utf8_lossy(&received).into_owned()
    }

    async fn read_response(stream: &mut TcpStream) {
        let mut received = Vec::new();
        while !received.ends_with(b"hello") {
            assert_ne!(timeout(TEST_TIMEOUT, stream.read_buf(&mut received)).await.unwrap().unwrap(), 0);
        }
    }

    const KEPT: &str = "GET / HTTP/1.1\r\nhost: x\r\n\r\n";
    const WAIT: &str = "GET /wait HTTP/1.1\r\nhost: x\r\n\r\n";

    #[tokio::test]
    async fn a_client_that_sends_no_headers_is_disconnected() {
        let server = start(Limits { header_timeout: SHORT, ..LIMITS }).await;
        let started = Instant::now();
        for unfinished in ["", "GET / HTTP/1.1\r\nhost:"] {
            let mut client = server.send(unfinished).await;
            let received = read_to_end(&mut client).await;
            assert!(!received.contains("200 OK"), "{received}");
        }
        assert!(started.elapsed() >= 2 * SHORT, "{:?}", started.elapsed());
    }

    #[tokio::test]
    async fn a_client_that_does_not_read_frees_its_slot() {
        let server = start(Limits { connections: 1, write_timeout: SHORT, ..LIMITS }).await;
        let _silent = server.send("GET /large HTTP/1.1\r\nhost: x\r\n\r\n").await;
        let mut next = server.send(KEPT).await;
        read_response(&mut next).await;
    }

    #[tokio::test]
    async fn clients_that_only_wait_give_way_to_a_request() {
        for unfinished in ["", "GET / HTTP/1.1\r\nhost:", KEPT] {
            let server = start(LIMITS).await;
            let mut waiting = Vec::new();
            for _ in 0..3 * LIMITS.connections {
                waiting.push(server.send(unfinished).await);
            }
            let mut next = server.send(KEPT).await;
            read_response(&mut next).await;
            // The first of them gave way.
            read_to_end(&mut waiting[0]).await;
        }
    }

    #[tokio::test]
    async fn clients_that_do_not_read_give_way_to_a_request() {
        let server = start(LIMITS).await;
        let mut silent = Vec::new();
        for _ in 0..2 * LIMITS.connections {
            silent.push(server.send("GET /large HTTP/1.1\r\nhost: x\r\n\r\n").await);
        }
        let mut next = server.send(KEPT).await;
        read_response(&mut next).await;
    }

    #[tokio::test]
    async fn connections_over_the_limit_wait_for_a_free_slot() {
        let server = start(Limits { connections: 1, ..LIMITS }).await;
        let mut first = server.send(WAIT).await;
        server.arrived.notified().await;
        let mut second = server.send(KEPT).await;
        assert!(timeout(SHORT, second.read_u8()).await.is_err(), "the second connection is served at the same time");
        server.release.notify_one();
        first.shutdown().await.unwrap();
        assert!(read_to_end(&mut first).await.ends_with("released"));
        drop(first);
        read_response(&mut second).await;
    }

    #[tokio::test]
    async fn a_stop_completes_the_request_in_progress_and_accepts_no_other() {
        let server = start(LIMITS).await;
        let mut idle = server.send(KEPT).await;
        read_response(&mut idle).await;
        let mut running = server.send(WAIT).await;
        server.arrived.notified().await;
        server.stop.send(()).unwrap();
        assert_eq!(read_to_end(&mut idle).await, "");
        assert!(TcpStream::connect(server.address).await.is_err());
        server.release.notify_one();
        assert!(read_to_end(&mut running).await.ends_with("released"));
        timeout(TEST_TIMEOUT, server.served).await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn a_request_that_never_ends_does_not_prevent_the_stop() {
        let server = start(Limits { stop_timeout: SHORT, ..LIMITS }).await;
        let _running = server.send(WAIT).await;
        server.arrived.notified().await;
        let started = Instant::now();
        server.stop.send(()).unwrap();
        timeout(TEST_TIMEOUT, server.served).await.unwrap().unwrap();
        assert!(started.elapsed() >= SHORT);
    }

    #[tokio::test]
    async fn another_configuration_closes_connections_after_the_response_in_progress() {
        let server = start(LIMITS).await;
        let mut idle = server.send(KEPT).await;
        read_response(&mut idle).await;
        let mut running = server.send(WAIT).await;
        server.arrived.notified().await;
        server.config.replace(WebConfig::default());
        assert_eq!(read_to_end(&mut idle).await, "");
        server.release.notify_one();
        assert!(read_to_end(&mut running).await.ends_with("released"));
        let mut next = server.send(KEPT).await;
        read_response(&mut next).await;
    }
}
