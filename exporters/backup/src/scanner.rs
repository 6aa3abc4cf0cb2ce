//! One scan at a time for each job, shared by all scrapes that wait for it.
//!
//! A hung file system holds the thread that reads from it in the kernel, where nothing can cancel it. So each scan has
//! a thread of its own: in the runtime's pool four of them would be all there are, and the program could not stop
//! before they return. While one is stuck no second one starts, and those who wait for it go at their deadlines.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

use crate::backup::ProofRecord;
use crate::config::{Job, Source};
use crate::scan::{FileCache, Scan, ScanError, ScanInProgress};
use crate::{manifests, pattern};

/// Maximum age of a scan for a later scrape: twice the longest usual scrape interval.
const MAX_AGE: Duration = Duration::from_secs(120);

/// A scan longer than this runs in the background: scrapes get the result of the scan before it, at once.
const SLOW: Duration = Duration::from_millis(100);

type Outcome = Result<Arc<Scan>, Arc<ScanError>>;
type ScanFunction = Box<dyn Fn() -> Result<Scan, ScanError> + Send + Sync>;

/// What was read from the files of one job. An entry is valid while its file does not change; only files of the last
/// scan have one.
#[derive(Debug, Default)]
pub(crate) struct ScanCache {
    pub(crate) manifests: FileCache<manifests::Record>,
    pub(crate) proofs: FileCache<ProofRecord>,
    pub(crate) contents: FileCache<pattern::Verdict>,
}

/// Reads the job's directory. It blocks for as long as the file system does.
fn scan(job: &Job, now: Timestamp, cache: &mut ScanCache) -> Result<Scan, ScanError> {
    let mut scan = ScanInProgress::new(job, now);
    match &job.source {
        Source::Manifests => manifests::scan(&mut scan, &mut cache.manifests, &mut cache.proofs)?,
        Source::Pattern { glob, stable_for } => pattern::scan(&mut scan, glob, *stable_for, &mut cache.contents)?,
    }
    Ok(scan.finish())
}

pub(crate) struct Scanner {
    pub job: Arc<Job>,
    scan_directory: ScanFunction,
    /// When the scan under way began.
    running: Mutex<Option<Instant>>,
    latest: watch::Sender<Option<Outcome>>,
    /// With the time at which it began.
    last_success: Mutex<Option<(Instant, Arc<Scan>)>>,
}

impl Scanner {
    pub(crate) fn new(job: Job) -> Self {
        let job = Arc::new(job);
        let cache = Mutex::new(ScanCache::default());
        let scanned = Arc::clone(&job);
        Self::with_function(job, Box::new(move || scan(&scanned, Timestamp::now(), &mut lock(&cache))))
    }

    fn with_function(job: Arc<Job>, scan_directory: ScanFunction) -> Self {
        let (latest, _) = watch::channel(None);
        Self { job, scan_directory, running: Mutex::default(), latest, last_success: Mutex::default() }
    }

    /// Scans, or waits for the scan under way, until then at the latest.
    pub(crate) async fn scan(self: &Arc<Self>, until: Instant) -> Outcome {
        let mut latest = self.latest.subscribe();
        let since = self.start().map_err(Arc::new)?;
        if let Some(scan) = self.recent().filter(|scan| scan.took > SLOW) {
            return Ok(scan);
        }
        if timeout_at(until, latest.changed()).await.is_ok()
            && let Some(outcome) = &*latest.borrow_and_update()
        {
            return outcome.clone();
        }
        self.recent().ok_or_else(|| {
            let directory = self.job.directory.clone();
            Arc::new(ScanError::NoAnswer { directory, seconds: since.elapsed().as_secs_f64() })
        })
    }

    /// The newest scan that succeeded, if it is young enough to be shown.
    fn recent(&self) -> Option<Arc<Scan>> {
        lock(&self.last_success)
            .as_ref()
            .filter(|(began, _)| began.elapsed() <= MAX_AGE)
            .map(|(_, scan)| Arc::clone(scan))
    }

    /// When the newest scan that succeeded began.
    pub(crate) fn last_success(&self) -> Option<Timestamp> {
        lock(&self.last_success).as_ref().map(|(_, scan)| scan.began)
    }

