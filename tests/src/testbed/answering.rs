//! A service that gives the same answer to everyone.
#![allow(clippy::unwrap_used, reason = "an unwrap in a test is its report")]

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// Answers each connection with the same bytes once it has heard a line, and closes.
pub struct Answering {
    pub address: SocketAddr,
    pub accepted: Arc<AtomicUsize>,
    pub most_at_a_time: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl Answering {
    pub async fn start(answer: impl Into<Vec<u8>>, takes: Duration) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (accepted, most_at_a_time) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let (count, most, open) = (Arc::clone(&accepted), Arc::clone(&most_at_a_time), Arc::new(AtomicUsize::new(0)));
        let answer: Arc<[u8]> = answer.into().into();
        let task = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                count.fetch_add(1, Ordering::SeqCst);
                most.fetch_max(open.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                let (answer, open) = (Arc::clone(&answer), Arc::clone(&open));
                tokio::spawn(async move {
                    let mut stream = BufReader::new(stream);
                    let _ = stream.read_line(&mut String::new()).await;
                    tokio::time::sleep(takes).await;
                    let _ = stream.write_all(&answer).await;
                    // Before the client can see the end.
                    open.fetch_sub(1, Ordering::SeqCst);
                });
            }
        });
        Self { address, accepted, most_at_a_time, task }
    }

    /// As a target of haproxy-exporter.
    pub fn tcp(&self) -> String {
        format!("tcp://{}", self.address)
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        self.task.abort();
    }
}
