//! The flags of where to report to.

use clap::Args;
use reqwest::Url;
use service_kit::tls::{FlagNames, TlsArgs, TlsFlags};

use crate::report::Targets;

#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Reports")]
pub struct ReportArgs {
    /// Pushgateway to which to push each run's result, such as http://127.0.0.1:9091; a failed push is only logged
    #[arg(long = "pushgateway.url", value_name = "URL", value_parser = parse_gateway)]
    pub pushgateway: Option<Url>,

    #[command(flatten)]
    pub pushgateway_tls: TlsArgs<PushgatewayTls>,

    /// URL to request after a complete backup, such as the ping of a health check
    #[arg(long = "on-success", value_name = "URL", value_parser = parse_url)]
    pub on_success: Option<Url>,

    /// URL to request after a failed or partial run
    #[arg(long = "on-failure", value_name = "URL", value_parser = parse_url)]
    pub on_failure: Option<Url>,
}

#[derive(Debug, Clone)]
pub struct PushgatewayTls;

impl TlsFlags for PushgatewayTls {
    const NAMES: &'static FlagNames = &FlagNames {
        ca: "pushgateway.ssl-ca-cert",
        certificate: "pushgateway.ssl-client-cert",
        key: "pushgateway.ssl-client-key",
        server_name: "pushgateway.ssl-server-name",
        skip_verify: "no-pushgateway.ssl-verify",
        for_what: "an https:// Pushgateway",
    };
}

impl ReportArgs {
    pub(crate) fn targets(self) -> Targets {
        Targets {
            pushgateway: self.pushgateway,
            pushgateway_tls: self.pushgateway_tls.tls,
            on_success: self.on_success,
            on_failure: self.on_failure,
        }
    }
}

fn parse_gateway(text: &str) -> Result<Url, String> {
    let url = parse_url(text)?;
    if url.query().is_none() && url.fragment().is_none() {
        Ok(url)
    } else {
        Err("expected http://host:port or https://host:port".to_owned())
    }
}

fn parse_url(text: &str) -> Result<Url, String> {
    let url: Option<Url> = text.parse().ok();
    let url = url.filter(|url| matches!(url.scheme(), "http" | "https"));
    url.ok_or_else(|| "expected a URL that begins with http:// or https://".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gateway_is_an_http_url() {
        for text in ["http://127.0.0.1:9091", "https://me:secret@gateway.example/push/"] {
            assert!(parse_gateway(text).is_ok(), "{text}");
        }
        for text in
            ["", "localhost:9091", "127.0.0.1:9091", "ftp://gateway", "http://gateway/?a=b", "http://gateway/#a"]
        {
            assert!(parse_gateway(text).is_err(), "{text}");
        }
    }
}
