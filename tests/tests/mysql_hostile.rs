//! Servers that attack their client. Each answer is refused with a reason, while the exporter serves the others.
#![allow(clippy::unwrap_used, reason = "an unwrap in a test is its report")]

use std::time::Duration;

use medassist_tests::database::Flavour;
use medassist_tests::testbed::mysql::{README, TIMEOUT, exporter, get_page, health, packet, reason, scrape};
use medassist_tests::testbed::scrape::documented;
use medassist_tests::testbed::{Behaviour, Fake, http, mysql};

const OK: &[u8] = &[0, 0, 0, 2, 0, 0, 0];

/// Protocol 10, a version, a thread's number, a nonce in two parts, and the abilities of a server of that age.
fn greeting() -> Vec<u8> {
    let mut payload = b"\x0a5.5.0-fake\0\x01\0\0\0".to_vec();
    payload.extend(b"abcdefgh\0\x01\x82\x21\x02\0\x08\0\x15");
    payload.extend([0; 10]);
    payload.extend(b"abcdefghijkl\0mysql_native_password\0");
    packet(0, &payload)
}

/// Accepts the login and the first statement, and answers the second with this.
fn answer(answer: Vec<u8>) -> Vec<Vec<u8>> {
    vec![greeting(), packet(2, OK), packet(1, OK), answer]
}

/// Requests another authentication method, then sends these one by one.
fn switch(plugin: &str, nonce: &[u8], then: &[&[u8]]) -> Vec<Vec<u8>> {
    let request = [&[0xfe], plugin.as_bytes(), &[0], nonce].concat();
    let mut lines = vec![greeting(), packet(2, &request)];
    lines.extend((4..).step_by(2).zip(then).map(|(sequence, payload)| packet(sequence, payload)));
    lines
}

fn columns(number: u64) -> Vec<u8> {
    packet(1, &[&[0xfe], number.to_le_bytes().as_slice()].concat())
}

/// A column, and three rows of 12 MB.
fn large() -> Vec<u8> {
    let text = [&[0xfd, 0, 0, 0xb8], vec![b'a'; 0xb8_0000].as_slice()].concat();
    let definition = b"\x03def\0\0\0\x01a\0\x0c\x21\0\xff\0\0\0\xfd\0\0\0\0\0";
    let start = [packet(1, &[1]), packet(2, definition), packet(3, &[0xfe, 0, 0, 2, 0])];
    start.into_iter().chain((4..7).map(|sequence| packet(sequence, &text))).flatten().collect()
}

fn attacks() -> Vec<(Vec<Vec<u8>>, &'static str)> {
    let parsec = |factor| switch("parsec", &[7; 32], &[&[&[b'P', factor], [7; 18].as_slice()].concat()]);
    let key =
        [b"\x01-----BEGIN PUBLIC KEY-----\n".as_slice(), &[b'A'; 8_000], b"\n-----END PUBLIC KEY-----\n"].concat();
    let garbage = b"\x01-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n".as_slice();
    let definition = packet(2, &vec![b'a'; 64 << 10]);
    let definitions = [packet(1, &[2]), definition].concat();
    let mut endless = switch("caching_sha2_password", &[7; 20], &[]);
    endless.push((4..24).flat_map(|sequence| packet(sequence, &[1, 3])).collect());
    vec![
        (answer(columns(1 << 40)), "more than 4,096 columns"),
        (answer(columns(70_000_000)), "more than 4,096 columns"),
        (answer(columns(u64::MAX)), "more than 4,096 columns"),
        (answer(definitions), "a malformed packet"),
        (answer(large()), "an answer that is too large"),
        (answer(packet(1, b"\xfb/etc/passwd")), "a request for a file"),
        (answer(packet(1, &[0, 0, 0, 8, 0, 0, 0])), "more than one answer"),
        (answer(packet(7, OK)), "a packet out of order"),
        (answer([0xff, 0xff, 0xff, 1].to_vec()), "did not complete"),
        (parsec(14), "too many rounds of key derivation"),
        (parsec(20), "too many rounds of key derivation"),
        (switch("caching_sha2_password", &[7; 20], &[&[1, 4], &key]), "encryption with a large RSA key"),
        (switch("caching_sha2_password", &[7; 20], &[&[1, 4], garbage]), "a malformed RSA key"),
        (endless, "a login without end"),
        (switch("client_ed25519", &[7; 60_000], &[]), "a response to a long challenge"),
        (switch("parsec", &[7; 3], &[&[&[b'P', 0], [7; 18].as_slice()].concat()]), "a malformed challenge"),
        (switch("mysql_clear_password", b"", &[]), "enable-cleartext-plugin"),
        (switch("mysql_old_password", &[7; 8], &[]), "does not support"),
        (vec![packet(0, &vec![0x0a; 100 << 10])], "a packet that is too large"),
        (vec![packet(0, b"\x09old")], "no greeting"),
        (vec![packet(0, b"\xff\x10\x04Too many connections")], "has no connection left"),
    ]
}

#[tokio::test]
async fn an_attack_is_reported_and_costs_nobody_else_a_scrape() {
    let db = mysql::server(Flavour::MariaDb, &[]).await.unwrap();
    let mut healthy = exporter(db.address()).arg("--probe.targets=*").start().await.unwrap();
    for (number, (dialogue, expected)) in attacks().into_iter().enumerate() {
        let fake = Fake::start(Behaviour::Dialogue(dialogue)).await.unwrap();
        let url = healthy.url(&format!("/probe?target={}", fake.address()));
        let header = ("x-prometheus-scrape-timeout-seconds", "2");
        let probe = tokio::spawn(async move { http::get_within(&url, &[header], TIMEOUT).await });
        // The others are served meanwhile.
        while !probe.is_finished() {
            let alive = http::get_within(&healthy.url("/-/healthy"), &[], Duration::from_secs(1)).await;
            assert_eq!(alive.unwrap().status, 200, "attack {number}: {expected}");
        }
        let page = probe.await.unwrap().unwrap();
        assert_eq!(page.status, 200);
        assert!(page.text().contains("\nmysql_up 0\n"), "attack {number}: {expected}");
        scrape(&healthy).await.unwrap().expect("mysql_up", &[], 1.0).unwrap();

        let attacked = exporter(fake.address()).start().await.unwrap();
        let get = http::get_within(&attacked.url("/health"), &[header], TIMEOUT).await.unwrap();
        documented(README, &get.json(), "connect");
        let reason = reason(&get.json(), "connect");
        assert!(reason.contains(expected), "attack {number}: {expected}: {reason}");
    }
    // It is still the same process.
    assert!(healthy.is_running());
    assert_eq!(health(&healthy).await.unwrap()["status"], "healthy");
    get_page(&healthy, &format!("/probe?target={}", db.address())).await.unwrap().expect("mysql_up", &[], 1.0).unwrap();
}
