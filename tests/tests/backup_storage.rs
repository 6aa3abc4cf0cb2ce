//! `mysql-backup` on disks that are full or hang: no lie, no leftover, and the next run is good again.
#![allow(clippy::unwrap_used, reason = "an unwrap in a test is its report")]

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::time::Duration;

use medassist_tests::database::Flavour;
use medassist_tests::testbed::backup::{DEADLINE, NAME, Site};
use medassist_tests::testbed::{Behaviour, Fake, Mount, Page, Program, RunningProgram, eventually, http};
use serde_json::Value;

const MIB: u64 = 1 << 20;
const DATA: &str = "CREATE DATABASE a; CREATE TABLE a.t (id INT PRIMARY KEY AUTO_INCREMENT, x LONGBLOB)";

async fn site() -> Site {
    Site::start(Flavour::MariaDb, &[], DATA).await.unwrap()
}

/// About 12 MiB that cannot be compressed.
fn grow(site: &Site) {
    let random = "INSERT INTO a.t (x) SELECT GROUP_CONCAT(RANDOM_BYTES(1024) SEPARATOR '') FROM seq_1_to_4000";
    for _ in 0..3 {
        site.db.sql(&format!("USE a; SET SESSION group_concat_max_len = 8000000; {random}")).unwrap();
    }
}

/// Takes all the space that is left.
fn fill(path: &Path) {
    let mut file = fs::File::create(path).unwrap();
    while file.write_all(&[1; 4096]).is_ok() {}
}

async fn exporter(site: &Site) -> RunningProgram {
    let job = format!("--backup.job={NAME}:{}", site.directory().display());
    Program::exporter("backup-exporter").arg(job).start().await.unwrap()
}

/// What the exporter says of the last run.
async fn last_run_success(exporter: &RunningProgram) -> f64 {
    let page = Page::parse(&http::get(&exporter.url("/metrics")).await.unwrap().text()).unwrap();
    page.value("backup_last_run_success", &[("backup", NAME)]).unwrap()
}

fn last_result(site: &Site) -> (Value, String) {
    let manifest = site.manifests().pop().unwrap();
    (manifest["reason"].clone(), manifest["message"].as_str().unwrap_or_default().to_owned())
}

#[tokio::test]
async fn a_full_disk_fails_the_run_and_nothing_else() {
    let site = site().await;
    let _disk = Mount::memory(&site.directory(), 8 * MIB).unwrap();
    assert_eq!(site.run(&[]).await.unwrap().code, Some(0));
    let good = site.files();
    let exporter = exporter(&site).await;
    assert_eq!(last_run_success(&exporter).await, 1.0);

    // By the dump itself.
    grow(&site);
    let failed = site.run(&[]).await.unwrap();
    assert_eq!(failed.code, Some(1), "{}", failed.stderr);
    let (reason, message) = last_result(&site);
    assert!(reason == "storage" && message.contains("No space left on device"), "{reason} {message}");
    assert_eq!(site.files().len(), good.len() + 1, "the manifest of the failed run: {:?}", site.files());
    assert_eq!(last_run_success(&exporter).await, 0.0);

    // By others, to the last byte, also before a run of a small dump.
    site.db.sql("TRUNCATE a.t").unwrap();
    assert_eq!(site.run(&[]).await.unwrap().code, Some(0));
    assert_eq!(last_run_success(&exporter).await, 1.0);
    let before = site.files().len();
    fill(&site.directory().join("of-another-program"));
    let failed = site.run(&[]).await.unwrap();
    assert_eq!(failed.code, Some(1), "{}", failed.stderr);
    let (reason, message) = last_result(&site);
    assert!(reason == "storage" && message.contains("No space left on device"), "{reason} {message}");
    assert_eq!(site.files().len(), before + 2, "the manifest and the other file: {:?}", site.files());
    assert_eq!(last_run_success(&exporter).await, 0.0, "the exporter shows the run");

    fs::remove_file(site.directory().join("of-another-program")).unwrap();
    assert_eq!(site.run(&[]).await.unwrap().code, Some(0));
    assert_eq!(last_run_success(&exporter).await, 1.0);
    let list = site.command("list").unwrap().run(DEADLINE).await.unwrap();
    assert_eq!(list.stdout.matches("complete").count(), 3, "{}", list.stdout);
    assert_eq!(site.verify(&[]).await.unwrap().code, Some(0));
}

