//! redis-exporter on a real Redis: its values, its health checks, and its behaviour when Redis fails.
#![allow(clippy::unwrap_used, clippy::panic, reason = "an unwrap in a test is its report")]

use std::net::SocketAddr;
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use medassist_tests::Error;
use medassist_tests::launch::{Launch, run};
use medassist_tests::testbed::scrape::documented;
use medassist_tests::testbed::{Behaviour, Fake, Page, Port, Program, Redis, RunningProgram, eventually, http};
use redis::aio::MultiplexedConnection;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

const SECOND: Duration = Duration::from_secs(1);
const README: &str = include_str!("../../exporters/redis/README.md");
/// Every collector; all of them succeed on a server that grants the permissions in the README.
const COLLECTORS: [&str; 11] = [
    "info",
    "keyspace",
    "commandstats",
    "replication",
    "config",
    "slowlog",
    "latency",
    "cluster",
    "sentinel",
    "scrape",
    "health",
];
/// Exactly those in the README.
const PERMISSIONS: &str =
    "-@all +ping +info +config|get +slowlog|len +slowlog|get +latency|latest +cluster|info +client|setname";

async fn exporter(address: SocketAddr) -> RunningProgram {
    Program::exporter("redis-exporter").arg(format!("--redis.addr=redis://{address}")).start().await.unwrap()
}

async fn page(exporter: &RunningProgram) -> Result<Page, Error> {
    let reply = http::get(&exporter.url("/metrics")).await?;
    assert_eq!(reply.status, 200, "{}", reply.text());
    Page::parse(&reply.text())
}

async fn health(exporter: &RunningProgram) -> Value {
    http::get(&exporter.url("/health")).await.unwrap().json()
}

/// The check's status, and its reason.
fn check(health: &Value, name: &str) -> (String, String) {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let checks = health["checks"].as_array().into_iter().flatten();
    checks
        .filter(|check| check["name"] == name)
        .map(|check| (text(&check["status"]), text(&check["reason"])))
        .next()
        .unwrap_or_default()
}

#[track_caller]
fn assert_check(health: &Value, name: &str, status: &str, reason: &str) {
    let found = check(health, name);
    assert!(found.0 == status && found.1.contains(reason), "{name} is {found:?}, not {status} with {reason:?}");
    if status != "ok" {
        documented(README, health, name);
    }
}

async fn eventually_check(exporter: &RunningProgram, name: &str, status: &str, reason: &str) {
    let what = format!("{name} is {status} with {reason:?}");
    let report = eventually(10 * SECOND, &what, async || {
        let report = health(exporter).await;
        let found = check(&report, name);
        if found.0 == status && found.1.contains(reason) { Ok(report) } else { Err(format!("{found:?}")) }
    });
    assert_check(&report.await.unwrap(), name, status, reason);
}

async fn connect(redis: &Redis) -> MultiplexedConnection {
    let client = redis::Client::open(format!("redis://{}", redis.address())).unwrap();
    client.get_multiplexed_async_connection().await.unwrap()
}

async fn ask<T: redis::FromRedisValue>(connection: &mut MultiplexedConnection, command: &str) -> T {
    let mut words = command.split_whitespace();
    let mut cmd = redis::cmd(words.next().unwrap());
    words.for_each(|word| {
        cmd.arg(word);
    });
    cmd.query_async(connection).await.unwrap()
}

async fn info(connection: &mut MultiplexedConnection, field: &str) -> String {
    let info: String = ask(connection, "INFO ALL").await;
    let line = info.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    line.unwrap_or_else(|| panic!("INFO has no {field}")).to_owned()
}

/// An exporter that logs in with a password from a file.
async fn exporter_as(redis: &Redis, user: &str, password: &str) -> RunningProgram {
    let file = redis.directory().join("password");
    std::fs::write(&file, format!("{password}\n")).unwrap();
    Program::exporter("redis-exporter")
        .arg(format!("--redis.addr=redis://{}", redis.address()))
        .arg(format!("--redis.user={user}"))
        .arg(format!("--redis.password-file={}", file.display()))
        .start()
        .await
        .unwrap()
}

