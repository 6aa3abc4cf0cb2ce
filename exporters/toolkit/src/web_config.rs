//! `--web.config.file`: TLS, users, headers and a rate limit, in the YAML of the Go exporter-toolkit.
//!
//! What is wrong stops the start, or refuses a reload, with one line that names the key. What that toolkit knows and this one can't do is
//! wrong, too: an operator who asks for a curve or a cipher must not believe to have it.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use hyper::header::{HeaderName, HeaderValue};
use serde::Deserialize;
use serde_saphyr::UserMessageFormatter;
use tokio::sync::watch;

use crate::auth::Users;
use crate::flags::read_text;
use crate::rate_limit::{RateLimit, RateLimitSection};
use crate::tls::{Tls, TlsSection};

/// One key that can't be honoured. Its text never holds a value that may be a secret.
#[derive(Debug, thiserror::Error)]
#[error("{key}: {reason}")]
pub(crate) struct Wrong {
    pub(crate) key: String,
    pub(crate) reason: String,
}

impl Wrong {
    pub(crate) fn new(key: impl Into<String>, reason: impl Into<String>) -> Self {
        Self { key: key.into(), reason: reason.into() }
    }
}

#[derive(Debug, thiserror::Error)]
enum Problem {
    #[error("cannot read it: {0}")]
    Read(io::Error),
    #[error("{0}")]
    Yaml(String),
    #[error(transparent)]
    Key(#[from] Wrong),
}

#[derive(Debug, thiserror::Error)]
#[error("--web.config.file={}: {problem}", path.display())]
pub(crate) struct WebConfigError {
    path: PathBuf,
    problem: Problem,
}

/// What one reading of the file asks for. Without a file: plain HTTP for everybody.
#[derive(Default)]
pub(crate) struct WebConfig {
    pub(crate) tls: Option<Arc<Tls>>,
    pub(crate) users: Option<Users>,
    pub(crate) headers: Vec<(HeaderName, HeaderValue)>,
    pub(crate) rate_limit: Option<RateLimit>,
}

impl fmt::Debug for WebConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Without values: there are hashes and keys in it.
        f.debug_struct("WebConfig").field("tls", &self.tls.is_some()).field("users", &self.users.is_some()).finish()
    }
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct File {
    tls_server_config: Option<TlsSection>,
    http_server_config: Option<HttpSection>,
    basic_auth_users: Option<BTreeMap<String, String>>,
    rate_limit: Option<RateLimitSection>,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct HttpSection {
    http2: Option<bool>,
    headers: Option<Headers>,
}

/// The headers that may be set: with any other one, the answers of exporters would no longer look alike.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Headers {
    #[serde(rename = "Content-Security-Policy")]
    content_security_policy: Option<String>,
    #[serde(rename = "X-Frame-Options")]
    x_frame_options: Option<String>,
    #[serde(rename = "X-Content-Type-Options")]
    x_content_type_options: Option<String>,
    #[serde(rename = "X-XSS-Protection")]
    x_xss_protection: Option<String>,
    #[serde(rename = "Strict-Transport-Security")]
    strict_transport_security: Option<String>,
}

impl Headers {
    fn parse(self) -> Result<Vec<(HeaderName, HeaderValue)>, Wrong> {
        let any: &[&str] = &[];
        let all = [
            ("Content-Security-Policy", self.content_security_policy, any),
            ("X-Frame-Options", self.x_frame_options, &["deny", "sameorigin"]),
            ("X-Content-Type-Options", self.x_content_type_options, &["nosniff"]),
            ("X-XSS-Protection", self.x_xss_protection, any),
            ("Strict-Transport-Security", self.strict_transport_security, any),
        ];
        let mut headers = Vec::new();
        for (name, value, allowed) in all {
            let Some(value) = value.filter(|value| !value.is_empty()) else { continue };
            let wrong = |reason: String| Wrong::new(format!("http_server_config.headers.{name}"), reason);
            if !allowed.is_empty() && !allowed.contains(&value.as_str()) {
                return Err(wrong(format!("expected is {}", allowed.join(" or "))));
            }
            let value = HeaderValue::from_str(&value).map_err(|_| wrong("this is no value of a header".to_owned()))?;
            let name = HeaderName::from_bytes(name.as_bytes()).map_err(|error| wrong(error.to_string()))?;
            headers.push((name, value));
        }
        Ok(headers)
    }
}

