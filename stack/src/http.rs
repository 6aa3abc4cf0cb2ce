//! HTTP as a test needs it: a status, headers and a body, never through a proxy, never without a deadline.

use std::sync::Once;
use std::time::Duration;

use reqwest::header::HeaderMap;
use reqwest::{Client, Method};

use crate::error::Error;

const TIMEOUT: Duration = Duration::from_secs(10);

#[derive(Clone, Debug)]
pub struct Reply {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
}

impl Reply {
    /// The first header of that name; empty if there is none.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// `Null` if the body isn't JSON, so that a test's look-up fails showing what it looked for.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }
}

pub async fn get(url: &str) -> Result<Reply, Error> {
    get_within(url, &[], TIMEOUT).await
}

pub async fn get_with(url: &str, headers: &[(&str, &str)]) -> Result<Reply, Error> {
    get_within(url, headers, TIMEOUT).await
}

pub async fn get_within(url: &str, headers: &[(&str, &str)], timeout: Duration) -> Result<Reply, Error> {
    request(Method::GET, url, headers, Vec::new(), timeout).await
}

pub async fn post_json(url: &str, headers: &[(&str, &str)], body: &serde_json::Value) -> Result<Reply, Error> {
    let mut all = vec![("content-type", "application/json")];
    all.extend_from_slice(headers);
    request(Method::POST, url, &all, body.to_string().into_bytes(), TIMEOUT).await
}

/// On a connection of its own: a pool would outlive the runtime of the test that filled it.
pub async fn request(
    method: Method,
    url: &str,
    headers: &[(&str, &str)],
    body: Vec<u8>,
    timeout: Duration,
) -> Result<Reply, Error> {
    let failed = |error: &dyn std::error::Error| Error::Http {
        method: method.to_string(),
        url: url.to_owned(),
        reason: chain(error),
    };
    let client = client(0).map_err(|error| failed(&error))?;
    let mut request = client.request(method.clone(), url).timeout(timeout).body(body);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let response = request.send().await.map_err(|error| failed(&error))?;
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    let body = response.bytes().await.map_err(|error| failed(&error))?.to_vec();
    Ok(Reply { status, headers, body })
}

/// A client that keeps at most `idle` connections per host, for load: `client(0)` opens one per request.
pub fn client(idle: usize) -> Result<Client, reqwest::Error> {
    static PROVIDER: Once = Once::new();
    // reqwest is built without a TLS provider and panics when none is installed, even for plain HTTP.
    PROVIDER.call_once(|| {
        // An error means that one is already installed.
        let _ = rustls::crypto::ring::default_provider().install_default();
    });
    Client::builder()
        .no_proxy()
        // All is plain HTTP on loopback; parsing the system's certificates costs 27 ms a client.
        .tls_certs_only([])
        .redirect(reqwest::redirect::Policy::none())
        .pool_max_idle_per_host(idle)
        .build()
}

/// reqwest's own sentence hides the cause ("error sending request"); the chain says "connection refused".
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}
