//! A snapshot's bytes as the scraper asked for them: encoded, then gzip, zstd or plain, at the levels that cost least: on a page of series level 1 is
//! within a fifth of the best ratio at a third of the time.

use std::cell::RefCell;
use std::io::Write as _;
use std::ops::Range;

use flate2::{Compress, Crc, FlushCompress, Status};

use crate::encode::{Format, encode, encode_end, encode_in_chunks, encoded_size, look_the_same};
use crate::family::Part;
use crate::negotiate::{Compression, Form};
use crate::snapshot::Snapshot;

/// So much of a page is encoded before it is compressed: it is still in the processor's cache then.
const CHUNK_BYTES: usize = 16 * 1024;

/// Parts of so many samples are compressed ahead: a smaller one isn't worth the compressor's new start (10 µs, 5 bytes), a larger one would hold up
/// the other collectors for milliseconds.
const AHEAD_SAMPLES: Range<usize> = 200..10_000;

/// RFC 1952: deflate, no name, no time, made on Unix.
const GZIP_HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 4, 3];

/// What a scrape can take over from the one before: the compressor's tables (380 kB) and the chunk's buffer. Making the tables and a buffer of a whole
/// page anew, with the kernel's page faults, was a sixth of the processor time of a scrape of 1,100 series.
struct Scratch {
    deflate: Compress,
    chunk: Vec<u8>,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> =
        RefCell::new(Scratch { deflate: Compress::new(flate2::Compression::fast(), false), chunk: Vec::new() });
}

/// A part's piece of a gzip page. It refers to nothing before it, and nothing behind it refers to it, so it fits wherever the part stands.
#[derive(Debug)]
pub(crate) struct Ahead {
    format: Format,
    deflated: Vec<u8>,
    crc: Crc,
}

/// Compresses a part of a page before the other parts are there. What isn't worth it, or is there already, is left.
pub(crate) fn ahead(part: &Part, form: Form) {
    let Form { format, compression } = form;
    let samples: usize = part.families.iter().map(|family| family.rows.len()).sum();
    if compression != Compression::Gzip || !AHEAD_SAMPLES.contains(&samples) {
        return;
    }
    part.ahead.get_or_init(|| {
        SCRATCH.with_borrow_mut(|Scratch { deflate, chunk }| {
            let mut gzip = Gzip::new(deflate, encoded_size(part.families.iter()));
            chunk.clear();
            encode_in_chunks(chunk, CHUNK_BYTES, part.families.iter(), part, format, &mut |chunk| gzip.write(chunk));
            gzip.flush(chunk, FlushCompress::Full);
            Ahead { format, deflated: gzip.body, crc: gzip.crc }
        })
    });
}

pub(crate) fn body(snapshot: &Snapshot, form: Form) -> Vec<u8> {
    let Form { format, compression } = form;
    SCRATCH.with_borrow_mut(|Scratch { deflate, chunk }| match compression {
        Compression::Identity => encode(snapshot, format),
        Compression::Gzip => {
            let mut gzip = Gzip::new(deflate, encoded_size(snapshot.families()));
            gzip.body.extend(GZIP_HEADER);
            chunk.clear();
            for stretch in snapshot.stretches() {
                match stretch.whole_part().and_then(|part| there_ahead(part, snapshot, format)) {
                    Some(ahead) => {
                        gzip.flush(chunk, FlushCompress::Full);
                        gzip.append(ahead);
                    }
                    None => {
                        let families = stretch.families.iter();
                        encode_in_chunks(chunk, CHUNK_BYTES, families, snapshot, format, &mut |chunk| {
                            gzip.write(chunk)
                        });
                    }
                }
            }
            encode_end(chunk, format);
            gzip.flush(chunk, FlushCompress::Finish);
            gzip.end()
        }
        Compression::Zstd => {
            // It fails only where memory is out, which ends the process before it comes here.
            let Ok(mut zstd) = zstd::Encoder::new(Vec::new(), 1) else { return Vec::new() };
            let mut written = Ok(());
            chunk.clear();
            encode_in_chunks(chunk, CHUNK_BYTES, snapshot.families(), snapshot, format, &mut |chunk| {
                if written.is_ok() {
                    written = zstd.write_all(chunk);
                }
                chunk.clear();
            });
            encode_end(chunk, format);
            written.and_then(|()| zstd.write_all(chunk)).and_then(|()| zstd.finish()).unwrap_or_default()
        }
    })
}

/// The part's piece, if it is what the part is on this page.
fn there_ahead<'a>(part: &'a Part, page: &Snapshot, format: Format) -> Option<&'a Ahead> {
    part.ahead.get().filter(|ahead| ahead.format == format && look_the_same(&part.families, part, page, format))
}

struct Gzip<'a> {
    deflate: &'a mut Compress,
    body: Vec<u8>,
    crc: Crc,
}

impl<'a> Gzip<'a> {
    fn new(deflate: &'a mut Compress, page_bytes: usize) -> Self {
        deflate.reset();
        // A page of series takes an eighth of its size.
        Self { deflate, body: Vec::with_capacity(page_bytes / 6 + 64), crc: Crc::new() }
    }

    /// Takes what is in the chunk.
    fn write(&mut self, chunk: &mut Vec<u8>) {
        self.flush(chunk, FlushCompress::None);
    }