    /// Since when the scan is under way.
    fn start(self: &Arc<Self>) -> Result<Instant, ScanError> {
        let mut running = lock(&self.running);
        if let Some(since) = *running {
            return Ok(since);
        }
        let this = Arc::clone(self);
        let began = Instant::now();
        let thread = thread::Builder::new().name(format!("scan {}", self.job.name)).spawn(move || this.run(began));
        thread.map_err(|source| ScanError::Thread { directory: self.job.directory.clone(), source })?;
        *running = Some(began);
        Ok(began)
    }

    fn run(&self, began: Instant) {
        let running = Running(self);
        let outcome = (self.scan_directory)().map(Arc::new).map_err(Arc::new);
        // Before the result is there: a scrape that gets it must be able to start the next scan.
        drop(running);
        if let Ok(scan) = &outcome {
            *lock(&self.last_success) = Some((began, Arc::clone(scan)));
        }
        self.latest.send_replace(Some(outcome));
    }
}

/// Ends with the thread, however that ends.
struct Running<'a>(&'a Scanner);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        *lock(&self.0.running) = None;
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A directory with real files, and a clock that the test sets.
#[cfg(test)]
pub(crate) mod testing {
    use std::fs;
    use std::path::Path;

    use super::*;

    pub(crate) struct TestDirectory {
        directory: tempfile::TempDir,
        pub(crate) job: Job,
        pub(crate) cache: ScanCache,
        pub(crate) now: Timestamp,
    }

    impl TestDirectory {
        pub(crate) fn new(source: Source, now: &str) -> Self {
            let directory = tempfile::tempdir().unwrap();
            let job = Job {
                name: "medassist".parse().unwrap(),
                directory: directory.path().to_owned(),
                source,
                rpo: Duration::from_secs(1800),
                rto: Duration::from_secs(3600),
                interval: None,
            };
            Self { directory, job, cache: ScanCache::default(), now: at(now) }
        }

        pub(crate) fn path(&self) -> &Path {
            self.directory.path()
        }

        pub(crate) fn write(&self, name: &str, content: &[u8]) {
            fs::write(self.path().join(name), content).unwrap();
        }

        pub(crate) fn scan(&mut self) -> Scan {
            scan(&self.job, self.now, &mut self.cache).unwrap()
        }
    }

    pub(crate) fn at(time: &str) -> Timestamp {
        time.parse().unwrap()
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc;

    use super::*;
    use crate::scan::Files;

    /// A directory that hangs until the test sends the result of its scan.
    struct FakeDirectory {
        scanner: Arc<Scanner>,
        answers: mpsc::Sender<Result<Scan, ScanError>>,
        scans_started: Arc<AtomicUsize>,
    }

    fn fake() -> FakeDirectory {
        let (answers, inbox) = mpsc::channel();
        let inbox = Mutex::new(inbox);
        let scans_started = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&scans_started);
        let job = Job {
            name: "a".parse().unwrap(),
            directory: "/a".into(),
            source: Source::Manifests,
            rpo: Duration::from_secs(1),
            rto: Duration::from_secs(1),
            interval: None,
        };
        let scan_function = move || {
            counted.fetch_add(1, Ordering::SeqCst);
            lock(&inbox).recv().unwrap()
        };
        FakeDirectory {
            scanner: Arc::new(Scanner::with_function(Arc::new(job), Box::new(scan_function))),
            answers,
            scans_started,
        }
    }

    fn soon() -> Instant {
        Instant::now() + Duration::from_millis(20)
    }

    fn late() -> Instant {
        Instant::now() + Duration::from_secs(20)
    }

    fn too_slow() -> ScanError {
        ScanError::TooSlow { directory: "/a".into() }
    }

    #[tokio::test]
    async fn a_hung_directory_costs_one_thread_and_nobody_waits_beyond_the_deadline() {
        let fake = fake();
        for _ in 0..5 {
            let error = fake.scanner.scan(soon()).await.unwrap_err();
            assert!(matches!(*error, ScanError::NoAnswer { .. }), "{error}");
        }
        fake.answers.send(Ok(Scan { took: Duration::from_secs(9), ..Scan::default() })).unwrap();
        // Whether it waited for this scan or comes after its end, it gets the result of that one scan.
        let answered = loop {
            match fake.scanner.scan(soon()).await {
                Ok(scan) => break scan,
                Err(error) => assert!(matches!(*error, ScanError::NoAnswer { .. }), "{error}"),
            }
        };
        assert_eq!(answered.took.as_secs(), 9);
        assert!(fake.scans_started.load(Ordering::SeqCst) <= 2);
    }

