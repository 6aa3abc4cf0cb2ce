//! Free loopback ports that no other test process takes meanwhile.

use std::fs::File;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};

use medassist_stack::Error;
use medassist_stack::launch::target_directory;

/// Below Linux's ephemeral range (32768…): no outgoing connection can sit on such a port between our look and the
/// server's bind.
const FIRST: u16 = 20_500;
const LAST: u16 = 32_500;

/// A port that is ours until this is dropped: other test processes see the lock, even while our server is stopped.
#[derive(Debug)]
pub struct Port {
    number: u16,
    _lock: File,
}

impl Port {
    pub fn lease() -> Result<Self, Error> {
        let range = LAST - FIRST;
        // A random start keeps parallel processes from trying the same ports in the same order.
        let start = RandomState::new().build_hasher().finish() % u64::from(range);
        for step in 0..u64::from(range) {
            let offset = u16::try_from((start + step) % u64::from(range)).unwrap_or_default();
            if let Some(port) = Self::try_lease(FIRST + offset)? {
                return Ok(port);
            }
        }
        Err(Error::NoPort(FIRST, LAST))
    }

    /// `None` if another process has it. The lock comes first: HAProxy binds with SO_REUSEPORT, so that a bind that
    /// succeeds proves little.
    pub fn try_lease(number: u16) -> Result<Option<Self>, Error> {
        let directory = target_directory()?.join("testbed/ports");
        std::fs::create_dir_all(&directory).map_err(Error::file("cannot create", &directory))?;
        let path = directory.join(number.to_string());
        let lock = File::create(&path).map_err(Error::file("cannot create", &path))?;
        let free = lock.try_lock().is_ok() && TcpListener::bind((Ipv4Addr::LOCALHOST, number)).is_ok();
        Ok(free.then_some(Self { number, _lock: lock }))
    }

    pub fn number(&self) -> u16 {
        self.number
    }

    pub fn address(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.number))
    }
}
