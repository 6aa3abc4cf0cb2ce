//! What `/health` of `haproxy-exporter` says about each fault of a real HAProxy: the table in its README.
#![allow(clippy::unwrap_used, reason = "an unwrap in a test is its report")]

use std::net::SocketAddr;
use std::time::Duration;

use futures::future::join_all;
use medassist_tests::testbed::haproxy::{Bed, LOST_BY_DNS, Trouble, says};
use medassist_tests::testbed::scrape::{haproxy_exporter as exporter, health, page_of, reason};
use medassist_tests::testbed::{HaProxyVersion, RunningProgram, eventually, http};
use serde_json::Value;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;

const DEADLINE: Duration = Duration::from_secs(20);

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

async fn the_health_status_names_the_backend_and_its_servers(version: HaProxyVersion) {
    let bed = Bed::start_as(version).await.unwrap();
    let exporter = exporter(&[&format!("--haproxy.scrape-uri={}", bed.unix())]).await;
    // be_tcp tracks api1, so that it has a usable server.
    let first = health(&exporter).await;
    says(&first, "degraded", "servers", "warn", "1 server is down: be_tcp/nobody");
    assert_eq!(reason(&first, "backends").0, "ok");

    for server in ["api2", "api3", "unchecked"] {
        bed.haproxy.command(&format!("disable server be_api/{server}")).unwrap();
    }
    bed.haproxy.command("set server be_api/api1 health down").unwrap();
    let second = health(&exporter).await;
    says(&second, "down", "serving", "fail", "no backend has a usable server: be_api, be_tcp");
    let (status, text) = reason(&second, "backends");
    assert_eq!(status, "fail");
    assert!(
        text.contains(
            "be_api has 0 of 7 servers usable; down: api1; without an address: lost; in maintenance: 4; drained: 1"
        ),
        "{text}"
    );
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

async fn a_queue_and_a_server_at_its_maxconn_degrade_the_health(version: HaProxyVersion) {
    let trouble = Trouble::start(version).await;
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
        says(&report, "degraded", "queue", "warn", queue);
        assert_eq!(reason(&report, "limits"), ("warn".to_owned(), full.to_owned()));
        if path == "/slow" {
            says(&report, "degraded", "limits", "warn", full);
        }

        drop(requests);
        health_when(&exporter, "queue", "ok").await;
        health_when(&exporter, "limits", "ok").await;
    }
}

async fn requests_that_are_all_refused_are_down_until_others_are_served_or_haproxy_restarts(version: HaProxyVersion) {
    let mut trouble = Trouble::start(version).await;
    let exporter = trouble.exporter().await;
    assert_eq!(trouble.requests("/none", 20).await, [503; 20]);
    let down = health(&exporter).await;
    says(&down, "down", "requests", "fail", "fe failed 20 of 20 requests (20 5xx)");
    let none = "be_none failed 20 of 20 requests (20 5xx, 20 failed connections)";
    says(&down, "down", "requests", "fail", none);

    assert_eq!(trouble.requests("/", 20).await, [200; 20]);
    let degraded = health(&exporter).await;
    assert_eq!(reason(&degraded, "requests").0, "ok");
    says(&degraded, "degraded", "errors", "fail", none);

    // All counters begin at 0 again.
    trouble.haproxy.stop().await.unwrap();
    trouble.haproxy.restart().await.unwrap();
    let restarted = health(&exporter).await;
    says(&restarted, "healthy", "errors", "ok", "few or no errors");
}

async fn a_dead_server_without_a_check_is_named_with_its_errors_and_retries(version: HaProxyVersion) {
    let trouble = Trouble::start(version).await;
    let exporter = trouble.exporter().await;
    assert_eq!(trouble.requests("/dead", 12).await, [503; 12]);
    let report = health(&exporter).await;
    says(&report, "down", "errors", "fail", "be_dead/dead failed 12 of 12 requests (12 failed connections)");
    let retries = "be_dead has 36 retries and 0 redispatches for 12 requests, most at dead";
    says(&report, "down", "retries", "warn", retries);
}

