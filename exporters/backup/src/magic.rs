//! Whether a file has the magic number of its extension: encrypted, empty or other content is not a backup.

/// The extension in lower case, and any of these beginnings.
const KINDS: &[(&str, &[&[u8]])] = &[
    ("7z", &[b"7z\xbc\xaf\x27\x1c"]),
    ("age", &[b"age-encryption.org/v1", b"-----BEGIN AGE ENCRYPTED FILE-----"]),
    ("bz2", &[b"BZh"]),
    ("enc", &[b"Salted__"]),
    ("gz", &[b"\x1f\x8b"]),
    ("lz4", &[b"\x04\x22\x4d\x18"]),
    ("tgz", &[b"\x1f\x8b"]),
    ("txz", &[b"\xfd7zXZ\x00"]),
    ("xz", &[b"\xfd7zXZ\x00"]),
    ("zip", &[b"PK\x03\x04"]),
    // pzstd begins with a skippable frame.
    ("zst", &[b"\x28\xb5\x2f\xfd", b"\x50\x2a\x4d\x18"]),
];

/// More than the longest beginning above.
pub(crate) const LONGEST: usize = 40;

/// The extension, if its files are known to begin in a certain way; it is the last one that counts: `.sql.gz.age` is
/// age's.
pub(crate) fn extension(name: &str) -> Option<&'static str> {
    let (_, extension) = name.rsplit_once('.')?;
    KINDS.iter().map(|(known, _)| *known).find(|known| known.eq_ignore_ascii_case(extension))
}

pub(crate) fn matches(extension: &str, head: &[u8]) -> bool {
    let beginnings = KINDS.iter().find(|(known, _)| *known == extension).map(|(_, beginnings)| *beginnings);
    beginnings.is_none_or(|beginnings| beginnings.iter().any(|beginning| head.starts_with(beginning)))
}

#[cfg(test)]
mod tests {
    use super::*;

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
        for (kind, beginnings) in KINDS {
            for beginning in *beginnings {
                assert!(beginning.len() <= LONGEST);
                assert!(matches(kind, beginning) && matches(kind, &[beginning, &b"more"[..]].concat()), "{kind}");
                assert!(!matches(kind, &beginning[..beginning.len() - 1]), "{kind}: cut short");
            }
            assert!(!matches(kind, b"") && !matches(kind, b"-- MySQL dump 10.13"), "{kind}");
        }
    }
}
