//! Option files (`my.cnf`): their sections, and the values that the exporter uses.

mod files;
mod grammar;

use std::collections::HashMap;
use std::path::PathBuf;

use tracing::warn;

use self::files::Place;
use self::grammar::{Line, Value};
use crate::error::ConfigError;

/// The section of the main target, and of a probe without `auth_module`.
pub(crate) const CLIENT: &str = "client";

/// The keys that are read, or refused by name. Others are for other programs.
const KEYS: [&str; 33] = [
    "enable-cleartext-plugin",
    "host",
    "password",
    "port",
    "socket",
    "ssl",
    "ssl-ca",
    "ssl-capath",
    "ssl-cert",
    "ssl-cipher",
    "ssl-crl",
    "ssl-crlpath",
    "ssl-fips-mode",
    "ssl-fp",
    "ssl-fplist",
    "ssl-key",
    "ssl-mode",
    "ssl-passphrase",
    "ssl-skip-verfication",
    "ssl-skip-verification",
    "ssl-verify-server-cert",
    "tls",
    "tls-ciphersuites",
    "tls-fp",
    "tls-fplist",
    "tls-max-version",
    "tls-min-version",
    "tls-passphrase",
    "tls-peer-fp",
    "tls-server-name",
    "tls-sni-servername",
    "tls-version",
    "user",
];

/// Switches that MySQL's programs also accept as `skip-NAME`, `disable-NAME` and `enable-NAME`.
const SWITCHES: [&str; 2] = ["ssl", "ssl-verify-server-cert"];

/// The sections of an option file and of the files that it includes. `${NAME}` in a value is an environment variable,
/// except in single quotes. A section `a.b` inherits missing keys from `a`.
pub(crate) struct Sections {
    path: PathBuf,
    sections: HashMap<String, HashMap<String, Entry>>,
}

struct Entry {
    value: Value,
    place: Place,
}

impl Sections {
    /// No file: only what [`Sections::default_to`] adds.
    pub(crate) fn none(path: PathBuf) -> Self {
        Self { path, sections: HashMap::from([(CLIENT.to_owned(), HashMap::new())]) }
    }

    /// Reads a file and what it includes. With a suffix (the variable `MYSQL_GROUP_SUFFIX`), `[client<suffix>]` adds to
    /// `[client]`, as in MySQL's programs.
    pub(crate) fn read(path: PathBuf, suffix: Option<&str>) -> Result<Self, ConfigError> {
        let mut this = Self::none(path.clone());
        let suffixed = suffix.filter(|suffix| !suffix.is_empty()).map(|suffix| format!("{CLIENT}{suffix}"));
        files::for_each_line(&path, &mut |section, place, line| {
            let Line::Option { key, value } = line else {
                this.sections.entry(section.to_owned()).or_default();
                return;
            };
            let (key, value) = canonical(key, value);
            if value.cut && KEYS.contains(&key.as_str()) {
                warn!(
                    at = %place, section, key,
                    "the value ends at an unquoted #; quote it if the # belongs to it"
                );
            }
            if suffixed.as_deref() == Some(section) {
                let entry = Entry { value: value.clone(), place: place.clone() };
                this.sections.entry(CLIENT.to_owned()).or_default().insert(key.clone(), entry);
            }
            this.sections.entry(section.to_owned()).or_default().insert(key, Entry { value, place });
        })?;
        Ok(this)
    }

