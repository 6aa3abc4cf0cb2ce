//! Errors of a session.

use mysql_common::constants::CapabilityFlags;
use mysql_common::io::ParseBuf;
use mysql_common::packets::ErrPacket;
use mysql_kit::error_code::{self, Code};

/// Characters of a server's message that are kept.
const MAX_MESSAGE: usize = 400;

#[derive(Debug, thiserror::Error)]
pub(crate) enum WireError {
    /// The message can quote a row; see [`WireError::describe_login`].
    #[error("{}", Code(*code))]
    Server { code: u16, message: String },
    #[error("{0}")]
    Io(std::io::Error),
    #[error("the server closed the connection")]
    Closed,
    #[error("the server sent {0}")]
    Protocol(&'static str),
    /// The server requests a computation beyond the limits.
    #[error("the server requests {0}")]
    TooExpensive(&'static str),
    #[error("authentication method {0:?}")]
    Plugin(String),
    #[error("the server has no TLS")]
    NoTls,
    /// TLS failed between the two.
    #[error("{0}")]
    Tls(std::io::Error),
    /// TLS can't begin with our own files and names.
    #[error("{0}")]
    Certificates(String),
}

pub(super) const MALFORMED: WireError = WireError::Protocol("a malformed packet");

impl From<std::io::Error> for WireError {
    /// With TLS 1.3, a server rejects a client's certificate when the handshake is over.
    fn from(error: std::io::Error) -> Self {
        if error.get_ref().is_some_and(|cause| cause.is::<rustls::Error>()) {
            Self::Tls(error)
        } else {
            Self::Io(error)
        }
    }
}

impl WireError {
    pub(crate) fn code(&self) -> Option<u16> {
        match self {
            Self::Server { code, .. } => Some(*code),
            _ => None,
        }
    }

    /// The session can't be used after it. A rejected statement is a complete answer.
    pub(crate) fn is_fatal(&self) -> bool {
        self.code().is_none_or(error_code::ends_session)
    }

    /// The error of a login.
    pub(crate) fn describe_login(&self) -> String {
        match self {
            Self::Server { code, message } if error_code::names_only_the_account(*code) => format!("{self}: {message}"),
            error => error.to_string(),
        }
    }
}

/// The error in a packet. Before the login the server doesn't know our capabilities, and behaves as if there were none.
pub(super) fn server_error(packet: &[u8], capabilities: CapabilityFlags) -> WireError {
    match ParseBuf(packet).parse::<ErrPacket<'_>>(capabilities) {
        Ok(error) if error.is_error() => {
            let error = error.server_error();
            let message = error.message_str().chars().take(MAX_MESSAGE).collect();
            WireError::Server { code: error.error_code(), message }
        }
        _ => WireError::Protocol("a malformed error"),
    }
}
