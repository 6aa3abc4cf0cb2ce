//! The open connections of a server, and which of them gives way to a new client when there are too many.
//!
//! A connection that waits for its client costs the client nothing: it has sent no request, half of one, or does not
//! read its response. Without this table, a few hundred of them would keep every other client out until a timeout ends
//! them. A request that is being handled gives way last, and only where that does no harm.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use service_kit::lock::lock;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout};
use tracing::warn;

use crate::limits::Limits;

/// A client has this long for its request, however many others wait: with TLS it needs a few round trips before it. So
/// a flood of new connections waits in the kernel's queue.
const GRACE: Duration = Duration::from_millis(500);

/// A response gives way only after its client has read nothing of it for this long, and a request only after it was
/// handled for this long.
const STALLED_AFTER: Duration = Duration::from_secs(1);

/// When none gives way, how long until the next look for one.
const RECHECK: Duration = Duration::from_millis(50);

/// A flood of connections is one event, not one per connection.
const LOG_INTERVAL: Duration = Duration::from_secs(60);

pub(crate) struct Connections {
    limits: Limits,
    table: Mutex<Table>,
    closed: Notify,
}

#[derive(Default)]
struct Table {
    next: u64,
    open: HashMap<u64, Entry>,
    /// Connections that gave way since the last line of the log.
    gave_way: u64,
    logged: Option<Instant>,
}

struct Entry {
    client: IpAddr,
    phase: Phase,
    /// When the phase began, or when the client last read a part of the response.
    since: Instant,
    unsent: u64,
    gives_way: Arc<Notify>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// For a handshake or a request. Single bytes of them change nothing.
    Waiting,
    Handling,
    /// The response has begun.
    Sending,
    /// The service has produced all of the response.
    Flushing,
    /// It gave way, and its task has not ended yet.
    Closing,
}

impl Connections {
    pub(crate) fn new(limits: Limits) -> Arc<Self> {
        Arc::new(Self { limits, table: Mutex::default(), closed: Notify::new() })
    }

    /// Admits a new connection. When there are too many, the oldest one that waits for its client closes.
    pub(crate) async fn admit(self: &Arc<Self>, client: IpAddr) -> Connection {
        loop {
            let closed = self.closed.notified();
            if let Some(connection) = self.try_admit(client) {
                return connection;
            }
            let _ = timeout(RECHECK, closed).await;
        }
    }

    fn try_admit(self: &Arc<Self>, client: IpAddr) -> Option<Connection> {
        let mut table = lock(&self.table);
        let now = Instant::now();
        if table.open.values().filter(|entry| entry.phase != Phase::Closing).count() >= self.limits.connections {
            let id = table.first_to_close(client, now, self.limits.handled_give_way)?;
            table.give_way(id, now);
        }
        let id = table.next;
        table.next += 1;
        let gives_way = Arc::new(Notify::new());
        let entry = Entry { client, phase: Phase::Waiting, since: now, unsent: 0, gives_way: Arc::clone(&gives_way) };
        table.open.insert(id, entry);
        Some(Connection { id, gives_way, connections: Arc::clone(self) })
    }

    /// Resolves when no connection is open.
    pub(crate) async fn all_closed(&self) {
        loop {
            let closed = self.closed.notified();
            if self.open() == 0 {
                return;
            }
            closed.await;
        }
    }

    pub(crate) fn open(&self) -> usize {
        lock(&self.table).open.len()
    }

    /// Closes the responses that stalled longest, until the others fit.
    fn bound_unsent(&self, table: &mut Table, now: Instant) {
        while table.open.values().map(|entry| entry.unsent).sum::<u64>() > self.limits.unsent_bytes {
            let Some(id) = table.longest_stalled(now) else { return };
            table.give_way(id, now);
        }
    }
}

impl Table {
    /// A connection that waits for its client, else a request that has been handled for long. Of those, from the client
    /// address with the most connections. Of those, the one that has been as it is for longest. A client never drives
    /// out one that has fewer connections.
    fn first_to_close(&self, new: IpAddr, now: Instant, handled_give_way: bool) -> Option<u64> {
        // Of a few addresses, and made often in a flood.
        let mut connections: BTreeMap<IpAddr, usize> = BTreeMap::new();
        for entry in self.open.values() {
            *connections.entry(entry.client).or_default() += 1;
        }
        let waits = |entry: &Entry| entry.has_waited(now) || entry.has_stalled(now);
        let may_close = |entry: &Entry| waits(entry) || (handled_give_way && entry.is_handled_for_long(now));
        let of = |client: IpAddr| connections.get(&client).copied().unwrap_or_default();
        let candidates = self.open.iter().filter(|(_, entry)| may_close(entry) && of(entry.client) >= of(new));
        let rank = |entry: &Entry| (waits(entry), of(entry.client), now - entry.since);
        candidates.max_by_key(|(_, entry)| rank(entry)).map(|(id, _)| *id)
    }

