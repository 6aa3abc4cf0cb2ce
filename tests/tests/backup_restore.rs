//! `mysql-backup`: what all three servers can hold comes back equal, and what would not is refused or named.
#![allow(clippy::unwrap_used, reason = "an unwrap in a test is its report")]

use medassist_tests::database::Flavour;
use medassist_tests::testbed::backup::{DEADLINE, NAME, Site};
use medassist_tests::testbed::{Database, eventually};
use mysql_async::prelude::Queryable as _;

const FLAVOURS: [Flavour; 3] = [Flavour::MariaDb, Flavour::MariaDb11, Flavour::MySql];

const COMMON: &str = include_str!("../fixtures/everything.sql");
const MARIADB: &str = include_str!("../fixtures/everything_mariadb.sql");
const MYSQL: &str = include_str!("../fixtures/everything_mysql.sql");
const QUERIES: &str = include_str!("../fixtures/everything_queries.sql");

fn everything(flavour: Flavour) -> String {
    format!("{COMMON}\n{}", if flavour.is_mariadb() { MARIADB } else { MYSQL })
}

/// The answers of a server to all queries that it understands: those of one flavour are marked.
fn answers(db: &Database) -> Vec<(String, String)> {
    let other = if db.flavour().is_mariadb() { "-- mysql" } else { "-- mariadb" };
    let queries = QUERIES.lines().filter(|line| !line.is_empty() && !line.starts_with("-- ") && !line.ends_with(other));
    let answer = |query: &str| {
        let answer = db.sql(query);
        assert!(answer.is_ok(), "{query}: {answer:?}");
        (query.to_owned(), answer.unwrap())
    };
    queries.map(answer).collect()
}

async fn everything_comes_back(flavour: Flavour) {
    let site = Site::start(flavour, &["--log-bin=binlog", "--server-id=1"], &everything(flavour)).await.unwrap();
    let finished = site.run(&[]).await.unwrap();
    assert_eq!(finished.code, Some(0), "{}", finished.stderr);
    let manifest = site.manifests().remove(0);
    assert_eq!(manifest["result"], "ok");
    assert_eq!(manifest["coordinates"]["exact"], true, "{manifest}");
    let kinds: Vec<&str> =
        manifest["warnings"].as_array().unwrap().iter().map(|warning| warning["kind"].as_str().unwrap()).collect();
    assert!(kinds.contains(&"float_digits") && !kinds.contains(&"accounts_missing"), "{kinds:?}");

    // A server as it is installed: a small packet, a binary log, no accounts.
    let target = Database::start_as(flavour, &["--log-bin=binlog", "--server-id=2"]).await.unwrap();
    let small = "SET GLOBAL max_allowed_packet = 1048576; SELECT @@global.max_allowed_packet";
    assert_eq!(target.sql(small).unwrap().trim(), "1048576");
    let restored = site.restore(target.socket(), &[]).await.unwrap();
    assert_eq!(restored.code, Some(0), "{} {}", restored.stdout, restored.stderr);
    assert!(restored.stdout.contains("recovery point: 20"), "{}", restored.stdout);

    // What was raised for the load is reset.
    let variables = "SELECT @@global.max_allowed_packet, @@global.log_bin_trust_function_creators";
    assert_eq!(target.sql(variables).unwrap().trim(), "1048576\t0");
    target.sql("SET GLOBAL max_allowed_packet = 67108864").unwrap();
    let (saved, found) = (answers(&site.db), answers(&target));
    for (saved, found) in saved.iter().zip(&found) {
        assert_eq!(saved, found);
    }
    assert!(saved.iter().filter(|(_, answer)| !answer.trim().is_empty()).count() > 20);

    // Again: refused, and nothing is changed.
    let refused = site.restore(target.socket(), &[]).await.unwrap();
    assert_eq!(refused.code, Some(4), "{}", refused.stderr);
    assert!(refused.stderr.contains("already: use --as to restore under another name"), "{}", refused.stderr);
    let again = site.restore(target.socket(), &["--overwrite"]).await.unwrap();
    assert_eq!(again.code, Some(0), "{} {}", again.stdout, again.stderr);
}

#[tokio::test]
async fn everything_that_mariadb_10_can_hold_comes_back_equal() {
    everything_comes_back(Flavour::MariaDb).await;
}

