//! The table that `pt-heartbeat` writes on the source: how old its newest row is here is the lag, whatever the replica's threads do.

use exporter_toolkit::{BoxError, Collector, Desc, Families, async_trait};

use crate::rows::Rows;
use crate::session::Session;

const NOW: Desc = Desc::gauge(
    "mysql_heartbeat_now_timestamp_seconds",
    "This server's time when the heartbeat was read.",
    &["server_id"],
);
const STORED: Desc = Desc::gauge("mysql_heartbeat_stored_timestamp_seconds", "Time of the heartbeat.", &["server_id"]);

// (No doc comment: clap would take it for the program's description.)
#[derive(clap::Args, Clone, Debug)]
#[group(skip)]
pub(crate) struct Options {
    /// Database of the heartbeats' table
    #[arg(
        long = "collect.heartbeat.database",
        value_name = "DATABASE",
        default_value = "heartbeat",
        help_heading = "Collectors"
    )]
    database: String,

    /// Table of the heartbeats
    #[arg(
        long = "collect.heartbeat.table",
        value_name = "TABLE",
        default_value = "heartbeat",
        help_heading = "Collectors"
    )]
    table: String,

    /// Take the heartbeats' times for UTC, as pt-heartbeat --utc writes them
    #[arg(long = "collect.heartbeat.utc", help_heading = "Collectors")]
    utc: bool,
}

pub(super) struct Heartbeat;

#[async_trait]
impl Collector<Session> for Heartbeat {
    fn name(&self) -> &'static str {
        "heartbeat"
    }

    fn help(&self) -> &'static str {
        "Replication's lag by the heartbeats that pt-heartbeat writes."
    }

    fn enabled_by_default(&self) -> bool {
        false
    }

    fn families(&self) -> Vec<Desc> {
        vec![NOW, STORED]
    }

    async fn collect(&self, session: &Session, out: &mut Families) -> Result<(), BoxError> {
        write(&session.query(statement(&session.options().heartbeat)).await?, out);
        Ok(())
    }
}

/// A row a server that ever wrote one: more than a thousand is another table.
fn statement(options: &Options) -> String {
    let now = if options.utc { "UTC_TIMESTAMP(6)" } else { "NOW(6)" };
    format!(
        "SELECT server_id, UNIX_TIMESTAMP(ts), UNIX_TIMESTAMP({now}) FROM {}.{} LIMIT 1000",
        quoted(&options.database),
        quoted(&options.table)
    )
}

fn quoted(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
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
    fn a_heartbeat_without_a_time_is_none() {
        let mut rows = Rows::new(["server_id", "stored", "now"].map(str::to_owned));
        rows.push([Some(b"1".as_slice()), Some(b"1700000000.123456"), Some(b"1700000001.000000")].into_iter()).unwrap();
        rows.push([Some(b"2".as_slice()), None, Some(b"1700000001.000000")].into_iter()).unwrap();
        let page = super::super::page(write, &rows);
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
    fn flags_name_the_table_and_the_clock() {
        let mut options = Options { database: "a`b".to_owned(), table: "t".to_owned(), utc: false };
        assert!(statement(&options).contains("UNIX_TIMESTAMP(NOW(6)) FROM `a``b`.`t` LIMIT"));
        options.utc = true;
        assert!(statement(&options).contains("UNIX_TIMESTAMP(UTC_TIMESTAMP(6)) FROM"));
    }
}
