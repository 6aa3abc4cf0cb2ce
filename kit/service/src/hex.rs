//! Bytes as text, for digests.

use std::fmt::Write as _;

/// Two lower-case hexadecimal digits a byte.
pub fn lower(bytes: impl AsRef<[u8]>) -> String {
    let bytes = bytes.as_ref();
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    #[test]
    fn digits_are_lower_case_and_padded() {
        assert_eq!(super::lower([0, 10, 255]), "000aff");
    }
}
