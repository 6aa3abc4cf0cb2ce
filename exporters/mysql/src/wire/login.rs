//! The login: greeting, TLS, and authentication.
//!
//! Deriving keys takes processor time that the server determines. It happens on a thread of its own, with a bound.

use std::borrow::Cow;

use exporter_toolkit::address::Address;
use exporter_toolkit::resolve;
use mysql_common::constants::CapabilityFlags;
use mysql_common::crypto;
use mysql_common::io::ParseBuf;
use mysql_common::packets::{AuthPlugin, AuthSwitchRequest, HandshakePacket, HandshakeResponse, SslRequest};
use tokio::net::UnixStream;

use super::error::{MALFORMED, WireError, server_error};
use super::packets::{EOF, ERR, Packets, Stream};
use super::tls::Tls;

/// The packets of a login are small.
const MAX_PACKET: usize = 64 << 10;
/// Packets after our response: a switch of the method, and two of that method.
const MAX_ROUNDS: usize = 8;
/// The servers' are 20 or 32 bytes.
const MAX_NONCE: usize = 64;
/// `parsec` derives a key in 1,024 × 2^factor rounds. MariaDB uses factor 0; 5 takes 30 ms.
const MAX_PARSEC_FACTOR: u8 = 5;
/// The PEM text of an RSA key of 8,192 bits has 1.4 kB. With the largest exponent that still fits, it takes 0.2 s.
const MAX_RSA_KEY: usize = 1536;

const CAPABILITIES: CapabilityFlags = CapabilityFlags::CLIENT_PROTOCOL_41
    .union(CapabilityFlags::CLIENT_SECURE_CONNECTION)
    .union(CapabilityFlags::CLIENT_LONG_PASSWORD)
    .union(CapabilityFlags::CLIENT_TRANSACTIONS)
    .union(CapabilityFlags::CLIENT_DEPRECATE_EOF)
    .union(CapabilityFlags::CLIENT_PLUGIN_AUTH);

/// Where and as whom to log in. It has no `Debug`: it contains a password.
pub(crate) struct Login {
    pub(crate) address: Address,
    pub(crate) user: String,
    pub(crate) password: String,
    pub(crate) tls: Option<Tls>,
    /// Send the password in cleartext if the server requests it.
    pub(crate) cleartext: bool,
}

pub(super) async fn log_in(login: &Login) -> Result<(Packets, CapabilityFlags), WireError> {
    // A unix socket never leaves the machine, and the servers offer no TLS over it.
    let (stream, tls): (Box<dyn Stream>, _) = match &login.address {
        Address::Tcp { host, port } => {
            let stream = resolve::connect(host, *port).await?;
            stream.set_nodelay(true)?;
            (Box::new(stream), login.tls.as_ref().map(|tls| (tls, host)))
        }
        Address::Unix(path) => (Box::new(UnixStream::connect(path).await?), None),
    };
    let is_local = matches!(login.address, Address::Unix(_));
    let mut packets = Packets::new(stream, MAX_PACKET);

    let packet = packets.read().await?;
    if packet.first() == Some(&ERR) {
        return Err(server_error(packet, CapabilityFlags::empty()));
    }
    let greeting: HandshakePacket<'_> = ParseBuf(packet).parse(()).map_err(|_| WireError::Protocol("no greeting"))?;
    if greeting.protocol_version() != 10 {
        return Err(WireError::Protocol("the greeting of an unknown protocol"));
    }
    let nonce = greeting.nonce();
    let version = greeting.maria_db_server_version_parsed().or_else(|| greeting.server_version_parsed());
    let version = version.unwrap_or_default();
    let capabilities = greeting.capabilities() & CAPABILITIES;
    let has_tls = greeting.capabilities().contains(CapabilityFlags::CLIENT_SSL);
    // Other methods begin with a switch.
    let plugin = match greeting.auth_plugin() {
        Some(AuthPlugin::CachingSha2Password) => AuthPlugin::CachingSha2Password,
        _ => AuthPlugin::MysqlNativePassword,
    };

    let tls = match tls {
        Some((tls, _)) if !has_tls && tls.optional => None,
        Some(_) if !has_tls => return Err(WireError::NoTls),
        tls => tls,
    };
    let mut requested = capabilities;
    if let Some((tls, host)) = tls {
        requested |= CapabilityFlags::CLIENT_SSL;
        let connector = tls.connector().await?;
        let collation = mysql_common::collations::CollationId::UTF8MB4_GENERAL_CI as u8;
        packets.send_struct(&SslRequest::new(requested, MAX_PACKET as u32, collation)).await?;
        packets = packets.wrap(|stream| connector.connect(host, stream)).await?;
    }
    let is_private = is_local || tls.is_some();

    let data = plugin.gen_data(Some(&login.password), &nonce);
    let response = HandshakeResponse::new(
        data.as_deref(),
        version,
        Some(login.user.as_bytes()),
        None::<Cow<'_, [u8]>>,
        Some(plugin.borrow()),
        requested,
        None,
        MAX_PACKET as u32,
    );
    packets.send_struct(&response).await?;
    Authentication { login, packets: &mut packets, plugin, nonce, is_private, capabilities }.complete().await?;
    Ok((packets, capabilities))
}

