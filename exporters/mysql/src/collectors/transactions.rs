//! What blocks or slows down other statements: long transactions, waits for metadata locks, and InnoDB's history of old
//! row versions.

use clap::{ArgMatches, Args as _, Command, FromArgMatches as _};
use exporter_toolkit::flags::positive;
use exporter_toolkit::{BoxError, CheckDef, CheckStatus, Collector, Desc, Families, async_trait};
use mysql_kit::Version;
use tokio::time::Instant;

use crate::rows::Rows;
use crate::session::Session;

const TRANSACTIONS: CheckDef = CheckDef {
    name: "transactions",
    help: "Whether a transaction has been open for long (--health.transaction-warn, --health.transaction-fail).",
    essential: false,
};

const METADATA_LOCKS: CheckDef = CheckDef {
    name: "metadata_locks",
    help: "Whether a statement has waited long for a metadata lock (--health.metadata-lock-warn, --health.metadata-lock-fail).",
    essential: false,
};

const UNDO_HISTORY: CheckDef = CheckDef {
    name: "undo_history",
    help: "Whether InnoDB's history list is long, because of an old transaction or slow purging (--health.history-warn, \
           --health.history-fail).",
    essential: false,
};

#[derive(clap::Args, Clone, Copy, Debug)]
#[group(skip)]
#[command(next_help_heading = "Health")]
pub(super) struct Thresholds {
    /// Warn (check `transactions`) when a transaction has been open for this many seconds
    #[arg(long = "health.transaction-warn", value_name = "SECONDS", default_value_t = 300.0, value_parser = positive)]
    transaction_warn: f64,

    /// Fail (check `transactions`) when a transaction has been open for this many seconds
    #[arg(long = "health.transaction-fail", value_name = "SECONDS", default_value_t = 3600.0, value_parser = positive)]
    transaction_fail: f64,

    /// Warn (check `metadata_locks`) when a statement has waited this many seconds for a metadata lock
    #[arg(long = "health.metadata-lock-warn", value_name = "SECONDS", default_value_t = 10.0, value_parser = positive)]
    metadata_lock_warn: f64,

    /// Fail (check `metadata_locks`) when a statement has waited this many seconds for a metadata lock
    #[arg(long = "health.metadata-lock-fail", value_name = "SECONDS", default_value_t = 60.0, value_parser = positive)]
    metadata_lock_fail: f64,

    /// Warn (check `undo_history`) when InnoDB's history list has this many entries
    #[arg(long = "health.history-warn", value_name = "ENTRIES", default_value_t = 1e6, value_parser = positive)]
    history_warn: f64,

    /// Fail (check `undo_history`) when InnoDB's history list has this many entries
    #[arg(long = "health.history-fail", value_name = "ENTRIES", default_value_t = 1e7, value_parser = positive)]
    history_fail: f64,
}

const OPEN: Desc = Desc::gauge("mysql_transactions_open", "Current number of open InnoDB transactions.", &[]);
const OLDEST: Desc = Desc::gauge(
    "mysql_transactions_oldest_start_timestamp_seconds",
    "Start of the oldest open transaction, in seconds since 1970, by the server's clock; absent if none is open.",
    &[],
);
const WAITS: Desc =
    Desc::gauge("mysql_metadata_lock_waits", "Current number of statements that wait for a metadata lock.", &[]);
const LONGEST_WAIT: Desc = Desc::gauge(
    "mysql_metadata_lock_oldest_wait_start_timestamp_seconds",
    "Start of the longest current wait for a metadata lock, in seconds since 1970; absent if no statement waits.",
    &[],
);
const HISTORY_LENGTH: Desc = Desc::gauge(
    "mysql_innodb_history_list_length",
    "Current length of InnoDB's history list: old row versions that are not purged yet.",
    &[],
);

/// The number of open transactions, the start of the oldest, its thread, and the server's time. Joined with [`LENGTH`]
/// into one statement, as a round trip costs more than the row.
const TRANSACTION: &str = "SELECT 'transactions', COUNT(*), UNIX_TIMESTAMP(MIN(trx_started)), \
     SUBSTRING_INDEX(GROUP_CONCAT(trx_mysql_thread_id ORDER BY trx_started), ',', 1), UNIX_TIMESTAMP() \
     FROM information_schema.innodb_trx";
/// MySQL only: in MariaDB it is a status variable.
const LENGTH: &str = "SELECT 'history', count, NULL, NULL, NULL \
     FROM information_schema.innodb_metrics WHERE name = 'trx_rseg_history_len' AND status = 'enabled'";
/// A row for each thread. Both servers write `information_schema.processlist` into a temporary table on disk, and a
/// health check must not depend on the disk; it also takes 0.4 ms, this statement 0.1.
const THREADS: &str = "SHOW PROCESSLIST";

