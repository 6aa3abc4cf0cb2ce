//! One line of an option file, as MySQL's and MariaDB's own programs read it. `my_print_defaults` of all three tested
//! servers prints the same for every line of the table in the tests.

/// What a line is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Line {
    Empty,
    Section(String),
    Include(Vec<u8>),
    IncludeDirectory(Vec<u8>),
    Option { key: String, value: Value },
}

/// The value of an option; empty for a key alone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Value {
    pub(super) bytes: Vec<u8>,
    /// In single quotes, where `${NAME}` is not replaced.
    pub(super) single_quoted: bool,
    /// An unquoted `#` in the middle of a word began a comment.
    pub(super) cut: bool,
}

pub(super) fn parse(line: &[u8]) -> Result<Line, &'static str> {
    let line = trim_start(line);
    match line {
        [] | [b'#' | b';', ..] => Ok(Line::Empty),
        [b'!', rest @ ..] => directive(rest),
        // What follows the bracket is ignored.
        [b'[', rest @ ..] => match rest.iter().position(|byte| *byte == b']') {
            Some(end) => Ok(Line::Section(text(trim_end(&rest[..end])))),
            None => Err("] is missing"),
        },
        line => Ok(option(line)),
    }
}

fn directive(line: &[u8]) -> Result<Line, &'static str> {
    let line = trim_start(line);
    let argument = |keyword: &[u8]| line.strip_prefix(keyword).filter(|rest| rest.first().is_some_and(is_space));
    let path = |argument: &[u8]| match trim_end(trim_start(argument)) {
        [] => Err("a path must follow"),
        path => Ok(path.to_owned()),
    };
    if let Some(rest) = argument(b"includedir") {
        return Ok(Line::IncludeDirectory(path(rest)?));
    }
    match argument(b"include") {
        Some(rest) => Ok(Line::Include(path(rest)?)),
        // The servers' programs ignore it without a message.
        None => Ok(Line::Empty),
    }
}

fn option(line: &[u8]) -> Line {
    let end = comment_start(line).unwrap_or(line.len());
    let in_word = |byte: &u8| !is_space(byte) && !matches!(byte, b'"' | b'\'');
    let cut = end < line.len() && line[..end].last().is_some_and(in_word);
    let line = &line[..end];
    let (key, value) = match line.iter().position(|byte| *byte == b'=') {
        Some(equals) => (&line[..equals], Some(trim_end(trim_start(&line[equals + 1..])))),
        None => (line, None),
    };
    let value = match value {
        None => Value::default(),
        Some([quote @ (b'"' | b'\''), inner @ .., last]) if quote == last => {
            Value { bytes: unescape(inner), single_quoted: *quote == b'\'', cut }
        }
        Some(value) => Value { bytes: unescape(value), single_quoted: false, cut },
    };
    Line::Option { key: text(trim_end(key)), value }
}

/// Where a comment begins: at a `#` outside quotes. A backslash protects a quote inside quotes.
fn comment_start(line: &[u8]) -> Option<usize> {
    let (mut quote, mut escaped) = (None, false);
    for (index, byte) in line.iter().enumerate() {
        match (byte, quote) {
            (b'"' | b'\'', None) => quote = Some(byte),
            (b'"' | b'\'', Some(open)) if open == byte && !escaped => quote = None,
            (b'#', None) => return Some(index),
            _ => {}
        }
        escaped = quote.is_some() && *byte == b'\\' && !escaped;
    }
    None
}

/// Escapes count with and without quotes; an unknown one stays as it is.
fn unescape(value: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(value.len());
    let mut bytes = value.iter().copied();
    while let Some(byte) = bytes.next() {
        if byte != b'\\' {
            out.push(byte);
            continue;
        }
        match bytes.next() {
            Some(b'n') => out.push(b'\n'),
            Some(b't') => out.push(b'\t'),
            Some(b'r') => out.push(b'\r'),
            Some(b'b') => out.push(8),
            Some(b's') => out.push(b' '),
            Some(known @ (b'"' | b'\'' | b'\\')) => out.push(known),
            Some(unknown) => out.extend([b'\\', unknown]),
            None => out.push(b'\\'),
        }
    }
    out
}

fn is_space(byte: &u8) -> bool {
    byte.is_ascii_whitespace() || *byte == 0x0b
}

fn trim_start(bytes: &[u8]) -> &[u8] {
    &bytes[bytes.iter().take_while(|byte| is_space(byte)).count()..]
}

fn trim_end(bytes: &[u8]) -> &[u8] {
    &bytes[..bytes.len() - bytes.iter().rev().take_while(|byte| is_space(byte)).count()]
}

/// Names of sections and keys. Those of other programs may have any encoding.
fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(line: &str) -> String {
        match parse(line.as_bytes()) {
            Ok(Line::Option { value, .. }) => String::from_utf8(value.bytes).unwrap(),
            other => panic!("{line}: {other:?}"),
        }
    }

    /// `tests/tests/mysql_option_file.rs` runs `my_print_defaults` and clients on these and more.
    #[test]
    fn values_are_read_as_my_print_defaults_prints_them() {
        for (line, expected) in [
            (r"a = b # c", "b"),
            (r"a=b#c", "b"),
            (r"a=b;c ; d", "b;c ; d"),
            (r#"a="b" # c"#, "b"),
            (r#"a="b#c" # d"#, "b#c"),
            (r#"a="p\"w""#, "p\"w"),
            (r"a=a\\b", r"a\b"),
            (r"a=a\sb\tc\nd\re\bf\xg", "a b\tc\nd\re\u{8}f\\xg"),
            (r"a=trail\", r"trail\"),
            (r#"a="unclosed # x"#, "\"unclosed # x"),
            (r"a='it''s'", "it''s"),
            (r"a='a\\'#b", r"a\"),
            ("a=\"x\\\\\\\"#y\" # z", "x\\\"#y"),
            (r#"a="x"y"#, "\"x\"y"),
            ("a=\"", "\""),
            ("a=''", ""),
            ("a=b=c", "b=c"),
            ("a=\"x\"\r", "x"),
            ("a", ""),
        ] {
            assert_eq!(value(line), expected, "{line}");
        }
    }

    #[test]
    fn sections_directives_and_comments() {
        let section = |name: &str| Ok(Line::Section(name.to_owned()));
        assert_eq!(parse(b" [client ] # mine"), section("client"));
        assert_eq!(parse(b"[ client]x=1"), section(" client"));
        assert_eq!(parse(b"[client"), Err("] is missing"));
        assert_eq!(parse(b"!include  a b.cnf \r"), Ok(Line::Include(b"a b.cnf".to_vec())));
        assert_eq!(parse(b"! includedir /etc/my.cnf.d/"), Ok(Line::IncludeDirectory(b"/etc/my.cnf.d/".to_vec())));
        assert_eq!(parse(b"!include \r"), Err("a path must follow"));
        for ignored in ["", "  ", "# x", "\t; x", "!other x", "!includex"] {
            assert_eq!(parse(ignored.as_bytes()), Ok(Line::Empty), "{ignored}");
        }
    }

    #[test]
    fn a_word_that_is_cut_is_noticed() {
        for (line, expected) in [("a=b#c", true), ("a=b #c", false), ("a='b'#c", false), ("a='b#c'", false)] {
            let Ok(Line::Option { value, .. }) = parse(line.as_bytes()) else { panic!("{line}") };
            assert_eq!(value.cut, expected, "{line}");
        }
    }
}
