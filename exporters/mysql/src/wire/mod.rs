//! A small client of MySQL's protocol: log in, run a statement in the text protocol, ping, quit.
//!
//! The packets are those of the crate `mysql_common`. The driver on top of it, `mysql_async`, is for servers that one
//! trusts: it allocates what a server announces, and computes as long as a server requests. `/probe` meets servers that
//! anybody may have chosen. Here every size and every computation that a server can request has a bound.

mod error;
mod login;
mod packets;
mod tls;

use mysql_common::constants::{CapabilityFlags, Command, StatusFlags};
use mysql_common::io::{ParseBuf, ReadMysqlExt as _};
use mysql_common::packets::{
    Column, CommonOkPacket, OkPacket, OkPacketDeserializer, OldEofPacket, ResultSetTerminator,
};

pub(crate) use self::error::WireError;
pub(crate) use self::login::Login;
pub(crate) use self::tls::{ALL_VERSIONS, Tls, Verify};

use self::error::{MALFORMED, server_error};
use self::packets::{EOF, ERR, NULL, Packets};
use crate::rows::{MAX_BYTES, Rows, TooLarge};

/// As in the servers: a table or an answer has at most 4,096 columns.
const MAX_COLUMNS: u64 = 4096;
/// The definitions of an answer's columns. A name has at most 256 characters, in each of five fields.
const MAX_DEFINITIONS: usize = 8 << 20;
/// Larger packets follow in parts.
const MAX_PAYLOAD: usize = (1 << 24) - 1;

/// A session. After an error that [`WireError::is_fatal`], or a wait that was given up, only dropping it is left.
pub(crate) struct Conn {
    packets: Packets,
    capabilities: CapabilityFlags,
    warnings: u16,
}

impl Conn {
    pub(crate) async fn open(login: &Login) -> Result<Self, WireError> {
        let (mut packets, capabilities) = login::log_in(login).await?;
        packets.set_limit(MAX_BYTES / 2);
        Ok(Self { packets, capabilities, warnings: 0 })
    }

    pub(crate) async fn ping(&mut self) -> Result<(), WireError> {
        self.packets.send_command(Command::COM_PING, &[]).await?;
        match self.read().await?.first() {
            Some(0) => Ok(()),
            _ => Err(WireError::Protocol("an unknown answer to a ping")),
        }
    }

    /// Runs a statement and ignores its rows.
    pub(crate) async fn run(&mut self, statement: &str) -> Result<(), WireError> {
        match self.query(statement).await? {
            Ok(_) => Ok(()),
            Err(_) => Err(WireError::Protocol("rows without end")),
        }
    }

    /// As [`Conn::query`], for the exporter's own statements, with a small answer. One that is not read to its end ends
    /// the session.
    pub(crate) async fn query_all(&mut self, statement: &str) -> Result<Rows, WireError> {
        self.query(statement).await?.map_err(|error| {
            WireError::Protocol(match error {
                TooLarge::Answer => "an answer that is too large",
                TooLarge::Memory(_) => "an answer for which --scrape.memory-limit leaves no memory",
            })
        })
    }

    /// Runs a statement and reads its answer. After `TooLarge` the rest is unread.
    pub(crate) async fn query(&mut self, statement: &str) -> Result<Result<Rows, TooLarge>, WireError> {
        let capabilities = self.capabilities;
        self.packets.send_command(Command::COM_QUERY, statement.as_bytes()).await?;
        let mut packet = self.read().await?;
        match packet.first() {
            Some(0) => {
                let ok = ok_packet::<CommonOkPacket>(packet, capabilities)?;
                self.end(&ok)?;
                return Ok(Ok(Rows::default()));
            }
            // LOCAL INFILE: the server requests a file of ours.
            None | Some(&NULL) => return Err(WireError::Protocol("a request for a file")),
            Some(_) => {}
        }
        let columns = packet.read_lenenc_int().map_err(|_| MALFORMED)?;
        if columns > MAX_COLUMNS {
            return Err(WireError::Protocol("more than 4,096 columns"));
        }
        let mut names = Vec::new();
        let mut size = 0;
        for _ in 0..columns {
            let packet = self.read().await?;
            size += packet.len();
            if size > MAX_DEFINITIONS {
                return Err(WireError::Protocol("column definitions without end"));
            }
            let column: Column = ParseBuf(packet).parse(()).map_err(|_| MALFORMED)?;
            names.push(column.name_str().into_owned());
        }
        let deprecate_eof = capabilities.contains(CapabilityFlags::CLIENT_DEPRECATE_EOF);
        if !deprecate_eof {
            self.read().await?;
        }
        let mut rows = Rows::new(names);
        loop {
            let packet = self.read().await?;
            // A first cell of 16 MB or more begins with the same byte.
            if packet.first() == Some(&EOF) && packet.len() < if deprecate_eof { MAX_PAYLOAD } else { 9 } {
                let ok = if deprecate_eof {
                    ok_packet::<ResultSetTerminator>(packet, capabilities)?
                } else {
                    ok_packet::<OldEofPacket>(packet, capabilities)?
                };
                self.end(&ok)?;
                return Ok(Ok(rows));
            }
            let mut cells = Cells { packet, malformed: false };
            if let Err(error) = rows.push(cells.by_ref()) {
                return Ok(Err(error));
            }
            if cells.malformed {
                return Err(MALFORMED);
            }
        }
    }

    /// Warnings of the last statement.
    pub(crate) fn warnings(&self) -> u16 {
        self.warnings
    }

    /// Tells the server that the session ends; without it, the server logs an aborted connection. Best effort: one
    /// write into the kernel's buffer.
    pub(crate) async fn quit(mut self) {
        let _ = self.packets.send_command(Command::COM_QUIT, &[]).await;
    }

    fn end(&mut self, ok: &OkPacket<'_>) -> Result<(), WireError> {
        if ok.status_flags().contains(StatusFlags::SERVER_MORE_RESULTS_EXISTS) {
            return Err(WireError::Protocol("more than one answer"));
        }
        self.warnings = ok.warnings();
        Ok(())
    }

    /// The next packet. An error packet is an error.
    async fn read(&mut self) -> Result<&[u8], WireError> {
        let packet = self.packets.read().await?;
        match packet.first() {
            Some(&ERR) => Err(server_error(packet, self.capabilities)),
            _ => Ok(packet),
        }
    }
}

fn ok_packet<T: mysql_common::packets::OkPacketKind>(
    packet: &[u8],
    capabilities: CapabilityFlags,
) -> Result<OkPacket<'static>, WireError> {
    let ok = ParseBuf(packet).parse::<OkPacketDeserializer<'_, T>>(capabilities);
    ok.map(|ok| ok.into_inner().into_owned()).map_err(|_| MALFORMED)
}

/// The cells of a row: NULL, or a length and that many bytes.
struct Cells<'a> {
    packet: &'a [u8],
    malformed: bool,
}

impl<'a> Iterator for Cells<'a> {
    type Item = Option<&'a [u8]>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.packet.first() == Some(&NULL) {
            self.packet = &self.packet[1..];
            return Some(None);
        }
        if self.packet.is_empty() {
            return None;
        }
        let length = self.packet.read_lenenc_int().ok().and_then(|length| usize::try_from(length).ok());
        match length.and_then(|length| self.packet.split_at_checked(length)) {
            Some((cell, rest)) => {
                self.packet = rest;
                Some(Some(cell))
            }
            None => {
                self.packet = &[];
                self.malformed = true;
                None
            }
        }
    }
}
