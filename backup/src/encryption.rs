//! Encryption of the stored file with age, so that who reads the storage reads no data.
//!
//! The job has public keys (recipients) only: it cannot decrypt what it wrote. Each recipient's secret key (identity)
//! decrypts by itself, with this program or with the program `age`.

use std::{
    fmt,
    io::{self, BufRead, Read, Write},
    path::Path,
    sync::Arc,
};

use age::{DecryptError, Decryptor, Encryptor, IdentityFile, stream::StreamWriter};
use service_kit::secret::{Secret, SecretError};

pub(crate) const IDENTITY_FLAG: &str = "--decrypt.identity-file";

/// A public key that begins with `age1`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recipient(String);

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not an age recipient: expected a public key such as `age-keygen` prints, which begins with age1")]
pub struct InvalidRecipient(String);

impl std::str::FromStr for Recipient {
    type Err = InvalidRecipient;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.parse::<age::x25519::Recipient>() {
            Ok(_) => Ok(Self(text.to_owned())),
            Err(_) => Err(InvalidRecipient(text.chars().take(80).collect())),
        }
    }
}

impl fmt::Display for Recipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Where the compressed dump goes: into `writer` as it is, or encrypted to every recipient.
pub(crate) enum Sealed<W: Write> {
    Plain(W),
    Encrypted(StreamWriter<W>),
}

impl<W: Write> Sealed<W> {
    /// Without recipients, nothing is encrypted.
    pub(crate) fn new(writer: W, recipients: &[Recipient]) -> io::Result<Self> {
        if recipients.is_empty() {
            return Ok(Self::Plain(writer));
        }
        let parsed: Result<Vec<age::x25519::Recipient>, _> = recipients.iter().map(|key| key.0.parse()).collect();
        let parsed = parsed.map_err(io::Error::other)?;
        let encryptor = Encryptor::with_recipients(parsed.iter().map(|key| key as &dyn age::Recipient));
        Ok(Self::Encrypted(encryptor.map_err(io::Error::other)?.wrap_output(writer)?))
    }

    pub(crate) fn finish(self) -> io::Result<W> {
        match self {
            Self::Plain(writer) => Ok(writer),
            Self::Encrypted(writer) => writer.finish(),
        }
    }
}

impl<W: Write> Write for Sealed<W> {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(writer) => writer.write(data),
            Self::Encrypted(writer) => writer.write(data),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(writer) => writer.flush(),
            Self::Encrypted(writer) => writer.flush(),
        }
    }
}

/// Secret keys, each of which is tried.
#[derive(Clone)]
pub(crate) struct Identities(Arc<Vec<Box<dyn age::Identity + Send + Sync>>>);

#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    #[error(transparent)]
    Read(#[from] SecretError),
    #[error("{IDENTITY_FLAG}={path} is not a file of age identities, such as `age-keygen` writes: {message}")]
    Parse { path: String, message: String },
}

impl Identities {
    /// A file as `age-keygen` writes it.
    pub(crate) fn read(path: &Path) -> Result<Self, IdentityError> {
        let secret = Secret::read(IDENTITY_FLAG, path)?;
        let parse = |message: String| IdentityError::Parse { path: path.display().to_string(), message };
        let file = IdentityFile::from_buffer(secret.expose().as_bytes()).map_err(|error| parse(error.to_string()))?;
        let identities = file.into_identities().map_err(|error| parse(error.to_string()))?;
        if identities.is_empty() {
            return Err(parse("it has no line that begins with AGE-SECRET-KEY-1".to_owned()));
        }
        Ok(Self(Arc::new(identities)))
    }

    pub(crate) fn decrypt<R: BufRead>(&self, source: R) -> io::Result<impl Read + use<R>> {
        let wrong = |error| match error {
            DecryptError::NoMatchingKeys => {
                io::Error::other(format!("none of the keys of {IDENTITY_FLAG} is one of the backup's recipients"))
            }
            DecryptError::Io(error) => error,
            error => io::Error::other(format!("it cannot be decrypted: {error}")),
        };
        let decryptor = Decryptor::new_buffered(source).map_err(wrong)?;
        decryptor.decrypt(self.0.iter().map(|key| &**key as &dyn age::Identity)).map_err(wrong)
    }
}
