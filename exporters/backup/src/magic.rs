//! What a file's first and last bytes say about its content: not of its extension's kind, an archive of nothing, or cut
//! short. It costs two small reads, whatever the file's size.

/// A verdict on a file with a known extension.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Content {
    /// As far as its ends can tell.
    Genuine,
    /// Not of the kind that the extension says.
    Foreign,
    /// An archive that holds nothing, such as a compressor leaves when the dump before it failed.
    Empty,
    /// Of the right kind, without its end.
    Truncated,
}

/// How much of a file is read.
#[derive(Debug)]
pub(crate) struct Ends<'a> {
    /// The first [`HEAD`] bytes, or all of them.
    pub head: &'a [u8],
    /// The last [`TAIL`] bytes, or all of them.
    pub tail: &'a [u8],
    /// Of the file.
    pub bytes: u64,
}

/// More than the longest beginning below, and than the headers that are parsed.
pub(crate) const HEAD: usize = 40;
pub(crate) const TAIL: usize = 32;

struct Kind {
    /// In lower case.
    extension: &'static str,
    /// Any of these begins a file.
    beginnings: &'static [&'static [u8]],
    /// Called for a file that begins right.
    ends: fn(&Ends<'_>) -> Content,
}

const fn kind(extension: &'static str, beginnings: &'static [&'static [u8]], ends: fn(&Ends<'_>) -> Content) -> Kind {
    Kind { extension, beginnings, ends }
}

const KINDS: &[Kind] = &[
    kind("7z", &[b"7z\xbc\xaf\x27\x1c"], |ends| empty_if(ends.bytes <= 32)),
    kind("age", &[b"age-encryption.org/v1", b"-----BEGIN AGE ENCRYPTED FILE-----"], |_| Content::Genuine),
    kind("bz2", &[b"BZh"], |ends| empty_if(ends.head.get(4..10) == Some(b"\x17\x72\x45\x38\x50\x90"))),
    kind("enc", &[b"Salted__"], |ends| empty_if(ends.bytes <= 16)),
    kind("gz", &[b"\x1f\x8b"], gzip),
    kind("lz4", &[b"\x04\x22\x4d\x18"], |ends| empty_if(lz4_is_empty(ends.head))),
    kind("tgz", &[b"\x1f\x8b"], gzip),
    kind("txz", &[b"\xfd7zXZ\x00"], xz),
    kind("xz", &[b"\xfd7zXZ\x00"], xz),
    // The second is an archive without a file.
    kind("zip", &[b"PK\x03\x04", b"PK\x05\x06"], |ends| empty_if(ends.head.starts_with(b"PK\x05\x06"))),
    // pzstd begins with a skippable frame.
    kind("zst", &[b"\x28\xb5\x2f\xfd", b"\x50\x2a\x4d\x18"], |ends| empty_if(zstd_is_empty(ends))),
];

/// The extension, if its files are known to begin in a certain way; it is the last one that counts: `.sql.gz.age` is
/// age's.
pub(crate) fn extension(name: &str) -> Option<&'static str> {
    let (_, extension) = name.rsplit_once('.')?;
    KINDS.iter().map(|kind| kind.extension).find(|known| known.eq_ignore_ascii_case(extension))
}

pub(crate) fn content(extension: &str, ends: &Ends<'_>) -> Content {
    match KINDS.iter().find(|kind| kind.extension == extension) {
        None => Content::Genuine,
        Some(kind) if !kind.beginnings.iter().any(|beginning| ends.head.starts_with(beginning)) => Content::Foreign,
        Some(kind) => (kind.ends)(ends),
    }
}

fn empty_if(empty: bool) -> Content {
    if empty { Content::Empty } else { Content::Genuine }
}

/// The last four bytes are the uncompressed size, modulo 4 GiB.
fn gzip(ends: &Ends<'_>) -> Content {
    // Ten bytes of header, two of an empty block, eight of the end.
    if ends.bytes < 20 {
        return Content::Truncated;
    }
    // 4 GiB of zeros compress to this at best: 0 in a larger file is such a multiple.
    const FOUR_GIB_COMPRESSED: u64 = 4 << 20;
    // bgzip ends each file with an empty member.
    let is_bgzip = ends.head.get(12..14) == Some(b"BC") && ends.bytes > 28;
    empty_if(ends.tail.ends_with(&[0; 4]) && ends.bytes < FOUR_GIB_COMPRESSED && !is_bgzip)
}

/// It ends with `YZ`, and in multiples of four bytes of padding.
fn xz(ends: &Ends<'_>) -> Content {
    let end = ends.tail.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    match ends.tail.get(..end) {
        Some(tail) if tail.ends_with(b"YZ") => empty_if(ends.bytes <= 32),
        _ => Content::Truncated,
    }
}

/// A frame's header with the mark of the end right after it.
fn lz4_is_empty(head: &[u8]) -> bool {
    let Some(flags) = head.get(4) else { return false };
    let content_size = if flags & 8 != 0 { 8 } else { 0 };
    let dictionary = if flags & 1 != 0 { 4 } else { 0 };
    let header = 7 + content_size + dictionary;
    head.get(header..header + 4) == Some(&[0; 4])
}