    fn longest_stalled(&self, now: Instant) -> Option<u64> {
        let stalled = self.open.iter().filter(|(_, entry)| entry.has_stalled(now));
        stalled.min_by_key(|(_, entry)| entry.since).map(|(id, _)| *id)
    }

    fn give_way(&mut self, id: u64, now: Instant) {
        let Some(entry) = self.open.get_mut(&id) else { return };
        entry.phase = Phase::Closing;
        entry.unsent = 0;
        entry.gives_way.notify_one();
        self.gave_way += 1;
        if self.logged.is_none_or(|logged| now - logged >= LOG_INTERVAL) {
            warn!(client = %entry.client, closed = self.gave_way, "too many connections or unread responses; closing those that wait for their clients");
            self.gave_way = 0;
            self.logged = Some(now);
        }
    }
}

impl Entry {
    fn has_waited(&self, now: Instant) -> bool {
        self.phase == Phase::Waiting && now - self.since >= GRACE
    }

    fn is_handled_for_long(&self, now: Instant) -> bool {
        self.phase == Phase::Handling && now - self.since >= STALLED_AFTER
    }

    fn has_stalled(&self, now: Instant) -> bool {
        matches!(self.phase, Phase::Sending | Phase::Flushing) && now - self.since >= STALLED_AFTER
    }
}

/// One open connection. It counts until it is dropped.
pub(crate) struct Connection {
    id: u64,
    gives_way: Arc<Notify>,
    connections: Arc<Connections>,
}

impl Connection {
    /// Resolves when the connection must close for another one.
    pub(crate) async fn gives_way(&self) {
        self.gives_way.notified().await;
    }

    /// The client can be read now. Its time begins, and not while a busy server has not looked at it.
    pub(crate) fn waiting(&self) {
        self.update(|_, _| {});
    }

    /// A request has arrived.
    pub(crate) fn handling(&self) {
        self.update(|entry, _| entry.phase = Phase::Handling);
    }

    /// The service has returned a response of this size.
    pub(crate) fn sending(&self, bytes: u64) {
        self.update(|entry, _| {
            entry.phase = Phase::Sending;
            entry.unsent = bytes;
        });
        let mut table = lock(&self.connections.table);
        self.connections.bound_unsent(&mut table, Instant::now());
    }

    /// The client has read a part of the response.
    pub(crate) fn progressed(&self) {
        self.update(|_, _| {});
    }

    /// The service has produced the whole response.
    pub(crate) fn produced(&self) {
        self.update(|entry, _| {
            if entry.phase == Phase::Sending {
                entry.phase = Phase::Flushing;
            }
        });
    }

    /// All that was produced so far is with the kernel.
    pub(crate) fn flushed(&self) {
        self.update(|entry, since| match entry.phase {
            Phase::Flushing => {
                entry.phase = Phase::Waiting;
                entry.unsent = 0;
            }
            // An idle connection is flushed again and again, which must not make it look younger.
            Phase::Waiting => entry.since = since,
            _ => {}
        });
    }

    /// Changes the entry and notes the time, unless the connection is already closing. The closure gets the previous
    /// time.
    fn update(&self, change: impl FnOnce(&mut Entry, Instant)) {
        let mut table = lock(&self.connections.table);
        if let Some(entry) = table.open.get_mut(&self.id).filter(|entry| entry.phase != Phase::Closing) {
            let since = std::mem::replace(&mut entry.since, Instant::now());
            change(entry, since);
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        lock(&self.connections.table).open.remove(&self.id);
        self.connections.closed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    const ATTACKER: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
    const SCRAPER: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 2));

    const LIMITS: Limits = Limits {
        connections: 1,
        handled_give_way: false,
        unsent_bytes: 100,
        header_timeout: Duration::ZERO,
        write_timeout: Duration::ZERO,
        stop_timeout: Duration::ZERO,
    };

    fn connections(max: usize) -> Arc<Connections> {
        Connections::new(Limits { connections: max, ..LIMITS })
    }

    async fn closes(connection: &Connection) -> bool {
        timeout(Duration::from_millis(1), connection.gives_way()).await.is_ok()
    }

