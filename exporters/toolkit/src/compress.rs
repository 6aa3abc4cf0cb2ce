//! A snapshot's bytes as the scraper asked for them: encoded, then gzip, zstd or plain, at the levels that cost least: on a page of series level 1 is
//! within a fifth of the best ratio at a third of the time.

use std::cell::RefCell;
use std::io::Write as _;

use flate2::{Compress, FlushCompress, Status};

use crate::encode::{Format, encode, encode_in_chunks, encoded_size};
use crate::negotiate::Compression;
use crate::snapshot::Snapshot;

/// So much of a page is encoded before it is compressed: it is still in the processor's cache then.
const CHUNK_BYTES: usize = 16 * 1024;

/// What a scrape can take over from the one before: the compressor's tables (380 kB) and the chunk's buffer. Making the tables and a buffer of a whole
/// page anew, with the kernel's page faults, was a sixth of the processor time of a scrape of 1,100 series.
struct Scratch {
    gzip: Compress,
    chunk: Vec<u8>,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> =
        RefCell::new(Scratch { gzip: Compress::new_gzip(flate2::Compression::fast(), 15), chunk: Vec::new() });
}

pub(crate) fn body(snapshot: &Snapshot, format: Format, compression: Compression) -> Vec<u8> {
    let chunked = |chunk: &mut Vec<u8>, take: &mut dyn FnMut(&[u8])| {
        chunk.clear();
        encode_in_chunks(chunk, CHUNK_BYTES, snapshot, format, &mut |chunk| {
            take(chunk);
            chunk.clear();
        });
    };
    SCRATCH.with_borrow_mut(|Scratch { gzip, chunk }| match compression {
        Compression::Identity => encode(snapshot, format),
        Compression::Gzip => {
            // A page of series takes an eighth of its size.
            let mut body = Vec::with_capacity(encoded_size(snapshot) / 6 + 64);
            gzip.reset();
            chunked(chunk, &mut |chunk| deflate(gzip, chunk, &mut body, FlushCompress::None));
            deflate(gzip, chunk, &mut body, FlushCompress::Finish);
            body
        }
        Compression::Zstd => {
            // It fails only where memory is out, which ends the process before it comes here.
            let Ok(mut zstd) = zstd::Encoder::new(Vec::new(), 1) else { return Vec::new() };
            let mut written = Ok(());
            chunked(chunk, &mut |chunk| {
                if written.is_ok() {
                    written = zstd.write_all(chunk);
                }
            });
            written.and_then(|()| zstd.write_all(chunk)).and_then(|()| zstd.finish()).unwrap_or_default()
        }
    })
}

/// Appends a chunk, and with [`FlushCompress::Finish`] the end.
fn deflate(gzip: &mut Compress, mut chunk: &[u8], body: &mut Vec<u8>, flush: FlushCompress) {
    loop {
        let before = gzip.total_in();
        let status = gzip.compress_vec(chunk, body, flush);
        let read = usize::try_from(gzip.total_in() - before).unwrap_or_default();
        chunk = chunk.get(read..).unwrap_or_default();
        match status {
            Ok(Status::Ok | Status::BufError) if !chunk.is_empty() || flush == FlushCompress::Finish => {
                body.reserve(body.capacity() / 2);
            }
            // An error would be a stream in a wrong state, and this one was reset before its first chunk.
            Ok(_) | Err(_) => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;
    use std::sync::Arc;

    use super::*;
    use crate::encode::encode;
    use crate::family::{Desc, Families};

    fn snapshot(samples: usize) -> Snapshot {
        const DESC: Desc = Desc::gauge("a", "A.", &["number"]);
        let mut out = Families::default();
        (0..samples).for_each(|i| out.push(&DESC, &[&i.to_string()], i as f64));
        Snapshot::assemble([Arc::new(out.finish())]).0
    }

    #[test]
    fn each_body_is_the_page_whatever_came_before() {
        // Several chunks, one, none; and a single sample's page is larger when it is compressed.
        for samples in [1, 1000, 0, 40_000, 10] {
            let snapshot = snapshot(samples);
            let page = encode(&snapshot, Format::Text);
            let body = |compression| body(&snapshot, Format::Text, compression);
            assert_eq!(body(Compression::Identity), page);
            let mut plain = Vec::new();
            flate2::read::GzDecoder::new(body(Compression::Gzip).as_slice()).read_to_end(&mut plain).unwrap();
            assert_eq!(plain, page);
            let zstd = body(Compression::Zstd);
            assert_eq!(zstd::bulk::decompress(&zstd, page.len() + 1).unwrap(), page);
            if samples >= 1000 {
                assert!(zstd.len() < page.len() / 2 && body(Compression::Gzip).len() < page.len() / 2);
            }
        }
    }
}
