//! What the API knows of alerts when notifications come in pieces, moved, too large, or not at all.

use std::time::Duration;

use medassist_tests::Error;
use medassist_tests::database::Flavour;
use medassist_tests::testbed::{
    Alertmanager, Database, Port, Program, Prometheus, Release, Reply, RunningProgram, eventually, http,
};
use serde_json::{Value, json};

const SOON: Duration = Duration::from_secs(60);

async fn database(flavour: Flavour) -> Result<Database, Error> {
    let db = Database::start_as::<&str>(flavour, &[]).await?;
    db.sql(
        "CREATE DATABASE medassist; CREATE USER medassist@'127.0.0.1' IDENTIFIED BY 'secret';
         GRANT SELECT, INSERT, UPDATE, CREATE ON medassist.* TO medassist@'127.0.0.1'",
    )?;
    Ok(db)
}

fn replica(db: &Database) -> Program {
    Program::api()
        .arg(format!("--mysql.address={}", db.address()))
        // Nothing listens there: Redis is optional.
        .arg("--redis.address=127.0.0.1:9")
        .env("MEDASSIST_API_MYSQL_PASSWORD", "secret")
}

/// Migrated, and with the database.
async fn started(program: Program) -> Result<RunningProgram, Error> {
    let api = program.start().await?;
    eventually(SOON, "the tables are in place", async || {
        let reply = http::get(&api.url("/api/alerts")).await.map_err(|error| error.to_string())?;
        if reply.status == 200 { Ok(()) } else { Err(reply.text()) }
    })
    .await?;
    Ok(api)
}

fn alert(fingerprint: &str, status: &str, starts_at: &str, ends_at: &str) -> Value {
    json!({
        "status": status, "fingerprint": fingerprint, "startsAt": starts_at, "endsAt": ends_at,
        "labels": {"alertname": "MysqlDown", "severity": "p1"}, "annotations": {"summary": "down"},
    })
}

async fn notify(api: &RunningProgram, alerts: Value, truncated: u64) -> Result<Reply, Error> {
    let body = json!({"version": "4", "receiver": "p1", "truncatedAlerts": truncated, "alerts": alerts});
    Ok(http::post_json(&api.url("/api/webhook/alert"), &[], &body).await?)
}

async fn stored(api: &RunningProgram, query: &str) -> Result<Vec<Value>, Error> {
    let reply = http::get(&api.url(&format!("/api/alerts{query}"))).await?;
    assert_eq!(reply.status, 200, "{}", reply.text());
    Ok(reply.json()["alerts"].as_array().cloned().unwrap_or_default())
}

const NEVER: &str = "0001-01-01T00:00:00Z";

/// Two Prometheis report the same alert. Alertmanager takes the earlier start, in the middle of the alert.
#[tokio::test]
async fn a_resolved_alert_closes_every_row_of_its_fingerprint() -> Result<(), Error> {
    for flavour in [Flavour::MariaDb, Flavour::MySql] {
        let db = database(flavour).await?;
        let api = started(replica(&db)).await?;
        for (fingerprint, status, start, end) in [
            ("a0", "firing", "2026-11-22T18:00:05Z", NEVER),
            ("a0", "firing", "2026-11-22T18:00:00Z", NEVER),
            ("a0", "resolved", "2026-11-22T18:00:00Z", "2026-11-22T18:05:00Z"),
            // Late, and after the end.
            ("a0", "firing", "2026-11-22T18:00:07Z", NEVER),
            // It fires again, and so does another.
            ("a0", "firing", "2026-11-22T19:00:00Z", NEVER),
            ("b0", "firing", "2026-11-22T18:00:01Z", NEVER),
        ] {
            let reply = notify(&api, json!([alert(fingerprint, status, start, end)]), 0).await?;
            assert_eq!(reply.status, 200, "{}", reply.text());
        }
        let firing = stored(&api, "?status=firing").await?;
        let mut starts: Vec<&str> = firing.iter().filter_map(|alert| alert["starts_at"].as_str()).collect();
        starts.sort_unstable();
        assert_eq!(starts, ["2026-11-22T18:00:01Z", "2026-11-22T19:00:00Z"], "{flavour:?}");
        let closed = stored(&api, "?status=resolved").await?;
        assert_eq!(closed.len(), 3);
        for alert in closed {
            assert_eq!(alert["ends_at"], "2026-11-22T18:05:00Z", "{alert}");
            assert!(alert["resolved_received_at"].is_string(), "{alert}");
        }
    }
    Ok(())
}

/// As many as Alertmanager sends at most, and more than a request of another path may have.
#[tokio::test]
async fn a_storm_is_stored_and_what_was_cut_is_counted() -> Result<(), Error> {
    for flavour in [Flavour::MariaDb, Flavour::MySql] {
        let db = database(flavour).await?;
        let api = started(replica(&db)).await?;
        let storm: Vec<Value> = (0..500)
            .map(|number| {
                let mut alert = alert(&format!("{number:016x}"), "firing", "2026-11-22T18:00:00Z", NEVER);
                alert["annotations"]["description"] = json!("x".repeat(3 << 10));
                alert
            })
            .collect();
        let reply = notify(&api, json!(storm), 77).await?;
        assert_eq!((reply.status, &reply.json()["stored"]), (200, &json!(500)), "{flavour:?}: {}", reply.text());
        assert_eq!(db.sql("SELECT COUNT(*) FROM medassist.alert")?, "500\n");
        let metrics = http::get(&api.url_of(1, "/metrics")).await?.text();
        assert!(metrics.contains("\napp_webhook_truncated_alerts_total 77\n"), "{metrics}");
        // A payment is not a storm.
        let large = json!({"consultation_id": "x".repeat(2 << 20), "amount_cents": 1, "currency": "EUR"});
        let reply = http::post_json(&api.url("/api/payment"), &[("idempotency-key", "a")], &large).await?;
        assert_eq!(reply.status, 413, "{}", reply.text());
    }
    Ok(())
}

