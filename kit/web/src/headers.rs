//! `http_server_config` of the web configuration: response headers.

use hyper::header::{HeaderName, HeaderValue};
use serde::Deserialize;

use crate::error::KeyError;

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct HttpSection {
    http2: Option<bool>,
    headers: Option<HeadersSection>,
}

/// The headers that can be set. Any other header could change how clients read the responses.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct HeadersSection {
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

impl HttpSection {
    pub(crate) fn headers(self) -> Result<Vec<(HeaderName, HeaderValue)>, KeyError> {
        if self.http2 == Some(true) {
            // The default of the Go toolkit, so many files have it. It permits HTTP/2 and does not demand it.
            tracing::warn!("http_server_config.http2 is not supported; serving HTTP/1.1");
        }
        self.headers.unwrap_or_default().parse()
    }
}

impl HeadersSection {
    fn parse(self) -> Result<Vec<(HeaderName, HeaderValue)>, KeyError> {
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
            // A folded block of YAML (`>`) ends in a newline, which Go's server trims as well.
            let Some(value) = value.map(|value| value.trim().to_owned()) else { continue };
            if value.is_empty() && allowed.is_empty() {
                continue;
            }
            let error = |reason: String| KeyError::new(format!("http_server_config.headers.{name}"), reason);
            if !allowed.is_empty() && !allowed.contains(&value.as_str()) {
                return Err(error(format!("expected {}", allowed.join(" or "))));
            }
            let value = HeaderValue::from_str(&value).map_err(|_| error("not a valid header value".to_owned()))?;
            let name = HeaderName::from_bytes(name.as_bytes()).map_err(|source| error(source.to_string()))?;
            headers.push((name, value));
        }
        Ok(headers)
    }
}