    #[tokio::test]
    async fn all_who_wait_share_one_scan_and_the_next_gets_a_new_one() {
        let fake = fake();
        let waiting = futures::future::join_all((0..50).map(|_| fake.scanner.scan(late())));
        // Polled after the others: all of them wait by then.
        let answer = async { fake.answers.send(Ok(Scan::default())).unwrap() };
        let (outcomes, ()) = futures::join!(waiting, answer);
        for outcome in outcomes {
            outcome.unwrap();
        }
        assert_eq!(fake.scans_started.load(Ordering::SeqCst), 1);
        fake.answers.send(Err(too_slow())).unwrap();
        assert!(matches!(*fake.scanner.scan(late()).await.unwrap_err(), ScanError::TooSlow { .. }));
        assert_eq!(fake.scans_started.load(Ordering::SeqCst), 2);
        assert!(fake.scanner.last_success().is_some(), "an error does not take back the last success");
    }

    #[tokio::test]
    async fn a_scan_that_ends_between_two_scrapes_serves_the_second() {
        let fake = fake();
        fake.answers.send(Ok(Scan { took: Duration::from_secs(9), ..Scan::default() })).unwrap();
        fake.scanner.scan(late()).await.unwrap();
        // The second scan hangs: its deadline comes, and the first one is young enough.
        assert_eq!(fake.scanner.scan(soon()).await.unwrap().took.as_secs(), 9);
    }

    #[tokio::test]
    async fn nobody_waits_for_a_slow_scan_after_the_first_one() {
        let fake = fake();
        fake.answers.send(Ok(Scan { took: SLOW * 2, ..Scan::default() })).unwrap();
        fake.scanner.scan(late()).await.unwrap();
        // The second scan hangs, and its scrape has 20 s: it gets the first result without a wait.
        let second = tokio::time::timeout(Duration::from_secs(10), fake.scanner.scan(late()));
        assert_eq!(second.await.unwrap().unwrap().took, SLOW * 2);
        eventually(|| fake.scans_started.load(Ordering::SeqCst) == 2).await;
        // Its result is the third scrape's.
        fake.answers.send(Ok(Scan { took: SLOW * 3, ..Scan::default() })).unwrap();
        eventually(|| fake.scanner.recent().is_some_and(|scan| scan.took == SLOW * 3)).await;
    }

    async fn eventually(condition: impl Fn() -> bool) {
        let poll = async {
            while !condition() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), poll).await.expect("within 20 s");
    }

    #[tokio::test]
    async fn a_panic_in_a_scan_does_not_stop_the_scans() {
        let fake = fake();
        let FakeDirectory { scanner, answers, scans_started } = fake;
        drop(answers);
        let again = async {
            while scans_started.load(Ordering::SeqCst) < 2 {
                assert!(matches!(*scanner.scan(soon()).await.unwrap_err(), ScanError::NoAnswer { .. }));
            }
        };
        tokio::time::timeout(Duration::from_secs(20), again).await.expect("a second scan");
    }

    #[test]
    fn a_directory_that_vanishes_is_an_error_until_it_is_back() {
        let mut site = testing::TestDirectory::new(Source::Manifests, "2026-11-22T18:20:00Z");
        assert_eq!(site.scan().files, Files::default());
        let (path, aside) = (site.path().to_owned(), site.path().with_extension("aside"));
        fs::rename(&path, &aside).unwrap();
        let error = scan(&site.job, site.now, &mut site.cache).unwrap_err().to_string();
        assert!(error.contains("No such file or directory") && error.ends_with("create or mount it"), "{error}");
        fs::write(&path, b"").unwrap();
        let error = scan(&site.job, site.now, &mut site.cache).unwrap_err().to_string();
        assert!(error.contains("Not a directory"), "{error}");
        fs::remove_file(&path).unwrap();
        fs::rename(&aside, &path).unwrap();
        assert_eq!(site.scan().files, Files::default());
    }
}
