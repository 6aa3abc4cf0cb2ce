//! `haproxy-exporter` on targets that stop, hang or misbehave.
#![allow(clippy::unwrap_used, reason = "an unwrap in a test is its report")]

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::future::join_all;
use medassist_tests::launch::{Launch, Ready};
use medassist_tests::testbed::haproxy::{Bed, says};
use medassist_tests::testbed::process::Directory;
use medassist_tests::testbed::scrape::{haproxy_exporter as exporter, health, page_of, probe, reason};
use medassist_tests::testbed::{Answering, Behaviour, Fake, HaProxy, Page, Port, Process, Program, eventually, http};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, sleep_until, timeout};

const DEADLINE: Duration = Duration::from_secs(20);

const STATISTICS: &str = "Name: HAProxy\nStopping: 0\n\n# pxname,svname,scur,status,type,\nfe,FRONTEND,1,OPEN,0,\nbe,one,2,UP,2,\n\
                          torn,row\nbe,BACKEND,2,UP,1,\n\n";

#[tokio::test]
async fn haproxy_stops_and_comes_back() {
    let mut bed = Bed::start().await.unwrap();
    bed.haproxy.stop().await.unwrap();
    let exporter = exporter(&[&format!("--haproxy.scrape-uri={}", bed.unix())]).await;
    let page = page_of(&exporter).await;
    page.expect("haproxy_up", &[], 0.0).unwrap();
    assert!(!page.has("haproxy_frontend_status"));
    let report = health(&exporter).await;
    says(&report, "down", "connect", "fail", "nothing listens there");
    assert!(reason(&report, "connect").1.contains(&bed.unix()), "{report}");

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
    says(&report, "down", "connect", "fail", "its answer was not complete");
    let (_, text) = reason(&report, "connect");
    assert!(text.contains("took the connection") && text.contains("0 bytes came"), "{text}");

    bed.haproxy.resume().unwrap();
    eventually(DEADLINE, "haproxy_up returns to 1", async || page_of(&exporter).await.expect("haproxy_up", &[], 1.0))
        .await
        .unwrap();
}

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
    let cut_page = "HTTP/1.1 200 OK\r\n\r\n# pxname,svname,scur,status,type,\nbe,one,2,UP,2,\nbe,two,2,UP,2,\n";
    let cut_page = Answering::start(cut_page, now).await;
    let torn = Answering::start("# pxname,svname,scur,status,type,\ntorn,row\nand,another\n\n", now).await;
    let empty = Answering::start("# pxname,svname,scur,status,type,\n\n", now).await;
    let quote = "# pxname,svname,scur,status,type,\nbe,\"one,2,UP,2,\nbe,BACKEND,2,UP,1,\n\n";
    let quote = Answering::start(quote, now).await;
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
        // Depending on whether 1 MiB or the deadline come first.
        (tcp(garbage.address()), "garbage"),
        (tcp(closing.address()), "closing"),
        (tcp(cut.address), "ended its answer in the middle"),
        (tcp(torn.address), "no row that can be read (unreadable: 2)"),
        (tcp(quote.address), "no row that can be read (unreadable: 1)"),
        (tcp(empty.address), "no row that can be read (unreadable: 0)"),
        (tcp(denied.address), "`level user` suffices"),
        (tcp(mail.address), "not HAProxy's statistics"),
        (page(cut_page.address), "ended its answer in the middle"),
        (page(html.address), "does the URI end in ;csv?"),
        (page(failing.address), "500 Internal Server Error"),
        (page(locked.address), "check the user in --haproxy.scrape-uri"),
        (page(circles.address), "it redirects in circles"),
        (tcp(refused.address()), "nothing listens there"),
        ("unix:/nonexistent/haproxy.sock".to_owned(), "no such socket"),
    ];
    let in_the_readme = [
        "ended its answer in the middle",
        "no row that can be read (unreadable: 2)",
        "no row that can be read (unreadable: 1)",
        "no row that can be read (unreadable: 0)",
        "`level user` suffices",
        "not HAProxy's statistics",
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
            "garbage" => &["does not begin within 1 MiB", "not complete"],
            "closing" => &["without a word", "broke"],
            wanted => &[wanted],
        };
        assert!(any.iter().any(|wanted| text.contains(wanted)), "{uri}: {text}");
        if in_the_readme.contains(wanted) {
            says(&report, "down", "connect", "fail", wanted);
        }
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
    says(&report, "degraded", "statistics", "warn", "could not be read in HAProxy's response: 1 row");
}

/// Scrapes that follow each other at intervals around the keep-alive timeout, in milliseconds.
const AT_THE_EDGE: std::ops::Range<u64> = 97..103;