impl WebConfig {
    /// Reads the file and all files that it names. It blocks.
    pub(crate) fn load(path: &Path) -> Result<Self, WebConfigError> {
        let load = || {
            let text = read_text(path).map_err(Problem::Read)?;
            // Paths in it are relative to the file, so that it means the same wherever the exporter is started.
            Self::parse(&text, path.parent().unwrap_or(Path::new("")))
        };
        load().map_err(|problem| WebConfigError { path: path.to_owned(), problem })
    }

    fn parse(text: &str, directory: &Path) -> Result<Self, Problem> {
        // Without the lines around an error: they may be a key or a hash.
        let options = serde_saphyr::options! { with_snippet: false };
        let mut key = String::new();
        let file: Option<File> = serde_saphyr::with_deserializer_from_str_with_options(text, options, |yaml| {
            serde_path_to_error::deserialize(yaml).map_err(|error| {
                key = error.path().to_string();
                error.into_inner()
            })
        })
        .map_err(|error| {
            let error = error.render_with_formatter(&UserMessageFormatter).lines().collect::<Vec<_>>().join(" ");
            // A dot is the whole file.
            Problem::Yaml(if matches!(key.as_str(), "" | ".") { error } else { format!("{key}: {error}") })
        })?;
        let file = file.unwrap_or_default();
        let http = file.http_server_config.unwrap_or_default();
        let tls = match file.tls_server_config.map(|section| section.settings(directory)).transpose()?.flatten() {
            Some(settings) => Some(Arc::new(Tls::load(settings)?)),
            None => None,
        };
        if http.http2 == Some(true) {
            // The default of the Go toolkit, so it stands in many files; it permits HTTP/2 and does not demand it.
            tracing::warn!("http_server_config.http2: only HTTP/1.1 is spoken here, which every client falls back to");
        }
        Ok(Self {
            tls,
            users: Users::new(file.basic_auth_users.unwrap_or_default())?,
            headers: http.headers.unwrap_or_default().parse()?,
            rate_limit: file.rate_limit.map(RateLimitSection::limit).transpose()?.flatten(),
        })
    }
}

/// The configuration in force, and where to read the next one.
pub(crate) struct Web {
    file: Option<PathBuf>,
    in_force: watch::Sender<Arc<WebConfig>>,
}

impl Web {
    pub(crate) fn load(file: Option<PathBuf>) -> Result<Self, WebConfigError> {
        let web = Self { file, in_force: watch::Sender::default() };
        if let Some(config) = web.read()? {
            web.put_in_force(config);
        }
        Ok(web)
    }

    /// The file as it is now, if there is one. It blocks.
    pub(crate) fn read(&self) -> Result<Option<WebConfig>, WebConfigError> {
        self.file.as_deref().map(WebConfig::load).transpose()
    }

    pub(crate) fn put_in_force(&self, config: WebConfig) {
        self.in_force.send_replace(Arc::new(config));
    }

    pub(crate) fn config(&self) -> Arc<WebConfig> {
        Arc::clone(&self.in_force.borrow())
    }

    /// Tells when another one comes into force.
    pub(crate) fn subscribe(&self) -> watch::Receiver<Arc<WebConfig>> {
        self.in_force.subscribe()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::Access;

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

    /// The first line of each says, after `# error: `, what the text of the error has to contain.
    #[test]
    fn bad_files_are_refused_in_one_line_that_names_the_key() {
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
    fn an_empty_file_asks_for_nothing() {
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
        // What is commented out is right as well.
        let commented_out = example.replace("\n  # ", "\n  ");
        WebConfig::parse(&commented_out, Path::new(DIRECTORY)).unwrap();
    }

    #[test]
    fn headers_are_set_as_they_are_written() {
        let text = "http_server_config:\n  headers:\n    X-Frame-Options: deny\n    Strict-Transport-Security: max-age=1\n    X-XSS-Protection: ''\n";
        let headers = WebConfig::parse(text, Path::new("")).unwrap().headers;
        let headers: Vec<_> = headers.iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap())).collect();
        assert_eq!(headers, [("x-frame-options", "deny"), ("strict-transport-security", "max-age=1")]);
    }
}