#[tokio::test]
async fn values_are_the_servers_with_no_more_than_the_readmes_permissions() {
    let redis = Redis::start_with(&[
        // Far above what a busy machine makes of an ordinary command.
        "--latency-monitor-threshold",
        "100",
        "--slowlog-log-slower-than",
        "100000",
        "--maxmemory",
        "256mb",
        "--databases",
        "3",
    ])
    .await
    .unwrap();
    let mut admin = connect(&redis).await;
    ask::<()>(&mut admin, &format!("ACL SETUSER exporter on >sesame {PERMISSIONS}")).await;
    for command in ["SET a 1", "SET b 2", "GET a", "GET none", "SET c 3 PX 10000000", "DEBUG SLEEP 0.2"] {
        ask::<redis::Value>(&mut admin, command).await;
    }
    let wrong = redis::cmd("LPUSH").arg("a").arg(1).query_async::<()>(&mut admin).await;
    assert!(wrong.is_err());

    let exporter = exporter_as(&redis, "exporter", "sesame").await;
    let page = page(&exporter).await.unwrap();
    for (name, labels, expected) in [
        ("redis_up", &[][..], 1.0),
        ("redis_db_keys", &[("db", "db0")], 3.0),
        ("redis_db_keys_expiring", &[("db", "db0")], 1.0),
        ("redis_db_keys", &[("db", "db2")], 0.0),
        ("redis_keyspace_hits_total", &[], 1.0),
        ("redis_keyspace_misses_total", &[], 1.0),
        ("redis_commands_total", &[("cmd", "set")], 3.0),
        ("redis_commands_total", &[("cmd", "get")], 2.0),
        ("redis_commands_failed_calls_total", &[("cmd", "get")], 0.0),
        ("redis_errors_total", &[("err", "WRONGTYPE")], 1.0),
        ("redis_memory_max_bytes", &[], 268_435_456.0),
        ("redis_config_maxmemory", &[], 268_435_456.0),
        ("redis_config_maxclients", &[], info(&mut admin, "maxclients").await.parse().unwrap()),
        ("redis_connected_slaves", &[], 0.0),
        ("redis_rdb_last_bgsave_status", &[], 1.0),
        ("redis_aof_enabled", &[], 0.0),
        ("redis_slowlog_length", &[], 1.0),
        ("redis_slowlog_last_id", &[], 0.0),
        ("redis_exporter_last_scrape_error", &[("err", "")], 0.0),
        ("redis_health_status", &[("status", "healthy")], 1.0),
    ] {
        page.expect(name, labels, expected).unwrap();
    }
    for collector in COLLECTORS {
        page.expect("redis_exporter_collector_success", &[("collector", collector)], 1.0).unwrap();
    }
    // Three databases, as the server is configured.
    assert_eq!(page.matching("redis_db_keys", &[]).len(), 3);
    // Redis estimates it from time to time only.
    eventually(10 * SECOND, "Redis knows the time to live", async || {
        let ttl = self::page(&exporter).await?.value("redis_db_avg_ttl_seconds", &[("db", "db0")])?;
        if (9_000.0..=10_000.0).contains(&ttl) { Ok(()) } else { Err(Error::Series(format!("it is {ttl}"))) }
    })
    .await
    .unwrap();
    let slept = page.value("redis_last_slow_execution_duration_seconds", &[]).unwrap();
    let spike = page.value("redis_latency_spike_duration_seconds", &[("event_name", "command")]).unwrap();
    assert!(slept >= 0.2 && spike >= 0.2, "{slept} {spike}");
    let started: f64 = page.value("redis_start_time_seconds", &[]).unwrap();
    let uptime: f64 = page.value("redis_uptime_in_seconds", &[]).unwrap();
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs_f64();
    assert!((now - started - uptime).abs() < 60.0, "{started} + {uptime} is not {now}");
    let instance = page.matching("redis_instance_info", &[("role", "master"), ("maxmemory_policy", "noeviction")]);
    assert_eq!(instance[0].labels["redis_version"], info(&mut admin, "redis_version").await);
    assert_eq!(instance[0].labels["tcp_port"], redis.address().port().to_string());
    assert_eq!(page.kind("redis_latency_percentiles_usec"), Some("summary"));
    let median = [("cmd", "set"), ("quantile", "50")];
    assert!(page.value("redis_latency_percentiles_usec", &median).unwrap() > 0.0);
    page.expect("redis_latency_percentiles_usec_count", &[("cmd", "set")], 3.0).unwrap();

    // Nothing that it sent was refused.
    assert!(page.matching("redis_errors_total", &[("err", "NOPERM")]).is_empty());
    assert_eq!(ask::<Vec<redis::Value>>(&mut admin, "ACL LOG").await.len(), 0);
}

/// The families that promtool finds fault with have the peer's names, which dashboards and alerts rely on.
#[tokio::test]
async fn promtool_reports_only_the_peers_names_and_metrics_md_has_every_family() {
    let redis = Redis::start().await.unwrap();
    let exporter = exporter(redis.address()).await;
    let text = http::get(&exporter.url("/metrics")).await.unwrap().text();
    let mut promtool = Launch::installed(&["promtool"]).unwrap().args(["check", "metrics"]).wrapped(&[]);
    let complaints = match run(promtool.stderr(Stdio::piped()), "promtool", &text) {
        Ok(_) => String::new(),
        Err(medassist_stack::Error::Failed { stderr, .. }) => stderr,
        Err(error) => panic!("{error}"),
    };
    for complaint in complaints.lines() {
        let known = ["abbreviated units", "should have \"_total\" suffix", "should not have \"_total\" suffix"];
        let own = ["redis_health", "redis_exporter"].iter().any(|prefix| complaint.starts_with(prefix));
        assert!(!own && known.iter().any(|known| complaint.contains(known)), "{complaint}");
    }
    let declared = include_str!("../../exporters/redis/METRICS.md");
    for family in Page::parse(&text).unwrap().families().keys().filter(|name| !name.starts_with("redis_cluster_")) {
        assert!(declared.contains(&format!("`{family}`")), "METRICS.md lacks {family}");
    }
    let accept = ("accept", "application/openmetrics-text;version=1.0.0");
    let openmetrics = http::get_with(&exporter.url("/metrics"), &[accept]).await.unwrap().text();
    assert!(openmetrics.ends_with("# EOF\n") && openmetrics.contains("\n# TYPE redis_commands_processed counter\n"));
}

#[tokio::test]
async fn a_refused_command_fails_only_its_own_collector() {
    // CONFIG is gone, as on services in the cloud.
    let redis = Redis::start_with(&["--rename-command", "CONFIG", ""]).await.unwrap();
    let mut admin = connect(&redis).await;
    ask::<()>(&mut admin, "ACL SETUSER exporter on >sesame -@all +info +slowlog|len +slowlog|get").await;
    let exporter = exporter_as(&redis, "exporter", "sesame").await;
    let page = page(&exporter).await.unwrap();
    page.expect("redis_up", &[], 1.0).unwrap();
    for collector in COLLECTORS {
        let expected = if ["config", "latency"].contains(&collector) { 0.0 } else { 1.0 };
        page.expect("redis_exporter_collector_success", &[("collector", collector)], expected).unwrap();
    }
    assert!(!page.has("redis_config_maxclients") && page.has("redis_slowlog_length"));
    // Redis' own default if CONFIG is refused.
    assert_eq!(page.matching("redis_db_keys", &[]).len(), 16);
    let health = health(&exporter).await;
    assert_eq!(health["status"], "degraded");
    let reasons = health["reasons"].to_string();
    assert!(reasons.contains("CONFIG GET was refused: ERR unknown command"), "{reasons}");
    assert!(reasons.contains("LATENCY LATEST was refused: NOPERM"), "{reasons}");
}

