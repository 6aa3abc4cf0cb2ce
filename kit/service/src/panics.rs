//! Panics as one structured log line each, and as errors with the panic's text.

use std::any::Any;
use std::backtrace::{Backtrace, BacktraceStatus};
use std::cell::RefCell;
use std::collections::HashSet;
use std::panic::{AssertUnwindSafe, PanicHookInfo, catch_unwind, set_hook};
use std::sync::Mutex;

use tracing::{debug, error};

use crate::lock::lock;

/// The longest text that is kept of a panic. Its message may quote what a service sent.
const MAX_TEXT_BYTES: usize = 300;

thread_local! {
    static LAST: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Logs each place in the code that panics once at level error, with the stack if `RUST_BACKTRACE` is set, and again
/// only at level debug: a collector that panics does it at every scrape. Without it, the standard library writes plain
/// lines to standard error, whatever the log's format.
pub fn log() {
    // Bounded by the number of places in the code.
    let logged = Mutex::new(HashSet::new());
    set_hook(Box::new(move |info| {
        let panic = describe(info);
        LAST.set(Some(panic.clone()));
        let place = info.location().map(|location| (location.file().to_owned(), location.line(), location.column()));
        if !lock(&logged).insert(place) {
            debug!(%panic, "panic");
            return;
        }
        let stack = Backtrace::capture();
        if stack.status() == BacktraceStatus::Captured {
            error!(%panic, %stack, "panic");
        } else {
            error!(%panic, "panic; set RUST_BACKTRACE=1 to log its stack");
        }
    }));
}

/// Nothing is logged or printed: whoever catches the panic does it. For the start of a program, which fails with one
/// line.
pub fn keep() {
    set_hook(Box::new(|info| LAST.set(Some(describe(info)))));
}

/// Runs code whose panic is an error with its text.
pub fn catch<T>(start: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(start)).map_err(|payload| text(&*payload))
}

/// The text of a panic that this thread caught just now: its place and message, in one line.
pub fn text(payload: &(dyn Any + Send)) -> String {
    // Without a hook of ours, as in tests, the place is not known.
    LAST.take().unwrap_or_else(|| format!("panicked: {}", one_line(message(payload))))
}

fn describe(info: &PanicHookInfo<'_>) -> String {
    let message = one_line(message(info.payload()));
    info.location().map_or_else(
        || format!("panicked: {message}"),
        |location| format!("panicked at {}:{}: {message}", location.file(), location.line()),
    )
}

fn message(payload: &(dyn Any + Send)) -> &str {
    let text = payload.downcast_ref::<&str>().copied();
    text.or_else(|| payload.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message")
}

fn one_line(message: &str) -> String {
    let mut text = message.split_whitespace().collect::<Vec<_>>().join(" ");
    if text.len() > MAX_TEXT_BYTES {
        text.truncate(text.floor_char_boundary(MAX_TEXT_BYTES));
        text.push('…');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_one_short_line() {
        assert_eq!(one_line("a\nb  c"), "a b c");
        assert_eq!(one_line(&"é".repeat(400)).chars().count(), MAX_TEXT_BYTES / 2 + 1);
    }

    #[test]
    fn the_message_of_each_kind_of_payload_is_found() {
        let caught = |panic: fn()| catch_unwind(panic).unwrap_err();
        assert_eq!(message(&*caught(|| std::panic::panic_any("static"))), "static");
        assert_eq!(message(&*caught(|| std::panic::panic_any("owned".to_owned()))), "owned");
        assert_eq!(message(&*caught(|| std::panic::panic_any(1_u8))), "no message");
    }
}
