//! The headers of the events in a file, to find where whole events end and when the last one was.

use std::{
    fs::File,
    io::{self, BufReader, Read as _},
    path::Path,
};

use jiff::Timestamp;

const MAGIC_LEN: u64 = 4;
const HEADER_LEN: usize = 19;

/// What whole events add up to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Events {
    /// The position after the last one.
    pub(crate) end: u64,
    /// The latest time of an event; statements have the time at which they began.
    pub(crate) last: Option<Timestamp>,
}

impl Events {
    /// Those up to a position. The last event may be incomplete, as it is while it is received. Blocks.
    pub(crate) fn read(path: &Path, until: u64) -> io::Result<Self> {
        let file = File::open(path)?;
        let size = file.metadata()?.len().min(until);
        let mut file = BufReader::with_capacity(1 << 16, file);
        file.seek_relative(MAGIC_LEN.cast_signed())?;
        let (mut end, mut last) = (MAGIC_LEN, 0);
        let mut header = [0; HEADER_LEN];
        while end + HEADER_LEN as u64 <= size {
            file.read_exact(&mut header)?;
            let number = |at: usize| u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
            let len = u64::from(number(9));
            if len < HEADER_LEN as u64 || end + len > size {
                break;
            }
            last = last.max(number(0));
            end += len;
            file.seek_relative((len - HEADER_LEN as u64).cast_signed())?;
        }
        Ok(Self { end, last: Timestamp::from_second(last.into()).ok().filter(|_| last > 0) })
    }
}
