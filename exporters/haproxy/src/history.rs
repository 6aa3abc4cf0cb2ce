//! Counters of previous scrapes, for checks of what happened since. Each history holds two snapshots at most.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::columns::Scope;

/// The minimum distance of two snapshots for errors. `/health` directly after a scrape still covers this span.
const ERROR_SPACING: Duration = Duration::from_secs(10);
/// The same for flapping servers: a server that goes down every few minutes is a flapping one.
const FLAP_SPACING: Duration = Duration::from_secs(5 * 60);

/// Maximum objects in a snapshot. Objects without any event are not stored.
const MAX_OBJECTS: usize = 100_000;
/// Maximum bytes of the names of an object; HAProxy's configuration has lines of 2 KiB.
const MAX_KEY: usize = 2048;

/// The counters of a frontend, backend or server that checks compare.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Counters {
    /// `hrsp_*`
    pub(crate) responses: f64,
    /// `hrsp_5xx`
    pub(crate) server_errors: f64,
    /// `stot`
    pub(crate) sessions: f64,
    /// `econ`
    pub(crate) connection_errors: f64,
    /// `eresp`
    pub(crate) response_errors: f64,
    /// `wretr`
    pub(crate) retries: f64,
    /// `wredis`
    pub(crate) redispatches: f64,
    /// Whether HAProxy counts responses: not in TCP mode.
    pub(crate) http: bool,
}

/// A value that only grows, until HAProxy restarts or its counters are cleared.
pub(crate) trait Grows: Copy {
    fn is_zero(&self) -> bool;

    /// The growth since `before`. A lower value means a restart: then all of `self` is new.
    fn since(self, before: Self) -> Self;
}

impl Grows for f64 {
    fn since(self, before: Self) -> Self {
        if self < before { self } else { self - before }
    }

    fn is_zero(&self) -> bool {
        *self == 0.0
    }
}

impl Grows for Counters {
    fn since(self, before: Self) -> Self {
        let pairs = [
            (self.responses, before.responses),
            (self.server_errors, before.server_errors),
            (self.sessions, before.sessions),
            (self.connection_errors, before.connection_errors),
            (self.response_errors, before.response_errors),
            (self.retries, before.retries),
            (self.redispatches, before.redispatches),
        ];
        // The counters of an object restart together.
        if pairs.iter().any(|(now, before)| now < before) {
            return self;
        }
        let [responses, server_errors, sessions, connection_errors, response_errors, retries, redispatches] =
            pairs.map(|(now, before)| now - before);
        Self {
            responses,
            server_errors,
            sessions,
            connection_errors,
            response_errors,
            retries,
            redispatches,
            http: self.http,
        }
    }

    fn is_zero(&self) -> bool {
        Self { http: false, ..*self } == Self::default()
    }
}

/// What a name server was asked.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Lookups {
    pub(crate) sent: f64,
    /// Also with an error that is an answer, such as that a name does not exist.
    pub(crate) answered: f64,
}

impl Grows for Lookups {
    fn is_zero(&self) -> bool {
        self.sent == 0.0
    }

    fn since(self, before: Self) -> Self {
        if self.sent < before.sent || self.answered < before.answered {
            return self;
        }
        Self { sent: self.sent - before.sent, answered: self.answered - before.answered }
    }
}

/// A frontend, backend or server, with its counters.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Object<'a, T> {
    /// Of no use for what there is one kind of.
    pub(crate) scope: Scope,
    pub(crate) proxy: &'a str,
    pub(crate) name: &'a str,
    pub(crate) value: T,
}

/// The objects of one scrape.
#[derive(Clone, Debug)]
pub(crate) struct Objects<'a, T> {
    pub(crate) all: Vec<Object<'a, T>>,
    /// Whether all could be read. Otherwise an object that appears in the next scrape is not new.
    pub(crate) complete: bool,
}

#[derive(Debug)]
struct Snapshot<T> {
    at: Instant,
    /// Objects without any event are absent.
    values: HashMap<Box<str>, T>,
    /// Whether no object with events is absent.
    complete: bool,
}

