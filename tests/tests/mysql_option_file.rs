//! Option files as the servers' own programs read them: what `my_print_defaults` of three servers prints, what a client
//! logs in with, and what `mysql-exporter` logs in with are the same.
#![allow(clippy::unwrap_used, reason = "an unwrap in a test is its report")]

use std::path::Path;

use medassist_tests::database::{Flavour, unpacked_program};
use medassist_tests::launch::{self, Launch};
use medassist_tests::testbed::mysql::{TIMEOUT, get_page, scrape};
use medassist_tests::testbed::process::Directory;
use medassist_tests::testbed::{Database, Program, mysql};

/// `DIR` is the file's directory, in which there are `included.cnf` and `conf.d`. The password is always the last line.
const SPELLINGS: &[&[u8]] = &[
    b"[client]\nuser=exporter\npassword=secret\n",
    b" [client ] # the client\r\n\tuser = exporter # monitoring\r\n password = secret # rotated\r\n",
    b"[client]\nuser=\"exporter\"\npassword=\"p\\\"w\"\n",
    b"[client]\nuser=exporter\npassword=\"abc\" # rotated\n",
    b"[client]\nuser='exporter' # monitoring\npassword='abc' # rotated\n",
    b"[client]\nuser=exporter\npassword=a\\\\b\n",
    b"[client]\nuser=exporter\npassword=a\\sb\\tc\\xd\n",
    b"[client]\nuser=exporter\npassword='a\\sb'\n",
    b"[client]\nuser=exporter\npassword=a#b\n",
    b"[client]\nuser=exporter\npassword='a#b'#c\n",
    b"[client]\nuser=exporter\npassword=a;b ; c\n",
    b"[client]\nuser=exporter\npassword='it''s'\n",
    b"[client]\nuser=exporter\npassword=\"unclosed # x\n",
    b"[client]\nuser=exporter\npassword=\"x\"y\n",
    b"[client]\nuser=exporter\npassword='a\\\\'#b\n",
    b"[client]\nuser=exporter\npassword=\"x\\\\\\\"#y\" # z\n",
    b"[client]\nuser=exporter\npassword=trail\\\n",
    b"[client]\nuser=exporter\npassword=a=b\n",
    b"[client]\nuser=exporter\npassword=' spaces '\n",
    b"[client]\nuser=exporter\npassword='a${b}c'\n",
    b"[client]\nuser=exporter\npassword='a${b'\n",
    b"[client]\nuser=exporter\npassword=?&%@:/()+=$12\n",
    b"[client]\nuser=exporter\npassword=b\xc3\xa9\n",
    b"[client]\nuser=nobody\n[client]\nloose-user=exporter\npassword=twice\n",
    b"# pass f\xfcr den Exporter\n[client]\nuser=exporter\npassword=latin\n",
    b"[mysql]\nprompt=\"${HOSTNAME_X}> \"\nuser=nobody\n[mysqld]\nuser=\xfc\n[client]\nuser=exporter\npassword=foreign\n",
    b"[client]\nuser=nobody\n!include DIR/included.cnf\npassword=included\n",
    b"[client]\nuser=nobody\n!includedir DIR/conf.d\npassword=directory\n",
    b"[client]\nuser=exporter\n!other directive\n; comment\npassword=other\n",
];

/// The servers' programs end with an error.
const REFUSED: &[(&[u8], &str)] = &[
    (b"[client\nuser=exporter\n", "my.cnf:1: ] is missing"),
    (b"user=exporter\n[client]\n", "my.cnf:1: a [section] must come first"),
    (b"[client]\nuser=exporter\n!includedir DIR/nowhere\n", "my.cnf:3: cannot include "),
];

/// Where we differ on purpose: a byte order mark, which editors add, and half of a configuration.
const DIFFERENT: &[(&[u8], Option<&str>)] = &[
    (b"\xef\xbb\xbf[client]\nuser=exporter\npassword=secret\n", None),
    (b"[client]\nuser=exporter\n!include DIR/nowhere\npassword=secret\n", Some("my.cnf:3: cannot include ")),
    (
        b"[client]\nuser=exporter\npassword=${NOWHERE}\n",
        Some("my.cnf:3: in the value of password, ${NAME} is not closed"),
    ),
    (b"[client]\nuser=exporter\npassword=\xfc\n", Some("my.cnf:3: the value of password is not UTF-8 text")),
];

