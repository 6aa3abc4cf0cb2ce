//! The companion API against a real MariaDB and a real Redis: what retries, duplicates, lost dependencies and a stop do
//! to it.

use std::collections::HashMap;
use std::process::Stdio;
use std::time::Duration;

use futures::future::try_join_all;
use medassist_tests::Error;
use medassist_tests::testbed::{Database, Port, Program, Redis, Reply, RunningProgram, eventually, http};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const SOON: Duration = Duration::from_secs(30);

/// Exactly the grants in api/README.md.
const GRANTS: &str = "CREATE DATABASE medassist;
    CREATE USER medassist@'127.0.0.1' IDENTIFIED BY 'mysql-secret';
    GRANT SELECT, INSERT, UPDATE, CREATE ON medassist.* TO medassist@'127.0.0.1'";

struct Stores {
    db: Database,
    redis: Redis,
}

impl Stores {
    async fn start() -> Result<Self, Error> {
        let redis = ["--requirepass", "redis-secret"];
        let (db, redis) = tokio::try_join!(Database::start(), Redis::start_with(&redis))?;
        db.sql(GRANTS)?;
        Ok(Self { db, redis })
    }

    fn replica(&self, instance: &str) -> Program {
        Program::api()
            .arg(format!("--instance={instance}"))
            .arg(format!("--mysql.address={}", self.db.address()))
            .arg(format!("--redis.address={}", self.redis.address()))
            .env("MEDASSIST_API_MYSQL_PASSWORD", "mysql-secret")
            .env("MEDASSIST_API_REDIS_PASSWORD", "redis-secret")
    }

    async fn healthy_replica(&self, program: Program) -> Result<RunningProgram, Error> {
        let api = program.start().await?;
        answers(&api, "/readyz", 200, "healthy").await?;
        Ok(api)
    }
}

/// Waits until `path` responds with this HTTP status and this `status` in its body.
async fn answers(api: &RunningProgram, path: &str, status: u16, word: &str) -> Result<(), Error> {
    let url = api.url(path);
    await_status(&url, status, word).await
}

async fn await_status(url: &str, status: u16, word: &str) -> Result<(), Error> {
    let what = format!("{url} answers {status} {word}");
    let found = eventually(SOON, &what, async || {
        let reply = http::get(url).await.map_err(|error| error.to_string())?;
        let right = reply.status == status && reply.json()["status"] == word;
        if right { Ok(()) } else { Err(format!("{} {}", reply.status, reply.text())) }
    });
    Ok(found.await?)
}

fn payment(amount_cents: i64) -> Value {
    json!({ "consultation_id": "c-4711", "amount_cents": amount_cents, "currency": "EUR" })
}

async fn pay(api: &RunningProgram, key: &str, body: &Value) -> Result<Reply, Error> {
    Ok(http::post_json(&api.url("/api/payment"), &[("idempotency-key", key)], body).await?)
}

fn notification(status: &str, fingerprint: &str) -> Value {
    let ends_at = if status == "firing" { "0001-01-01T00:00:00Z" } else { "2026-11-22T18:05:00Z" };
    json!({
        "version": "4", "groupKey": "{}:{}", "truncatedAlerts": 0, "status": status, "receiver": "api-p1",
        "groupLabels": {}, "commonLabels": {}, "commonAnnotations": {}, "externalURL": "http://alertmanager",
        "aFieldOfTheFuture": [1],
        "alerts": [{
            "status": status, "labels": {"alertname": "MysqlDown", "severity": "p1"},
            "annotations": {"summary": format!("found when {status}")},
            "startsAt": "2026-11-22T18:00:00.123456789Z", "endsAt": ends_at,
            "generatorURL": "http://prometheus", "fingerprint": fingerprint,
        }],
    })
}

async fn notify(api: &RunningProgram, body: &Value) -> Result<Reply, Error> {
    Ok(http::post_json(&api.url("/api/webhook/alert"), &[], body).await?)
}

async fn alerts(api: &RunningProgram, query: &str) -> Result<Vec<Value>, Error> {
    let reply = http::get(&api.url(&format!("/api/alerts{query}"))).await?;
    assert_eq!(reply.status, 200, "{}", reply.text());
    Ok(reply.json()["alerts"].as_array().cloned().unwrap_or_default())
}

