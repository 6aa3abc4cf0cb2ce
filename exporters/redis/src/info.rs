//! INFO's text: `key:value` lines under `# Section` headers.
//!
//! Headers are skipped: a key means the same in whatever section it stands, and servers before 2.6 have none.

/// The text and where its lines are: nothing is copied.
#[derive(Debug, Default)]
pub struct Info {
    text: String,
    lines: Vec<Line>,
}

/// 32 bits are enough: a reply is at most 4 MiB.
#[derive(Clone, Copy, Debug)]
struct Line {
    start: u32,
    colon: u32,
    end: u32,
}

impl Info {
    /// Reads the text once. Lines without a colon, such as headers and blank lines, are skipped.
    pub fn parse(text: String) -> Self {
        let mut lines = Vec::with_capacity(text.len() / 24);
        let mut next = 0;
        for line in text.split_inclusive('\n') {
            let start = next;
            next += line.len();
            let line = line.trim_end();
            let Some(colon) = line.find(':').filter(|_| !line.starts_with('#')) else { continue };
            let offset = |at: usize| u32::try_from(start + at);
            if let (Ok(start), Ok(colon), Ok(end)) = (offset(0), offset(colon), offset(line.len())) {
                lines.push(Line { start, colon, end });
            }
        }
        Self { text, lines }
    }

    /// Keys and values, in the order of the text.
    pub fn fields(&self) -> impl Iterator<Item = (&str, &str)> {
        self.lines.iter().filter_map(|line| {
            let [start, colon, end] = [line.start, line.colon, line.end].map(|at| at as usize);
            Some((self.text.get(start..colon)?, self.text.get(colon + 1..end)?))
        })
    }

    pub fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// A scan: for the few dozen fields that are looked up by name, a table would cost more than it saves.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.fields().find(|(name, _)| *name == key).map(|(_, value)| value)
    }

    pub fn number(&self, key: &str) -> Option<f64> {
        self.get(key).and_then(number)
    }
}

/// A value as a number: words of success are 1, words of failure 0.
pub(crate) fn number(value: &str) -> Option<f64> {
    match value {
        "ok" | "true" => Some(1.0),
        "err" | "fail" | "false" => Some(0.0),
        _ => value.parse().ok(),
    }
}

/// Whether this is a key such as `db0`: the word, then a number.
pub(crate) fn is_numbered(key: &str, word: &str) -> bool {
    key.strip_prefix(word).is_some_and(|number| !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()))
}

/// The parts of a value such as `keys=2,expires=1,avg_ttl=99490`.
pub(crate) fn parts(value: &str) -> impl Iterator<Item = (&str, &str)> {
    value.split(',').filter_map(|part| part.split_once('='))
}

/// One numeric part of such a value.
pub(crate) fn part(value: &str, name: &str) -> Option<f64> {
    parts(value).find(|(key, _)| *key == name).and_then(|(_, value)| value.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(text: &str) -> Vec<(String, String)> {
        Info::parse(text.to_owned()).fields().map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
    }

    fn owned(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn headers_blank_lines_and_both_line_ends() {
        let text = "# Server\r\nredis_version:7.0.15\r\nos:Linux 6.1: x86_64\r\n\r\n# a:b\r\nconfig_file:\nlast:1";
        let expected = [("redis_version", "7.0.15"), ("os", "Linux 6.1: x86_64"), ("config_file", ""), ("last", "1")];
        assert_eq!(fields(text), owned(&expected));
    }

    #[test]
    fn lines_without_a_colon_are_skipped() {
        assert!(Info::parse("<html>\n\n\u{fffd}\u{fffd}\n#:\n".to_owned()).is_empty());
        assert!(Info::parse(String::new()).is_empty());
    }

    #[test]
    fn lookups() {
        let info = Info::parse("used_memory:10\nused_memory_rss:20\naof_last_write_status:ok\nrole:slave\n".to_owned());
        assert_eq!(info.number("used_memory"), Some(10.0));
        assert_eq!(info.number("aof_last_write_status"), Some(1.0));
        assert_eq!(info.number("role"), None);
        assert_eq!(info.get("used"), None);
    }

    #[test]
    fn values() {
        for (text, expected) in [
            ("ok", Some(1.0)),
            ("fail", Some(0.0)),
            ("-1", Some(-1.0)),
            ("1.08", Some(1.08)),
            ("99.85%", None),
            ("", None),
            ("1.06M", None),
        ] {
            assert_eq!(number(text), expected, "{text}");
        }
    }

    #[test]
    fn parts_of_a_value() {
        let value = "keys=2,expires=1,avg_ttl=99490";
        assert_eq!(part(value, "avg_ttl"), Some(99490.0));
        assert_eq!(part(value, "cached_keys"), None);
        assert_eq!(part("calls=x,", "calls"), None);
        assert_eq!(parts("ip=::1,port=6379,broken,,state=online").count(), 3);
    }
}