fn directory() -> Directory {
    let directory = Directory::new("option-file").unwrap();
    std::fs::create_dir(directory.path().join("conf.d")).unwrap();
    for (name, text) in [
        ("included.cnf", "[client]\nuser=exporter\n"),
        ("conf.d/a.cnf", "[client]\nuser=nobody\n"),
        ("conf.d/b.cnf", "[client]\nuser=exporter\n"),
        ("conf.d/c.txt", "[client]\nuser=nobody\n"),
    ] {
        std::fs::write(directory.path().join(name), text).unwrap();
    }
    directory
}

fn write(directory: &Directory, text: &[u8]) -> std::path::PathBuf {
    let path = directory.path().join("my.cnf");
    let name = directory.path().to_str().unwrap().as_bytes();
    let mut bytes = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.windows(3).position(|window| window == b"DIR") {
        bytes.extend([&rest[..at], name].concat());
        rest = &rest[at + 3..];
    }
    bytes.extend(rest);
    std::fs::write(&path, bytes).unwrap();
    path
}

/// What each server's `my_print_defaults` prints for `[client]`.
fn print_defaults(path: &Path) -> Vec<Result<String, String>> {
    let programs = [
        (Launch::installed(&["my_print_defaults"]), None),
        (unpacked_program("trixie", "usr/bin/my_print_defaults"), None),
        // Without it, MySQL's prints asterisks.
        (unpacked_program("unstable", "usr/bin/my_print_defaults"), Some("--show")),
    ];
    let print = |program: Launch, show: Option<&str>| {
        let mut command = program.path("--defaults-file", path).args(show).arg("client").wrapped(&[]);
        launch::run(&mut command, "my_print_defaults", "").map_err(|error| error.to_string())
    };
    programs.into_iter().map(|(program, show)| print(program.unwrap(), show)).collect()
}

async fn is_up(db: &Database, path: &Path) -> bool {
    let exporter = Program::exporter("mysql-exporter")
        .arg(format!("--config.my-cnf={}", path.display()))
        .arg(format!("--mysqld.address={}", db.address()))
        .start()
        .await
        .unwrap();
    scrape(&exporter).await.unwrap().value("mysql_up", &[]).unwrap() == 1.0
}

fn client_logs_in(db: &Database, path: &Path) -> Result<String, String> {
    let address = db.address();
    let mut command = Launch::installed(&["mariadb"])
        .unwrap()
        .path("--defaults-file", path)
        .args([format!("--host={}", address.ip()), format!("--port={}", address.port())])
        .args(["--execute=SELECT CURRENT_USER()"])
        .wrapped(&[]);
    launch::run(&mut command, "mariadb", "").map_err(|error| error.to_string())
}

#[tokio::test]
async fn a_file_means_the_same_to_the_servers_programs_and_to_the_exporter() {
    let directory = directory();
    let mariadb = mysql::server(Flavour::MariaDb, &[]).await.unwrap();
    let mysql = mysql::server(Flavour::MySql, &[]).await.unwrap();
    for text in SPELLINGS {
        let (path, shown) = (write(&directory, text), String::from_utf8_lossy(text));
        let printed = print_defaults(&path);
        assert!(printed.iter().all(|one| one.is_ok() && *one == printed[0]), "{shown}: {printed:?}");
        let printed = printed[0].clone().unwrap();
        let (_, password) = printed.rsplit_once("--password=").unwrap();
        let literal = password.strip_suffix('\n').unwrap().replace('\\', "\\\\").replace('\'', "\\'");
        for db in [&mariadb, &mysql] {
            let account = format!("ALTER USER exporter@'127.0.0.1' IDENTIFIED BY '{literal}'");
            db.sql(&format!("SET NAMES utf8mb4; {account}")).unwrap();
        }
        let logged_in = client_logs_in(&mariadb, &path).unwrap();
        assert!(logged_in.contains("exporter@127.0.0.1"), "{shown}: {logged_in}");
        for db in [&mariadb, &mysql] {
            assert!(is_up(db, &path).await, "{:?}: {shown}", db.flavour());
        }
    }
}

