//! An exporter whose clients and targets misbehave on purpose, all at once: half-open connections, drips, garbage, huge
//! heads, clients that never read, hostile counts, and probes of targets that never answer.
//!
//! What must hold meanwhile: the main target's page within the deadline and right, `/-/healthy`, probes of a live
//! target, and the memory that the toolkit's README states.
#![allow(clippy::unwrap_used, reason = "an unwrap in a test is its report")]

use std::any::Any;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use medassist_tests::database::Flavour;
use medassist_tests::testbed::haproxy::Bed;
use medassist_tests::testbed::mysql;
use medassist_tests::testbed::scrape::{encoded, haproxy_exporter};
use medassist_tests::testbed::{Behaviour, Fake, Page, Program, Redis, RunningProgram, eventually, http};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

const SECOND: Duration = Duration::from_secs(1);

/// The scrape timeout of the main target's scraper.
const SCRAPE_TIMEOUT: Duration = Duration::from_secs(10);
const SCRAPER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);
const LONG_TIMEOUT_HEADER: [(&str, &str); 1] = [("x-prometheus-scrape-timeout-seconds", "10")];

/// In the README of the toolkit.
const MAX_RESIDENT_BYTES: f64 = 256.0 * 1024.0 * 1024.0;

/// An exporter and what it reads, with the fakes that attack it from the other side.
struct Subject {
    exporter: RunningProgram,
    /// 1 on a page of a target that can be read.
    up: &'static str,
    /// As the parameter of `/probe`.
    live: String,
    /// A target at an address, as the parameter of `/probe`.
    target: fn(SocketAddr) -> String,
    /// Ports that send something hostile.
    hostile: Vec<u16>,
    /// Kept for the time of the test.
    _servers: Vec<Box<dyn Any + Send>>,
}

impl Subject {
    async fn redis() -> Self {
        let (redis, other) = (Redis::start().await.unwrap(), Redis::start().await.unwrap());
        let mut hostile = Vec::new();
        for answer in [
            &b"+PONG\r\n*1000000000\r\n"[..],
            b"$99999999999\r\nredis_version:7\r\n",
            &[b'*'; 4096],
            b"*9\r\n*9\r\n*9\r\n*9\r\n*9\r\n*9\r\n*9\r\n*9\r\n*9\r\n*9\r\n*9\r\n*9\r\n",
        ] {
            hostile.push(targets(b"", answer).await);
        }
        Self {
            exporter: exporter(&redis).await,
            up: "redis_up",
            live: other.address().to_string(),
            target: |address| address.to_string(),
            hostile,
            _servers: vec![Box::new(redis), Box::new(other)],
        }
    }

    async fn haproxy() -> Self {
        let bed = Bed::start().await.unwrap();
        let mut hostile = Vec::new();
        for answer in [
            &b"HTTP/1.1 200 OK\r\ncontent-length: 99999999999\r\n\r\n# pxname,svname,type,\n"[..],
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nffffffffffffffff\r\n",
            b"HTTP/1.1 200 OK\r\n\r\n# pxname,svname,type,\n\"",
            &[b'*'; 4096],
        ] {
            hostile.push(targets(b"", answer).await);
        }
        Self {
            exporter: haproxy_exporter(&[&format!("--haproxy.scrape-uri={}", bed.unix())]).await,
            up: "haproxy_up",
            live: encoded(&bed.page_uri("/stats")),
            target: |address| encoded(&format!("http://{address}/stats;csv")),
            hostile,
            _servers: vec![Box::new(bed)],
        }
    }

    async fn mysql() -> Self {
        let db = mysql::server(Flavour::MariaDb, &[]).await.unwrap();
        let mut hostile = Vec::new();
        // A server speaks first.
        for greeting in [
            &b"\xff\xff\xff\x00\x0a10.11.0-MariaDB\0"[..],
            b"\x0a\x00\x00\x00\x0a10.11.0\0",
            &[0xff; 4096],
            b"SSH-2.0-OpenSSH_9.2\r\n",
        ] {
            hostile.push(targets(greeting, &[0xfe; 1024]).await);
        }
        Self {
            exporter: mysql::exporter(db.address()).start().await.unwrap(),
            up: "mysql_up",
            live: db.address().to_string(),
            target: |address| address.to_string(),
            hostile,
            _servers: vec![Box::new(db)],
        }
    }

