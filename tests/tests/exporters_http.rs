//! What all exporters owe to Prometheus and to operators, whatever their service: paths, formats, compression, flags, a
//! clean stop. Their services are not there: the page must be right all the same.

use std::collections::BTreeSet;
use std::process::Stdio;
use std::time::Duration;

use medassist_tests::Error;
use medassist_tests::launch::Launch;
use medassist_tests::testbed::{Behaviour, Fake, Page, Program, http};

const EXPORTERS: [(&str, &str, &[&str], &str); 5] = [
    (
        "mysql-exporter",
        "mysql",
        &["--mysqld.address=127.0.0.1:1", "--mysqld.username=nobody"],
        include_str!("../../exporters/mysql/METRICS.md"),
    ),
    (
        "redis-exporter",
        "redis",
        &["--redis.addr=redis://127.0.0.1:1"],
        include_str!("../../exporters/redis/METRICS.md"),
    ),
    (
        "haproxy-exporter",
        "haproxy",
        &["--haproxy.scrape-uri=tcp://127.0.0.1:1"],
        include_str!("../../exporters/haproxy/METRICS.md"),
    ),
    (
        "nginx-exporter",
        "nginx",
        &["--nginx.scrape-uri=http://127.0.0.1:1/"],
        include_str!("../../exporters/nginx/METRICS.md"),
    ),
    (
        "backup-exporter",
        "backup",
        &["--backup.job=mysql:/nowhere/at/all"],
        include_str!("../../exporters/backup/METRICS.md"),
    ),
];

const OPENMETRICS: (&str, &str) =
    ("accept", "application/openmetrics-text;version=1.0.0;q=0.6,text/plain;version=0.0.4;q=0.3,*/*;q=0.2");
const SECOND: Duration = Duration::from_secs(1);

fn exporter(name: &str, target: &[&str]) -> Program {
    Program::exporter(name).args(target)
}

/// Names and labels of all series, without values.
fn series(page: &str) -> BTreeSet<&str> {
    page.lines().filter(|line| !line.starts_with('#')).filter_map(|line| Some(line.rsplit_once(' ')?.0)).collect()
}

#[tokio::test]
async fn both_formats_have_the_same_series_under_the_right_content_type() -> Result<(), Error> {
    for (name, namespace, target, _) in EXPORTERS {
        let exporter = exporter(name, target).start().await?;
        let text = http::get(&exporter.url("/metrics")).await?;
        assert_eq!(
            (text.status, text.header("content-type")),
            (200, "text/plain; version=0.0.4; charset=utf-8"),
            "{name}"
        );
        let openmetrics = http::get_with(&exporter.url("/metrics"), &[OPENMETRICS]).await?;
        assert_eq!(
            openmetrics.header("content-type"),
            "application/openmetrics-text; version=1.0.0; charset=utf-8",
            "{name}"
        );
        let (text, openmetrics) = (text.text(), openmetrics.text());
        assert!(openmetrics.ends_with("\n# EOF\n") && !text.contains("# EOF"), "{name}");
        assert_eq!(series(&text), series(&openmetrics), "{name}");
        let page = Page::parse(&text)?;
        page.expect(&format!("{namespace}_up"), &[], 0.0)?;
        page.expect(&format!("{namespace}_health_status"), &[("status", "down")], 1.0)?;
        assert!(page.value("process_resident_memory_bytes", &[])? > 1e6, "{name}");
    }
    Ok(())
}

