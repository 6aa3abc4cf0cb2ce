//! `--web.config.file`: TLS, users, headers and a rate limit, in the YAML of the Go exporter-toolkit.
//!
//! An invalid file fails the start or the reload with one line that names the key. A value that only the Go toolkit
//! supports is invalid as well: the operator must not assume that a curve or a cipher is in use when it is not.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use hyper::header::{HeaderName, HeaderValue};
use serde::Deserialize;
use serde_saphyr::UserMessageFormatter;
use service_kit::file::read_text;

use crate::error::KeyError;
use crate::headers::HttpSection;
use crate::rate_limit::{RateLimit, RateLimitSection};
use crate::tls::{Tls, TlsSection};
use crate::users::Users;

#[derive(Debug, thiserror::Error)]
#[error("--web.config.file={}: {reason}", path.display())]
pub struct ConfigError {
    path: PathBuf,
    reason: Reason,
}

#[derive(Debug, thiserror::Error)]
enum Reason {
    #[error("cannot read the file: {0}")]
    Read(io::Error),
    #[error("{0}")]
    Yaml(String),
    #[error(transparent)]
    Key(#[from] KeyError),
}

/// The configuration that one file describes. The default is plain HTTP without users.
#[derive(Default)]
pub struct WebConfig {
    pub(crate) tls: Option<Arc<Tls>>,
    pub(crate) users: Option<Users>,
    pub(crate) headers: Vec<(HeaderName, HeaderValue)>,
    pub(crate) rate_limit: Option<RateLimit>,
}

impl fmt::Debug for WebConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The values contain hashes and keys.
        f.debug_struct("WebConfig")
            .field("tls", &self.has_tls())
            .field("users", &self.has_users())
            .finish_non_exhaustive()
    }
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Sections {
    tls_server_config: Option<TlsSection>,
    http_server_config: Option<HttpSection>,
    basic_auth_users: Option<BTreeMap<String, String>>,
    rate_limit: Option<RateLimitSection>,
}

impl WebConfig {
    pub fn has_tls(&self) -> bool {
        self.tls.is_some()
    }

    pub fn has_users(&self) -> bool {
        self.users.is_some()
    }

    /// Reads the file and all files that it names. This call blocks.
    pub(crate) fn load(path: &Path) -> Result<Self, ConfigError> {
        let load = || {
            let text = read_text(path).map_err(Reason::Read)?;
            // Paths are relative to the file, so they do not depend on where the program is started.
            Self::parse(&text, path.parent().unwrap_or(Path::new("")))
        };
        load().map_err(|reason| ConfigError { path: path.to_owned(), reason })
    }

    fn parse(text: &str, directory: &Path) -> Result<Self, Reason> {
        // Without the lines around an error: they may contain a key or a hash.
        let options = serde_saphyr::options! { with_snippet: false };
        let mut key = String::new();
        let sections: Option<Sections> = serde_saphyr::with_deserializer_from_str_with_options(text, options, |yaml| {
            serde_path_to_error::deserialize(yaml).map_err(|error| {
                key = error.path().to_string();
                error.into_inner()
            })
        })
        .map_err(|error| {
            let error = error.render_with_formatter(&UserMessageFormatter).lines().collect::<Vec<_>>().join(" ");
            // A dot is the whole file.
            Reason::Yaml(if matches!(key.as_str(), "" | ".") { error } else { format!("{key}: {error}") })
        })?;
        let sections = sections.unwrap_or_default();
        let tls = match sections.tls_server_config.map(|section| section.settings(directory)).transpose()?.flatten() {
            Some(settings) => Some(Arc::new(Tls::load(settings)?)),
            None => None,
        };
        Ok(Self {
            tls,
            users: Users::new(sections.basic_auth_users.unwrap_or_default())?,
            headers: sections.http_server_config.unwrap_or_default().headers()?,
            rate_limit: sections.rate_limit.map(RateLimitSection::limit).transpose()?.flatten(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::users::Access;

    const DIRECTORY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/web_config");

    fn fixtures(end: &str) -> Vec<PathBuf> {
        let files = std::fs::read_dir(DIRECTORY).unwrap().map(|entry| entry.unwrap().path());
        let mut files: Vec<_> = files.filter(|path| path.to_str().unwrap().ends_with(end)).collect();
        files.sort();
        files
    }

    #[test]
    fn good_files_load() {
        let good = fixtures(".good.yml");
        assert!(good.len() >= 5, "{good:?}");
        for path in good {
            if let Err(error) = WebConfig::load(&path) {
                panic!("{error}");
            }
        }
    }

    /// The first line of each file is `# error: ` and a part of the expected error.
    #[test]
    fn bad_files_fail_with_one_line_that_names_the_key() {
        let bad = fixtures(".bad.yml");
        assert!(bad.len() >= 20, "{bad:?}");
        for path in bad {
            let text = std::fs::read_to_string(&path).unwrap();
            let expected = text.lines().next().unwrap().strip_prefix("# error: ").unwrap();
            let Err(error) = WebConfig::load(&path) else { panic!("{} loads", path.display()) };
            let error = error.to_string();
            let flag = format!("--web.config.file={}: ", path.display());
            let error = error.strip_prefix(&flag).unwrap();
            assert!(error.contains(expected) && !error.contains('\n'), "{error:?} does not contain {expected:?}");
            assert!(!error.contains("SECRET"), "{error}");
        }
    }

    #[test]
    fn an_empty_file_changes_nothing() {
        for text in
            ["", "# nothing\n", "---\n", "tls_server_config:\nbasic_auth_users:\nhttp_server_config:\n  headers:\n"]
        {
            let config = WebConfig::parse(text, Path::new("")).unwrap();
            assert!(config.tls.is_none() && config.users.is_none() && config.headers.is_empty(), "{text:?}");
        }
    }

    #[tokio::test]
    async fn the_example_in_the_readme_works() {
        let readme = include_str!("../README.md");
        let example = readme.split_once("```yaml\n").unwrap().1.split_once("```").unwrap().0;
        let config = WebConfig::parse(example, Path::new(DIRECTORY)).unwrap();
        assert!(config.tls.is_some() && config.rate_limit.is_some() && config.headers.len() == 5);
        // prometheus:scrape
        let authorization = HeaderValue::from_static("Basic cHJvbWV0aGV1czpzY3JhcGU=");
        assert_eq!(config.users.unwrap().access(Some(&authorization)).await, Access::Granted);
        // The commented-out lines must be valid as well.
        let commented_out = example.replace("\n  # ", "\n  ");
        WebConfig::parse(&commented_out, Path::new(DIRECTORY)).unwrap();
    }

    #[test]
    fn a_folded_header_is_one_line() {
        let text = "http_server_config:\n  headers:\n    Content-Security-Policy: >\n      default-src 'self';\n      \
                    frame-ancestors 'none'\n";
        let headers = WebConfig::parse(text, Path::new("")).unwrap().headers;
        assert_eq!(headers[0].1, "default-src 'self'; frame-ancestors 'none'");
    }

    #[test]
    fn headers_have_the_values_of_the_file() {
        let text = "http_server_config:\n  headers:\n    X-Frame-Options: deny\n    \
                    Strict-Transport-Security: max-age=1\n    X-XSS-Protection: ''\n";
        let headers = WebConfig::parse(text, Path::new("")).unwrap().headers;
        let headers: Vec<_> = headers.iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap())).collect();
        assert_eq!(headers, [("x-frame-options", "deny"), ("strict-transport-security", "max-age=1")]);
    }
}