#[tokio::test]
async fn a_replica_and_its_master() {
    let mut master = Redis::start_with(&["--repl-ping-replica-period", "1"]).await.unwrap();
    let (host, port) = (master.address().ip().to_string(), master.address().port().to_string());
    let replica = Redis::start_with(&["--replicaof", &format!("{host} {port}")]).await.unwrap();
    let (of_master, of_replica) = (exporter(master.address()).await, exporter(replica.address()).await);
    let link = [("master_host", host.as_str()), ("master_port", port.as_str())];
    eventually(20 * SECOND, "the link is up", async || {
        page(&of_replica).await?.expect("redis_master_link_up", &link, 1.0)
    })
    .await
    .unwrap();
    eventually_check(&of_replica, "replication", "ok", "last data from").await;
    let seen = page(&of_replica).await.unwrap();
    seen.expect("redis_master_sync_in_progress", &link, 0.0).unwrap();
    seen.expect("redis_slave_info", &[link[0], link[1], ("read_only", "1")], 1.0).unwrap();
    assert!(seen.has("redis_master_last_io_seconds_ago") && seen.has("redis_slave_repl_offset"));

    let replica_port = replica.address().port().to_string();
    let slave = [("slave_ip", "127.0.0.1"), ("slave_port", &replica_port), ("slave_state", "online")];
    eventually(20 * SECOND, "the master lists its replica", async || {
        page(&of_master).await?.value("redis_connected_slave_lag_seconds", &slave)
    })
    .await
    .unwrap();
    let seen = page(&of_master).await.unwrap();
    seen.expect("redis_connected_slaves", &[], 1.0).unwrap();
    assert!(seen.value("redis_connected_slave_offset_bytes", &slave).unwrap() >= 0.0);
    assert_eq!(check(&health(&of_master).await, "replication"), Default::default(), "a master has no such check");

    master.kill().unwrap();
    eventually_check(&of_replica, "replication", "fail", &format!("the link to {host}:{port} is down")).await;
    page(&of_replica).await.unwrap().expect("redis_master_link_up", &link, 0.0).unwrap();
    page(&of_replica).await.unwrap().expect("redis_health_status", &[("status", "degraded")], 1.0).unwrap();
}

#[tokio::test]
async fn unix_sockets_tls_and_probes() {
    let port = Port::lease().unwrap();
    let keys = tempfile::tempdir().unwrap();
    let (certificate, key) = (keys.path().join("cert.pem"), keys.path().join("key.pem"));
    let openssl = Launch::installed(&["openssl"])
        .unwrap()
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"])
        .args(["-subj", "/CN=redis", "-addext", "subjectAltName=IP:127.0.0.1"])
        .arg("-keyout")
        .arg(&key)
        .arg("-out")
        .arg(&certificate);
    run(&mut openssl.wrapped(&[]), "openssl", "").unwrap();
    let (certificate, key) = (certificate.display().to_string(), key.display().to_string());
    let redis = Redis::start_with(&[
        "--tls-port",
        &port.number().to_string(),
        "--tls-cert-file",
        &certificate,
        "--tls-key-file",
        &key,
        "--tls-auth-clients",
        "no",
    ])
    .await
    .unwrap();

    let socket = Program::exporter("redis-exporter").arg(format!("--redis.addr=unix://{}", redis.socket().display()));
    let socket = socket.start().await.unwrap();
    page(&socket).await.unwrap().expect("redis_up", &[], 1.0).unwrap();

    let tls = Program::exporter("redis-exporter")
        .arg(format!("--redis.addr=rediss://{}", port.address()))
        .arg(format!("--tls-ca-cert-file={certificate}"));
    let tls = tls.start().await.unwrap();
    page(&tls).await.unwrap().expect("redis_up", &[], 1.0).unwrap();

    // An unknown certificate authority is refused; and a plain connection to a TLS port is not Redis.
    let stranger = Program::exporter("redis-exporter").arg(format!("--redis.addr=rediss://{}", port.address()));
    let stranger = stranger.start().await.unwrap();
    assert_check(&health(&stranger).await, "connect", "fail", "the TLS handshake failed");
    page(&exporter(port.address()).await).await.unwrap().expect("redis_up", &[], 0.0).unwrap();

    let probe = |target: &str| tls.url(&format!("/probe?target={target}"));
    let probed = http::get(&probe(&redis.address().to_string())).await.unwrap();
    let probed = Page::parse(&probed.text()).unwrap();
    probed.expect("redis_up", &[], 1.0).unwrap();
    assert_eq!(probed.matching("redis_instance_info", &[("tcp_port", &redis.address().port().to_string())]).len(), 1);
    for (target, reason) in [("http://x", "not an address"), ("redis://u:sesame@127.0.0.1:1", "contains a password")] {
        let refused = http::get(&probe(target)).await.unwrap();
        assert_eq!(refused.status, 400, "{target}");
        assert!(refused.text().contains(reason) && !refused.text().contains("sesame"), "{}", refused.text());
    }
}