    async fn main_page(&self) -> Page {
        let page = Page::parse(&get(&self.exporter.url("/metrics"), SCRAPE_TIMEOUT).await).unwrap();
        page.expect(self.up, &[], 1.0).unwrap();
        page
    }

    async fn live_probe(&self) {
        let url = self.exporter.url(&format!("/probe?target={}", self.live));
        let page = Page::parse(&get(&url, 10 * SECOND).await).unwrap();
        page.expect(self.up, &[], 1.0).unwrap();
    }
}

/// Targets that accept connections, send the greeting, and this to each request. Empty ones are silent.
async fn targets(greeting: &'static [u8], answer: &'static [u8]) -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut request = [0; 4096];
                if stream.write_all(greeting).await.is_err() {
                    return;
                }
                while stream.read(&mut request).await.is_ok_and(|read| read > 0) {
                    if stream.write_all(answer).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    port
}

/// The n-th address of loopback: each is another target.
fn loopback(n: u32) -> Ipv4Addr {
    Ipv4Addr::from(0x7f01_0000 + n)
}

/// As Prometheus does it, from an address of its own.
async fn get(url: &str, scrape_timeout: Duration) -> String {
    // Its first call installs the TLS provider.
    http::client(0).unwrap();
    let client = reqwest::Client::builder()
        .no_proxy()
        .tls_certs_only([])
        .local_address(Some(SCRAPER.into()))
        .timeout(scrape_timeout)
        .build()
        .unwrap();
    let request = client.get(url).header("x-prometheus-scrape-timeout-seconds", scrape_timeout.as_secs());
    let reply = request.send().await.unwrap();
    let (status, text) = (reply.status(), reply.text().await.unwrap());
    assert_eq!(status, 200, "{url}: {text}");
    text
}

async fn main_page(exporter: &RunningProgram) -> Page {
    let page = Page::parse(&get(&exporter.url("/metrics"), SCRAPE_TIMEOUT).await).unwrap();
    page.expect("redis_up", &[], 1.0).unwrap();
    page
}

async fn is_alive(exporter: &RunningProgram, target: SocketAddr) {
    let url = exporter.url(&format!("/probe?target={target}"));
    let page = Page::parse(&get(&url, 10 * SECOND).await).unwrap();
    page.expect("redis_up", &[], 1.0).unwrap();
}

async fn exporter(redis: &Redis) -> RunningProgram {
    Program::exporter("redis-exporter").arg(format!("--redis.addr={}", redis.address())).start().await.unwrap()
}

#[tokio::test]
async fn six_hundred_half_open_connections_give_way_to_a_scrape() {
    let redis = Redis::start().await.unwrap();
    let exporter = exporter(&redis).await;
    let address = exporter.addresses()[0];
    let mut half_open = Vec::new();
    for n in 0..600 {
        let mut stream = TcpStream::connect(address).await.unwrap();
        if n % 2 == 0 {
            stream.write_all(b"GET /metrics HTTP/1.1\r\nhost:").await.unwrap();
        }
        half_open.push(stream);
    }
    // Idle connections give way at once: a scrape does not wait for their timeout.
    let page = Page::parse(&get(&exporter.url("/metrics"), 3 * SECOND).await).unwrap();
    page.expect("redis_up", &[], 1.0).unwrap();
    get(&exporter.url("/-/healthy"), 3 * SECOND).await;
    exporter.logged("too many connections", 1).await.unwrap();
    drop(half_open);
}

