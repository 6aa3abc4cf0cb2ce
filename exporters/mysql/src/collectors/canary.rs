//! A write that proves that the server takes writes: disks fill and locks hang while every read still succeeds. On a replica, where a write would be an
//! errant transaction, only what was replicated is read.

use std::hash::{DefaultHasher, Hasher as _};
use std::time::Instant;

use exporter_toolkit::{BoxError, CheckStatus, Collector, Desc, Families, async_trait};

use super::health::WRITE;
use crate::rows::Rows;
use crate::session::Session;

const DURATION: Desc = Desc::gauge(
    "mysql_canary_write_duration_seconds",
    "How long the canary's write took; absent where it failed and on a replica.",
    &[],
);
const NEWEST: Desc = Desc::gauge(
    "mysql_canary_newest_timestamp_seconds",
    "When the newest of the canary's rows was written, by the clock of the server that took the write: on a replica the age of this is the lag, \
     whatever its threads say.",
    &[],
);

/// Exporters of one server don't wait for each other's row unless two have the same one, and however many hosts an exporter has run on, the table
/// has no more rows than this.
const SLOTS: u64 = 16;

// (No doc comment: clap would take it for the program's description.)
#[derive(clap::Args, Clone, Debug)]
#[group(skip)]
pub(crate) struct Options {
    /// Table that the collector canary writes to; the README has its CREATE TABLE
    #[arg(
        id = "canary_table",
        long = "canary.table",
        value_name = "DATABASE.TABLE",
        default_value = "mysql_exporter.canary",
        value_parser = quoted,
        help_heading = "Collectors"
    )]
    table: String,
}

/// The name as it stands in a statement.
fn quoted(name: &str) -> Result<String, String> {
    let fits =
        |part: &str| !part.is_empty() && part.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '$'));
    match name.split_once('.') {
        Some((database, table)) if fits(database) && fits(table) => Ok(format!("`{database}`.`{table}`")),
        _ => Err("expected is DATABASE.TABLE, of letters, digits, _ and $".to_owned()),
    }
}

pub(super) struct Canary;

#[async_trait]
impl Collector<Session> for Canary {
    fn name(&self) -> &'static str {
        "canary"
    }

    fn help(&self) -> &'static str {
        "Whether the server takes a write, by a row of a table of the exporter's own (--canary.table); on a replica it only reads."
    }

    fn enabled_by_default(&self) -> bool {
        false
    }

    fn families(&self) -> Vec<Desc> {
        vec![DURATION, NEWEST]
    }

    async fn collect(&self, session: &Session, out: &mut Families) -> Result<(), BoxError> {
        let table = &session.options().canary.table;
        if session.replication().await?.rows.is_empty() {
            let started = Instant::now();
            // A server whose plugins or disks refuse it says so; one that hangs is the deadline's.
            if let Err(error) = session.query(write_statement(table, slot())).await {
                out.check(WRITE, CheckStatus::Fail, error.to_string());
                return Err(error.into());
            }
            let seconds = started.elapsed().as_secs_f64();
            out.push(&DURATION, &[], seconds);
            let slow = seconds >= session.thresholds().write_warn;
            let status = if slow { CheckStatus::Warn } else { CheckStatus::Ok };
            out.check(WRITE, status, format!("a write took {:.1} ms", seconds * 1000.0));
        }
        write(&session.query(read_statement(table)).await?, out);
        Ok(())
    }
}

/// The row of this host.
fn slot() -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write(rustix::system::uname().nodename().to_bytes());
    hasher.finish() % SLOTS
}

/// In UTC, as the session's time zone may be another one than the reader's.
fn write_statement(table: &str, slot: u64) -> String {
    format!(
        "INSERT INTO {table} (slot, written_at) VALUES ({slot}, UTC_TIMESTAMP(6)) ON DUPLICATE KEY UPDATE written_at = UTC_TIMESTAMP(6)"
    )
}

fn read_statement(table: &str) -> String {
    format!("SELECT TIMESTAMPDIFF(MICROSECOND, '1970-01-01', MAX(written_at)) / 1e6 FROM {table}")
}

fn write(rows: &Rows, out: &mut Families) {
    if let Some(newest) = rows.iter().next().and_then(|row| row.number(0)) {
        out.push(&NEWEST, &[], newest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_quoted_and_nothing_else_is_one() {
        assert_eq!(quoted("monitoring.canary_1").unwrap(), "`monitoring`.`canary_1`");
        for name in ["canary", ".canary", "a.", "a.b.c", "a.b;c", "a`.b", ""] {
            assert!(quoted(name).is_err(), "{name:?}");
        }
    }

    #[test]
    fn a_host_keeps_its_row() {
        assert!(slot() < SLOTS);
        assert_eq!(slot(), slot());
    }
}