#[tokio::test]
async fn a_server_that_goes_and_comes_back() {
    let mut redis = Redis::start().await.unwrap();
    let exporter = exporter(redis.address()).await;
    page(&exporter).await.unwrap().expect("redis_up", &[], 1.0).unwrap();

    redis.kill().unwrap();
    let gone = page(&exporter).await.unwrap();
    gone.expect("redis_up", &[], 0.0).unwrap();
    gone.expect("redis_health_status", &[("status", "down")], 1.0).unwrap();
    assert!(!gone.has("redis_connected_clients") && !gone.has("redis_exporter_last_scrape_error"));
    let reply = http::get(&exporter.url("/health")).await.unwrap();
    assert_eq!(reply.status, 503);
    assert_check(&reply.json(), "connect", "fail", "cannot connect: Connection refused");

    // At once: the first scrape after the restart must not trip over the dead connection.
    redis.restart().await.unwrap();
    page(&exporter).await.unwrap().expect("redis_up", &[], 1.0).unwrap();
    redis.restart().await.unwrap();
    page(&exporter).await.unwrap().expect("redis_up", &[], 1.0).unwrap();

    // A line a change of state, not one a scrape.
    assert_eq!(exporter.log().matches("cannot connect").count(), 1, "{}", exporter.log());
}

#[tokio::test]
async fn a_wrong_password_is_reported_without_showing_it() {
    let redis = Redis::start_with(&["--requirepass", "sesame"]).await.unwrap();
    for (user, password, reason) in
        [("default", "wrong-secret", "AUTH was refused: WRONGPASS"), ("nobody", "wrong-secret", "check --redis.user")]
    {
        let exporter = exporter_as(&redis, user, password).await;
        page(&exporter).await.unwrap().expect("redis_up", &[], 0.0).unwrap();
        let health = health(&exporter).await;
        assert_check(&health, "connect", "fail", reason);
        assert!(!health.to_string().contains(password) && !exporter.log().contains(password));
    }
    let without = exporter(redis.address()).await;
    assert_check(&health(&without).await, "connect", "fail", "give a password with --redis.password-file");

    // The file is read at each connection: a password that is put right helps at once.
    let exporter = exporter_as(&redis, "default", "wrong-secret").await;
    page(&exporter).await.unwrap().expect("redis_up", &[], 0.0).unwrap();
    std::fs::write(redis.directory().join("password"), "sesame").unwrap();
    page(&exporter).await.unwrap().expect("redis_up", &[], 1.0).unwrap();
}

/// Answers OK to whatever comes, and records it.
async fn recorder() -> (SocketAddr, Arc<Mutex<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let received = Arc::new(Mutex::new(String::new()));
    let record = Arc::clone(&received);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let record = Arc::clone(&record);
            tokio::spawn(async move {
                let mut bytes = [0; 4096];
                while let Ok(length @ 1..) = stream.read(&mut bytes).await {
                    record.lock().unwrap().push_str(&String::from_utf8_lossy(&bytes[..length]));
                    stream.write_all(b"+OK\r\n").await.unwrap();
                }
            });
        }
    });
    (address, received)
}

