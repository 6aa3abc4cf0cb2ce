//! Reloading: an exporter reads its files again at SIGHUP and at POST /-/reload, and says truthfully how that went.
#![allow(clippy::unwrap_used, reason = "an unwrap in a test is its report")]

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use medassist_tests::Error;
use medassist_tests::testbed::{
    Database, HaProxy, Page, Port, Program, Redis, Reply, RunningProgram, eventually, http,
};
use reqwest::Method;

const TIMEOUT: Duration = Duration::from_secs(20);

/// Program, what the names of the series about itself begin with, target.
const EXPORTERS: [(&str, &str, &[&str]); 5] = [
    ("mysql-exporter", "mysqld_exporter", &["--mysqld.address=127.0.0.1:1", "--mysqld.username=nobody"]),
    ("redis-exporter", "redis_exporter", &["--redis.addr=redis://127.0.0.1:1"]),
    ("haproxy-exporter", "haproxy_exporter", &["--haproxy.scrape-uri=tcp://127.0.0.1:1"]),
    ("nginx-exporter", "nginx_exporter", &["--nginx.scrape-uri=http://127.0.0.1:1/"]),
    ("backup-exporter", "backup_exporter", &["--backup.job=mysql:/nowhere/at/all"]),
];

async fn reload(exporter: &RunningProgram, method: Method) -> Result<Reply, Error> {
    Ok(http::request(method, &exporter.url("/-/reload"), &[], Vec::new(), TIMEOUT).await?)
}

async fn page(exporter: &RunningProgram) -> Result<Page, Error> {
    Page::parse(&http::get(&exporter.url("/metrics")).await?.text())
}

fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64()
}

/// The value of the timestamp, after a look at the other gauge.
fn last_success(page: &Page, prefix: &str, successful: f64) -> Result<f64, Error> {
    page.expect(&format!("{prefix}_config_last_reload_successful"), &[], successful)?;
    page.value(&format!("{prefix}_config_last_reload_success_timestamp_seconds"), &[])
}

fn log_lines(exporter: &RunningProgram, text: &str) -> usize {
    exporter.log().lines().filter(|line| line.contains(text)).count()
}

#[tokio::test]
async fn every_exporter_reloads_and_reports_when() -> Result<(), Error> {
    for (name, prefix, target) in EXPORTERS {
        let before = now();
        let exporter = Program::exporter(name).args(target).start().await?;
        let started = last_success(&page(&exporter).await?, prefix, 1.0)?;
        assert!((before - 1.0..=now()).contains(&started), "{name}: {started}");
        for method in [Method::GET, Method::HEAD, Method::DELETE] {
            let reply = reload(&exporter, method).await?;
            assert_eq!((reply.status, reply.header("allow")), (405, "POST, PUT"), "{name}");
        }
        assert_eq!(last_success(&page(&exporter).await?, prefix, 1.0)?, started, "{name}: GET reloads nothing");
        let mut last = started;
        for method in [Method::POST, Method::PUT] {
            let reply = reload(&exporter, method).await?;
            assert_eq!((reply.status, reply.text().as_str()), (200, "reloaded\n"), "{name}");
            let reloaded = last_success(&page(&exporter).await?, prefix, 1.0)?;
            assert!(reloaded > last, "{name}: {reloaded} after {last}");
            last = reloaded;
        }
        exporter.hang_up()?;
        eventually(TIMEOUT, "SIGHUP reloads", async || match last_success(&page(&exporter).await?, prefix, 1.0)? {
            time if time > last => Ok(()),
            time => Err(Error::Series(format!("{time}"))),
        })
        .await?;
        // One line a reload.
        exporter.logged("configuration reloaded", 3).await?;
    }
    Ok(())
}

