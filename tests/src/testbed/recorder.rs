//! An HTTP server that records what is posted to it: a pager, a dead man's switch, a webhook.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri, header};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use medassist_stack::{Error, eventually};

/// A body is a notification of some hundred alerts.
const MAX_BODY: usize = 16 << 20;

/// One request, and when it arrived as a whole.
#[derive(Clone, Debug)]
pub struct Delivery {
    pub at: SystemTime,
    pub path: String,
    pub authorization: String,
    /// Whether the answer was 2xx: the sender takes it as delivered.
    pub accepted: bool,
    /// `Null` if it isn't JSON.
    pub body: serde_json::Value,
}

#[derive(Debug)]
struct Shared {
    status: AtomicU16,
    deliveries: Mutex<Vec<Delivery>>,
}

/// Listens until it is dropped.
#[derive(Debug)]
pub struct Recorder {
    address: SocketAddr,
    shared: Arc<Shared>,
    server: JoinHandle<()>,
}

impl Recorder {
    pub async fn start() -> Result<Self, Error> {
        let failed = || Error::io("cannot listen for deliveries");
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.map_err(failed())?;
        let address = listener.local_addr().map_err(failed())?;
        let shared = Arc::new(Shared { status: AtomicU16::new(200), deliveries: Mutex::default() });
        let router = axum::Router::new()
            .fallback(record)
            .layer(axum::extract::DefaultBodyLimit::max(MAX_BODY))
            .with_state(Arc::clone(&shared));
        let server = tokio::spawn(async move {
            // It ends with the task.
            let _ = axum::serve(listener, router).await;
        });
        Ok(Self { address, shared, server })
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Answers with this status from now on. Deliveries are recorded all the same.
    pub fn answer(&self, status: u16) {
        self.shared.status.store(status, Ordering::SeqCst);
    }

    /// Everything so far, oldest first.
    pub fn deliveries(&self) -> Vec<Delivery> {
        self.shared.deliveries.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits for the first delivery that matches.
    pub async fn delivered(
        &self,
        deadline: Duration,
        what: &str,
        matches: impl Fn(&Delivery) -> bool,
    ) -> Result<Delivery, Error> {
        eventually(deadline, what, async || {
            let deliveries = self.deliveries();
            deliveries.iter().find(|delivery| matches(delivery)).cloned().ok_or_else(|| format!("{deliveries:?}"))
        })
        .await
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn record(State(shared): State<Arc<Shared>>, uri: Uri, headers: HeaderMap, body: Bytes) -> StatusCode {
    let authorization = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let status = StatusCode::from_u16(shared.status.load(Ordering::SeqCst));
    let status = status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    shared.deliveries.lock().unwrap_or_else(PoisonError::into_inner).push(Delivery {
        at: SystemTime::now(),
        path: uri.path().to_owned(),
        authorization: authorization.to_owned(),
        accepted: status.is_success(),
        body: serde_json::from_slice(&body).unwrap_or_default(),
    });
    status
}
