//! Scrapes of a running exporter. What is not as expected ends the test.
#![allow(clippy::unwrap_used, reason = "an unwrap in a test is its report")]

use serde_json::Value;

use crate::testbed::{Page, Program, RunningProgram, http};

/// A running haproxy-exporter.
pub async fn haproxy_exporter(args: &[&str]) -> RunningProgram {
    Program::exporter("haproxy-exporter").args(args).start().await.unwrap()
}

pub async fn page(url: &str) -> Page {
    let reply = http::get(url).await.unwrap();
    assert_eq!(reply.status, 200, "{}", reply.text());
    Page::parse(&reply.text()).unwrap()
}

/// `/metrics`
pub async fn page_of(exporter: &RunningProgram) -> Page {
    page(&exporter.url("/metrics")).await
}

/// `/health`
pub async fn health(exporter: &RunningProgram) -> Value {
    http::get(&exporter.url("/health")).await.unwrap().json()
}

/// Status and reason of a check in `/health`.
pub fn reason(health: &Value, check: &str) -> (String, String) {
    let found = health["checks"].as_array().unwrap().iter().find(|entry| entry["name"] == check);
    assert!(found.is_some(), "no check {check} in {health}");
    let found = found.unwrap();
    (found["status"].as_str().unwrap().to_owned(), found["reason"].as_str().unwrap().to_owned())
}

/// A finding is in the table of faults of a README: a line with the health status, the check, its status, and a text
/// that is in the reason.
#[track_caller]
pub fn documented(readme: &str, report: &Value, check: &str) {
    let (status, reason) = reason(report, check);
    let health = report["status"].as_str().unwrap_or_default();
    let (health, finding) = (format!("`{health}`"), format!("`{check}` {status}"));
    let is_it = |line: &str| {
        let cells: Vec<&str> = line.trim_matches('|').split(" | ").map(str::trim).collect();
        matches!(cells[..], [_, first, second, text] if first == health && second == finding && reason.contains(text))
    };
    let row = format!("| … | {health} | {finding} | part of: {reason} |");
    assert!(readme.lines().any(is_it), "the README's table of faults has no line: {row}");
}

/// As the value of a parameter.
pub fn encoded(text: &str) -> String {
    text.bytes()
        .map(|b| if b.is_ascii_alphanumeric() { char::from(b).to_string() } else { format!("%{b:02X}") })
        .collect()
}

/// `GET /probe?target=…`
pub async fn probe(exporter: &RunningProgram, target: &str) -> Page {
    page(&exporter.url(&format!("/probe?target={}", encoded(target)))).await
}
