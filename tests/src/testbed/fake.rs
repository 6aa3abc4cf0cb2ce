//! A TCP service that misbehaves.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use medassist_stack::Error;

/// What it does with each connection.
#[derive(Clone, Debug)]
pub enum Behaviour {
    /// Accepts, reads, and never sends a byte.
    Silence,
    /// Sends bytes of no protocol, without end, as fast as they are read.
    Garbage,
    /// Sends these bytes and then nothing more, keeping the connection open.
    HalfReply(Vec<u8>),
    /// The same, but only after the client has sent something.
    HalfReplyOnRequest(Vec<u8>),
    /// Sends the first of these, and each of the others after the client has sent something. Then nothing more.
    Dialogue(Vec<Vec<u8>>),
    /// Sends these bytes one by one with this pause: every read succeeds, the reply never ends in time.
    Drip(Vec<u8>, Duration),
    /// Accepts and closes at once.
    Close,
}

/// Listens until it is dropped. For a refused connection, lease a [`super::Port`] and start nothing on it.
pub struct Fake {
    address: SocketAddr,
    accepted: Arc<AtomicUsize>,
    open: Arc<AtomicUsize>,
    listener: JoinHandle<()>,
}

impl Fake {
    pub async fn start(behaviour: Behaviour) -> Result<Self, Error> {
        let failed = || Error::io("cannot listen for a fake service");
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.map_err(failed())?;
        let address = listener.local_addr().map_err(failed())?;
        let (accepted, open) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let (count, now_open) = (Arc::clone(&accepted), Arc::clone(&open));
        let listener = tokio::spawn(async move {
            // Dropped with this task: aborting it closes every connection.
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                count.fetch_add(1, Ordering::SeqCst);
                now_open.fetch_add(1, Ordering::SeqCst);
                let (behaviour, now_open) = (behaviour.clone(), Arc::clone(&now_open));
                connections.spawn(async move {
                    // An error is the client's leaving, which is what ends a connection here.
                    let _ = misbehave(stream, behaviour).await;
                    now_open.fetch_sub(1, Ordering::SeqCst);
                });
            }
        });
        Ok(Self { address, accepted, open, listener })
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Connections since the start.
    pub fn accepted(&self) -> usize {
        self.accepted.load(Ordering::SeqCst)
    }

    /// Connections that the client has not closed yet.
    pub fn open(&self) -> usize {
        self.open.load(Ordering::SeqCst)
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.listener.abort();
    }
}

async fn misbehave(mut stream: TcpStream, behaviour: Behaviour) -> std::io::Result<()> {
    match behaviour {
        Behaviour::Close => return Ok(()),
        Behaviour::Silence => {}
        Behaviour::Garbage => loop {
            stream.write_all(&[0xa5, 0x00, 0x7f, 0xff, 0x0a, 0x13, 0x37, 0x42]).await?;
        },
        Behaviour::HalfReply(bytes) => stream.write_all(&bytes).await?,
        Behaviour::HalfReplyOnRequest(bytes) => {
            if stream.read(&mut [0; 4096]).await? > 0 {
                stream.write_all(&bytes).await?;
            }
        }
        Behaviour::Dialogue(lines) => {
            for (index, line) in lines.iter().enumerate() {
                if index > 0 && stream.read(&mut [0; 4096]).await? == 0 {
                    return Ok(());
                }
                stream.write_all(line).await?;
            }
        }
        Behaviour::Drip(bytes, pause) => {
            for byte in bytes {
                stream.write_all(&[byte]).await?;
                tokio::time::sleep(pause).await;
            }
        }
    }
    while stream.read(&mut [0; 4096]).await? > 0 {}
    Ok(())
}