#[tokio::test]
async fn a_file_that_is_malformed_stops_the_start() {
    let directory = directory();
    let db = mysql::server(Flavour::MariaDb11, &[]).await.unwrap();
    let start = async |path: &Path| {
        let program = Program::new("mysql-exporter").arg(format!("--config.my-cnf={}", path.display()));
        program.arg(format!("--mysqld.address={}", db.address())).run(TIMEOUT).await.unwrap().stderr
    };
    for (text, expected) in REFUSED {
        let path = write(&directory, text);
        let printed = print_defaults(&path);
        assert!(printed.iter().all(Result::is_err), "{printed:?}");
        let stderr = start(&path).await;
        assert!(stderr.contains(expected), "{expected}: {stderr}");
    }
    for (text, expected) in DIFFERENT {
        let path = write(&directory, text);
        match expected {
            None => assert!(is_up(&db, &path).await),
            Some(expected) => {
                let stderr = start(&path).await;
                assert!(stderr.contains(expected), "{expected}: {stderr}");
            }
        }
    }
}

/// `MYSQL_GROUP_SUFFIX` is for the servers' programs, too.
#[tokio::test]
async fn a_group_suffix_selects_a_section() {
    let directory = directory();
    let path = write(&directory, b"[client]\nuser=nobody\npassword=secret\n[client_monitoring]\nuser=exporter\n");
    let db = mysql::server(Flavour::MariaDb, &[]).await.unwrap();
    for (suffix, up) in [("", 0.0), ("_monitoring", 1.0)] {
        let exporter = Program::exporter("mysql-exporter")
            .arg(format!("--config.my-cnf={}", path.display()))
            .arg(format!("--mysqld.address={}", db.address()))
            .env("MYSQL_GROUP_SUFFIX", suffix)
            .start()
            .await
            .unwrap();
        scrape(&exporter).await.unwrap().expect("mysql_up", &[], up).unwrap();
    }
}

/// As a helm chart with several targets makes it.
#[tokio::test]
async fn sections_for_probes_are_enough() {
    let directory = directory();
    let path = write(&directory, b"[client.a]\nuser=exporter\npassword=secret\n[client.b]\nuser=nobody\n");
    let db = mysql::server(Flavour::MariaDb, &[]).await.unwrap();
    let exporter = Program::exporter("mysql-exporter")
        .arg(format!("--config.my-cnf={}", path.display()))
        .arg(format!("--mysqld.address={}", db.address()))
        .start()
        .await
        .unwrap();
    for (section, up) in [("client.a", 1.0), ("client.b", 0.0)] {
        let probe = format!("/probe?target={}&auth_module={section}", db.address());
        get_page(&exporter, &probe).await.unwrap().expect("mysql_up", &[], up).unwrap();
    }
    scrape(&exporter).await.unwrap().expect("mysql_up", &[], 0.0).unwrap();
    let reason = mysql::reason(&mysql::health(&exporter).await.unwrap(), "connect");
    assert!(reason.contains("no account for") && reason.contains("/probe works"), "{reason}");
}

/// A job with `__param_target` and without `metrics_path`.
#[tokio::test]
async fn a_target_of_metrics_is_a_probe() {
    let directory = directory();
    let path = write(&directory, b"[client]\nuser=exporter\npassword=secret\n");
    let main = mysql::server(Flavour::MariaDb, &[]).await.unwrap();
    let other = mysql::server(Flavour::MySql, &[]).await.unwrap();
    let exporter = Program::exporter("mysql-exporter")
        .arg(format!("--config.my-cnf={}", path.display()))
        .arg(format!("--mysqld.address={}", main.address()))
        .arg("--probe.targets=*")
        .start()
        .await
        .unwrap();
    for (query, db) in
        [(String::new(), &main), ("?target=".to_owned(), &main), (format!("?target={}", other.address()), &other)]
    {
        let page = get_page(&exporter, &format!("/metrics{query}")).await.unwrap();
        page.expect("mysql_global_variables_port", &[], f64::from(db.address().port())).unwrap();
    }
    let nothing = get_page(&exporter, "/metrics?target=127.0.0.1:1").await.unwrap();
    nothing.expect("mysql_up", &[], 0.0).unwrap();
    assert!(!nothing.has("mysql_global_variables_port"));
}
