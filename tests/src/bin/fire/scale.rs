//! The repository's configuration with shorter waits, so that every alert can fire within seconds.
//!
//! - `for`, ranges, offsets and the routes' times are divided by [`FACTOR`]: `for` is 1 s or longer, a range is 10 s to
//!   60 s.
//! - Every job is scraped each 2 s (those that detect outages: 3 s), every group is evaluated each second.
//! - Limits on a server's uptime are 30 s.
//! - P4 is sent at any time.
//!
//! Everything else, expressions and limits above all, is as in production.

use regex::{Captures, Regex};

pub(crate) const FACTOR: f64 = 30.0;
const RANGE: (f64, f64) = (10.0, 60.0);
/// Longer than the interval of P4, between two of which an alert can fire and end unnoticed.
const UPTIME: f64 = 30.0;

/// A file of `prometheus/rules`.
pub(crate) fn rules(text: &str) -> String {
    let text = replace(r"(?m)^(\s+for: )(\w+)$", text, |found| {
        format!("{}{}", &found[1], seconds(&found[2], 1.0, f64::INFINITY))
    });
    let text = replace(r"\[(\d\w*)\]", &text, |found| format!("[{}]", seconds(&found[1], RANGE.0, RANGE.1)));
    let text = replace(r"\boffset (\d\w*)", &text, |found| format!("offset {}", seconds(&found[1], RANGE.0, RANGE.1)));
    let text = replace(r"(uptime\w* < )(\d+)", &text, |found| {
        format!("{}{}", &found[1], seconds(&format!("{}s", &found[2]), UPTIME, f64::INFINITY).trim_end_matches('s'))
    });
    replace(r"(?m)^(\s+interval: )\w+$", &text, |found| format!("{}1s", &found[1]))
}

/// `prometheus.yml`. What is discovered by DNS in containers is a file here, so that its page can be given.
pub(crate) fn prometheus(text: &str) -> String {
    // Jobs that detect outages have 5 s.
    let text = text.replace("scrape_interval: 5s", "scrape_interval: 3s");
    let text = replace(r"(?m)^(\s+scrape_timeout: )[34]s$", &text, |found| format!("{}3s", &found[1]));
    let text =
        replace(r"(?m)^(\s+scrape_(?:interval|timeout): )(?:10|15)s$", &text, |found| format!("{}2s", &found[1]));
    let text = replace(r"(?m)^(\s+evaluation_interval: )\w+$", &text, |found| format!("{}1s", &found[1]));
    replace(r"dns_sd_configs:\n\s+- \{names: \[(\w+)[^\n]+\n", &text, |found| {
        format!("file_sd_configs:\n      - files: [targets/{}.yml]\n", &found[1])
    })
}

/// `alertmanager.yml`.
pub(crate) fn alertmanager(text: &str) -> String {
    let text = replace(r"(?m)^(\s+(?:group_wait|group_interval|repeat_interval): )(\w+)$", text, |found| {
        format!("{}{}", &found[1], seconds(&found[2], 0.5, f64::INFINITY))
    });
    replace(r"(?m)^\s+active_time_intervals: .*\n", &text, |_| String::new())
}

fn replace(pattern: &str, text: &str, with: impl Fn(&Captures<'_>) -> String) -> String {
    // The patterns are constants, which the tests below compile.
    let Ok(pattern) = Regex::new(pattern) else { return text.to_owned() };
    pattern.replace_all(text, with).into_owned()
}

/// A duration of Prometheus, divided, between two bounds.
fn seconds(text: &str, min: f64, max: f64) -> String {
    let mut total = 0.0;
    let mut number = String::new();
    for char in text.chars() {
        if char.is_ascii_digit() {
            number.push(char);
            continue;
        }
        let unit = match char {
            'm' => 60.0,
            'h' => 3600.0,
            'd' => 86400.0,
            'w' => 604_800.0,
            _ => 1.0,
        };
        total += number.parse().unwrap_or(0.0) * unit;
        number.clear();
    }
    format!("{:.0}s", (total / FACTOR).clamp(min, max).ceil())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_and_ranges_of_rules_are_divided() {
        let text =
            "    interval: 1m\n        expr: rate(a[5m]) > 0.5 and b{x=\"[y]\"} offset 1h < 300\n        for: 30s\n";
        let scaled =
            "    interval: 1s\n        expr: rate(a[10s]) > 0.5 and b{x=\"[y]\"} offset 60s < 300\n        for: 1s\n";
        assert_eq!(rules(text), scaled);
        assert_eq!(
            rules("expr: increase(a[30d]) or mysql_global_status_uptime < 300\n        for: 1h30m\n"),
            "expr: increase(a[60s]) or mysql_global_status_uptime < 30\n        for: 180s\n"
        );
    }

    #[test]
    fn every_time_of_the_repositorys_files_is_found() {
        let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../");
        let read = |path: &str| std::fs::read_to_string(format!("{root}{path}")).unwrap();
        let config = prometheus(&read("prometheus/prometheus.yml"));
        assert!(!config.contains("interval: 15s") && !config.contains("dns_sd_configs"), "{config}");
        let config = alertmanager(&read("alertmanager/alertmanager.yml"));
        assert!(!config.contains("group_wait: 5s") && !config.contains("active_time_intervals"), "{config}");
        for entry in std::fs::read_dir(format!("{root}prometheus/rules")).unwrap() {
            let path = entry.unwrap().path();
            if path.is_file() {
                let text = std::fs::read_to_string(path).unwrap();
                let scaled = rules(&text);
                assert_eq!(text.matches("  for: ").count(), scaled.matches("  for: ").count());
                assert!(!scaled.contains("[5m]") && !scaled.contains("[1d]"), "{scaled}");
            }
        }
    }
}
