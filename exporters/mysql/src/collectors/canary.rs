//! A write that proves that the server accepts writes: with a full disk or a hanging lock, reads still succeed. A
//! replica only reads the replicated row, as a write there would be an errant transaction. A secondary of a replication
//! group does so too, as it rejects writes by intent.

use std::hash::{DefaultHasher, Hasher as _};
use std::time::Instant;

use clap::{ArgMatches, Args as _, Command, FromArgMatches as _};
use exporter_toolkit::flags::positive;
use exporter_toolkit::{BoxError, CheckDef, CheckStatus, Collector, Desc, Families, async_trait};

use crate::replication::is_read_only_in_group;
use crate::rows::Rows;
use crate::session::Session;
use crate::sql::table_name;

const DURATION: Desc = Desc::gauge(
    "mysql_canary_write_duration_seconds",
    "Duration of the canary's write, in seconds; absent if it failed, and on a replica.",
    &[],
);
const NEWEST: Desc = Desc::gauge(
    "mysql_canary_newest_timestamp_seconds",
    "Timestamp of the newest canary row, in seconds since 1970. On a replica, its age is the lag.",
    &[],
);

const CANARY_WRITE: CheckDef = CheckDef {
    name: "canary_write",
    help: "Whether the server accepts a write, and how fast (--health.write-warn). Absent unless the collector canary is on, on a \
           replica and on a read-only member of a replication group.",
    essential: true,
};

/// Maximum number of rows, whatever the number of hosts. Exporters on different hosts rarely share a row, and so rarely
/// wait for each other.
const SLOTS: u64 = 16;

#[derive(clap::Args, Clone, Debug)]
#[group(skip)]
#[command(next_help_heading = "Collectors")]
pub(super) struct Options {
    /// Table that the collector canary writes to; for its CREATE TABLE see the README
    #[arg(
        id = "canary_table",
        long = "canary.table",
        value_name = "DATABASE.TABLE",
        default_value = "mysql_exporter.canary",
        value_parser = table_name
    )]
    table: String,

    /// Warn (check `canary_write`) when the canary's write takes this long, in seconds
    #[arg(
        long = "health.write-warn",
        value_name = "SECONDS",
        default_value_t = 1.0,
        value_parser = positive,
        help_heading = "Health"
    )]
    write_warn: f64,
}

pub(super) struct Canary {
    pub(super) options: Options,
}

#[async_trait]
impl Collector<Session> for Canary {
    fn name(&self) -> &'static str {
        "canary"
    }

    fn help(&self) -> &'static str {
        "Whether the server accepts writes: writes one row to the table of --canary.table. On a replica it only reads."
    }

    fn source(&self) -> &'static str {
        "the table of --canary.table"
    }

    fn enabled_by_default(&self) -> bool {
        false
    }

    fn families(&self) -> Vec<Desc> {
        vec![DURATION, NEWEST]
    }

    fn checks(&self) -> &'static [&'static CheckDef] {
        &[&CANARY_WRITE]
    }

    fn augment_args(&self, command: Command) -> Command {
        Options::augment_args(command)
    }

    fn configure(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        self.options.update_from_arg_matches(matches)
    }

    async fn collect(&self, session: &Session, out: &mut Families) -> Result<(), BoxError> {
        let table = &self.options.table;
        let is_read_only = is_read_only_in_group(&session.variables().await?.rows);
        if session.replication().await?.rows.is_empty() && !is_read_only {
            let started = Instant::now();
            // A rejected write is an error here; a hanging one ends at the deadline.
            if let Err(error) = session.query(write_statement(table, slot())).await {
                out.check(&CANARY_WRITE, CheckStatus::Fail, error.to_string());
                return Err(error.into());
            }
            let seconds = started.elapsed().as_secs_f64();
            out.push(&DURATION, &[], seconds);
            let slow = seconds >= self.options.write_warn;
            let status = if slow { CheckStatus::Warn } else { CheckStatus::Ok };
            out.check(&CANARY_WRITE, status, format!("canary write took {:.1} ms", seconds * 1000.0));
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

/// In UTC, as the sessions' time zones may differ.
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
    fn a_host_keeps_its_row() {
        assert!(slot() < SLOTS);
        assert_eq!(slot(), slot());
    }
}