fn assert_problem(reply: &Reply, status: u16, kind: &str) {
    assert_eq!(reply.status, status, "{}", reply.text());
    assert_eq!(reply.header("content-type"), "application/problem+json");
    let problem = reply.json();
    assert_eq!(problem["type"], format!("urn:medassist:problem:{kind}"));
    assert_eq!(problem["status"], status);
    assert_eq!(problem["trace_id"], reply.header("x-trace-id"));
}

fn assert_unavailable(reply: &Reply) {
    assert_problem(reply, 503, "unavailable");
    let seconds: u32 = reply.header("retry-after").parse().unwrap_or_default();
    assert!(seconds > 0, "Retry-After is {:?}", reply.header("retry-after"));
}

#[tokio::test]
async fn three_replicas_that_start_together_migrate_once_and_record_one_payment_a_key() -> Result<(), Error> {
    const KEYS: usize = 20;
    const SENDERS_PER_REPLICA: usize = 3;
    let stores = Stores::start().await?;
    let replicas =
        try_join_all(["api1", "api2", "api3"].map(|name| stores.healthy_replica(stores.replica(name)))).await?;

    let applied: usize = replicas.iter().map(|api| api.log().matches(r#""message":"migration applied""#).count()).sum();
    let recorded = stores.db.sql("SELECT version, name FROM medassist.schema_migration ORDER BY version")?;
    assert_eq!(recorded, "1\tpayment\n2\talert\n");
    assert_eq!(applied, 2, "each migration is applied by exactly one replica");

    // Everybody sends every key at once.
    let client = http::client(SENDERS_PER_REPLICA).expect("a client");
    let sends = (0..KEYS * SENDERS_PER_REPLICA).flat_map(|n| replicas.iter().map(move |api| (n % KEYS, api)));
    let replies = try_join_all(sends.map(async |(key, api)| {
        let amount = i64::try_from(key).unwrap_or_default() + 1;
        let request = client.post(api.url("/api/payment")).header("idempotency-key", format!("key-{key}"));
        let reply = request.json(&payment(amount)).send().await?;
        let (status, replayed) = (reply.status().as_u16(), reply.headers().contains_key("idempotency-replayed"));
        Ok::<_, reqwest::Error>((key, status, replayed, reply.text().await?))
    }))
    .await
    .expect("every request is answered");

    let mut firsts = HashMap::new();
    for (key, status, replayed, body) in &replies {
        assert_eq!(*status, 201, "{body}");
        if !replayed {
            assert_eq!(firsts.insert(key, body), None, "key-{key} was recorded twice");
        }
    }
    assert_eq!(firsts.len(), KEYS);
    for (key, _, _, body) in &replies {
        assert_eq!(firsts.get(key), Some(&body), "a replay answers what the first request was answered");
    }
    assert_eq!(stores.db.sql("SELECT COUNT(*), COUNT(DISTINCT idempotency_key) FROM medassist.payment")?, "20\t20\n");
    Ok(())
}

#[tokio::test]
async fn a_payment_is_read_back_and_its_key_guards_it() -> Result<(), Error> {
    let stores = Stores::start().await?;
    let api = stores.healthy_replica(stores.replica("api1")).await?;

    let created = pay(&api, "secret-key-1", &payment(4900)).await?;
    assert_eq!(created.status, 201, "{}", created.text());
    assert_eq!(created.header("idempotency-replayed"), "");
    let location = created.header("location").to_owned();
    let read = http::get(&api.url(&location)).await?;
    assert_eq!((read.status, read.json()), (200, created.json()));

    // Spelled in another way it is the same request.
    let headers = [("idempotency-key", "secret-key-1")];
    let respelled = br#" { "currency":"EUR", "amount_cents":4900, "consultation_id":"c-4711" } "#.to_vec();
    let replayed = http::request(Method::POST, &api.url("/api/payment"), &headers, respelled, SOON).await?;
    assert_eq!((replayed.status, replayed.header("idempotency-replayed")), (201, "true"));
    assert_eq!((replayed.text(), replayed.header("location")), (created.text(), location.as_str()));

    assert_problem(&pay(&api, "secret-key-1", &payment(4901)).await?, 422, "idempotency-key-reused");
    assert_problem(&http::post_json(&api.url("/api/payment"), &[], &payment(1)).await?, 400, "bad-request");
    assert_problem(&pay(&api, "k", &payment(0)).await?, 400, "bad-request");
    let nowhere = api.url("/api/payment/00000000-0000-4000-8000-000000000000");
    assert_problem(&http::get(&nowhere).await?, 404, "no-such-payment");
    assert_eq!(stores.db.sql("SELECT COUNT(*) FROM medassist.payment")?, "1\n");

    api.logged(r#""status":422"#, 1).await?;
    let log = api.log();
    let line = log.lines().find(|line| line.contains(r#""status":422"#)).expect("the access line of the 422");
    let line: Value = serde_json::from_str(line).expect("JSON");
    assert_eq!(line["endpoint"], "/api/payment");
    assert_eq!(line["instance"], "api1");
    assert!(line["duration_ms"].is_f64() && line["trace_id"].is_string(), "{line}");
    for private in ["secret-key-1", "c-4711", "4901", "mysql-secret", "redis-secret", location.as_str()] {
        assert!(!log.contains(private), "{private} is in the log:\n{log}");
    }
    Ok(())
}

#[tokio::test]
async fn a_key_whose_first_request_does_not_end_is_a_conflict_until_it_does() -> Result<(), Error> {
    let stores = Stores::start().await?;
    let api = stores.healthy_replica(stores.replica("api1")).await?;
    // Another writer holds the key's row, uncommitted.
    let holder = "INSERT INTO medassist.payment VALUES ('x', 'slow', '', '', 1, 'EUR', NOW(6), '')";
    let mut waiting = tokio::process::Command::new("mariadb");
    waiting.args(["--no-defaults", "--user=root", "--unbuffered", "--skip-column-names", "--socket"]);
    waiting.arg(stores.db.socket()).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut waiting = waiting.kill_on_drop(true).spawn().expect("the database's client");
    let mut statements = waiting.stdin.take().expect("a pipe");
    statements.write_all(format!("BEGIN; {holder}; SELECT 1;\n").as_bytes()).await.expect("written");
    // Read from the client itself: information_schema.innodb_trx repeats its old answer when it is queried within 0.1 s
    // again.
    let mut held = [0; 2];
    let answer = waiting.stdout.as_mut().expect("a pipe").read_exact(&mut held);
    tokio::time::timeout(SOON, answer).await.expect("the row is held").expect("an answer");
    assert_eq!(&held, b"1\n");

    let conflict = pay(&api, "slow", &payment(1)).await?;
    assert_problem(&conflict, 409, "still-in-progress");
    assert_ne!(conflict.header("retry-after"), "");

    statements.write_all(b"ROLLBACK;\n").await.expect("written");
    drop(statements);
    assert!(waiting.wait().await.expect("the client ends").success());
    let created = pay(&api, "slow", &payment(1)).await?;
    assert_eq!((created.status, created.header("idempotency-replayed")), (201, ""), "{}", created.text());
    Ok(())
}

#[tokio::test]
async fn alerts_are_deduplicated_and_a_late_firing_does_not_undo_resolved() -> Result<(), Error> {
    let stores = Stores::start().await?;
    let api = stores.healthy_replica(stores.replica("api1")).await?;

    for _ in 0..3 {
        assert_eq!(notify(&api, &notification("firing", "a0")).await?.status, 200);
    }
    let firing = alerts(&api, "?status=firing").await?;
    let [alert] = firing.as_slice() else { panic!("one alert: {firing:?}") };
    assert_eq!(alert["notifications"], 3);
    assert_eq!(alert["starts_at"], "2026-11-22T18:00:00.123456Z");
    assert_eq!(alert["resolved_received_at"], Value::Null);
    let (first, last) = (alert["firing_received_at"].clone(), alert["last_received_at"].clone());
    assert!(first.as_str() < last.as_str(), "repeats move the heartbeat only: {first} {last}");

    assert_eq!(notify(&api, &notification("resolved", "a0")).await?.status, 200);
    let resolved = alerts(&api, "").await?;
    assert_eq!(notify(&api, &notification("firing", "a0")).await?.status, 200);
    let late = alerts(&api, "").await?;
    let ([resolved], [late]) = (resolved.as_slice(), late.as_slice()) else {
        panic!("one alert: {resolved:?} {late:?}")
    };
    for field in ["status", "ends_at", "annotations", "firing_received_at", "resolved_received_at"] {
        assert_eq!(resolved[field], late[field], "{field}");
    }
    assert_eq!(late["status"], "resolved");
    assert_eq!(late["ends_at"], "2026-11-22T18:05:00Z");
    assert_eq!(late["annotations"]["summary"], "found when resolved");
    assert_eq!(late["firing_received_at"], first);
    assert_eq!(late["notifications"], 5);

    // Resolved overtook firing: it stays resolved, and both times are kept.
    assert_eq!(notify(&api, &notification("resolved", "b0")).await?.status, 200);
    assert_eq!(notify(&api, &notification("firing", "b0")).await?.status, 200);
    let newest = alerts(&api, "?limit=1").await?;
    let [overtaken] = newest.as_slice() else { panic!("one alert: {newest:?}") };
    assert_eq!((&overtaken["fingerprint"], &overtaken["status"]), (&json!("b0"), &json!("resolved")));
    assert!(overtaken["firing_received_at"].as_str() > overtaken["resolved_received_at"].as_str());
    assert_eq!(alerts(&api, "?status=firing").await?, Vec::<Value>::new());

    // A group with one bad alert is refused as a whole.
    let mut half_bad = notification("firing", "c0");
    let mut bad = half_bad["alerts"][0].clone();
    bad["startsAt"] = json!("yesterday");
    half_bad["alerts"].as_array_mut().expect("alerts").push(bad);
    assert_problem(&notify(&api, &half_bad).await?, 400, "bad-request");
    assert_eq!(stores.db.sql("SELECT COUNT(*) FROM medassist.alert")?, "2\n");

    let large = vec![b' '; (8 << 20) + 1];
    let reply = http::request(Method::POST, &api.url("/api/webhook/alert"), &[], large, SOON).await?;
    assert_problem(&reply, 413, "body-too-large");
    assert_problem(&http::get(&api.url("/api/alerts?limit=1001")).await?, 400, "bad-request");
    assert_problem(&http::get(&api.url("/api/alerts?status=open")).await?, 400, "bad-request");
    Ok(())
}

#[tokio::test]
async fn a_hung_or_dead_database_causes_503s_and_nothing_else() -> Result<(), Error> {
    let mut stores = Stores::start().await?;
    let api = stores.healthy_replica(stores.replica("api1")).await?;
    assert_eq!(pay(&api, "before", &payment(1)).await?.status, 201);

    stores.db.pause()?;
    assert_unavailable(&notify(&api, &notification("firing", "a0")).await?);
    assert_unavailable(&pay(&api, "hung", &payment(2)).await?);
    answers(&api, "/readyz", 200, "degraded").await?;
    // More at once than the pool has connections: none may be lost to it.
    let hung = try_join_all((0..20).map(async |n| pay(&api, &format!("hung-{n}"), &payment(3)).await)).await?;
    hung.iter().for_each(assert_unavailable);
    stores.db.resume()?;
    assert_eq!(notify(&api, &notification("firing", "a0")).await?.status, 200);
    let retried = pay(&api, "hung", &payment(2)).await?;
    assert_eq!(retried.status, 201, "{}", retried.text());
    answers(&api, "/readyz", 200, "healthy").await?;

    stores.db.kill()?;
    assert_unavailable(&notify(&api, &notification("resolved", "a0")).await?);
    assert_unavailable(&pay(&api, "dead", &payment(4)).await?);
    answers(&api, "/readyz", 200, "degraded").await?;
    assert_eq!(http::get(&api.url("/livez")).await?.status, 200);
    let health = http::get(&api.url("/health")).await?;
    assert_eq!((health.status, &health.json()["dependencies"]["mysql"]["status"]), (200, &json!("down")));
    let metrics = http::get(&api.url_of(1, "/metrics")).await?.text();
    assert!(metrics.contains("\napp_dependency_up{dependency=\"mysql\"} 0\n"), "{metrics}");
    assert!(metrics.contains("\napp_ready 1\n"), "{metrics}");
    stores.db.restart().await?;
    assert_eq!(notify(&api, &notification("resolved", "a0")).await?.status, 200);
    assert_eq!(pay(&api, "before", &payment(1)).await?.header("idempotency-replayed"), "true");
    answers(&api, "/readyz", 200, "healthy").await?;

    let stored = alerts(&api, "").await?;
    let [alert] = stored.as_slice() else { panic!("one alert: {stored:?}") };
    assert_eq!(alert["status"], "resolved");
    assert_eq!(stores.db.sql("SELECT COUNT(*) FROM medassist.payment WHERE idempotency_key = 'hung'")?, "1\n");
    Ok(())
}

#[tokio::test]
async fn a_resumed_replica_completes_its_transaction() -> Result<(), Error> {
    let stores = Stores::start().await?;
    let api = stores.healthy_replica(stores.replica("api1")).await?;
    // The database holds the request, whose connection takes several round trips yet, until the replica is paused.
    stores.db.pause()?;
    let stall = async {
        let metrics = api.url_of(1, "/metrics");
        eventually(SOON, "the payment is begun", async || {
            let page = http::get(&metrics).await?.text();
            if page.contains("\nhttp_server_active_requests 1\n") { Ok(()) } else { Err(Error::Series(page)) }
        })
        .await?;
        api.pause()?;
        stores.db.resume()?;
        // Longer than the replica waits for MySQL: its timer has expired when it resumes.
        tokio::time::sleep(Duration::from_secs(3)).await;
        api.resume()
    };
    let payment = payment(1);
    let (reply, stalled) = tokio::join!(pay(&api, "paused", &payment), stall);
    stalled?;
    let reply = reply?;
    assert_eq!(reply.status, 201, "{}", reply.text());
    Ok(())
}

#[tokio::test]
async fn a_replica_that_starts_before_its_database_is_ready_and_migrates_later() -> Result<(), Error> {
    let mut stores = Stores::start().await?;
    stores.db.kill()?;
    let api = stores.replica("api1").start().await?;
    answers(&api, "/readyz", 200, "degraded").await?;
    assert_unavailable(&pay(&api, "early", &payment(1)).await?);
    stores.db.restart().await?;
    answers(&api, "/readyz", 200, "healthy").await?;
    assert_eq!(pay(&api, "early", &payment(1)).await?.status, 201);
    Ok(())
}

#[tokio::test]
async fn redis_saves_reads_and_its_loss_fails_no_request() -> Result<(), Error> {
    let mut stores = Stores::start().await?;
    let api = stores.healthy_replica(stores.replica("api1")).await?;
    let create = async |key: &str| -> Result<String, Error> {
        let created = pay(&api, key, &payment(1)).await?;
        assert_eq!(created.status, 201, "{}", created.text());
        Ok(api.url(created.header("location")))
    };
    let (cached, uncached) = (create("cached").await?, create("uncached").await?);
    assert_eq!(http::get(&cached).await?.status, 200);

    // Only Redis can know it now.
    stores.db.kill()?;
    assert_eq!(http::get(&cached).await?.status, 200);
    assert_unavailable(&http::get(&uncached).await?);
    stores.db.restart().await?;

    stores.redis.pause()?;
    for url in [&cached, &uncached] {
        assert_eq!(http::get(url).await?.status, 200);
    }
    answers(&api, "/readyz", 200, "degraded").await?;
    stores.redis.resume()?;
    answers(&api, "/readyz", 200, "healthy").await?;

    stores.redis.kill()?;
    for url in [&cached, &uncached] {
        assert_eq!(http::get(url).await?.status, 200);
    }
    answers(&api, "/readyz", 200, "degraded").await?;
    stores.redis.restart().await?;
    answers(&api, "/readyz", 200, "healthy").await?;
    // The cache works again, not only its probe.
    assert_eq!(http::get(&uncached).await?.status, 200);
    stores.db.kill()?;
    assert_eq!(http::get(&uncached).await?.status, 200);
    Ok(())
}

#[tokio::test]
async fn a_stop_drains() -> Result<(), Error> {
    let stores = Stores::start().await?;
    let mut api = stores.healthy_replica(stores.replica("api1").arg("--drain.delay=1s")).await?;
    let (payments, readyz, livez) = (api.url("/api/payment"), api.url("/readyz"), api.url("/livez"));

    // In flight when the stop signal arrives, and answered because the database comes back in time.
    stores.db.pause()?;
    let headers = [("idempotency-key", "in-flight")];
    let body = payment(1);
    let in_flight = http::post_json(&payments, &headers, &body);
    let meanwhile = async {
        let active = api.url_of(1, "/metrics");
        eventually(SOON, "the payment is in flight", async || {
            let metrics = http::get(&active).await.map_err(|error| error.to_string())?.text();
            if metrics.contains("\nhttp_server_active_requests 1\n") { Ok(()) } else { Err("not yet".to_owned()) }
        })
        .await?;
        let stopped = async { Ok::<_, Error>(api.stop().await?) };
        let watched = async {
            await_status(&readyz, 503, "draining").await?;
            let served = http::get(&livez).await?;
            assert_eq!((served.status, served.header("connection")), (200, "close"), "draining still serves");
            Ok(stores.db.resume()?)
        };
        tokio::try_join!(stopped, watched)
    };
    let (reply, (status, ())) = tokio::try_join!(async { Ok(in_flight.await?) }, meanwhile)?;
    assert_eq!(reply.status, 201, "{}", reply.text());
    assert_eq!(status.code(), Some(0));
    assert!(http::get(&livez).await.is_err(), "the listener is closed");
    Ok(())
}

#[tokio::test]
async fn a_second_signal_stops_at_once() -> Result<(), Error> {
    let stores = Stores::start().await?;
    let mut api = stores.healthy_replica(stores.replica("api1").arg("--drain.delay=1h")).await?;
    let pid = api.pid().and_then(|pid| rustix::process::Pid::from_raw(pid.try_into().ok()?)).expect("a process");
    rustix::process::kill_process(pid, rustix::process::Signal::INT).expect("a signal");
    answers(&api, "/readyz", 503, "draining").await?;
    assert_eq!(api.stop().await?.code(), Some(1));
    Ok(())
}

#[tokio::test]
async fn sighup_reads_the_password_and_token_files_again() -> Result<(), Error> {
    let stores = Stores::start().await?;
    let file = |name: &str| stores.db.directory().join(name);
    let write = |name: &str, text: &str| std::fs::write(file(name), text).expect("a file");
    // With CRLF, as an editor on Windows leaves it.
    write("mysql", "mysql-secret\r\n");
    write("redis", "redis-secret\r\n");
    write("token", "one\r\n");
    let api = Program::api()
        .arg(format!("--mysql.address={}", stores.db.address()))
        .arg(format!("--redis.address={}", stores.redis.address()))
        .arg(format!("--mysql.password-file={}", file("mysql").display()))
        .arg(format!("--redis.password-file={}", file("redis").display()))
        .arg(format!("--webhook.token-file={}", file("token").display()));
    let api = stores.healthy_replica(api).await?;
    let pid = api.pid().and_then(|pid| rustix::process::Pid::from_raw(pid.try_into().ok()?)).expect("a process");
    let reload = || rustix::process::kill_process(pid, rustix::process::Signal::HUP).expect("a signal");
    let metrics = api.url_of(1, "/metrics");
    let reloaded = async |successful: u8| {
        let sample = format!("\napp_config_last_reload_successful {successful}\n");
        eventually(SOON, &format!("{metrics} has {sample}"), async || {
            let text = http::get(&metrics).await.map_err(|error| error.to_string())?.text();
            if text.contains(&sample) { Ok(()) } else { Err(text) }
        })
        .await
    };
    let notified = async |token: &str| {
        let header = format!("Bearer {token}");
        let url = api.url("/api/webhook/alert");
        http::post_json(&url, &[("authorization", header.as_str())], &notification("firing", "a0")).await
    };

    // A bad file: nothing changes, not even what the good files say.
    write("mysql", "");
    write("token", "two");
    reload();
    reloaded(0).await?;
    assert_eq!(notified("one").await?.status, 200);
    assert_eq!(pay(&api, "before", &payment(1)).await?.status, 201);

    stores.db.sql("SET PASSWORD FOR medassist@'127.0.0.1' = PASSWORD('other')")?;
    write("mysql", "other\n");
    reload();
    reloaded(1).await?;
    assert_eq!(notified("two").await?.status, 200);
    assert_problem(&notified("one").await?, 401, "unauthorized");
    // Every connection that logged in with the old password ends.
    stores.db.sql("KILL USER medassist@'127.0.0.1'")?;
    eventually(SOON, "a payment over a new connection", async || {
        let reply = pay(&api, "after", &payment(1)).await.map_err(|error| error.to_string())?;
        if reply.status == 201 { Ok(()) } else { Err(reply.text()) }
    })
    .await?;
    answers(&api, "/readyz", 200, "healthy").await?;
    for private in ["mysql-secret", "redis-secret", "other"] {
        assert!(!api.log().contains(private), "{private} is in the log:\n{}", api.log());
    }
    Ok(())
}

#[tokio::test]
async fn healthcheck_finds_the_replica_by_its_own_flag() -> Result<(), Error> {
    let stores = Stores::start().await?;
    let mut api = stores.healthy_replica(stores.replica("api1")).await?;
    let address = api.addresses()[0];
    let healthcheck = async || {
        let flag = format!("--web.listen-address={address}");
        Program::new("medassist-api").args(["healthcheck".to_owned(), flag]).run(SOON).await
    };
    let healthy = healthcheck().await?;
    assert_eq!(healthy.code, Some(0), "{}", healthy.stderr);
    assert_eq!(healthy.stderr, format!("healthy: {address}/livez: status 200\n"));
    api.stop().await?;
    let unhealthy = healthcheck().await?;
    assert_eq!(unhealthy.code, Some(1), "{}", unhealthy.stderr);
    assert!(unhealthy.stderr.starts_with("unhealthy: "), "{}", unhealthy.stderr);
    Ok(())
}

#[tokio::test]
async fn the_webhook_requires_its_token() -> Result<(), Error> {
    let stores = Stores::start().await?;
    let token = stores.db.directory().join("token");
    std::fs::write(&token, "webhook-secret\n").expect("the token's file");
    let api = stores.replica("api1").arg(format!("--webhook.token-file={}", token.display()));
    let api = stores.healthy_replica(api).await?;
    let url = api.url("/api/webhook/alert");
    let body = notification("firing", "a0");
    for wrong in [&[][..], &[("authorization", "Bearer wrong")], &[("authorization", "Basic webhook-secret")]] {
        let reply = http::post_json(&url, wrong, &body).await?;
        assert_problem(&reply, 401, "unauthorized");
        assert_eq!(reply.header("www-authenticate"), "Bearer");
    }
    assert_eq!(alerts(&api, "").await?, Vec::<Value>::new());
    let right = [("authorization", "Bearer webhook-secret")];
    assert_eq!(http::post_json(&url, &right, &body).await?.status, 200);
    assert!(!api.log().contains("webhook-secret"));
    Ok(())
}

#[tokio::test]
async fn the_web_config_applies_to_both_listeners_but_not_to_probes() -> Result<(), Error> {
    let directory = tempfile::tempdir().expect("a directory");
    let (web, token) = (directory.path().join("web.yml"), directory.path().join("token"));
    let write_user = |password: &str| {
        let hash = bcrypt::hash(password, 4).expect("a hash");
        let headers = "http_server_config:\n  headers:\n    X-Frame-Options: deny\n";
        std::fs::write(&web, format!("{headers}basic_auth_users:\n  me: {hash}\n")).expect("the file");
    };
    write_user("right");
    std::fs::write(&token, "webhook-secret").expect("the token's file");
    let api = Program::api()
        .args(["--mysql.address=127.0.0.1:1", "--redis.address=127.0.0.1:1"])
        .arg(format!("--web.config.file={}", web.display()))
        .arg(format!("--webhook.token-file={}", token.display()))
        .start()
        .await?;
    // me:right
    let me = [("authorization", "Basic bWU6cmlnaHQ=")];
    for path in ["/health", "/api/alerts", "/nowhere"] {
        let refused = http::get(&api.url(path)).await?;
        assert_problem(&refused, 401, "unauthorized");
        assert_eq!(refused.header("www-authenticate"), "Basic realm=\"medassist-api\"", "{path}");
        assert_ne!(http::get_with(&api.url(path), &me).await?.status, 401, "{path}");
    }
    let livez = http::get(&api.url("/livez")).await?;
    assert_eq!((livez.status, livez.header("x-frame-options")), (200, "deny"));
    assert_ne!(http::get(&api.url("/readyz")).await?.status, 401);
    let metrics = api.url_of(1, "/metrics");
    assert_eq!(http::get(&metrics).await?.status, 401);
    let page = http::get_with(&metrics, &me).await?.text();
    assert!(page.contains("http_response_status_code=\"401\""), "refused requests are counted: {page}");
    let (webhook, body) = (api.url("/api/webhook/alert"), notification("firing", "a0"));
    let reply = http::post_json(&webhook, &me, &body).await?;
    assert_eq!((reply.status, reply.header("www-authenticate")), (401, "Bearer"), "the webhook has its token instead");
    let bearer = [("authorization", "Bearer webhook-secret")];
    assert_unavailable(&http::post_json(&webhook, &bearer, &body).await?);

    std::fs::write(&web, "basic_auth_users:\n  me: plain\n").expect("the file");
    api.hang_up()?;
    eventually(SOON, "the log names the invalid key", async || match api.log() {
        log if log.contains("web.yml: basic_auth_users.me: ") => Ok(()),
        log => Err(log),
    })
    .await?;
    assert_eq!(http::get_with(&metrics, &me).await?.status, 200, "an invalid file changes nothing");
    write_user("other");
    api.hang_up()?;
    eventually(SOON, "the new password is in use", async || match http::get_with(&metrics, &me).await {
        Ok(Reply { status: 401, .. }) => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await?;
    Ok(())
}

#[tokio::test]
async fn an_invalid_request_is_a_client_error_with_a_problem() -> Result<(), Error> {
    let nowhere = Port::lease()?;
    let api = Program::api()
        .arg(format!("--mysql.address={}", nowhere.address()))
        .arg(format!("--redis.address={}", nowhere.address()))
        .start()
        .await?;
    assert_problem(&http::get(&api.url("/api/payment/%ff")).await?, 404, "no-such-payment");

    let mut slow = TcpStream::connect(api.addresses()[0]).await.expect("a connection");
    let begun = "POST /api/payment HTTP/1.1\r\nHost: api\r\nIdempotency-Key: k\r\nContent-Length: 9\r\n\r\n{";
    slow.write_all(begun.as_bytes()).await.expect("the start of a request");
    let mut answer = String::new();
    // The server does not wait for the rest of the request: it responds and closes.
    tokio::time::timeout(SOON, slow.read_to_string(&mut answer)).await.expect("an end").expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    assert!(answer.contains("urn:medassist:problem:body-too-slow"), "{answer}");
    Ok(())
}

#[tokio::test]
async fn series_are_bounded_by_routes_and_traces_are_the_callers() -> Result<(), Error> {
    let stores = Stores::start().await?;
    let api = stores.healthy_replica(stores.replica("api1")).await?;
    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
    let trace = format!("00-{TRACE}-00f067aa0ba902b7-01");
    let missing = http::get_with(&api.url("/no/such/path?x=1"), &[("traceparent", &trace)]).await?;
    assert_problem(&missing, 404, "no-such-route");
    assert_eq!(missing.header("x-trace-id"), TRACE);
    let wrong_method = http::request(Method::DELETE, &api.url("/api/payment"), &[], Vec::new(), SOON).await?;
    assert_problem(&wrong_method, 405, "method-not-allowed");
    assert_eq!(wrong_method.header("allow"), "POST");
    let invented = Method::from_bytes(b"BREW").expect("a method");
    assert_eq!(http::request(invented, &api.url("/livez"), &[], Vec::new(), SOON).await?.status, 405);
    assert_eq!(http::get(&api.url("/api/payment/one")).await?.status, 404);

    let page = http::get(&api.url_of(1, "/metrics")).await?;
    assert_eq!(page.header("content-type"), "application/openmetrics-text; version=1.0.0; charset=utf-8");
    let text = page.text();
    for (method, route, status) in [
        ("GET", "unmatched", "404"),
        ("DELETE", "/api/payment", "405"),
        ("_OTHER", "/livez", "405"),
        ("GET", "/api/payment/{id}", "404"),
    ] {
        let labels =
            format!("http_request_method=\"{method}\",http_route=\"{route}\",http_response_status_code=\"{status}\"");
        for series in [
            format!("http_server_request_duration_seconds_count{{{labels}}} 1\n"),
            format!("http_server_request_duration_seconds_bucket{{le=\"0.8\",{labels}}} 1\n"),
        ] {
            assert!(text.contains(&series), "{series} is missing in\n{text}");
        }
    }
    for series in ["app_ready 1", "app_draining 0", "app_dependency_up{dependency=\"redis\"} 1"] {
        assert!(text.contains(&format!("\n{series}\n")), "{series} is missing in\n{text}");
    }
    assert!(text.ends_with("# EOF\n"));
    assert_problem(&http::get(&api.url("/metrics")).await?, 404, "no-such-route");

    // Health checks come every second: not in the log.
    api.logged(r#""endpoint":"unmatched""#, 2).await?;
    let log = api.log();
    assert!(!log.contains(r#""endpoint":"/readyz""#), "{log}");
    Ok(())
}
