//! The answer to `show info`: a line `Name: value` for each fact about the process.

use std::collections::HashMap;

use crate::stat::number;

#[derive(Debug, Default)]
pub(crate) struct Info(HashMap<String, String>);

impl Info {
    pub(crate) fn parse(text: &str) -> Self {
        let line =
            |line: &str| line.split_once(": ").map(|(name, value)| (name.to_owned(), unquoted(value.trim_end())));
        Self(text.lines().filter_map(line).collect())
    }

    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str).filter(|value| !value.is_empty())
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
            Info::parse("Name: HAProxy\nBuild info: 2.6.12\nUptime: 0d 0h00m04s\nTasks: 34\ndescription: \nnoise\n\n");
        assert_eq!(info.get("Build info"), Some("2.6.12"));
        assert_eq!(info.number("Tasks"), Some(34.0));
        let quoted = Info::parse("description: \"the \"\"old\"\" one, \\ too\"\nnode: \"\n");
        assert_eq!(quoted.get("description"), Some("the \"old\" one, \\ too"));
        assert_eq!(quoted.get("node"), Some("\""));
        assert_eq!((info.get("description"), info.number("Uptime"), info.get("noise")), (None, None, None));
    }
}
