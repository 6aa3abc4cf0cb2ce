//! What holds others up: transactions that stay open, statements that wait for a metadata lock, and the old versions of rows that InnoDB must keep.

use exporter_toolkit::{BoxError, CheckDef, CheckStatus, Collector, Desc, Families, async_trait};

use super::health::{HISTORY, METADATA_LOCKS, TRANSACTIONS, Thresholds, grade};
use crate::rows::{Row, Rows};
use crate::session::Session;
use crate::version::Version;

const OPEN: Desc = Desc::gauge("mysql_transactions_open", "InnoDB transactions that are open.", &[]);
const OLDEST: Desc = Desc::gauge(
    "mysql_transactions_oldest_start_timestamp_seconds",
    "When the oldest open transaction began, by the server's clock; absent while none is open.",
    &[],
);
const WAITS: Desc = Desc::gauge("mysql_metadata_lock_waits", "Statements that wait for a metadata lock.", &[]);
const LONGEST_WAIT: Desc = Desc::gauge(
    "mysql_metadata_lock_oldest_wait_start_timestamp_seconds",
    "Since when the statement waits that has waited longest for a metadata lock, by the server's clock; absent while none waits.",
    &[],
);
const HISTORY_LENGTH: Desc = Desc::gauge(
    "mysql_innodb_history_list_length",
    "Old versions of rows that InnoDB has not purged yet; what SHOW ENGINE INNODB STATUS calls History list length.",
    &[],
);

/// What each row of the answer is about: how many there are, since when the oldest is there, and its thread. One statement for all, as each
/// way to the server and back costs more than the rows.
const TRANSACTION: &str = "SELECT 'transactions', COUNT(*), UNIX_TIMESTAMP(MIN(trx_started)), \
     SUBSTRING_INDEX(GROUP_CONCAT(trx_mysql_thread_id ORDER BY trx_started), ',', 1), UNIX_TIMESTAMP() \
     FROM information_schema.innodb_trx";
const LOCK: &str = "SELECT 'metadata_locks', COUNT(*), UNIX_TIMESTAMP() - MAX(time), \
     SUBSTRING_INDEX(GROUP_CONCAT(id ORDER BY time DESC), ',', 1), UNIX_TIMESTAMP() \
     FROM information_schema.processlist WHERE state LIKE 'Waiting for % metadata lock'";
/// Of MySQL only: MariaDB tells it in its status.
const LENGTH: &str = "SELECT 'history', count, NULL, NULL, NULL \
     FROM information_schema.innodb_metrics WHERE name = 'trx_rseg_history_len' AND status = 'enabled'";

pub(super) struct Transactions;

#[async_trait]
impl Collector<Session> for Transactions {
    fn name(&self) -> &'static str {
        "transactions"
    }

    fn help(&self) -> &'static str {
        "Open transactions, waits for metadata locks and the length of InnoDB's history, and the checks of them."
    }

    fn families(&self) -> Vec<Desc> {
        vec![OPEN, OLDEST, WAITS, LONGEST_WAIT, HISTORY_LENGTH]
    }

    async fn collect(&self, session: &Session, out: &mut Families) -> Result<(), BoxError> {
        let rows = session.query(statement(session.version())).await?;
        write(&rows, session.thresholds(), out);
        if let Some(length) = session.status().await?.rows.lookup_number("innodb_history_list_length") {
            write_history(length, session.thresholds(), out);
        }
        Ok(())
    }
}

fn statement(version: Version) -> String {
    // MySQL 5.6 and later have the table.
    let length = if version.is_mysql_since((5, 6, 0)) { format!(" UNION ALL {LENGTH}") } else { String::new() };
    format!("{TRANSACTION} UNION ALL {LOCK}{length}")
}

/// What is counted in one row of the answer, and how the oldest of it is judged.
struct Kind {
    count: Desc,
    oldest: Desc,
    check: &'static CheckDef,
    none: &'static str,
    /// From how many seconds on it warns and fails.
    thresholds: (f64, f64),
    /// The reason, of the count, the oldest's thread and its seconds.
    reason: fn(f64, &str, f64) -> String,
    advice: &'static str,
}

