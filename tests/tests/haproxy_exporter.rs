//! `haproxy-exporter` against a real HAProxy, compared with HAProxy's own endpoint and the retired haproxy_exporter,
//! and on targets that misbehave.
#![allow(clippy::unwrap_used, reason = "an unwrap in a test is its report")]

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures::future::join_all;
use medassist_tests::Error;
use medassist_tests::launch::{self, Launch, Ready};
use medassist_tests::testbed::process::Directory;
use medassist_tests::testbed::{
    Behaviour, Fake, HaProxy, Page, Port, Process, Program, RunningProgram, eventually, http,
};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::timeout;

const DEADLINE: Duration = Duration::from_secs(20);

/// A HAProxy that has one of everything: both modes, each state of a server, listeners, compression, an agent, TCP and
/// HTTP statistics.
struct Bed {
    haproxy: HaProxy,
    api: Port,
    tcp: [Port; 2],
    stats: Port,
    cli: Port,
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
frontend fe_api
    bind 127.0.0.1:"${API}"
    compression algo gzip
    default_backend be_api
backend be_api
    balance leastconn
    option httpchk GET /
    server api1 127.0.0.1:"${UPSTREAM}" check maxconn 50 maxqueue 30
    server api2 127.0.0.1:"${UPSTREAM}" check
    server api3 127.0.0.1:"${UPSTREAM}" check backup
    server maint 127.0.0.1:"${UPSTREAM}" check disabled
    server unchecked 127.0.0.1:"${UPSTREAM}" weight 10
    server agent 127.0.0.1:"${UPSTREAM}" check agent-check agent-addr 127.0.0.1 agent-port "${AGENT}" agent-inter 1h
backend be_tcp
    mode tcp
    server nobody 127.0.0.1:"${NOBODY}" check
    server tracking 127.0.0.1:"${NOBODY}" track be_api/api1
backend be_empty
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
    async fn start() -> Result<Self, Error> {
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
        let haproxy = HaProxy::start_with(CONFIGURATION, &env).await?;
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
    async fn traffic(&self) {
        for path in ["/", "/", "/", "/missing"] {
            http::get(&format!("http://{}{path}", self.api.address())).await.unwrap();
        }
        // Nobody is there: HAProxy may send it to the other server, or close.
        let _ = http::get(&format!("http://{}/", self.tcp[0].address())).await;
    }

    fn unix(&self) -> String {
        format!("unix:{}", self.haproxy.socket().display())
    }

    fn page_uri(&self, path: &str) -> String {
        format!("http://{}{path};csv", self.stats.address())
    }
}

async fn exporter(args: &[&str]) -> RunningProgram {
    Program::exporter("haproxy-exporter").args(args).start().await.unwrap()
}

async fn page(url: &str) -> Page {
    let reply = http::get(url).await.unwrap();
    assert_eq!(reply.status, 200, "{}", reply.text());
    Page::parse(&reply.text()).unwrap()
}

async fn page_of(exporter: &RunningProgram) -> Page {
    page(&exporter.url("/metrics")).await
}

async fn health(exporter: &RunningProgram) -> Value {
    http::get(&exporter.url("/health")).await.unwrap().json()
}

fn reason(health: &Value, check: &str) -> (String, String) {
    let found = health["checks"].as_array().unwrap().iter().find(|entry| entry["name"] == check);
    assert!(found.is_some(), "no check {check} in {health}");
    let found = found.unwrap();
    (found["status"].as_str().unwrap().to_owned(), found["reason"].as_str().unwrap().to_owned())
}

/// `GET /probe?target=…`
async fn probe(exporter: &RunningProgram, target: &str) -> Page {
    let target: String = target
        .bytes()
        .map(|b| if b.is_ascii_alphanumeric() { char::from(b).to_string() } else { format!("%{b:02X}") })
        .collect();
    page(&exporter.url(&format!("/probe?target={target}"))).await
}

type Series = (String, BTreeMap<String, String>);

/// The series of a page that are about HAProxy. Those with the value `NaN` are absent from our page.
fn series(page: &Page) -> BTreeMap<Series, f64> {
    let known = page.samples().iter().filter(|sample| sample.name.starts_with("haproxy_") && !sample.value.is_nan());
    known.map(|sample| ((sample.name.clone(), sample.labels.clone()), sample.value)).collect()
}

/// Every series of the peer must be on our page with the peer's type, and with a value between those of the peer's page
/// before and after ours: counters of time grow between the scrapes. `expected` selects the series that may differ.
fn compare(before: &Page, ours: &Page, after: &Page, expected: impl Fn(&Series) -> bool) -> usize {
    let (mine, after_values) = (series(ours), series(after));
    let mut differences = Vec::new();
    let mut compared = 0;
    for (key, first) in series(before) {
        let Some(second) = after_values.get(&key).copied() else { continue };
        if expected(&key) {
            continue;
        }
        compared += 1;
        let family = &key.0;
        if before.kind(family) != ours.kind(family) {
            differences.push(format!("{family}: type {:?} there, {:?} here", before.kind(family), ours.kind(family)));
        }
        match mine.get(&key) {
            Some(value) if (first.min(second)..=first.max(second)).contains(value) => {}
            Some(value) => differences.push(format!("{key:?}: {first} to {second} there, {value} here")),
            None => differences.push(format!("{key:?}: {first} there, absent here")),
        }
    }
    assert!(differences.is_empty(), "{}", differences.join("\n"));
    compared
}

/// Series that a scrape changes: those of the process, and of the proxy that serves the statistics.
fn changed_by_the_scrape((name, labels): &Series) -> bool {
    let proxy = labels.get("proxy").or(labels.get("frontend")).map(String::as_str);
    let process = [
        "_current_",
        "_rate",
        "_max_",
        "_idle_",
        "_jobs",
        "_connections_total",
        "_requests_total",
        "_bytes_",
        "_pool_",
    ];
    proxy == Some("stats") || (name.starts_with("haproxy_process_") && process.iter().any(|part| name.contains(part)))
}

/// What is on our page beyond the peer's, family by family.
fn additional(ours: &Page, peer: &Page) -> Vec<String> {
    let names = |page: &Page| -> Vec<String> { series(page).into_keys().map(|(name, _)| name).collect() };
    let theirs = names(peer);
    let mut more: Vec<String> = names(ours)
        .into_iter()
        .filter(|name| !theirs.contains(name))
        .filter(|name| !name.starts_with("haproxy_health_") && !name.starts_with("haproxy_exporter_"))
        .collect();
    more.dedup();
    more
}

#[tokio::test]
async fn native_names_equal_those_of_haproxys_own_endpoint() {
    let bed = Bed::start().await.unwrap();
    bed.traffic().await;
    let exporter = exporter(&[&format!("--haproxy.scrape-uri={}", bed.unix())]).await;
    let promex = format!("http://{}/metrics", bed.stats.address());

    let before = page(&promex).await;
    let ours = page_of(&exporter).await;
    let after = page(&promex).await;
    let compared = compare(&before, &ours, &after, |key| {
        // After a check of layer 4 HAProxy has no code, and its endpoint prints 0.
        let no_code = key.0 == "haproxy_server_check_code" && key.1["server"] == "nobody";
        // Of fewer than 1024 connections HAProxy's CSV gives the average, but its endpoint divides by 1024 even so.
        let average = key.0.ends_with("_time_average_seconds");
        changed_by_the_scrape(key) || no_code || average
    });
    // 7 servers with 50 series and more, 5 frontends and 4 backends with 20 and more.
    assert!(compared > 500, "only {compared} series were compared");

    // Of newer versions, by fields that this version's CSV has too; `…_info` and `haproxy_up` are ours.
    let newer = [
        "haproxy_backend_current_session_rate",
        "haproxy_backend_info",
        "haproxy_frontend_current_session_rate",
        "haproxy_process_description",
        "haproxy_process_node",
        "haproxy_server_active",
        "haproxy_server_agent_code",
        "haproxy_server_agent_duration_seconds",
        "haproxy_server_agent_status",
        "haproxy_server_backup",
        "haproxy_server_current_session_rate",
        "haproxy_server_http_requests_total",
        "haproxy_server_info",
        "haproxy_up",
    ];
    let more = additional(&ours, &after);
    assert!(more.iter().all(|name| newer.contains(&name.as_str())), "{more:?}");

    // What the two can't disagree about is what the configuration says.
    let be_api = |state| [("proxy", "be_api"), ("state", state)];
    ours.expect("haproxy_backend_agg_server_status", &be_api("DRAIN"), 1.0).unwrap();
    ours.expect("haproxy_backend_agg_server_status", &be_api("MAINT"), 1.0).unwrap();
    ours.expect("haproxy_backend_agg_server_status", &be_api("UP"), 4.0).unwrap();
    ours.expect("haproxy_frontend_http_responses_total", &[("proxy", "fe_api"), ("code", "4xx")], 1.0).unwrap();
    let listener = [("proxy", "fe_tcp"), ("listener", "one, two"), ("state", "OPEN")];
    ours.expect("haproxy_listener_status", &listener, 1.0).unwrap();
    ours.expect("haproxy_process_description", &[("desc", "here for tests")], 1.0).unwrap();
}

#[tokio::test]
async fn exporter_names_equal_those_of_the_retired_exporter() {
    let bed = Bed::start().await.unwrap();
    bed.traffic().await;
    bed.haproxy.command("set server be_api/api2 state drain").unwrap();
    let uri = format!("--haproxy.scrape-uri={}", bed.unix());
    let exporter = exporter(&[&uri, "--haproxy.names=exporter"]).await;
    let port = Port::lease().unwrap();
    let go = Launch::installed(&["prometheus-haproxy-exporter", "haproxy_exporter"])
        .unwrap()
        .arg(&uri)
        .arg(format!("--web.listen-address={}", port.address()));
    let url = format!("http://{}/metrics", port.address());
    let _go =
        Process::start("haproxy_exporter", go, Ready::Http(url.clone()), Directory::new("haproxy_exporter").unwrap())
            .await
            .unwrap();

    let before = page(&url).await;
    let ours = page_of(&exporter).await;
    let after = page(&url).await;
    let up = |server| [("backend", "be_api"), ("server", server)];
    let compared = compare(&before, &ours, &after, |key| {
        let own = key.0.starts_with("haproxy_exporter_");
        // A fixed list of words makes it take `DRAIN (agent)` for down.
        let drained = key.0 == "haproxy_server_up" && key.1["server"] == "agent";
        own || drained
    });
    assert!(compared > 250, "only {compared} series were compared");
    before.expect("haproxy_server_up", &up("agent"), 0.0).unwrap();
    ours.expect("haproxy_server_up", &up("agent"), 1.0).unwrap();
    ours.expect("haproxy_server_up", &up("api2"), 1.0).unwrap();
    ours.expect("haproxy_server_up", &up("unchecked"), 1.0).unwrap();
    ours.expect("haproxy_server_up", &up("maint"), 0.0).unwrap();

    let more = additional(&ours, &after);
    assert!(more.iter().all(|name| name.starts_with("haproxy_process_")), "{more:?}");
}

#[tokio::test]
async fn all_sources_report_the_same() {
    let bed = Bed::start().await.unwrap();
    bed.traffic().await;
    let exporter = exporter(&[&format!("--haproxy.scrape-uri={}", bed.unix())]).await;

    let before = page_of(&exporter).await;
    let tcp = probe(&exporter, &format!("tcp://{}", bed.cli.address())).await;
    let http = probe(&exporter, &bed.page_uri("/stats")).await;
    let after = page_of(&exporter).await;
    let own = |key: &Series| {
        let own = ["haproxy_health_", "haproxy_exporter_"].iter().any(|prefix| key.0.starts_with(prefix));
        own || changed_by_the_scrape(key)
    };
    // Addresses, modes and algorithms are for operators, and this socket and the page are for users.
    let for_operators = |key: &Series| key.0.ends_with("_info") && key.0 != "haproxy_process_build_info";
    let compared = compare(&before, &tcp, &after, |key| own(key) || for_operators(key));
    assert!(compared > 500, "only {compared} series were compared");
    // The page doesn't tell about the process.
    let compared =
        compare(&before, &http, &after, |key| own(key) || for_operators(key) || key.0.starts_with("haproxy_process_"));
    assert!(compared > 450, "only {compared} series were compared");
    assert!(!http.has("haproxy_process_uptime_seconds"));
    assert!(before.has("haproxy_server_info") && before.has("haproxy_backend_info"));
}

#[tokio::test]
async fn pages_with_a_password() {
    let bed = Bed::start().await.unwrap();
    let uri = |user: &str| format!("http://{user}{}/private;csv", bed.stats.address());
    let directory = Directory::new("haproxy-exporter-password").unwrap();
    let file = directory.path().join("password");
    std::fs::write(&file, "p%4w:rd\n").unwrap();

    let right = exporter(&[
        &format!("--haproxy.scrape-uri={}", uri("exporter@")),
        &format!("--haproxy.password-file={}", file.display()),
    ])
    .await;
    page_of(&right).await.expect("haproxy_up", &[], 1.0).unwrap();
    probe(&right, &uri("exporter:p%254w%3Ard@")).await.expect("haproxy_up", &[], 1.0).unwrap();
    // The password of the configured target is not for others, and not even for the same one by another's URI.
    probe(&right, &uri("exporter@")).await.expect("haproxy_up", &[], 0.0).unwrap();

    let wrong = exporter(
        &["--log.level=debug"]
            .into_iter()
            .chain([format!("--haproxy.scrape-uri={}", uri("exporter:wr0ng@")).as_str()])
            .collect::<Vec<_>>(),
    )
    .await;
    page_of(&wrong).await.expect("haproxy_up", &[], 0.0).unwrap();
    let health = health(&wrong).await;
    assert_eq!(health["status"], "down");
    let (status, text) = reason(&health, "connect");
    assert_eq!(status, "fail");
    assert!(text.contains("401") && text.contains("--haproxy.password-file"), "{text}");
    for told in [health.to_string(), wrong.log(), http::get(&wrong.url("/")).await.unwrap().text()] {
        assert!(!told.contains("wr0ng"), "{told}");
    }
    eventually(Duration::from_secs(10), "the log has the status", async || match wrong.log() {
        log if log.contains("401") => Ok(()),
        log => Err(log),
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn the_health_status_names_the_backend_and_its_servers() {
    let bed = Bed::start().await.unwrap();
    let exporter = exporter(&[&format!("--haproxy.scrape-uri={}", bed.unix())]).await;
    // be_tcp tracks api1, so that it has a usable server.
    let first = health(&exporter).await;
    assert_eq!(first["status"], "degraded");
    assert_eq!(reason(&first, "servers"), ("warn".to_owned(), "1 server is down: be_tcp/nobody".to_owned()));
    assert_eq!(reason(&first, "backends").0, "ok");

    for server in ["api2", "api3", "unchecked"] {
        bed.haproxy.command(&format!("disable server be_api/{server}")).unwrap();
    }
    bed.haproxy.command("set server be_api/api1 health down").unwrap();
    let second = health(&exporter).await;
    assert_eq!(second["status"], "down");
    assert_eq!(reason(&second, "serving").0, "fail");
    let (status, text) = reason(&second, "backends");
    assert_eq!(status, "fail");
    assert!(text.contains("be_api has 0 of 6 servers usable; down: api1; in maintenance: 4; drained: 1"), "{text}");
    // Tracking a server is going down with it.
    assert!(text.contains("be_tcp has 0 of 2 servers usable; down: nobody, tracking"), "{text}");
    let page = page_of(&exporter).await;
    page.expect("haproxy_up", &[], 1.0).unwrap();
    page.expect("haproxy_health_status", &[("status", "down")], 1.0).unwrap();
    page.expect("haproxy_server_status", &[("proxy", "be_api"), ("server", "api2"), ("state", "MAINT")], 1.0).unwrap();

    bed.haproxy.command("enable server be_api/api2").unwrap();
    eventually(DEADLINE, "api2 serves", async || {
        let now = health(&exporter).await;
        if reason(&now, "serving").0 == "ok" { Ok(()) } else { Err(now.to_string()) }
    })
    .await
    .unwrap();
}

/// A healthy HAProxy with a backend for each kind of trouble.
struct Trouble {
    haproxy: HaProxy,
    fe: Port,
    small: Port,
    tcp: Port,
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
    use_backend be_sticky if { path /sticky }
    use_backend be_none if { path /none }
    use_backend be_dead if { path /dead }
    default_backend be_good
frontend small
    bind 127.0.0.1:"${SMALL}"
    maxconn 4
    default_backend be_good
frontend fe_tcp
    mode tcp
    bind 127.0.0.1:"${TCP}"
    default_backend be_tcp
backend be_good
    server one 127.0.0.1:"${UPSTREAM}"
    server two 127.0.0.1:"${UPSTREAM}" check
    server three 127.0.0.1:"${UPSTREAM}"
backend be_slow
    server slow 127.0.0.1:"${SILENT}" maxconn 2
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
const LOST_BY_DNS: &str = r#"
backend be_dns
    server known 127.0.0.1:"${UPSTREAM}"
    server lost1 lost.invalid:80 resolvers nobody init-addr none
    server lost2 lost.invalid:80 resolvers nobody init-addr none
"#;

impl Trouble {
    async fn start() -> Self {
        Self::with("").await
    }

    async fn with(more: &str) -> Self {
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
        let haproxy = HaProxy::start_with(&format!("{TROUBLE}{more}"), &env).await.unwrap();
        Self { haproxy, fe, small, tcp, _silent: silent, _ports: [nobody, upstream] }
    }

    /// An exporter that has scraped once, with the status `healthy`.
    async fn exporter(&self) -> RunningProgram {
        let exporter = exporter(&[&format!("--haproxy.scrape-uri=unix:{}", self.haproxy.socket().display())]).await;
        let report = health(&exporter).await;
        assert_eq!(report["status"], "healthy", "{report}");
        exporter
    }

    /// All at once; returns the status codes.
    async fn requests(&self, path: &str, count: usize) -> Vec<u16> {
        let url = format!("http://{}{path}", self.fe.address());
        join_all((0..count).map(async |_| http::get(&url).await.unwrap().status)).await
    }

    fn commands(&self, commands: &[&str]) {
        for command in commands {
            let answer = self.haproxy.command(command).unwrap();
            assert_eq!(answer.trim(), "", "{command}");
        }
    }
}

/// Scrapes until the check has this status, and returns the report.
async fn health_when(exporter: &RunningProgram, check: &str, status: &str) -> Value {
    eventually(DEADLINE, &format!("{check} is {status}"), async || {
        let report = health(exporter).await;
        if reason(&report, check).0 == status { Ok(report) } else { Err(report.to_string()) }
    })
    .await
    .unwrap()
}

/// Requests that are not answered, until they are dropped.
fn waiting(trouble: &Trouble, path: &str, count: usize) -> JoinSet<()> {
    let url = format!("http://{}{path}", trouble.fe.address());
    let request = async |url: String| drop(http::get_within(&url, &[], DEADLINE).await);
    (0..count).map(|_| request(url.clone())).collect()
}

#[tokio::test]
async fn a_queue_and_a_server_at_its_maxconn_degrade_the_health() {
    let trouble = Trouble::start().await;
    let exporter = trouble.exporter().await;
    // HAProxy counts requests for one server apart from those for any.
    for (path, queue, full) in [
        ("/slow", "be_slow has 8 queued requests", "be_slow/slow has 2 of 2 sessions (maxconn)"),
        (
            "/sticky",
            "be_sticky has 8 queued requests (8 of them for busy)",
            "be_sticky/busy has 2 of 2 sessions (maxconn)",
        ),
    ] {
        let requests = waiting(&trouble, path, 10);
        let report = eventually(DEADLINE, queue, async || {
            let report = health(&exporter).await;
            if reason(&report, "queue").1 == queue { Ok(report) } else { Err(report.to_string()) }
        })
        .await
        .unwrap();
        assert_eq!(report["status"], "degraded");
        assert_eq!(reason(&report, "queue").0, "warn");
        assert_eq!(reason(&report, "limits"), ("warn".to_owned(), full.to_owned()));

        drop(requests);
        health_when(&exporter, "queue", "ok").await;
        health_when(&exporter, "limits", "ok").await;
    }
}

#[tokio::test]
async fn requests_that_are_all_refused_are_down_until_others_are_served_or_haproxy_restarts() {
    let mut trouble = Trouble::start().await;
    let exporter = trouble.exporter().await;
    assert_eq!(trouble.requests("/none", 20).await, [503; 20]);
    let down = health(&exporter).await;
    assert_eq!(down["status"], "down", "{down}");
    let (status, text) = reason(&down, "requests");
    assert_eq!(status, "fail");
    assert!(text.contains("fe failed 20 of 20 requests (20 5xx)"), "{text}");
    assert!(text.contains("be_none failed 20 of 20 requests (20 5xx, 20 failed connections)"), "{text}");

    assert_eq!(trouble.requests("/", 20).await, [200; 20]);
    let degraded = health(&exporter).await;
    assert_eq!(degraded["status"], "degraded", "{degraded}");
    assert_eq!(reason(&degraded, "requests").0, "ok");
    let (status, text) = reason(&degraded, "errors");
    assert_eq!(status, "fail");
    assert!(text.contains(": be_none failed 20 of 20 requests"), "{text}");

    // All counters begin at 0 again.
    trouble.haproxy.stop().await.unwrap();
    trouble.haproxy.restart().await.unwrap();
    let restarted = health(&exporter).await;
    assert_eq!(restarted["status"], "healthy", "{restarted}");
    assert_eq!(reason(&restarted, "errors").0, "ok");
}

#[tokio::test]
async fn a_dead_server_without_a_check_is_named_with_its_errors_and_retries() {
    let trouble = Trouble::start().await;
    let exporter = trouble.exporter().await;
    assert_eq!(trouble.requests("/dead", 12).await, [503; 12]);
    let report = health(&exporter).await;
    assert_eq!(report["status"], "down", "{report}");
    let (status, text) = reason(&report, "errors");
    assert_eq!(status, "fail");
    assert!(text.contains("be_dead/dead failed 12 of 12 requests (12 failed connections)"), "{text}");
    let (status, text) = reason(&report, "retries");
    assert_eq!(status, "warn");
    assert!(text.contains("be_dead has 36 retries and 0 redispatches for 12 requests, most at dead"), "{text}");
}

#[tokio::test]
async fn a_tcp_backend_that_connects_to_nobody_is_down() {
    let trouble = Trouble::start().await;
    let exporter = trouble.exporter().await;
    join_all((0..12).map(async |_| {
        let mut stream = TcpStream::connect(trouble.tcp.address()).await.unwrap();
        assert_eq!(timeout(DEADLINE, stream.read(&mut [0; 1])).await.unwrap().unwrap_or(0), 0);
    }))
    .await;
    let report = health(&exporter).await;
    assert_eq!(report["status"], "down", "{report}");
    let (_, text) = reason(&report, "requests");
    assert!(text.contains("be_tcp failed 12 of 12 requests (12 failed connections)"), "{text}");
}

#[tokio::test]
async fn a_frontend_and_a_process_at_their_maxconn_degrade_the_health() {
    let trouble = Trouble::start().await;
    let exporter = trouble.exporter().await;
    let open = async |address: SocketAddr, count: usize| {
        join_all((0..count).map(|_| TcpStream::connect(address)))
            .await
            .into_iter()
            .map(Result::unwrap)
            .collect::<Vec<_>>()
    };
    let small = open(trouble.small.address(), 4).await;
    let report = health_when(&exporter, "frontends", "warn").await;
    assert_eq!(report["status"], "degraded");
    assert_eq!(reason(&report, "frontends").1, "small has 4 of 4 sessions (maxconn)");
    assert_eq!(reason(&report, "connections").0, "ok");

    let many = open(trouble.fe.address(), 86).await;
    let report = health_when(&exporter, "connections", "warn").await;
    assert_eq!(reason(&report, "connections").1, "the process has 90 of 100 connections (maxconn)");
    drop((small, many));
    health_when(&exporter, "connections", "ok").await;
}

#[tokio::test]
async fn servers_out_by_intent_are_healthy_until_none_is_left() {
    let trouble = Trouble::start().await;
    let exporter = trouble.exporter().await;
    trouble.commands(&["set server be_good/one state maint", "set server be_good/two state drain"]);
    let report = health(&exporter).await;
    assert_eq!(report["status"], "healthy", "{report}");

    trouble.commands(&["set server be_good/three weight 0"]);
    let report = health(&exporter).await;
    assert_eq!(report["status"], "degraded", "{report}");
    let text = "be_good has 0 of 3 servers usable; in maintenance: 1; drained: 1; of weight 0: 1";
    assert_eq!(reason(&report, "backends"), ("fail".to_owned(), text.to_owned()));
    for check in ["servers", "resolution"] {
        assert_eq!(reason(&report, check).0, "ok");
    }
}

#[tokio::test]
async fn a_backend_whose_servers_all_have_weight_0_fails() {
    let trouble = Trouble::start().await;
    let exporter = trouble.exporter().await;
    trouble.commands(&["set server be_good/one weight 0", "set server be_good/two weight 0"]);
    assert_eq!(health(&exporter).await["status"], "healthy");
    trouble.commands(&["set server be_good/three weight 0"]);
    let report = health(&exporter).await;
    assert_eq!(report["status"], "degraded", "{report}");
    let text = "be_good has 0 of 3 servers usable; of weight 0: 3";
    assert_eq!(reason(&report, "backends"), ("fail".to_owned(), text.to_owned()));
}

#[tokio::test]
async fn servers_lost_by_dns_are_not_in_maintenance_by_intent() {
    let trouble = Trouble::with(LOST_BY_DNS).await;
    let uri = format!("--haproxy.scrape-uri=unix:{}", trouble.haproxy.socket().display());
    let report = health(&exporter(&[&uri]).await).await;
    assert_eq!(report["status"], "degraded", "{report}");
    let text = "2 servers have no address, because the name does not resolve: be_dns/lost1, be_dns/lost2";
    assert_eq!(reason(&report, "resolution"), ("warn".to_owned(), text.to_owned()));
    let text = "be_dns has 1 of 3 servers usable; without an address: lost1, lost2";
    assert_eq!(reason(&report, "backends"), ("warn".to_owned(), text.to_owned()));

    let report = health(&exporter(&[&uri, "--health.template-backends=be_dns"]).await).await;
    assert_eq!(report["status"], "healthy", "{report}");
}

#[tokio::test]
async fn a_flapping_server_degrades_the_health() {
    let trouble = Trouble::start().await;
    let exporter = trouble.exporter().await;
    for _ in 0..3 {
        trouble.commands(&["set server be_good/two health down", "set server be_good/two health up"]);
    }
    let report = health(&exporter).await;
    assert_eq!(report["status"], "degraded", "{report}");
    let (status, text) = reason(&report, "flapping");
    assert_eq!(status, "warn");
    assert!(text.contains("be_good/two went down 3 times"), "{text}");
}

#[tokio::test]
async fn haproxy_stops_and_comes_back() {
    let mut bed = Bed::start().await.unwrap();
    bed.haproxy.stop().await.unwrap();
    let exporter = exporter(&[&format!("--haproxy.scrape-uri={}", bed.unix())]).await;
    let page = page_of(&exporter).await;
    page.expect("haproxy_up", &[], 0.0).unwrap();
    assert!(!page.has("haproxy_frontend_status"));
    let (status, text) = reason(&health(&exporter).await, "connect");
    assert_eq!(status, "fail");
    assert!(text.contains(&bed.unix()) && text.contains("nothing listens there"), "{text}");

    bed.haproxy.restart().await.unwrap();
    page_of(&exporter).await.expect("haproxy_up", &[], 1.0).unwrap();
}

#[tokio::test]
async fn haproxy_hangs_and_resumes() {
    let bed = Bed::start().await.unwrap();
    let exporter = exporter(&[&format!("--haproxy.scrape-uri={}", bed.unix())]).await;
    page_of(&exporter).await.expect("haproxy_up", &[], 1.0).unwrap();

    bed.haproxy.pause().unwrap();
    let timeout = [("X-Prometheus-Scrape-Timeout-Seconds", "1")];
    // Prometheus would have given up after that second.
    let within = Duration::from_secs(1);
    let reply = http::get_within(&exporter.url("/metrics"), &timeout, within).await.unwrap();
    Page::parse(&reply.text()).unwrap().expect("haproxy_up", &[], 0.0).unwrap();
    let report = http::get_within(&exporter.url("/health"), &timeout, within).await.unwrap().json();
    assert_eq!(report["status"], "down");
    let (_, text) = reason(&report, "connect");
    assert!(text.contains("took the connection") && text.contains("0 bytes came"), "{text}");

    bed.haproxy.resume().unwrap();
    eventually(DEADLINE, "haproxy_up returns to 1", async || page_of(&exporter).await.expect("haproxy_up", &[], 1.0))
        .await
        .unwrap();
}

/// Answers each connection with the same bytes once it has heard a line, and closes.
struct Answering {
    address: SocketAddr,
    accepted: Arc<AtomicUsize>,
    most_at_a_time: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl Answering {
    async fn start(answer: impl Into<Vec<u8>>, takes: Duration) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (accepted, most_at_a_time) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let (count, most, open) = (Arc::clone(&accepted), Arc::clone(&most_at_a_time), Arc::new(AtomicUsize::new(0)));
        let answer: Arc<[u8]> = answer.into().into();
        let task = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                count.fetch_add(1, Ordering::SeqCst);
                most.fetch_max(open.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                let (answer, open) = (Arc::clone(&answer), Arc::clone(&open));
                tokio::spawn(async move {
                    let mut stream = BufReader::new(stream);
                    let _ = stream.read_line(&mut String::new()).await;
                    tokio::time::sleep(takes).await;
                    let _ = stream.write_all(&answer).await;
                    // Before the client can see the end.
                    open.fetch_sub(1, Ordering::SeqCst);
                });
            }
        });
        Self { address, accepted, most_at_a_time, task }
    }

    fn tcp(&self) -> String {
        format!("tcp://{}", self.address)
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        self.task.abort();
    }
}

const STATISTICS: &str = "Name: HAProxy\nStopping: 0\n\n# pxname,svname,scur,status,type,\nfe,FRONTEND,1,OPEN,0,\nbe,one,2,UP,2,\n\
                          torn,row\nbe,BACKEND,2,UP,1,\n\n";

#[tokio::test]
async fn a_target_that_is_not_haproxy_is_down_with_a_reason_and_affects_no_other() {
    let http_answer = |head: &str, body: &str| {
        format!("HTTP/1.1 {head}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len())
    };
    let half = &STATISTICS[..STATISTICS.len() - 20];
    let now = Duration::ZERO;
    let silent = Fake::start(Behaviour::Silence).await.unwrap();
    let garbage = Fake::start(Behaviour::Garbage).await.unwrap();
    let closing = Fake::start(Behaviour::Close).await.unwrap();
    let stuck = Fake::start(Behaviour::HalfReplyOnRequest(half.into())).await.unwrap();
    let dripping = Fake::start(Behaviour::Drip(STATISTICS.into(), Duration::from_millis(100))).await.unwrap();
    let cut = Answering::start(half, now).await;
    let torn = Answering::start("# pxname,svname,scur,status,type,\ntorn,row\nand,another\n\n", now).await;
    let empty = Answering::start("# pxname,svname,scur,status,type,\n\n", now).await;
    let denied = Answering::start("Permission denied\n\n", now).await;
    let mail = Answering::start("220 mail.example.org SECRET ESMTP\r\n\n", now).await;
    let html = Answering::start(http_answer("200 OK", "<html>SECRET</html>"), now).await;
    let failing = Answering::start(http_answer("500 Internal Server Error", "SECRET"), now).await;
    let locked = Answering::start(http_answer("401 Unauthorized", "SECRET"), now).await;
    let circles =
        Answering::start("HTTP/1.1 302 Found\r\nlocation: /\r\ncontent-length: 0\r\nconnection: close\r\n\r\n", now)
            .await;
    let refused = Port::lease().unwrap();

    let tcp = |address: SocketAddr| format!("tcp://{address}");
    let page = |address: SocketAddr| format!("http://{address}/;csv");
    let cases = [
        (tcp(silent.address()), "took the connection, but its answer was not complete"),
        (page(silent.address()), "took the connection, but its answer was not complete"),
        (tcp(stuck.address()), "bytes came): is it stopped or overloaded?"),
        (tcp(dripping.address()), "its answer was not complete"),
        // Depending on whether its 32 MiB or the deadline come first.
        (tcp(garbage.address()), "garbage"),
        (tcp(closing.address()), "closing"),
        (tcp(cut.address), "ended its answer in the middle"),
        (tcp(torn.address), "no row that can be read (2 rows could not be)"),
        (tcp(empty.address), "no row that can be read (0 rows could not be)"),
        (tcp(denied.address), "`level user` suffices"),
        (tcp(mail.address), "not HAProxy's statistics"),
        (page(html.address), "does the URI end in ;csv?"),
        (page(failing.address), "500 Internal Server Error"),
        (page(locked.address), "check the user in --haproxy.scrape-uri"),
        (page(circles.address), "it redirects in circles"),
        (tcp(refused.address()), "nothing listens there"),
        ("unix:/nonexistent/haproxy.sock".to_owned(), "no such socket"),
    ];
    // All at once: none waits for another.
    join_all(cases.iter().map(async |(uri, wanted)| {
        let exporter = Program::exporter("haproxy-exporter")
            .arg(format!("--haproxy.scrape-uri={uri}"))
            .arg("--haproxy.timeout=1s")
            .start()
            .await
            .unwrap();
        page_of(&exporter).await.expect("haproxy_up", &[], 0.0).unwrap();
        let report = health(&exporter).await;
        assert_eq!(report["status"], "down", "{uri}: {report}");
        let (status, text) = reason(&report, "connect");
        assert_eq!(status, "fail");
        let any: &[&str] = match *wanted {
            "garbage" => &["over 32 MiB", "not complete"],
            "closing" => &["without a word", "broke"],
            wanted => &[wanted],
        };
        assert!(any.iter().any(|wanted| text.contains(wanted)), "{uri}: {text}");
        // A probe must not become a way to read what others answer.
        assert!(!report.to_string().contains("SECRET"), "{report}");
    }))
    .await;
}

#[tokio::test]
async fn a_probe_over_http_leaves_no_connection() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    // It would go on with the connection, as HTTP/1.1 does.
    let server = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let mut stream = BufReader::new(stream);
        let mut line = String::new();
        while line != "\r\n" {
            line.clear();
            assert!(stream.read_line(&mut line).await.unwrap() > 0, "the request has an end");
        }
        let csv = "# pxname,svname,status,type,\nfe,FRONTEND,OPEN,0,\n";
        let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{csv}", csv.len());
        stream.write_all(answer.as_bytes()).await.unwrap();
        stream.read_line(&mut line).await.unwrap()
    });
    let exporter = exporter(&["--haproxy.scrape-uri=unix:/nonexistent"]).await;
    probe(&exporter, &format!("http://{address}/;csv")).await.expect("haproxy_up", &[], 1.0).unwrap();
    let more = timeout(DEADLINE, server).await.expect("the connection is closed").unwrap();
    assert_eq!(more, 0);
}

#[tokio::test]
async fn a_torn_row_is_counted_and_the_others_stay() {
    let server = Answering::start(STATISTICS, Duration::ZERO).await;
    let exporter = exporter(&[&format!("--haproxy.scrape-uri={}", server.tcp())]).await;
    for scrapes in [1.0, 2.0] {
        let page = page_of(&exporter).await;
        page.expect("haproxy_up", &[], 1.0).unwrap();
        page.expect("haproxy_exporter_csv_parse_failures_total", &[], scrapes).unwrap();
        page.expect("haproxy_server_current_sessions", &[("proxy", "be"), ("server", "one")], 2.0).unwrap();
        page.expect("haproxy_backend_current_sessions", &[("proxy", "be")], 2.0).unwrap();
    }
    let report = health(&exporter).await;
    assert_eq!(report["status"], "degraded");
    let warning = "could not be read in HAProxy's response: 1 row";
    assert_eq!(reason(&report, "statistics"), ("warn".to_owned(), warning.to_owned()));
}

#[tokio::test]
async fn two_hundred_scrapers_are_one_connection_at_a_time() {
    let server = Answering::start(STATISTICS, Duration::from_millis(20)).await;
    let exporter = exporter(&[&format!("--haproxy.scrape-uri={}", server.tcp())]).await;
    let filters = ["", "?collect[]=servers", "?collect[]=backends", "?collect[]=frontends&collect[]=health"];
    let urls = (0..200).map(|i| exporter.url(&format!("/metrics{}", filters[i % filters.len()])));
    let client = http::client(0).unwrap();
    let get = async |url: String| client.get(url).send().await.unwrap().text().await.unwrap();
    let pages = join_all(urls.map(get)).await;
    for page in pages {
        Page::parse(&page).unwrap().expect("haproxy_up", &[], 1.0).unwrap();
    }
    assert_eq!(server.most_at_a_time.load(Ordering::SeqCst), 1);
    // Scrapes of the same collectors share an answer.
    assert!(server.accepted.load(Ordering::SeqCst) < 100);

    // Probes of one target take turns, too, and with the scrapes of that target.
    let spellings = [server.tcp(), format!("{}/", server.tcp())];
    let probes = join_all(spellings.iter().map(|uri| probe(&exporter, uri)));
    let (probes, scrape) = futures::join!(probes, page_of(&exporter));
    for page in probes.iter().chain([&scrape]) {
        page.expect("haproxy_up", &[], 1.0).unwrap();
    }
    assert_eq!(server.most_at_a_time.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn promtool_and_openmetrics_take_the_page() {
    let bed = Bed::start().await.unwrap();
    bed.traffic().await;
    let exporter = exporter(&[&format!("--haproxy.scrape-uri={}", bed.unix())]).await;
    // The first scrape has no checks of what changed.
    page_of(&exporter).await;
    let text = http::get(&exporter.url("/metrics")).await.unwrap().text();
    let mut promtool = Launch::installed(&["promtool"]).unwrap().args(["check", "metrics"]).wrapped(&[]);
    // It fails over style, too; what a peer dictates stays.
    let complaints = match launch::run(&mut promtool, "promtool check metrics", &text) {
        Ok(_) => String::new(),
        Err(medassist_stack::Error::Failed { stderr, .. }) => stderr,
        Err(error) => error.to_string(),
    };
    let dictated = ["haproxy_process_failed_resolutions ", "haproxy_process_total_warnings "];
    for line in complaints.lines() {
        assert!(dictated.iter().any(|name| line.starts_with(name)), "{line}");
    }

    let accept = [("accept", "application/openmetrics-text;version=1.0.0")];
    let reply = http::get_with(&exporter.url("/metrics"), &accept).await.unwrap();
    assert!(reply.header("content-type").starts_with("application/openmetrics-text; version=1.0.0"));
    let open = reply.text();
    assert!(open.ends_with("# EOF\n"));
    let samples = |text: &str| text.lines().filter(|line| !line.starts_with('#')).count();
    assert_eq!(samples(&open), samples(&text));
    assert!(open.contains("# TYPE haproxy_server_bytes_in counter\n"));
}

#[tokio::test]
async fn a_wrong_configuration_stops_the_start_with_a_line_that_names_the_flag() {
    for (args, flag) in [
        (vec!["--haproxy.scrape-uri=http://user:S3CRET@:/"], "--haproxy.scrape-uri"),
        (vec!["--haproxy.scrape-uri=/run/haproxy.sock"], "--haproxy.scrape-uri"),
        (vec!["--haproxy.password-file=/nonexistent"], "--haproxy.password-file"),
        (vec!["--haproxy.password-file=/dev/null"], "--haproxy.password-file"),
        (vec!["--haproxy.server-exclude-states=SLEEPY"], "--haproxy.server-exclude-states"),
    ] {
        let finished = Program::new("haproxy-exporter").args(args).run(DEADLINE).await.unwrap();
        assert_ne!(finished.code, Some(0));
        assert!(finished.stderr.contains(flag), "{}", finished.stderr);
        assert!(!finished.stderr.contains("S3CRET"), "{}", finished.stderr);
    }
    let exporter = exporter(&["--haproxy.scrape-uri=tcp://127.0.0.1:1"]).await;
    let reply = http::get(&exporter.url("/probe?target=ftp://example.org/")).await.unwrap();
    assert_eq!(reply.status, 400);
    assert!(reply.text().contains("unix:/path"), "{}", reply.text());
}

#[tokio::test]
async fn metrics_md_is_what_the_program_prints() {
    let printed = Program::new("haproxy-exporter").arg("--print-metrics").run(DEADLINE).await.unwrap().stdout;
    let committed = include_str!("../../exporters/haproxy/METRICS.md");
    assert!(printed == committed, "run: haproxy-exporter --print-metrics > exporters/haproxy/METRICS.md");
}
