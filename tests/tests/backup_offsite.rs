//! Copies of backups in another place, and a restore from them alone.
#![allow(clippy::unwrap_used, reason = "an unwrap in a test is its report")]

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, SystemTime};

use medassist_tests::database::Flavour;
use medassist_tests::testbed::backup::{DEADLINE, NAME, Site};
use medassist_tests::testbed::{Behaviour, Database, Fake, S3, eventually};
use serde_json::Value;

const DATA: &str = "CREATE DATABASE a; CREATE TABLE a.t (id INT PRIMARY KEY); INSERT INTO a.t VALUES (1), (2)";

fn s3(site: &Site, endpoint: &str) -> Vec<String> {
    let secret = site.home.path().join("secret");
    fs::write(&secret, "a secret key\n").unwrap();
    vec![
        "--offsite.url=s3://backups/of/medassist".to_owned(),
        format!("--offsite.endpoint={endpoint}"),
        "--offsite.access-key=key".to_owned(),
        format!("--offsite.secret-key-file={}", secret.display()),
    ]
}

fn directory(path: &Path) -> String {
    format!("--offsite.url=file://{}", path.display())
}

fn state(site: &Site) -> Value {
    let path = site.directory().join(format!("{NAME}.offsite.json"));
    serde_json::from_slice(&fs::read(path).unwrap_or_default()).unwrap_or_default()
}

async fn run(site: &Site, args: &[String]) -> medassist_tests::testbed::Finished {
    site.job("run").unwrap().args(args).run(DEADLINE).await.unwrap()
}

async fn fetch(site: &Site, to: &Path, args: &[String]) -> medassist_tests::testbed::Finished {
    // The last flag wins.
    let fetch = site.bare("fetch").unwrap().arg(format!("--backup.directory={}", to.display()));
    fetch.args(args).run(DEADLINE).await.unwrap()
}

#[tokio::test]
async fn a_bare_machine_restores_from_the_encrypted_copy_alone() {
    let (site, store) = (Site::start(Flavour::MariaDb, &[], DATA).await.unwrap(), S3::start().await.unwrap());
    let key = site.home.path().join("key");
    assert!(Command::new("age-keygen").arg("-o").arg(&key).output().unwrap().status.success());
    let public = Command::new("age-keygen").arg("-y").arg(&key).output().unwrap().stdout;
    let offsite = s3(&site, &store.url());
    let mut args = offsite.clone();
    args.push(format!("--encrypt.recipients={}", String::from_utf8(public).unwrap().trim()));
    // More than one part of an upload, of bytes that cannot be compressed.
    site.db.sql("CREATE TABLE a.b (id INT PRIMARY KEY AUTO_INCREMENT, x LONGBLOB)").unwrap();
    for _ in 0..5 {
        let random = "INSERT INTO a.b (x) SELECT GROUP_CONCAT(RANDOM_BYTES(1024) SEPARATOR '') FROM seq_1_to_4000";
        site.db.sql(&format!("USE a; SET SESSION group_concat_max_len = 8000000; {random}")).unwrap();
    }
    let finished = run(&site, &args).await;
    assert_eq!(finished.code, Some(0), "{}", finished.stderr);
    assert!(!finished.stderr.contains("a secret key"));
    let saved = site.manifests().remove(0);
    assert!(saved["file"]["stored_bytes"].as_u64().unwrap() > 16 << 20, "{saved}");
    let state = state(&site);
    assert_eq!((&state["copied"], &state["pending"]), (&1.into(), &0.into()), "{state}");
    assert_eq!(state["recovery_point"], saved["recovery_point"]);

    // The machine is gone. Its key and the store are left.
    fs::remove_dir_all(site.directory()).unwrap();
    let restored = site.home.path().join("bare");
    fs::create_dir(&restored).unwrap();
    let fetched = fetch(&site, &restored, &offsite).await;
    assert_eq!(fetched.code, Some(0), "{}", fetched.stderr);
    assert!(fetched.stdout.contains("recovery point: 20"), "{}", fetched.stdout);
    let target = Database::start().await.unwrap();
    let done = site
        .bare("restore")
        .unwrap()
        .arg(format!("--backup.directory={}", restored.display()))
        .arg(format!("--target.address=unix://{}", target.socket().display()))
        .arg(format!("--decrypt.identity-file={}", key.display()))
        .run(DEADLINE)
        .await
        .unwrap();
    assert_eq!(done.code, Some(0), "{} {}", done.stdout, done.stderr);
    let sum = "SELECT (SELECT SUM(id) FROM a.t), (SELECT SUM(CRC32(x)) FROM a.b)";
    assert_eq!(target.sql(sum).unwrap(), site.db.sql(sum).unwrap());
}