/// A single frame whose first block is its last one, and has no bytes.
fn zstd_is_empty(ends: &Ends<'_>) -> bool {
    let Some(descriptor) = ends.head.get(4) else { return false };
    let single_segment = descriptor & 0x20 != 0;
    let window = usize::from(!single_segment);
    let dictionary = [0, 1, 2, 4][usize::from(descriptor & 3)];
    let content_size = match descriptor >> 6 {
        0 => usize::from(single_segment),
        size => 1 << size,
    };
    let header = 5 + window + dictionary + content_size;
    let checksum = if descriptor & 4 != 0 { 4 } else { 0 };
    ends.head.get(header..header + 3) == Some(&[1, 0, 0]) && ends.bytes == (header + 3 + checksum) as u64
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::process::{Command, Stdio};

    use super::*;

    fn judge(extension: &str, file: &[u8]) -> Content {
        let (head, tail) = (&file[..file.len().min(HEAD)], &file[file.len().saturating_sub(TAIL)..]);
        content(extension, &Ends { head, tail, bytes: file.len() as u64 })
    }

    #[test]
    fn the_last_extension_decides() {
        assert_eq!(extension("app.sql.gz"), Some("gz"));
        assert_eq!(extension("app.sql.GZ"), Some("gz"));
        assert_eq!(extension("app.sql.gz.age"), Some("age"));
        assert_eq!(extension("app.sql"), None);
        assert_eq!(extension("app"), None);
    }

    #[test]
    fn each_kind_recognises_only_its_own_magic_number() {
        for kind in KINDS {
            for beginning in kind.beginnings {
                assert!(beginning.len() <= HEAD);
                let more = [beginning, &[7; 60][..]].concat();
                assert_ne!(judge(kind.extension, &more), Content::Foreign, "{}", kind.extension);
                let short = &beginning[..beginning.len() - 1];
                assert_eq!(judge(kind.extension, short), Content::Foreign, "{}: cut short", kind.extension);
            }
            assert_eq!(judge(kind.extension, b""), Content::Foreign);
            assert_eq!(judge(kind.extension, b"-- MySQL dump 10.13"), Content::Foreign);
        }
    }

    /// What a program on this machine makes of its input; `None` without the program.
    fn compressed(program: &[&str], input: &[u8]) -> Option<Vec<u8>> {
        let mut child =
            Command::new(program[0]).args(&program[1..]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().ok()?;
        child.stdin.take().unwrap().write_all(input).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{program:?}");
        Some(output.stdout)
    }

    #[test]
    fn an_archive_of_nothing_is_empty_and_one_of_little_is_not() {
        let mut seen = Vec::new();
        for (extension, program) in [
            ("gz", &["gzip", "-c"][..]),
            ("zst", &["zstd", "-q", "-c"]),
            ("zst", &["zstd", "-q", "-c", "--no-check"]),
            ("zst", &["zstd", "-q", "-c", "--content-size", "--stream-size=0"]),
            ("xz", &["xz", "-c"]),
            ("bz2", &["bzip2", "-c"]),
            ("lz4", &["lz4", "-q", "-c"]),
        ] {
            let Some(nothing) = compressed(program, b"") else { continue };
            assert_eq!(judge(extension, &nothing), Content::Empty, "{program:?} {nothing:?}");
            if program.contains(&"--stream-size=0") {
                continue;
            }
            let little = compressed(program, b"-- MySQL dump 10.13\n").unwrap();
            assert_eq!(judge(extension, &little), Content::Genuine, "{program:?} {little:?}");
            seen.push(extension);
        }
        // These are on every machine that builds the suite.
        assert!(seen.contains(&"gz") && seen.contains(&"zst"), "{seen:?}");
    }

    #[test]
    fn an_xz_without_its_end_is_truncated() {
        let Some(file) = compressed(&["xz", "-c"], &[b'x'; 1000]) else { return };
        assert_eq!(judge("xz", &file), Content::Genuine);
        assert_eq!(judge("xz", &[&file[..], &[0; 4]].concat()), Content::Genuine, "padding");
        assert_eq!(judge("txz", &file[..file.len() - 4]), Content::Truncated);
        assert_eq!(judge("gz", b"\x1f\x8b\x08\x00\x00"), Content::Truncated);
    }

    #[test]
    fn a_gzip_of_four_gib_and_one_of_bgzip_are_not_empty() {
        let large = Ends { head: b"\x1f\x8b\x08", tail: &[0; 4], bytes: 5 << 20 };
        assert_eq!(content("gz", &large), Content::Genuine);
        let mut head = [0; HEAD];
        head[..4].copy_from_slice(b"\x1f\x8b\x08\x04");
        head[12..14].copy_from_slice(b"BC");
        assert_eq!(content("gz", &Ends { head: &head, tail: &[0; 4], bytes: 500 }), Content::Genuine);
    }
}
