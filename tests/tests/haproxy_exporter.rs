//! `haproxy-exporter`: flags, passwords, its one connection.
#![allow(clippy::unwrap_used, reason = "an unwrap in a test is its report")]

use std::sync::atomic::Ordering;
use std::time::Duration;

use futures::future::join_all;
use medassist_tests::testbed::haproxy::Bed;
use medassist_tests::testbed::process::Directory;
use medassist_tests::testbed::scrape::{haproxy_exporter as exporter, health, page, page_of, probe, reason};
use medassist_tests::testbed::{Answering, HaProxy, HaProxyVersion, Page, Port, Program, eventually, http};

const DEADLINE: Duration = Duration::from_secs(20);

const STATISTICS: &str = "Name: HAProxy\nStopping: 0\n\n# pxname,svname,scur,status,type,\nfe,FRONTEND,1,OPEN,0,\nbe,one,2,UP,2,\n\
                          torn,row\nbe,BACKEND,2,UP,1,\n\n";

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
async fn the_flags_of_the_retired_exporter_start_it_and_those_without_effect_are_named() {
    let bed = Bed::start().await.unwrap();
    let uri = format!("--haproxy.scrape-uri={}", bed.unix());
    let defaults = [
        "--haproxy.ssl-verify",
        "--haproxy.server-metric-fields=2,3,17",
        "--haproxy.server-exclude-states=",
        "--haproxy.timeout=5s",
        "--haproxy.pid-file=",
        "--haproxy.names=exporter",
    ];
    let page = page_of(&exporter(&[&[uri.as_str()], &defaults[..]].concat()).await).await;
    let server = |server| [("backend", "be_api"), ("server", server)];
    page.expect("haproxy_server_up", &server("unchecked"), 1.0).unwrap();
    page.expect("haproxy_server_max_queue", &server("api1"), 0.0).unwrap();
    assert!(!page.has("haproxy_server_current_sessions") && page.has("haproxy_backend_current_sessions"));

    let exclude = "--haproxy.server-exclude-states=MAINT,no check";
    let without_effect = [&uri, exclude, "--haproxy.pid-file=/run/haproxy.pid", "--http.proxy-from-env"];
    let exporter = exporter(&without_effect).await;
    let page = page_of(&exporter).await;
    let servers = page.samples().iter().filter(|sample| sample.name == "haproxy_server_weight");
    let servers: Vec<_> = servers.map(|sample| sample.labels["server"].as_str()).collect();
    assert_eq!(servers, ["agent", "api1", "api2", "api3", "nobody", "tracking"]);
    let log = exporter.log();
    let warnings: Vec<_> = log.lines().filter(|line| line.contains("without effect")).collect();
    assert_eq!(warnings.len(), 1, "{log}");
    for flag in ["--haproxy.pid-file", "--http.proxy-from-env"] {
        assert!(warnings[0].contains(flag), "{log}");
    }
}

#[tokio::test]
async fn query_parameters_of_one_scrape_do_not_change_others() {
    let bed = Bed::start_as(HaProxyVersion::Lts32).await.unwrap();
    let exporter = exporter(&[&format!("--haproxy.scrape-uri={}", bed.unix())]).await;
    let query = exporter.url("/metrics?scope=frontend&extra-counters&no-maint");
    let (selected, all) = futures::join!(page(&query), page_of(&exporter));
    assert!(!selected.has("haproxy_server_status") && all.has("haproxy_server_status"));
    assert!(selected.has("haproxy_frontend_h2_open_connections") && !all.has("haproxy_frontend_h2_open_connections"));
    let reply = http::get(&exporter.url("/metrics?scope=servers")).await.unwrap();
    assert_eq!(reply.status, 400);
    assert!(reply.text().contains("sticktable"), "{}", reply.text());
}

#[tokio::test]
async fn abstract_sockets_and_listeners_of_one_name() {
    let [one, other] = std::array::from_fn(|_| Port::lease().unwrap());
    let name = format!("haproxy-exporter-test-{}", one.number());
    let configuration = format!(
        "global\n    stats socket abns@{name} level user\n\
         defaults\n    mode http\n    timeout client 1s\n    timeout connect 1s\n    timeout server 1s\n\
         frontend fe\n    option socket-stats\n    bind {} name web\n    bind {} name web\n",
        one.address(),
        other.address()
    );
    let _haproxy = HaProxy::start(&configuration).await.unwrap();
    let exporter = exporter(&[&format!("--haproxy.scrape-uri=unix:abns@{name}")]).await;
    let page = page_of(&exporter).await;
    page.expect("haproxy_up", &[], 1.0).unwrap();
    for listener in ["web", "web:2"] {
        page.expect("haproxy_listener_status", &[("proxy", "fe"), ("listener", listener), ("state", "OPEN")], 1.0)
            .unwrap();
    }
    let duplicates = [("collector", "listeners"), ("reason", "duplicate")];
    page.expect("haproxy_exporter_dropped_samples_total", &duplicates, 0.0).unwrap();
}

#[tokio::test]
async fn only_the_current_state_of_a_server_on_request() {
    let bed = Bed::start().await.unwrap();
    let exporter = exporter(&[&format!("--haproxy.scrape-uri={}", bed.unix()), "--haproxy.states=current"]).await;
    let page = page_of(&exporter).await;
    let server = [("proxy", "be_api"), ("server", "api1"), ("state", "L7OK")];
    page.expect("haproxy_server_check_status", &server, 1.0).unwrap();
    let samples = page.samples().iter();
    assert!(samples.filter(|sample| sample.name == "haproxy_server_status").all(|sample| sample.value == 1.0));
}

#[tokio::test]
async fn metrics_md_is_what_the_program_prints() {
    let printed = Program::new("haproxy-exporter").arg("--print-metrics").run(DEADLINE).await.unwrap().stdout;
    let committed = include_str!("../../exporters/haproxy/METRICS.md");
    assert!(printed == committed, "run: haproxy-exporter --print-metrics > exporters/haproxy/METRICS.md");
}
