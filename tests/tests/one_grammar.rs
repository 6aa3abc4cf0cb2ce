//! A flag's value means the same in every program: durations, addresses and password files.
#![allow(clippy::unwrap_used, reason = "an unwrap in a test is its report")]

use std::time::Duration;

use medassist_tests::testbed::{Database, Page, Program, Redis, RunningProgram, eventually, http};

const DEADLINE: Duration = Duration::from_secs(30);

/// Each program with a duration, and the flags that it needs before it reads that one.
const DURATIONS: [(&str, &[&str], &str); 8] = [
    ("mysql-exporter", &[], "--timeout-offset"),
    ("mysql-exporter", &[], "--exporter.query_timeout"),
    ("redis-exporter", &[], "--timeout-offset"),
    ("haproxy-exporter", &["--haproxy.scrape-uri=unix:/nowhere"], "--haproxy.timeout"),
    ("backup-exporter", &["--backup.job=mysql:/nowhere"], "--backup.rpo"),
    ("backup-exporter", &["--backup.job=mysql:/nowhere"], "--backup.stable-for"),
    ("medassist-api", &[], "--drain.delay"),
    ("mysql-backup", &["--backup.directory=/nowhere"], "--backup.timeout"),
];

#[tokio::test]
async fn durations_have_the_same_spellings_in_every_program() {
    for (program, flags, flag) in DURATIONS {
        let with = |value: &str| Program::new(program).args(flags.iter().copied()).arg(format!("{flag}={value}"));
        for good in ["3", "0.25", "500ms", "30s", "15m", "1h30m", "1d"] {
            // The level is read after the duration, and stops the start.
            let run = with(good).arg("--log.level=nonsense").run(DEADLINE).await.unwrap();
            assert_eq!(run.code, Some(2), "{program} {flag}={good}: {}", run.stderr);
            assert!(run.stderr.contains("nonsense"), "{program} {flag}={good}: {}", run.stderr);
        }
        for bad in ["soon", "1w", "-1s", "5 s", "30m1h"] {
            let run = with(bad).run(DEADLINE).await.unwrap();
            assert_ne!(run.code, Some(0), "{program} {flag}={bad}: {}", run.stderr);
            let names_the_flag = run.stderr.contains(flag);
            assert!(names_the_flag && run.stderr.contains("expected a duration"), "{program}: {}", run.stderr);
        }
    }
}

async fn is_up(program: &RunningProgram, path: &str, sample: (&str, &[(&str, &str)])) {
    let url = program.url(path);
    let what = format!("{url} has {} 1", sample.0);
    let up = eventually(DEADLINE, &what, async || {
        let page = Page::parse(&http::get(&url).await?.text())?;
        page.expect(sample.0, sample.1, 1.0)
    });
    up.await.unwrap();
}

/// `localhost`, and a password file as an editor on Windows leaves it.
#[tokio::test]
async fn a_name_and_a_password_file_with_crlf_work_in_every_program() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("password");
    std::fs::write(&file, "s e;cret\r\n").unwrap();
    let password_file = |flag: &str| format!("{flag}={}", file.display());
    let (db, redis) = tokio::try_join!(Database::start(), Redis::start_with(&["--requirepass", "s e;cret"])).unwrap();
    db.sql(
        "CREATE DATABASE medassist; CREATE TABLE medassist.t (id INT PRIMARY KEY);
         CREATE USER medassist@'localhost' IDENTIFIED BY 's e;cret'; GRANT ALL ON *.* TO medassist@'localhost';
         CREATE USER medassist@'127.0.0.1' IDENTIFIED BY 's e;cret'; GRANT ALL ON *.* TO medassist@'127.0.0.1'",
    )
    .unwrap();
    let mysql = format!("localhost:{}", db.address().port());
    let cache = format!("localhost:{}", redis.address().port());

    let exporter = Program::exporter("mysql-exporter")
        .args([format!("--mysqld.address={mysql}"), password_file("--mysqld.password-file")])
        .arg("--mysqld.username=medassist");
    is_up(&exporter.start().await.unwrap(), "/metrics", ("mysql_up", &[])).await;

    let exporter = Program::exporter("redis-exporter")
        .args([format!("--redis.addr=redis://{cache}"), password_file("--redis.password-file")]);
    is_up(&exporter.start().await.unwrap(), "/metrics", ("redis_up", &[])).await;

    let api = Program::api().args([
        format!("--mysql.address={mysql}"),
        format!("--redis.address={cache}"),
        password_file("--mysql.password-file"),
        password_file("--redis.password-file"),
    ]);
    let api = api.start().await.unwrap();
    let url = api.url("/health");
    let healthy = eventually(DEADLINE, "the API reaches both stores", async || {
        let reply = http::get(&url).await.map_err(|error| error.to_string())?;
        if reply.json()["status"] == "healthy" { Ok(()) } else { Err(reply.text()) }
    });
    healthy.await.unwrap();

    let backups = home.path().join("backups");
    std::fs::create_dir(&backups).unwrap();
    let job = Program::new("mysql-backup")
        .args([format!("--mysql.address={mysql}"), password_file("--mysql.password-file")])
        .arg(format!("--backup.directory={}", backups.display()))
        .args(["--mysql.user=medassist", "--backup.databases=medassist"]);
    let run = job.run(DEADLINE).await.unwrap();
    assert_eq!(run.code, Some(0), "{}", run.stderr);
}