#[tokio::test]
async fn probes_of_five_hundred_silent_targets_do_not_refuse_a_live_one() {
    let (redis, other) = (Redis::start().await.unwrap(), Redis::start().await.unwrap());
    let exporter = exporter(&redis).await;
    let silent = targets(b"", b"").await;
    let mut probes = JoinSet::new();
    for n in 0..500 {
        let url = exporter.url(&format!("/probe?target={}:{silent}", loopback(n)));
        probes.spawn(async move {
            http::get_within(&url, &LONG_TIMEOUT_HEADER, 12 * SECOND).await.map(|reply| reply.status)
        });
    }
    // The first of them wait for their targets by now.
    eventually(10 * SECOND, "the probes run", async || {
        let page = main_page(&exporter).await;
        if page.value("process_open_fds", &[])? > 400.0 {
            Ok(())
        } else {
            Err(medassist_tests::Error::Series("few".to_owned()))
        }
    })
    .await
    .unwrap();
    for _ in 0..10 {
        is_alive(&exporter, other.address()).await;
        main_page(&exporter).await;
    }
    let mut statuses = Vec::new();
    while let Some(status) = probes.join_next().await {
        statuses.push(status.unwrap().unwrap_or_default());
    }
    // Down, or without a turn until the deadline.
    assert!(statuses.iter().all(|status| matches!(status, 200 | 503)), "{statuses:?}");
    let health = http::get(&exporter.url(&format!("/health?target=127.0.0.1:{silent}"))).await.unwrap();
    assert_eq!(health.status, 503);
    assert!(health.json()["reasons"][0].as_str().unwrap().starts_with("connect: "), "{}", health.text());
}

/// What the run measured.
#[derive(Debug, Default)]
struct Figures {
    scrapes: u64,
    probes: u64,
    slowest_scrape: Duration,
    slowest_health: Duration,
    slowest_probe: Duration,
    resident_bytes: f64,
    attacks: u64,
}

/// Runs one client's attack again and again.
fn attack<A: Future<Output = std::io::Result<()>> + Send>(
    attackers: &mut JoinSet<()>,
    count: &Arc<AtomicU64>,
    number: usize,
    client: impl Fn() -> A + Clone + Send + 'static,
) {
    for _ in 0..number {
        let (client, count) = (client.clone(), Arc::clone(count));
        attackers.spawn(async move {
            loop {
                // An error is the exporter's defence.
                let _ = timeout(15 * SECOND, client()).await;
                count.fetch_add(1, Ordering::Relaxed);
                sleep(Duration::from_millis(50)).await;
            }
        });
    }
}

async fn until_closed(stream: &mut TcpStream) -> std::io::Result<()> {
    while stream.read(&mut [0; 4096]).await? > 0 {}
    Ok(())
}

