//! The addresses of a host: those in /etc/hosts, else those that the name servers in /etc/resolv.conf return. The first
//! server is queried first.
//!
//! The C library's `getaddrinfo` is not used. While a name server is silent it holds a thread, for 10 s with the usual
//! settings, whatever deadline the caller has. In a static program, as we ship, it loads the machine's own C library
//! and crashes if the two differ. The price: a name that only a plugin of the C library resolves (mDNS, LDAP) has no
//! address here.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::str::FromStr as _;
use std::time::Duration;

use hickory_resolver::config::{LookupIpStrategy, NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts};
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::ProtoError;
use hickory_resolver::proto::rr::Name;
use hickory_resolver::{Resolver, system_conf};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Deadline of a lookup: half of a scrape's usual 10 s, so that a scrape reports why the lookup failed and not only its
/// own timeout.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(5);

/// Deadline of one name server; resolv.conf may set less. The C library's 5 s would leave no time for the next server.
const SERVER_TIMEOUT: Duration = Duration::from_secs(2);

#[derive(Debug, thiserror::Error)]
enum ResolveError {
    #[error("invalid address {address:?}: expected HOST:PORT")]
    Address { address: String },
    #[error("invalid host name {host:?}: {source}")]
    Name { host: String, source: ProtoError },
    #[error("cannot look up {host}: /etc/resolv.conf: {reason}")]
    Configuration { host: String, reason: String },
    #[error("host name {host} not found in /etc/hosts or DNS")]
    Unknown { host: String },
    #[error("cannot look up {host}: no name server in /etc/resolv.conf answered: {source}")]
    NameServers { host: String, source: NetError },
}

impl From<ResolveError> for io::Error {
    fn from(error: ResolveError) -> Self {
        Self::other(error)
    }
}

/// Connects to a host; tries its addresses one after the other.
pub async fn connect(host: &str, port: u16) -> io::Result<TcpStream> {
    let addresses = addresses(host).await?;
    TcpStream::connect(&*with_port(addresses, port)).await
}

/// Connects to `HOST:PORT`; an IPv6 address is in brackets.
pub async fn connect_to(address: &str) -> io::Result<TcpStream> {
    TcpStream::connect(&*socket_addresses(address).await?).await
}

/// The addresses of `HOST:PORT`.
pub async fn socket_addresses(address: &str) -> io::Result<Vec<SocketAddr>> {
    if let Ok(address) = address.parse() {
        return Ok(vec![address]);
    }
    let parts = address.rsplit_once(':').filter(|(host, _)| !host.is_empty());
    let parts = parts.and_then(|(host, port)| Some((host, port.parse().ok()?)));
    let (host, port) = parts.ok_or_else(|| ResolveError::Address { address: address.to_owned() })?;
    Ok(with_port(addresses(host).await?, port))
}

/// The addresses of a host; an address is its own.
pub async fn addresses(host: &str) -> io::Result<Vec<IpAddr>> {
    if let Ok(address) = host.parse() {
        return Ok(vec![address]);
    }
    // Both files are read at each lookup, because they may have changed. A file that can't be read counts as empty.
    let hosts = in_hosts(&std::fs::read("/etc/hosts").unwrap_or_default(), host);
    if !hosts.is_empty() {
        return Ok(hosts);
    }
    let settings = Settings::parse(&std::fs::read("/etc/resolv.conf").unwrap_or_default());
    let settings = settings.map_err(|reason| ResolveError::Configuration { host: host.to_owned(), reason })?;
    // Boxed: it would make every future that may connect 2 kB larger.
    Ok(Box::pin(in_dns(host, settings)).await?)
}

/// The addresses of a name in /etc/hosts: on each line an address, its names, and perhaps a comment.
fn in_hosts(text: &[u8], host: &str) -> Vec<IpAddr> {
    let host = host.strip_suffix('.').unwrap_or(host);
    let text = String::from_utf8_lossy(text);
    let lines = text.lines().filter_map(|line| {
        let mut words = line.split('#').next()?.split_ascii_whitespace();
        let address = words.next()?.parse().ok()?;
        words.any(|name| name.eq_ignore_ascii_case(host)).then_some(address)
    });
    lines.collect()
}

