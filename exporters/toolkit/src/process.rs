//! The exporter's own use of the machine, under the names that Go's client library gives.

use std::sync::OnceLock;

use procfs::WithCurrentSystemInfo as _;
use procfs::process::{LimitValue, Process};

use crate::family::{Desc, Families};

const CPU: Desc = Desc::counter("process_cpu_seconds_total", "User and system CPU time the exporter has used.", &[]);
const OPEN_FDS: Desc = Desc::gauge("process_open_fds", "Open file descriptors.", &[]);
const MAX_FDS: Desc = Desc::gauge("process_max_fds", "File descriptors that may be open at the most.", &[]);
const VIRTUAL: Desc = Desc::gauge("process_virtual_memory_bytes", "Virtual memory size.", &[]);
const RESIDENT: Desc = Desc::gauge("process_resident_memory_bytes", "Resident memory size.", &[]);
const START: Desc = Desc::gauge("process_start_time_seconds", "When the exporter was started, as a Unix time.", &[]);

pub(crate) const FAMILIES: [Desc; 6] = [CPU, OPEN_FDS, MAX_FDS, VIRTUAL, RESIDENT, START];

/// Writes what `/proc` shows; what it does not show (another system, a locked-down container) is absent.
pub(crate) fn write(out: &mut Families) {
    let Ok(process) = Process::myself() else { return };
    if let Ok(stat) = process.stat() {
        out.push(&CPU, &[], (stat.utime + stat.stime) as f64 / procfs::ticks_per_second() as f64);
        out.push(&VIRTUAL, &[], stat.vsize as f64);
        out.push(&RESIDENT, &[], stat.rss_bytes().get() as f64);
        // The boot time that the kernel gives moves by a second now and then: keep the first answer.
        static STARTED: OnceLock<Option<f64>> = OnceLock::new();
        let started = STARTED.get_or_init(|| {
            let boot = procfs::boot_time_secs().ok()?;
            Some(boot as f64 + stat.starttime as f64 / procfs::ticks_per_second() as f64)
        });
        if let Some(started) = started {
            out.push(&START, &[], *started);
        }
    }
    if let Ok(open) = process.fd_count() {
        out.push(&OPEN_FDS, &[], open as f64);
    }
    static MAX: OnceLock<Option<u64>> = OnceLock::new();
    let max = MAX.get_or_init(|| match process.limits().ok()?.max_open_files.soft_limit {
        LimitValue::Value(max) => Some(max),
        LimitValue::Unlimited => None,
    });
    if let Some(max) = max {
        out.push(&MAX_FDS, &[], *max as f64);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::encode::{Format, encode};
    use crate::snapshot::Snapshot;

    #[test]
    fn this_process_is_seen() {
        let mut out = Families::default();
        write(&mut out);
        let page = String::from_utf8(encode(&Snapshot::assemble([Arc::new(out.finish())]).0, Format::Text)).unwrap();
        for family in FAMILIES {
            let line = page.lines().find(|line| line.starts_with(&format!("{} ", family.name)));
            let value: f64 = line.and_then(|line| line.rsplit(' ').next()).unwrap().parse().unwrap();
            assert!(value > 0.0 || family.name == CPU.name, "{} is {value}", family.name);
        }
    }
}