async fn a_tcp_backend_that_connects_to_nobody_is_down(version: HaProxyVersion) {
    let trouble = Trouble::start(version).await;
    let exporter = trouble.exporter().await;
    join_all((0..12).map(async |_| {
        let mut stream = TcpStream::connect(trouble.tcp.address()).await.unwrap();
        assert_eq!(timeout(DEADLINE, stream.read(&mut [0; 1])).await.unwrap().unwrap_or(0), 0);
    }))
    .await;
    let report = health(&exporter).await;
    says(&report, "down", "requests", "fail", "be_tcp failed 12 of 12 requests (12 failed connections)");
}

async fn a_frontend_and_a_process_at_their_maxconn_degrade_the_health(version: HaProxyVersion) {
    let trouble = Trouble::start(version).await;
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
    says(&report, "degraded", "frontends", "warn", "small has 4 of 4 sessions (maxconn)");
    assert_eq!(reason(&report, "connections").0, "ok");

    let many = open(trouble.fe.address(), 86).await;
    let report = health_when(&exporter, "connections", "warn").await;
    says(&report, "degraded", "connections", "warn", "the process has 90 of 100 connections (maxconn)");
    drop((small, many));
    health_when(&exporter, "connections", "ok").await;
}

async fn servers_out_by_intent_are_healthy_until_none_is_left(version: HaProxyVersion) {
    let trouble = Trouble::start(version).await;
    let exporter = trouble.exporter().await;
    trouble.commands(&["set server be_good/one state maint", "set server be_good/two state drain"]);
    let report = health(&exporter).await;
    says(&report, "healthy", "backends", "ok", "all backends have enough usable servers");

    trouble.commands(&["set server be_good/three weight 0"]);
    let report = health(&exporter).await;
    let text = "be_good has 0 of 3 servers usable; in maintenance: 1; drained: 1; of weight 0: 1";
    says(&report, "degraded", "backends", "fail", text);
    for check in ["servers", "resolution"] {
        assert_eq!(reason(&report, check).0, "ok");
    }
}

async fn a_backend_whose_servers_are_all_out_for_one_reason_names_it(version: HaProxyVersion) {
    for (command, what) in [("state maint", "in maintenance"), ("state drain", "drained"), ("weight 0", "of weight 0")]
    {
        let trouble = Trouble::start(version).await;
        let exporter = trouble.exporter().await;
        let out = |server: &str| format!("set server be_good/{server} {command}");
        trouble.commands(&[&out("one"), &out("two")]);
        assert_eq!(health(&exporter).await["status"], "healthy");
        trouble.commands(&[&out("three")]);
        let text = format!("be_good has 0 of 3 servers usable; {what}: 3");
        says(&health(&exporter).await, "degraded", "backends", "fail", &text);
    }
}

async fn a_backend_over_its_fullconn_degrades_the_health_on_request(version: HaProxyVersion) {
    let trouble = Trouble::start(version).await;
    let uri = format!("--haproxy.scrape-uri=unix:{}", trouble.haproxy.socket().display());
    let exporter = exporter(&[&uri, "--health.fullconn-percent=100"]).await;
    let _requests = waiting(&trouble, "/full", 4);
    let report = health_when(&exporter, "limits", "warn").await;
    says(&report, "degraded", "limits", "warn", "be_full has 4 of 3 sessions (fullconn)");
}

async fn servers_lost_by_dns_are_not_in_maintenance_by_intent(version: HaProxyVersion) {
    let trouble = Trouble::with(version, LOST_BY_DNS).await;
    let uri = format!("--haproxy.scrape-uri=unix:{}", trouble.haproxy.socket().display());
    let report = health(&exporter(&[&uri]).await).await;
    let text = "2 servers have no address, because the name does not resolve: be_dns/lost1, be_dns/lost2";
    says(&report, "degraded", "resolution", "warn", text);
    let text = "be_dns has 1 of 3 servers usable; without an address: lost1, lost2";
    says(&report, "degraded", "backends", "warn", text);

    let report = health(&exporter(&[&uri, "--health.template-backends=be_dns"]).await).await;
    says(&report, "healthy", "resolution", "ok", "all servers have an address");
}

