//! A host's addresses: from /etc/hosts, else from the name servers in /etc/resolv.conf, as Go's programs look them up.
//!
//! Not by the C library's `getaddrinfo`. It holds a thread for as long as a silent name server keeps it, 10 s with the usual settings, whatever
//! deadline there is; and in a static program, which ours are when they are shipped, it loads the machine's own C library beside the one within,
//! and crashes where the two differ. The price: what only a plugin of the C library knows (mDNS, LDAP) has no address here.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use hickory_resolver::config::{NameServerConfig, ResolverConfig, ResolverOpts};
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::{Resolver, system_conf};
use tokio::net::TcpStream;

#[derive(Debug, thiserror::Error)]
enum ResolveError {
    #[error("{address:?} is no HOST:PORT")]
    Address { address: String },
    #[error("{host:?} can't be a host's name: {source}")]
    Name { host: String, source: NetError },
    #[error("the name {host} is neither in /etc/hosts nor in DNS")]
    Unknown { host: String },
    #[error("no name server in /etc/resolv.conf could tell the address of {host}: {source}")]
    NameServers { host: String, source: NetError },
}

impl From<ResolveError> for io::Error {
    fn from(error: ResolveError) -> Self {
        Self::other(error)
    }
}

/// Connects to a host, by one after the other of its addresses.
pub async fn connect(host: &str, port: u16) -> io::Result<TcpStream> {
    let addresses = addresses(host).await?;
    TcpStream::connect(&*with_port(addresses, port)).await
}

/// Connects to `HOST:PORT`; an IPv6 address stands in brackets.
pub async fn connect_to(address: &str) -> io::Result<TcpStream> {
    TcpStream::connect(&*socket_addresses(address).await?).await
}

/// The addresses of `HOST:PORT`.
pub async fn socket_addresses(address: &str) -> io::Result<Vec<SocketAddr>> {
    if let Ok(address) = address.parse() {
        return Ok(vec![address]);
    }
    let parts = address.rsplit_once(':').and_then(|(host, port)| Some((host, port.parse().ok()?)));
    let (host, port) = parts.ok_or_else(|| ResolveError::Address { address: address.to_owned() })?;
    Ok(with_port(addresses(host).await?, port))
}

/// The addresses of a host; an address is its own.
pub async fn addresses(host: &str) -> io::Result<Vec<IpAddr>> {
    if let Ok(address) = host.parse() {
        return Ok(vec![address]);
    }
    // Read at each lookup, which comes with a new connection, once a minute: what they say may have changed.
    let (config, options) = system_conf::read_system_conf().unwrap_or_else(|_| c_library_default());
    // Boxed, lest it make everything that may come to a connection 2 kB larger.
    Ok(Box::pin(look_up(host, config, options)).await?)
}

async fn look_up(host: &str, config: ResolverConfig, options: ResolverOpts) -> Result<Vec<IpAddr>, ResolveError> {
    let name_servers = |source| ResolveError::NameServers { host: host.to_owned(), source };
    let builder = Resolver::builder_with_config(config, TokioRuntimeProvider::default()).with_options(options);
    let found = builder.build().map_err(name_servers)?.lookup_ip(host).await;
    match found {
        Ok(found) => Ok(found.iter().collect()),
        Err(error) if error.is_no_records_found() => Err(ResolveError::Unknown { host: host.to_owned() }),
        Err(source @ NetError::Proto(_)) => Err(ResolveError::Name { host: host.to_owned(), source }),
        Err(source) => Err(name_servers(source)),
    }
}

/// Where /etc/resolv.conf is missing or names no server: one on this machine.
fn c_library_default() -> (ResolverConfig, ResolverOpts) {
    let local = NameServerConfig::udp_and_tcp(Ipv4Addr::LOCALHOST.into());
    (ResolverConfig::from_parts(None, Vec::new(), vec![local]), ResolverOpts::default())
}

fn with_port(addresses: Vec<IpAddr>, port: u16) -> Vec<SocketAddr> {
    addresses.into_iter().map(|address| SocketAddr::new(address, port)).collect()
}

#[cfg(test)]
mod tests {
    use std::process::Stdio;
    use std::time::Duration;

    use tokio::net::{TcpListener, UdpSocket};
    use tokio::process::Command;
    use tokio::time::timeout;

    use super::*;