#[tokio::test]
async fn refused_notifications_are_logged_as_warnings() -> Result<(), Error> {
    let db = database(Flavour::MariaDb).await?;
    let api = started(replica(&db)).await?;
    assert_eq!(notify(&api, json!([alert("not ok", "firing", "2026-11-22T18:00:00Z", NEVER)]), 0).await?.status, 400);
    api.logged("\"reason\":\"bad-request\"", 1).await?;
    Ok(())
}

/// Zero if it is absent.
async fn sample(api: &RunningProgram, series: &str) -> Result<f64, Error> {
    let page = http::get(&api.url_of(1, "/metrics")).await?.text();
    Ok(page.lines().find_map(|line| line.strip_prefix(series)?.parse().ok()).unwrap_or(0.0))
}

/// The whole chain: an alert fires and ends in Prometheus while every replica is down.
#[tokio::test]
async fn replicas_learn_of_the_outage_that_they_missed() -> Result<(), Error> {
    for release in [Release::Installed, Release::Newest] {
        let db = database(Flavour::MariaDb).await?;
        let (nobody, target) = (Port::lease()?, Port::lease()?);
        let webhook = format!("http://{}/api/webhook/alert", nobody.address());
        let targets = [("webhook_url", webhook.as_str())];
        let alertmanager = Alertmanager::start_ours(release, &targets, |text| text).await?;
        let configuration = format!(
            "global: {{scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s}}\nrule_files: [rules.yml]\n\
             alerting: {{alertmanagers: [{{static_configs: [{{targets: ['{}']}}]}}]}}\n\
             scrape_configs: [{{job_name: api, static_configs: [{{targets: ['{}']}}]}}]\n",
            alertmanager.address(),
            target.address()
        );
        let rules = "groups: [{name: a, rules: [\
                     {alert: AllApiDown, expr: sum(up) == 0, labels: {severity: p1, service: api}}, \
                     {alert: ApiInstanceDown, expr: up == 0, labels: {severity: p3, service: api}}]}]";
        let prometheus = Prometheus::start_with(&configuration, rules, &["--rules.alert.resend-delay=1s"]).await?;

        // Fired, known to Alertmanager, which cannot deliver it, and over.
        let known = eventually(SOON, "Alertmanager has AllApiDown", async || {
            let reply = http::get(&alertmanager.url("/api/v2/alerts?filter=alertname=AllApiDown")).await;
            let alerts = reply.map_err(|error| error.to_string())?.json();
            alerts[0]["fingerprint"].as_str().map(str::to_owned).ok_or(alerts.to_string())
        });
        let fingerprint = known.await?;
        let page = Program::exporter("backup-exporter")
            .arg("--backup.job=x:/nonexistent")
            .arg(format!("--web.listen-address={}", target.address()))
            .start()
            .await?;
        eventually(SOON, "AllApiDown has ended", async || {
            let reply = http::get(&alertmanager.url("/api/v2/alerts")).await.map_err(|error| error.to_string())?;
            if reply.json() == json!([]) { Ok(()) } else { Err(reply.text()) }
        })
        .await?;

        // Three replicas at once.
        let backfill = |program: Program| {
            program
                .arg(format!("--backfill.prometheus-url={}", prometheus.url("")))
                .args(["--backfill.interval=2s", "--backfill.window=10m"])
        };
        let apis = futures::future::try_join_all((0..3).map(|_| started(backfill(replica(&db))))).await?;
        let learned = eventually(SOON, "AllApiDown is stored", async || {
            let alerts = stored(&apis[0], "").await?;
            alerts.first().cloned().ok_or_else(|| Error::Series(apis[0].log()))
        });
        let alert = learned.await?;
        assert_eq!(alert["fingerprint"], fingerprint.as_str(), "the identity that Alertmanager gives it");
        assert_eq!(
            (&alert["labels"]["alertname"], &alert["status"], &alert["receiver"], &alert["notifications"]),
            (&json!("AllApiDown"), &json!("resolved"), &json!("backfill"), &json!(0))
        );
        assert!(alert["starts_at"].as_str() <= alert["ends_at"].as_str(), "{alert}");
        // Further runs of all three add nothing, neither the same alert nor one of P3.
        for api in &apis {
            let runs = "app_backfill_runs_total{outcome=\"success\"} ";
            let before = sample(api, runs).await?;
            eventually(SOON, "the replica reads again, from its start to its end", async || {
                let now = sample(api, runs).await?;
                if now >= before + 2.0 { Ok(()) } else { Err(Error::Series(now.to_string())) }
            })
            .await?;
        }
        assert_eq!(db.sql("SELECT COUNT(*) FROM medassist.alert")?, "1\n");
        let mut sum = 0.0;
        for api in &apis {
            sum += sample(api, "app_backfill_stored_alerts_total ").await?;
        }
        assert!((sum - 1.0).abs() < 0.1, "one replica stored it: {sum}");

        // Its end was never announced, as after a restart of Alertmanager.
        db.sql(
            "UPDATE medassist.alert SET status = 'firing', ends_at = NULL, resolved_received_at = NULL, \
             last_received_at = starts_at",
        )?;
        eventually(SOON, "it is closed", async || {
            let alerts = stored(&apis[0], "").await?;
            let closed = alerts.len() == 1 && alerts[0]["status"] == "resolved" && alerts[0]["ends_at"].is_string();
            if closed { Ok(()) } else { Err(Error::Series(format!("{alerts:?}"))) }
        })
        .await?;
        drop(page);
    }
    Ok(())
}
