//! Numbers and names that mysqld_exporter derives from the server's texts.

use jiff::civil::DateTime;
use jiff::tz::TimeZone;

/// Words that represent a number, in lower case.
const WORDS: [(&str, f64); 9] = [
    ("on", 1.0),
    ("off", 0.0),
    ("yes", 1.0),
    ("no", 0.0),
    ("disabled", 0.0),
    // Slave_IO_Running: not running yet.
    ("connecting", 0.0),
    // wsrep_cluster_status: only the primary component accepts writes.
    ("primary", 1.0),
    ("non-primary", 0.0),
    ("disconnected", 0.0),
];

/// The number in a cell of a `SHOW` statement: a number, one of the words above, or a date as seconds since 1970 (UTC).
/// `None` for other texts.
pub(crate) fn parse(text: &str) -> Option<f64> {
    // Most cells are numbers; `inf` and `nan` are the only words that parse, here as in Go.
    if let Ok(number) = text.parse::<f64>() {
        // Out of range, which is an error in Go: an identifier such as `7e89001`, not infinity.
        let overflown = number.is_infinite() && text.contains(|c: char| c.is_ascii_digit());
        return (!overflown).then_some(number);
    }
    WORDS.iter().find(|(word, _)| word.eq_ignore_ascii_case(text)).map(|(_, value)| *value).or_else(|| date(text))
}

/// Parses `2026-11-22 18:00:00`, and the date of a certificate: `Aug  9 12:00:00 2035 GMT`.
fn date(text: &str) -> Option<f64> {
    let is_date = |format| DateTime::strptime(format, text).ok();
    let datetime = match text.as_bytes() {
        [b'0'..=b'9', _, _, _, b'-', ..] if text.len() == 19 => is_date("%Y-%m-%d %H:%M:%S"),
        [b'A'..=b'Z', _, _, b' ', .., b'G', b'M', b'T'] => is_date("%b %d %H:%M:%S %Y GMT"),
        _ => None,
    }?;
    let second = datetime.to_zoned(TimeZone::UTC).ok()?.timestamp().as_second();
    // Seconds of four-digit years are far below 2^53.
    Some(second as f64)
}

/// The family name of a variable or column: in lower case, and `_` for characters that a family name must not contain.
pub(crate) fn family_name(prefix: &str, name: &str) -> String {
    let mut family = String::with_capacity(prefix.len() + name.len());
    family.push_str(prefix);
    family.push_str(name);
    family.make_ascii_lowercase();
    let is_valid = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if family.chars().all(is_valid) { family } else { family.replace(|c| !is_valid(c), "_") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_parsed_as_in_mysqld_exporter() {
        for (text, expected) in [
            ("0", Some(0.0)),
            ("-1", Some(-1.0)),
            ("18446744073709551615", Some(18_446_744_073_709_551_615.0)),
            ("0.500000", Some(0.5)),
            ("1e3", Some(1000.0)),
            ("ON", Some(1.0)),
            ("off", Some(0.0)),
            ("Yes", Some(1.0)),
            ("No", Some(0.0)),
            ("DISABLED", Some(0.0)),
            ("Connecting", Some(0.0)),
            ("Primary", Some(1.0)),
            ("non-Primary", Some(0.0)),
            ("Disconnected", Some(0.0)),
            ("Aug  9 12:00:00 2035 GMT", Some(2_070_273_600.0)),
            ("Aug 10 12:00:00 2035 GMT", Some(2_070_360_000.0)),
            ("1970-01-02 00:00:01", Some(86_401.0)),
            ("1970-13-02 00:00:01", None),
            ("", None),
            ("ENFORCED", None),
            ("10.11.19-MariaDB", None),
            ("mariadb-bin.000001", None),
            ("0-1-5", None),
            ("12ms", None),
            ("7e89001", None),
            ("-1e400", None),
            ("inf", Some(f64::INFINITY)),
            ("2026-11-22T18:00:00", None),
        ] {
            assert_eq!(parse(text), expected, "{text:?}");
        }
    }

    #[test]
    fn family_names_are_lower_case_and_valid() {
        assert_eq!(family_name("mysql_", "Validate_password.Länge-2"), "mysql_validate_password_l_nge_2");
    }
}
