//! `/probe`: which targets it may reach, and which of them get the exporter's credentials.
//!
//! Whoever reaches the exporter's port chooses the target of a probe. So a probe sends the exporter's own credentials
//! only to targets that the operator listed in `--probe.targets`, and to the target of `/metrics`. Without a list,
//! other targets are probed without credentials, but not sockets of this machine. With a list, all others are refused.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use wildmatch::WildMatch;

/// The request of a probe.
#[derive(Clone, Copy, Debug)]
pub struct ProbeRequest<'a> {
    /// The parameter `target`.
    pub target: &'a str,
    pub(crate) parameters: &'a [(String, String)],
    pub(crate) policy: &'a ProbePolicy,
}

impl ProbeRequest<'_> {
    /// Those of [`crate::Exporter::PARAMETERS`] that the request has.
    pub fn parameters(&self) -> &[(String, String)] {
        self.parameters
    }

    /// One of [`crate::Exporter::PARAMETERS`].
    pub fn parameter(&self, name: &str) -> Option<&str> {
        self.parameters.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// Whether the operator listed this address, as [`crate::Target::address`] spells it. Only then a probe may send
    /// credentials that are not meant for this target alone; otherwise return [`NotListed`].
    pub fn lists(&self, address: &str) -> bool {
        self.policy.lists(&Place::of(address))
    }
}

/// The error of [`crate::Exporter::probe`] when credentials would go to a target that is not listed.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the exporter's credentials are not sent to this target; list it in --probe.targets")]
pub struct NotListed;

/// Why a target is not probed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refused {
    #[error("probes are turned off by --no-probe")]
    Off,
    #[error("this target is not in --probe.targets")]
    NotListed,
    #[error("sockets of this machine are probed only if --probe.targets lists them, such as unix:/run/*")]
    Socket,
}

/// The probes that the operator permits. The default has no list.
#[derive(Clone, Debug, Default)]
pub(crate) struct ProbePolicy {
    pub(crate) off: bool,
    pub(crate) targets: Vec<TargetPattern>,
}

impl ProbePolicy {
    fn lists(&self, place: &Place) -> bool {
        self.targets.iter().any(|pattern| pattern.matches(place))
    }

    /// Whether a probe may reach this place at all.
    pub(crate) fn check(&self, place: &Place) -> Result<(), Refused> {
        match place {
            _ if self.off => Err(Refused::Off),
            Place::Configured => Ok(()),
            _ if self.lists(place) => Ok(()),
            _ if !self.targets.is_empty() => Err(Refused::NotListed),
            Place::Tcp { .. } => Ok(()),
            Place::Socket(_) => Err(Refused::Socket),
            Place::Other => Err(Refused::NotListed),
        }
    }
}

/// Where a target is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    Tcp {
        host: String,
        port: Option<u16>,
    },
    /// A path of this machine.
    Socket(String),
    /// One of the things that the exporter's flags name. A client can choose one, but not add one.
    Configured,
    /// Of another form, which only `*` lists.
    Other,
}

impl Place {
    /// The place of an address that a target has parsed and printed again. A request's own text may be read differently
    /// by the client that connects.
    pub fn of(address: &str) -> Self {
        if let Some(path) = address.strip_prefix("unix:") {
            return Self::Socket(path.strip_prefix("//").unwrap_or(path).to_owned());
        }
        let authority = match address.split_once("://") {
            Some((_, rest)) => rest.split(['/', '?', '#']).next().unwrap_or_default(),
            None => address,
        };
        host_and_port(authority).map_or(Self::Other, |(host, port)| Self::Tcp { host: normal(host), port })
    }
}

