//! Pieces of SQL statements.

use std::fmt::Write as _;

/// Maximum rows of one response.
pub(crate) const MAX_ROWS: usize = 200_000;

/// The performance schema's unit of time, per second.
pub(crate) const PICOSECONDS: f64 = 1e12;

/// A string literal, in hexadecimal: whether a backslash escapes depends on the server's sql_mode.
pub(crate) fn literal(text: &str) -> String {
    let mut literal = "_utf8mb4 X'".to_owned();
    for byte in text.bytes() {
        let _ = write!(literal, "{byte:02X}");
    }
    literal.push('\'');
    literal
}

/// A quoted identifier.
pub(crate) fn identifier(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
}

/// The quoted name of a table, from `DATABASE.TABLE` on the command line.
pub(crate) fn table_name(text: &str) -> Result<String, String> {
    let is_valid =
        |part: &str| !part.is_empty() && part.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '$'));
    match text.split_once('.') {
        Some((database, table)) if is_valid(database) && is_valid(table) => {
            Ok(format!("{}.{}", identifier(database), identifier(table)))
        }
        _ => Err("expected DATABASE.TABLE, of letters, digits, _ and $".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_literal_has_no_quote_or_backslash_inside() {
        assert_eq!(literal("a'\\ü"), "_utf8mb4 X'61275CC3BC'");
        assert_eq!(literal(""), "_utf8mb4 X''");
    }

    #[test]
    fn an_identifier_doubles_its_backticks() {
        assert_eq!(identifier("a`b"), "`a``b`");
    }

    #[test]
    fn a_table_name_has_a_database_and_safe_characters_only() {
        assert_eq!(table_name("monitoring.canary_1").unwrap(), "`monitoring`.`canary_1`");
        for name in ["canary", ".canary", "a.", "a.b.c", "a.b;c", "a`.b", ""] {
            assert!(table_name(name).is_err(), "{name:?}");
        }
    }
}
