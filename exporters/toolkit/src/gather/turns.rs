//! Whose turn it is among the probes: a bounded number runs at a time, and targets that do not answer give way to
//! others.
//!
//! A datacenter that does not answer makes a hundred probes wait for their deadlines at any time. They must not keep a
//! target that answers from its turn. So a probe that waits takes the turn of one that has waited long enough for its
//! session. A target that answered lately is first, and of the others the newest request.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use service_kit::lock::lock;
use tokio::sync::{Notify, oneshot};
use tokio::time::{Instant, sleep, timeout_at};

use super::progress::Progress;

/// Probes that run at a time. Their answers are in memory.
pub(super) const MAX_TURNS: usize = 64;

/// Probes of one host and port, with different parameters, that run at a time.
const MAX_TURNS_OF_PLACE: usize = 4;

/// How long a session may take to open while another probe waits.
const SESSION_TIMEOUT: Duration = Duration::from_secs(1);

/// The same for a target that answered lately.
const KNOWN_SESSION_TIMEOUT: Duration = Duration::from_secs(3);

#[derive(Default)]
pub(super) struct Turns(Mutex<State>);

#[derive(Default)]
struct State {
    next: u64,
    running: HashMap<u64, Running>,
    /// The next one is the last: those that answered lately, and the newest of them.
    waiting: Vec<Waiting>,
}

struct Waiting {
    id: u64,
    /// Whether the target answered lately.
    answered: bool,
    place: String,
    gives_way: Arc<Notify>,
    granted: oneshot::Sender<()>,
}

struct Running {
    place: String,
    started: Instant,
    gives_way: Arc<Notify>,
    /// Set when the gather starts.
    progress: Option<Arc<Mutex<Progress>>>,
    /// Its session has taken too long.
    is_overdue: bool,
    has_given_way: bool,
}

/// The right to run one gather, until it is dropped.
pub(super) struct Turn {
    id: u64,
    session_timeout: Duration,
    gives_way: Arc<Notify>,
    turns: Arc<Turns>,
}

impl Turns {
    /// A turn, or `None` when there was none until the deadline.
    pub(super) async fn next(self: &Arc<Self>, place: &str, answered: bool, deadline: Instant) -> Option<Turn> {
        let session_timeout = if answered { KNOWN_SESSION_TIMEOUT } else { SESSION_TIMEOUT };
        let (granted, is_granted) = oneshot::channel();
        let gives_way = Arc::new(Notify::new());
        let id = {
            let mut state = lock(&self.0);
            state.next += 1;
            let (id, gives_way) = (state.next, Arc::clone(&gives_way));
            let waiting = Waiting { id, answered, place: place.to_owned(), gives_way, granted };
            let position = state.waiting.partition_point(|other| answered || !other.answered);
            state.waiting.insert(position, waiting);
            id
        };
        // Leaves the queue if this future is dropped.
        let turn = Turn { id, session_timeout, gives_way, turns: Arc::clone(self) };
        self.hand_out();
        timeout_at(deadline, is_granted).await.ok()?.ok()?;
        Some(turn)
    }

    /// Gives free turns to those that wait, and lets one that has taken too long give way. Called whenever one of the
    /// two changes.
    fn hand_out(&self) {
        let mut state = lock(&self.0);
        for index in (0..state.waiting.len()).rev() {
            let is_full = state.running.len() >= MAX_TURNS;
            let place = &state.waiting[index].place;
            let place_is_full =
                state.running.values().filter(|running| running.place == *place).count() >= MAX_TURNS_OF_PLACE;
            if !is_full && !place_is_full {
                let Waiting { id, place, gives_way, granted, .. } = state.waiting.remove(index);
                if granted.send(()).is_ok() {
                    let started = Instant::now();
                    let running =
                        Running { place, started, gives_way, progress: None, is_overdue: false, has_given_way: false };
                    state.running.insert(id, running);
                }
                continue;
            }
            let only = place_is_full.then(|| place.clone());
            let in_the_way = |running: &&mut Running| only.as_ref().is_none_or(|place| running.place == *place);
            let overdue = state.running.values_mut().filter(in_the_way);
            let overdue = overdue.filter(|running| running.is_overdue && !running.has_opened());
            if let Some(longest) = overdue.min_by_key(|running| (!running.has_given_way, running.started))
                // One at a time: its end calls this again.
                && !longest.has_given_way
            {
                longest.has_given_way = true;
                longest.gives_way.notify_one();
            }
            if is_full {
                return;
            }
        }
    }

    #[cfg(test)]
    fn counts(&self) -> (usize, usize) {
        let state = lock(&self.0);
        (state.running.len(), state.waiting.len())
    }
}

impl Running {
    fn has_opened(&self) -> bool {
        self.progress.as_ref().is_some_and(|progress| lock(progress).opened.is_some())
    }
}

impl Turn {
    fn is_overdue(&self) {
        if let Some(running) = lock(&self.turns.0).running.get_mut(&self.id) {
            running.is_overdue = !running.has_opened();
        }
        self.turns.hand_out();
    }

    pub(super) fn starts(&self, progress: &Arc<Mutex<Progress>>) {
        if let Some(running) = lock(&self.turns.0).running.get_mut(&self.id) {
            running.progress = Some(Arc::clone(progress));
        }
    }