#[tokio::test]
async fn everything_that_mariadb_11_can_hold_comes_back_equal() {
    everything_comes_back(Flavour::MariaDb11).await;
}

#[tokio::test]
async fn everything_that_mysql_can_hold_comes_back_equal() {
    everything_comes_back(Flavour::MySql).await;
}

const TWO: &str = "
    CREATE DATABASE a; CREATE TABLE a.t (id INT PRIMARY KEY); INSERT INTO a.t VALUES (1), (2);
    CREATE TABLE a.u (id INT PRIMARY KEY); INSERT INTO a.u VALUES (7);
    CREATE VIEW a.v AS SELECT id FROM a.t;
    CREATE TRIGGER a.no_zero BEFORE INSERT ON a.t FOR EACH ROW SET NEW.id = GREATEST(NEW.id, 1);
    CREATE DATABASE b; CREATE TABLE b.t (id INT PRIMARY KEY); INSERT INTO b.t VALUES (3);
";

#[tokio::test]
async fn one_database_or_one_table_comes_back_under_another_name() {
    for flavour in [Flavour::MariaDb, Flavour::MySql] {
        let site = Site::start(flavour, &[], TWO).await.unwrap();
        assert_eq!(site.run(&[]).await.unwrap().code, Some(0));
        let live = site.db.socket();
        for (args, tables) in
            [(&["--database=a", "--as=c"][..], "t,u,v"), (&["--database=a", "--as=d", "--table=t"], "t")]
        {
            let restored = site.restore(live, args).await.unwrap();
            assert_eq!(restored.code, Some(0), "{} {}", restored.stdout, restored.stderr);
            let name = args[1].trim_start_matches("--as=");
            let query = format!(
                "SELECT GROUP_CONCAT(TABLE_NAME ORDER BY TABLE_NAME) FROM information_schema.TABLES \
                 WHERE TABLE_SCHEMA = '{name}'"
            );
            assert_eq!(site.db.sql(&query).unwrap().trim(), tables);
            assert_eq!(site.db.sql(&format!("SELECT SUM(id) FROM {name}.t")).unwrap().trim(), "3");
            let query = format!("SELECT COUNT(*) FROM information_schema.TRIGGERS WHERE TRIGGER_SCHEMA = '{name}'");
            assert_eq!(site.db.sql(&query).unwrap().trim(), "1");
        }
        // One lost table, back in its place. The view and the other tables are left alone.
        site.db.sql("DELETE FROM a.t; INSERT INTO a.u VALUES (8)").unwrap();
        let args = ["--database=a", "--table=t"];
        assert_eq!(site.restore(live, &args).await.unwrap().code, Some(4));
        let restored = site.restore(live, &[&args[..], &["--overwrite"]].concat()).await.unwrap();
        assert_eq!(restored.code, Some(0), "{} {}", restored.stdout, restored.stderr);
        let query = "SELECT (SELECT SUM(id) FROM a.v), (SELECT SUM(id) FROM a.u), (SELECT COUNT(*) FROM b.t)";
        assert_eq!(site.db.sql(query).unwrap().trim(), "3\t15\t1");
        // What is not there is refused before anything happens.
        for args in [&["--database=z"][..], &["--database=a", "--table=z"], &["--run=nightly-20200101T000000Z"]] {
            assert_eq!(site.restore(live, args).await.unwrap().code, Some(4), "{args:?}");
        }
        assert_eq!(site.restore(live, &["--at=2020-01-01T00:00:00Z"]).await.unwrap().code, Some(4));
    }
}

