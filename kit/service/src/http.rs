//! What our HTTP clients have in common.

use std::net::SocketAddr;

use reqwest::dns::{Name, Resolve, Resolving};
use reqwest::{Client, ClientBuilder, Url};

use crate::resolve;
use crate::tls::{ClientTls, TlsError};

/// A client for servers with the scheme of this URL. Reads the files of TLS for https only.
pub fn client(url: &Url, tls: &ClientTls) -> Result<ClientBuilder, TlsError> {
    // A proxy in the environment is meant for the internet. The servers are near.
    let client = Client::builder().no_proxy().dns_resolver(Resolver);
    Ok(if url.scheme() == "https" {
        client.tls_backend_preconfigured(tls.config()?)
    } else {
        // Otherwise reqwest loads the system's certificate authorities, and fails where there are none, as in a
        // container.
        client.tls_certs_only([])
    })
}

/// Without it, reqwest would call the C library.
struct Resolver;

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            // reqwest replaces port 0 with the URL's.
            let addresses = resolve::with_port(resolve::addresses(name.as_str()).await?, 0);
            Ok(Box::new(addresses.into_iter()) as Box<dyn Iterator<Item = SocketAddr> + Send>)
        })
    }
}

/// The URL without user and password, for logs and `/health`.
pub fn without_login(url: &Url) -> String {
    let mut shown = url.clone();
    // They fail for URLs that cannot contain a login.
    let _ = shown.set_username("");
    let _ = shown.set_password(None);
    shown.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logins_are_not_shown() {
        for (url, shown) in [
            ("https://me:secret@host:8443/status?x", "https://host:8443/status?x"),
            ("http://me:secret@gateway:9091/push", "http://gateway:9091/push"),
            ("http://host/;csv", "http://host/;csv"),
        ] {
            assert_eq!(without_login(&url.parse().unwrap()), shown);
        }
    }
}
