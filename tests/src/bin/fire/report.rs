//! What is printed.

use std::io::Write as _;
use std::time::Duration;

use crate::table::Drill;

/// One alert after one fault. Times are since the fault, `resolved` is since it was undone.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) alert: &'static str,
    pub(crate) fault: &'static str,
    pub(crate) pending: Option<Duration>,
    pub(crate) firing: Option<Duration>,
    pub(crate) notified: Option<Duration>,
    pub(crate) resolved: Option<Duration>,
    pub(crate) problem: Option<String>,
}

pub(crate) fn line(text: &str) {
    // The reader of a pipe may have ended.
    let _ = writeln!(std::io::stdout(), "{text}");
}

fn seconds(time: Option<Duration>) -> String {
    time.map_or_else(|| "–".to_owned(), |time| format!("{:.1}", time.as_secs_f64()))
}

pub(crate) fn row(outcome: &Outcome) -> String {
    let Outcome { alert, fault, pending, firing, notified, resolved, problem } = outcome;
    let times = [pending, firing, notified, resolved].map(|time| seconds(*time)).join(" | ");
    let problem = problem.as_ref().map_or_else(String::new, |problem| format!(" **{problem}**"));
    format!("| {alert} | {fault} | {times} |{problem}")
}

pub(crate) fn table(outcomes: &[Outcome], took: Duration) {
    line("");
    line("| Alert | Fault | Pending, s | Firing, s | Notified, s | Resolved, s after the end |");
    line("|---|---|---|---|---|---|");
    outcomes.iter().for_each(|outcome| line(&row(outcome)));
    let failed = outcomes.iter().filter(|outcome| outcome.problem.is_some()).count();
    line(&format!(
        "\n{} of {} alerts fired, were notified and resolved, in {:.0} s",
        outcomes.len() - failed,
        outcomes.len(),
        took.as_secs_f64()
    ));
}

/// One row: the median and all times from the fault to the first notification.
pub(crate) fn detection(drill: &Drill, times: &[(Duration, String)]) -> String {
    let mut sorted: Vec<Duration> = times.iter().map(|(time, _)| *time).collect();
    sorted.sort();
    let median = sorted.get(sorted.len() / 2).copied();
    let all = sorted.iter().map(|time| seconds(Some(*time))).collect::<Vec<_>>().join(", ");
    let mut alerts: Vec<&str> = times.iter().map(|(_, alert)| alert.as_str()).collect();
    alerts.sort_unstable();
    alerts.dedup();
    format!("| {} | {} | {} | {all} |", drill.what, alerts.join(", "), seconds(median))
}

pub(crate) fn detections(rows: &[String]) {
    line("\n| Fault | First alert | Median, s | All, s |");
    line("|---|---|---|---|");
    rows.iter().for_each(|row| line(row));
}
