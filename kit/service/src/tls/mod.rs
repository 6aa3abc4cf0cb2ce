//! TLS of our clients and servers: which certificates they accept, and the flags that say so.
//!
//! One rule holds for all of them. A certificate is accepted if a trusted authority issued it, or if it is itself in
//! the file of trusted certificates. The second half is for certificates made by `openssl req -x509`: they call
//! themselves authorities, which rustls alone refuses for a server or a client (`CaUsedAsEndEntity`). Go's programs
//! accept them.

mod client;
mod flags;
mod names;
mod verify;

pub use client::{ClientTls, TlsError};
pub use flags::TlsArgs;
pub use names::{FlagNames, TlsFlags};
pub use verify::{AnyCertificate, TrustedCertificates};

#[cfg(test)]
mod tests;
