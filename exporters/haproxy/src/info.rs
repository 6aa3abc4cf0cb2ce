//! The answer to `show info`: a line `Name: value` for each fact about the process.

use std::collections::HashMap;

use crate::stat::number;

/// HAProxy 3.4 has about 80 lines.
const MAX_LINES: usize = 512;

#[derive(Debug, Default)]
pub(crate) struct Info(HashMap<Box<str>, Box<str>>);

impl Info {
    /// `None` if there are more lines than any HAProxy has.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let line =
            |line: &str| line.split_once(": ").map(|(name, value)| (name.into(), unquoted(value.trim_end()).into()));
        let lines = text.lines().take(MAX_LINES + 1);
        let values: HashMap<_, _> = lines.clone().filter_map(line).collect();
        (lines.count() <= MAX_LINES).then_some(Self(values))
    }

    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(AsRef::as_ref).filter(|value| !value.is_empty())
    }

    pub(crate) fn number(&self, name: &str) -> Option<f64> {
        self.get(name).and_then(number)
    }
}

/// HAProxy quotes a value with quotes, commas or line feeds in it, such as a description, as in CSV.
fn unquoted(value: &str) -> String {
    match value.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) {
        Some(quoted) => quoted.replace("\"\"", "\""),
        None => value.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_by_name() {
        let info =
            Info::parse("Name: HAProxy\nBuild info: 2.6.12\nUptime: 0d 0h00m04s\nTasks: 34\ndescription: \nnoise\n")
                .unwrap();
        assert_eq!(info.get("Build info"), Some("2.6.12"));
        assert_eq!(info.number("Tasks"), Some(34.0));
        let quoted = Info::parse("description: \"the \"\"old\"\" one, \\ too\"\nnode: \"\n").unwrap();
        assert_eq!(quoted.get("description"), Some("the \"old\" one, \\ too"));
        assert_eq!(quoted.get("node"), Some("\""));
        assert_eq!((info.get("description"), info.number("Uptime"), info.get("noise")), (None, None, None));
    }

    #[test]
    fn the_number_of_lines_is_bounded() {
        assert!(Info::parse(&"K: v\n".repeat(MAX_LINES)).is_some());
        assert!(Info::parse(&"K: v\n".repeat(MAX_LINES + 1)).is_none());
    }
}
