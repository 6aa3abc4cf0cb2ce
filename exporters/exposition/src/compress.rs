//! The page as the scraper accepts it: plain, gzip or zstd.
//!
//! The levels are the fastest ones. On a page of metrics level 1 is within a fifth of the best ratio in a third of the
//! time.

use std::io::Write as _;

use flate2::{Compress, Crc, FlushCompress, Status};

use crate::encode::{Format, encode, encode_in_chunks};
use crate::negotiate::{Compression, Form};
use crate::snapshot::Snapshot;

/// How much of a page is encoded before it is compressed: it is still in the processor's cache then.
const CHUNK_BYTES: usize = 16 * 1024;

/// RFC 1952: deflate, no name, no time, made on Unix.
const GZIP_HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 4, 3];

/// What one page can reuse of the page before: the tables of deflate (380 kB) and the chunk's buffer. Without it, new
/// memory from the kernel is a sixth of the processor time of a scrape of 1,100 series.
pub struct Compressor {
    deflate: Compress,
    chunk: Vec<u8>,
}

impl Default for Compressor {
    fn default() -> Self {
        Self { deflate: Compress::new(flate2::Compression::fast(), false), chunk: Vec::new() }
    }
}

impl Compressor {
    /// The encoded and compressed page.
    pub fn body(&mut self, snapshot: &Snapshot, form: Form) -> Vec<u8> {
        self.chunk.clear();
        match form.compression {
            Compression::Identity => encode(snapshot, form.format),
            Compression::Gzip => self.gzip(snapshot, form.format),
            // It fails only if memory is exhausted, which ends the process earlier.
            Compression::Zstd => self.zstd(snapshot, form.format).unwrap_or_default(),
        }
    }

    fn gzip(&mut self, snapshot: &Snapshot, format: Format) -> Vec<u8> {
        let Self { deflate, chunk } = self;
        let mut gzip = Gzip::new(deflate, snapshot.encoded_size());
        encode_in_chunks(snapshot, format, chunk, CHUNK_BYTES, &mut |chunk| {
            gzip.write(chunk, FlushCompress::None);
            chunk.clear();
        });
        gzip.write(chunk, FlushCompress::Finish);
        gzip.end()
    }

    fn zstd(&mut self, snapshot: &Snapshot, format: Format) -> std::io::Result<Vec<u8>> {
        let mut zstd = zstd::Encoder::new(Vec::new(), 1)?;
        let mut written = Ok(());
        encode_in_chunks(snapshot, format, &mut self.chunk, CHUNK_BYTES, &mut |chunk| {
            if written.is_ok() {
                written = zstd.write_all(chunk);
            }
            chunk.clear();
        });
        written?;
        zstd.write_all(&self.chunk)?;
        zstd.finish()
    }
}

struct Gzip<'a> {
    deflate: &'a mut Compress,
    body: Vec<u8>,
    crc: Crc,
}

impl<'a> Gzip<'a> {
    fn new(deflate: &'a mut Compress, page_bytes: usize) -> Self {
        deflate.reset();
        // A compressed page of metrics has about an eighth of its size.
        let mut body = Vec::with_capacity(page_bytes / 6 + 64);
        body.extend(GZIP_HEADER);
        Self { deflate, body, crc: Crc::new() }
    }

    fn write(&mut self, chunk: &[u8], flush: FlushCompress) {
        self.crc.update(chunk);
        let mut rest = chunk;
        loop {
            let before = self.deflate.total_in();
            let status = self.deflate.compress_vec(rest, &mut self.body, flush);
            let read = usize::try_from(self.deflate.total_in() - before).unwrap_or_default();
            rest = rest.get(read..).unwrap_or_default();
            // With room left in the body, all output so far is there. Without room, a flush may not be complete.
            let has_room = self.body.len() < self.body.capacity();
            match status {
                Ok(Status::Ok | Status::BufError) if !has_room || !rest.is_empty() => {
                    self.body.reserve(self.body.capacity() / 2);
                }
                // An error means a stream in a wrong state, and this one was reset before its first chunk.
                Ok(_) | Err(_) => break,
            }
        }
    }

    fn end(mut self) -> Vec<u8> {
        self.body.extend(self.crc.sum().to_le_bytes());
        self.body.extend(self.crc.amount().to_le_bytes());
        self.body
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;
    use std::sync::Arc;

    use super::*;
    use crate::desc::Desc;
    use crate::writer::FamilyWriter;

    fn gunzipped(body: &[u8]) -> Vec<u8> {
        let mut plain = Vec::new();
        flate2::bufread::GzDecoder::new(body).read_to_end(&mut plain).unwrap();
        plain
    }

    fn snapshot(samples: usize) -> Snapshot {
        const DESC: Desc = Desc::gauge("a", "A.", &["number"]);
        let mut out = FamilyWriter::default();
        (0..samples).for_each(|i| out.push(&DESC, &[&i.to_string()], i as f64));
        Snapshot::assemble([Arc::new(out.finish())]).0
    }

    #[test]
    fn each_body_is_the_page_whatever_the_compressor_did_before() {
        let mut compressor = Compressor::default();
        // Several chunks, one, none. A page of one sample is larger when it is compressed.
        for samples in [1, 1000, 0, 40_000, 10] {
            let snapshot = snapshot(samples);
            for format in [Format::Text, Format::OpenMetrics] {
                let page = encode(&snapshot, format);
                let mut body = |compression| compressor.body(&snapshot, Form { format, compression });
                assert_eq!(body(Compression::Identity), page);
                let (gzip, zstd) = (body(Compression::Gzip), body(Compression::Zstd));
                assert_eq!(gunzipped(&gzip), page);
                assert_eq!(zstd::bulk::decompress(&zstd, page.len() + 1).unwrap(), page);
                if samples >= 1000 {
                    assert!(zstd.len() < page.len() / 2 && gzip.len() < page.len() / 2);
                }
            }
        }
    }

    /// The buffer has room for a page that shrinks to a sixth.
    #[test]
    fn a_page_that_does_not_shrink_is_complete() {
        let mut state = 1_u64;
        let mut out = FamilyWriter::default();
        for _ in 0..3000 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let noise = format!("{:016x}{:016x}", state, state.rotate_left(29).wrapping_mul(0x9e37_79b9_7f4a_7c15));
            out.push(&Desc::gauge("my_b_x", "Noise.", &["noise"]), &[&noise], (state >> 11) as f64);
        }
        let page = Snapshot::assemble([Arc::new(out.finish())]).0;
        let body = Compressor::default().body(&page, Form { format: Format::Text, compression: Compression::Gzip });
        assert_eq!(gunzipped(&body), encode(&page, Format::Text));
    }
}