/// The growth of each object since an earlier scrape. Objects without growth are absent.
#[derive(Debug)]
pub(crate) struct Changes<'a, T> {
    pub(crate) span: Duration,
    pub(crate) objects: Vec<Object<'a, T>>,
}

#[derive(Debug)]
struct Window<T> {
    spacing: Duration,
    snapshots: Mutex<Snapshots<T>>,
}

#[derive(Debug)]
struct Snapshots<T> {
    previous: Option<Arc<Snapshot<T>>>,
    latest: Option<Arc<Snapshot<T>>>,
}

impl<T: Grows> Window<T> {
    fn new(spacing: Duration) -> Self {
        Self { spacing, snapshots: Mutex::new(Snapshots { previous: None, latest: None }) }
    }

    /// What changed since an earlier scrape; `None` in the first one.
    fn changes<'a>(&self, now: Instant, objects: &Objects<'a, T>) -> Option<Changes<'a, T>> {
        let before = self.exchange(now, objects)?;
        let mut key = String::new();
        let grown = objects.all.iter().filter_map(|object| {
            if object.value.is_zero() {
                return None;
            }
            write_key(&mut key, object);
            let value = match before.values.get(key.as_str()) {
                Some(before) => object.value.since(*before),
                None if !before.complete => return None,
                None => object.value,
            };
            (!value.is_zero()).then_some(Object { value, ..*object })
        });
        let objects = grown.collect();
        Some(Changes { span: now.saturating_duration_since(before.at), objects })
    }

    /// Stores a snapshot if one is due, and returns the one to compare with.
    fn exchange(&self, now: Instant, objects: &Objects<'_, T>) -> Option<Arc<Snapshot<T>>> {
        let mut kept = self.snapshots.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(latest) = &kept.latest
            && now.saturating_duration_since(latest.at) < self.spacing
        {
            return kept.previous.as_ref().or(kept.latest.as_ref()).cloned();
        }
        kept.previous = kept.latest.take();
        kept.latest = Some(Arc::new(Snapshot::of(now, objects)));
        kept.previous.clone()
    }
}

impl<T: Grows> Snapshot<T> {
    fn of(at: Instant, objects: &Objects<'_, T>) -> Self {
        let (mut values, mut complete, mut key) = (HashMap::new(), objects.complete, String::new());
        for object in objects.all.iter().filter(|object| !object.value.is_zero()) {
            if values.len() == MAX_OBJECTS {
                complete = false;
                break;
            }
            write_key(&mut key, object);
            if key.len() > MAX_KEY {
                complete = false;
                continue;
            }
            values.insert(key.as_str().into(), object.value);
        }
        Self { at, values, complete }
    }
}

fn write_key<T>(key: &mut String, object: &Object<'_, T>) {
    key.clear();
    // Writing to a String does not fail.
    let _ = write!(key, "{}\0{}\0{}", object.scope as u8, object.proxy, object.name);
}

/// The history of one HAProxy.
#[derive(Debug)]
pub(crate) struct History {
    errors: Window<Counters>,
    downs: Window<f64>,
    lookups: Window<Lookups>,
    /// How often the process reached its maxconn.
    reached: Window<f64>,
}

impl Default for History {
    fn default() -> Self {
        Self {
            errors: Window::new(ERROR_SPACING),
            downs: Window::new(FLAP_SPACING),
            lookups: Window::new(ERROR_SPACING),
            reached: Window::new(ERROR_SPACING),
        }
    }
}

