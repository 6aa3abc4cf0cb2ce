//! A TCP forwarder: a virtual address, or a firewall.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use medassist_stack::Error;

/// Forwards connections to an address that can change. Those that are open then stay with the previous one.
pub struct Forwarder {
    address: SocketAddr,
    target: Arc<Mutex<SocketAddr>>,
    /// Connections of earlier generations pass no data.
    generation: watch::Sender<u64>,
    listener: JoinHandle<()>,
}

impl Forwarder {
    pub async fn start(target: SocketAddr) -> Result<Self, Error> {
        Self::start_with(target, None).await
    }

    /// Closes a connection on which nothing passes for this time, as a server or a proxy does with idle sessions.
    pub async fn closing_idle(target: SocketAddr, idle: Duration) -> Result<Self, Error> {
        Self::start_with(target, Some(idle)).await
    }

    async fn start_with(target: SocketAddr, idle: Option<Duration>) -> Result<Self, Error> {
        let failed = || Error::io("cannot listen for a forwarder");
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.map_err(failed())?;
        let address = listener.local_addr().map_err(failed())?;
        let target = Arc::new(Mutex::new(target));
        let (generation, current) = watch::channel(0);
        let now = Arc::clone(&target);
        let listener = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                let server = *now.lock().unwrap_or_else(PoisonError::into_inner);
                let mut current = current.clone();
                let born = *current.borrow();
                connections.spawn(async move {
                    let Ok(mut server) = TcpStream::connect(server).await else { return };
                    let mut client = client;
                    tokio::select! {
                        _ = pass(&mut client, &mut server, idle.unwrap_or(Duration::MAX)) => return,
                        _ = current.wait_for(|generation| *generation > born) => {}
                    }
                    // Both ends stay open, and neither gets an answer.
                    std::future::pending::<()>().await;
                });
            }
        });
        Ok(Self { address, target, generation, listener })
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// New connections lead there.
    pub fn switch(&self, target: SocketAddr) {
        *self.target.lock().unwrap_or_else(PoisonError::into_inner) = target;
    }

    /// From now on, the open connections pass no data: a firewall dropped them from its table.
    pub fn freeze(&self) {
        self.generation.send_modify(|generation| *generation += 1);
    }
}

/// Until one side closes the connection, or nothing passes for this time.
async fn pass(client: &mut TcpStream, server: &mut TcpStream, idle: Duration) -> std::io::Result<()> {
    let (mut to_server, mut to_client) = (vec![0; 16 << 10], vec![0; 16 << 10]);
    loop {
        let read = tokio::time::timeout(idle, async {
            tokio::select! {
                read = client.read(&mut to_server) => read.map(|bytes| (bytes, true)),
                read = server.read(&mut to_client) => read.map(|bytes| (bytes, false)),
            }
        });
        match read.await.map_err(std::io::Error::other)?? {
            (0, _) => return Ok(()),
            (bytes, true) => server.write_all(to_server.get(..bytes).unwrap_or_default()).await?,
            (bytes, false) => client.write_all(to_client.get(..bytes).unwrap_or_default()).await?,
        }
    }
}

impl Drop for Forwarder {
    fn drop(&mut self) {
        self.listener.abort();
    }
}