#[tokio::test]
async fn a_keep_alive_that_ends_at_the_moment_of_a_scrape_costs_none_of_300() {
    let stats = Port::lease().unwrap();
    let configuration = "defaults\n    mode http\n    timeout connect 1s\n    timeout server 1s\n    timeout client 5s\n    \
                         timeout http-keep-alive 100ms\nfrontend stats\n    bind 127.0.0.1:\"${STATS}\"\n    stats enable\n    \
                         stats uri /stats\n";
    let number = stats.number().to_string();
    let _haproxy = HaProxy::start_with(configuration, &[("STATS", &number)]).await.unwrap();
    let exporter = exporter(&[&format!("--haproxy.scrape-uri=http://{}/stats;csv", stats.address())]).await;
    let mut next = Instant::now();
    for milliseconds in AT_THE_EDGE.cycle().take(300) {
        page_of(&exporter).await.expect("haproxy_up", &[], 1.0).unwrap();
        // The interval is what is tested.
        next += Duration::from_millis(milliseconds);
        sleep_until(next).await;
    }
}

/// Forwards connections to one of several targets. It forgets a connection 20 ms after an answer, as a firewall does
/// with idle ones: the connection stays open, and nothing comes through any more.
struct Forwarder {
    address: SocketAddr,
    target: Arc<Mutex<SocketAddr>>,
    task: JoinHandle<()>,
}

impl Forwarder {
    async fn start(target: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let target = Arc::new(Mutex::new(target));
        let current = Arc::clone(&target);
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((mut client, _)) = listener.accept().await {
                let target = *current.lock().unwrap();
                connections.spawn(async move {
                    let mut server = TcpStream::connect(target).await.unwrap();
                    let (mut from_client, mut from_server) = (vec![0; 65536], vec![0; 65536]);
                    let mut answered = false;
                    loop {
                        let (read, to_server) = tokio::select! {
                            read = client.read(&mut from_client) => (read.unwrap_or(0), true),
                            read = server.read(&mut from_server) => (read.unwrap_or(0), false),
                            () = tokio::time::sleep(Duration::from_millis(20)), if answered => {
                                return std::future::pending().await;
                            }
                        };
                        let sent = match (read, to_server) {
                            (0, _) => return,
                            (read, true) => server.write_all(&from_client[..read]).await,
                            (read, false) => client.write_all(&from_server[..read]).await,
                        };
                        if sent.is_err() {
                            return;
                        }
                        answered = !to_server;
                    }
                });
            }
        });
        Self { address, target, task }
    }

    fn lead_to(&self, target: SocketAddr) {
        *self.target.lock().unwrap() = target;
    }
}

impl Drop for Forwarder {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A page of one server, over HTTP with a connection that the server would keep without a limit.
async fn keeping(server: &'static str) -> (SocketAddr, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let task = tokio::spawn(async move {
        let mut connections = JoinSet::new();
        while let Ok((stream, _)) = listener.accept().await {
            connections.spawn(async move {
                let mut stream = BufReader::new(stream);
                let mut line = String::new();
                while stream.read_line(&mut line).await.is_ok_and(|read| read > 0) {
                    if line == "\r\n" {
                        let csv =
                            format!("# pxname,svname,scur,status,type,\nbe,{server},1,UP,2,\nbe,BACKEND,1,UP,1,\n");
                        let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{csv}", csv.len());
                        if stream.write_all(answer.as_bytes()).await.is_err() {
                            return;
                        }
                    }
                    line.clear();
                }
            });
        }
    });
    (address, task)
}

