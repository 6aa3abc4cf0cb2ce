//! Names of the server's files: `mysql-bin.000042`.

use std::fmt;

/// Digits that the servers write at least; larger numbers take more.
const WIDTH: usize = 6;

/// One file of the binary log. Sorted by number within one base.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct BinlogName {
    base: String,
    sequence: u64,
}

impl BinlogName {
    /// `None` for what is not a file of a binary log, such as its index, and for what could lead out of a directory.
    pub(crate) fn parse(name: &str) -> Option<Self> {
        let (base, digits) = name.rsplit_once('.')?;
        let is_number = digits.len() >= WIDTH && digits.bytes().all(|byte| byte.is_ascii_digit());
        let is_base = !base.is_empty() && !base.starts_with(['.', '-']) && !base.contains(['/', '\0']);
        let parsed = Self { base: base.to_owned(), sequence: digits.parse().ok()? };
        (is_number && is_base && parsed.to_string() == name).then_some(parsed)
    }

    /// Whether a server that has written this can have written `newer` after it.
    pub(crate) fn is_followed_by(&self, newer: &Self) -> bool {
        self.base == newer.base && self.sequence <= newer.sequence
    }

    /// The one that the server writes after this.
    pub(crate) fn next(&self) -> Self {
        Self { base: self.base.clone(), sequence: self.sequence + 1 }
    }
}

impl fmt::Display for BinlogName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { base, sequence } = self;
        write!(f, "{base}.{sequence:0WIDTH$}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_the_server_and_no_others() {
        let name = BinlogName::parse("mysql-bin.000009").unwrap();
        assert_eq!(name.next().to_string(), "mysql-bin.000010");
        assert_eq!(BinlogName::parse("b.999999").unwrap().next().to_string(), "b.1000000");
        assert!(BinlogName::parse("b.999999") < BinlogName::parse("b.1000000"));
        for other in ["mysql-bin.index", "b.00001", "b.0000001", "../b.000001", ".b.000001", "-b.000001", "000001", ""]
        {
            assert_eq!(BinlogName::parse(other), None, "{other}");
        }
    }
}