/// The content of /etc/resolv.conf.
struct Settings {
    name_servers: Vec<NameServerConfig>,
    /// Appended to a name with few dots.
    search: Vec<Name>,
    options: ResolverOpts,
    /// How often all name servers are queried before the lookup fails.
    rounds: usize,
}

impl Settings {
    fn parse(text: &[u8]) -> Result<Self, String> {
        let names_a_server =
            String::from_utf8_lossy(text).lines().any(|line| line.trim_start().starts_with("nameserver"));
        let (config, mut options) = if names_a_server {
            system_conf::parse_resolv_conf(text).map_err(|error| error.to_string())?
        } else {
            // The C library's default, too.
            let local = NameServerConfig::udp_and_tcp(Ipv4Addr::LOCALHOST.into());
            (ResolverConfig::from_parts(None, Vec::new(), vec![local]), ResolverOpts::default())
        };
        let mut search = config.search().to_vec();
        if search.is_empty() {
            // Derived from the machine's own name; only without a `search` line.
            search.extend(config.domain().cloned());
        }
        let rounds = options.attempts.max(1);
        options.attempts = 0;
        options.timeout = options.timeout.clamp(Duration::from_secs(1), SERVER_TIMEOUT);
        options.use_hosts_file = ResolveHosts::Never;
        options.ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
        Ok(Self { name_servers: config.name_servers().to_vec(), search, options, rounds })
    }
}

/// Queries one name server after the other, in their order: the first may know names that the others deny.
async fn in_dns(host: &str, settings: Settings) -> Result<Vec<IpAddr>, ResolveError> {
    // Not a strict host name: containers often have an underscore in theirs.
    let name = Name::from_str(host).map_err(|source| ResolveError::Name { host: host.to_owned(), source })?;
    let mut last = NetError::NoConnections;
    let all = async {
        for server in std::iter::repeat_n(&settings.name_servers, settings.rounds).flatten() {
            match query(server, &settings, name.clone()).await {
                Err(error) if !error.is_no_records_found() => last = error,
                answer => return Some(answer),
            }
        }
        None
    };
    match timeout(LOOKUP_TIMEOUT, all).await {
        Ok(Some(Ok(addresses))) => Ok(addresses),
        Ok(Some(Err(_))) => Err(ResolveError::Unknown { host: host.to_owned() }),
        Ok(None) => Err(ResolveError::NameServers { host: host.to_owned(), source: last }),
        Err(_) => Err(ResolveError::NameServers { host: host.to_owned(), source: NetError::Timeout }),
    }
}

async fn query(server: &NameServerConfig, settings: &Settings, name: Name) -> Result<Vec<IpAddr>, NetError> {
    let config = ResolverConfig::from_parts(None, settings.search.clone(), vec![server.clone()]);
    let builder = Resolver::builder_with_config(config, TokioRuntimeProvider::default());
    let resolver = builder.with_options(settings.options.clone()).build()?;
    Ok(resolver.lookup_ip(name).await?.iter().collect())
}

/// The same port at each address.
pub fn with_port(addresses: Vec<IpAddr>, port: u16) -> Vec<SocketAddr> {
    addresses.into_iter().map(|address| SocketAddr::new(address, port)).collect()
}

#[cfg(test)]
mod tests {
    use std::process::Stdio;

    use tokio::net::{TcpListener, UdpSocket};
    use tokio::process::{Child, Command};
    use tokio::runtime::Handle;

    use super::*;

