//! What the collectors of one scrape share: the client, and the three answers that several of them read.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use mysql_kit::Version;
use tokio::sync::{Mutex, OnceCell};
use tokio::time::Instant;

use crate::client::{Client, Limits};
use crate::error::Error;
use crate::history::History;
use crate::login_stats::LoginStats;
use crate::replication;
use crate::rows::Rows;

/// Statements end this long before the scrape's deadline, so that collectors can still report which one hung; a tenth
/// of the time if that is less.
const MARGIN: Duration = Duration::from_millis(50);

type SharedAnswer = OnceCell<Result<Answer, Arc<Error>>>;

pub struct Session {
    client: Arc<Client>,
    limits: Limits,
    version: Version,
    status: SharedAnswer,
    variables: SharedAnswer,
    replication: SharedAnswer,
    /// Serializes the two large answers: the server makes them under locks that they share, and concurrently they take
    /// 1.4 times the processor time for hardly less elapsed time. The other connection stays free for small statements.
    query_slot: Mutex<()>,
}

/// An answer and how long it took.
pub(crate) struct Answer {
    pub(crate) rows: Rows,
    pub(crate) took: Duration,
}

impl Session {
    pub(crate) async fn open(client: Arc<Client>, deadline: Instant) -> Result<Self, Error> {
        let limits = limits(Instant::now(), deadline);
        let version = client.begin(limits).await?;
        Ok(Self {
            client,
            limits,
            version,
            status: SharedAnswer::new(),
            variables: SharedAnswer::new(),
            replication: SharedAnswer::new(),
            query_slot: Mutex::default(),
        })
    }

    /// Values of earlier scrapes of this server.
    pub(crate) fn history(&self) -> &History {
        self.client.history()
    }

    pub(crate) fn logins(&self) -> LoginStats {
        self.client.logins().stats()
    }

    pub(crate) fn version(&self) -> Version {
        self.version
    }

    /// `SHOW GLOBAL STATUS`, once per scrape.
    pub(crate) async fn status(&self) -> Result<&Answer, Arc<Error>> {
        shared(&self.status, self.query_large("SHOW GLOBAL STATUS")).await
    }

    /// `SHOW GLOBAL VARIABLES`, once per scrape.
    pub(crate) async fn variables(&self) -> Result<&Answer, Arc<Error>> {
        shared(&self.variables, self.query_large("SHOW GLOBAL VARIABLES")).await
    }

    /// The replication status, once per scrape: a row for each source of this server.
    pub(crate) async fn replication(&self) -> Result<&Answer, Arc<Error>> {
        shared(&self.replication, timed(self.query(replication::status_statement(self.version)))).await
    }

    /// The members of this server's replication group; `None` if it belongs to no group.
    pub(crate) async fn group_members(&self, variables: &Rows) -> Option<Result<Rows, Error>> {
        if !replication::is_group_configured(variables) {
            return None;
        }
        Some(self.query(replication::GROUP_MEMBERS_STATEMENT).await)
    }

    pub(crate) async fn query(&self, statement: impl Into<Cow<'static, str>>) -> Result<Rows, Error> {
        self.client.query(statement.into(), self.limits).await
    }

    /// As [`Session::query`], without rows if the server has no such table. A missing privilege is an error.
    pub(crate) async fn query_if_table_exists(&self, statement: impl Into<Cow<'static, str>>) -> Result<Rows, Error> {
        no_rows_if_unknown_table(self.query(statement).await)
    }

    /// As [`Session::query_if_table_exists`], for a statement that opens the application's tables and so may wait for
    /// their locks.
    pub(crate) async fn query_tables(&self, statement: impl Into<Cow<'static, str>>) -> Result<Rows, Error> {
        no_rows_if_unknown_table(self.client.query_tables(statement.into(), self.limits).await)
    }

    async fn query_large(&self, statement: &'static str) -> Result<Answer, Error> {
        let slot = self.query_slot.lock().await;
        let answer = timed(self.query(statement)).await;
        drop(slot);
        // The next statement is sent before this answer is processed, so that the server works in the meantime.
        tokio::task::yield_now().await;
        answer
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.client.end();
    }
}

fn no_rows_if_unknown_table(result: Result<Rows, Error>) -> Result<Rows, Error> {
    match result {
        Err(error) if error.is_unknown_table() => Ok(Rows::default()),
        result => result,
    }
}

async fn timed(rows: impl Future<Output = Result<Rows, Error>>) -> Result<Answer, Error> {
    let started = Instant::now();
    let rows = rows.await?;
    Ok(Answer { rows, took: started.elapsed() })
}

/// An error is shared as well: a rejected statement is not repeated in the same scrape.
async fn shared(
    cell: &SharedAnswer,
    answer: impl Future<Output = Result<Answer, Error>>,
) -> Result<&Answer, Arc<Error>> {
    let answer = cell.get_or_init(async || answer.await.map_err(Arc::new));
    answer.await.as_ref().map_err(Arc::clone)
}

fn limits(now: Instant, deadline: Instant) -> Limits {
    let left = deadline.saturating_duration_since(now);
    // Rounded up to whole seconds, so that the limit is the same for each scrape of one scraper.
    let statement_seconds = left.as_secs() + u64::from(left.subsec_nanos() > 0);
    Limits { started: now, deadline: now + (left - MARGIN.min(left / 10)), statement_seconds: statement_seconds.max(1) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statements_end_before_the_scrape_and_the_servers_limit_follows() {
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
