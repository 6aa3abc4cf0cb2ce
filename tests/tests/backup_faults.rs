//! `mysql-backup` where something is wrong: with an object, with the account, with the storage, with the clock.
#![allow(clippy::unwrap_used, reason = "an unwrap in a test is its report")]

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use medassist_tests::database::Flavour;
use medassist_tests::testbed::backup::{DEADLINE, NAME, Site};
use medassist_tests::testbed::{Behaviour, Database, Fake, eventually};
use mysql_async::prelude::Queryable as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

const FLAVOURS: [Flavour; 3] = [Flavour::MariaDb, Flavour::MariaDb11, Flavour::MySql];

const TWO: &str = "
    CREATE DATABASE a; CREATE TABLE a.t (id INT PRIMARY KEY); INSERT INTO a.t VALUES (1), (2);
    CREATE DATABASE b; CREATE TABLE b.t (id INT PRIMARY KEY); INSERT INTO b.t VALUES (3);
";

#[tokio::test]
async fn a_broken_view_costs_nothing_but_itself() {
    for flavour in FLAVOURS {
        let broken = "CREATE TABLE a.gone (id INT); CREATE VIEW a.broken AS SELECT id FROM a.gone; DROP TABLE a.gone";
        let site = Site::start(flavour, &[], &format!("{TWO}; {broken}")).await.unwrap();
        let finished = site.run(&[]).await.unwrap();
        assert_eq!(finished.code, Some(3), "{}", finished.stderr);
        let manifest = site.manifests().remove(0);
        assert_eq!(manifest["result"], "partial");
        let omitted = &manifest["databases"][0]["omitted"][0];
        assert_eq!((omitted["kind"].as_str(), omitted["name"].as_str()), (Some("view"), Some("broken")));
        assert!(omitted["message"].as_str().unwrap().contains("error 1356 (ER_VIEW_INVALID)"), "{omitted}");
        let target = Database::start_as::<&str>(flavour, &[]).await.unwrap();
        let restored = site.restore(target.socket(), &[]).await.unwrap();
        assert_eq!(restored.code, Some(0), "{} {}", restored.stdout, restored.stderr);
        assert_eq!(target.sql("SELECT (SELECT SUM(id) FROM a.t), (SELECT SUM(id) FROM b.t)").unwrap().trim(), "3\t3");
    }
}

