//! Packets over a stream.

use bytes::BytesMut;
use mysql_common::constants::Command;
use mysql_common::proto::MySerialize;
use mysql_common::proto::codec::PacketCodec;
use mysql_common::proto::codec::error::PacketCodecError;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use super::error::WireError;

/// What a packet, or a cell of a row, begins with.
pub(super) const NULL: u8 = 0xfb;
pub(super) const EOF: u8 = 0xfe;
pub(super) const ERR: u8 = 0xff;

/// Read at once from the stream.
const BUFFER: usize = 16 << 10;

pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Sync + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Sync + Unpin> Stream for T {}

pub(super) struct Packets {
    stream: Box<dyn Stream>,
    codec: PacketCodec,
    /// Bytes that were read and not decoded.
    unread: BytesMut,
    packet: Vec<u8>,
}

impl Packets {
    pub(super) fn new(stream: Box<dyn Stream>, limit: usize) -> Self {
        let mut packets = Self { stream, codec: PacketCodec::default(), unread: BytesMut::new(), packet: Vec::new() };
        packets.set_limit(limit);
        packets
    }

    /// Maximum size of a packet.
    pub(super) fn set_limit(&mut self, limit: usize) {
        self.codec.max_allowed_packet = limit;
    }

    /// Replaces the stream by one that encrypts it. What the server sent before that counts as forged.
    pub(super) async fn wrap<F>(self, wrap: impl FnOnce(Box<dyn Stream>) -> F) -> Result<Self, WireError>
    where
        F: Future<Output = Result<Box<dyn Stream>, WireError>>,
    {
        if !self.unread.is_empty() {
            return Err(WireError::Protocol("data before TLS begins"));
        }
        Ok(Self { stream: wrap(self.stream).await?, ..self })
    }

    pub(super) async fn read(&mut self) -> Result<&[u8], WireError> {
        self.packet.clear();
        loop {
            match self.codec.decode(&mut self.unread, &mut self.packet) {
                Ok(true) => return Ok(&self.packet),
                Ok(false) => {}
                Err(PacketCodecError::PacketTooLarge) => return Err(WireError::Protocol("a packet that is too large")),
                Err(PacketCodecError::Io(error)) => return Err(error.into()),
                Err(_) => return Err(WireError::Protocol("a packet out of order")),
            }
            self.unread.reserve(BUFFER);
            if self.stream.read_buf(&mut self.unread).await? == 0 {
                return Err(WireError::Closed);
            }
        }
    }

    pub(super) async fn send(&mut self, payload: &[u8]) -> Result<(), WireError> {
        let mut bytes = BytesMut::new();
        let encoded = self.codec.encode(&mut &*payload, &mut bytes);
        encoded.map_err(|_| WireError::Protocol("a request that is too large"))?;
        self.stream.write_all(&bytes).await?;
        Ok(self.stream.flush().await?)
    }

    pub(super) async fn send_struct(&mut self, packet: &impl MySerialize) -> Result<(), WireError> {
        let mut payload = Vec::new();
        packet.serialize(&mut payload);
        self.send(&payload).await
    }

    /// Begins a new exchange.
    pub(super) async fn send_command(&mut self, command: Command, argument: &[u8]) -> Result<(), WireError> {
        self.codec.reset_seq_id();
        if !self.unread.is_empty() {
            return Err(WireError::Protocol("data that nobody requested"));
        }
        self.send(&[&[command as u8], argument].concat()).await
    }
}
