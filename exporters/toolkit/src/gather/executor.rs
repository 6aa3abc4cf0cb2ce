//! Where collectors run: on a thread of their own, so that none of them delays HTTP, signals or another collector.
//!
//! One thread runs the tasks of all gathers and, between them, the drivers of sockets and timers. A task that blocks
//! the thread (it sleeps, it parses without an end) keeps that thread: after [`BLOCKED_AFTER`] the others, and the
//! drivers, move to a new one. The blocked thread ends with its task. So a sound exporter has one such thread, and no
//! task ever changes threads in the middle of a scrape.

use std::collections::{HashMap, VecDeque};
use std::future::{Future, poll_fn};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::thread;
use std::time::{Duration, Instant};

use async_task::Runnable;
use tokio::runtime::{EnterGuard, Runtime};
use tokio::sync::Notify;
use tracing::{error, info, warn};

use service_kit::lock::lock;

/// How long a task may run without a pause before the other tasks leave its thread. Parsing a page of 10,000 servers
/// takes 50 ms.
const BLOCKED_AFTER: Duration = Duration::from_millis(200);

/// How often a gather checks for a blocked thread.
pub(super) const CHECK_INTERVAL: Duration = Duration::from_millis(100);

/// Maximum blocked threads. With so many, gathers wait until one of them ends.
const MAX_BLOCKED: usize = 32;

/// Tasks to run until the drivers get their turn.
const TASKS_PER_TURN: usize = 61;

/// A collector that blocks its thread at every scrape is logged as often as this.
const LOG_INTERVAL: Duration = Duration::from_secs(600);

/// What a task is, for the log.
#[derive(Clone, Debug)]
pub(super) struct Subject {
    pub(super) target: Arc<str>,
    pub(super) collector: &'static str,
}

/// Cheap to clone. The thread lives until the program ends.
#[derive(Clone)]
pub(crate) struct Executor(Inner);

#[derive(Clone)]
enum Inner {
    Thread(Arc<Shared>),
    /// The test's own runtime, whose time may be paused.
    #[cfg(test)]
    Current,
}

struct Shared {
    runtime: Runtime,
    state: Mutex<State>,
    has_tasks: Notify,
}

#[derive(Default)]
struct State {
    tasks: VecDeque<Runnable<Subject>>,
    /// The thread that runs the tasks, by number. Others are blocked, and end with their task.
    active: u64,
    /// What the active thread runs, and since when. While it waits for sockets and timers: nothing.
    running: Option<(Subject, Instant)>,
    blocked: usize,
    logged: HashMap<&'static str, Instant>,
}

impl Executor {
    pub(crate) fn start() -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().max_blocking_threads(4).build()?;
        let shared = Arc::new(Shared { runtime, state: Mutex::default(), has_tasks: Notify::new() });
        shared.start_thread(0)?;
        Ok(Self(Inner::Thread(shared)))
    }

    #[cfg(test)]
    pub(super) fn current() -> Self {
        Self(Inner::Current)
    }

    /// Sockets, timers and tasks that are made while the guard lives belong to this executor.
    pub(crate) fn enter(&self) -> Option<EnterGuard<'_>> {
        match &self.0 {
            Inner::Thread(shared) => Some(shared.runtime.enter()),
            #[cfg(test)]
            Inner::Current => None,
        }
    }

    pub(super) fn spawn(&self, subject: Subject, task: impl Future<Output = ()> + Send + 'static) {
        match &self.0 {
            Inner::Thread(shared) => {
                let shared = Arc::clone(shared);
                let schedule = move |runnable| shared.schedule(runnable);
                let (runnable, task) = async_task::Builder::new().metadata(subject).spawn(|_| task, schedule);
                task.detach();
                runnable.schedule();
            }
            #[cfg(test)]
            Inner::Current => drop(tokio::spawn(task)),
        }
    }

    /// Moves the tasks to a new thread if a task blocks the current one.
    pub(super) fn leave_blocked_thread(&self) {
        match &self.0 {
            Inner::Thread(shared) => shared.leave_blocked_thread(),
            #[cfg(test)]
            Inner::Current => {}
        }
    }
}

impl Shared {
    fn start_thread(self: &Arc<Self>, number: u64) -> io::Result<()> {
        let shared = Arc::clone(self);
        thread::Builder::new().name("gather".to_owned()).spawn(move || shared.run(number)).map(drop)
    }

    fn schedule(&self, task: Runnable<Subject>) {
        lock(&self.state).tasks.push_back(task);
        self.has_tasks.notify_one();
    }

