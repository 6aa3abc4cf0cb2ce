//! A snapshot's bytes as the scraper asked for them: encoded, then gzip, zstd or plain, at the levels that cost least: on a page of series level 1 is
//! within a fifth of the best ratio at a third of the time.

use std::cell::RefCell;

use flate2::{Compress, FlushCompress, Status};

use crate::encode::{Format, encode_into};
use crate::negotiate::Compression;
use crate::snapshot::Snapshot;

/// A page larger than this is freed after it was sent; the usual ones have 200 kB.
const KEPT_BYTES: usize = 512 * 1024;

/// What a scrape can take over from the one before: the compressor's tables (300 kB) and the page's buffer. Making both anew, with the kernel's page
/// faults, was a sixth of the processor time of a scrape of 1,100 series.
struct Scratch {
    gzip: Compress,
    page: Vec<u8>,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> =
        RefCell::new(Scratch { gzip: Compress::new_gzip(flate2::Compression::fast(), 15), page: Vec::new() });
}

pub(crate) fn body(snapshot: &Snapshot, format: Format, compression: Compression) -> Vec<u8> {
    SCRATCH.with_borrow_mut(|Scratch { gzip, page }| {
        page.clear();
        encode_into(page, snapshot, format);
        let body = match compression {
            Compression::Identity => return std::mem::take(page),
            Compression::Gzip => gzipped(gzip, page),
            // It fails only where memory is out, which ends the process before it comes here.
            Compression::Zstd => zstd::bulk::compress(page, 1).unwrap_or_default(),
        };
        if page.capacity() > KEPT_BYTES {
            *page = Vec::new();
        }
        body
    })
}

fn gzipped(gzip: &mut Compress, page: &[u8]) -> Vec<u8> {
    gzip.reset();
    let mut body = Vec::with_capacity(page.len() / 6 + 64);
    loop {
        let rest = usize::try_from(gzip.total_in()).ok().and_then(|read| page.get(read..)).unwrap_or_default();
        match gzip.compress_vec(rest, &mut body, FlushCompress::Finish) {
            Ok(Status::Ok | Status::BufError) => body.reserve(body.capacity() / 2),
            // An error would be a stream in a wrong state, and this one has just been reset.
            Ok(Status::StreamEnd) | Err(_) => return body,
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
        // The last but one is too large to be kept, and a single sample's page is larger when it is compressed.
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