    /// Runs the gather until it ends or gives way to another one.
    pub(super) async fn run(&self, gather: impl Future<Output = ()>, progress: &Mutex<Progress>) {
        let started = Instant::now();
        let gave_way = async {
            sleep(self.session_timeout).await;
            self.is_overdue();
            self.gives_way.notified().await;
        };
        tokio::select! {
            () = gather => {}
            () = gave_way => {
                let waited = started.elapsed();
                let reason = format!(
                    "no answer after {:.2} s; gave way to other probes, of which {MAX_TURNS} run at a time",
                    waited.as_secs_f64()
                );
                lock(progress).opened.get_or_insert((Err(reason), waited));
            }
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        {
            let mut state = lock(&self.turns.0);
            state.running.remove(&self.id);
            state.waiting.retain(|waiting| waiting.id != self.id);
        }
        self.turns.hand_out();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn within(seconds: u64) -> Instant {
        Instant::now() + Duration::from_secs(seconds)
    }

    async fn take(turns: &Arc<Turns>, place: &str) -> Turn {
        turns.next(place, false, within(60)).await.unwrap()
    }

    /// A gather that never opens its session.
    fn hang(turn: Turn) -> tokio::task::JoinHandle<String> {
        tokio::spawn(async move {
            let progress = Arc::new(Mutex::new(Progress::default()));
            turn.starts(&progress);
            turn.run(std::future::pending(), &progress).await;
            let opened = lock(&progress).opened.clone();
            opened.unwrap().0.unwrap_err()
        })
    }

    #[tokio::test(start_paused = true)]
    async fn a_new_target_takes_the_turn_of_one_that_does_not_answer() {
        let turns = Arc::<Turns>::default();
        let started = Instant::now();
        for i in 0..500 {
            let turns = Arc::clone(&turns);
            tokio::spawn(async move {
                if let Some(turn) = turns.next(&format!("dead{i}"), false, within(10)).await {
                    hang(turn).await.unwrap();
                }
            });
        }
        // The clock moves when all of them wait.
        tokio::time::sleep(Duration::from_millis(1)).await;
        assert_eq!(turns.counts(), (MAX_TURNS, 500 - MAX_TURNS));
        for _ in 0..10 {
            let asked = Instant::now();
            let turn = turns.next("alive", false, within(10)).await.unwrap();
            assert!(asked.elapsed() < 2 * SESSION_TIMEOUT, "{:?}", asked.elapsed());
            drop(turn);
        }
        assert!(started.elapsed() < Duration::from_secs(20));
    }

    #[tokio::test(start_paused = true)]
    async fn a_target_that_gave_way_has_a_reason_and_an_open_session_stays() {
        let turns = Arc::<Turns>::default();
        let mut open = Vec::new();
        for i in 1..MAX_TURNS {
            let turn = take(&turns, &format!("open{i}")).await;
            let progress =
                Arc::new(Mutex::new(Progress { opened: Some((Ok(()), SESSION_TIMEOUT)), ..Progress::default() }));
            turn.starts(&progress);
            open.push(turn);
        }
        let dead = hang(take(&turns, "dead").await);
        assert!(!dead.is_finished());
        let next = take(&turns, "next").await;
        let reason = dead.await.unwrap();
        assert!(reason.starts_with("no answer after 1.") && reason.contains("gave way"), "{reason}");
        next.starts(&Arc::new(Mutex::new(Progress { opened: Some((Ok(()), SESSION_TIMEOUT)), ..Progress::default() })));
        assert!(turns.next("late", false, within(5)).await.is_none(), "sessions in use do not give way");
    }

    #[tokio::test(start_paused = true)]
    async fn one_target_has_a_few_turns_and_one_that_answered_last_time_more_time() {
        let turns = Arc::<Turns>::default();
        let mut hung: Vec<_> = Vec::new();
        for _ in 0..MAX_TURNS_OF_PLACE {
            hung.push(hang(turns.next("one", true, within(60)).await.unwrap()));
        }
        take(&turns, "another").await;
        let asked = Instant::now();
        take(&turns, "one").await;
        assert!(asked.elapsed() >= KNOWN_SESSION_TIMEOUT);
        assert_eq!(hung.iter().filter(|hung| hung.is_finished()).count(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_target_that_answered_last_time_is_before_any_number_of_new_ones() {
        let turns = Arc::<Turns>::default();
        // Each one that gets no turn comes back at once.
        for i in 0..500 {
            let turns = Arc::clone(&turns);
            tokio::spawn(async move {
                for n in 0..20 {
                    if let Some(turn) = turns.next(&format!("dead{i}.{n}"), false, within(1)).await {
                        hang(turn).await.unwrap();
                    }
                }
            });
        }
        for _ in 0..5 {
            tokio::time::sleep(Duration::from_secs(1)).await;
            let asked = Instant::now();
            drop(turns.next("alive", true, within(10)).await.unwrap());
            assert!(asked.elapsed() < 2 * SESSION_TIMEOUT, "{:?}", asked.elapsed());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_that_leaves_leaves_the_queue() {
        let turns = Arc::<Turns>::default();
        let mut all = Vec::new();
        for i in 0..MAX_TURNS {
            all.push(take(&turns, &format!("{i}")).await);
        }
        assert!(turns.next("late", false, Instant::now() + SESSION_TIMEOUT / 2).await.is_none());
        assert_eq!(turns.counts(), (MAX_TURNS, 0));
        drop(all);
        assert_eq!(turns.counts(), (0, 0));
    }
}