pub(super) struct Transactions {
    pub(super) thresholds: Thresholds,
}

#[async_trait]
impl Collector<Session> for Transactions {
    fn name(&self) -> &'static str {
        "transactions"
    }

    fn help(&self) -> &'static str {
        "Open transactions, waits for metadata locks and the length of InnoDB's history list."
    }

    fn source(&self) -> &'static str {
        "information_schema.innodb_trx, SHOW GLOBAL STATUS, SHOW PROCESSLIST"
    }

    fn families(&self) -> Vec<Desc> {
        vec![OPEN, OLDEST, WAITS, LONGEST_WAIT, HISTORY_LENGTH]
    }

    fn checks(&self) -> &'static [&'static CheckDef] {
        &[&TRANSACTIONS, &METADATA_LOCKS, &UNDO_HISTORY]
    }

    fn augment_args(&self, command: Command) -> Command {
        Thresholds::augment_args(command)
    }

    fn configure(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        self.thresholds.update_from_arg_matches(matches)
    }

    async fn collect(&self, session: &Session, out: &mut Families) -> Result<(), BoxError> {
        let rows = session.query(statement(session.version())).await?;
        let answered = Instant::now();
        write(&rows, self.thresholds, out);
        let threads = session.query(THREADS).await;
        let now = rows.iter().find_map(|row| row.number(NOW)).map(|now| now + answered.elapsed().as_secs_f64());
        if let Some(length) = session.status().await?.rows.lookup_number("innodb_history_list_length") {
            write_history(length, self.thresholds, out);
        }
        let threads = threads?;
        let waits = now.and_then(|now| waits(&threads, now));
        let waits =
            waits.ok_or("SHOW PROCESSLIST has no column Id, Time or State: waits for metadata locks are unknown")?;
        write_locks(waits, self.thresholds, out);
        Ok(())
    }
}

fn statement(version: Version) -> String {
    // MySQL 5.6 and later have the table.
    let length = if version.is_mysql_since((5, 6, 0)) { format!(" UNION ALL {LENGTH}") } else { String::new() };
    format!("{TRANSACTION}{length}")
}

/// The column with the server's time.
const NOW: usize = 4;

/// A number of transactions or waits, and the oldest of them.
struct Group<'a> {
    count: f64,
    oldest: Option<Oldest<'a>>,
}

struct Oldest<'a> {
    started: f64,
    thread: &'a str,
    seconds: f64,
}

fn write(rows: &Rows, thresholds: Thresholds, out: &mut Families) {
    for row in rows.iter() {
        let Some(count) = row.number(1) else { continue };
        match row.get(0) {
            Some("transactions") => {
                let oldest = row.number(2).zip(row.number(NOW)).map(|(started, now)| Oldest {
                    started,
                    thread: row.get(3).unwrap_or_default(),
                    seconds: (now - started).max(0.0),
                });
                write_transactions(Group { count, oldest }, thresholds, out);
            }
            Some("history") => write_history(count, thresholds, out),
            _ => {}
        }
    }
}

/// The threads that wait for a metadata lock; `None` if a column is missing.
fn waits(threads: &Rows, now: f64) -> Option<Group<'_>> {
    let column = |name| threads.columns().position(|column| column.eq_ignore_ascii_case(name));
    let (id, time, state) = (column("Id")?, column("Time")?, column("State")?);
    let mut waits = Group { count: 0.0, oldest: None };
    for row in threads.iter() {
        let is_wait = |state: &str| state.starts_with("Waiting for ") && state.ends_with(" metadata lock");
        if !row.get(state).is_some_and(is_wait) {
            continue;
        }
        waits.count += 1.0;
        // Negative after a SET TIMESTAMP.
        let seconds = row.number(time).unwrap_or_default().max(0.0);
        if waits.oldest.as_ref().is_none_or(|oldest| oldest.seconds < seconds) {
            waits.oldest = Some(Oldest { started: now - seconds, thread: row.get(id).unwrap_or_default(), seconds });
        }
    }
    Some(waits)
}

fn write_transactions(open: Group<'_>, thresholds: Thresholds, out: &mut Families) {
    out.push(&OPEN, &[], open.count);
    let Some(Oldest { started, thread, seconds }) = open.oldest else {
        return out.check(&TRANSACTIONS, CheckStatus::Ok, "no open transaction");
    };
    out.push(&OLDEST, &[], started);
    let status = CheckStatus::grade(seconds, thresholds.transaction_warn, thresholds.transaction_fail);
    let reason = format!("{} open transactions, the oldest for {seconds:.0} s in thread {thread}", open.count);
    let advice = "it holds locks and old row versions; KILL the thread if it is not needed";
    out.check(&TRANSACTIONS, status, advised(status, reason, advice));
}

