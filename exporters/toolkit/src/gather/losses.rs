//! Samples that are not on the page: the collector's error, and one log line for each family and reason.

use std::collections::HashSet;
use std::sync::Mutex;

use exposition::{Dropped, Loss, Problem};
use service_kit::lock::lock;
use tracing::warn;

/// Maximum remembered lines. A service can make up names of families without an end.
const MAX_LOGGED: usize = 1000;

/// Which losses were logged: the collector's name, and the text.
#[derive(Default)]
pub(super) struct LoggedLosses(Mutex<HashSet<(&'static str, String)>>);

impl LoggedLosses {
    pub(super) fn log(&self, collector: &'static str, target: &str, losses: &[&Loss]) {
        for Loss { family, dropped, problem } in losses {
            let family = shortened(family);
            // Without the number, which differs from scrape to scrape.
            let reason = reason(problem);
            let mut logged = lock(&self.0);
            if logged.len() < MAX_LOGGED && logged.insert((collector, format!("{family}: {reason}"))) {
                let samples = dropped.total();
                warn!(%target, collector, ?family, samples, %reason, "samples dropped; logged once for each reason");
            }
        }
    }
}

/// Those of one collector.
pub(super) fn of(all: &[(usize, Vec<Loss>)], collector: usize) -> Vec<&Loss> {
    all.iter().filter(|(of, _)| *of == collector).flat_map(|(_, losses)| losses).collect()
}

pub(super) fn total(losses: &[&Loss]) -> Dropped {
    let mut total = Dropped::default();
    losses.iter().for_each(|loss| total.add(loss.dropped));
    total
}

/// The error of a collector that did not write all that it read, or wrote what is wrong.
pub(super) fn error(losses: &[&Loss]) -> Option<String> {
    let failing: Vec<_> = losses.iter().filter(|loss| loss.problem.fails_collector()).collect();
    let first = failing.first()?;
    let others = match failing.len() - 1 {
        0 => String::new(),
        others => format!(" (and {others} more families)"),
    };
    let (samples, family) = (first.dropped.total(), shortened(&first.family));
    Some(format!("incomplete: {samples} samples of {family}{others} dropped: {}", reason(&first.problem)))
}

fn reason(problem: &Problem) -> String {
    let remedy = match problem {
        Problem::SampleLimit(_) => "; raise --scrape.sample-limit",
        Problem::MemoryLimit(_) => "; raise --scrape.memory-limit, or exclude samples",
        _ => "",
    };
    format!("{problem}{remedy}")
}

fn shortened(name: &str) -> &str {
    name.get(..name.floor_char_boundary(100)).unwrap_or(name)
}
