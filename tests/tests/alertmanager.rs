//! The repository's Alertmanager configuration on real Alertmanagers, Debian 12's and the newest: who gets what, when,
//! and what a mail says.

use std::time::Duration;

use medassist_tests::Error;
use medassist_tests::testbed::{Alertmanager, MailServer, Port, Prometheus, Recorder, Release, eventually, http};
use serde_json::{Value, json};

const SOON: Duration = Duration::from_secs(30);
const RELEASES: [Release; 2] = [Release::Installed, Release::Newest];

fn alert(alertname: &str, severity: &str) -> Value {
    json!({
        "labels": {"alertname": alertname, "severity": severity, "service": "api"},
        "annotations": {
            "summary": "No API replica can serve requests",
            "description": "HAProxy has 0 servers in service.",
            "runbook_url": format!("http://runbooks.example/{alertname}"),
            "dashboard_url": "http://grafana.example/d/api",
        },
        "generatorURL": "http://prometheus.example/graph",
    })
}

async fn post(alertmanager: &Alertmanager, alerts: Value) -> Result<(), Error> {
    let reply = http::post_json(&alertmanager.url("/api/v2/alerts"), &[], &alerts).await?;
    assert_eq!(reply.status, 200, "{}", reply.text());
    Ok(())
}

fn of(alertname: &str) -> impl Fn(&medassist_tests::testbed::Delivery) -> bool {
    move |delivery| delivery.body["groupLabels"]["alertname"] == alertname
}

#[tokio::test]
async fn a_p1_is_mailed_and_paged_while_the_api_is_down() -> Result<(), Error> {
    for release in RELEASES {
        let (mail, pager, nobody) = (MailServer::start().await?, Recorder::start().await?, Port::lease()?);
        let webhook = format!("http://{}/api/webhook/alert", nobody.address());
        let (smarthost, page) = (mail.address().to_string(), pager.url("/page"));
        let targets = [
            ("webhook_url", webhook.as_str()),
            ("smtp_smarthost", &smarthost),
            ("smtp_from", "alertmanager@medassist.example"),
            ("smtp_require_tls", "false"),
            ("email_to", "oncall@medassist.example"),
            ("pager_url", &page),
            ("pager_token", "pager-secret"),
        ];
        let alertmanager = Alertmanager::start_ours(release, &targets, |text| text).await?;
        // Without the API, nobody gets these two.
        post(&alertmanager, json!([alert("ApiInstanceDown", "p3"), alert("MysqlSomething", "p2")])).await?;
        post(&alertmanager, json!([alert("AllApiDown", "p1")])).await?;

        let mailed = eventually(SOON, "a mail arrives", async || {
            mail.mails().first().cloned().ok_or_else(|| alertmanager.log())
        });
        let text = mailed.await?;
        for line in [
            "Subject: [P1 FIRING] AllApiDown: No API replica can serve requests",
            "To: oncall@medassist.example",
            "HAProxy has 0 servers in service.",
            "Since:     20",
            "Runbook:   http://runbooks.example/AllApiDown",
            "Dashboard: http://grafana.example/d/api",
            "<a href=\"http://runbooks.example/AllApiDown\">",
        ] {
            assert!(text.contains(line), "{release:?}: {line} is not in {text}");
        }
        let page = pager.delivered(SOON, "the pager gets AllApiDown", of("AllApiDown")).await?;
        assert_eq!((page.path.as_str(), page.authorization.as_str()), ("/page", "Bearer pager-secret"));

        let mut ended = alert("AllApiDown", "p1");
        ended["endsAt"] = json!("2026-01-01T00:00:00Z");
        ended["startsAt"] = json!("2025-12-31T23:00:00Z");
        post(&alertmanager, json!([ended])).await?;
        let resolved = eventually(SOON, "a second mail arrives", async || {
            mail.mails().into_iter().find(|mail| mail.contains("[RESOLVED]")).ok_or_else(|| alertmanager.log())
        });
        let text = resolved.await?;
        assert!(text.contains("Subject: [RESOLVED] AllApiDown: No API") && text.contains("Until:     20"), "{text}");
        // P2 and P3 were due long before that.
        assert_eq!(mail.mails().len(), 2, "{release:?}");
        assert!(pager.deliveries().iter().all(of("AllApiDown")), "{:?}", pager.deliveries());
    }
    Ok(())
}

#[tokio::test]
async fn p4_waits_for_office_hours() -> Result<(), Error> {
    for release in RELEASES {
        for open in [true, false] {
            let api = Recorder::start().await?;
            let webhook = api.url("/");
            let targets = [("webhook_url", webhook.as_str())];
            let alertmanager = Alertmanager::start_ours(release, &targets, |text| at_office(text, open)).await?;
            post(&alertmanager, json!([alert("NodeLoadHigh", "p4"), alert("ApiInstanceDown", "p3")])).await?;
            api.delivered(SOON, "P3 is delivered at any time", of("ApiInstanceDown")).await?;
            if open {
                api.delivered(SOON, "P4 is delivered in office hours", of("NodeLoadHigh")).await?;
            } else {
                alertmanager.logged("Notifications not sent, route is not within", 1).await?;
                assert!(!api.deliveries().iter().any(of("NodeLoadHigh")), "{release:?}");
            }
        }
    }
    Ok(())
}