#[tokio::test]
async fn mysql_exporter_takes_a_new_account_by_reload() -> Result<(), Error> {
    let db = Database::start().await?;
    db.sql("CREATE USER exporter@'127.0.0.1' IDENTIFIED BY 'one'; CREATE USER second@'127.0.0.1' IDENTIFIED BY 'two'")?;
    let directory = tempfile::tempdir().unwrap();
    let (ini, password) = (directory.path().join("my.cnf"), directory.path().join("password"));
    std::fs::write(&ini, "[client]\nuser=exporter\n").unwrap();
    std::fs::write(&password, "one\n").unwrap();
    let exporter = Program::exporter("mysql-exporter")
        .arg(format!("--config.my-cnf={}", ini.display()))
        .arg(format!("--mysqld.password-file={}", password.display()))
        .arg(format!("--mysqld.address={}", db.address()))
        .start()
        .await?;
    let users =
        || db.sql("SELECT DISTINCT user FROM information_schema.processlist WHERE user IN ('exporter', 'second')");
    let probe =
        async || Page::parse(&http::get(&exporter.url(&format!("/probe?target={}", db.address()))).await?.text());
    page(&exporter).await?.expect("mysql_up", &[], 1.0)?;
    probe().await?.expect("mysql_up", &[], 1.0)?;

    // The password file alone.
    db.sql("SET PASSWORD FOR exporter@'127.0.0.1' = PASSWORD('three')")?;
    std::fs::write(&password, "three\n").unwrap();
    assert_eq!(reload(&exporter, Method::POST).await?.status, 200);
    page(&exporter).await?.expect("mysql_up", &[], 1.0)?;
    probe().await?.expect("mysql_up", &[], 1.0)?;

    // Files that are wrong change nothing, and the answer names what is wrong.
    let good = last_success(&page(&exporter).await?, "mysqld_exporter", 1.0)?;
    std::fs::write(&ini, "[client\nuser=nobody\n").unwrap();
    let refused = reload(&exporter, Method::POST).await?;
    assert_eq!(refused.status, 500);
    let text = refused.text();
    assert!(text.ends_with("my.cnf:1: ] is missing\n") && text.lines().count() == 1, "{text:?}");
    let after = page(&exporter).await?;
    after.expect("mysql_up", &[], 1.0)?;
    assert_eq!(last_success(&after, "mysqld_exporter", 0.0)?, good);
    std::fs::write(&ini, "[client]\nuser=second\npassword=two\n").unwrap();
    std::fs::remove_file(&password).unwrap();
    exporter.hang_up()?;
    eventually(TIMEOUT, "the log names the missing file", async || {
        match log_lines(&exporter, "--mysqld.password-file=") {
            1 => Ok(()),
            lines => Err(format!("{lines} lines")),
        }
    })
    .await?;
    page(&exporter).await?.expect("mysql_up", &[], 1.0)?;
    assert_eq!(users()?.trim(), "exporter");

    // Another account, and another address, by SIGHUP: nothing of the old one stays open.
    std::fs::write(&password, "unused\n").unwrap();
    std::fs::write(&ini, format!("[client]\nuser=second\npassword=two\nsocket={}\n", db.socket().display())).unwrap();
    db.sql("CREATE USER second@localhost IDENTIFIED BY 'two'")?;
    exporter.hang_up()?;
    eventually(TIMEOUT, "the new account is in force", async || {
        let page = page(&exporter).await?;
        page.expect("mysqld_exporter_config_last_reload_successful", &[], 1.0)
    })
    .await?;
    page(&exporter).await?.expect("mysql_up", &[], 1.0)?;
    eventually(TIMEOUT, "the old account's connections are closed", async || match users()?.trim() {
        "second" => Ok(()),
        users => Err(Error::Series(users.to_owned())),
    })
    .await?;
    assert!(http::get(&exporter.url("/")).await?.text().contains("unix://"), "the landing page names the new address");
    for secret in ["one", "two", "three"] {
        assert!(!exporter.log().contains(&format!("{secret}\"")), "{}", exporter.log());
    }
    Ok(())
}