#[tokio::test]
async fn a_password_goes_only_to_the_servers_that_it_is_meant_for() {
    let (main, other) = futures::join!(
        Redis::start_with(&["--requirepass", "sesame"]),
        Redis::start_with(&["--requirepass", "sesame"])
    );
    let (main, other) = (main.unwrap(), other.unwrap());
    let (stranger, received) = recorder().await;
    let file = main.directory().join("passwords");
    let start = async |args: &[String], env: &[(&str, &str)]| {
        let mut program =
            Program::exporter("redis-exporter").arg(format!("--redis.addr={}", main.address())).args(args);
        for (key, value) in env {
            program = program.env(*key, *value);
        }
        let exporter = program.start().await.unwrap();
        page(&exporter).await.unwrap().expect("redis_up", &[], 1.0).unwrap();
        exporter
    };
    let probe = async |exporter: &RunningProgram, target: SocketAddr| {
        http::get_with(&exporter.url(&format!("/probe?target={target}")), &[ONE_SECOND]).await.unwrap()
    };
    let is_up = async |exporter: &RunningProgram, target: SocketAddr| {
        Page::parse(&probe(exporter, target).await.text()).unwrap().value("redis_up", &[]).unwrap()
    };
    let password_file = format!("--redis.password-file={}", file.display());

    // One password, from the environment or from a file.
    std::fs::write(&file, "sesame\n").unwrap();
    for (args, env) in [(vec![], vec![("REDIS_PASSWORD", "sesame")]), (vec![password_file.clone()], vec![])] {
        let exporter = start(&args, &env).await;
        for target in [stranger, other.address()] {
            let refused = probe(&exporter, target).await;
            assert_eq!(refused.status, 400);
            assert!(refused.text().contains("--redis.password-targets"), "{}", refused.text());
        }
        assert_eq!(is_up(&exporter, main.address()).await, 1.0);
        let listed = format!("--redis.password-targets=elsewhere,{}", other.address());
        let exporter = start(&[args, vec![listed]].concat(), &env).await;
        assert_eq!(is_up(&exporter, other.address()).await, 1.0);
        assert_eq!(probe(&exporter, stranger).await.status, 400);
    }
    assert_eq!(*received.lock().unwrap(), "", "nothing is sent to a target that is refused");

    // One password per server.
    let passwords =
        |end: &str| format!(r#"{{"{}": "sesame", "redis://{}": "sesame"{end}}}"#, main.address(), other.address());
    std::fs::write(&file, passwords("")).unwrap();
    let exporter = start(std::slice::from_ref(&password_file), &[]).await;
    assert_eq!(is_up(&exporter, other.address()).await, 1.0);
    assert_eq!(is_up(&exporter, stranger).await, 0.0);
    assert!(received.lock().unwrap().contains("PING") && !received.lock().unwrap().contains("AUTH"));

    // The file breaks while the exporter runs, and before it starts.
    for malformed in [passwords(","), passwords(r#", "a": 1"#), passwords("").replace(['{', '}'], "")] {
        std::fs::write(&file, &malformed).unwrap();
        assert_eq!(is_up(&exporter, stranger).await, 0.0);
        let client = http::client(0).unwrap();
        let reload = client.post(exporter.url("/-/reload")).send().await.unwrap();
        assert_eq!(reload.status(), 500);
        let text = reload.text().await.unwrap();
        assert!(text.contains("JSON object") && !text.contains("sesame"), "{text}");
        let finished = Program::new("redis-exporter").arg(&password_file).run(10 * SECOND).await.unwrap();
        assert_eq!(finished.code, Some(1), "{malformed}");
        assert!(finished.stderr.contains("JSON object") && !finished.stderr.contains("sesame"), "{}", finished.stderr);
    }
    let received = received.lock().unwrap();
    assert!(!received.contains("sesame") && !received.contains("AUTH"), "{received}");
}

/// What Prometheus announces; the exporter takes 0.25 s off.
const ONE_SECOND: (&str, &str) = ("x-prometheus-scrape-timeout-seconds", "1");

async fn page_within_a_second(exporter: &RunningProgram) -> Page {
    Page::parse(&http::get_with(&exporter.url("/metrics"), &[ONE_SECOND]).await.unwrap().text()).unwrap()
}

async fn health_within_a_second(exporter: &RunningProgram) -> Value {
    http::get_with(&exporter.url("/health"), &[ONE_SECOND]).await.unwrap().json()
}

#[tokio::test]
async fn a_stopped_server_is_reported_in_time_and_recovers() {
    let redis = Redis::start().await.unwrap();
    let exporter = exporter(redis.address()).await;
    page(&exporter).await.unwrap().expect("redis_up", &[], 1.0).unwrap();

    redis.pause().unwrap();
    // Over the connection that it has, and over a new one.
    for _ in 0..2 {
        let seen = page_within_a_second(&exporter).await;
        seen.expect("redis_up", &[], 0.0).unwrap();
        seen.expect("redis_health_status", &[("status", "down")], 1.0).unwrap();
    }
    let health = health_within_a_second(&exporter).await;
    assert_check(&health, "connect", "fail", "PING: no answer within 0.");
    assert_check(&health, "connect", "fail", "the process may be stopped");
    redis.resume().unwrap();
    page(&exporter).await.unwrap().expect("redis_up", &[], 1.0).unwrap();
}

#[tokio::test]
async fn targets_that_are_not_redis() {
    let cases = [
        (Behaviour::Silence, "PING: no answer within"),
        (Behaviour::Garbage, "not Redis' protocol"),
        (Behaviour::Close, "the connection broke"),
        (Behaviour::HalfReplyOnRequest(b"+PO".to_vec()), "PING: no answer within"),
        (Behaviour::HalfReply(b"*1000000000\r\n:1\r\n".to_vec()), "PING: no answer within"),
        (Behaviour::HalfReply(b"-DENIED Redis is running in protected mode\r\n".to_vec()), "PING was refused: DENIED"),
        (Behaviour::HalfReplyOnRequest(b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec()), "not Redis' protocol"),
        (Behaviour::Drip(b"+PONG of a very slow kind\r\n".to_vec(), SECOND / 10), "PING: no answer within"),
    ];
    // Most take the second that the scrape has: together.
    futures::future::join_all(cases.map(|(behaviour, reason)| refuses_a_fake(behaviour, reason))).await;
}

async fn refuses_a_fake(behaviour: Behaviour, reason: &str) {
    let fake = Fake::start(behaviour.clone()).await.unwrap();
    let exporter = exporter(fake.address()).await;
    page_within_a_second(&exporter).await.expect("redis_up", &[], 0.0).unwrap();
    let health = health_within_a_second(&exporter).await;
    let found = check(&health, "connect");
    assert!(found.0 == "fail" && found.1.contains(reason), "{behaviour:?}: {found:?}");
    documented(README, &health, "connect");
    eventually(5 * SECOND, "no connection is left", async || match fake.open() {
        0 => Ok(()),
        open => Err(open),
    })
    .await
    .unwrap();
}

/// Answers each request with one of these in order, then repeats the tail, if there is one, until the client leaves.
async fn scripted(answers: [&'static str; 3], tail: Option<&'static str>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut request = [0; 4096];
                for answer in answers {
                    let _ = stream.read(&mut request).await?;
                    stream.write_all(answer.as_bytes()).await?;
                }
                if let Some(tail) = tail {
                    loop {
                        stream.write_all(tail.as_bytes()).await?;
                    }
                }
                stream.read(&mut request).await
            });
        }
    });
    address
}

#[tokio::test]
async fn servers_that_break_off_in_the_middle() {
    for answers in [
        ["+PONG\r\n", "+OK\r\n", "$1000000000000\r\nredis_version:7"],
        ["+PONG\r\n", "+OK\r\n", "$17\r\nredis_version:7.0\r\n:0\r\n*0\r\n"],
    ] {
        let exporter = exporter(scripted(answers, None).await).await;
        page_within_a_second(&exporter).await.expect("redis_up", &[], 0.0).unwrap();
        let health = health_within_a_second(&exporter).await;
        assert_check(&health, "connect", "fail", "INFO ALL: no answer within");
    }
}