/// What follows our response, until the server accepts or rejects it.
struct Authentication<'a> {
    login: &'a Login,
    packets: &'a mut Packets,
    plugin: AuthPlugin<'static>,
    nonce: Vec<u8>,
    /// Nobody between us and the server can read a password.
    is_private: bool,
    capabilities: CapabilityFlags,
}

impl Authentication<'_> {
    async fn complete(mut self) -> Result<(), WireError> {
        let mut switched = false;
        for _ in 0..MAX_ROUNDS {
            let packet = self.packets.read().await?;
            match packet {
                [0, ..] => return Ok(()),
                [ERR, ..] => return Err(server_error(packet, self.capabilities)),
                // Without a name it requests the method of MySQL 4.0.
                [EOF] => return Err(WireError::Plugin("mysql_old_password".to_owned())),
                [EOF, ..] if !switched => {
                    switched = true;
                    let request: AuthSwitchRequest<'_> = ParseBuf(packet).parse(()).map_err(|_| MALFORMED)?;
                    self.nonce = request.plugin_data().to_vec();
                    if self.nonce.len() > MAX_NONCE {
                        return Err(WireError::TooExpensive("a response to a long challenge"));
                    }
                    self.plugin = request.auth_plugin().into_owned();
                    self.switch().await?;
                }
                packet => {
                    // Early servers with parsec sent no leading byte.
                    let packet = packet.strip_prefix(&[1]).unwrap_or(packet).to_vec();
                    self.respond(&packet).await?;
                }
            }
        }
        Err(WireError::Protocol("a login without end"))
    }

    async fn switch(&mut self) -> Result<(), WireError> {
        match &self.plugin {
            AuthPlugin::MysqlNativePassword | AuthPlugin::CachingSha2Password => {}
            // It needs data that the server sends after an empty packet.
            AuthPlugin::MariadbParsec { .. } => return self.packets.send(&[]).await,
            AuthPlugin::Ed25519 => {}
            AuthPlugin::MysqlClearPassword if self.login.cleartext => {}
            plugin => return Err(WireError::Plugin(self.name(plugin))),
        }
        match self.response().await? {
            Some(data) => self.packets.send(&data).await,
            None => self.packets.send(&[]).await,
        }
    }

    /// A method's own data after its first response.
    async fn respond(&mut self, packet: &[u8]) -> Result<(), WireError> {
        match (&mut self.plugin, packet) {
            // The server accepts the password that it remembers; its OK follows.
            (AuthPlugin::CachingSha2Password, [3]) => Ok(()),
            (AuthPlugin::CachingSha2Password, [4]) => self.send_password().await,
            (AuthPlugin::MariadbParsec { .. }, [_, factor, ..]) if *factor > MAX_PARSEC_FACTOR => {
                Err(WireError::TooExpensive("too many rounds of key derivation"))
            }
            (plugin @ AuthPlugin::MariadbParsec { .. }, salt) => {
                plugin.read_add_data(salt).ok_or(MALFORMED)?;
                let data = self.response().await?.ok_or(WireError::Protocol("a malformed challenge"))?;
                self.packets.send(&data).await
            }
            _ => Err(WireError::Protocol("an unknown step of the login")),
        }
    }

    /// `caching_sha2_password` for a password that the server doesn't remember: in a private connection as it is, else
    /// encrypted with the server's RSA key.
    async fn send_password(&mut self) -> Result<(), WireError> {
        let mut password = self.login.password.clone().into_bytes();
        password.push(0);
        if self.is_private {
            return self.packets.send(&password).await;
        }
        self.packets.send(&[2]).await?;
        let packet = self.packets.read().await?;
        let key = match packet {
            [ERR, ..] => return Err(server_error(packet, self.capabilities)),
            [1, key @ ..] => key.to_vec(),
            _ => return Err(WireError::Protocol("no RSA key")),
        };
        if key.len() > MAX_RSA_KEY {
            return Err(WireError::TooExpensive("encryption with a large RSA key"));
        }
        for (byte, nonce) in password.iter_mut().zip(self.nonce.iter().cycle()) {
            *byte ^= nonce;
        }
        // It panics if the key is malformed.
        let encrypted = off_thread(move || crypto::encrypt(&password, &key)).await;
        self.packets.send(&encrypted.map_err(|_| WireError::Protocol("a malformed RSA key"))?).await
    }

    async fn response(&self) -> Result<Option<Vec<u8>>, WireError> {
        let (plugin, password, nonce) = (self.plugin.clone(), self.login.password.clone(), self.nonce.clone());
        let data = off_thread(move || {
            let data = plugin.gen_data(Some(&password), &nonce)?;
            let mut bytes = Vec::new();
            mysql_common::proto::MySerialize::serialize(&data, &mut bytes);
            Some(bytes)
        });
        data.await.map_err(|_| WireError::Protocol("a malformed challenge"))
    }

    fn name(&self, plugin: &AuthPlugin<'_>) -> String {
        String::from_utf8_lossy(plugin.as_bytes()).chars().take(64).collect()
    }
}

/// Where it can't delay other scrapes.
async fn off_thread<T: Send + 'static>(
    compute: impl FnOnce() -> T + Send + 'static,
) -> Result<T, tokio::task::JoinError> {
    tokio::task::spawn_blocking(compute).await
}
