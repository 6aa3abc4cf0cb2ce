//! Backups that only the owner of a secret key can read.
#![allow(clippy::unwrap_used, reason = "an unwrap in a test is its report")]

use std::path::{Path, PathBuf};
use std::process::Command;

use medassist_tests::database::Flavour;
use medassist_tests::testbed::Database;
use medassist_tests::testbed::backup::Site;

const PATIENT: &str = "a name that must not be readable";

/// A secret key, as the program `age-keygen` makes it, and its public key.
fn key(directory: &Path, name: &str) -> (PathBuf, String) {
    let path = directory.join(name);
    assert!(Command::new("age-keygen").arg("-o").arg(&path).output().unwrap().status.success());
    let public = Command::new("age-keygen").arg("-y").arg(&path).output().unwrap().stdout;
    (path, String::from_utf8(public).unwrap().trim().to_owned())
}

async fn only_a_recipient_can_restore(flavour: Flavour) {
    let statements = format!(
        "CREATE DATABASE a; CREATE TABLE a.patient (id INT PRIMARY KEY, name VARCHAR(100)); \
         INSERT INTO a.patient VALUES (1, '{PATIENT}')"
    );
    let site = Site::start(flavour, &[], &statements).await.unwrap();
    let keys = ["online", "offline", "stranger"].map(|name| key(site.home.path(), name));
    let recipients = format!("--encrypt.recipients={},{}", keys[0].1, keys[1].1);
    let finished = site.run(&[&recipients]).await.unwrap();
    assert_eq!(finished.code, Some(0), "{}", finished.stderr);
    let file = site.backup();
    assert!(file.to_str().unwrap().ends_with(".sql.zst.age"), "{:?}", site.files());
    let encryption = &site.manifests()[0]["file"]["encryption"];
    assert_eq!(encryption["format"], "age");
    assert_eq!(encryption["recipients"], serde_json::json!([keys[0].1, keys[1].1]));

    // Without a key, the checksum is all that can be verified.
    let verified = site.verify(&[]).await.unwrap();
    assert_eq!(verified.code, Some(0), "{}", verified.stderr);
    assert!(verified.stderr.contains("only the checksum is verified"), "{}", verified.stderr);
    let target = Database::start_as::<&str>(flavour, &[]).await.unwrap();
    let refused = site.restore(target.socket(), &[]).await.unwrap();
    assert_eq!(refused.code, Some(4));
    assert!(refused.stderr.contains("set --decrypt.identity-file"), "{}", refused.stderr);
    let identity = |(path, _): &(PathBuf, String)| format!("--decrypt.identity-file={}", path.display());
    let refused = site.restore(target.socket(), &[&identity(&keys[2])]).await.unwrap();
    assert_eq!(refused.code, Some(4));
    assert!(refused.stderr.contains("is one of the backup's recipients"), "{}", refused.stderr);
    for key in &keys[..2] {
        // With the programs of everybody else.
        let decrypted = Command::new("sh")
            .args(["-c", r#"age --decrypt --identity "$1" "$2" | zstd -dc"#, "sh"])
            .args([&key.0, &file])
            .output()
            .unwrap();
        assert!(String::from_utf8_lossy(&decrypted.stdout).contains(PATIENT));
        let verified = site.verify(&[&identity(key)]).await.unwrap();
        assert_eq!((verified.code, verified.stderr.contains("only the checksum")), (Some(0), false));
    }
    let restored = site.restore(target.socket(), &[&identity(&keys[1])]).await.unwrap();
    assert_eq!(restored.code, Some(0), "{} {}", restored.stdout, restored.stderr);
    assert_eq!(target.sql("SELECT name FROM a.patient").unwrap().trim(), PATIENT);
    let proven = site.verify(&["--restore", &identity(&keys[0])]).await.unwrap();
    assert_eq!(proven.code, Some(0), "{} {}", proven.stdout, proven.stderr);

    // A file that is cut off is found before anything is restored.
    let stored = std::fs::read(&file).unwrap();
    std::fs::write(&file, &stored[..stored.len() - 20]).unwrap();
    assert_ne!(site.restore(target.socket(), &["--overwrite", &identity(&keys[1])]).await.unwrap().code, Some(0));
    assert_eq!(target.sql("SELECT name FROM a.patient").unwrap().trim(), PATIENT);
}

#[tokio::test]
async fn only_a_recipient_can_restore_mariadb() {
    only_a_recipient_can_restore(Flavour::MariaDb).await;
}

#[tokio::test]
async fn only_a_recipient_can_restore_mysql() {
    only_a_recipient_can_restore(Flavour::MySql).await;
}

#[tokio::test]
async fn a_recipient_that_is_none_is_refused_at_the_start() {
    let site = Site::start(Flavour::MariaDb, &[], "CREATE DATABASE a").await.unwrap();
    for wrong in ["age1nonsense", "ssh-ed25519 AAAA", ""] {
        let finished = site.run(&[&format!("--encrypt.recipients={wrong}")]).await.unwrap();
        assert_eq!(finished.code, Some(2), "{wrong}: {}", finished.stderr);
    }
    assert!(site.files().is_empty());
}
