//! This process' own use of the machine, under the names that Go's client library gives. It depends on no metrics
//! library.

use std::sync::OnceLock;

use procfs::process::{LimitValue, Process};
use rustix::time::{ClockId, clock_gettime};

/// Name and help of one series.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Metric {
    pub name: &'static str,
    pub help: &'static str,
    /// Else it is a gauge.
    pub is_counter: bool,
}

pub const CPU: Metric =
    counter("process_cpu_seconds_total", "Total user and system CPU time spent by the process, in seconds.");
pub const OPEN_FDS: Metric = gauge("process_open_fds", "Current number of open file descriptors.");
pub const MAX_FDS: Metric = gauge("process_max_fds", "Maximum number of open file descriptors.");
pub const VIRTUAL: Metric = gauge("process_virtual_memory_bytes", "Virtual memory size, in bytes.");
pub const RESIDENT: Metric = gauge("process_resident_memory_bytes", "Resident memory size, in bytes.");
pub const START: Metric = gauge("process_start_time_seconds", "Start time of the process, as a Unix time in seconds.");

pub const METRICS: [Metric; 6] = [CPU, OPEN_FDS, MAX_FDS, VIRTUAL, RESIDENT, START];

const fn counter(name: &'static str, help: &'static str) -> Metric {
    Metric { name, help, is_counter: true }
}

const fn gauge(name: &'static str, help: &'static str) -> Metric {
    Metric { name, help, is_counter: false }
}

/// Current values. What the kernel doesn't show (another system, a locked-down container) is absent.
pub fn read() -> impl Iterator<Item = (Metric, f64)> {
    let cpu = clock_gettime(ClockId::ProcessCPUTime);
    let cpu = cpu.tv_sec as f64 + cpu.tv_nsec as f64 / 1e9;
    let constants = Constants::get();
    let memory = constants.and_then(|constants| constants.process.statm().ok());
    let page = procfs::page_size() as f64;
    let open = constants.and_then(|constants| constants.process.fd_count().ok());
    let values = [
        (CPU, Some(cpu)),
        (OPEN_FDS, open.map(|open| open as f64)),
        (MAX_FDS, constants.and_then(|constants| constants.max_fds).map(|max| max as f64)),
        (VIRTUAL, memory.as_ref().map(|memory| memory.size as f64 * page)),
        (RESIDENT, memory.as_ref().map(|memory| memory.resident as f64 * page)),
        (START, constants.and_then(|constants| constants.started)),
    ];
    values.into_iter().filter_map(|(metric, value)| Some((metric, value?)))
}

/// What is read once: the directory in /proc stays open, and the rest doesn't change.
struct Constants {
    process: Process,
    /// The boot time that the kernel gives moves by a second now and then: the first answer is kept.
    started: Option<f64>,
    max_fds: Option<u64>,
}

impl Constants {
    fn get() -> Option<&'static Self> {
        static CONSTANTS: OnceLock<Option<Constants>> = OnceLock::new();
        CONSTANTS.get_or_init(Self::read).as_ref()
    }

    fn read() -> Option<Self> {
        let process = Process::myself().ok()?;
        let started = || {
            let ticks = process.stat().ok()?.starttime;
            Some(procfs::boot_time_secs().ok()? as f64 + ticks as f64 / procfs::ticks_per_second() as f64)
        };
        let max_fds = || match process.limits().ok()?.max_open_files.soft_limit {
            LimitValue::Value(max) => Some(max),
            LimitValue::Unlimited => None,
        };
        Some(Self { started: started(), max_fds: max_fds(), process })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_of_this_process_is_read() {
        let values: Vec<_> = read().collect();
        assert_eq!(values.iter().map(|(metric, _)| *metric).collect::<Vec<_>>(), METRICS);
        for (metric, value) in values {
            assert!(value > 0.0, "{} is {value}", metric.name);
            assert_eq!(metric.is_counter, metric.name.ends_with("_total"));
        }
    }
}
