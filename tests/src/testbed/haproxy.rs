//! Configurations of HAProxy for tests of haproxy-exporter.
#![allow(clippy::unwrap_used, reason = "an unwrap in a test is its report")]

use std::time::Duration;

use futures::future::join_all;
use serde_json::Value;

use crate::Error;
use crate::testbed::scrape::{haproxy_exporter, health, reason};
use crate::testbed::{Behaviour, Fake, HaProxy, HaProxyVersion, Port, RunningProgram, eventually, http};

const DEADLINE: Duration = Duration::from_secs(20);

const README: &str = include_str!("../../../exporters/haproxy/README.md");

/// `/health` says this about a fault, and so does a line of the table in the README.
#[track_caller]
pub fn says(report: &Value, health: &str, check: &str, status: &str, text: &str) {
    let (found, reason) = reason(report, check);
    assert_eq!((report["status"].as_str(), found.as_str()), (Some(health), status), "{report}");
    assert!(reason.contains(text), "{text:?} is not in: {reason}");
    let row = format!("| `{health}` | `{check}` {status} | {text} |");
    assert!(README.contains(&row), "the README's table has no line with: {row}");
}

/// A HAProxy that has one of everything: both modes, each state of a server, listeners, compression, an agent, TCP and
/// HTTP statistics.
pub struct Bed {
    pub haproxy: HaProxy,
    pub api: Port,
    pub tcp: [Port; 2],
    pub stats: Port,
    pub cli: Port,
    /// Tells HAProxy to drain one server.
    _agent: Fake,
    _nobody: Port,
    _upstream: Port,
}

/// Servers up, draining by their agent, and in maintenance; the health of the others is set by the tests, as checks
/// hardly ever come.
const CONFIGURATION: &str = r#"
global
    stats socket ipv4@127.0.0.1:"${CLI}" level user
    node testbed
    description here for tests
    maxconn 200
    # Otherwise the first checks are spread over the hour.
    max-spread-checks 50ms
defaults
    mode http
    timeout connect 1s
    timeout client 5s
    timeout server 5s
    default-server inter 1h fastinter 1h downinter 1h rise 3 fall 5
resolvers nobody
    nameserver first 127.0.0.1:"${NOBODY}"
    nameserver second 127.0.0.1:"${NOBODY}"
    timeout retry 100ms
frontend fe_api
    bind 127.0.0.1:"${API}"
    compression algo gzip
    stick-table type ip size 1k expire 1h store http_req_cnt
    http-request track-sc0 src
    default_backend be_api
backend be_api
    balance leastconn
    option httpchk GET /
    server api1 127.0.0.1:"${UPSTREAM}" check maxconn 50 maxqueue 30
    server api2 127.0.0.1:"${UPSTREAM}" check
    server api3 127.0.0.1:"${UPSTREAM}" check backup
    server maint 127.0.0.1:"${UPSTREAM}" check disabled
    server unchecked 127.0.0.1:"${UPSTREAM}" weight 10
    server lost lost.invalid:80 check resolvers nobody init-addr none
    server agent 127.0.0.1:"${UPSTREAM}" check agent-check agent-addr 127.0.0.1 agent-port "${AGENT}" agent-inter 1h
backend be_tcp
    mode tcp
    server nobody 127.0.0.1:"${NOBODY}" check
    server tracking 127.0.0.1:"${NOBODY}" track be_api/api1
backend be_empty
    stick-table type string len 20 size 100
frontend fe_tcp
    mode tcp
    option socket-stats
    bind 127.0.0.1:"${TCP1}" name one,\ two
    bind 127.0.0.1:"${TCP2}"
    default_backend be_tcp
frontend upstream
    bind 127.0.0.1:"${UPSTREAM}"
    http-request return status 404 if { path /missing }
    http-request return status 200 content-type text/plain string "well"
frontend stats
    bind 127.0.0.1:"${STATS}"
    http-request use-service prometheus-exporter if { path /metrics }
    use_backend stats_private if { path_beg /private }
    stats enable
    stats uri /stats
backend stats_private
    stats enable
    stats uri /private
    stats auth exporter:p%4w:rd
"#;

impl Bed {
    pub async fn start() -> Result<Self, Error> {
        Self::start_as(HaProxyVersion::Installed).await
    }

    pub async fn start_as(version: HaProxyVersion) -> Result<Self, Error> {
        let [api, tcp1, tcp2, stats, cli, nobody, upstream] = std::array::from_fn(|_| Port::lease());
        let (api, tcp, stats, cli, nobody, upstream) = (api?, [tcp1?, tcp2?], stats?, cli?, nobody?, upstream?);
        let agent = Fake::start(Behaviour::HalfReply(b"drain\n".to_vec())).await?;
        let numbers = [
            ("API", api.number()),
            ("TCP1", tcp[0].number()),
            ("TCP2", tcp[1].number()),
            ("STATS", stats.number()),
            ("CLI", cli.number()),
            ("NOBODY", nobody.number()),
            ("UPSTREAM", upstream.number()),
            ("AGENT", agent.address().port()),
        ]
        .map(|(key, number)| (key, number.to_string()));
        let env: Vec<(&str, &str)> = numbers.iter().map(|(key, number)| (*key, number.as_str())).collect();
        let haproxy = HaProxy::start_as(version, CONFIGURATION, &env).await?;
        let bed = Self { haproxy, api, tcp, stats, cli, _agent: agent, _nobody: nobody, _upstream: upstream };
        bed.settled().await?;
        Ok(bed)
    }