    /// As [`Self::write`], and then the end of the whole, or of what the rest may refer to.
    fn flush(&mut self, chunk: &mut Vec<u8>, flush: FlushCompress) {
        self.crc.update(chunk);
        let mut rest = chunk.as_slice();
        loop {
            let before = self.deflate.total_in();
            let status = self.deflate.compress_vec(rest, &mut self.body, flush);
            let read = usize::try_from(self.deflate.total_in() - before).unwrap_or_default();
            rest = rest.get(read..).unwrap_or_default();
            // Where there is room left, all that is to come now has come.
            let has_room = self.body.len() < self.body.capacity();
            match status {
                Ok(Status::Ok | Status::BufError) if !has_room || !rest.is_empty() => {
                    self.body.reserve(self.body.capacity() / 2);
                }
                // An error would be a stream in a wrong state, and this one was reset before its first chunk.
                Ok(_) | Err(_) => break,
            }
        }
        chunk.clear();
    }

    fn append(&mut self, ahead: &Ahead) {
        self.body.extend_from_slice(&ahead.deflated);
        self.crc.combine(&ahead.crc);
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
    use crate::family::{Desc, Families, Kind};

    fn form(format: Format, compression: Compression) -> Form {
        Form { format, compression }
    }

    fn gunzipped(body: &[u8]) -> Vec<u8> {
        let mut plain = Vec::new();
        flate2::bufread::GzDecoder::new(body).read_to_end(&mut plain).unwrap();
        plain
    }

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
            let body = |compression| body(&snapshot, form(Format::Text, compression));
            assert_eq!(body(Compression::Identity), page);
            assert_eq!(gunzipped(&body(Compression::Gzip)), page);
            let zstd = body(Compression::Zstd);
            assert_eq!(zstd::bulk::decompress(&zstd, page.len() + 1).unwrap(), page);
            if samples >= 1000 {
                assert!(zstd.len() < page.len() / 2 && body(Compression::Gzip).len() < page.len() / 2);
            }
        }
    }

    /// Counters `prefix_0_total`…; ahead for this format, if there is one.
    fn part(prefix: &str, families: usize, ahead_for: Option<Format>) -> Arc<Part> {
        let mut out = Families::default();
        for i in 0..families {
            let desc = Desc::dynamic(Kind::Counter, format!("{prefix}_{i}_total"), "Counts.", &[]);
            out.push(&desc, &[], i as f64);
        }
        let part = out.finish();
        if let Some(format) = ahead_for {
            ahead(&part, form(format, Compression::Gzip));
        }
        Arc::new(part)
    }

    /// The gzip page of these parts is what it should be. Has it a piece that was there ahead?
    fn used_ahead(parts: &[Arc<Part>], format: Format) -> bool {
        let body_of = |parts: &[Arc<Part>]| {
            let snapshot = Snapshot::assemble(parts.iter().cloned()).0;
            let body = body(&snapshot, form(format, Compression::Gzip));
            assert_eq!(gunzipped(&body), encode(&snapshot, format));
            body
        };
        let body = body_of(parts);
        let mut pieces = parts.iter().filter_map(|part| part.ahead.get());
        pieces.any(|ahead| body.windows(ahead.deflated.len()).any(|window| window == ahead.deflated))
    }

    #[test]
    fn a_part_that_stands_together_is_taken_as_it_was_compressed_ahead() {
        for format in [Format::Text, Format::OpenMetrics] {
            let ahead = |prefix: &str| part(prefix, 1000, Some(format));
            let plain = |prefix: &str| part(prefix, 3, None);
            // First, last, in the middle, alone, side by side.
            for parts in [
                vec![ahead("b"), plain("c")],
                vec![plain("a"), ahead("b")],
                vec![plain("a"), ahead("b"), plain("c")],
                vec![ahead("b")],
                vec![ahead("c"), plain("a"), ahead("b")],
            ] {
                assert!(used_ahead(&parts, format));
            }
        }
    }

    #[test]
    fn a_part_that_looks_otherwise_on_the_page_is_compressed_anew() {
        const OPENMETRICS: Format = Format::OpenMetrics;
        let ahead = || part("b", 1000, Some(OPENMETRICS));
        // Another scraper's format.
        assert!(!used_ahead(&[ahead()], Format::Text));
        // Another part's family is among its own, or has samples of one of them.
        assert!(!used_ahead(&[ahead(), part("b_5", 1, None)], OPENMETRICS));
        let mut other = Families::default();
        other.push(&Desc::counter("b_7_total", "Counts.", &[]), &[], 1.0);
        assert!(!used_ahead(&[ahead(), Arc::new(other.finish())], OPENMETRICS));
        // The name that its first family would have is taken: by a family before it, so all of it still stands together.
        let mut first = Families::default();
        first.push(&Desc::gauge("b_0", "Taken.", &[]), &[], 1.0);
        let first = Arc::new(first.finish());
        assert!(!used_ahead(&[ahead(), Arc::clone(&first)], OPENMETRICS));
        let text = part("b", 1000, Some(Format::Text));
        assert!(used_ahead(&[text, first], Format::Text));
    }

    #[test]
    fn only_what_is_worth_it_is_compressed_ahead() {
        for (families, compression, is_worth_it) in [
            (10, Compression::Gzip, false),
            (1000, Compression::Gzip, true),
            (10_000, Compression::Gzip, false),
            (1000, Compression::Zstd, false),
            (1000, Compression::Identity, false),
        ] {
            let part = part("a", families, None);
            ahead(&part, form(Format::Text, compression));
            assert_eq!(part.ahead.get().is_some(), is_worth_it, "{families} families, {compression:?}");
        }
    }
}