#[tokio::test]
async fn an_endless_answer_does_not_fill_memory() {
    for (answer, tail) in [
        // A text, and lists in a list, which take most room.
        ("$1000000000000\r\n", "redis_version:7\r\nredis_version:7\r\nredis_version:7\r\n"),
        ("*1000000000\r\n", "*3\r\n:1\r\n:2\r\n:3\r\n"),
    ] {
        let exporter = exporter(scripted(["+PONG\r\n", "+OK\r\n", answer], Some(tail)).await).await;
        // Reading 4 MiB of tiny lists takes some seconds in a debug build.
        let timeout_header = [("x-prometheus-scrape-timeout-seconds", "60")];
        let reply = http::get_within(&exporter.url("/health"), &timeout_header, 60 * SECOND).await.unwrap();
        assert_check(&reply.json(), "connect", "fail", "larger than 4 MiB");
        let status = std::fs::read_to_string(format!("/proc/{}/status", exporter.pid().unwrap())).unwrap();
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB")).unwrap();
        assert!(peak.parse::<u64>().unwrap() < 60_000, "{peak} kB");
    }
}

/// INFO, SLOWLOG LEN, SLOWLOG GET, LATENCY LATEST and six times CONFIG GET.
const ANSWERS: &str = "$21\r\nredis_version:7.0.15\n\r\n:0\r\n*0\r\n*0\r\n*0\r\n*0\r\n*0\r\n*0\r\n*0\r\n*0\r\n";

/// A proxy or a managed service; a real server with its PING renamed cannot show the testbed that it is ready.
#[tokio::test]
async fn an_error_reply_to_ping_alone_is_not_down() {
    for (ping, status, check, of_check, reason) in [
        ("-ERR unknown command 'PING'\r\n", "healthy", "ping", "ok", "answered in"),
        ("-NOPERM no permissions\r\n", "healthy", "ping", "ok", "answered in"),
        ("-WEIRD of a proxy\r\n", "degraded", "ping", "warn", "PING was refused: WEIRD of a proxy"),
        ("-MISCONF of a managed service\r\n", "degraded", "persistence", "fail", "writes are refused: MISCONF"),
    ] {
        let exporter = exporter(scripted([ping, "+OK\r\n", ANSWERS], None).await).await;
        page(&exporter).await.unwrap().expect("redis_up", &[], 1.0).unwrap();
        let health = health(&exporter).await;
        assert_eq!(health["status"], status, "{ping}");
        assert_check(&health, check, of_check, reason);
    }
}

#[tokio::test]
async fn a_user_without_the_permission_for_info() {
    let redis = Redis::start().await.unwrap();
    let mut admin = connect(&redis).await;
    ask::<()>(&mut admin, "ACL SETUSER exporter on >sesame -@all +ping").await;
    let exporter = exporter_as(&redis, "exporter", "sesame").await;
    page(&exporter).await.unwrap().expect("redis_up", &[], 0.0).unwrap();
    let health = health(&exporter).await;
    assert_check(&health, "connect", "fail", "INFO was refused: NOPERM");
    assert_check(&health, "connect", "fail", "give the user the permissions");
}

/// The same, with a number of databases.
const HOSTILE_COUNT: &str = "$21\r\nredis_version:7.0.15\n\r\n:0\r\n*0\r\n*0\r\n*0\r\n\
    *2\r\n$9\r\ndatabases\r\n$11\r\n99999999999\r\n*0\r\n*0\r\n*0\r\n*0\r\n";

#[tokio::test]
async fn a_hostile_target_does_not_delay_other_scrapes() {
    let redis = Redis::start().await.unwrap();
    let exporter = exporter(redis.address()).await;
    let count = scripted(["+PONG\r\n", "+OK\r\n", HOSTILE_COUNT], None).await;
    let lists = scripted(["+PONG\r\n", "+OK\r\n", "*1000000000\r\n"], Some("*3\r\n:1\r\n:2\r\n:3\r\n")).await;
    let lines = scripted(["+PONG\r\n", "+OK\r\n", "$1000000000\r\n"], Some("\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n")).await;
    let timeout_header = [("x-prometheus-scrape-timeout-seconds", "30")];
    let probe = async |target: SocketAddr| {
        let url = exporter.url(&format!("/probe?target={target}"));
        let reply = http::get_within(&url, &timeout_header, 40 * SECOND).await.unwrap();
        Page::parse(&reply.text()).unwrap()
    };
    let probes = async { futures::join!(probe(count), probe(lists), probe(lines)) };
    let mut probes = std::pin::pin!(probes);
    let mut slowest = Duration::ZERO;
    let (count, lists, lines) = loop {
        let sent = std::time::Instant::now();
        let others = async {
            http::get_within(&exporter.url("/-/healthy"), &[], 5 * SECOND).await.unwrap();
            page(&exporter).await.unwrap().expect("redis_up", &[], 1.0).unwrap();
        };
        match futures::future::select(&mut probes, std::pin::pin!(others)).await {
            futures::future::Either::Left((pages, others)) => {
                others.await;
                break pages;
            }
            futures::future::Either::Right(_) => slowest = slowest.max(sent.elapsed()),
        }
    };
    assert!(slowest < 2 * SECOND, "another scrape took {slowest:?}");
    count.expect("redis_up", &[], 1.0).unwrap();
    count.expect("redis_exporter_collector_success", &[("collector", "keyspace")], 0.0).unwrap();
    count.expect("redis_exporter_collector_success", &[("collector", "config")], 1.0).unwrap();
    lists.expect("redis_up", &[], 0.0).unwrap();
    lines.expect("redis_up", &[], 0.0).unwrap();
}