#[tokio::test]
async fn a_full_store_and_a_full_temporary_directory_are_said() {
    let site = site().await;
    grow(&site);
    let store = site.home.path().join("store");
    fs::create_dir(&store).unwrap();
    let disk = Mount::memory(&store, MIB).unwrap();
    let offsite = format!("--offsite.url=file://{}", store.display());
    let finished = site.run(&[&offsite]).await.unwrap();
    assert_eq!(finished.code, Some(3), "the backup is good, its copy is not: {}", finished.stderr);
    assert!(finished.stderr.contains("No space left on device"), "{}", finished.stderr);
    assert_eq!(site.manifests()[0]["result"], "ok");
    let state = fs::read_to_string(site.directory().join(format!("{NAME}.offsite.json"))).unwrap();
    assert!(state.contains("\"pending\": 1") && state.contains("No space left on device"), "{state}");
    drop(disk);
    let finished = site.run(&[&offsite]).await.unwrap();
    assert_eq!(finished.code, Some(0), "{}", finished.stderr);

    let temporary = site.home.path().join("temporary");
    let _disk = Mount::memory(&temporary, MIB).unwrap();
    let verified = site.verify(&["--restore"]).await.unwrap();
    assert_eq!(verified.code, Some(1), "{} {}", verified.stdout, verified.stderr);
    assert!(verified.stderr.contains("TMPDIR"), "{}", verified.stderr);
    assert_eq!(fs::read_dir(&temporary).unwrap().count(), 0, "nothing is left");
    assert!(!site.files().iter().any(|name| name.ends_with(".proof.json")), "{:?}", site.files());
}

