//! The sections of an option file, as MySQL's programs read it.

use std::collections::HashMap;
use std::path::Path;

use crate::error::ConfigError;

/// The section of the main target, and of a probe without `auth_module`.
pub(crate) const CLIENT: &str = "client";

/// `key=value`, `key` alone, quotes around values; `#` and `;` begin a comment only at the start of a line, as
/// passwords may contain them. `${NAME}` is an environment variable. A section `a.b` inherits missing keys from `a`.
pub(crate) struct Sections(HashMap<String, HashMap<String, String>>);

impl Sections {
    pub(crate) fn parse(
        path: &Path,
        text: &str,
        variable: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Self, ConfigError> {
        let mut sections = HashMap::from([(CLIENT.to_owned(), HashMap::new())]);
        let mut current = None;
        for (index, line) in text.lines().enumerate() {
            let invalid = |reason| ConfigError::Syntax { path: path.to_owned(), line: index + 1, reason };
            let line = line.trim();
            // `!include` is for MySQL's own programs; mysqld_exporter doesn't follow it either.
            if line.is_empty() || line.starts_with(['#', ';', '!']) {
                continue;
            }
            if let Some(rest) = line.strip_prefix('[') {
                let name = rest.strip_suffix(']').ok_or_else(|| invalid("] is missing"))?.trim();
                sections.entry(name.to_owned()).or_default();
                current = Some(name.to_owned());
                continue;
            }
            let section = current.as_ref().and_then(|name| sections.get_mut(name));
            let section = section.ok_or_else(|| invalid("a [section] must come first"))?;
            let (key, value) = line.split_once('=').unwrap_or((line, ""));
            let value = expand(unquote(value.trim()), variable)
                .ok_or_else(|| invalid("${NAME} is not closed, or the environment variable is not set"))?;
            // MySQL's programs accept both spellings.
            section.insert(key.trim().replace('_', "-"), value);
        }
        Ok(Self(sections))
    }

    pub(crate) fn has(&self, section: &str) -> bool {
        self.0.contains_key(section)
    }

    pub(crate) fn get(&self, section: &str, key: &str) -> Option<&str> {
        let own = self.0.get(section).and_then(|keys| keys.get(key));
        match (own, section.rsplit_once('.')) {
            (Some(value), _) => Some(value),
            (None, Some((parent, _))) => self.get(parent, key),
            (None, None) => None,
        }
    }

    pub(crate) fn default_to(&mut self, section: &str, key: &str, value: Option<String>) {
        let is_set = self.get(section, key).is_some_and(|value| !value.is_empty());
        if let Some(value) = value.filter(|_| !is_set) {
            self.0.entry(section.to_owned()).or_default().insert(key.to_owned(), value);
        }
    }
}

fn unquote(value: &str) -> &str {
    let quoted = |quote| value.strip_prefix(quote).and_then(|rest: &str| rest.strip_suffix(quote));
    quoted('"').or_else(|| quoted('\'')).unwrap_or(value)
}

/// Replaces `${NAME}` by the environment variable; a `$` alone stays, as passwords may contain it.
fn expand(value: &str, variable: &dyn Fn(&str) -> Option<String>) -> Option<String> {
    let mut out = String::with_capacity(value.len());
    let mut rest = value;
    while let Some((before, after)) = rest.split_once("${") {
        let (name, after) = after.split_once('}')?;
        out.push_str(before);
        out.push_str(&variable(name)?);
        rest = after;
    }
    out.push_str(rest);
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &str) -> String {
        Sections::parse(Path::new("my.cnf"), text, &|_| None).err().unwrap().to_string()
    }

    #[test]
    fn environment_variables_are_in_braces() {
        let variable = |name: &str| (name == "NAME").then(|| "value".to_owned());
        assert_eq!(expand("a${NAME}b$NAME", &variable).unwrap(), "avalueb$NAME");
        assert_eq!(expand("${NAME", &variable), None);
        assert_eq!(expand("${OTHER}", &variable), None);
    }

    #[test]
    fn errors_have_a_line_number() {
        assert_eq!(error("[client]\n[broken\n"), "my.cnf:2: ] is missing");
        assert_eq!(error("user=u\n"), "my.cnf:1: a [section] must come first");
    }
}
