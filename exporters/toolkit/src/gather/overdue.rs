//! What runs longer than its gather, because it blocks its thread: it is not started again until it has ended, so that
//! blocked threads do not pile up.

use std::sync::{Mutex, Weak};

use service_kit::lock::lock;
use tokio::time::Instant;

/// Maximum overdue tasks of all probes together. With so many, probes are refused.
const MAX_OF_PROBES: usize = 8;

/// A part of a gather.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Task {
    Open,
    /// A collector, by index.
    Collector(usize),
}

/// The overdue tasks of one target, with the start of their gather.
#[derive(Debug, Default)]
pub(super) struct Overdue(Vec<(Task, Instant)>);

impl Overdue {
    /// Why this task cannot start.
    pub(super) fn error(&self, task: Task) -> Option<String> {
        let (_, started) = self.0.iter().find(|(other, _)| *other == task)?;
        let seconds = started.elapsed().as_secs_f64();
        Some(format!("still running since a scrape {seconds:.1} s ago: it blocks its thread (a bug in the exporter)"))
    }
}

/// The overdue tasks of all gathers. Those of `/metrics` are bounded by the number of collectors.
#[derive(Default)]
pub(super) struct AllOverdue(Mutex<Vec<Entry>>);

struct Entry {
    probe: Option<String>,
    task: Task,
    started: Instant,
    running: Weak<()>,
}

impl AllOverdue {
    /// The overdue tasks of this target; `None` if there are too many of all probes.
    pub(super) fn of(&self, probe: Option<&String>) -> Option<Overdue> {
        let mut all = lock(&self.0);
        all.retain(|entry| entry.running.strong_count() > 0);
        if probe.is_some() && all.iter().filter(|entry| entry.probe.is_some()).count() >= MAX_OF_PROBES {
            return None;
        }
        let of_target = all.iter().filter(|entry| entry.probe.as_ref() == probe);
        Some(Overdue(of_target.map(|entry| (entry.task, entry.started)).collect()))
    }

    /// Adds those of the gather's tasks that are still running.
    pub(super) fn add(&self, probe: Option<&String>, started: Instant, tasks: &[(Task, Weak<()>)]) {
        let running = tasks.iter().filter(|(_, running)| running.strong_count() > 0);
        lock(&self.0).extend(running.map(|(task, running)| Entry {
            probe: probe.cloned(),
            task: *task,
            started,
            running: Weak::clone(running),
        }));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn a_task_is_overdue_until_it_ends() {
        let all = AllOverdue::default();
        let (ended, running) = (Weak::new(), Arc::new(()));
        let tasks = [(Task::Open, ended), (Task::Collector(1), Arc::downgrade(&running))];
        all.add(None, Instant::now(), &tasks);
        let overdue = all.of(None).unwrap();
        assert_eq!(overdue.error(Task::Open), None);
        assert!(overdue.error(Task::Collector(1)).unwrap().starts_with("still running since a scrape 0."));
        assert!(all.of(Some(&"target=other".to_owned())).unwrap().0.is_empty());
        drop(running);
        assert_eq!(all.of(None).unwrap().error(Task::Collector(1)), None);
    }

    #[test]
    fn probes_are_refused_while_too_many_are_overdue_and_the_main_target_is_not() {
        let all = AllOverdue::default();
        let running = Arc::new(());
        for i in 0..MAX_OF_PROBES {
            assert!(all.of(Some(&"target=next".to_owned())).is_some());
            all.add(Some(&format!("target={i}")), Instant::now(), &[(Task::Open, Arc::downgrade(&running))]);
        }
        assert!(all.of(Some(&"target=next".to_owned())).is_none());
        assert!(all.of(None).is_some());
        drop(running);
        assert!(all.of(Some(&"target=next".to_owned())).is_some());
    }
}