/// With hours that contain the present, or don't, and without the minute that P4 waits.
fn at_office(text: String, open: bool) -> String {
    let (days, hours) = (r#"weekdays: ["monday:friday"]"#, r#"times: [{start_time: "08:00", end_time: "18:00"}]"#);
    assert!(text.contains(days) && text.contains(hours), "{text}");
    let seconds = std::time::UNIX_EPOCH.elapsed().map_or(0, |since| since.as_secs());
    // Half a day from now, so that no hour's end comes in between.
    let (from, until) = match (open, (seconds / 3600) % 24 < 12) {
        (true, true) | (false, false) => ("00:00", "12:00"),
        (true, false) | (false, true) => ("12:00", "24:00"),
    };
    let text = text.replace(days, r#"weekdays: ["sunday:saturday"]"#);
    let text = text.replace(hours, &format!(r#"times: [{{start_time: "{from}", end_time: "{until}"}}]"#));
    text.replace("group_wait: 1m", "group_wait: 1s").replace("group_interval: 5m", "group_interval: 1m")
}

#[tokio::test]
async fn a_group_of_any_size_is_cut_and_counted() -> Result<(), Error> {
    for release in RELEASES {
        let (api, pager) = (Recorder::start().await?, Recorder::start().await?);
        let (webhook, page) = (api.url("/"), pager.url("/"));
        let targets = [("webhook_url", webhook.as_str()), ("pager_url", &page)];
        // All are in the first flush: Alertmanager takes note of them one by one.
        let wait = |text: String| text.replace("group_wait: 0s", "group_wait: 2s");
        let alertmanager = Alertmanager::start_ours(release, &targets, wait).await?;
        let storm: Vec<Value> = (0..700)
            .map(|number| {
                let mut alert = alert("MysqlDown", "p1");
                alert["labels"]["instance"] = json!(format!("mysql{number}"));
                alert
            })
            .collect();
        post(&alertmanager, json!(storm)).await?;
        for (receiver, limit) in [(&api, 500), (&pager, 100)] {
            let delivery = receiver.delivered(SOON, "the storm is delivered", of("MysqlDown")).await?;
            assert_eq!(delivery.body["alerts"].as_array().map(Vec::len), Some(limit), "{release:?}");
            assert_eq!(delivery.body["truncatedAlerts"], 700 - limit, "{release:?}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn the_dead_mans_switch_is_fed_until_prometheus_stops() -> Result<(), Error> {
    for release in RELEASES {
        let (switch, api) = (Recorder::start().await?, Recorder::start().await?);
        let (webhook, ping) = (api.url("/"), switch.url("/ping/me"));
        let targets = [("webhook_url", webhook.as_str()), ("dead_mans_switch_url", &ping)];
        // A minute is a second here.
        let faster = |text: String| {
            assert!(text.contains("group_interval: 1m\n") && text.contains("repeat_interval: 30s\n"), "{text}");
            text.replace("group_interval: 1m\n", "group_interval: 1s\n")
                .replace("repeat_interval: 30s\n", "repeat_interval: 500ms\n")
        };
        let alertmanager = Alertmanager::start_ours(release, &targets, faster).await?;
        let configuration = format!(
            "global: {{evaluation_interval: 1s}}\nrule_files: [rules.yml]\nalerting: {{alertmanagers: \
             [{{static_configs: [{{targets: ['{}']}}]}}]}}\n",
            alertmanager.address()
        );
        let rules = "groups: [{name: watchdog, rules: [{alert: Watchdog, expr: vector(1), labels: {severity: p4, \
                     service: prometheus}}]}]";
        let mut prometheus = Prometheus::start_with(&configuration, rules, &["--rules.alert.resend-delay=1s"]).await?;
        eventually(SOON, "the switch is fed again and again", async || {
            let count = switch.deliveries().len();
            if count >= 4 { Ok(()) } else { Err(format!("{count} deliveries")) }
        })
        .await?;
        let fed = switch.deliveries();
        assert!(fed.iter().all(|delivery| delivery.path == "/ping/me" && of("Watchdog")(delivery)), "{fed:?}");

        prometheus.stop().await?;
        eventually(SOON, "Alertmanager drops the Watchdog of a Prometheus that stopped", async || {
            let firing = http::get(&alertmanager.url("/api/v2/alerts?active=true")).await?;
            if firing.json() == json!([]) { Ok(()) } else { Err(Error::Series(firing.text())) }
        })
        .await?;
        let last = switch.deliveries().len();
        // What is posted now is delivered; the switch gets nothing more, not even a "resolved".
        post(&alertmanager, json!([alert("ApiInstanceDown", "p3")])).await?;
        api.delivered(SOON, "others are still delivered", of("ApiInstanceDown")).await?;
        assert_eq!(switch.deliveries().len(), last, "{release:?}");
        assert!(api.deliveries().iter().all(of("ApiInstanceDown")), "Watchdog goes to the switch alone");
    }
    Ok(())
}