#[tokio::test]
async fn pages_are_compressed_as_asked() -> Result<(), Error> {
    for (name, _, target, _) in EXPORTERS {
        let exporter = exporter(name, target).start().await?;
        for (accept, encoding, magic) in [
            ("gzip", "gzip", &[0x1f, 0x8b][..]),
            ("gzip, zstd", "zstd", &[0x28, 0xb5, 0x2f, 0xfd]),
            ("br", "", b"# HELP"),
        ] {
            let reply = http::get_with(&exporter.url("/metrics"), &[("accept-encoding", accept)]).await?;
            assert_eq!(reply.header("content-encoding"), encoding, "{name}");
            assert!(reply.body.starts_with(magic), "{name} {accept}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn healthcheck_needs_no_curl() -> Result<(), Error> {
    for (name, _, target, _) in EXPORTERS {
        let exporter = exporter(name, target).start().await?;
        let address = exporter.addresses()[0];
        let variable = format!("{}_WEB_LISTEN_ADDRESS", name.to_uppercase().replace('-', "_"));
        let healthcheck = async || {
            // By the variable, as in a container; every interface of this machine is loopback for the check.
            let address = format!(":{}", address.port());
            Program::new(name).env(&variable, address).arg("healthcheck").run(Duration::from_secs(10)).await
        };
        let healthy = healthcheck().await?;
        assert_eq!(healthy.code, Some(0), "{name}: {}", healthy.stderr);
        drop(exporter);
        let unhealthy = healthcheck().await?;
        assert_eq!(unhealthy.code, Some(1), "{name}: {}", unhealthy.stderr);
    }
    Ok(())
}

#[tokio::test]
async fn paths_respond_as_in_the_go_exporters() -> Result<(), Error> {
    for (name, _, target, _) in EXPORTERS {
        let exporter = exporter(name, target).start().await?;
        for (path, status, expected) in [
            ("/-/healthy", 200, "healthy"),
            ("/-/ready", 200, "ready"),
            ("/", 200, "<a href=\"/metrics\">"),
            ("/health", 503, "\"status\": \"down\""),
            ("/probe", 400, "target is missing"),
            ("/metrics?collect[]=nope", 400, "enabled are"),
            ("/metrics?collect[]=", 200, "_up 0"),
            ("/nowhere", 404, "not found"),
        ] {
            let reply = http::get(&exporter.url(path)).await?;
            assert_eq!(reply.status, status, "{name} {path}: {}", reply.text());
            assert!(reply.text().contains(expected), "{name} {path}: {}", reply.text());
        }
        let post = http::post_json(&exporter.url("/metrics"), &[], &serde_json::Value::Null).await?;
        assert_eq!((post.status, post.header("allow")), (405, "GET, HEAD"), "{name}");
        let health = http::get(&exporter.url("/health")).await?.json();
        assert!(health["reasons"][0].as_str().is_some_and(|reason| reason.len() > 20), "{name}: {health}");
    }
    Ok(())
}

#[tokio::test]
async fn metrics_md_is_what_the_program_prints() -> Result<(), Error> {
    for (name, _, _, committed) in EXPORTERS {
        let printed = Program::new(name).arg("--print-metrics").run(10 * SECOND).await?;
        assert_eq!(printed.code, Some(0), "{}", printed.stderr);
        assert_eq!(printed.stdout, committed, "{name} --print-metrics > its METRICS.md");
    }
    Ok(())
}

#[tokio::test]
async fn every_family_on_the_page_is_declared_with_a_help_and_a_unit_name() -> Result<(), Error> {
    for (name, _, target, committed) in EXPORTERS {
        let exporter = exporter(name, target).start().await?;
        let page = http::get(&exporter.url("/metrics")).await?.text();
        for family in Page::parse(&page)?.families().keys() {
            assert!(committed.contains(&format!("`{family}`")), "{family} of {name} is not in its METRICS.md");
            let help = page.lines().find_map(|line| line.strip_prefix(&format!("# HELP {family} ")));
            assert!(help.is_some_and(|help| help.len() > 10), "{family} of {name} has no help");
        }
    }
    Ok(())
}

#[tokio::test]
async fn flags_and_their_environment_variables() -> Result<(), Error> {
    let page = |text: String| Page::parse(&text);
    let success = |collector: &'static str| [("collector", collector)];
    let off = exporter("redis-exporter", EXPORTERS[1].2).arg("--no-collector.slowlog").start().await?;
    let off = page(http::get(&off.url("/metrics")).await?.text())?;
    assert!(off.matching("redis_exporter_collector_success", &success("slowlog")).is_empty());
    assert_eq!(off.matching("redis_exporter_collector_success", &success("info")).len(), 1);

    let environment = Program::exporter("redis-exporter")
        .env("REDIS_EXPORTER_WEB_TELEMETRY_PATH", "/series")
        .env("REDIS_EXPORTER_NO_COLLECTOR_SLOWLOG", "true")
        .env("REDIS_EXPORTER_LOG_FORMAT", "json")
        .env("REDIS_ADDR", "redis://127.0.0.1:1")
        .start()
        .await?;
    let series = page(http::get(&environment.url("/series")).await?.text())?;
    assert!(series.matching("redis_exporter_collector_success", &success("slowlog")).is_empty());
    assert_eq!(http::get(&environment.url("/metrics")).await?.status, 404);
    for line in environment.log().lines() {
        assert!(
            serde_json::from_str::<serde_json::Value>(line).is_ok_and(|entry| entry["level"].is_string()),
            "{line}"
        );
    }

    // The command line wins, and a variable without a value says nothing.
    let both = exporter("redis-exporter", EXPORTERS[1].2)
        .arg("--collector.slowlog")
        .env("REDIS_EXPORTER_NO_COLLECTOR_SLOWLOG", "1")
        .env("REDIS_EXPORTER_NO_COLLECTOR_LATENCY", "yes")
        .env("REDIS_EXPORTER_NO_COLLECTOR_INFO", "")
        .env("REDIS_EXPORTER_WEB_TELEMETRY_PATH", "")
        .start()
        .await?;
    let both = page(http::get(&both.url("/metrics")).await?.text())?;
    for (collector, series) in [("slowlog", 1), ("latency", 0), ("info", 1)] {
        assert_eq!(both.matching("redis_exporter_collector_success", &success(collector)).len(), series, "{collector}");
    }

    for (name, _, target, _) in EXPORTERS {
        let help = Program::new(name).arg("--help").run(10 * SECOND).await?.stdout;
        for flag in [
            "--web.listen-address",
            "--web.telemetry-path",
            "--web.config.file",
            "--web.systemd-socket",
            "--log.format",
            "--collector.",
            "--timeout-offset",
        ] {
            assert!(help.contains(flag), "{name} --help does not tell of {flag}");
        }
        let wrong = Program::new(name).args(target).arg("--web.listen-address=256.0.0.1:x").run(10 * SECOND).await?;
        assert_eq!(wrong.code, Some(2), "{name}");
        let expected = "invalid value '256.0.0.1:x' for '--web.listen-address <ADDRESS>'";
        assert!(wrong.stderr.contains(expected), "{name}: {}", wrong.stderr);
    }
    Ok(())
}

#[tokio::test]
async fn a_state_is_logged_when_it_changes_and_not_at_each_scrape() -> Result<(), Error> {
    for (name, _, target, _) in EXPORTERS {
        let exporter = exporter(name, target).start().await?;
        for _ in 0..5 {
            http::get(&exporter.url("/metrics")).await?;
        }
        exporter.logged("check connect", 1).await?;
    }
    Ok(())
}

#[tokio::test]
async fn sigterm_ends_a_kept_connection_and_the_program() -> Result<(), Error> {
    for (name, _, target, _) in EXPORTERS {
        let mut exporter = exporter(name, target).start().await?;
        let client = http::client(1).map_err(|error| Error::Series(error.to_string()))?;
        let kept = client.get(exporter.url("/-/healthy")).send().await;
        assert!(kept.is_ok_and(|reply| reply.status() == 200), "{name}");
        assert_eq!(exporter.stop().await?.code(), Some(0), "{name}");
    }
    Ok(())
}

#[tokio::test]
async fn a_probe_has_its_reason_in_the_debug_page_in_health_and_once_in_the_log() -> Result<(), Error> {
    let exporter = exporter("redis-exporter", EXPORTERS[1].2).start().await?;
    for _ in 0..3 {
        let page = http::get(&exporter.url("/probe?target=127.0.0.1:2")).await?;
        Page::parse(&page.text())?.expect("redis_up", &[], 0.0)?;
    }
    exporter.logged("probe failing", 1).await?;
    let debug = http::get(&exporter.url("/probe?target=127.0.0.1:2&debug=true")).await?;
    assert_eq!((debug.status, debug.header("content-type")), (200, "text/plain; charset=utf-8"));
    let text = debug.text();
    for part in ["Logs for the probe:", "check=connect status=fail", "refused", "probe failed", "\nredis_up 0\n"] {
        assert!(text.contains(part), "{part} is not in {text}");
    }
    let health = http::get(&exporter.url("/health?target=127.0.0.1:2")).await?;
    assert_eq!((health.status, &health.json()["target"]), (503, &"redis://127.0.0.1:2".into()));
    Ok(())
}

#[tokio::test]
async fn probes_reach_what_the_operator_permits() -> Result<(), Error> {
    let mysql = exporter("mysql-exporter", EXPORTERS[0].2).start().await?;
    let redis = exporter("redis-exporter", EXPORTERS[1].2).start().await?;
    let listed =
        exporter("redis-exporter", EXPORTERS[1].2).arg("--probe.targets=127.0.0.0/8:2,unix:/run/*").start().await?;
    let off = exporter("redis-exporter", EXPORTERS[1].2).arg("--no-probe").start().await?;
    for (exporter, target, status) in [
        // It would log in.
        (&mysql, "127.0.0.1:2", 403),
        (&mysql, "127.0.0.1:1", 200),
        (&redis, "127.0.0.1:2", 200),
        (&redis, "unix:///run/x", 403),
        (&listed, "127.9.9.9:2", 200),
        (&listed, "127.9.9.9:3", 403),
        (&listed, "localhost:2", 403),
        (&listed, "unix:///run/x", 200),
        (&listed, "unix:///run/../etc/x", 403),
        (&listed, "127.0.0.1:1", 200),
        (&off, "127.0.0.1:1", 403),
    ] {
        for path in ["probe", "health"] {
            let reply = http::get(&exporter.url(&format!("/{path}?target={target}"))).await?;
            let expected = if path == "health" && status == 200 { 503 } else { status };
            assert_eq!(reply.status, expected, "{path} {target}: {}", reply.text());
            assert!(status == 200 || reply.text().contains("probe"), "{target}: {}", reply.text());
        }
    }
    Ok(())
}

#[tokio::test]
async fn the_flags_of_the_go_toolkit() -> Result<(), Error> {
    let silent = Fake::start(Behaviour::Silence).await?;
    let exporter = Program::exporter("redis-exporter")
        .arg(format!("--redis.addr=redis://{}", silent.address()))
        .args(["--web.max-requests=1", "--web.disable-exporter-metrics"])
        .start()
        .await?;
    let get = async || http::get_with(&exporter.url("/metrics"), &[("x-prometheus-scrape-timeout-seconds", "2")]).await;
    let (one, other) = futures::join!(get(), get());
    let mut replies = [one?, other?];
    replies.sort_by_key(|reply| reply.status);
    assert_eq!([replies[0].status, replies[1].status], [200, 503]);
    assert_eq!(replies[1].text(), "limit of concurrent requests reached (1), try again later\n");
    assert!(!replies[0].text().contains("process_"), "{}", replies[0].text());
    let vsock = Program::new("redis-exporter").arg("--web.listen-address=vsock://:1").run(10 * SECOND).await?;
    assert_eq!(vsock.code, Some(2));
    assert!(vsock.stderr.contains("vsock is not supported"), "{}", vsock.stderr);
    Ok(())
}

#[tokio::test]
async fn promtool_accepts_the_pages() -> Result<(), Error> {
    for (name, _, target, _) in EXPORTERS {
        let exporter = exporter(name, target).start().await?;
        let page = http::get(&exporter.url("/metrics")).await?.text();
        let mut promtool = Launch::installed(&["promtool"])?.args(["check", "metrics"]).wrapped(&[]);
        promtool.stdin(Stdio::piped());
        let complaints = medassist_tests::launch::run(&mut promtool, "promtool", &page)?;
        assert_eq!(complaints, "", "{name}");
    }
    Ok(())
}