    /// The first check of each server has come, and nothing will change any more.
    async fn settled(&self) -> Result<(), Error> {
        let settled = eventually(DEADLINE, "HAProxy's checks have come", async || {
            let stat = self.haproxy.command("show stat")?;
            let has = |row: &str, word: &str| stat.lines().any(|line| line.starts_with(row) && line.contains(word));
            for (row, word) in [
                ("be_api,api1,", ",L7OK,"),
                ("be_api,api2,", ",L7OK,"),
                ("be_api,api3,", ",L7OK,"),
                ("be_api,agent,", ",DRAIN (agent),"),
                ("be_api,agent,", ",L7OK,"),
                ("be_tcp,nobody,", ",L4CON,"),
            ] {
                if !has(row, word) {
                    return Err(Error::Series(format!("{row} has no {word}")));
                }
            }
            Ok(())
        });
        Ok(settled.await?)
    }

    /// Some traffic, so that the numbers aren't all zero.
    pub async fn traffic(&self) {
        for path in ["/", "/", "/", "/missing"] {
            http::get(&format!("http://{}{path}", self.api.address())).await.unwrap();
        }
        // Nobody is there: HAProxy may send it to the other server, or close.
        let _ = http::get(&format!("http://{}/", self.tcp[0].address())).await;
    }

    pub fn unix(&self) -> String {
        format!("unix:{}", self.haproxy.socket().display())
    }

    pub fn page_uri(&self, path: &str) -> String {
        format!("http://{}{path};csv", self.stats.address())
    }
}

/// A healthy HAProxy with a backend for each kind of trouble.
pub struct Trouble {
    pub haproxy: HaProxy,
    pub fe: Port,
    pub small: Port,
    pub tcp: Port,
    /// Accepts and never answers.
    _silent: Fake,
    _ports: [Port; 2],
}

const TROUBLE: &str = r#"
global
    maxconn 100
defaults
    mode http
    timeout connect 100ms
    timeout client 20s
    timeout server 20s
    timeout queue 20s
    option abortonclose
    default-server inter 1h fastinter 1h downinter 1h
resolvers nobody
    nameserver nobody 127.0.0.1:"${NOBODY}"
    timeout retry 100ms
frontend fe
    bind 127.0.0.1:"${FE}"
    use_backend be_slow if { path /slow }
    use_backend be_full if { path /full }
    use_backend be_sticky if { path /sticky }
    use_backend be_none if { path /none }
    use_backend be_dead if { path /dead }
    default_backend be_good
frontend small
    bind 127.0.0.1:"${SMALL}"
    maxconn 4
    http-request track-sc0 req.hdr(client) table clients
    default_backend be_good
frontend fe_tcp
    mode tcp
    bind 127.0.0.1:"${TCP}"
    default_backend be_tcp
# Three clients fill it.
backend clients
    stick-table type string len 16 size 3 expire 1h
backend be_good
    server one 127.0.0.1:"${UPSTREAM}"
    server two 127.0.0.1:"${UPSTREAM}" check
    server three 127.0.0.1:"${UPSTREAM}"
backend be_slow
    server slow 127.0.0.1:"${SILENT}" maxconn 2
backend be_full
    fullconn 3
    server silent 127.0.0.1:"${SILENT}"
backend be_sticky
    use-server busy if TRUE
    server free 127.0.0.1:"${UPSTREAM}" maxconn 2
    server busy 127.0.0.1:"${SILENT}" maxconn 2
backend be_none
backend be_dead
    server dead 127.0.0.1:"${NOBODY}"
backend be_tcp
    mode tcp
    server dead 127.0.0.1:"${NOBODY}"
frontend upstream
    bind 127.0.0.1:"${UPSTREAM}"
    http-request return status 200 content-type text/plain string "well"
"#;

/// Two of three servers have names that never resolve.
pub const LOST_BY_DNS: &str = r#"
backend be_dns
    server known 127.0.0.1:"${UPSTREAM}"
    server lost1 lost.invalid:80 resolvers nobody init-addr none
    server lost2 lost.invalid:80 resolvers nobody init-addr none
"#;

impl Trouble {
    pub async fn start(version: HaProxyVersion) -> Self {
        Self::with(version, "").await
    }

    pub async fn with(version: HaProxyVersion, more: &str) -> Self {
        let [fe, small, tcp, nobody, upstream] = std::array::from_fn(|_| Port::lease().unwrap());
        let silent = Fake::start(Behaviour::Silence).await.unwrap();
        let numbers = [
            ("FE", fe.number()),
            ("SMALL", small.number()),
            ("TCP", tcp.number()),
            ("NOBODY", nobody.number()),
            ("UPSTREAM", upstream.number()),
            ("SILENT", silent.address().port()),
        ]
        .map(|(key, number)| (key, number.to_string()));
        let env: Vec<(&str, &str)> = numbers.iter().map(|(key, number)| (*key, number.as_str())).collect();
        let haproxy = HaProxy::start_as(version, &format!("{TROUBLE}{more}"), &env).await.unwrap();
        Self { haproxy, fe, small, tcp, _silent: silent, _ports: [nobody, upstream] }
    }

    /// An exporter that has scraped once, with the status `healthy`.
    pub async fn exporter(&self) -> RunningProgram {
        let exporter =
            haproxy_exporter(&[&format!("--haproxy.scrape-uri=unix:{}", self.haproxy.socket().display())]).await;
        let report = health(&exporter).await;
        assert_eq!(report["status"], "healthy", "{report}");
        exporter
    }

    /// All at once; returns the status codes.
    pub async fn requests(&self, path: &str, count: usize) -> Vec<u16> {
        let url = format!("http://{}{path}", self.fe.address());
        join_all((0..count).map(async |_| http::get(&url).await.unwrap().status)).await
    }

    pub fn commands(&self, commands: &[&str]) {
        for command in commands {
            let answer = self.haproxy.command(command).unwrap();
            assert_eq!(answer.trim(), "", "{command}");
        }
    }
}