    #[tokio::test]
    async fn addresses_and_names_of_this_machine_need_no_name_server() {
        for (address, expected) in [
            ("127.0.0.1:80", &["127.0.0.1:80"][..]),
            ("[::1]:80", &["[::1]:80"]),
            ("localhost:80", &["127.0.0.1:80", "[::1]:80"]),
            ("LocalHost:80", &["127.0.0.1:80", "[::1]:80"]),
        ] {
            let found = socket_addresses(address).await.unwrap();
            assert!(!found.is_empty());
            for address in found {
                assert!(expected.contains(&address.to_string().as_str()), "{address}");
            }
        }
        assert_eq!(addresses("::1").await.unwrap(), ["::1".parse::<IpAddr>().unwrap()]);
    }

    #[tokio::test]
    async fn one_of_several_addresses_suffices() {
        // /etc/hosts may give localhost ::1 as well, where nothing listens.
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        connect("localhost", port).await.unwrap();
        connect_to(&format!("localhost:{port}")).await.unwrap();
    }

    #[tokio::test]
    async fn errors_tell_the_name_and_what_is_wrong_with_it() {
        for (address, expected) in [
            ("localhost", "is no HOST:PORT"),
            ("localhost:http", "is no HOST:PORT"),
            // Reserved never to be a name.
            ("db.invalid:3306", "the name db.invalid is neither in /etc/hosts nor in DNS"),
            ("a..b:3306", "\"a..b\" can't be a host's name"),
        ] {
            let error = socket_addresses(address).await.unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }

    /// As if /etc/resolv.conf named this one server; there it could have no port.
    fn only_server(port: u16) -> (ResolverConfig, ResolverOpts) {
        let mut server = NameServerConfig::udp(Ipv4Addr::LOCALHOST.into());
        server.connections[0].port = port;
        let mut options = ResolverOpts::default();
        options.attempts = 1;
        let search = vec!["example".parse().unwrap()];
        (ResolverConfig::from_parts(None, search, vec![server]), options)
    }

    #[tokio::test]
    async fn a_name_server_knows_the_rest() {
        let port = UdpSocket::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
        let server = Command::new("dnsmasq")
            .args(["--keep-in-foreground", "--conf-file=/dev/null", "--pid-file", "--no-resolv", "--no-hosts"])
            .args(["--listen-address=127.0.0.1", "--bind-interfaces", "--local=/example/"])
            .args(["--host-record=db.example,192.0.2.1,2001:db8::1", "--cname=primary.example,db.example"])
            .arg(format!("--port={port}"))
            // A user's PATH may lack the directory in which it is.
            .env("PATH", "/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin")
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn();
        let _server = server.expect("dnsmasq can be started");
        let look_up = async |host| {
            let (config, options) = only_server(port);
            look_up(host, config, options).await.map(|mut found| {
                found.sort();
                found.iter().map(ToString::to_string).collect::<Vec<_>>()
            })
        };
        let answers = async {
            while look_up("db.example").await.is_err() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        timeout(Duration::from_secs(10), answers).await.expect("dnsmasq answers");
        for host in ["db.example", "db.example.", "DB", "primary"] {
            assert_eq!(look_up(host).await.unwrap(), ["192.0.2.1", "2001:db8::1"], "{host}");
        }
        let error = look_up("other.example").await.unwrap_err();
        assert!(matches!(error, ResolveError::Unknown { .. }), "{error}");
    }

    /// A name server that misbehaves.
    async fn name_server(answer: fn(&[u8]) -> Option<Vec<u8>>) -> (ResolverConfig, ResolverOpts) {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let server = only_server(socket.local_addr().unwrap().port());
        tokio::spawn(async move {
            let mut query = [0; 512];
            loop {
                let (length, client) = socket.recv_from(&mut query).await.unwrap();
                if let Some(answer) = answer(&query[..length]) {
                    socket.send_to(&answer, client).await.unwrap();
                }
            }
        });
        server
    }

    #[tokio::test]
    async fn a_silent_name_server_holds_nothing_but_the_caller_until_its_deadline() {
        let (config, options) = name_server(|_| None).await;
        let lookup = look_up("db.example", config, options);
        assert!(timeout(Duration::from_millis(100), lookup).await.is_err());
    }

    #[tokio::test]
    async fn a_refusal_names_the_name_servers() {
        // The same message as an answer, with the code REFUSED.
        let (config, options) = name_server(|query| {
            let mut answer = query.to_vec();
            answer[2] |= 0x80;
            answer[3] = answer[3] & 0xf0 | 5;
            Some(answer)
        })
        .await;
        let error = look_up("db.example", config, options).await.unwrap_err().to_string();
        assert!(
            error.starts_with("no name server in /etc/resolv.conf could tell the address of db.example"),
            "{error}"
        );
    }
}
