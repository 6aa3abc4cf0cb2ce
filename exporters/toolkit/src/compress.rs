//! A snapshot's bytes as the scraper asked for them: encoded, then gzip, zstd or plain, at the levels that cost least: on a page of series level 1 is
//! within a fifth of the best ratio at a third of the time.

use std::cell::RefCell;
use std::io::Write as _;
use std::ops::Range;

use flate2::{Compress, Crc, FlushCompress, Status};

use crate::encode::{Format, encode, encode_end, encode_in_chunks, encoded_size, look_the_same};
use crate::family::Part;
use crate::negotiate::{Compression, Form};
use crate::snapshot::{Snapshot, Stretch};

/// So much of a page is encoded before it is compressed: it is still in the processor's cache then.
const CHUNK_BYTES: usize = 16 * 1024;

/// A piece that is smaller isn't worth the compressor's new start (10 µs, 5 bytes).
const MIN_AHEAD_BYTES: usize = 16 * 1024;

/// A larger part would hold up the other collectors: this one takes some 3 ms.
const MAX_AHEAD_BYTES: usize = 1024 * 1024;

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

/// A piece of a gzip page: some of a part's families. It refers to nothing before it, and nothing behind it refers to it, so it fits wherever these
/// families stand side by side.
#[derive(Debug)]
pub(crate) struct Piece {
    families: Range<usize>,
    format: Format,
    deflated: Vec<u8>,
    crc: Crc,
}

/// Compresses a part's large pieces before the other parts are there, and says whether there was something to do. Families of one subsystem make a
/// piece, `mysql_global_variables_…`: between others there are most likely another part's, as before `mysql_version_info`.
pub(crate) fn ahead(part: &Part, format: Format) -> bool {
    let families = &part.families;
    if !(MIN_AHEAD_BYTES..=MAX_AHEAD_BYTES).contains(&encoded_size(families.iter())) {
        return false;
    }
    let mut pieces = Vec::new();
    let mut end = 0;
    for run in families.chunk_by(|a, b| subsystem(&a.name) == subsystem(&b.name)) {
        let start = end;
        end += run.len();
        let bytes = encoded_size(run.iter());
        if bytes >= MIN_AHEAD_BYTES {
            let (deflated, crc) = SCRATCH.with_borrow_mut(|Scratch { deflate, chunk }| {
                let mut gzip = Gzip::new(deflate, bytes);
                chunk.clear();
                encode_in_chunks(chunk, CHUNK_BYTES, run.iter(), part, format, &mut |chunk| gzip.write(chunk));
                gzip.flush(chunk, FlushCompress::Full);
                (gzip.body, gzip.crc)
            });
            pieces.push(Piece { families: start..end, format, deflated, crc });
        }
    }
    !pieces.is_empty() && part.ahead.set(pieces).is_ok()
}

/// The first three words of a name.
fn subsystem(name: &str) -> &str {
    name.match_indices('_').nth(2).and_then(|(end, _)| name.get(..end)).unwrap_or(name)
}

