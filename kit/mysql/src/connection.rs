//! Connections that every program makes in the same way.

use mysql_async::{Conn, OptsBuilder};
use service_kit::address::Address;
use service_kit::resolve;

/// Options for one server and account. No packet of the server may be larger than `max_packet` bytes.
pub fn options(address: &Address, user: &str, password: Option<&str>, max_packet: usize) -> OptsBuilder {
    let options = OptsBuilder::default()
        .user(Some(user))
        .pass(password)
        // The driver queries the server for these two on each connect unless they are given.
        .max_allowed_packet(Some(max_packet))
        .wait_timeout(Some(28_800))
        // The driver would query the server for its socket and connect a second time through it.
        .prefer_socket(false);
    match address {
        Address::Tcp { host, port } => options.ip_or_hostname(host).tcp_port(*port),
        Address::Unix(path) => options.socket(Some(path.to_string_lossy())),
    }
}

/// Connects with these options. The host is resolved here: the driver's lookup would hold a thread beyond any deadline.
pub async fn connect(address: &Address, options: OptsBuilder) -> mysql_async::Result<Conn> {
    let ips = match address {
        Address::Tcp { host, .. } => Some(resolve::addresses(host).await?),
        Address::Unix(_) => None,
    };
    Conn::new(options.resolved_ips(ips)).await
}

#[cfg(test)]
mod tests {
    use mysql_async::Opts;

    use super::*;

    #[test]
    fn the_driver_queries_no_settings_on_connect() {
        let address = Address::parse("db", 3306).unwrap();
        let options = Opts::from(options(&address, "exporter", Some("secret"), 1 << 20));
        assert_eq!((options.ip_or_hostname(), options.tcp_port()), ("db", 3306));
        assert_eq!((options.user(), options.pass()), (Some("exporter"), Some("secret")));
        assert_eq!((options.max_allowed_packet(), options.wait_timeout()), (Some(1 << 20), Some(28_800)));
        assert!(!options.prefer_socket());
    }
}
