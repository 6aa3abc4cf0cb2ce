//! The exporter's own use of the machine, under the names that Go's client library gives.

use std::sync::OnceLock;

use procfs::process::{LimitValue, Process};
use rustix::time::{ClockId, clock_gettime};

use crate::family::{Desc, Families, Part};

const CPU: Desc = Desc::counter("process_cpu_seconds_total", "User and system CPU time the exporter has used.", &[]);
const OPEN_FDS: Desc = Desc::gauge("process_open_fds", "Open file descriptors.", &[]);
const MAX_FDS: Desc = Desc::gauge("process_max_fds", "File descriptors that may be open at the most.", &[]);
const VIRTUAL: Desc = Desc::gauge("process_virtual_memory_bytes", "Virtual memory size.", &[]);
const RESIDENT: Desc = Desc::gauge("process_resident_memory_bytes", "Resident memory size.", &[]);
const START: Desc = Desc::gauge("process_start_time_seconds", "When the exporter was started, as a Unix time.", &[]);

pub(crate) const FAMILIES: [Desc; 6] = [CPU, OPEN_FDS, MAX_FDS, VIRTUAL, RESIDENT, START];

/// What is asked once: the directory stays open, and the rest does not change.
struct Own {
    process: Process,
    /// The boot time that the kernel gives moves by a second now and then: the first answer is kept.
    started: Option<f64>,
    max_fds: Option<u64>,
}

impl Own {
    fn look() -> Option<Self> {
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

/// What the kernel shows; what it does not show (another system, a locked-down container) is absent.
pub(crate) fn part() -> Part {
    let mut out = Families::default();
    write(&mut out);
    out.finish()
}

fn write(out: &mut Families) {
    static OWN: OnceLock<Option<Own>> = OnceLock::new();
    let cpu = clock_gettime(ClockId::ProcessCPUTime);
    out.push(&CPU, &[], cpu.tv_sec as f64 + cpu.tv_nsec as f64 / 1e9);
    let Some(Own { process, started, max_fds }) = OWN.get_or_init(Own::look) else { return };
    if let Ok(memory) = process.statm() {
        let page = procfs::page_size() as f64;
        out.push(&VIRTUAL, &[], memory.size as f64 * page);
        out.push(&RESIDENT, &[], memory.resident as f64 * page);
    }
    if let Some(started) = started {
        out.push(&START, &[], *started);
    }
    if let Ok(open) = process.fd_count() {
        out.push(&OPEN_FDS, &[], open as f64);
    }
    if let Some(max) = max_fds {
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
        let page = String::from_utf8(encode(&Snapshot::assemble([Arc::new(part())]).0, Format::Text)).unwrap();
        for family in FAMILIES {
            let line = page.lines().find(|line| line.starts_with(&format!("{} ", family.name)));
            let value: f64 = line.and_then(|line| line.rsplit(' ').next()).unwrap().parse().unwrap();
            assert!(value > 0.0 || family.name == CPU.name, "{} is {value}", family.name);
        }
    }
}
