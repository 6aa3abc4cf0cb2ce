//! HTTP/1 connections: bounded in number, in the time a head may take, and in the time they may outlive the stop.

use std::{io, sync::Arc, time::Duration};

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::GracefulShutdown,
    service::TowerToHyperService,
};
use service_kit::listen::ListenAddress;
use tokio::{net::TcpListener, sync::Semaphore, time::timeout};
use tokio_util::sync::CancellationToken;

/// Also the longest that an idle keep-alive connection lives; longer than HAProxy keeps one unused (`pool-purge-delay`, 5 s), so that
/// HAProxy is the side that closes.
const HEAD_TIMEOUT: Duration = Duration::from_secs(20);
const STOP_DEADLINE: Duration = Duration::from_secs(10);

#[derive(Debug, thiserror::Error)]
#[error("--{flag}={address}: cannot listen: {source}")]
pub struct ListenError {
    flag: &'static str,
    address: ListenAddress,
    source: io::Error,
}

pub(crate) async fn listen(flag: &'static str, address: ListenAddress) -> Result<TcpListener, ListenError> {
    address.bind().await.map_err(|source| ListenError { flag, address, source })
}

/// Serves until `stop`, then lets requests in flight end.
pub(crate) async fn serve(listener: TcpListener, router: Router, max_connections: usize, stop: CancellationToken) {
    let connections = GracefulShutdown::new();
    let slots = Arc::new(Semaphore::new(max_connections));
    let service = TowerToHyperService::new(router);
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT);
    loop {
        let accept = async {
            // Over the limit, connections wait in the kernel's queue.
            let slot = slots.clone().acquire_owned().await;
            (slot, listener.accept().await)
        };
        let (slot, accepted) = tokio::select! {
            () = stop.cancelled() => break,
            accepted = accept => accepted,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                // Out of file descriptors, say: trying again at once would only burn the processor.
                tracing::error!(%error, "could not accept a connection");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let _ = stream.set_nodelay(true);
        let connection = connections.watch(http.serve_connection(TokioIo::new(stream), service.clone()));
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection ended early");
            }
            drop(slot);
        });
    }
    drop(listener);
    let open = connections.count();
    if timeout(STOP_DEADLINE, connections.shutdown()).await.is_err() {
        tracing::warn!(open, "requests were still in flight {STOP_DEADLINE:?} after the stop");
    }
}