async fn under_attack(subject: &Subject, duration: Duration) -> Figures {
    let (exporter, target) = (&subject.exporter, subject.target);
    let address = exporter.addresses()[0];
    let silent = targets(b"", b"").await;
    // It answered before the attack.
    subject.live_probe().await;
    let (mut attackers, count) = (JoinSet::new(), Arc::<AtomicU64>::default());
    attack(
        &mut attackers,
        &count,
        200,
        move || async move { until_closed(&mut TcpStream::connect(address).await?).await },
    );
    attack(&mut attackers, &count, 200, move || async move {
        let mut stream = TcpStream::connect(address).await?;
        for byte in b"GET /metrics HTTP/1.1\r\nhost: ".iter().chain([b'x'; 1000].iter()) {
            stream.write_all(&[*byte]).await?;
            sleep(SECOND / 4).await;
        }
        Ok(())
    });
    attack(&mut attackers, &count, 50, move || async move {
        let mut stream = TcpStream::connect(address).await?;
        stream.write_all(&[0xa5, 0, 0x7f, 0xff, 0x0a, 0x13, 0x37, 0x42].repeat(512)).await?;
        until_closed(&mut stream).await
    });
    attack(&mut attackers, &count, 50, move || async move {
        let mut stream = TcpStream::connect(address).await?;
        let head = format!("GET /{} HTTP/1.1\r\nx: {}\r\n", "a".repeat(60_000), "b".repeat(1_000_000));
        stream.write_all(head.as_bytes()).await?;
        until_closed(&mut stream).await
    });
    // Pipelines requests and never reads.
    attack(&mut attackers, &count, 50, move || async move {
        let mut stream = TcpStream::connect(address).await?;
        loop {
            stream.write_all(b"GET /metrics HTTP/1.1\r\nhost: x\r\n\r\n").await?;
        }
    });
    let next = Arc::<AtomicU64>::default();
    for (number, ports) in [(500, vec![silent]), (40, subject.hostile.clone())] {
        let next = Arc::clone(&next);
        attack(&mut attackers, &count, number, move || {
            let n = next.fetch_add(1, Ordering::Relaxed);
            let port = ports[usize::try_from(n).unwrap() % ports.len()];
            let target = target((loopback(u32::try_from(n % 60_000).unwrap()), port).into());
            let request = format!(
                "GET /probe?target={target}&n={n} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\
                 x-prometheus-scrape-timeout-seconds: 10\r\n\r\n"
            );
            async move {
                let mut stream = TcpStream::connect(address).await?;
                stream.write_all(request.as_bytes()).await?;
                until_closed(&mut stream).await
            }
        });
    }
    let mut figures = Figures::default();
    let started = Instant::now();
    while started.elapsed() < duration {
        let sent = Instant::now();
        let page = subject.main_page().await;
        figures.slowest_scrape = figures.slowest_scrape.max(sent.elapsed());
        figures.scrapes += 1;
        let resident = page.value("process_resident_memory_bytes", &[]).unwrap();
        assert!(resident < MAX_RESIDENT_BYTES, "{resident} bytes of memory; {figures:?}");
        figures.resident_bytes = figures.resident_bytes.max(resident);
        let sent = Instant::now();
        get(&exporter.url("/-/healthy"), SCRAPE_TIMEOUT).await;
        figures.slowest_health = figures.slowest_health.max(sent.elapsed());
        let sent = Instant::now();
        subject.live_probe().await;
        figures.slowest_probe = figures.slowest_probe.max(sent.elapsed());
        figures.probes += 1;
        sleep(SECOND / 4).await;
    }
    figures.attacks = count.load(Ordering::Relaxed);
    drop(attackers);
    let lines = exporter.log().lines().count();
    assert!(lines < 200 + 50 * usize::try_from(duration.as_secs() / 60).unwrap(), "{lines} lines of log");
    figures
}

async fn fifteen_seconds(subject: Subject) {
    let figures = under_attack(&subject, 15 * SECOND).await;
    assert!(figures.scrapes >= 3 && figures.attacks > 500, "{figures:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_is_scraped_in_time_under_attack() {
    fifteen_seconds(Subject::redis().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn haproxy_is_scraped_in_time_under_attack() {
    fifteen_seconds(Subject::haproxy().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mysql_is_scraped_in_time_under_attack() {
    fifteen_seconds(Subject::mysql().await).await;
}

async fn ten_minutes(subject: Subject) {
    let figures = under_attack(&subject, 600 * SECOND).await;
    eprintln!("{figures:#?}");
}

/// `cargo nextest run -p medassist-tests --test attack --run-ignored only --no-capture`
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "it runs for ten minutes"]
async fn ten_minutes_of_attack_on_redis_exporter() {
    ten_minutes(Subject::redis().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "it runs for ten minutes"]
async fn ten_minutes_of_attack_on_haproxy_exporter() {
    ten_minutes(Subject::haproxy().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "it runs for ten minutes"]
async fn ten_minutes_of_attack_on_mysql_exporter() {
    ten_minutes(Subject::mysql().await).await;
}

#[tokio::test]
async fn an_answer_that_does_not_fit_into_the_memory_is_refused_in_words() {
    let redis = Redis::start().await.unwrap();
    // More than a probe can have of 4 MiB, and less than an answer can have.
    let large = format!("${}\r\n{}\r\n", 3_000_000, "x".repeat(3_000_000));
    let hostile = Fake::start(Behaviour::HalfReplyOnRequest(large.into_bytes())).await.unwrap();
    let exporter = Program::exporter("redis-exporter")
        .arg(format!("--redis.addr={}", redis.address()))
        .arg("--scrape.memory-limit=4")
        .start()
        .await
        .unwrap();
    let health = http::get(&exporter.url(&format!("/health?target={}", hostile.address()))).await.unwrap();
    assert_eq!(health.status, 503);
    let reason = health.json()["reasons"][0].to_string();
    assert!(reason.contains("no memory for the answer"), "{}", health.text());
    main_page(&exporter).await;
}