    /// The sections of this name and of its heirs `name.…`.
    pub(crate) fn heirs<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        let is_heir = move |section: &&str| section.strip_prefix(name).is_some_and(|rest| rest.starts_with('.'));
        self.sections.keys().map(String::as_str).filter(is_heir)
    }

    /// The values of one section.
    pub(crate) fn options(
        &self,
        section: &str,
        variable: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Options, ConfigError> {
        if !self.sections.contains_key(section) {
            return Err(ConfigError::NoSection { section: section.to_owned(), path: self.path.clone() });
        }
        let mut values = HashMap::new();
        for key in KEYS {
            if let Some(entry) = self.entry(section, key) {
                values.insert(key, entry.expand(key, variable)?);
            }
        }
        Ok(Options { section: section.to_owned(), path: self.path.clone(), values })
    }

    fn entry(&self, section: &str, key: &str) -> Option<&Entry> {
        let own = self.sections.get(section).and_then(|keys| keys.get(key));
        own.or_else(|| self.entry(section.rsplit_once('.')?.0, key))
    }

    /// A value from the command line, for a key that the file does not have or leaves empty.
    pub(crate) fn default_to(&mut self, section: &str, key: &str, value: Option<String>) {
        let is_set = self.entry(section, key).is_some_and(|entry| !entry.value.bytes.is_empty());
        if let Some(value) = value.filter(|_| !is_set) {
            let value = Value { bytes: value.into_bytes(), single_quoted: true, cut: false };
            let place = Place::new(self.path.as_path().into(), 0);
            self.sections.entry(section.to_owned()).or_default().insert(key.to_owned(), Entry { value, place });
        }
    }
}

/// MySQL's programs read `_` as `-`, ignore the prefix `loose-`, and have prefixes that set a switch.
fn canonical(key: String, value: Value) -> (String, Value) {
    let key = key.replace('_', "-");
    let key = key.strip_prefix("loose-").unwrap_or(&key);
    let switch = |prefixes: &[&str]| {
        let name = prefixes.iter().find_map(|prefix| key.strip_prefix(prefix))?;
        SWITCHES.contains(&name).then(|| name.to_owned())
    };
    let set = |on: &[u8]| Value { bytes: on.to_owned(), ..Value::default() };
    if let Some(name) = switch(&["skip-", "disable-"]) {
        return (name, set(b"0"));
    }
    match switch(&["enable-"]) {
        Some(name) => (name, set(b"1")),
        None => (key.to_owned(), value),
    }
}

impl Entry {
    /// The text, with environment variables in place.
    fn expand(&self, key: &str, variable: &dyn Fn(&str) -> Option<String>) -> Result<String, ConfigError> {
        let text = std::str::from_utf8(&self.value.bytes)
            .map_err(|_| self.place.invalid(format!("the value of {key} is not UTF-8 text")))?;
        if self.value.single_quoted {
            return Ok(text.to_owned());
        }
        expand(text, variable).ok_or_else(|| {
            self.place.invalid(format!(
                "in the value of {key}, ${{NAME}} is not closed or the environment variable is not set; write '…' in \
                 single quotes to keep ${{"
            ))
        })
    }
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

/// The values of one section, inherited ones included.
pub(crate) struct Options {
    section: String,
    path: PathBuf,
    values: HashMap<&'static str, String>,
}

impl Options {
    pub(crate) fn get(&self, key: &str) -> Option<&str> {
        self.values.get(key).map(String::as_str)
    }

    /// A boolean key; without a value it is true, as in MySQL's own files. `None` if it is not there.
    pub(crate) fn switch(&self, key: &str) -> Result<Option<bool>, ConfigError> {
        match self.get(key).map(str::to_ascii_lowercase).as_deref() {
            None => Ok(None),
            Some("false" | "0" | "off" | "no") => Ok(Some(false)),
            Some("" | "true" | "1" | "on" | "yes") => Ok(Some(true)),
            Some(_) => Err(self.invalid(key, "expected true or false")),
        }
    }

    pub(crate) fn invalid(&self, key: &str, reason: impl Into<String>) -> ConfigError {
        ConfigError::Value {
            section: self.section.clone(),
            key: key.to_owned(),
            path: self.path.clone(),
            reason: reason.into(),
        }
    }

    pub(crate) fn no_user(&self) -> ConfigError {
        ConfigError::NoUser { section: self.section.clone(), path: self.path.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &[u8], suffix: Option<&str>) -> Result<Sections, ConfigError> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        Sections::read(file.path().to_owned(), suffix)
    }