#[tokio::test]
async fn a_damaged_backup_is_refused_before_anything_is_changed() {
    let site = Site::start(Flavour::MariaDb, &[], TWO).await.unwrap();
    assert_eq!(site.run(&[]).await.unwrap().code, Some(0));
    let path = site.backup();
    let good = std::fs::read(&path).unwrap();
    let mut flipped = good.clone();
    flipped[good.len() / 2] ^= 1;
    std::fs::write(&path, &flipped).unwrap();
    let target = Database::start().await.unwrap();
    let refused = site.restore(target.socket(), &[]).await.unwrap();
    assert_eq!(refused.code, Some(4), "{}", refused.stderr);
    assert!(refused.stderr.contains("SHA-256 is not its manifest's"), "{}", refused.stderr);
    assert_eq!(site.verify(&[]).await.unwrap().code, Some(3));
    // A cut file has another size, so it is not a backup at all.
    std::fs::write(&path, &good[..good.len() - 9]).unwrap();
    assert_eq!(site.restore(target.socket(), &[]).await.unwrap().code, Some(4));
    let databases = "SELECT COUNT(*) FROM information_schema.SCHEMATA WHERE SCHEMA_NAME IN ('a', 'b')";
    assert_eq!(target.sql(databases).unwrap().trim(), "0");
    std::fs::write(&path, &good).unwrap();
    assert_eq!(site.verify(&[]).await.unwrap().code, Some(0));
    let other = site.command("list").unwrap().run(DEADLINE).await.unwrap();
    assert!(other.stdout.contains(NAME) && other.stdout.contains("complete"), "{}", other.stdout);
}

#[tokio::test]
async fn a_stopped_restore_resets_what_it_raised() {
    let large = "CREATE DATABASE a; CREATE TABLE a.t (b LONGBLOB); INSERT INTO a.t VALUES (REPEAT('x', 1048576))";
    let site = Site::start(Flavour::MariaDb, &[], large).await.unwrap();
    assert_eq!(site.run(&[]).await.unwrap().code, Some(0));
    let target = Database::start_with(&["--max-allowed-packet=1M"]).await.unwrap();
    let packet = || target.sql("SELECT @@global.max_allowed_packet").unwrap().trim().parse::<u64>().unwrap();
    let url = format!("mysql://root@{}?prefer_socket=false", target.address());
    let mut held = mysql_async::Conn::from_url(url).await.unwrap();
    held.query_drop("FLUSH TABLES WITH READ LOCK").await.unwrap();
    let restore =
        site.command("restore").unwrap().arg(format!("--target.address=unix://{}", target.socket().display()));
    let mut restore = restore.start().await.unwrap();
    eventually(DEADLINE, "the packet is raised", async || match packet() {
        packet if packet > 1 << 20 => Ok(()),
        packet => Err(format!("{packet}: {}", restore.log())),
    })
    .await
    .unwrap();
    assert_eq!(restore.stop().await.unwrap().code(), Some(1), "{}", restore.log());
    assert!(restore.log().contains("stopped by a signal"), "{}", restore.log());
    assert_eq!(packet(), 1 << 20);
    held.disconnect().await.unwrap();
}

#[tokio::test]
async fn the_flavour_must_match_and_a_replica_is_refused() {
    let site = Site::start(Flavour::MariaDb, &[], TWO).await.unwrap();
    assert_eq!(site.run(&[]).await.unwrap().code, Some(0));
    let mysql = Database::start_as::<&str>(Flavour::MySql, &[]).await.unwrap();
    let refused = site.restore(mysql.socket(), &[]).await.unwrap();
    assert_eq!(refused.code, Some(4));
    assert!(refused.stderr.contains("is MySQL, and the backup is of MariaDB"), "{}", refused.stderr);
    let replica = Database::start_with(&["--read-only=1"]).await.unwrap();
    let refused = site.restore(replica.socket(), &[]).await.unwrap();
    assert_eq!(refused.code, Some(4));
    assert!(refused.stderr.contains("is a replica or read-only"), "{}", refused.stderr);
    assert_eq!(site.restore(replica.socket(), &["--allow-replica"]).await.unwrap().code, Some(0));
}