/// Splits `host`, `host:port`, `[ipv6]` or `[ipv6]:port`.
fn host_and_port(text: &str) -> Option<(&str, Option<u16>)> {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (host, rest) = rest.split_once(']')?;
            (host, if rest.is_empty() { None } else { Some(rest.strip_prefix(':')?) })
        }
        None => text.split_once(':').map_or((text, None), |(host, port)| (host, Some(port))),
    };
    let port = port.map(|port| port.parse().ok()).map_or(Some(None), |port| port.map(Some))?;
    let is_host = !host.is_empty() && !host.contains(['@', '\\', '/', ' ']);
    is_host.then_some((host, port))
}

/// One spelling for each host.
fn normal(host: &str) -> String {
    match host.parse::<IpAddr>() {
        Ok(address) => address.to_canonical().to_string(),
        Err(_) => host.trim_end_matches('.').to_ascii_lowercase(),
    }
}

/// A value of `--probe.targets`.
#[derive(Clone, Debug)]
pub(crate) struct TargetPattern {
    text: String,
    host: HostPattern,
    port: Option<u16>,
}

#[derive(Clone, Debug)]
enum HostPattern {
    /// Every place.
    Any,
    Name(WildMatch),
    /// Addresses with these first bits. A host name is never looked up for it.
    Network {
        address: IpAddr,
        bits: u32,
    },
    Socket(WildMatch),
}

#[derive(Debug, thiserror::Error)]
#[error("expected HOST, HOST:PORT, NETWORK/BITS, [IPv6/BITS]:PORT, unix:PATH (with * as wildcard) or *")]
pub(crate) struct TargetPatternError;

impl FromStr for TargetPattern {
    type Err = TargetPatternError;

    fn from_str(text: &str) -> Result<Self, TargetPatternError> {
        let (host, port) = match text.strip_prefix("unix:") {
            _ if text == "*" => (HostPattern::Any, None),
            Some(path) => {
                let path = path.strip_prefix("//").unwrap_or(path);
                (HostPattern::Socket(WildMatch::new(path)), None)
            }
            None => {
                let (network, rest) = match text.strip_prefix('[') {
                    Some(rest) => rest.split_once(']').ok_or(TargetPatternError)?,
                    None => text.find(':').map_or((text, ""), |colon| text.split_at(colon)),
                };
                let port = match rest.strip_prefix(':') {
                    Some("*") => None,
                    Some(port) => Some(port.parse().map_err(|_| TargetPatternError)?),
                    None if rest.is_empty() => None,
                    None => return Err(TargetPatternError),
                };
                (HostPattern::parse(network)?, port)
            }
        };
        Ok(Self { text: text.to_owned(), host, port })
    }
}

impl HostPattern {
    fn parse(text: &str) -> Result<Self, TargetPatternError> {
        if text.is_empty() {
            return Err(TargetPatternError);
        }
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits.parse::<u32>().map_err(|_| TargetPatternError)?)),
            None => (text, None),
        };
        match (address.parse::<IpAddr>(), bits) {
            (Ok(address), bits) => {
                let all = if address.is_ipv4() { 32 } else { 128 };
                let bits = bits.unwrap_or(all);
                if bits > all { Err(TargetPatternError) } else { Ok(Self::Network { address, bits }) }
            }
            (Err(_), None) => Ok(Self::Name(WildMatch::new(&text.to_ascii_lowercase()))),
            (Err(_), Some(_)) => Err(TargetPatternError),
        }
    }

    fn matches(&self, host: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Name(pattern) => pattern.matches(host),
            Self::Network { address, bits } => {
                host.parse().is_ok_and(|host| network_bits(host, *bits) == network_bits(*address, *bits))
            }
            Self::Socket(_) => false,
        }
    }
}

/// The family and the first bits of an address.
fn network_bits(address: IpAddr, bits: u32) -> (bool, u128) {
    let (number, all) = match address {
        IpAddr::V4(address) => (u128::from(address.to_bits()), 32),
        IpAddr::V6(address) => (address.to_bits(), 128),
    };
    // A shift by the whole width leaves nothing.
    (address.is_ipv4(), number.checked_shr(all - bits.min(all)).unwrap_or_default())
}