impl History {
    /// Errors since the previous scrape, but over 10 s or more.
    pub(crate) fn errors<'a>(&self, now: Instant, objects: &Objects<'a, Counters>) -> Option<Changes<'a, Counters>> {
        self.errors.changes(now, objects)
    }

    /// What each name server was asked since the previous scrape.
    pub(crate) fn lookups<'a>(&self, now: Instant, objects: &Objects<'a, Lookups>) -> Option<Changes<'a, Lookups>> {
        self.lookups.changes(now, objects)
    }

    /// How often the process reached its maxconn since the previous scrape.
    pub(crate) fn reached(&self, now: Instant, total: f64) -> Option<f64> {
        let object = Object { scope: Scope::Frontend, proxy: "", name: "", value: total };
        let changes = self.reached.changes(now, &Objects { all: vec![object], complete: true })?;
        Some(changes.objects.iter().map(|object| object.value).sum())
    }

    /// How often each server went down in the last 5 to 10 minutes.
    pub(crate) fn downs<'a>(&self, now: Instant, objects: &Objects<'a, f64>) -> Option<Changes<'a, f64>> {
        self.downs.changes(now, objects)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(name: &str, value: f64) -> Object<'_, f64> {
        Object { scope: Scope::Server, proxy: "be", name, value }
    }

    fn all<'a>(objects: &[Object<'a, f64>]) -> Objects<'a, f64> {
        Objects { all: objects.to_vec(), complete: true }
    }

    fn grown(changes: Option<Changes<'_, f64>>) -> Vec<(&str, f64)> {
        changes.unwrap().objects.iter().map(|object| (object.name, object.value)).collect()
    }

    #[test]
    fn the_first_scrape_has_nothing_to_compare_with() {
        let window = Window::new(Duration::from_secs(10));
        let start = Instant::now();
        assert!(window.changes(start, &all(&[server("a", 5.0)])).is_none());
        let later = start + Duration::from_secs(1);
        assert_eq!(
            grown(window.changes(later, &all(&[server("a", 7.0), server("new", 1.0)]))),
            [("a", 2.0), ("new", 1.0)]
        );
    }

    #[test]
    fn a_scrape_directly_after_another_covers_the_span_before_it() {
        let window = Window::new(Duration::from_secs(10));
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        window.changes(at(0), &all(&[server("a", 0.0)]));
        assert_eq!(grown(window.changes(at(15), &all(&[server("a", 50.0)]))), [("a", 50.0)]);
        let again = window.changes(at(16), &all(&[server("a", 50.0)])).unwrap();
        assert_eq!((again.span, again.objects.len()), (Duration::from_secs(16), 1));
        assert_eq!(grown(window.changes(at(30), &all(&[server("a", 50.0)]))), []);
    }

    #[test]
    fn a_restart_of_haproxy_begins_at_zero() {
        assert_eq!(3.0_f64.since(100.0), 3.0);
        let before = Counters { responses: 100.0, server_errors: 2.0, ..Counters::default() };
        let after = Counters { responses: 10.0, server_errors: 4.0, ..Counters::default() };
        assert_eq!(after.since(before), after);
    }

    #[test]
    fn a_frontend_and_a_server_of_one_name_are_two_objects() {
        let window = Window::new(Duration::from_secs(10));
        let start = Instant::now();
        let frontend = |value| Object { scope: Scope::Frontend, ..server("a", value) };
        window.changes(start, &all(&[server("a", 5.0), frontend(1.0)]));
        assert_eq!(grown(window.changes(start, &all(&[server("a", 5.0), frontend(2.0)]))), [("a", 1.0)]);
    }

    #[test]
    fn a_snapshot_is_bounded_and_what_it_lacks_is_not_new() {
        let names: Vec<String> = (0..MAX_OBJECTS + 10).map(|i| i.to_string()).collect();
        let objects = Objects { all: names.iter().map(|name| server(name, 1.0)).collect(), complete: true };
        let window = Window::new(Duration::from_secs(10));
        let start = Instant::now();
        window.changes(start, &objects);
        assert_eq!(window.snapshots.lock().unwrap().latest.as_ref().unwrap().values.len(), MAX_OBJECTS);
        assert_eq!(grown(window.changes(start, &objects)), []);
    }

    #[test]
    fn an_object_that_could_not_be_read_for_one_scrape_is_not_new() {
        let window = Window::new(Duration::from_secs(10));
        let start = Instant::now();
        window.changes(start, &Objects { all: vec![server("a", 5.0)], complete: false });
        assert_eq!(grown(window.changes(start, &all(&[server("a", 6.0), server("torn", 900.0)]))), [("a", 1.0)]);
    }
}