    fn run(&self, number: u64) {
        let handle = self.runtime.handle();
        let mut turn = 0;
        loop {
            let Some(task) = self.next() else {
                // Here, and only here, the drivers of sockets and timers run.
                self.runtime.block_on(self.has_tasks.notified());
                continue;
            };
            let mut task = Some(task);
            // Not in the runtime, whose drivers another thread must be able to take over. The task still has its
            // context, and a budget that makes it pause.
            let run_task = poll_fn(|_| {
                if let Some(task) = task.take() {
                    task.run();
                }
                Poll::Ready(())
            });
            // Collectors catch their panics; this one is from dropping what a collector left.
            let _ = catch_unwind(AssertUnwindSafe(|| handle.block_on(run_task)));
            if !self.is_active_after_task(number) {
                return;
            }
            turn += 1;
            if turn % TASKS_PER_TURN == 0 {
                self.runtime.block_on(tokio::task::yield_now());
            }
        }
    }

    fn next(&self) -> Option<Runnable<Subject>> {
        let mut state = lock(&self.state);
        let task = state.tasks.pop_front()?;
        state.running = Some((task.metadata().clone(), Instant::now()));
        Some(task)
    }

    fn is_active_after_task(&self, number: u64) -> bool {
        let mut state = lock(&self.state);
        if state.active == number {
            state.running = None;
            return true;
        }
        state.blocked -= 1;
        info!(blocked_threads = state.blocked, "blocked thread ended");
        false
    }

    fn leave_blocked_thread(self: &Arc<Self>) {
        let mut state = lock(&self.state);
        let Some((Subject { target, collector }, since)) = state.running.clone() else { return };
        let seconds = since.elapsed().as_secs_f64();
        if since.elapsed() < BLOCKED_AFTER {
            return;
        }
        let is_logged = state.logged.get(collector).is_some_and(|logged| logged.elapsed() < LOG_INTERVAL);
        if !is_logged {
            state.logged.insert(collector, Instant::now());
            warn!(collector, %target, seconds, "collector blocks its thread (a bug in the exporter); other collectors continue on a new thread");
        }
        // The new thread waits for this lock.
        let started = if state.blocked < MAX_BLOCKED {
            self.start_thread(state.active + 1)
        } else {
            Err(io::Error::other(format!("{MAX_BLOCKED} threads are blocked")))
        };
        match started {
            Ok(()) => {
                state.active += 1;
                state.blocked += 1;
                state.running = None;
            }
            Err(error) if !is_logged => {
                error!(%error, "cannot start a thread; scrapes time out until the collector ends")
            }
            Err(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;

    use super::*;

    fn subject(collector: &'static str) -> Subject {
        Subject { target: Arc::from("test:1"), collector }
    }

    /// Waits for the answer of a task; at most 30 s.
    async fn within_limit<T>(answer: oneshot::Receiver<T>) -> T {
        tokio::time::timeout(Duration::from_secs(30), answer).await.unwrap().unwrap()
    }

    #[tokio::test]
    async fn tasks_have_sockets_timers_and_a_budget() {
        let executor = Executor::start().unwrap();
        let (sender, answer) = oneshot::channel();
        executor.spawn(subject("sockets"), async move {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            let client = tokio::net::TcpStream::connect(listener.local_addr().unwrap());
            let (accepted, connected) = tokio::join!(listener.accept(), client);
            tokio::time::sleep(Duration::from_millis(1)).await;
            let budget = tokio::task::coop::has_budget_remaining();
            let _ = sender.send(accepted.is_ok() && connected.is_ok() && budget);
        });
        assert!(within_limit(answer).await);
    }

    #[tokio::test]
    async fn others_leave_a_blocked_thread_and_it_ends_with_its_task() {
        let executor = Executor::start().unwrap();
        let Inner::Thread(shared) = executor.0.clone() else { unreachable!() };
        let (release, blocked) = std::sync::mpsc::channel::<()>();
        let (sender, answer) = oneshot::channel();
        executor.spawn(subject("blocking"), async move {
            let _ = blocked.recv();
        });
        // Its timer and its wake-up come after the other task blocked the thread.
        executor.spawn(subject("other"), async move {
            tokio::time::sleep(Duration::from_millis(1)).await;
            let _ = sender.send(());
        });
        let check = async {
            loop {
                executor.leave_blocked_thread();
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::select! {
            () = within_limit(answer) => {}
            () = check => unreachable!("it never ends"),
        }
        assert_eq!(lock(&shared.state).blocked, 1);
        drop(release);
        let ended = async {
            while lock(&shared.state).blocked > 0 {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), ended).await.unwrap();
    }

    #[tokio::test]
    async fn a_panicking_task_does_not_end_the_thread() {
        let executor = Executor::start().unwrap();
        executor.spawn(subject("panicking"), async { panic!("while its state is dropped") });
        let (sender, answer) = oneshot::channel();
        executor.spawn(subject("next"), async move {
            let _ = sender.send(());
        });
        within_limit(answer).await;
    }
}