#[tokio::test]
async fn a_store_that_is_down_or_hangs_costs_no_backup() {
    let site = Site::start(Flavour::MariaDb, &[], DATA).await.unwrap();
    let hung = Fake::start(Behaviour::Silence).await.unwrap();
    let schedule = |args: Vec<String>| site.job("schedule").unwrap().arg("--schedule.every=1h").args(args);
    let mut job = schedule(s3(&site, &format!("http://{}", hung.address()))).start().await.unwrap();
    eventually(DEADLINE, "there is a backup", async || match site.manifests().len() {
        1 if hung.accepted() > 0 => Ok(()),
        found => Err(found),
    })
    .await
    .unwrap();
    assert_eq!(job.stop().await.unwrap().code(), Some(0), "{}", job.log());

    // Down, and then back: what is missing is copied without another run.
    let store = site.home.path().join("store");
    let mut job = schedule(vec![directory(&store)]).start().await.unwrap();
    job.logged("off-site copy failed", 1).await.unwrap();
    assert_eq!(state(&site)["copied"], 0);
    assert!(state(&site)["error"].as_str().unwrap().contains("--offsite.url=file:///"), "{}", state(&site));
    fs::create_dir(&store).unwrap();
    eventually(DEADLINE, "nothing is pending", async || match state(&site) {
        state if state["pending"] == 0 && state["error"].is_null() && state["copied"] == 1 => Ok(()),
        state => Err(state),
    })
    .await
    .unwrap();
    assert_eq!(job.stop().await.unwrap().code(), Some(0));
    assert_eq!(site.manifests().len(), 1);

    // One run says that its copy failed.
    fs::remove_dir_all(&store).unwrap();
    assert_eq!(run(&site, &[directory(&store)]).await.code, Some(3));
}

/// The store's files: name, time and content's length.
fn objects(store: &Path) -> BTreeMap<String, (SystemTime, u64)> {
    let entries = fs::read_dir(store).unwrap().map(Result::unwrap);
    let object = |entry: fs::DirEntry| {
        let metadata = entry.metadata().unwrap();
        (entry.file_name().into_string().unwrap(), (metadata.modified().unwrap(), metadata.len()))
    };
    entries.map(object).collect()
}