    #[tokio::test(start_paused = true)]
    async fn the_oldest_waiting_connection_gives_way() {
        let connections = connections(3);
        let handled = connections.admit(ATTACKER).await;
        handled.handling();
        let old = connections.admit(ATTACKER).await;
        tokio::time::advance(Duration::from_secs(1)).await;
        let young = connections.admit(ATTACKER).await;
        tokio::time::advance(GRACE).await;
        let _next = connections.admit(SCRAPER).await;
        assert!(closes(&old).await && !closes(&young).await && !closes(&handled).await);
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_with_many_connections_gives_way_before_one_with_few() {
        let connections = connections(3);
        let scraper = connections.admit(SCRAPER).await;
        tokio::time::advance(Duration::from_secs(60)).await;
        let mut attacker = Vec::new();
        for _ in 0..10 {
            attacker.push(connections.admit(ATTACKER).await);
            tokio::time::advance(GRACE).await;
        }
        assert!(!closes(&scraper).await);
        scraper.handling();
        tokio::time::advance(Duration::from_secs(60)).await;
        connections.admit(ATTACKER).await;
        assert!(!closes(&scraper).await);
        for (index, connection) in attacker.iter().enumerate() {
            assert_eq!(closes(connection).await, index < 9, "{index}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_flush_does_not_make_an_idle_connection_look_younger() {
        let connections = connections(2);
        let idle = connections.admit(ATTACKER).await;
        tokio::time::advance(Duration::from_secs(1)).await;
        let younger = connections.admit(ATTACKER).await;
        tokio::time::advance(Duration::from_secs(1)).await;
        idle.flushed();
        let _next = connections.admit(ATTACKER).await;
        assert!(closes(&idle).await && !closes(&younger).await);
    }

    #[tokio::test(start_paused = true)]
    async fn a_new_client_has_time_for_its_request() {
        let connections = connections(1);
        let new = connections.admit(SCRAPER).await;
        let started = Instant::now();
        let next = connections.admit(ATTACKER).await;
        assert!(started.elapsed() >= GRACE && closes(&new).await);
        drop(next);
    }

    #[tokio::test(start_paused = true)]
    async fn a_handled_request_never_gives_way_and_a_response_only_after_a_stall() {
        let connections = connections(1);
        let first = connections.admit(ATTACKER).await;
        first.handling();
        let second = Box::pin(connections.admit(SCRAPER));
        let Err(_) = timeout(Duration::from_secs(60), second).await else { panic!("it is admitted") };
        first.sending(10);
        let started = Instant::now();
        let _second = connections.admit(SCRAPER).await;
        assert!(started.elapsed() >= STALLED_AFTER && closes(&first).await);
    }

    #[tokio::test(start_paused = true)]
    async fn a_handled_request_gives_way_where_that_does_no_harm() {
        let connections = Connections::new(Limits { connections: 2, handled_give_way: true, ..LIMITS });
        let handled = connections.admit(SCRAPER).await;
        handled.handling();
        tokio::time::advance(STALLED_AFTER).await;
        let waiting = connections.admit(SCRAPER).await;
        tokio::time::advance(GRACE).await;
        let next = connections.admit(SCRAPER).await;
        assert!(closes(&waiting).await && !closes(&handled).await);
        next.handling();
        let _last = connections.admit(SCRAPER).await;
        assert!(closes(&handled).await && !closes(&next).await);
    }

    #[tokio::test(start_paused = true)]
    async fn unread_responses_are_bounded() {
        let connections = connections(8);
        let mut sending = Vec::new();
        for _ in 0..4 {
            let connection = connections.admit(SCRAPER).await;
            connection.handling();
            connection.sending(40);
            connection.produced();
            sending.push(connection);
            tokio::time::advance(STALLED_AFTER).await;
        }
        assert!(closes(&sending[0]).await && closes(&sending[1]).await && !closes(&sending[2]).await);
        sending[2].flushed();
        sending[3].progressed();
        let last = connections.admit(SCRAPER).await;
        last.handling();
        last.sending(90);
        assert!(!closes(&sending[3]).await, "its client reads");
    }

    #[tokio::test(start_paused = true)]
    async fn a_closed_connection_makes_room() {
        let connections = connections(1);
        let first = connections.admit(SCRAPER).await;
        first.handling();
        let (_second, ()) = futures::future::join(connections.admit(SCRAPER), async { drop(first) }).await;
        assert_eq!(connections.open(), 1);
    }
}
