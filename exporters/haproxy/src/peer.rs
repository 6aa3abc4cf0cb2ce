//! Flags of the retired haproxy_exporter that have no effect here, so that its service files start this exporter.

use tracing::warn;

#[derive(clap::Args)]
#[group(skip)]
pub(crate) struct PeerArgs {
    /// Verify the TLS certificate; this is the default
    #[arg(long = "haproxy.ssl-verify", hide = true)]
    _ssl_verify: bool,

    /// Ignored: the runtime socket has the process
    #[arg(long = "haproxy.pid-file", value_name = "FILE", hide = true, default_value = "")]
    pid_file: String,

    /// Ignored: HAProxy is near, and a proxy is not
    #[arg(long = "http.proxy-from-env", hide = true)]
    proxy_from_env: bool,
}

impl PeerArgs {
    /// One line that names the flags without effect.
    pub(crate) fn warn(&self) {
        let ignored = self.ignored();
        if !ignored.is_empty() {
            warn!(flags = ignored.join(", "), "flags of haproxy_exporter without effect");
        }
    }

    fn ignored(&self) -> Vec<&'static str> {
        let given = [
            (!self.pid_file.is_empty(), "--haproxy.pid-file (use the runtime socket)"),
            (self.proxy_from_env, "--http.proxy-from-env (HAProxy is reached directly)"),
        ];
        given.into_iter().filter_map(|(given, flag)| given.then_some(flag)).collect()
    }
}