async fn a_flapping_server_degrades_the_health(version: HaProxyVersion) {
    let trouble = Trouble::start(version).await;
    let exporter = trouble.exporter().await;
    for _ in 0..3 {
        trouble.commands(&["set server be_good/two health down", "set server be_good/two health up"]);
    }
    let report = health(&exporter).await;
    says(&report, "degraded", "flapping", "warn", "be_good/two went down 3 times");
}

async fn a_full_stick_table_and_a_silent_name_server_degrade_the_health(version: HaProxyVersion) {
    let trouble = Trouble::with(version, LOST_BY_DNS).await;
    let exporter = exporter(&[&format!("--haproxy.scrape-uri=unix:{}", trouble.haproxy.socket().display())]).await;
    assert_eq!(reason(&health(&exporter).await, "stick_tables").0, "ok");
    assert_eq!(trouble.requests("/", 3).await, [200; 3]);
    for client in 1..=3 {
        http::get_within(&format!("http://{}/", trouble.small.address()), &[("client", &client.to_string())], DEADLINE)
            .await
            .unwrap();
    }
    let full = health_when(&exporter, "stick_tables", "warn").await;
    says(&full, "degraded", "stick_tables", "warn", "full stick tables: clients has 3 entries");
    trouble.commands(&["clear table clients"]);
    health_when(&exporter, "stick_tables", "ok").await;

    let silent = health_when(&exporter, "name_servers", "warn").await;
    says(&silent, "degraded", "name_servers", "warn", "nobody/nobody answered 0 of");
}

async fn a_process_that_is_busy_or_was_full_degrades_the_health(version: HaProxyVersion) {
    let trouble = Trouble::start(version).await;
    let uri = format!("--haproxy.scrape-uri=unix:{}", trouble.haproxy.socket().display());
    // No process is idle all the time.
    let busy = health(&exporter(&[&uri, "--health.idle-percent=101"]).await).await;
    says(&busy, "degraded", "process", "warn", "% of the last second");

    // HAProxy 2.6 does not count it.
    if version == HaProxyVersion::Installed {
        return;
    }
    let exporter = trouble.exporter().await;
    let open = join_all((0..101).map(|_| TcpStream::connect(trouble.tcp.address()))).await;
    eventually(DEADLINE, "it is full", async || match trouble.haproxy.command("show info").unwrap() {
        info if info.contains("MaxconnReached: 0") => Err(info),
        _ => Ok(()),
    })
    .await
    .unwrap();
    drop(open);
    let full = eventually(DEADLINE, "it was full", async || {
        let report = health(&exporter).await;
        if reason(&report, "connections").1.contains("reached its") { Ok(report) } else { Err(report.to_string()) }
    })
    .await
    .unwrap();
    says(&full, "degraded", "connections", "warn", "the process reached its 100 connections (maxconn)");
}

/// Each test, on both versions.
macro_rules! on_both {
    ($($name:ident),* $(,)?) => {
        mod haproxy_2_6 {
            use super::HaProxyVersion;
            $(#[tokio::test]
            async fn $name() {
                super::$name(HaProxyVersion::Installed).await;
            })*
        }

        mod haproxy_3_2 {
            use super::HaProxyVersion;
            $(#[tokio::test]
            async fn $name() {
                super::$name(HaProxyVersion::Lts32).await;
            })*
        }
    };
}

on_both!(
    the_health_status_names_the_backend_and_its_servers,
    a_queue_and_a_server_at_its_maxconn_degrade_the_health,
    requests_that_are_all_refused_are_down_until_others_are_served_or_haproxy_restarts,
    a_dead_server_without_a_check_is_named_with_its_errors_and_retries,
    a_tcp_backend_that_connects_to_nobody_is_down,
    a_frontend_and_a_process_at_their_maxconn_degrade_the_health,
    servers_out_by_intent_are_healthy_until_none_is_left,
    a_backend_whose_servers_are_all_out_for_one_reason_names_it,
    a_backend_over_its_fullconn_degrades_the_health_on_request,
    servers_lost_by_dns_are_not_in_maintenance_by_intent,
    a_flapping_server_degrades_the_health,
    a_full_stick_table_and_a_silent_name_server_degrade_the_health,
    a_process_that_is_busy_or_was_full_degrades_the_health,
);