#[tokio::test]
async fn a_database_that_cannot_be_dumped_costs_no_other_one() {
    let crashed =
        "CREATE TABLE a.crashed (id INT PRIMARY KEY) ENGINE=MyISAM; INSERT INTO a.crashed VALUES (1), (2), (3)";
    let mut site =
        Site::start(Flavour::MariaDb, &["--myisam-recover-options=OFF"], &format!("{TWO}; {crashed}")).await.unwrap();
    let data = site.db.directory().join("data/a");
    site.db.stop().await.unwrap();
    std::fs::write(data.join("crashed.MYI"), vec![0; 1024]).unwrap();
    site.db.restart().await.unwrap();
    let finished = site.run(&[]).await.unwrap();
    assert_eq!(finished.code, Some(3), "{}", finished.stderr);
    let manifest = site.manifests().remove(0);
    assert_eq!(manifest["result"], "partial");
    assert_eq!(manifest["failed_databases"][0]["name"], "a", "{manifest}");
    let names: Vec<&str> =
        manifest["databases"].as_array().unwrap().iter().map(|database| database["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["b"]);
    // Alone, it is a failed run.
    let finished = site.run(&["--backup.databases=a"]).await.unwrap();
    assert_eq!(finished.code, Some(1), "{}", finished.stderr);
}

#[tokio::test]
async fn a_directory_that_is_not_a_database_is_left_out_and_named() {
    let site = Site::start(Flavour::MariaDb, &[], TWO).await.unwrap();
    std::fs::create_dir(site.db.directory().join("data/lost+found")).unwrap();
    assert_eq!(site.run(&[]).await.unwrap().code, Some(0));
    let warning = site.manifests()[0]["warnings"][0].clone();
    assert_eq!((&warning["kind"], &warning["objects"][0]), (&"not_a_database".into(), &"lost+found".into()));
    let target = Database::start().await.unwrap();
    assert_eq!(site.restore(target.socket(), &[]).await.unwrap().code, Some(0));
}

#[tokio::test]
async fn a_system_database_is_refused_with_advice() {
    let site = Site::start(Flavour::MySql, &[], TWO).await.unwrap();
    let finished = site.run(&["--backup.databases=mysql"]).await.unwrap();
    assert_eq!(finished.code, Some(1));
    assert!(finished.stderr.contains("users and grants are in every backup"), "{}", finished.stderr);
}

/// A row that needs a packet larger than the server's default: its dump is twice as long.
#[tokio::test]
async fn a_large_row_comes_back_and_is_warned_of() {
    for (flavour, mebibytes) in [(Flavour::MariaDb, 9), (Flavour::MySql, 36)] {
        let log = if flavour.is_mariadb() { "--innodb-log-file-size=256M" } else { "--innodb-redo-log-capacity=512M" };
        let site = Site::start(flavour, &[log], "CREATE DATABASE a; CREATE TABLE a.t (b LONGBLOB)").await.unwrap();
        site.db.sql("SET GLOBAL max_allowed_packet = 1073741824").unwrap();
        site.db.sql(&format!("INSERT INTO a.t VALUES (REPEAT(x'00FF', {mebibytes} << 19))")).unwrap();
        let default = if flavour.is_mariadb() { 16 << 20 } else { 64 << 20 };
        site.db.sql(&format!("SET GLOBAL max_allowed_packet = {default}")).unwrap();
        let finished = site.run(&[]).await.unwrap();
        assert_eq!(finished.code, Some(0), "{}", finished.stderr);
        let manifest = site.manifests().remove(0);
        assert!(manifest["file"]["longest_statement_bytes"].as_u64().unwrap() > 2 * (mebibytes << 20));
        let warnings = manifest["warnings"].as_array().unwrap();
        assert!(warnings.iter().any(|warning| warning["kind"] == "large_statement"), "{warnings:?}");
        // On the very server.
        let restored = site.restore(site.db.socket(), &["--overwrite"]).await.unwrap();
        assert_eq!(restored.code, Some(0), "{} {}", restored.stdout, restored.stderr);
        let length = site.db.sql("SELECT LENGTH(b) FROM a.t").unwrap();
        assert_eq!(length.trim(), (mebibytes << 20).to_string());
        assert_eq!(site.db.sql("SELECT @@global.max_allowed_packet").unwrap().trim(), default.to_string());
    }
}

/// MySQL with GTID: the dump does not wait for a long query, and hides no restore from replicas.
#[tokio::test]
async fn a_backup_of_mysql_with_gtid_stalls_nobody() {
    let gtid = ["--log-bin=binlog", "--server-id=1", "--gtid-mode=ON", "--enforce-gtid-consistency=ON"];
    let site = Site::start(Flavour::MySql, &gtid, TWO).await.unwrap();
    let url = format!("mysql://root@{}/a?prefer_socket=false", site.db.address());
    site.db.sql("CREATE USER root@'127.0.0.1'; GRANT ALL ON *.* TO root@'127.0.0.1'").unwrap();
    let mut report = mysql_async::Conn::from_url(url).await.unwrap();
    let slow = tokio::spawn(async move { report.query_drop("SELECT COUNT(*), SLEEP(20) FROM t").await });
    let finished = site.run(&[]).await.unwrap();
    assert_eq!(finished.code, Some(0), "{}", finished.stderr);
    assert!(!slow.is_finished(), "the backup did not wait for the report");
    slow.abort();
    assert!(site.manifests()[0]["coordinates"]["gtid"].as_str().unwrap().contains(":1-"));
    let text = Command::new("zstd").arg("-dc").arg(site.backup()).output().unwrap().stdout;
    assert!(!String::from_utf8_lossy(&text).contains("SQL_LOG_BIN"));
}

#[tokio::test]
async fn a_restore_on_a_primary_reaches_its_replica() {
    for flavour in [Flavour::MariaDb, Flavour::MySql] {
        let gtid = ["--gtid-mode=ON", "--enforce-gtid-consistency=ON"];
        let gtid = if flavour.is_mariadb() { &gtid[..0] } else { &gtid[..] };
        let site = Site::start(flavour, &[&["--log-bin=binlog", "--server-id=1"], gtid].concat(), TWO).await.unwrap();
        let replica =
            Database::start_as(flavour, &[&["--server-id=2", "--log-bin=binlog"], gtid].concat()).await.unwrap();
        assert_eq!(site.run(&[]).await.unwrap().code, Some(0));
        site.db.sql("CREATE USER repl@'127.0.0.1'; GRANT REPLICATION SLAVE ON *.* TO repl@'127.0.0.1'").unwrap();
        let port = site.db.address().port();
        let change = if flavour.is_mariadb() {
            format!(
                "CHANGE MASTER TO master_host='127.0.0.1', master_port={port}, master_user='repl', master_use_gtid=slave_pos"
            )
        } else {
            format!(
                "CHANGE REPLICATION SOURCE TO source_host='127.0.0.1', source_port={port}, source_user='repl', \
                 source_auto_position=1, get_source_public_key=1"
            )
        };
        replica.sql(&format!("{change}; START REPLICA")).unwrap();
        let sum = "SELECT COALESCE(SUM(id), 0) FROM a.t";
        let equal = async |expected: &str| {
            eventually(DEADLINE, "the replica has the rows", async || match replica.sql(sum) {
                Ok(found) if found.trim() == expected => Ok(()),
                Ok(found) => Err(found),
                Err(error) => Err(error.to_string()),
            })
            .await
            .unwrap();
        };
        equal("3").await;
        site.db.sql("DELETE FROM a.t; INSERT INTO a.t VALUES (9)").unwrap();
        equal("9").await;
        // Without the binary log it would part from its primary, so that is refused.
        let refused = site.restore(site.db.socket(), &["--overwrite", "--binlog=skip"]).await.unwrap();
        assert_eq!(refused.code, Some(4), "{}", refused.stderr);
        let restored = site.restore(site.db.socket(), &["--overwrite"]).await.unwrap();
        assert_eq!(restored.code, Some(0), "{} {}", restored.stdout, restored.stderr);
        equal("3").await;
        site.db.sql("INSERT INTO a.t VALUES (10)").unwrap();
        equal("13").await;
    }
}

#[tokio::test]
async fn a_killed_job_leaves_neither_its_client_nor_a_password() {
    for flavour in FLAVOURS {
        let site = Site::start(flavour, &[], TWO).await.unwrap();
        let held = site.db.sql("CREATE USER root@'127.0.0.1'; GRANT ALL ON *.* TO root@'127.0.0.1'");
        // MariaDB has this user already.
        assert!(held.is_ok() || flavour.is_mariadb());
        let url = format!("mysql://root@{}/a?prefer_socket=false", site.db.address());
        let mut held = mysql_async::Conn::from_url(url).await.unwrap();
        held.query_drop("LOCK TABLES b.t WRITE").await.unwrap();
        let mut job = site.job("run").unwrap().start().await.unwrap();
        let query = "SELECT COUNT(*) FROM information_schema.PROCESSLIST WHERE USER = 'backup' \
                     AND STATE LIKE 'Waiting for table metadata lock%'";
        eventually(DEADLINE, "the client waits", async || match site.db.sql(query).unwrap().trim() {
            "1" => Ok(()),
            found => Err(format!("{found} sessions")),
        })
        .await
        .unwrap();
        assert_eq!(std::fs::read_dir(site.home.path().join("temporary")).unwrap().count(), 0, "{flavour:?}");
        assert!(processes_of(&site) >= 2, "the job and its client");
        job.kill().unwrap();
        eventually(DEADLINE, "the client is gone", async || match processes_of(&site) {
            0 => Ok(()),
            found => Err(format!("{found} processes")),
        })
        .await
        .unwrap();
        held.disconnect().await.unwrap();
        assert_eq!(site.run(&[]).await.unwrap().code, Some(0), "the next run cleans up");
        assert_eq!(site.files().len(), 2, "{:?}", site.files());
    }
}

/// Processes with this site's temporary directory in their environment.
fn processes_of(site: &Site) -> usize {
    let marker = format!("TMPDIR={}", site.home.path().display());
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    let environments = entries.filter_map(|entry| std::fs::read(entry.path().join("environ")).ok());
    environments.filter(|bytes| String::from_utf8_lossy(bytes).contains(&marker)).count()
}

#[tokio::test]
async fn a_hung_file_system_holds_neither_timeout_nor_signal() {
    let site = Site::start(Flavour::MariaDb, &[], TWO).await.unwrap();
    let fifo = site.home.path().join("fifo");
    assert!(Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    let password = site.home.path().join("password");
    std::fs::remove_file(&password).unwrap();
    std::fs::rename(&fifo, &password).unwrap();
    let finished = site.job("run").unwrap().arg("--backup.timeout=2s").run(DEADLINE).await.unwrap();
    assert_eq!(finished.code, Some(1), "{}", finished.stderr);
    assert!(finished.stderr.contains("reason=timeout"), "{}", finished.stderr);
    assert_eq!(site.manifests()[0]["reason"], "timeout", "the directory answers: the run is recorded");
    std::fs::remove_file(site.directory().join(format!(".{NAME}.lock"))).unwrap();
    let mut job = site.job("run").unwrap().start().await.unwrap();
    eventually(DEADLINE, "the job holds its lock", async || {
        let lock = site.directory().join(format!(".{NAME}.lock"));
        if lock.exists() { Ok(()) } else { Err("no lock") }
    })
    .await
    .unwrap();
    assert_eq!(job.stop().await.unwrap().code(), Some(1), "{}", job.log());
}

#[tokio::test]
async fn a_failed_slot_is_repeated_and_the_hooks_are_called() {
    let site = Site::start(Flavour::MariaDb, &[], TWO).await.unwrap();
    let answer = || Behaviour::HalfReplyOnRequest(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n".to_vec());
    let (success, failure) = (Fake::start(answer()).await.unwrap(), Fake::start(answer()).await.unwrap());
    let password = site.home.path().join("password");
    let right = std::fs::read(&password).unwrap();
    std::fs::write(&password, "wrong").unwrap();
    let mut job = site
        .job("schedule")
        .unwrap()
        .arg("--schedule.every=1h")
        .arg(format!("--on-success=http://{}/ping", success.address()))
        .arg(format!("--on-failure=http://{}/ping", failure.address()))
        .start()
        .await
        .unwrap();
    job.logged("retrying within the slot", 1).await.unwrap();
    std::fs::write(&password, right).unwrap();
    eventually(DEADLINE, "the run is repeated", async || {
        if job.log().contains("backup complete") { Ok(()) } else { Err(job.log()) }
    })
    .await
    .unwrap();
    job.hang_up().unwrap();
    job.logged("reload not needed", 1).await.unwrap();
    assert_eq!(job.stop().await.unwrap().code(), Some(0));
    let results: Vec<String> =
        site.manifests().iter().map(|manifest| manifest["result"].as_str().unwrap().to_owned()).collect();
    assert_eq!(results, ["failed", "ok"]);
    assert_eq!((success.accepted(), failure.accepted()), (1, 1));
}

#[tokio::test]
async fn a_server_that_requires_tls_is_backed_up_with_tls() {
    let site = Site::start(Flavour::MySql, &["--require-secure-transport=ON"], TWO).await.unwrap();
    let refused = site.run(&[]).await.unwrap();
    assert_eq!(refused.code, Some(1));
    assert!(refused.stderr.contains("it requires TLS: set --mysql.tls-ca"), "{}", refused.stderr);
    // The server's own authority, which does not name the host.
    let ca = format!("--mysql.tls-ca={}", site.db.directory().join("data/ca.pem").display());
    let unverified = site.run(&[&ca]).await.unwrap();
    assert_eq!(unverified.code, Some(1), "{}", unverified.stderr);
    let finished = site.run(&[&ca, "--mysql.tls-insecure-skip-verify"]).await.unwrap();
    assert_eq!(finished.code, Some(0), "{}", finished.stderr);
}

#[tokio::test]
async fn an_endless_answer_of_the_gateway_is_cut() {
    let site = Site::start(Flavour::MariaDb, &[], TWO).await.unwrap();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("--pushgateway.url=http://{}", listener.local_addr().unwrap());
    let sent = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        // An answer before the request would be refused as such.
        assert!(stream.read(&mut [0; 65536]).await.unwrap() > 0);
        stream.write_all(b"HTTP/1.1 500 Internal Server Error\r\n\r\n").await.unwrap();
        let mut sent = 0_u64;
        while stream.write_all(&[b'x'; 65536]).await.is_ok() {
            sent += 65536;
        }
        sent
    });
    let finished = site.run(&[&url]).await.unwrap();
    assert_eq!(finished.code, Some(0), "{}", finished.stderr);
    assert!(finished.stderr.contains("the answer is 500"), "{}", finished.stderr);
    // What fits into the sockets' buffers.
    let sent = sent.await.unwrap();
    assert!(sent < 32 << 20, "{sent} bytes");
}

#[tokio::test]
async fn a_leftover_that_cannot_be_removed_fails_no_run() {
    let site = Site::start(Flavour::MariaDb, &[], TWO).await.unwrap();
    std::fs::create_dir(site.directory().join(format!("{NAME}-20200101T000000Z.sql.zst.partial"))).unwrap();
    let finished = site.run(&[]).await.unwrap();
    assert_eq!(finished.code, Some(0), "{}", finished.stderr);
    assert!(finished.stderr.contains("a file of a killed run stays"), "{}", finished.stderr);
}

#[tokio::test]
async fn runs_while_the_clock_was_ahead_push_no_right_one_out() {
    let site = Site::start(Flavour::MariaDb, &[], TWO).await.unwrap();
    for _ in 0..2 {
        assert_eq!(site.run(&["--backup.keep=2"]).await.unwrap().code, Some(0));
    }
    // As two runs in 2038 would have left them.
    for (index, name) in site.files().into_iter().enumerate() {
        let path = site.directory().join(&name);
        let stamp = &name[NAME.len() + 1..NAME.len() + 17];
        let later = format!("203801{:02}T000000Z", 1 + index / 2);
        let target = site.directory().join(name.replace(stamp, &later));
        if name.ends_with(".json") {
            let moved = move_years(&std::fs::read_to_string(&path).unwrap(), stamp, &later);
            std::fs::write(&path, moved).unwrap();
        }
        std::fs::rename(path, target).unwrap();
    }
    for _ in 0..2 {
        assert_eq!(site.run(&["--backup.keep=2"]).await.unwrap().code, Some(0));
    }
    let stamps: Vec<bool> = site.files().iter().map(|name| name.contains("-2038")).collect();
    assert!(stamps.iter().all(|ahead| !ahead), "the two newest runs stay: {:?}", site.files());
}

/// A manifest of another time.
fn move_years(json: &str, stamp: &str, later: &str) -> String {
    let mut manifest: serde_json::Value = serde_json::from_str(json).unwrap();
    let time = format!("{}-{}-{}T00:00:00Z", &later[..4], &later[4..6], &later[6..8]);
    for field in ["started_at", "finished_at", "recovery_point"] {
        manifest[field] = time.clone().into();
    }
    manifest["file"]["name"] = manifest["file"]["name"].as_str().unwrap().replace(stamp, later).into();
    manifest.to_string()
}

#[tokio::test]
async fn sixty_kills_leave_no_lie_and_no_secret() {
    let rows = "CREATE DATABASE a; USE a; CREATE TABLE t (id INT PRIMARY KEY, t TEXT);
        INSERT INTO t SELECT seq, REPEAT(MD5(seq), 20) FROM seq_1_to_20000";
    let site = Site::start(Flavour::MariaDb, &[], rows).await.unwrap();
    let mut seed: u64 = 42;
    for _ in 0..60 {
        let mut job = site.job("run").unwrap().arg("--backup.keep=2").start().await.unwrap();
        // A linear congruential generator: the moments differ, and a failure can be repeated.
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let moment = Duration::from_millis((seed >> 33) % 600);
        let _ = tokio::time::timeout(moment, job.exited(DEADLINE)).await;
        let _ = job.kill();
        assert_eq!(std::fs::read_dir(site.home.path().join("temporary")).unwrap().count(), 0);
        for manifest in site.manifests() {
            if manifest["result"] == "ok" {
                let path = site.directory().join(manifest["file"]["name"].as_str().unwrap());
                assert_eq!(sha256(&path), manifest["file"]["sha256"].as_str().unwrap());
            }
        }
    }
    assert_eq!(site.run(&["--backup.keep=2"]).await.unwrap().code, Some(0));
    let unfinished: Vec<String> =
        site.files().into_iter().filter(|name| name.ends_with(".partial") || name.ends_with(".tmp")).collect();
    assert!(unfinished.is_empty(), "{unfinished:?}");
}

fn sha256(path: &Path) -> String {
    let output = Command::new("sha256sum").arg(path).output().unwrap();
    String::from_utf8_lossy(&output.stdout).split(' ').next().unwrap().to_owned()
}

#[tokio::test]
async fn what_the_clients_cannot_keep_is_warned_of() {
    let data = "CREATE DATABASE a; CREATE TABLE a.t (c VARCHAR(9) CHARACTER SET cp1251, l VARCHAR(9) CHARACTER SET latin1, \
                f FLOAT, d DOUBLE); CREATE TABLE a.m (id INT) ENGINE=MyISAM";
    let site = Site::start(Flavour::MariaDb, &[], data).await.unwrap();
    assert_eq!(site.run(&[]).await.unwrap().code, Some(0));
    let manifest = site.manifests().remove(0);
    let warnings = manifest["warnings"].as_array().unwrap();
    let objects = |kind: &str| {
        let warning = warnings.iter().find(|warning| warning["kind"] == kind);
        warning.map(|warning| warning["objects"].clone()).unwrap_or_default()
    };
    assert_eq!(objects("unmapped_characters"), serde_json::json!(["a.t.c"]));
    assert_eq!(objects("float_digits"), serde_json::json!(["a.t.f"]));
    assert_eq!(objects("no_snapshot"), serde_json::json!(["a.m"]));
}

#[tokio::test]
async fn a_lock_that_leads_elsewhere_is_not_followed() {
    let site = Site::start(Flavour::MariaDb, &[], TWO).await.unwrap();
    let elsewhere = site.home.path().join("elsewhere");
    std::os::unix::fs::symlink(&elsewhere, site.directory().join(format!(".{NAME}.lock"))).unwrap();
    let finished = site.run(&[]).await.unwrap();
    assert_eq!(finished.code, Some(1), "{}", finished.stderr);
    assert!(finished.stderr.contains("open the lock"), "{}", finished.stderr);
    assert!(!elsewhere.exists());
}
