//! The series of `haproxy-exporter`, compared with HAProxy's own endpoint and the retired haproxy_exporter.
#![allow(clippy::unwrap_used, reason = "an unwrap in a test is its report")]

use medassist_tests::launch::{self, Launch, Ready};
use medassist_tests::testbed::haproxy::Bed;
use medassist_tests::testbed::process::Directory;
use medassist_tests::testbed::scrape::{haproxy_exporter as exporter, page, page_of, probe};
use medassist_tests::testbed::series::{Series, additional, compare};
use medassist_tests::testbed::{HaProxyVersion, Port, Process, http};

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

/// Series of HAProxy's own endpoint that ours lacks, or has with another value: all that there are.
fn known_difference(key: &Series) -> bool {
    let (name, labels) = key;
    let server = labels.get("server").map(String::as_str);
    // After a check of layer 4 HAProxy has no code, and its endpoint prints 0.
    let no_code = name == "haproxy_server_check_code" && matches!(server, Some("nobody" | "lost"));
    // `show stat` has no checks of a server in maintenance, and nothing of an agent without a code.
    let in_maintenance = matches!(server, Some("lost" | "maint"))
        && ["_check_status", "_check_code", "_check_duration_seconds"].iter().any(|end| name.ends_with(end));
    let agent_code = name == "haproxy_server_agent_code";
    // Of fewer than 1024 connections HAProxy's CSV gives the average, but its endpoint divides by 1024 even so.
    let average = name.ends_with("_time_average_seconds");
    no_code || in_maintenance || agent_code || average
}

/// Families that ours has in addition, of 2.6: newer versions of HAProxy's endpoint have most of them.
const ADDITIONAL_TO_2_6: &[&str] = &[
    "haproxy_backend_current_session_rate",
    "haproxy_frontend_current_session_rate",
    "haproxy_process_description",
    "haproxy_process_node",
    "haproxy_resolver_",
    "haproxy_server_active",
    "haproxy_server_agent_duration_seconds",
    "haproxy_server_agent_status",
    "haproxy_server_backup",
    "haproxy_server_current_session_rate",
    "haproxy_server_http_requests_total",
];

/// Families that ours has in addition to all versions.
const ADDITIONAL: &[&str] = &[
    "haproxy_backend_info",
    "haproxy_server_info",
    "haproxy_up",
    // Of proxies in TCP mode, too, where `show stat` has them.
    "haproxy_backend_http_comp_",
    "haproxy_frontend_http_comp_",
    "haproxy_frontend_http_requests_",
];

/// Compares our page of this query with HAProxy's own of the same query.
async fn compare_with_own_endpoint(bed: &Bed, query: &str, more_families: &[&str]) -> usize {
    let exporter = exporter(&[&format!("--haproxy.scrape-uri={}", bed.unix())]).await;
    let promex = format!("http://{}/metrics?{query}", bed.stats.address());
    let before = page(&promex).await;
    let ours = page(&exporter.url(&format!("/metrics?{query}"))).await;
    let after = page(&promex).await;
    let compared = compare(&before, &ours, &after, |key| changed_by_the_scrape(key) || known_difference(key));
    let more = additional(&ours, &after);
    let known = |name: &String| ADDITIONAL.iter().chain(more_families).any(|known| name.starts_with(known));
    let unknown: Vec<_> = more.iter().filter(|name| !known(name)).collect();
    assert!(unknown.is_empty(), "?{query}: not in HAProxy's endpoint: {unknown:?}");
    compared
}

#[tokio::test]
async fn native_names_equal_those_of_haproxy_2_6() {
    let bed = Bed::start().await.unwrap();
    bed.traffic().await;
    for (query, at_least) in
        [("", 500), ("scope=server&no-maint", 250), ("scope=sticktable&scope=frontend", 80), ("scope=&scope=*", 500)]
    {
        let compared = compare_with_own_endpoint(&bed, query, ADDITIONAL_TO_2_6).await;
        assert!(compared > at_least, "?{query}: only {compared} series were compared");
    }
}

#[tokio::test]
async fn native_names_equal_those_of_haproxy_3_2() {
    let bed = Bed::start_as(HaProxyVersion::Lts32).await.unwrap();
    bed.traffic().await;
    for (query, at_least) in [
        ("", 700),
        ("extra-counters", 900),
        ("scope=server&no-maint", 300),
        ("scope=sticktable&scope=resolver", 40),
        ("scope=global", 20),
        ("scope=", 0),
        ("scope=&scope=*", 700),
        ("metrics=haproxy_server_status,haproxy_backend_bytes_in_total", 40),
        ("scope=server&metrics=-haproxy_server_status", 300),
    ] {
        let compared = compare_with_own_endpoint(&bed, query, &["haproxy_process_description"]).await;
        assert!(compared >= at_least, "?{query}: only {compared} series were compared");
    }
}

#[tokio::test]
async fn what_the_configuration_says_is_on_the_page() {
    let bed = Bed::start().await.unwrap();
    bed.traffic().await;
    let exporter = exporter(&[&format!("--haproxy.scrape-uri={}", bed.unix())]).await;
    let ours = page_of(&exporter).await;
    let be_api = |state| [("proxy", "be_api"), ("state", state)];
    ours.expect("haproxy_backend_agg_server_status", &be_api("DRAIN"), 1.0).unwrap();
    ours.expect("haproxy_backend_agg_server_status", &be_api("MAINT"), 2.0).unwrap();
    ours.expect("haproxy_backend_agg_server_status", &be_api("UP"), 4.0).unwrap();
    ours.expect("haproxy_frontend_http_responses_total", &[("proxy", "fe_api"), ("code", "4xx")], 1.0).unwrap();
    let listener = [("proxy", "fe_tcp"), ("listener", "one, two"), ("state", "OPEN")];
    ours.expect("haproxy_listener_status", &listener, 1.0).unwrap();
    ours.expect("haproxy_process_description", &[("desc", "here for tests")], 1.0).unwrap();
    ours.expect("haproxy_sticktable_used", &[("name", "fe_api"), ("type", "ip")], 1.0).unwrap();
    ours.expect("haproxy_resolver_valid", &[("resolver", "nobody"), ("nameserver", "first")], 0.0).unwrap();
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
    let of_the_socket = ["haproxy_process_", "haproxy_sticktable_", "haproxy_resolver_"];
    assert!(more.iter().all(|name| of_the_socket.iter().any(|prefix| name.starts_with(prefix))), "{more:?}");
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
    let of_the_socket = ["haproxy_process_", "haproxy_sticktable_", "haproxy_resolver_"];
    let of_the_socket = |key: &Series| of_the_socket.iter().any(|prefix| key.0.starts_with(prefix));
    let compared = compare(&before, &http, &after, |key| own(key) || for_operators(key) || of_the_socket(key));
    assert!(compared > 450, "only {compared} series were compared");
    assert!(!http.has("haproxy_process_uptime_seconds"));
    assert!(before.has("haproxy_server_info") && before.has("haproxy_backend_info"));
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
