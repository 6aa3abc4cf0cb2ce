//! `nginx-exporter` against a real nginx, next to the peer, nginx-prometheus-exporter, and against what misbehaves.
#![allow(clippy::unwrap_used, reason = "an unwrap in a test is its report")]

use std::net::SocketAddr;
use std::time::Duration;

use futures::future::join_all;
use medassist_tests::launch::{Launch, Ready};
use medassist_tests::testbed::process::Directory;
use medassist_tests::testbed::scrape::documented;
use medassist_tests::testbed::{
    Behaviour, Fake, Nginx, Page, Port, Process, Program, RunningProgram, eventually, http,
};
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

const DEADLINE: Duration = Duration::from_secs(20);

const STATUS: &str = "location = /stub_status { stub_status; }";

fn scrape_uri(nginx: &Nginx) -> String {
    format!("--nginx.scrape-uri={}", nginx.url("/stub_status"))
}

const README: &str = include_str!("../../exporters/nginx/README.md");

async fn exporter(args: &[&str]) -> RunningProgram {
    Program::exporter("nginx-exporter").args(args).start().await.unwrap()
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

/// Status and reason; `None` for a check that could not be made.
fn check(health: &Value, name: &str) -> Option<(String, String)> {
    let found = health["checks"].as_array().unwrap().iter().find(|check| check["name"] == name)?;
    Some((found["status"].as_str().unwrap().to_owned(), found["reason"].as_str().unwrap().to_owned()))
}

/// Why the exporter cannot read nginx.
fn down(health: &Value) -> String {
    assert_eq!(health["status"], "down", "{health}");
    documented(README, health, "connect");
    check(health, "connect").unwrap().1
}

/// Sends half a request, so that the connection is in use until it is dropped.
async fn unfinished_request(nginx: &Nginx) -> TcpStream {
    let mut stream = TcpStream::connect(nginx.address()).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\n").await.unwrap();
    stream
}

#[tokio::test]
async fn families_equal_those_of_the_peer() {
    let nginx = Nginx::start(64, STATUS).await.unwrap();
    let ours = exporter(&[&scrape_uri(&nginx)]).await;
    let port = Port::lease().unwrap();
    let url = format!("http://{}/metrics", port.address());
    let launch = Launch::installed(&["prometheus-nginx-exporter", "nginx-prometheus-exporter"])
        .unwrap()
        .arg(scrape_uri(&nginx))
        .arg(format!("--web.listen-address={}", port.address()));
    let directory = Directory::new("nginx-prometheus-exporter").unwrap();
    let _peer = Process::start("peer", launch, Ready::Http(url.clone()), directory).await.unwrap();
    for _ in 0..3 {
        http::get(&nginx.url("/healthz")).await.unwrap();
    }
    let _reading = unfinished_request(&nginx).await;
    eventually(DEADLINE, "this request, and one connection of each exporter, are left", async || {
        let page = page_of(&ours).await;
        page.expect("nginx_connections_reading", &[], 1.0)?;
        page.expect("nginx_connections_active", &[], 3.0)
    })
    .await
    .unwrap();

    let (before, page, after) = (page(&url).await, page_of(&ours).await, page(&url).await);
    let mut compared = 0;
    for (name, family) in before.families().iter().filter(|(name, _)| {
        *name == "nginx_up" || ["nginx_connections_", "nginx_http_"].iter().any(|prefix| name.starts_with(prefix))
    }) {
        assert_eq!(page.kind(name), before.kind(name), "{name}: {family:?}");
        // Ours reads over a connection of its own. The peer's is kept, so that both count that one.
        let own =
            f64::from(u8::from(matches!(name.as_str(), "nginx_connections_active" | "nginx_connections_waiting")));
        let (first, value, last) =
            (before.value(name, &[]).unwrap(), page.value(name, &[]).unwrap() - own, after.value(name, &[]).unwrap());
        assert!((first..=last).contains(&value), "{name}: {first} to {last} there, {value} here");
        compared += 1;
    }
    assert_eq!(compared, 8);
    assert!(page.value("nginx_http_requests_total", &[]).unwrap() >= 5.0);
}

#[tokio::test]
async fn unix_sockets_and_probes_read_the_same_page() {
    let nginx = Nginx::start(64, STATUS).await.unwrap();
    let socket = format!("unix:{}:/stub_status", nginx.socket().display());
    let exporter = exporter(&[&format!("--nginx.scrape-uri={socket}"), "--probe.targets=unix:*,127.0.0.1"]).await;
    page_of(&exporter).await.expect("nginx_up", &[], 1.0).unwrap();
    for target in [socket.as_str(), &nginx.url("/stub_status")] {
        let probed = page(&exporter.url(&format!("/probe?target={target}"))).await;
        probed.expect("nginx_up", &[], 1.0).unwrap();
        assert!(probed.value("nginx_connections_accepted", &[]).unwrap() >= 1.0);
    }
    page(&exporter.url("/probe?target=unix:/nonexistent")).await.expect("nginx_up", &[], 0.0).unwrap();
    eventually(DEADLINE, "only the exporter's own connection is left", async || {
        page_of(&exporter).await.expect("nginx_connections_active", &[], 1.0)
    })
    .await
    .unwrap();

    let invalid = http::get(&exporter.url("/probe?target=ftp://host/")).await.unwrap();
    assert_eq!(invalid.status, 400);
    assert!(invalid.text().contains("unix:/socket:/path"), "{}", invalid.text());
}

#[tokio::test]
async fn certificates_are_verified_unless_a_flag_says_otherwise() {
    let directory = Directory::new("nginx-tls").unwrap();
    let (certificate, key) = (directory.path().join("cert.pem"), directory.path().join("key.pem"));
    let signed = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    std::fs::write(&certificate, signed.cert.pem()).unwrap();
    std::fs::write(&key, signed.signing_key.serialize_pem()).unwrap();
    let port = Port::lease().unwrap();
    let tls = format!(
        "listen 127.0.0.1:{} ssl; ssl_certificate \"{}\"; ssl_certificate_key \"{}\"; {STATUS}",
        port.number(),
        certificate.display(),
        key.display()
    );
    let _nginx = Nginx::start(64, &tls).await.unwrap();
    let uri = format!("--nginx.scrape-uri=https://localhost:{}/stub_status", port.number());
    let reason = down(&health(&exporter(&[&uri]).await).await);
    assert!(reason.contains("certificate"), "{reason}");
    let trusting = Program::exporter("nginx-exporter").arg(&uri).env("SSL_CERT_FILE", &certificate);
    page_of(&trusting.start().await.unwrap()).await.expect("nginx_up", &[], 1.0).unwrap();
    page_of(&exporter(&[&uri, "--no-nginx.ssl-verify"]).await).await.expect("nginx_up", &[], 1.0).unwrap();
}

#[tokio::test]
async fn nginx_stops_and_returns() {
    let mut nginx = Nginx::start(64, STATUS).await.unwrap();
    let exporter = exporter(&[&scrape_uri(&nginx)]).await;
    page_of(&exporter).await.expect("nginx_up", &[], 1.0).unwrap();
    nginx.stop().await.unwrap();
    let page = page_of(&exporter).await;
    page.expect("nginx_up", &[], 0.0).unwrap();
    assert!(!page.has("nginx_connections_active"));
    let reason = down(&health(&exporter).await);
    assert!(reason.contains("/stub_status: ") && reason.contains("refused"), "{reason}");

    nginx.restart().await.unwrap();
    page_of(&exporter).await.expect("nginx_up", &[], 1.0).unwrap();
    // Its counters began again, which is not a drop.
    assert_eq!(health(&exporter).await["status"], "healthy");
}

#[tokio::test]
async fn a_hung_nginx_is_down_within_the_scrape_timeout() {
    let nginx = Nginx::start(64, STATUS).await.unwrap();
    let exporter = exporter(&[&scrape_uri(&nginx)]).await;
    page_of(&exporter).await.expect("nginx_up", &[], 1.0).unwrap();
    nginx.pause().unwrap();
    let (timeout, within) = ([("X-Prometheus-Scrape-Timeout-Seconds", "1")], Duration::from_secs(1));
    let reply = http::get_within(&exporter.url("/metrics"), &timeout, within).await.unwrap();
    Page::parse(&reply.text()).unwrap().expect("nginx_up", &[], 0.0).unwrap();
    let reason = down(&http::get_within(&exporter.url("/health"), &timeout, within).await.unwrap().json());
    assert!(reason.contains("no complete response within") && reason.contains("is nginx stopped"), "{reason}");

    nginx.resume().unwrap();
    eventually(DEADLINE, "nginx_up returns to 1", async || page_of(&exporter).await.expect("nginx_up", &[], 1.0))
        .await
        .unwrap();
}

/// A connection whose body nginx waits for; `None` if nginx closed it at once.
async fn upload(nginx: &Nginx) -> Option<TcpStream> {
    let mut stream = TcpStream::connect(nginx.address()).await.unwrap();
    let request = b"POST /upload HTTP/1.1\r\nHost: nginx\r\nContent-Length: 1\r\nExpect: 100-continue\r\n\r\n";
    // Fails, too, if nginx has closed the connection already.
    stream.write_all(request).await.ok()?;
    let mut response = [0; 25];
    stream.read_exact(&mut response).await.ok()?;
    assert_eq!(&response, b"HTTP/1.1 100 Continue\r\n\r\n");
    Some(stream)
}

#[tokio::test]
async fn dropped_connections_are_a_warning_until_the_next_scrape() {
    const WORKER_CONNECTIONS: u32 = 8;
    let server = format!("{STATUS}\nlocation = /upload {{ proxy_pass http://127.0.0.1:1; }}");
    let nginx = Nginx::start(WORKER_CONNECTIONS, &server).await.unwrap();
    let exporter = exporter(&[&scrape_uri(&nginx), "--health.max-connections=4"]).await;
    assert_eq!(check(&health(&exporter).await, "dropped_connections"), None, "the first scrape");
    let second = health(&exporter).await;
    assert_eq!(
        (second["status"].as_str(), check(&second, "dropped_connections").unwrap().0),
        (Some("healthy"), "ok".to_owned())
    );

    let mut uploads = Vec::new();
    for _ in 0..3 {
        uploads.push(upload(&nginx).await.unwrap());
    }
    let full = health(&exporter).await;
    documented(README, &full, "connections");
    let full = check(&full, "connections");
    assert_eq!(full, Some(("warn".to_owned(), "4 active, the limit is 4".to_owned())));
    while let Some(upload) = upload(&nginx).await {
        uploads.push(upload);
        assert!(uploads.len() < WORKER_CONNECTIONS as usize, "nginx has a limit");
    }
    drop(uploads);
    eventually(DEADLINE, "the drop is reported", async || {
        let health = health(&exporter).await;
        match check(&health, "dropped_connections") {
            Some((status, reason)) if status == "warn" && reason.contains("worker_connections") => {
                documented(README, &health, "dropped_connections");
                Ok(())
            }
            _ => Err(health.to_string()),
        }
    })
    .await
    .unwrap();
    let page = page_of(&exporter).await;
    let total = |name| page.value(name, &[]).unwrap();
    assert!(total("nginx_connections_accepted") > total("nginx_connections_handled"));
    page.expect("nginx_health_check_status", &[("check", "dropped_connections"), ("status", "ok")], 1.0).unwrap();
}

#[tokio::test]
async fn what_is_not_stub_status_is_down_with_a_reason() {
    let nginx = Nginx::start(
        64,
        "location = /page { return 200 \"<html>SECRET</html>\"; }\n\
         location = /locked { deny all; }\n\
         location = /moved { return 301 /stub_status; }\n\
         location = /stub_status { stub_status; }",
    )
    .await
    .unwrap();
    let response = |length: usize, body: &str| {
        Behaviour::HalfReplyOnRequest(
            format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}").into(),
        )
    };
    let silent = Fake::start(Behaviour::Silence).await.unwrap();
    let garbage = Fake::start(Behaviour::Garbage).await.unwrap();
    let closing = Fake::start(Behaviour::Close).await.unwrap();
    let mail = Fake::start(Behaviour::HalfReply(b"220 mail.example SECRET ESMTP\r\n".into())).await.unwrap();
    let large = Fake::start(response(8192, &"x".repeat(8192))).await.unwrap();
    let cut = Fake::start(response(120, "Active connections: 1 \nserver acc")).await.unwrap();
    let refused = Port::lease().unwrap();

    let at = |address: SocketAddr| format!("http://{address}/stub_status");
    let cases = [
        (nginx.url("/page"), "this is not a page of stub_status"),
        (nginx.url("/locked"), "status 403 Forbidden: check `allow`"),
        (nginx.url("/moved"), "redirects are not followed"),
        (nginx.url("/missing"), "status 404 Not Found: check the path"),
        (at(silent.address()), "(0 bytes received)"),
        (at(garbage.address()), "is this nginx's stub_status?"),
        (at(closing.address()), "is this nginx's stub_status?"),
        (at(mail.address()), "is this nginx's stub_status?"),
        (at(large.address()), "the response is over 4 KiB"),
        (at(cut.address()), "(33 bytes received)"),
        (at(refused.address()), "and that nginx runs"),
        ("unix:/nonexistent.sock:/stub_status".to_owned(), "and that nginx runs"),
    ];
    join_all(cases.iter().map(async |(uri, expected)| {
        let exporter = exporter(&[&format!("--nginx.scrape-uri={uri}"), "--nginx.timeout=1s"]).await;
        page_of(&exporter).await.expect("nginx_up", &[], 0.0).unwrap();
        let health = health(&exporter).await;
        let reason = down(&health);
        assert!(reason.contains(uri.as_str()) && reason.contains(expected), "expected {expected}: {reason}");
        // A probe must not become a way to read what others respond.
        assert!(!health.to_string().contains("SECRET"), "{health}");
    }))
    .await;
}

#[tokio::test]
async fn an_invalid_uri_stops_the_start_with_a_line_that_names_the_flag() {
    for uri in ["127.0.0.1:8080", "unix:relative", "http://me:S3CRET@:/"] {
        let finished =
            Program::new("nginx-exporter").arg(format!("--nginx.scrape-uri={uri}")).run(DEADLINE).await.unwrap();
        assert_ne!(finished.code, Some(0));
        assert!(
            finished.stderr.contains("--nginx.scrape-uri") && !finished.stderr.contains("S3CRET"),
            "{}",
            finished.stderr
        );
    }
}
