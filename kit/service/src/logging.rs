//! Logs on standard error, logfmt or JSON. A log line never makes a request wait: a thread of its own writes the lines.
//! While standard error is stalled, a bounded number of lines is kept; further lines are dropped and counted.

use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, mpsc};
use std::thread;
use std::time::Duration;

use tracing_appender::non_blocking::{ErrorCounter, NonBlocking, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::panics;

/// A few seconds of a busy access log, about half a megabyte.
const MAX_BUFFERED_LINES: usize = 2048;

/// For the buffered lines at the program's end. Longer than the writer thread's own timeouts together (1.1 s).
const FLUSH_TIMEOUT: Duration = Duration::from_millis(1500);

/// Our libraries, whose messages are logged at the program's level.
const KITS: [&str; 5] = ["exporter_toolkit", "exposition", "mysql_kit", "service_kit", "web_kit"];

/// The flags of every program's log. A program with another default changes it with `Command::mut_arg`.
// Its IDs are not names of fields, so that a program's own fields never collide with them.
#[derive(clap::Args, Clone, Copy, Debug)]
#[group(skip)]
pub struct LogArgs {
    /// Minimum level of the messages to log
    #[arg(id = "log.level", long = "log.level", value_name = "LEVEL", value_enum, default_value_t = Level::Info, help_heading = "Logs")]
    pub log_level: Level,

    /// Log format
    #[arg(id = "log.format", long = "log.format", value_name = "FORMAT", value_enum, default_value_t = Format::Logfmt, help_heading = "Logs")]
    pub log_format: Format,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Level {
    Debug,
    Info,
    Warn,
    Error,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    Logfmt,
    Json,
}

impl Level {
    fn filter(self) -> LevelFilter {
        match self {
            Self::Debug => LevelFilter::DEBUG,
            Self::Info => LevelFilter::INFO,
            Self::Warn => LevelFilter::WARN,
            Self::Error => LevelFilter::ERROR,
        }
    }
}

/// Keeps the log open. When it is dropped, buffered lines are written, for at most 1.5 s.
#[must_use = "the last lines are lost unless the guard lives until the program ends"]
#[derive(Debug)]
pub struct LogGuard(Option<WorkerGuard>);

/// Starts the log of this program (`mysql-exporter`, whose crate is `mysql_exporter`). Panics are logged, too. Only the
/// first call has an effect.
pub fn init(args: LogArgs, program: &str) -> LogGuard {
    panics::log();
    let (writer, dropped, guard) = non_blocking(io::stderr());
    let _ = DROPPED.set(dropped);
    let registry = tracing_subscriber::registry().with(filter(args.log_level.filter(), &program.replace('-', "_")));
    let _ = match args.log_format {
        Format::Logfmt => {
            let layer = tracing_logfmt::builder().with_target(false).layer();
            registry.with(layer.with_writer(writer)).try_init()
        }
        Format::Json => {
            let layer = tracing_subscriber::fmt::layer().json().flatten_event(true).with_target(false);
            registry.with(layer.with_writer(writer)).try_init()
        }
    };
    guard
}

/// Total number of log lines that were not written, because standard error was stalled or failed. Programs export it as
/// a counter.
pub fn dropped_lines() -> u64 {
    DROPPED.get().map_or(0, DroppedLines::total)
}

static DROPPED: OnceLock<DroppedLines> = OnceLock::new();

/// The program's own messages. Of libraries only warnings: at debug, database drivers log statements, and with them
/// users' data.
fn filter(level: LevelFilter, program_crate: &str) -> Targets {
    Targets::new()
        .with_default(level.min(LevelFilter::WARN))
        // It warns at each lookup about unknown lines in /etc/resolv.conf.
        .with_target("hickory", LevelFilter::ERROR)
        .with_targets(KITS.into_iter().chain([program_crate]).map(|target| (target, level)))
}

fn non_blocking(destination: impl Write + Send + 'static) -> (NonBlocking, DroppedLines, LogGuard) {
    let failed = Arc::new(AtomicU64::new(0));
    let destination = Lossy { destination, failed: Arc::clone(&failed) };
    let builder = NonBlockingBuilder::default().lossy(true).buffered_lines_limit(MAX_BUFFERED_LINES).thread_name("log");
    let (writer, guard) = builder.finish(destination);
    let dropped = DroppedLines { not_buffered: writer.error_counter(), failed };
    (writer, dropped, LogGuard(Some(guard)))
}

struct DroppedLines {
    not_buffered: ErrorCounter,
    failed: Arc<AtomicU64>,
}

impl DroppedLines {
    fn total(&self) -> u64 {
        self.not_buffered.dropped_lines() as u64 + self.failed.load(Ordering::Relaxed)
    }
}

/// Counts the lines that can't be written (a closed pipe, a full disk), which the writer thread would ignore.
struct Lossy<W> {
    destination: W,
    failed: Arc<AtomicU64>,
}

impl<W: Write> Write for Lossy<W> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        // The writer thread writes whole lines.
        if self.destination.write_all(line).is_err() {
            self.failed.fetch_add(1, Ordering::Relaxed);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        let _ = self.destination.flush();
        Ok(())
    }
}

impl Drop for LogGuard {
    fn drop(&mut self) {
        let guard = self.0.take();
        let (done, flushed) = mpsc::channel();
        // On a thread, because the guard prints when its own timeout passes, and standard output may be the same
        // stalled pipe.
        let flush = thread::Builder::new().name("log-flush".to_owned()).spawn(move || {
            drop(guard);
            let _ = done.send(());
        });
        if flush.is_ok() {
            let _ = flushed.recv_timeout(FLUSH_TIMEOUT);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead as _, BufReader};
    use std::time::Instant;

    use tracing::Level as TracingLevel;
    use tracing::subscriber::with_default;

    use super::*;

    #[test]
    fn a_stalled_reader_costs_lines_and_no_time() {
        let (reader, stalled) = io::pipe().unwrap();
        let (writer, dropped, guard) = non_blocking(stalled);
        // More than the pipe (64 kB) and the buffer hold.
        let lines = 4 * MAX_BUFFERED_LINES as u64;
        let started = Instant::now();
        let subscriber = tracing_subscriber::registry().with(tracing_logfmt::builder().layer().with_writer(writer));
        with_default(subscriber, || {
            for number in 0..lines {
                tracing::info!(
                    number,
                    padding = "................................................................",
                    "line"
                );
            }
        });
        assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
        let lost = dropped.total();
        assert!(lost > 0 && lost < lines, "{lost} of {lines}");

        let started = Instant::now();
        drop(guard);
        assert!(started.elapsed() < 2 * FLUSH_TIMEOUT, "{:?}", started.elapsed());

        // A reader that comes back gets every line that was not counted as dropped.
        let mut reader = BufReader::new(reader).lines();
        for _ in 0..lines - lost {
            assert!(reader.next().unwrap().unwrap().contains("padding="));
        }
    }

    #[test]
    fn the_last_lines_are_written_before_the_guard_is_gone() {
        let (reader, destination) = io::pipe().unwrap();
        let (mut writer, dropped, guard) = non_blocking(destination);
        for number in 0..100 {
            writeln!(writer, "line {number}").unwrap();
        }
        drop((writer, guard));
        assert_eq!(BufReader::new(reader).lines().count(), 100);
        assert_eq!(dropped.total(), 0);
    }

    #[test]
    fn lines_that_cannot_be_written_are_counted() {
        let (reader, destination) = io::pipe().unwrap();
        drop(reader);
        let (mut writer, dropped, guard) = non_blocking(destination);
        writer.write_all(b"line\n").unwrap();
        drop(guard);
        assert_eq!(dropped.total(), 1);
    }

    #[test]
    fn libraries_log_warnings_only() {
        let debug = filter(LevelFilter::DEBUG, "medassist_api");
        for (target, level, enabled) in [
            ("medassist_api::db", TracingLevel::DEBUG, true),
            ("service_kit::resolve", TracingLevel::DEBUG, true),
            ("mysql_async::conn", TracingLevel::INFO, false),
            ("mysql_async::conn", TracingLevel::WARN, true),
            ("any_other_library", TracingLevel::DEBUG, false),
            ("hickory_resolver", TracingLevel::WARN, false),
        ] {
            assert_eq!(debug.would_enable(target, &level), enabled, "{target} {level}");
        }
        let error = filter(LevelFilter::ERROR, "medassist_api");
        assert!(!error.would_enable("mysql_async::conn", &TracingLevel::WARN));
        assert!(!error.would_enable("medassist_api", &TracingLevel::WARN));
    }
}