    fn options(text: &[u8]) -> Result<Options, ConfigError> {
        read(text, None)?.options(CLIENT, &|name| (name == "NAME").then(|| "value".to_owned()))
    }

    fn password(text: &str) -> Result<Option<String>, String> {
        let options = options(format!("[client]\npassword={text}\n").as_bytes()).map_err(|error| error.to_string())?;
        Ok(options.get("password").map(str::to_owned))
    }

    #[test]
    fn environment_variables_are_in_braces_and_not_in_single_quotes() {
        for (text, expected) in
            [("a${NAME}b$NAME", "avalueb$NAME"), ("\"a${NAME}\"", "avalue"), ("'a${b}c'", "a${b}c"), ("'a${b'", "a${b")]
        {
            assert_eq!(password(text), Ok(Some(expected.to_owned())));
        }
        for text in ["${NAME", "${OTHER}"] {
            assert!(password(text).unwrap_err().contains(":2: in the value of password, ${NAME}"));
        }
    }

    #[test]
    fn what_other_programs_read_is_not_judged() {
        let foreign =
            b"[mysql]\nprompt=\"${HOSTNAME_X}> \"\n# f\xfcr\n[ser\xfcr]\nx=\xfc\n[client] # mine\nuser=u\nprompt=${X\n";
        assert_eq!(options(foreign).unwrap().get("user"), Some("u"));
        let own = options(b"[client]\npassword=\xfc\n").err().unwrap().to_string();
        assert!(own.ends_with(":2: the value of password is not UTF-8 text"), "{own}");
    }

    #[test]
    fn a_byte_order_mark_is_skipped() {
        assert_eq!(options(b"\xef\xbb\xbf[client]\nuser=u\n").unwrap().get("user"), Some("u"));
    }

    #[test]
    fn keys_have_the_spellings_of_mysqls_programs() {
        let options = options(
            b"[client]\nloose-ssl_mode=REQUIRED\nskip-ssl\nenable-ssl_verify-server-cert\nenable_cleartext_plugin\n",
        )
        .unwrap();
        assert_eq!(options.get("ssl-mode"), Some("REQUIRED"));
        assert_eq!(options.switch("ssl").unwrap(), Some(false));
        assert_eq!(options.switch("ssl-verify-server-cert").unwrap(), Some(true));
        assert_eq!(options.switch("enable-cleartext-plugin").unwrap(), Some(true));
        assert_eq!(options.switch("ssl-skip-verification").unwrap(), None);
    }

    #[test]
    fn a_group_suffix_adds_to_client_in_the_files_order() {
        let text = b"[client]\nuser=a\npassword=p\n[client_x]\nuser=b\n[other]\nuser=c\n";
        let user = |suffix| {
            let options = read(text, suffix).unwrap().options(CLIENT, &|_| None).unwrap();
            (options.get("user").unwrap().to_owned(), options.get("password").unwrap().to_owned())
        };
        assert_eq!(user(None), ("a".to_owned(), "p".to_owned()));
        assert_eq!(user(Some("")), ("a".to_owned(), "p".to_owned()));
        assert_eq!(user(Some("_x")), ("b".to_owned(), "p".to_owned()));
    }

    #[test]
    fn a_section_inherits_from_its_parent() {
        let sections = read(b"[client]\nuser=u\nport=1\n[client.a]\nuser=a\n[client.a.b]\n[clients]\n", None).unwrap();
        let get = |section: &str, key| {
            let options = sections.options(section, &|_| None).unwrap();
            options.get(key).map(str::to_owned)
        };
        assert_eq!(get("client.a.b", "user").as_deref(), Some("a"));
        assert_eq!(get("client.a.b", "port").as_deref(), Some("1"));
        assert_eq!(get("clients", "port"), None);
        let mut heirs: Vec<_> = sections.heirs(CLIENT).collect();
        heirs.sort_unstable();
        assert_eq!(heirs, ["client.a", "client.a.b"]);
    }
}
