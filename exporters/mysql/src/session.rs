//! What the collectors of one scrape share: the way to the server, and the three answers that several of them read.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::{Mutex, OnceCell};
use tokio::time::Instant;

use crate::client::{Client, Lease, Limits};
use crate::collectors::Options;
use crate::collectors::health::Thresholds;
use crate::error::Error;
use crate::history::History;
use crate::logins::Summary;
use crate::rows::Rows;
use crate::version::Version;

/// Statements end this much before the scrape's deadline, so that collectors still say which one hung; a tenth of the time if that is less.
const MARGIN: Duration = Duration::from_millis(50);

type Shared = OnceCell<Result<Answer, Arc<Error>>>;

pub struct Session {
    client: Arc<Client>,
    limits: Limits,
    version: Version,
    thresholds: Thresholds,
    options: Arc<Options>,
    status: Shared,
    variables: Shared,
    replication: Shared,
    /// Whose turn it is to ask for one of the two large answers: the server makes them under locks that they share, and at the same time they take
    /// it 1.4 times the processor time and hardly less of the clock's. The connection goes with the turn; the other one is for what is small meanwhile.
    turn: Mutex<Option<Lease>>,
    /// How many wait for their turn.
    queue: AtomicUsize,
}

/// An answer and the time that it took.
pub(crate) struct Answer {
    pub(crate) rows: Rows,
    pub(crate) took: Duration,
}

impl Session {
    pub(crate) async fn open(
        client: Arc<Client>,
        thresholds: Thresholds,
        options: Arc<Options>,
        deadline: Instant,
    ) -> Result<Self, Error> {
        let limits = limits(Instant::now(), deadline);
        let version = client.ping(limits).await?;
        Ok(Self {
            client,
            limits,
            version,
            thresholds,
            options,
            status: Shared::new(),
            variables: Shared::new(),
            replication: Shared::new(),
            turn: Mutex::default(),
            queue: AtomicUsize::new(0),
        })
    }

    pub(crate) fn thresholds(&self) -> Thresholds {
        self.thresholds
    }

    /// What earlier scrapes of this server saw.
    pub(crate) fn history(&self) -> &History {
        self.client.history()
    }

    pub(crate) fn logins(&self) -> Summary {
        self.client.logins().summary()
    }

    /// The flags of single collectors.
    pub(crate) fn options(&self) -> &Options {
        &self.options
    }

    pub(crate) fn version(&self) -> Version {
        self.version
    }

    /// `SHOW GLOBAL STATUS`, asked once a scrape.
    pub(crate) async fn status(&self) -> Result<&Answer, Arc<Error>> {
        shared(&self.status, self.in_turn("SHOW GLOBAL STATUS")).await
    }

    /// `SHOW GLOBAL VARIABLES`, asked once a scrape.
    pub(crate) async fn variables(&self) -> Result<&Answer, Arc<Error>> {
        shared(&self.variables, self.in_turn("SHOW GLOBAL VARIABLES")).await
    }

    /// The replication status, asked once a scrape; a row for each server that this one replicates from.
    pub(crate) async fn replication(&self) -> Result<&Answer, Arc<Error>> {
        shared(&self.replication, timed(self.query(self.version.replication_statement()))).await
    }

    pub(crate) async fn query(&self, statement: impl Into<Cow<'static, str>>) -> Result<Rows, Error> {
        self.client.query(statement.into(), self.limits).await
    }

    /// A statement that opens the application's tables, and so may hang where nothing else does.
    pub(crate) async fn query_tables(&self, statement: impl Into<Cow<'static, str>>) -> Result<Rows, Error> {
        self.client.query_tables(statement.into(), self.limits).await
    }

    /// Asks over the connection of the one before in turn, and leaves it to the next if there is one.
    async fn in_turn(&self, statement: &'static str) -> Result<Answer, Error> {
        self.queue.fetch_add(1, Ordering::Relaxed);
        let mut turn = self.turn.lock().await;
        self.queue.fetch_sub(1, Ordering::Relaxed);
        let answer = timed(async {
            let mut lease = match turn.take() {
                Some(lease) => Some(lease),
                None => Some(self.client.lease(self.limits).await?),
            };
            let rows = self.client.ask(&mut lease, statement.into(), self.limits, false).await;
            match lease {
                Some(lease) if self.queue.load(Ordering::Relaxed) == 0 => lease.give_back(),
                lease => *turn = lease,
            }
            rows
        })
        .await;
        drop(turn);
        // The next in turn asks before this answer is worked on, so that the server works meanwhile.
        tokio::task::yield_now().await;
        answer
    }
}

async fn timed(rows: impl Future<Output = Result<Rows, Error>>) -> Result<Answer, Error> {
    let started = Instant::now();
    let rows = rows.await?;
    Ok(Answer { rows, took: started.elapsed() })
}

/// An error is shared as well: what the server refused once it isn't asked for again in this scrape.
async fn shared(cell: &Shared, answer: impl Future<Output = Result<Answer, Error>>) -> Result<&Answer, Arc<Error>> {
    let answer = cell.get_or_init(async || answer.await.map_err(Arc::new));
    answer.await.as_ref().map_err(Arc::clone)
}

fn limits(now: Instant, deadline: Instant) -> Limits {
    let left = deadline.saturating_duration_since(now);
    // Whole seconds, rounded up: the same for each scrape of one scraper, whatever few milliseconds went by.
    let statement_seconds = left.as_secs() + u64::from(left.subsec_nanos() > 0);
    Limits { started: now, deadline: now + (left - MARGIN.min(left / 10)), statement_seconds: statement_seconds.max(1) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statements_end_before_the_scrape_does_and_the_server_gives_up_soon_after() {
        let now = Instant::now();
        for (left, ours, servers) in
            [(9_750, 9_700, 10), (9_742, 9_692, 10), (10_000, 9_950, 10), (100, 90, 1), (0, 0, 1)]
        {
            let limits = limits(now, now + Duration::from_millis(left));
            assert_eq!(limits.deadline - now, Duration::from_millis(ours));
            assert_eq!(limits.statement_seconds, servers);
        }
    }
}