#[tokio::test]
async fn a_disk_that_hangs_ends_the_run_at_its_limit() {
    let site = site().await;
    let mut disk = Mount::disk(&site.directory(), &site.home.path().join("image"), 64 * MIB).unwrap();
    assert_eq!(site.run(&[]).await.unwrap().code, Some(0));
    let good = site.files();
    let answer = Behaviour::HalfReplyOnRequest(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n".to_vec());
    let hook = Fake::start(answer).await.unwrap();
    let ping = format!("--on-failure=http://{}/ping", hook.address());
    disk.freeze().unwrap();

    // Once, and as a service that is then told to stop.
    let mut once = site.job("run").unwrap().args(["--backup.timeout=2s", &ping]).start().await.unwrap();
    // Dropped before the programs, if an assertion fails: what waits for the disk cannot be ended.
    let mut disk = disk;
    eventually(Duration::from_secs(60), "the run ends", async || match once.log() {
        log if log.contains("backup failed without a manifest") => Ok(()),
        log => Err(log),
    })
    .await
    .unwrap();
    assert!(once.log().contains("did not answer within"), "{}", once.log());
    eventually(DEADLINE, "the failure is reported", async || match hook.accepted() {
        0 => Err("no request"),
        _ => Ok(()),
    })
    .await
    .unwrap();

    // The kernel ends no process that waits for a disk. With the disk comes its end.
    disk.thaw().unwrap();
    assert_eq!(once.exited(DEADLINE).await.unwrap().code(), Some(1), "{}", once.log());
    assert_eq!(site.run(&[]).await.unwrap().code, Some(0), "the next run is good");
    let complete = site.files().iter().filter(|name| name.ends_with(".sql.zst")).count();
    assert_eq!((complete, site.files().len()), (2, good.len() + 2), "{:?}", site.files());
    assert_eq!(site.verify(&[]).await.unwrap().code, Some(0));
}

/// Every other command and service that writes to the directory has a deadline too, and keeps what is there.
#[tokio::test]
async fn a_disk_that_hangs_holds_neither_prune_nor_a_proof() {
    let site = site().await;
    let mut disk = Mount::disk(&site.directory(), &site.home.path().join("image"), 64 * MIB).unwrap();
    for _ in 0..2 {
        assert_eq!(site.run(&[]).await.unwrap().code, Some(0));
    }
    let good = site.files();
    let exporter = exporter(&site).await;
    disk.freeze().unwrap();
    let mut prune = site.command("prune").unwrap().arg("--backup.keep=1").start().await.unwrap();
    let mut verify = site.command("verify").unwrap().arg("--restore").start().await.unwrap();
    // Dropped before the programs, if an assertion fails: what waits for the disk cannot be ended.
    let mut disk = disk;
    for (program, action) in [(&prune, "remove old backups"), (&verify, "write the proof")] {
        let sentence = format!("did not answer within 30 s while the job tried to {action}");
        eventually(DEADLINE, &sentence, async || match program.log() {
            log if log.contains(&sentence) => Ok(()),
            log => Err(log),
        })
        .await
        .unwrap();
    }
    assert_eq!(last_run_success(&exporter).await, 1.0, "a scan reads, and its series stay");
    disk.thaw().unwrap();
    assert_eq!(prune.exited(DEADLINE).await.unwrap().code(), Some(1), "{}", prune.log());
    assert_eq!(verify.exited(DEADLINE).await.unwrap().code(), Some(1), "{}", verify.log());
    assert_eq!(site.run(&[]).await.unwrap().code, Some(0), "the next run is good");
    let unfinished = site.files().into_iter().filter(|name| name.ends_with(".tmp") || name.ends_with(".partial"));
    assert_eq!(unfinished.count(), 0, "{good:?}, and then {:?}", site.files());
    assert_eq!(site.verify(&[]).await.unwrap().code, Some(0));
}

#[tokio::test]
async fn a_store_that_hangs_costs_no_backup_and_is_recorded() {
    let site = site().await;
    let store = site.home.path().join("store");
    fs::create_dir(&store).unwrap();
    let mut disk = Mount::disk(&store, &site.home.path().join("image"), 64 * MIB).unwrap();
    disk.freeze().unwrap();
    let flags = [format!("--offsite.url=file://{}", store.display()), "--offsite.timeout=3s".to_owned()];
    let mut once = site.job("run").unwrap().args(&flags).start().await.unwrap();
    // Dropped before the programs, if an assertion fails: what waits for the disk cannot be ended.
    let mut disk = disk;
    let state = site.directory().join(format!("{NAME}.offsite.json"));
    let state = || fs::read_to_string(&state).unwrap_or_default();
    eventually(DEADLINE, "the copy is given up and recorded", async || match state() {
        state if state.contains("took longer than 3 s (--offsite.timeout)") => Ok(()),
        state => Err(format!("{state} {}", once.log())),
    })
    .await
    .unwrap();
    assert!(state().contains("\"pending\": 1") && state().contains("\"copied\": 0"), "{}", state());
    assert_eq!(site.manifests()[0]["result"], "ok");
    disk.thaw().unwrap();
    assert_eq!(once.exited(DEADLINE).await.unwrap().code(), Some(3), "{}", once.log());
    let again = site.run(&[&flags[0]]).await.unwrap();
    assert_eq!(again.code, Some(0), "{}", again.stderr);
    let copied = fs::read_dir(&store).unwrap().flatten().filter_map(|entry| entry.file_name().into_string().ok());
    let (mut whole, mut other) = (0, Vec::new());
    for name in copied.filter(|name| name != "lost+found") {
        if name.ends_with(".sql.zst") || name.ends_with(".manifest.json") { whole += 1 } else { other.push(name) }
    }
    assert_eq!(whole, 4, "two backups, and besides {other:?}");
}

#[tokio::test]
async fn a_disk_that_is_read_only_or_gone_is_said() {
    let site = site().await;
    let disk = Mount::memory(&site.directory(), 8 * MIB).unwrap();
    assert_eq!(site.run(&[]).await.unwrap().code, Some(0));
    let good = site.files();
    disk.read_only().unwrap();
    let failed = site.run(&[]).await.unwrap();
    assert_eq!((failed.code, site.files()), (Some(1), good), "{}", failed.stderr);
    assert!(failed.stderr.contains("Read-only file system"), "{}", failed.stderr);
    assert_eq!(site.verify(&[]).await.unwrap().code, Some(0), "what is there can be read");

    drop(disk);
    fs::remove_dir(site.directory()).unwrap();
    let failed = site.run(&[]).await.unwrap();
    assert_eq!(failed.code, Some(1), "{}", failed.stderr);
    assert!(failed.stderr.contains("No such file or directory"), "{}", failed.stderr);
    assert!(!site.directory().exists(), "a missing mount is not replaced");
}