#[tokio::test]
async fn nothing_in_the_store_is_changed_or_removed() {
    let site = Site::start(Flavour::MariaDb, &[], DATA).await.unwrap();
    let store = site.home.path().join("store");
    fs::create_dir(&store).unwrap();
    let args = [directory(&store), "--backup.keep=1".to_owned()];
    assert_eq!(run(&site, &args).await.code, Some(0));
    let first = objects(&store);
    assert_eq!(first.len(), 2, "{first:?}");
    assert_eq!(run(&site, &args).await.code, Some(0));
    let second = objects(&store);
    for name in second.keys() {
        let mode = fs::metadata(store.join(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "others can read {name}");
    }
    assert_eq!(second.len(), 4, "{second:?}");
    assert!(first.iter().all(|object| second.contains_key(object.0) && second[object.0] == *object.1));
    assert_eq!(site.manifests().len(), 1, "the directory keeps one");

    // Both can be fetched; the older one by its run.
    let to = site.home.path().join("fetched");
    fs::create_dir(&to).unwrap();
    let oldest = first.keys().next().unwrap().split('.').next().unwrap().to_owned();
    let fetched = fetch(&site, &to, &[directory(&store), format!("--run={oldest}")]).await;
    assert!(fetched.stdout.contains(&oldest), "{} {}", fetched.stdout, fetched.stderr);
}

#[tokio::test]
async fn damage_is_found_on_both_ways() {
    let site = Site::start(Flavour::MariaDb, &[], DATA).await.unwrap();
    let store = site.home.path().join("store");
    fs::create_dir(&store).unwrap();
    assert_eq!(run(&site, &[]).await.code, Some(0));
    let flip = |path: &Path| {
        let mut bytes = fs::read(path).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::write(path, bytes).unwrap();
    };
    // Damaged here: it is not copied, and holds back no other one.
    let first = site.backup();
    flip(&first);
    let finished = run(&site, &[directory(&store)]).await;
    assert_eq!(finished.code, Some(3), "{}", finished.stderr);
    assert_eq!((&state(&site)["copied"], &state(&site)["pending"]), (&1.into(), &1.into()));
    assert!(state(&site)["error"].as_str().unwrap().contains("is damaged"), "{}", state(&site));
    assert_eq!(objects(&store).len(), 2);

    // Damaged there: it is not fetched, and the next attempt begins at the start.
    let object = objects(&store).into_keys().find(|name| name.ends_with(".sql.zst")).unwrap();
    let good = fs::read(store.join(&object)).unwrap();
    flip(&store.join(&object));
    let to = site.home.path().join("fetched");
    fs::create_dir(&to).unwrap();
    let refused = fetch(&site, &to, &[directory(&store)]).await;
    assert_eq!(refused.code, Some(1));
    assert!(refused.stderr.contains("is damaged: its checksum is not the manifest's"), "{}", refused.stderr);
    assert!(!to.join(&object).exists());

    // An interrupted download continues.
    fs::write(store.join(&object), &good).unwrap();
    fs::write(to.join(format!("{object}.partial")), &good[..good.len() / 3]).unwrap();
    assert_eq!(fetch(&site, &to, &[directory(&store)]).await.code, Some(0));
    assert_eq!(fs::read(to.join(&object)).unwrap(), good);
    // Cut off in the store, it is not complete.
    fs::write(store.join(&object), &good[..good.len() / 2]).unwrap();
    fs::remove_file(to.join(&object)).unwrap();
    let nothing = fetch(&site, &to, &[directory(&store)]).await;
    assert!(nothing.stderr.contains("no complete backup"), "{}", nothing.stderr);
    // The next copy replaces it.
    fs::remove_file(&first).unwrap();
    assert_eq!(run(&site, &[directory(&store)]).await.code, Some(0));
    assert_eq!(fs::read(store.join(&object)).unwrap(), good);

    // An empty store has no recovery point, whatever the one before had.
    let empty = site.home.path().join("empty");
    fs::create_dir(&empty).unwrap();
    for name in site.files().iter().filter(|name| name.ends_with(".sql.zst")) {
        flip(&site.directory().join(name));
    }
    let none = site.command("schedule").unwrap().arg("--mysql.address=127.0.0.1:1").arg("--schedule.every=1h");
    let mut job = none.arg(directory(&empty)).start().await.unwrap();
    job.logged("backup not copied", 2).await.unwrap();
    eventually(DEADLINE, "there is no recovery point", async || match state(&site) {
        state if state["recovery_point"].is_null() && state["copied"] == 0 => Ok(()),
        state => Err(state),
    })
    .await
    .unwrap();
    job.stop().await.unwrap();
}

#[tokio::test]
async fn a_store_that_cannot_be_is_refused_in_words() {
    let site = Site::start(Flavour::MariaDb, &[], DATA).await.unwrap();
    let finished = run(&site, &["--offsite.url=ftp://user:the-login@store/x".to_owned()]).await;
    assert_eq!(finished.code, Some(3));
    assert!(finished.stderr.contains("expected file:///DIRECTORY or s3://BUCKET/PREFIX"), "{}", finished.stderr);
    assert!(!finished.stderr.contains("the-login"), "{}", finished.stderr);
    let alone = run(&site, &["--offsite.region=eu".to_owned()]).await;
    assert_eq!(alone.code, Some(2), "{}", alone.stderr);
    let started = std::time::Instant::now();
    let refused = run(&site, &s3(&site, "http://127.0.0.1:1")).await;
    assert_eq!(refused.code, Some(3));
    assert!(started.elapsed() < Duration::from_secs(100));
}

#[tokio::test]
async fn the_schedule_proves_the_copy_where_there_is_one() {
    let site = Site::start(Flavour::MariaDb, &[], DATA).await.unwrap();
    let key = site.home.path().join("key");
    assert!(Command::new("age-keygen").arg("-o").arg(&key).output().unwrap().status.success());
    let public = Command::new("age-keygen").arg("-y").arg(&key).output().unwrap().stdout;
    let store = site.home.path().join("store");
    fs::create_dir(&store).unwrap();
    let schedule = || {
        let flags = ["--schedule.every=1h", "--verify.every=1d"].map(str::to_owned);
        let flags = flags.into_iter().chain([encrypt_to(&public), directory(&store)]);
        site.job("schedule").unwrap().args(flags)
    };
    let refused = schedule().run(DEADLINE).await.unwrap();
    assert_eq!(refused.code, Some(2), "{}", refused.stderr);
    assert!(refused.stderr.contains("needs --decrypt.identity-file"), "{}", refused.stderr);

    let identity = format!("--decrypt.identity-file={}", key.display());
    // Its local file is damaged, which a proof of the copy cannot show.
    assert_eq!(run(&site, &[directory(&store), encrypt_to(&public)]).await.code, Some(0));
    fs::write(site.backup(), vec![0; fs::metadata(site.backup()).unwrap().len().try_into().unwrap()]).unwrap();
    let mut job = schedule().arg(identity).start().await.unwrap();
    eventually(DEADLINE, "the copy is proven", async || match job.log() {
        log if log.contains("backup proven by a restore") => Ok(()),
        log => Err(log),
    })
    .await
    .unwrap();
    let proof = site.files().into_iter().find(|name| name.ends_with(".proof.json")).unwrap();
    let proof: Value = serde_json::from_slice(&fs::read(site.directory().join(proof)).unwrap()).unwrap();
    assert_eq!((&proof["result"], &proof["source"]), (&"proven".into(), &"offsite".into()), "{proof}");
    assert_eq!(fs::read_dir(site.home.path().join("temporary")).unwrap().count(), 0, "the copy is removed");
    let warnings = site.manifests()[0]["warnings"].to_string();
    assert!(warnings.contains("single_recipient"), "{warnings}");
    assert_eq!(job.stop().await.unwrap().code(), Some(0), "{}", job.log());
}

fn encrypt_to(public: &[u8]) -> String {
    format!("--encrypt.recipients={}", String::from_utf8_lossy(public).trim())
}