pub(crate) fn body(snapshot: &Snapshot, form: Form) -> Vec<u8> {
    let Form { format, compression } = form;
    SCRATCH.with_borrow_mut(|Scratch { deflate, chunk }| match compression {
        Compression::Identity => encode(snapshot, format),
        Compression::Gzip => {
            let mut gzip = Gzip::new(deflate, encoded_size(snapshot.families()));
            gzip.body.extend(GZIP_HEADER);
            chunk.clear();
            for Stretch { part, mut families } in snapshot.stretches() {
                for piece in part.ahead.get().into_iter().flatten() {
                    if piece.is_what_stands_in(part, &families, snapshot, format) {
                        let before = part.families.get(families.start..piece.families.start).unwrap_or_default();
                        encode_in_chunks(chunk, CHUNK_BYTES, before.iter(), snapshot, format, &mut |chunk| {
                            gzip.write(chunk)
                        });
                        gzip.flush(chunk, FlushCompress::Full);
                        gzip.append(piece);
                        families.start = piece.families.end;
                    }
                }
                let rest = part.families.get(families).unwrap_or_default();
                encode_in_chunks(chunk, CHUNK_BYTES, rest.iter(), snapshot, format, &mut |chunk| gzip.write(chunk));
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

impl Piece {
    /// Whether it can be taken for its families, which look the same on this page.
    fn is_what_stands_in(&self, part: &Part, stretch: &Range<usize>, page: &Snapshot, format: Format) -> bool {
        let families = part.families.get(self.families.clone()).unwrap_or_default();
        self.format == format
            && stretch.start <= self.families.start
            && self.families.end <= stretch.end
            && look_the_same(families, part, page, format)
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
            // Where there is room left, all that is to come now has come; where there is none, a flush may not be done.
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

    fn append(&mut self, piece: &Piece) {
        self.body.extend_from_slice(&piece.deflated);
        self.crc.combine(&piece.crc);
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
            assert!(ahead(&part, format));
        }
        Arc::new(part)
    }

    /// The gzip page of these parts is what it should be. How many of the pieces that were there ahead does it have?
    fn used(parts: &[Arc<Part>], format: Format) -> usize {
        let snapshot = Snapshot::assemble(parts.iter().cloned()).0;
        let body = body(&snapshot, form(format, Compression::Gzip));
        assert_eq!(gunzipped(&body), encode(&snapshot, format));
        let pieces = parts.iter().filter_map(|part| part.ahead.get()).flatten();
        pieces.filter(|piece| body.windows(piece.deflated.len()).any(|window| window == piece.deflated)).count()
    }

    #[test]
    fn families_that_stand_together_are_taken_as_they_were_compressed_ahead() {
        for format in [Format::Text, Format::OpenMetrics] {
            let ahead = |prefix: &str| part(prefix, 1000, Some(format));
            let plain = |prefix: &str| part(prefix, 3, None);
            // First, last, in the middle, alone, side by side.
            for parts in [
                vec![ahead("my_b_x"), plain("my_c")],
                vec![plain("my_a"), ahead("my_b_x")],
                vec![plain("my_a"), ahead("my_b_x"), plain("my_c")],
                vec![ahead("my_b_x")],
                vec![ahead("my_c_x"), plain("my_a"), ahead("my_b_y")],
            ] {
                let pieces = parts.iter().filter(|part| part.ahead.get().is_some()).count();
                assert_eq!(used(&parts, format), pieces);
            }
        }
    }

    #[test]
    fn a_part_of_several_subsystems_has_several_pieces() {
        let mut out = Families::default();
        for (name, families) in [("my_b_x", 1000), ("my_b_y", 2), ("my_d_x", 1000), ("my_f", 2)] {
            for i in 0..families {
                out.push(&Desc::dynamic(Kind::Gauge, format!("{name}_{i}"), "Gauge.", &[]), &[], 1.0);
            }
        }
        let large = out.finish();
        assert!(ahead(&large, Format::Text));
        let large = Arc::new(large);
        assert_eq!(used(&[part("my_a", 2, None), Arc::clone(&large), part("my_c", 2, None)], Format::Text), 2);
        // Among the families of one piece.
        assert_eq!(used(&[part("my_d_x_5", 1, None), large], Format::Text), 1);
    }

    #[test]
    fn a_piece_that_looks_otherwise_on_the_page_is_compressed_anew() {
        const OPENMETRICS: Format = Format::OpenMetrics;
        let ahead = || part("my_b_x", 1000, Some(OPENMETRICS));
        // Another scraper's format.
        assert_eq!(used(&[ahead()], Format::Text), 0);
        // Another part's family is among its own, or has samples of one of them.
        assert_eq!(used(&[ahead(), part("my_b_x_5", 1, None)], OPENMETRICS), 0);
        let mut other = Families::default();
        other.push(&Desc::counter("my_b_x_7_total", "Counts.", &[]), &[], 1.0);
        assert_eq!(used(&[ahead(), Arc::new(other.finish())], OPENMETRICS), 0);
        // The name that its first family would have is taken: by a family before it, so all of it still stands together.
        let mut first = Families::default();
        first.push(&Desc::gauge("my_b_x_0", "Taken.", &[]), &[], 1.0);
        let first = Arc::new(first.finish());
        assert_eq!(used(&[ahead(), Arc::clone(&first)], OPENMETRICS), 0);
        assert_eq!(used(&[part("my_b_x", 1000, Some(Format::Text)), first], Format::Text), 1);
    }

    #[test]
    fn only_what_is_worth_it_is_compressed_ahead() {
        for (families, is_worth_it) in [(10, false), (1000, true), (20_000, false)] {
            assert_eq!(ahead(&part("my_b_x", families, None), Format::Text), is_worth_it, "{families} families");
        }
    }

    /// A buffer is made for pages that shrink to an eighth.
    #[test]
    fn what_does_not_shrink_is_whole_all_the_same() {
        let mut state = 1_u64;
        let mut out = Families::default();
        for _ in 0..3000 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let noise = format!("{:016x}{:016x}", state, state.rotate_left(29).wrapping_mul(0x9e37_79b9_7f4a_7c15));
            out.push(&Desc::gauge("my_b_x", "Noise.", &["noise"]), &[&noise], (state >> 11) as f64);
        }
        let part = Arc::new(out.finish());
        let page = Snapshot::assemble([Arc::clone(&part)]).0;
        assert_eq!(gunzipped(&body(&page, form(Format::Text, Compression::Gzip))), encode(&page, Format::Text));
        assert!(ahead(&part, Format::Text));
        assert_eq!(used(&[part], Format::Text), 1);
    }
}