fn write_locks(waits: Group<'_>, thresholds: Thresholds, out: &mut Families) {
    out.push(&WAITS, &[], waits.count);
    let Some(Oldest { started, thread, seconds }) = waits.oldest else {
        return out.check(&METADATA_LOCKS, CheckStatus::Ok, "no statement waits for a metadata lock");
    };
    out.push(&LONGEST_WAIT, &[], started);
    let status = CheckStatus::grade(seconds, thresholds.metadata_lock_warn, thresholds.metadata_lock_fail);
    let reason = format!("{} statements wait for a metadata lock, thread {thread} for {seconds:.0} s", waits.count);
    let advice = "an open transaction or an ALTER TABLE holds it, and later statements wait as well";
    out.check(&METADATA_LOCKS, status, advised(status, reason, advice));
}

/// Adds the advice unless the status is ok.
fn advised(status: CheckStatus, reason: String, advice: &str) -> String {
    if status == CheckStatus::Ok { reason } else { format!("{reason}: {advice}") }
}

fn write_history(length: f64, thresholds: Thresholds, out: &mut Families) {
    out.push(&HISTORY_LENGTH, &[], length);
    let status = CheckStatus::grade(length, thresholds.history_warn, thresholds.history_fail);
    let reason = format!("InnoDB's history list has {length} entries");
    out.check(&UNDO_HISTORY, status, advised(status, reason, "end long transactions, or raise innodb_purge_threads"));
}

#[cfg(test)]
mod tests {
    use exporter_toolkit::flags::defaults;
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
        write(&rows(answer), defaults(), &mut out);
        testing::checks(out)
    }

    #[test]
    fn the_oldest_transaction_is_graded() {
        let answer = [
            [Some("transactions"), Some("3"), Some("1000.5"), Some("17"), Some("1400")],
            [Some("history"), Some("2000000"), None, None, None],
        ];
        let mut out = Families::default();
        write(&rows(&answer), defaults(), &mut out);
        assert_eq!(
            testing::samples(out),
            [
                "mysql_innodb_history_list_length 2000000",
                "mysql_transactions_oldest_start_timestamp_seconds 1000.5",
                "mysql_transactions_open 3",
            ]
        );
        let found = checks(&answer);
        let [transactions, history] = &found[..] else { panic!("{found:?}") };
        assert_eq!((transactions.0, transactions.1), ("transactions", CheckStatus::Warn));
        let expected = "3 open transactions, the oldest for 400 s in thread 17: it holds locks";
        assert!(transactions.2.starts_with(expected), "{found:?}");
        assert_eq!((history.0, history.1), ("undo_history", CheckStatus::Warn));
    }

    #[test]
    fn the_longest_wait_is_graded() {
        let columns = ["Id", "User", "Time", "State"].map(str::to_owned);
        let mut threads = Rows::new(columns.clone());
        for row in [
            ["16", "app", "900", ""],
            ["17", "app", "12", "Waiting for table metadata lock"],
            ["18", "app", "400", "Waiting for table flush"],
            ["19", "app", "31", "Waiting for schema metadata lock"],
            ["20", "app", "0", "starting"],
        ] {
            threads.push(row.map(|cell| Some(cell.as_bytes())).into_iter()).unwrap();
        }
        let written = |threads: &Rows| {
            let mut out = Families::default();
            write_locks(waits(threads, 1400.0).unwrap(), defaults(), &mut out);
            out
        };
        let (_, status, reason) = testing::checks(written(&threads)).remove(0);
        assert_eq!(status, CheckStatus::Warn);
        assert!(reason.starts_with("2 statements wait for a metadata lock, thread 19 for 31 s: "), "{reason}");
        assert_eq!(
            testing::samples(written(&threads)),
            ["mysql_metadata_lock_oldest_wait_start_timestamp_seconds 1369", "mysql_metadata_lock_waits 2"]
        );
        let none = Rows::new(columns);
        assert_eq!(testing::samples(written(&none)), ["mysql_metadata_lock_waits 0"]);
        assert_eq!(testing::checks(written(&none))[0].1, CheckStatus::Ok);
        assert!(waits(&Rows::new(["Id", "Time"].map(str::to_owned)), 1400.0).is_none());
    }

    #[test]
    fn no_open_transaction_is_ok() {
        let answer = [
            [Some("transactions"), Some("0"), None, None, Some("1400")],
            [Some("history"), Some("7"), None, None, None],
        ];
        assert!(checks(&answer).iter().all(|(_, status, _)| *status == CheckStatus::Ok));
        let mut out = Families::default();
        write(&rows(&answer), defaults(), &mut out);
        assert_eq!(testing::samples(out), ["mysql_innodb_history_list_length 7", "mysql_transactions_open 0"]);
    }
}