#[tokio::test]
async fn two_hundred_scrapes_at_once_share_one_connection() {
    let redis = Redis::start().await.unwrap();
    let mut admin = connect(&redis).await;
    let exporter = exporter(redis.address()).await;
    let before: u64 = info(&mut admin, "total_connections_received").await.parse().unwrap();
    // Filters make different gathers, which must share the connection all the same.
    let urls: Vec<String> = (0..200)
        .map(|n| match n % 4 {
            0 => exporter.url("/metrics"),
            n => exporter.url(&format!("/metrics?collect[]={}", COLLECTORS[n])),
        })
        .collect();
    let client = http::client(0).unwrap();
    let replies = futures::future::join_all(urls.iter().map(|url| client.get(url).send())).await;
    for reply in replies {
        let text = reply.unwrap().text().await.unwrap();
        Page::parse(&text).unwrap().expect("redis_up", &[], 1.0).unwrap();
    }
    let after: u64 = info(&mut admin, "total_connections_received").await.parse().unwrap();
    assert_eq!(after - before, 1);
    let clients: String = ask(&mut admin, "CLIENT LIST").await;
    assert_eq!(clients.matches("name=redis_exporter").count(), 1, "{clients}");
}

#[tokio::test]
async fn refused_connections_and_a_full_server() {
    let redis = Redis::start().await.unwrap();
    let mut admin = connect(&redis).await;
    let exporter = exporter(redis.address()).await;
    assert_eq!(
        check(&health(&exporter).await, "rejected_connections"),
        Default::default(),
        "nothing to compare with yet"
    );
    assert_check(&health(&exporter).await, "rejected_connections", "ok", "none");
    assert_check(&health(&exporter).await, "connections", "ok", "2 of ");

    ask::<()>(&mut admin, "CONFIG SET maxclients 3").await;
    let _third = TcpStream::connect(redis.address()).await.unwrap();
    eventually_check(&exporter, "connections", "warn", "100 % of maxclients: 3 of 3").await;
    let mut refused = TcpStream::connect(redis.address()).await.unwrap();
    let mut words = String::new();
    refused.read_to_string(&mut words).await.unwrap();
    assert!(words.contains("max number of clients"), "{words}");
    assert_check(&health(&exporter).await, "rejected_connections", "warn", "1 since the previous scrape");
    assert_check(&health(&exporter).await, "rejected_connections", "ok", "none");
    page(&exporter).await.unwrap().expect("redis_rejected_connections_total", &[], 1.0).unwrap();

    // An exporter that comes too late learns why it can't get in.
    let late = self::exporter(redis.address()).await;
    assert_check(
        &health(&late).await,
        "connect",
        "fail",
        "max number of clients reached: the server is out of connections",
    );
}

#[tokio::test]
async fn memory_against_its_limit() {
    let redis = Redis::start().await.unwrap();
    let mut admin = connect(&redis).await;
    let exporter = exporter(redis.address()).await;
    assert_check(&health(&exporter).await, "memory", "ok", "no maxmemory");
    for (limit, policy, status, reason) in [
        ("1gb", "noeviction", "ok", "of maxmemory"),
        ("100kb", "volatile-lru", "warn", "(volatile-lru)"),
        ("100kb", "noeviction", "fail", "writes are refused"),
        ("1gb", "allkeys-lru", "ok", "(allkeys-lru)"),
    ] {
        ask::<()>(&mut admin, &format!("CONFIG SET maxmemory-policy {policy}")).await;
        ask::<()>(&mut admin, &format!("CONFIG SET maxmemory {limit}")).await;
        assert_check(&health(&exporter).await, "memory", status, reason);
    }
}

#[tokio::test]
async fn a_dump_that_fails() {
    let redis = Redis::start().await.unwrap();
    let mut admin = connect(&redis).await;
    // As in the default configuration of Redis: after a dump that failed, it refuses writes, and PING.
    redis::cmd("CONFIG").arg("SET").arg("save").arg("3600 1").query_async::<()>(&mut admin).await.unwrap();
    ask::<()>(&mut admin, "SET a 1").await;
    let exporter = exporter(redis.address()).await;
    assert_check(&health(&exporter).await, "persistence", "ok", "append-only file off");
    // A directory has the dump's name, so the rename fails.
    let dump = redis.directory().join("dump.rdb");
    std::fs::create_dir(&dump).unwrap();
    ask::<redis::Value>(&mut admin, "BGSAVE").await;
    eventually_check(&exporter, "persistence", "fail", "(BGSAVE) failed and writes are refused").await;
    let refused = redis::cmd("SET").arg("a").arg(2).query_async::<()>(&mut admin).await.unwrap_err();
    assert_eq!((refused.code(), ask::<u8>(&mut admin, "GET a").await), (Some("MISCONF"), 1), "reads work");
    // Over the connection that it has, and over a new one.
    for exporter in [&exporter, &self::exporter(redis.address()).await] {
        let page = page(exporter).await.unwrap();
        page.expect("redis_up", &[], 1.0).unwrap();
        page.expect("redis_rdb_last_bgsave_status", &[], 0.0).unwrap();
        page.expect("redis_health_status", &[("status", "degraded")], 1.0).unwrap();
        assert!(page.has("redis_memory_used_bytes") && page.has("redis_db_keys"));
        assert_check(&health(exporter).await, "ping", "ok", "answered in");
    }
    ask::<()>(&mut admin, "CONFIG SET stop-writes-on-bgsave-error no").await;
    assert_check(&health(&exporter).await, "persistence", "fail", "writes may be refused");
    std::fs::remove_dir(&dump).unwrap();
    ask::<redis::Value>(&mut admin, "BGSAVE").await;
    eventually_check(&exporter, "persistence", "ok", "").await;
}