#[tokio::test]
async fn a_restore_proves_the_backup_and_finds_what_is_wrong_with_it() {
    for flavour in FLAVOURS {
        let site = Site::start(flavour, &["--log-bin=binlog", "--server-id=1"], &everything(flavour)).await.unwrap();
        site.db
            .sql("CREATE TABLE fx.heartbeat (at DATETIME); INSERT INTO fx.heartbeat VALUES (UTC_TIMESTAMP())")
            .unwrap();
        assert_eq!(site.run(&[]).await.unwrap().code, Some(0));
        let verified = site.verify(&["--restore", "--canary=fx.heartbeat.at"]).await.unwrap();
        assert_eq!(verified.code, Some(0), "{} {}", verified.stdout, verified.stderr);
        let name = site.files().into_iter().find(|name| name.ends_with(".proof.json")).unwrap();
        let proof: serde_json::Value =
            serde_json::from_slice(&std::fs::read(site.directory().join(&name)).unwrap()).unwrap();
        assert_eq!(proof["result"], "proven", "{proof}");
        assert!(proof["restore_seconds"].as_f64().unwrap() > 0.0 && proof["tables_compared"].as_u64().unwrap() > 5);
        assert!(proof["canary"]["newest"].as_str().is_some(), "{proof}");
        assert_eq!(std::fs::read_dir(site.home.path().join("temporary")).unwrap().count(), 0, "nothing is left");

        // A manifest that promises a row more than the dump has.
        let manifest = site.files().into_iter().find(|name| name.ends_with(".manifest.json")).unwrap();
        let path = site.directory().join(manifest);
        let text = std::fs::read_to_string(&path).unwrap();
        let wrong = text.replacen(
            "\"table\": \"account\",\n          \"rows\": 2",
            "\"table\": \"account\",\n          \"rows\": 3",
            1,
        );
        assert_ne!(wrong, text);
        std::fs::write(&path, wrong).unwrap();
        let verified = site.verify(&["--restore"]).await.unwrap();
        assert_eq!(verified.code, Some(3), "{} {}", verified.stdout, verified.stderr);
        assert!(verified.stdout.contains("`account` has 2 rows, and the manifest says 3"), "{}", verified.stdout);
    }
}

#[tokio::test]
async fn the_schedule_proves_its_backups() {
    let site = Site::start(Flavour::MariaDb, &[], TWO).await.unwrap();
    let flags = ["--schedule.every=1h", "--verify.every=1d"];
    let mut job = site.job("schedule").unwrap().args(flags).start().await.unwrap();
    eventually(DEADLINE, "the backup is proven", async || {
        if job.log().contains("backup proven by a restore") { Ok(()) } else { Err(job.log()) }
    })
    .await
    .unwrap();
    let proof = site.files().into_iter().find(|name| name.ends_with(".proof.json")).unwrap();
    let proof: serde_json::Value =
        serde_json::from_slice(&std::fs::read(site.directory().join(proof)).unwrap()).unwrap();
    assert_eq!(proof["result"], "proven");
    assert_eq!(job.stop().await.unwrap().code(), Some(0), "{}", job.log());

    // A day has not passed: another start makes no other test.
    let mut job = site.job("schedule").unwrap().args(flags).start().await.unwrap();
    job.logged("waiting for the first slot", 1).await.unwrap();
    assert_eq!(job.stop().await.unwrap().code(), Some(0));
    assert!(!job.log().contains("restore test"), "{}", job.log());
}

#[tokio::test]
async fn a_backup_whose_name_begins_with_that_of_another_is_not_taken_for_it() {
    let site = Site::start(Flavour::MariaDb, &[], TWO).await.unwrap();
    assert_eq!(site.run(&[]).await.unwrap().code, Some(0));
    // A newer one of another name, and of other data.
    site.db.sql("DELETE FROM a.t").unwrap();
    let other = site.job("run").unwrap().run(DEADLINE).await.unwrap();
    assert_eq!(other.code, Some(0), "{}", other.stderr);
    for name in site.files().into_iter().rev().take(2) {
        let (old, new) = (site.directory().join(&name), name.replace(NAME, &format!("{NAME}-eu")));
        let text = std::fs::read(&old).unwrap();
        let text = if name.ends_with(".json") {
            String::from_utf8(text).unwrap().replace(NAME, &format!("{NAME}-eu")).into_bytes()
        } else {
            text
        };
        std::fs::write(site.directory().join(new), text).unwrap();
        std::fs::remove_file(old).unwrap();
    }
    assert_eq!(site.files().len(), 4);
    let target = Database::start().await.unwrap();
    let restored = site.restore(target.socket(), &[]).await.unwrap();
    assert_eq!(restored.code, Some(0), "{} {}", restored.stdout, restored.stderr);
    assert_eq!(target.sql("SELECT SUM(id) FROM a.t").unwrap().trim(), "3");
}
