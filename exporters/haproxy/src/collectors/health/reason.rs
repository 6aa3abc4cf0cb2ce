//! The text of reasons: short, whatever the number and the length of names.

use std::fmt::Write as _;
use std::time::Duration;

/// Maximum items in one list of a reason. The others are counted, so that a reason is one line.
const MAX_ITEMS: usize = 5;
/// Maximum characters of a name in a reason.
const MAX_NAME: usize = 64;

pub(super) fn shortened(name: &str) -> String {
    match name.char_indices().nth(MAX_NAME) {
        Some((end, _)) => format!("{}…", &name[..end]),
        None => name.to_owned(),
    }
}

/// `backend/server`
pub(super) fn path(proxy: &str, name: &str) -> String {
    format!("{}/{}", shortened(proxy), shortened(name))
}

/// The first items, and the number of the others.
pub(super) fn joined<T>(items: &[T], separator: &str, describe: impl Fn(&T) -> String) -> String {
    let shown: Vec<String> = items.iter().take(MAX_ITEMS).map(describe).collect();
    let mut text = shown.join(separator);
    if items.len() > MAX_ITEMS {
        // Writing to a String does not fail.
        let _ = write!(text, "{separator}and {} more", items.len() - MAX_ITEMS);
    }
    text
}

pub(super) fn counted(count: usize, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}

/// A count. HAProxy's are integers; a wrong one may have 300 digits.
pub(super) fn count(value: f64) -> String {
    if value.abs() < 1e15 { format!("{value}") } else { format!("{value:.1e}") }
}

pub(super) fn span(span: Duration) -> String {
    match span.as_secs() {
        seconds @ 0..120 => format!("{} s", seconds.max(1)),
        seconds => format!("{} min", seconds / 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_spans_are_short() {
        assert_eq!((count(58.0), count(1e300)), ("58".to_owned(), "1.0e300".to_owned()));
        assert_eq!(span(Duration::from_millis(20)), "1 s");
        assert_eq!(span(Duration::from_secs(119)), "119 s");
        assert_eq!(span(Duration::from_secs(600)), "10 min");
    }

    #[test]
    fn lists_and_names_are_cut() {
        assert_eq!(joined(&["a", "b"], ", ", |name| shortened(name)), "a, b");
        assert_eq!(joined(&["x"; 8], ", ", |name| shortened(name)), "x, x, x, x, x, and 3 more");
        assert_eq!(shortened(&"é".repeat(70)), format!("{}…", "é".repeat(64)));
    }
}
