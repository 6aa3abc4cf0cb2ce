//! The table that `pt-heartbeat` writes on the source. The age of its newest row is the lag, even if the replica's
//! threads report none.

use clap::{ArgMatches, Args as _, Command, FromArgMatches as _};
use exporter_toolkit::{BoxError, Collector, Desc, Families, async_trait};

use crate::rows::Rows;
use crate::session::Session;
use crate::sql::identifier;

const NOW: Desc = Desc::gauge(
    "mysql_heartbeat_now_timestamp_seconds",
    "This server's time when the heartbeat was read, in seconds since 1970.",
    &["server_id"],
);
const STORED: Desc = Desc::gauge(
    "mysql_heartbeat_stored_timestamp_seconds",
    "Timestamp of the heartbeat, in seconds since 1970.",
    &["server_id"],
);

#[derive(clap::Args, Clone, Debug)]
#[group(skip)]
#[command(next_help_heading = "Collectors")]
pub(super) struct Options {
    /// Database of the heartbeat table
    #[arg(long = "collect.heartbeat.database", value_name = "DATABASE", default_value = "heartbeat")]
    database: String,

    /// Name of the heartbeat table
    #[arg(long = "collect.heartbeat.table", value_name = "TABLE", default_value = "heartbeat")]
    table: String,

    /// Read timestamps as UTC, as written by pt-heartbeat --utc
    #[arg(long = "collect.heartbeat.utc")]
    utc: bool,
}

pub(super) struct Heartbeat {
    pub(super) options: Options,
}

#[async_trait]
impl Collector<Session> for Heartbeat {
    fn name(&self) -> &'static str {
        "heartbeat"
    }

    fn help(&self) -> &'static str {
        "Replication lag, measured with the heartbeats of pt-heartbeat."
    }

    fn source(&self) -> &'static str {
        "the table of --collect.heartbeat.database and .table"
    }

    fn enabled_by_default(&self) -> bool {
        false
    }

    fn families(&self) -> Vec<Desc> {
        vec![NOW, STORED]
    }

    fn augment_args(&self, command: Command) -> Command {
        Options::augment_args(command)
    }

    fn configure(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        self.options.update_from_arg_matches(matches)
    }

    async fn collect(&self, session: &Session, out: &mut Families) -> Result<(), BoxError> {
        let rows = session.query(statement(&self.options)).await?;
        write(&rows, out);
        Ok(rows.require_all(MAX_ROWS)?)
    }
}

/// One row per server that ever wrote a heartbeat; a table with more rows is another one.
const MAX_ROWS: usize = 1000;

fn statement(options: &Options) -> String {
    // UNIX_TIMESTAMP reads a text as local time, which has a gap and an hour twice where the time zone has summer time.
    let [stored, now] = if options.utc {
        ["ts", "UTC_TIMESTAMP(6)"].map(|time| format!("TIMESTAMPDIFF(MICROSECOND, '1970-01-01', {time}) / 1e6"))
    } else {
        ["ts", "NOW(6)"].map(|time| format!("UNIX_TIMESTAMP({time})"))
    };
    format!(
        "SELECT server_id, {stored}, {now} FROM {}.{} LIMIT {MAX_ROWS}",
        identifier(&options.database),
        identifier(&options.table)
    )
}

fn write(rows: &Rows, out: &mut Families) {
    for row in rows.iter() {
        if let (Some(server), Some(stored), Some(now)) = (row.get(0), row.number(1), row.number(2)) {
            out.push(&NOW, &[server], now);
            out.push(&STORED, &[server], stored);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_heartbeat_without_a_timestamp_is_skipped() {
        let mut rows = Rows::new(["server_id", "stored", "now"].map(str::to_owned));
        rows.push([Some(b"1".as_slice()), Some(b"1700000000.123456"), Some(b"1700000001.000000")].into_iter()).unwrap();
        rows.push([Some(b"2".as_slice()), None, Some(b"1700000001.000000")].into_iter()).unwrap();
        let page = super::super::testing::page(write, &rows);
        let samples: Vec<_> = page.lines().filter(|line| !line.starts_with('#')).collect();
        assert_eq!(
            samples,
            [
                r#"mysql_heartbeat_now_timestamp_seconds{server_id="1"} 1700000001"#,
                r#"mysql_heartbeat_stored_timestamp_seconds{server_id="1"} 1700000000.123456"#,
            ]
        );
    }

    #[test]
    fn the_flags_select_the_table_and_the_clock() {
        let mut options = Options { database: "a`b".to_owned(), table: "t".to_owned(), utc: false };
        assert!(statement(&options).contains("UNIX_TIMESTAMP(NOW(6)) FROM `a``b`.`t` LIMIT"));
        options.utc = true;
        assert!(statement(&options).contains("'1970-01-01', UTC_TIMESTAMP(6)) / 1e6 FROM"));
    }
}