impl TargetPattern {
    fn matches(&self, place: &Place) -> bool {
        match (&self.host, place) {
            (HostPattern::Any, _) => true,
            (HostPattern::Socket(pattern), Place::Socket(path)) => {
                // A path may lead out of a listed folder.
                pattern.matches(path) && !path.split('/').any(|part| part == "..")
            }
            (pattern, Place::Tcp { host, port }) => {
                (self.port.is_none() || self.port == *port) && pattern.matches(host)
            }
            _ => false,
        }
    }
}

impl fmt::Display for TargetPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(patterns: &[&str]) -> ProbePolicy {
        ProbePolicy { off: false, targets: patterns.iter().map(|pattern| pattern.parse().unwrap()).collect() }
    }

    #[test]
    fn patterns_match_hosts_networks_ports_and_sockets() {
        for (pattern, address, listed) in [
            ("db", "db:3306", true),
            ("db:3306", "db:3306", true),
            ("db:3306", "db:3307", false),
            ("DB.example", "db.EXAMPLE.:3306", true),
            ("*.example", "a.db.example:1", true),
            ("*.example", "example.evil:1", false),
            ("*.example:6379", "redis://a.example:6379", true),
            ("db", "http://db:8404/stats;csv", true),
            ("db", "https://other/db", false),
            ("10.0.0.0/8", "10.1.2.3:3306", true),
            ("10.0.0.0/8:3306", "10.1.2.3:3307", false),
            ("10.0.0.0/8", "11.1.2.3:3306", false),
            ("10.0.0.0/8", "[::ffff:10.1.2.3]:3306", true),
            ("10.0.0.0/8", "10.evil.example:3306", false),
            ("0.0.0.0/0", "192.0.2.1:1", true),
            ("0.0.0.0/0", "[2001:db8::1]:1", false),
            ("[2001:db8::/32]:3306", "[2001:db8::1]:3306", true),
            ("[2001:db8::/32]:3306", "[2001:db9::1]:3306", false),
            ("unix:/run/*", "unix:/run/haproxy.sock", true),
            ("unix:/run/*", "unix:///run/redis.sock", true),
            ("unix:/run/*", "unix:/run/../etc/x", false),
            ("unix:/run/*", "run:1", false),
            ("*", "unix:/etc/x", true),
            ("*", "anything at all", true),
            ("*:*", "unix:/etc/x", false),
        ] {
            assert_eq!(policy(&[pattern]).lists(&Place::of(address)), listed, "{pattern} {address}");
        }
        for invalid in ["", ":3306", "db:port", "10.0.0.0/33", "db/8", "[::1", "[::1]3306"] {
            assert!(invalid.parse::<TargetPattern>().is_err(), "{invalid}");
        }
    }

    #[test]
    fn without_a_list_only_sockets_are_refused() {
        let policy = policy(&[]);
        assert_eq!(policy.check(&Place::of("db:3306")), Ok(()));
        assert_eq!(policy.check(&Place::of("unix:/run/x")), Err(Refused::Socket));
        assert_eq!(policy.check(&Place::of("user@db:3306")), Err(Refused::NotListed));
        assert_eq!(policy.check(&Place::Configured), Ok(()));
        assert!(!policy.lists(&Place::of("db:3306")));
    }

    #[test]
    fn with_a_list_all_others_are_refused_and_off_refuses_all() {
        let mut policy = policy(&["db", "10.0.0.0/8"]);
        assert_eq!(policy.check(&Place::of("db:1")), Ok(()));
        assert_eq!(policy.check(&Place::of("other:1")), Err(Refused::NotListed));
        assert_eq!(policy.check(&Place::of("unix:/run/x")), Err(Refused::NotListed));
        policy.off = true;
        assert_eq!(policy.check(&Place::of("db:1")), Err(Refused::Off));
        assert_eq!(policy.check(&Place::Configured), Err(Refused::Off));
    }
}
