//! What a process has used, from `/proc`.

use std::fs;

use crate::figures::Result;

/// A number of kilobytes in `/proc/PID/status`, in bytes.
pub(crate) fn status_bytes(pid: &str, field: &str) -> Result<f64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let value = status.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    let kilobytes: f64 =
        value.and_then(|v| v.split_whitespace().next()).ok_or("no such field in /proc/PID/status")?.parse()?;
    Ok(kilobytes * 1024.0)
}

/// Resets the peak of resident memory: the next `VmHWM` is the peak from now on.
pub(crate) fn reset_peak() -> Result<()> {
    Ok(fs::write("/proc/self/clear_refs", "5")?)
}

/// User and system seconds of all threads, also of those that have ended.
pub(crate) fn cpu_seconds(pid: u32) -> Result<f64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The second field, the name in parentheses, may hold anything.
    let (_, fields) = stat.rsplit_once(')').ok_or("no name in /proc/PID/stat")?;
    let fields: Vec<&str> = fields.split_whitespace().collect();
    let ticks = |index: usize| {
        fields.get(index).ok_or("too few fields in /proc/PID/stat")?.parse::<f64>().map_err(crate::figures::boxed)
    };
    Ok((ticks(11)? + ticks(12)?) / rustix::param::clock_ticks_per_second() as f64)
}
