//! The testbed holds what it promises, on real servers.
#![allow(clippy::unwrap_used, reason = "an unwrap in a test is its report")]

use std::path::PathBuf;
use std::time::Duration;

use medassist_tests::testbed::{
    Alertmanager, Behaviour, Database, Fake, HaProxy, NodeExporter, Page, Port, Prometheus, Pushgateway, Redis,
    eventually, http,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const SECOND: Duration = Duration::from_secs(1);

fn exists(pid: u32) -> bool {
    PathBuf::from(format!("/proc/{pid}")).exists()
}

#[tokio::test]
async fn mariadb_keeps_its_data_and_its_port_over_a_crash() {
    let mut db = Database::start().await.unwrap();
    db.sql("CREATE DATABASE d; CREATE TABLE d.t (n INT); INSERT INTO d.t VALUES (41), (1)").unwrap();
    let address = db.address();
    db.kill().unwrap();
    assert!(!db.is_running());
    assert!(TcpStream::connect(address).await.is_err());
    db.restart().await.unwrap();
    assert_eq!(db.address(), address);
    assert_eq!(db.sql("SELECT SUM(n) FROM d.t").unwrap(), "42\n");
}

#[tokio::test]
async fn nothing_is_left_of_a_dropped_server() {
    let redis = Redis::start().await.unwrap();
    let (pid, directory) = (redis.pid().unwrap(), redis.directory().to_owned());
    assert!(exists(pid) && directory.is_dir());
    drop(redis);
    assert!(!exists(pid) && !directory.exists());
}

#[test]
fn a_panic_kills_the_server_and_keeps_its_log() {
    let (report, reports) = std::sync::mpsc::channel();
    let panicked = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let redis = runtime.block_on(Redis::start()).unwrap();
        report.send((redis.pid().unwrap(), redis.log_path().to_owned())).unwrap();
        panic!("on purpose");
    })
    .join();
    assert!(panicked.is_err());
    let (pid, log) = reports.recv().unwrap();
    assert!(!exists(pid));
    assert!(log.is_file());
    std::fs::remove_dir_all(log.parent().unwrap()).unwrap();
}

#[tokio::test]
async fn a_paused_server_accepts_and_keeps_silent_until_it_is_resumed() {
    let redis = Redis::start().await.unwrap();
    redis.pause().unwrap();
    let mut stream = TcpStream::connect(redis.address()).await.unwrap();
    stream.write_all(b"PING\r\n").await.unwrap();
    let mut answer = [0; 7];
    let silent = tokio::time::timeout(SECOND / 5, stream.read_exact(&mut answer)).await;
    assert!(silent.is_err(), "a paused server answered");
    redis.resume().unwrap();
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"+PONG\r\n");
}

#[tokio::test]
async fn a_server_that_cannot_start_says_why() {
    let error = HaProxy::start("listen nonsense\n  bond 127.0.0.1:1\n").await.err().unwrap().to_string();
    assert!(error.contains("unknown keyword 'bond'"), "{error}");
}

#[tokio::test]
async fn haproxy_serves_the_configuration_and_takes_commands() {
    let (front, back) = (Port::lease().unwrap(), Pushgateway::start().await.unwrap());
    let configuration = r#"
defaults
    mode http
    timeout connect 1s
    timeout client 5s
    timeout server 5s
listen one
    bind "${FRONT}"
    server only "${BACK}"
"#;
    let (front, back) = (front.address().to_string(), back.address().to_string());
    let haproxy = HaProxy::start_with(configuration, &[("FRONT", &front), ("BACK", &back)]).await.unwrap();
    assert_eq!(http::get(&format!("http://{front}/-/ready")).await.unwrap().status, 200);
    haproxy.command("disable server one/only").unwrap();
    assert_eq!(http::get(&format!("http://{front}/-/ready")).await.unwrap().status, 503);
    assert!(haproxy.command("show stat").unwrap().contains("one,only,"));
}

#[tokio::test]
async fn prometheus_scrapes_and_alertmanager_takes_an_alert() {
    let (node, alertmanager) = tokio::join!(
        NodeExporter::start(),
        Alertmanager::start("route: {receiver: none}\nreceivers: [{name: none}]\n")
    );
    let (node, alertmanager) = (node.unwrap(), alertmanager.unwrap());
    let page = Page::parse(&http::get(&node.url("/metrics")).await.unwrap().text()).unwrap();
    assert_eq!(page.kind("node_load1"), Some("gauge"));

    let prometheus = Prometheus::start(&format!(
        "global: {{scrape_interval: 1s}}\nscrape_configs:\n  - job_name: node\n    static_configs: [{{targets: ['{}']}}]\n",
        node.address()
    ))
    .await
    .unwrap();
    eventually(20 * SECOND, "the target is up", async || {
        let targets = http::get(&prometheus.url("/api/v1/targets")).await.unwrap().json();
        if targets["data"]["activeTargets"][0]["health"] == "up" { Ok(()) } else { Err(targets) }
    })
    .await
    .unwrap();

    let alert = serde_json::json!([{"labels": {"alertname": "Trial"}}]);
    assert_eq!(http::post_json(&alertmanager.url("/api/v2/alerts"), &[], &alert).await.unwrap().status, 200);
    let alerts = http::get(&alertmanager.url("/api/v2/alerts")).await.unwrap().json();
    assert_eq!(alerts[0]["labels"]["alertname"], "Trial");
}

#[tokio::test]
async fn a_fake_misbehaves_as_configured() {
    let half = Fake::start(Behaviour::HalfReply(b"half".to_vec())).await.unwrap();
    let mut stream = TcpStream::connect(half.address()).await.unwrap();
    let mut answer = [0; 4];
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"half");
    assert_eq!((half.accepted(), half.open()), (1, 1));
    drop(stream);
    eventually(5 * SECOND, "the fake sees the client leave", async || match half.open() {
        0 => Ok(()),
        open => Err(open),
    })
    .await
    .unwrap();

    let close = Fake::start(Behaviour::Close).await.unwrap();
    let mut stream = TcpStream::connect(close.address()).await.unwrap();
    assert_eq!(stream.read(&mut answer).await.unwrap(), 0);
}

#[tokio::test]
async fn a_condition_that_never_holds_is_named_with_the_last_value() {
    let error = eventually(SECOND / 10, "pigs fly", async || Err::<(), _>("they walk")).await.unwrap_err().to_string();
    assert!(error.contains("pigs fly") && error.contains("they walk"), "{error}");
    let error = eventually(SECOND / 10, "a hang ends", async || {
        std::future::pending::<()>().await;
        Ok::<(), &str>(())
    })
    .await
    .unwrap_err()
    .to_string();
    assert!(error.contains("a hang ends"), "{error}");
}
