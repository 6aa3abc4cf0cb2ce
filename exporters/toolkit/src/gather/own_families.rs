//! The families that the toolkit adds to each page about the exporter itself.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use exposition::{Desc, Dropped, Kind};

use crate::build::Build;
use crate::exporter::Exporter;
use crate::family::Families;
use crate::{health, process};

/// The families that the toolkit adds to each scrape.
pub(crate) struct OwnFamilies {
    pub(crate) up: Desc,
    pub(crate) collector_success: Desc,
    pub(crate) collector_duration: Desc,
    pub(crate) scrapes: Desc,
    pub(crate) dropped: Desc,
    pub(crate) log_lines_dropped: Desc,
    pub(crate) build_info: Desc,
    pub(crate) reload_successful: Desc,
    pub(crate) reload_success_time: Desc,
}

impl OwnFamilies {
    pub(crate) fn of<E: Exporter>() -> Self {
        let ns = E::NAMESPACE;
        let program = E::program_prefix();
        Self {
            up: Desc::dynamic(
                Kind::Gauge,
                format!("{ns}_up"),
                "Whether the service accepted the exporter's login and answered in this scrape.",
                &[],
            ),
            collector_success: Desc::dynamic(
                Kind::Gauge,
                format!("{ns}_exporter_collector_success"),
                "Whether the collector succeeded in this scrape; samples that it could not read are absent.",
                &["collector"],
            ),
            collector_duration: Desc::dynamic(
                Kind::Gauge,
                format!("{ns}_exporter_collector_duration_seconds"),
                "Duration of the collector in this scrape; `connection` is the time to open the session.",
                &["collector"],
            ),
            scrapes: Desc::dynamic(
                Kind::Counter,
                format!("{ns}_exporter_scrapes_total"),
                "Total number of gathers; concurrent scrapes share one gather.",
                &[],
            ),
            dropped: Desc::dynamic(
                Kind::Counter,
                format!("{ns}_exporter_dropped_samples_total"),
                "Total number of dropped samples: duplicate, invalid, or over a limit of samples or memory. The log has the reason.",
                &["collector", "reason"],
            ),
            log_lines_dropped: Desc::dynamic(
                Kind::Counter,
                format!("{ns}_exporter_log_lines_dropped_total"),
                "Total number of log lines that were not written, because standard error was stalled or closed.",
                &[],
            ),
            build_info: Desc::dynamic(
                Kind::Info,
                format!("{program}_build_info"),
                "Version and revision of the exporter.",
                &["version", "revision"],
            ),
            reload_successful: Desc::dynamic(
                Kind::Gauge,
                format!("{program}_config_last_reload_successful"),
                "Whether the last start or reload succeeded; after a failure the previous configuration remains in use.",
                &[],
            ),
            reload_success_time: Desc::dynamic(
                Kind::Gauge,
                format!("{program}_config_last_reload_success_timestamp_seconds"),
                "Unix time of the last start or reload that succeeded.",
                &[],
            ),
        }
    }

    /// Every name on a page that is not a collector's.
    pub(crate) fn names<E: Exporter>(&self) -> Arc<[String]> {
        let health = health::families(E::NAMESPACE);
        self.all().into_iter().chain(&health).chain(&process::FAMILIES).map(|desc| desc.name.to_string()).collect()
    }

    pub(crate) fn all(&self) -> [&Desc; 9] {
        [
            &self.up,
            &self.collector_success,
            &self.collector_duration,
            &self.scrapes,
            &self.dropped,
            &self.log_lines_dropped,
            &self.build_info,
            &self.reload_successful,
            &self.reload_success_time,
        ]
    }

    /// Writes what does not belong to a single scrape. A page of `/probe` is about its target only and has none of it.
    pub(super) fn write_totals(&self, totals: &Totals, out: &mut Families) {
        out.push(&self.build_info, &[totals.build.version, totals.build.revision], 1.0);
        out.push(&self.scrapes, &[], totals.gathers as f64);
        out.push(&self.reload_successful, &[], f64::from(totals.last_reload_successful));
        if let Ok(since) = totals.last_reload_success.duration_since(UNIX_EPOCH) {
            out.push(&self.reload_success_time, &[], since.as_secs_f64());
        }
        out.push(&self.log_lines_dropped, &[], service_kit::logging::dropped_lines() as f64);
    }

    /// Writes one collector's dropped samples since the start.
    pub(super) fn write_dropped(&self, collector: &str, dropped: Dropped, out: &mut Families) {
        let Dropped { duplicate, invalid, limit } = dropped;
        for (reason, count) in [("duplicate", duplicate), ("invalid", invalid), ("limit", limit)] {
            out.push(&self.dropped, &[collector, reason], count as f64);
        }
    }
}

/// Counts since the start.
pub(super) struct Totals {
    build: Build,
    pub(super) gathers: u64,
    /// By collector.
    pub(super) dropped: Vec<Dropped>,
    /// Successful reloads.
    pub(super) reloads: u64,
    pub(super) last_reload_successful: bool,
    pub(super) last_reload_success: SystemTime,
}

impl Totals {
    /// The start is the first success.
    pub(super) fn new(build: Build, collectors: usize) -> Self {
        Self {
            build,
            gathers: 0,
            dropped: vec![Dropped::default(); collectors],
            reloads: 0,
            last_reload_successful: true,
            last_reload_success: SystemTime::now(),
        }
    }
}
