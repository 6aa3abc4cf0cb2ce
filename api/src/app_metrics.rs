//! Metrics that are read from the app's state at each scrape; nothing is stored twice.

use std::{fmt, sync::Arc};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeCounterValue, EncodeGaugeValue, EncodeMetric},
    metrics::{MetricType, counter::ConstCounter, gauge::ConstGauge},
};
use service_kit::{logging, process};

use crate::{app::App, db::MAX_CONNECTIONS, dependency::DependencyStatus};

pub(crate) struct AppCollector(pub(crate) Arc<App>);

impl fmt::Debug for AppCollector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AppCollector")
    }
}

impl Collector for AppCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let Self(app) = self;
        let lifecycle = &app.lifecycle;
        let (open, in_use) = app.db.connections();
        let count = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
        for (name, help, value) in [
            ("app_ready", "Whether this replica is ready for traffic.", app.ready().into()),
            ("app_draining", "Whether this replica is draining after SIGTERM.", lifecycle.draining().into()),
            ("app_schema_in_place", "Whether all migrations are applied.", app.db.schema_in_place().into()),
            ("app_mysql_pool_connections", "Current number of connections in the pool.", count(open)),
            ("app_mysql_pool_connections_in_use", "Current number of connections held by requests.", count(in_use)),
            ("app_mysql_pool_connections_max", "Maximum number of connections in the pool.", count(MAX_CONNECTIONS)),
            (
                "app_config_last_reload_successful",
                "Whether the last start or reload (SIGHUP) read every password and token file.",
                lifecycle.last_reload_successful().into(),
            ),
        ] {
            gauge(&mut encoder, name, help, value)?;
        }
        gauge(
            &mut encoder,
            "app_config_last_reload_success_timestamp_seconds",
            "Unix time of the last successful start or reload.",
            lifecycle.last_reload_success().as_duration().as_secs_f64(),
        )?;
        counter(
            &mut encoder,
            "app_log_lines_dropped_total",
            "Total number of log lines dropped because standard error was blocked or failed.",
            logging::dropped_lines(),
        )?;
        for (metric, value) in process::read() {
            let encode = if metric.is_counter { counter } else { gauge };
            encode(&mut encoder, metric.name, metric.help, value)?;
        }

        // A gauge, as is usual for build_info: the text format 0.0.4 has no type `info`.
        let help = "Always 1. The label has the program's version.";
        let mut family = encoder.encode_descriptor("app_build_info", help, None, MetricType::Gauge)?;
        ConstGauge::new(1_i64).encode(family.encode_family(&[("version", env!("CARGO_PKG_VERSION"))])?)?;

        let help = "Whether the last probes of the dependency succeeded. Absent before the first probe.";
        let mut family = encoder.encode_descriptor("app_dependency_up", help, None, MetricType::Gauge)?;
        for dependency in app.dependencies() {
            let up: i64 = match dependency.status() {
                DependencyStatus::Up => 1,
                DependencyStatus::Down => 0,
                DependencyStatus::Unknown => continue,
            };
            ConstGauge::new(up).encode(family.encode_family(&[("dependency", dependency.name)])?)?;
        }
        Ok(())
    }
}

fn gauge<N: EncodeGaugeValue>(encoder: &mut DescriptorEncoder<'_>, name: &str, help: &str, value: N) -> fmt::Result {
    ConstGauge::new(value).encode(encoder.encode_descriptor(name, help, None, MetricType::Gauge)?)
}

fn counter<N: EncodeCounterValue>(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    value: N,
) -> fmt::Result {
    // The encoder appends the suffix itself.
    let name = name.strip_suffix("_total").unwrap_or(name);
    ConstCounter::new(value).encode(encoder.encode_descriptor(name, help, None, MetricType::Counter)?)
}
