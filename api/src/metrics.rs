//! The series: requests as they end, and a collector that reads the rest when it is scraped.

use std::{fmt, sync::Arc, time::Duration};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric},
    metrics::{MetricType, family::Family, gauge::ConstGauge, gauge::Gauge, histogram::Histogram},
    registry::{Registry, Unit},
};

use crate::{app::App, db::MAX_CONNECTIONS, dependency::Verdict};

/// OpenTelemetry's buckets for HTTP servers, and 0.8 s: the latency alert compares with exactly that.
const SECONDS: [f64; 15] = [0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 0.8, 1.0, 2.5, 5.0, 7.5, 10.0];

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    http_request_method: &'static str,
    http_route: &'static str,
    http_response_status_code: u16,
}

#[derive(Debug, Clone)]
pub(crate) struct RequestMetrics {
    duration: Family<RequestLabels, Histogram, fn() -> Histogram>,
    pub(crate) active: Gauge,
}

impl RequestMetrics {
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let metrics =
            Self { duration: Family::new_with_constructor(|| Histogram::new(SECONDS)), active: Gauge::default() };
        registry.register_with_unit(
            "http_server_request_duration",
            "Time from a request's head to its answer's head; 499 is a client that left",
            Unit::Seconds,
            metrics.duration.clone(),
        );
        registry.register("http_server_active_requests", "Requests in progress", metrics.active.clone());
        metrics
    }

    pub(crate) fn observe(&self, method: &'static str, route: &'static str, status: u16, duration: Duration) {
        let labels =
            RequestLabels { http_request_method: method, http_route: route, http_response_status_code: status };
        self.duration.get_or_create_owned(&labels).observe(duration.as_secs_f64());
    }
}

/// What the app knows at the moment of the scrape; nothing is kept twice.
pub(crate) struct AppCollector(pub(crate) Arc<App>);

impl fmt::Debug for AppCollector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AppCollector")
    }
}

impl Collector for AppCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let Self(app) = self;
        let mut gauge = |name: &str, help: &str, value: i64| {
            ConstGauge::new(value).encode(encoder.encode_descriptor(name, help, None, MetricType::Gauge)?)
        };
        gauge("app_ready", "1 while this replica wants traffic.", app.ready().into())?;
        gauge("app_draining", "1 after SIGTERM.", app.lifecycle.draining().into())?;
        gauge("app_schema_in_place", "1 when all migrations are applied.", app.db.schema_in_place().into())?;
        let (open, in_use) = app.db.connections();
        let count = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
        gauge("app_mysql_pool_connections", "Connections of the pool.", count(open))?;
        gauge("app_mysql_pool_connections_in_use", "Connections that a request holds.", count(in_use))?;
        gauge("app_mysql_pool_connections_max", "The pool's limit.", count(MAX_CONNECTIONS))?;

        // A gauge, as everybody's build_info: OpenMetrics' type `info` is unknown to the older text format and its linters.
        let help = "1; the program's version is in the label.";
        let mut family = encoder.encode_descriptor("app_build_info", help, None, MetricType::Gauge)?;
        ConstGauge::new(1_i64).encode(family.encode_family(&[("version", env!("CARGO_PKG_VERSION"))])?)?;

        let help = "1 when the dependency's last probes succeeded, 0 when they failed; absent before the first.";
        let mut family = encoder.encode_descriptor("app_dependency_up", help, None, MetricType::Gauge)?;
        for dependency in app.dependencies() {
            let up: i64 = match dependency.verdict() {
                Verdict::Up => 1,
                Verdict::Down => 0,
                Verdict::Unknown => continue,
            };
            ConstGauge::new(up).encode(family.encode_family(&[("dependency", dependency.name)])?)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_of_exactly_800_ms_is_within_the_bucket_of_the_alert() {
        let mut registry = Registry::default();
        let metrics = RequestMetrics::register(&mut registry);
        metrics.observe("GET", "/api/alerts", 200, Duration::from_millis(800));
        metrics.observe("GET", "/api/alerts", 200, Duration::from_millis(801));
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        let labels = r#"http_request_method="GET",http_route="/api/alerts",http_response_status_code="200""#;
        for (le, count) in [("0.75", 0), ("0.8", 1), ("1.0", 2)] {
            let sample = format!("http_server_request_duration_seconds_bucket{{le=\"{le}\",{labels}}} {count}\n");
            let other = format!("http_server_request_duration_seconds_bucket{{{labels},le=\"{le}\"}} {count}\n");
            assert!(text.contains(&sample) || text.contains(&other), "{sample} is missing in\n{text}");
        }
        assert!(text.contains("# TYPE http_server_request_duration_seconds histogram\n"), "{text}");
    }

    #[test]
    fn buckets_ascend() {
        assert!(SECONDS.is_sorted());
    }
}
