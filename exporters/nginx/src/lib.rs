//! Prometheus exporter for nginx: it reads the page of `stub_status` once per scrape.

mod collectors;
mod stub_status;
mod target;

use std::sync::Arc;
use std::time::Duration;

use exporter_toolkit::duration::positive_duration;
use exporter_toolkit::tls::{FlagNames, TlsArgs, TlsFlags};
use exporter_toolkit::{BoxError, CheckDef, Collector, Exporter, ProbeRequest};

pub use crate::target::{NginxTarget, Session};

// No Debug: the URI may contain a password.
#[derive(clap::Args)]
#[command(next_help_heading = "nginx")]
pub struct Args {
    /// Address of the page of stub_status: http://host:port/path, https:// or unix:/socket:/path
    #[arg(long = "nginx.scrape-uri", value_name = "URI", default_value = "http://127.0.0.1:8080/stub_status")]
    scrape_uri: String,

    /// Timeout for nginx's response; a shorter scrape timeout takes precedence
    #[arg(long = "nginx.timeout", value_name = "DURATION", default_value = "5s", value_parser = positive_duration)]
    timeout: Duration,

    #[command(flatten)]
    tls: TlsArgs<NginxTls>,
}

/// The Go nginx-prometheus-exporter's names.
struct NginxTls;

impl TlsFlags for NginxTls {
    const NAMES: &'static FlagNames = &FlagNames {
        ca: "nginx.ssl-ca-cert",
        certificate: "nginx.ssl-client-cert",
        key: "nginx.ssl-client-key",
        server_name: "nginx.ssl-server-name",
        skip_verify: "no-nginx.ssl-verify",
        for_what: "https:// URIs",
    };
}

pub struct NginxExporter {
    args: Args,
    target: Arc<NginxTarget>,
}

impl Exporter for NginxExporter {
    const PROGRAM: &'static str = "nginx-exporter";
    const NAMESPACE: &'static str = "nginx";
    const ABOUT: &'static str = "Prometheus exporter for nginx: connections and requests from stub_status.";
    const DEFAULT_PORT: u16 = 9113;
    const OPEN_CHECK: &'static CheckDef =
        &CheckDef { name: "connect", help: "Whether nginx returns its page of stub_status.", essential: true };

    type Args = Args;
    type Target = NginxTarget;

    fn new(args: Args) -> Result<Self, BoxError> {
        let target = NginxTarget::new(&args.scrape_uri, args.timeout, &args.tls.tls);
        let target = target.map_err(|error| format!("--nginx.scrape-uri: {error}"))?;
        target.check_files()?;
        Ok(Self { args, target: Arc::new(target) })
    }

    fn collectors() -> Vec<Box<dyn Collector<Session>>> {
        collectors::all()
    }

    fn target(&self) -> Arc<NginxTarget> {
        Arc::clone(&self.target)
    }

    fn probe(&self, request: &ProbeRequest<'_>) -> Result<NginxTarget, BoxError> {
        let target = NginxTarget::new(request.target, self.args.timeout, &self.args.tls.tls);
        Ok(target.map_err(|error| format!("target: {error}"))?)
    }
}