    #[tokio::test]
    async fn local_names_need_no_name_server() {
        for (address, expected) in [
            ("127.0.0.1:80", &["127.0.0.1:80"][..]),
            ("[::1]:80", &["[::1]:80"]),
            ("localhost:80", &["127.0.0.1:80", "[::1]:80"]),
            ("LocalHost.:80", &["127.0.0.1:80", "[::1]:80"]),
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
    async fn connects_if_one_of_several_addresses_accepts() {
        // /etc/hosts may give localhost ::1 as well, where nothing listens.
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        connect("localhost", port).await.unwrap();
        connect_to(&format!("localhost:{port}")).await.unwrap();
    }

    #[tokio::test]
    async fn errors_name_the_host_and_the_reason() {
        for (address, expected) in [
            ("localhost", "expected HOST:PORT"),
            ("localhost:http", "expected HOST:PORT"),
            (":80", "expected HOST:PORT"),
            // Reserved never to be a name; with the dot no search domain is tried.
            ("db.invalid.:3306", "host name db.invalid. not found in /etc/hosts or DNS"),
            ("a..b:3306", "invalid host name \"a..b\""),
        ] {
            let error = socket_addresses(address).await.unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn a_name_has_all_its_addresses_in_hosts() {
        let hosts = b"127.0.0.1 localhost\n# B\xfcro\n10.0.0.5\tdb.example DB app_db_1 # the primary, not web\nfe80::1%lo0 db\n::5 db web\nnonsense db\n";
        for (host, expected) in [
            ("db", &["10.0.0.5", "::5"][..]),
            ("Db.Example.", &["10.0.0.5"]),
            ("app_db_1", &["10.0.0.5"]),
            ("web", &["::5"]),
            ("primary,", &[]),
            ("10.0.0.5", &[]),
        ] {
            let found: Vec<_> = in_hosts(hosts, host).iter().map(ToString::to_string).collect();
            assert_eq!(found, expected, "{host}");
        }
    }

    #[test]
    fn resolv_conf_is_read() {
        let settings = |text: &str| Settings::parse(text.as_bytes()).unwrap();
        let servers =
            |settings: &Settings| settings.name_servers.iter().map(|server| server.ip.to_string()).collect::<Vec<_>>();
        let full = settings(
            "search a.example b.example\nnameserver 10.0.0.1\nnameserver ::2\noptions ndots:5 attempts:3 timeout:1 what:ever\n",
        );
        assert_eq!(servers(&full), ["10.0.0.1", "::2"]);
        assert_eq!(full.search.iter().map(ToString::to_string).collect::<Vec<_>>(), ["a.example", "b.example"]);
        assert_eq!((full.options.ndots, full.rounds, full.options.timeout), (5, 3, Duration::from_secs(1)));
        // As the C library, 0 means 1.
        let zeros = settings("nameserver 10.0.0.1\noptions attempts:0 timeout:0\n");
        assert_eq!((zeros.rounds, zeros.options.timeout), (1, Duration::from_secs(1)));
        assert_eq!(settings("nameserver 10.0.0.1\noptions timeout:30\n").options.timeout, SERVER_TIMEOUT);
        for empty in ["", "# nothing\n"] {
            assert_eq!(servers(&settings(empty)), ["127.0.0.1"]);
        }
        assert!(Settings::parse(b"nameserver 10.0.0.1\nsearch bad..domain\n").is_err());
    }

    /// As if /etc/resolv.conf named these servers; there they could have no ports.
    fn settings(ports: &[u16]) -> Settings {
        let mut settings =
            Settings::parse(b"nameserver 127.0.0.1\nsearch example\noptions attempts:1 timeout:1\n").unwrap();
        let servers = ports.iter().map(|&port| {
            let mut server = NameServerConfig::udp(Ipv4Addr::LOCALHOST.into());
            server.connections[0].port = port;
            server
        });
        settings.name_servers = servers.collect();
        settings
    }

    async fn look_up(host: &str, ports: &[u16]) -> Result<Vec<String>, ResolveError> {
        Ok(in_dns(host, settings(ports)).await?.iter().map(ToString::to_string).collect())
    }

    /// A real one, which knows `db.example`, `app_db.example` and no other name of that domain.
    async fn dnsmasq() -> (Child, u16) {
        loop {
            // Free now; if another takes it first, dnsmasq ends and another port is tried.
            let port = UdpSocket::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
            let mut server = Command::new("dnsmasq")
                .args(["--keep-in-foreground", "--conf-file=/dev/null", "--pid-file", "--no-resolv", "--no-hosts"])
                .args(["--listen-address=127.0.0.1", "--bind-interfaces", "--local=/example/"])
                .args([
                    "--host-record=db.example,app_db.example,192.0.2.1,2001:db8::1",
                    "--cname=primary.example,db.example",
                ])
                .arg(format!("--port={port}"))
                // A user's PATH may lack the directory in which it is.
                .env("PATH", "/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin")
                .stderr(Stdio::null())
                .kill_on_drop(true)
                .spawn()
                .expect("dnsmasq can be started");
            while server.try_wait().unwrap().is_none() {
                if look_up("db.example", &[port]).await.is_ok() {
                    return (server, port);
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
    }

    #[tokio::test]
    async fn other_names_come_from_a_name_server() {
        let (_server, port) = dnsmasq().await;
        for host in ["db.example", "db.example.", "DB", "primary", "app_db"] {
            assert_eq!(look_up(host, &[port]).await.unwrap(), ["192.0.2.1", "2001:db8::1"], "{host}");
        }
        let error = look_up("other.example", &[port]).await.unwrap_err();
        assert!(matches!(error, ResolveError::Unknown { .. }), "{error}");
    }

    /// A name server that misbehaves.
    async fn name_server(answer: fn(&[u8]) -> Option<Vec<u8>>) -> u16 {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let port = socket.local_addr().unwrap().port();
        tokio::spawn(async move {
            let mut query = [0; 512];
            loop {
                let (length, client) = socket.recv_from(&mut query).await.unwrap();
                if let Some(answer) = answer(&query[..length]) {
                    socket.send_to(&answer, client).await.unwrap();
                }
            }
        });
        port
    }

    /// The query as an answer without records, with this code.
    fn refusal(query: &[u8], code: u8) -> Option<Vec<u8>> {
        let mut answer = query.to_vec();
        answer[2] |= 0x80;
        answer[3] = answer[3] & 0xf0 | code;
        Some(answer)
    }

    #[tokio::test]
    async fn the_next_name_server_is_queried_when_one_fails() {
        let (_server, port) = dnsmasq().await;
        let refuses = name_server(|query| refusal(query, 5)).await;
        let nonsense = name_server(|query| Some(query[..3].to_vec())).await;
        let silent = name_server(|_| None).await;
        for other in [refuses, nonsense, silent] {
            assert_eq!(look_up("db", &[other, port]).await.unwrap(), ["192.0.2.1", "2001:db8::1"]);
        }
        // But the first that denies the name is right.
        let denies = name_server(|query| refusal(query, 3)).await;
        let error = look_up("db", &[denies, port]).await.unwrap_err();
        assert!(matches!(error, ResolveError::Unknown { .. }), "{error}");
        let error = look_up("db", &[refuses, nonsense]).await.unwrap_err().to_string();
        assert!(error.starts_with("cannot look up db: no name server in /etc/resolv.conf answered: "), "{error}");
    }

    #[tokio::test]
    async fn a_silent_name_server_leaves_no_task_after_the_deadline() {
        let silent = name_server(|_| None).await;
        let before = Handle::current().metrics().num_alive_tasks();
        assert!(timeout(Duration::from_millis(100), look_up("db.example", &[silent])).await.is_err());
        let ended = async {
            while Handle::current().metrics().num_alive_tasks() > before {
                tokio::task::yield_now().await;
            }
        };
        timeout(Duration::from_secs(1), ended).await.expect("its tasks end with it");
    }
}