#[tokio::test]
async fn a_failover_and_a_firewall_that_forgets_connections_cost_none_of_300_scrapes() {
    let ((first, _first), (second, _second)) = (keeping("first").await, keeping("second").await);
    let forwarder = Forwarder::start(first).await;
    let exporter = exporter(&[&format!("--haproxy.scrape-uri=http://{}/;csv", forwarder.address)]).await;
    for round in 0..300 {
        // A failover every third scrape. In between, the firewall forgets the connection of the scrape before.
        let (address, name) = if round / 3 % 2 == 0 { (first, "first") } else { (second, "second") };
        forwarder.lead_to(address);
        let page = page_of(&exporter).await;
        page.expect("haproxy_up", &[], 1.0).unwrap();
        let server = [("proxy", "be"), ("server", name)];
        page.expect("haproxy_server_current_sessions", &server, 1.0).unwrap_or_else(|e| panic!("scrape {round}: {e}"));
        // The firewall's time, not one that a condition of ours could replace.
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
}

#[tokio::test]
async fn a_bind_that_expects_the_proxy_protocol_is_named() {
    let stats = Port::lease().unwrap();
    let configuration = "defaults\n    mode http\n    timeout client 1s\n    timeout connect 1s\n    timeout server 1s\n\
                         frontend stats\n    bind 127.0.0.1:\"${STATS}\" accept-proxy\n    stats enable\n    stats uri /stats\n";
    let number = stats.number().to_string();
    let _haproxy = HaProxy::start_with(configuration, &[("STATS", &number)]).await.unwrap();
    let exporter = exporter(&[&format!("--haproxy.scrape-uri=http://{}/stats;csv", stats.address())]).await;
    let report = health(&exporter).await;
    says(&report, "down", "connect", "fail", "does its bind expect TLS, or the PROXY protocol");
}

#[tokio::test]
async fn the_socket_of_the_master_is_recognized_at_once() {
    let (fe, directory) = (Port::lease().unwrap(), Directory::new("haproxy-master").unwrap());
    let (socket, configuration) = (directory.path().join("master.sock"), directory.path().join("haproxy.cfg"));
    std::fs::write(
        &configuration,
        "defaults\n    mode http\n    timeout client 1s\n    timeout connect 1s\n    timeout server 1s\n\
                                    frontend fe\n    bind 127.0.0.1:\"${FE}\"\n",
    )
    .unwrap();
    let launch = Launch::installed(&["haproxy"])
        .unwrap()
        .env("FE", fe.number().to_string())
        .arg("-W")
        .arg("-S")
        .arg(&socket)
        .arg("-f")
        .arg(&configuration);
    let _haproxy = Process::start("haproxy", launch, Ready::Running, directory).await.unwrap();
    let exporter = exporter(&[&format!("--haproxy.scrape-uri=unix:{}", socket.display())]).await;
    let report = eventually(DEADLINE, "the master has started", async || {
        // Far below the timeout of 10 s, after which it would be "stopped or overloaded".
        let report = http::get_within(&exporter.url("/health"), &[], Duration::from_secs(3)).await.unwrap().json();
        let (_, text) = reason(&report, "connect");
        if text.contains("(-S)") { Ok(report) } else { Err(text) }
    })
    .await
    .unwrap();
    says(&report, "down", "connect", "fail", "is it the master's (-S)?");
}

/// Resident memory of a process, in MiB.
fn peak_mib(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches("kB").trim().parse::<u64>().unwrap() / 1024
}

#[tokio::test]
async fn hostile_targets_of_probes_are_bounded_in_memory_and_block_nobody() {
    let now = Duration::ZERO;
    // Each of them took hundreds of MiB and seconds of the only thread.
    let keys: String = (0..500_000).map(|i| format!("K{i}: v\n")).collect();
    let keys = Answering::start(format!("{keys}\n# pxname,svname,type,\nfe,FRONTEND,0,\n\n"), now).await;
    let header = "Name: HAProxy\n\n# pxname,svname,scur,status,type,\n";
    // 20 MiB each in few rows.
    let row = format!("be,one,{},UP,2,\n", "9".repeat(60_000));
    let large = format!("{header}{}be,BACKEND,1,UP,1,\n\n", row.repeat(340));
    let tiny = Answering::start(format!("{header}{}\n", "a,b,1,UP,2,\n".repeat(500_000)), now).await;
    let wide =
        Answering::start(format!("# pxname,svname,{}type,\nfe,FRONTEND,0,\n\n", "c,".repeat(1_000_000)), now).await;
    let commas = Answering::start(format!("{header}{}", ",".repeat(3_000_000)), now).await;
    let large = join_all((0..5).map(|_| Answering::start(large.clone(), now))).await;
    let good = Answering::start(STATISTICS, now).await;
    let exporter = exporter(&[&format!("--haproxy.scrape-uri={}", good.tcp())]).await;

    let slow = Arc::new(AtomicBool::new(false));
    let watch = {
        let (url, slow) = (exporter.url("/-/healthy"), Arc::clone(&slow));
        tokio::spawn(async move {
            loop {
                let begun = Instant::now();
                http::get(&url).await.unwrap();
                // A debug build on a busy machine; before, it was 15 s.
                slow.fetch_or(begun.elapsed() > Duration::from_secs(5), Ordering::SeqCst);
            }
        })
    };
    let targets = [&keys, &tiny, &wide, &commas].into_iter().chain(&large).map(Answering::tcp);
    let timeout = [("X-Prometheus-Scrape-Timeout-Seconds", "60")];
    let pages = join_all(targets.map(async |target| {
        let url = exporter.url(&format!("/probe?target={target}"));
        let page = http::get_within(&url, &timeout, Duration::from_secs(60)).await.unwrap();
        Page::parse(&page.text()).unwrap()
    }))
    .await;
    watch.abort();
    for page in &pages[..4] {
        page.expect("haproxy_up", &[], 0.0).unwrap();
    }
    assert!(!slow.load(Ordering::SeqCst), "/-/healthy took more than 5 s");
    page_of(&exporter).await.expect("haproxy_up", &[], 1.0).unwrap();
    let peak = peak_mib(exporter.pid().unwrap());
    assert!(peak < 192, "{peak} MiB");
}