fn write(rows: &Rows, thresholds: Thresholds, out: &mut Families) {
    let transactions = Kind {
        count: OPEN,
        oldest: OLDEST,
        check: TRANSACTIONS,
        none: "no transaction is open",
        thresholds: (thresholds.transaction_warn, thresholds.transaction_fail),
        reason: |count, thread, seconds| {
            format!("of {count} open transactions the oldest began {seconds:.0} s ago, in thread {thread}")
        },
        advice: "it keeps locks and old versions of rows; KILL the thread if nobody needs it",
    };
    let locks = Kind {
        count: WAITS,
        oldest: LONGEST_WAIT,
        check: METADATA_LOCKS,
        none: "no statement waits for a metadata lock",
        thresholds: (thresholds.metadata_lock_warn, thresholds.metadata_lock_fail),
        reason: |count, thread, seconds| {
            format!("{count} statements wait for a metadata lock, thread {thread} for {seconds:.0} s")
        },
        advice: "an open transaction or an ALTER TABLE holds it, and all that come later wait, too",
    };
    for row in rows.iter() {
        let Some(count) = row.number(1) else { continue };
        match row.get(0) {
            Some("transactions") => transactions.write(row, count, out),
            Some("metadata_locks") => locks.write(row, count, out),
            Some("history") => write_history(count, thresholds, out),
            _ => {}
        }
    }
}

impl Kind {
    fn write(&self, row: Row<'_>, count: f64, out: &mut Families) {
        out.push(&self.count, &[], count);
        let (Some(started), Some(now)) = (row.number(2), row.number(4)) else {
            out.check(self.check, CheckStatus::Ok, self.none);
            return;
        };
        out.push(&self.oldest, &[], started);
        let seconds = (now - started).max(0.0);
        let status = grade(seconds, self.thresholds.0, self.thresholds.1);
        let reason = (self.reason)(count, row.get(3).unwrap_or_default(), seconds);
        out.check(self.check, status, advised(status, reason, self.advice));
    }
}

/// What to do is told when there is something to do.
fn advised(status: CheckStatus, reason: String, advice: &str) -> String {
    if status == CheckStatus::Ok { reason } else { format!("{reason}: {advice}") }
}

fn write_history(length: f64, thresholds: Thresholds, out: &mut Families) {
    out.push(&HISTORY_LENGTH, &[], length);
    let status = grade(length, thresholds.history_warn, thresholds.history_fail);
    let reason = format!("InnoDB keeps {length} old versions of rows");
    out.check(HISTORY, status, advised(status, reason, "end old transactions, or give InnoDB more purge threads"));
}

#[cfg(test)]
mod tests {
    use exporter_toolkit::testing;

    use super::*;

    fn rows(answer: &[[Option<&str>; 5]]) -> Rows {
        let mut rows = Rows::new((0..5).map(|column| column.to_string()));
        for row in answer {
            rows.push(row.iter().map(|cell| cell.map(str::as_bytes))).unwrap();
        }
        rows
    }

    fn checks(answer: &[[Option<&str>; 5]]) -> Vec<(&'static str, CheckStatus, String)> {
        let mut out = Families::default();
        write(&rows(answer), Thresholds::defaults(), &mut out);
        testing::checks(out)
    }

    #[test]
    fn the_oldest_is_told_with_its_thread() {
        let answer = [
            [Some("transactions"), Some("3"), Some("1000.5"), Some("17"), Some("1400")],
            [Some("metadata_locks"), Some("2"), Some("1388"), Some("18"), Some("1400")],
            [Some("history"), Some("2000000"), None, None, None],
        ];
        let mut out = Families::default();
        write(&rows(&answer), Thresholds::defaults(), &mut out);
        assert_eq!(
            testing::samples(out),
            [
                "mysql_innodb_history_list_length 2000000",
                "mysql_metadata_lock_oldest_wait_start_timestamp_seconds 1388",
                "mysql_metadata_lock_waits 2",
                "mysql_transactions_oldest_start_timestamp_seconds 1000.5",
                "mysql_transactions_open 3",
            ]
        );
        let found = checks(&answer);
        let [transactions, locks, history] = &found[..] else { panic!("{found:?}") };
        assert_eq!((transactions.0, transactions.1), ("transactions", CheckStatus::Warn));
        let expected = "of 3 open transactions the oldest began 400 s ago, in thread 17: it keeps locks";
        assert!(transactions.2.starts_with(expected), "{found:?}");
        assert_eq!((locks.0, locks.1), ("metadata_locks", CheckStatus::Warn));
        assert!(locks.2.starts_with("2 statements wait for a metadata lock, thread 18 for 12 s"), "{found:?}");
        assert_eq!((history.0, history.1), ("history", CheckStatus::Warn));
    }

    #[test]
    fn nothing_open_is_well() {
        let answer = [
            [Some("transactions"), Some("0"), None, None, Some("1400")],
            [Some("metadata_locks"), Some("0"), None, None, Some("1400")],
            [Some("history"), Some("7"), None, None, None],
        ];
        assert!(checks(&answer).iter().all(|(_, status, _)| *status == CheckStatus::Ok));
        let mut out = Families::default();
        write(&rows(&answer), Thresholds::defaults(), &mut out);
        assert_eq!(
            testing::samples(out),
            ["mysql_innodb_history_list_length 7", "mysql_metadata_lock_waits 0", "mysql_transactions_open 0"]
        );
    }
}