#[tokio::test]
async fn a_server_that_loads_its_data() {
    let redis = Redis::start().await.unwrap();
    let mut admin = connect(&redis).await;
    let exporter = exporter(redis.address()).await;
    page(&exporter).await.unwrap().expect("redis_up", &[], 1.0).unwrap();
    for command in [
        "DEBUG POPULATE 3000",
        "CONFIG SET key-load-delay 2000",
        "CONFIG SET loading-process-events-interval-bytes 1024",
    ] {
        ask::<()>(&mut admin, command).await;
    }
    let mut reload = TcpStream::connect(redis.address()).await.unwrap();
    reload.write_all(b"DEBUG RELOAD\r\n").await.unwrap();
    eventually_check(&exporter, "ping", "fail", "LOADING").await;
    let page = page(&exporter).await.unwrap();
    page.expect("redis_up", &[], 1.0).unwrap();
    page.expect("redis_health_status", &[("status", "down")], 1.0).unwrap();
    assert_check(&health(&exporter).await, "persistence", "fail", "the server is loading its data");
    // Applied at once: the rest is loaded without a delay.
    ask::<()>(&mut admin, "CONFIG SET key-load-delay 0").await;
    eventually_check(&exporter, "ping", "ok", "answered in").await;
}

#[tokio::test]
async fn a_replica_that_refuses_commands_without_its_master() {
    let redis = Redis::start().await.unwrap();
    let mut admin = connect(&redis).await;
    let nobody = Port::lease().unwrap();
    ask::<()>(&mut admin, "CONFIG SET replica-serve-stale-data no").await;
    ask::<redis::Value>(&mut admin, &format!("REPLICAOF 127.0.0.1 {}", nobody.number())).await;
    let exporter = exporter(redis.address()).await;
    let page = page(&exporter).await.unwrap();
    page.expect("redis_up", &[], 1.0).unwrap();
    page.expect("redis_health_status", &[("status", "down")], 1.0).unwrap();
    let health = health(&exporter).await;
    assert_check(&health, "ping", "fail", "MASTERDOWN");
    assert_check(&health, "replication", "fail", "is down");
}

#[tokio::test]
async fn a_script_that_does_not_end() {
    let redis = Redis::start_with(&["--busy-reply-threshold", "10"]).await.unwrap();
    let mut admin = connect(&redis).await;
    let exporter = exporter(redis.address()).await;
    page(&exporter).await.unwrap().expect("redis_up", &[], 1.0).unwrap();
    let mut busy = TcpStream::connect(redis.address()).await.unwrap();
    busy.write_all(b"EVAL \"while true do end\" 0\r\n").await.unwrap();
    eventually_check(&exporter, "connect", "fail", "BUSY").await;
    assert_check(&health(&exporter).await, "connect", "fail", "see SCRIPT KILL");
    ask::<()>(&mut admin, "SCRIPT KILL").await;
    // The answer comes before the script ends.
    eventually(10 * SECOND, "the server executes commands", async || {
        page(&exporter).await?.expect("redis_up", &[], 1.0)
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn a_node_of_a_cluster() {
    // Unasked it takes the port 10,000 above its own for the other nodes, which may be somebody's outgoing connection.
    let bus = Port::lease().unwrap();
    let args = ["--cluster-enabled", "yes", "--cluster-port", &bus.number().to_string()];
    let redis = Redis::start_with(&args).await.unwrap();
    let exporter = exporter(redis.address()).await;
    let page = page(&exporter).await.unwrap();
    // Nobody has given it slots.
    page.expect("redis_cluster_state", &[], 0.0).unwrap();
    page.expect("redis_cluster_enabled", &[], 1.0).unwrap();
    page.expect("redis_cluster_slots_assigned", &[], 0.0).unwrap();
    assert_eq!(page.matching("redis_db_keys", &[]).len(), 1);
}

/// Redis as it was before 2.6: INFO takes no argument and has no headers, and little else is known.
async fn old_redis() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (reader, mut writer) = stream.into_split();
                let mut lines = BufReader::new(reader).lines();
                while let Ok(Some(header)) = lines.next_line().await {
                    let mut words = Vec::new();
                    for _ in 0..header.trim_start_matches('*').parse::<usize>().unwrap() {
                        lines.next_line().await.unwrap();
                        words.push(lines.next_line().await.unwrap().unwrap());
                    }
                    let info = "redis_version:2.4.18\r\nrole:master\r\nused_memory:1000\r\ndb0:keys=2,expires=0\r\n";
                    let reply = match words.join(" ").as_str() {
                        "PING" => "+PONG\r\n".to_owned(),
                        "INFO" => format!("${}\r\n{info}\r\n", info.len()),
                        "INFO ALL" => "-ERR wrong number of arguments for 'info' command\r\n".to_owned(),
                        _ => "-ERR unknown command\r\n".to_owned(),
                    };
                    writer.write_all(reply.as_bytes()).await.unwrap();
                }
            });
        }
    });
    address
}

#[tokio::test]
async fn an_old_server() {
    let exporter = exporter(old_redis().await).await;
    for _ in 0..2 {
        let page = page(&exporter).await.unwrap();
        page.expect("redis_up", &[], 1.0).unwrap();
        page.expect("redis_memory_used_bytes", &[], 1000.0).unwrap();
        page.expect("redis_db_keys", &[("db", "db0")], 2.0).unwrap();
        page.expect("redis_exporter_collector_success", &[("collector", "slowlog")], 0.0).unwrap();
    }
}

#[tokio::test]
async fn wrong_configuration_stops_the_start_with_one_line() {
    for (flag, line) in [
        ("--redis.addr=http://cache", "redis-exporter: --redis.addr: not an address of a Redis server"),
        ("--redis.addr=redis://u:sesame@cache", "redis-exporter: --redis.addr contains a password"),
        ("--redis.password-file=/nonexistent", "redis-exporter: cannot read --redis.password-file=/nonexistent"),
    ] {
        let finished = Program::new("redis-exporter").arg(flag).run(10 * SECOND).await.unwrap();
        assert_eq!(finished.code, Some(1), "{flag}");
        assert!(finished.stderr.starts_with(line) && finished.stderr.lines().count() == 1, "{}", finished.stderr);
        assert!(!finished.stderr.contains("sesame"));
    }
}