#[tokio::test]
async fn a_scrape_that_runs_keeps_the_old_account_and_the_next_one_has_the_new() -> Result<(), Error> {
    let db = Database::start().await?;
    db.sql("CREATE USER exporter@'127.0.0.1' IDENTIFIED BY 'one'; CREATE USER second@'127.0.0.1' IDENTIFIED BY 'two'")?;
    let directory = tempfile::tempdir().unwrap();
    let ini = directory.path().join("my.cnf");
    std::fs::write(&ini, "[client]\nuser=exporter\npassword=one\n").unwrap();
    let exporter = Program::exporter("mysql-exporter")
        .arg(format!("--config.my-cnf={}", ini.display()))
        .arg(format!("--mysqld.address={}", db.address()))
        .start()
        .await?;
    page(&exporter).await?.expect("mysql_up", &[], 1.0)?;
    let idle = open_files(&exporter);
    db.pause()?;
    let metrics = exporter.url("/metrics");
    let running = async { http::get(&metrics).await };
    let second = async {
        eventually(TIMEOUT, "the scrape has come", async || match open_files(&exporter) {
            files if files > idle => Ok(()),
            files => Err(files.to_string()),
        })
        .await?;
        std::fs::write(&ini, "[client]\nuser=second\npassword=two\n").unwrap();
        assert_eq!(reload(&exporter, Method::POST).await?.status, 200, "a hung server does not hold a reload");
        let next = async { http::get(&metrics).await };
        let resume = async { db.resume() };
        let (next, resumed) = futures::join!(next, resume);
        resumed?;
        Ok::<_, Error>(next?)
    };
    let (running, next) = futures::join!(running, second);
    for reply in [running?, next?] {
        Page::parse(&reply.text())?.expect("mysql_up", &[], 1.0)?;
    }
    let users =
        db.sql("SELECT DISTINCT user FROM information_schema.processlist WHERE user IN ('exporter', 'second')")?;
    assert_eq!(users.trim(), "second", "the scrape after the reload shared the one before it");
    Ok(())
}

fn open_files(exporter: &RunningProgram) -> usize {
    exporter.pid().and_then(|pid| Some(std::fs::read_dir(format!("/proc/{pid}/fd")).ok()?.count())).unwrap_or_default()
}

#[tokio::test]
async fn redis_exporter_takes_a_new_password_by_reload() -> Result<(), Error> {
    let redis = Redis::start_with(&["--requirepass", "one"]).await?;
    let directory = tempfile::tempdir().unwrap();
    let password = directory.path().join("password");
    std::fs::write(&password, "one\n").unwrap();
    let exporter = Program::exporter("redis-exporter")
        .arg(format!("--redis.addr=redis://{}", redis.address()))
        .arg(format!("--redis.password-file={}", password.display()))
        .start()
        .await?;
    page(&exporter).await?.expect("redis_up", &[], 1.0)?;
    // What is wrong shows at the reload and not before: the connection that is open stays.
    std::fs::write(&password, "wrong\n").unwrap();
    page(&exporter).await?.expect("redis_up", &[], 1.0)?;
    assert_eq!(reload(&exporter, Method::POST).await?.status, 200);
    page(&exporter).await?.expect("redis_up", &[], 0.0)?;
    std::fs::write(&password, "one\n").unwrap();
    assert_eq!(reload(&exporter, Method::POST).await?.status, 200);
    page(&exporter).await?.expect("redis_up", &[], 1.0)?;
    std::fs::remove_file(&password).unwrap();
    let refused = reload(&exporter, Method::POST).await?;
    assert!(refused.status == 500 && refused.text().contains("--redis.password-file"), "{}", refused.text());
    page(&exporter).await?.expect("redis_up", &[], 1.0)?;
    Ok(())
}

#[tokio::test]
async fn haproxy_exporter_takes_a_new_password_by_reload() -> Result<(), Error> {
    let port = Port::lease()?;
    let address = port.address();
    let _haproxy = HaProxy::start(&format!(
        "defaults\n    mode http\n    timeout connect 1s\n    timeout client 5s\n    timeout server 5s\n\
         frontend stats\n    bind {address}\n    stats enable\n    stats uri /stats\n    stats auth me:right\n"
    ))
    .await?;
    let directory = tempfile::tempdir().unwrap();
    let password = directory.path().join("password");
    std::fs::write(&password, "wrong").unwrap();
    let exporter = Program::exporter("haproxy-exporter")
        .arg(format!("--haproxy.scrape-uri=http://me@{address}/stats;csv"))
        .arg(format!("--haproxy.password-file={}", password.display()))
        .start()
        .await?;
    page(&exporter).await?.expect("haproxy_up", &[], 0.0)?;
    std::fs::write(&password, "right").unwrap();
    assert_eq!(reload(&exporter, Method::POST).await?.status, 200);
    page(&exporter).await?.expect("haproxy_up", &[], 1.0)?;
    std::fs::remove_file(&password).unwrap();
    let refused = reload(&exporter, Method::POST).await?;
    assert!(refused.status == 500 && refused.text().contains("--haproxy.password-file="), "{}", refused.text());
    page(&exporter).await?.expect("haproxy_up", &[], 1.0)?;
    Ok(())
}
