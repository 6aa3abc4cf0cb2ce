//! The replication status under one set of names.
//!
//! MySQL 8.0.22 renamed the columns (`Master_Host` became `Source_Host`, `Slave_IO_Running` became `Replica_IO_Running`). Here, as in the dashboards
//! and rules that there are, the old names stand for both.

use crate::rows::{Row, Rows};

/// Replication from one server: a row of the status.
#[derive(Clone, Copy)]
pub(crate) struct Channel<'a>(Row<'a>);

/// All channels of an answer; none where the server is no replica.
pub(crate) fn channels(rows: &Rows) -> impl Iterator<Item = Channel<'_>> {
    rows.iter().map(Channel)
}

impl<'a> Channel<'a> {
    /// The cell of a column, by its old name in lower case.
    pub(crate) fn get(self, old_name: &str) -> Option<&'a str> {
        self.cells().find(|(column, _)| renames(column, old_name)).map(|(_, text)| text)
    }

    /// Columns as the server names them, and their cells that aren't NULL.
    pub(crate) fn cells(self) -> impl Iterator<Item = (&'a str, &'a str)> {
        self.0.cells()
    }

    /// Seconds behind the source, beyond a delay that is configured. While a thread doesn't run the server says NULL, or 0 (MySQL 9.7 whose I/O
    /// thread tries to connect); an alert must overlook neither, and so it is infinite then.
    pub(crate) fn lag(self) -> f64 {
        let runs = |thread| self.get(thread).is_some_and(|state| state.eq_ignore_ascii_case("yes"));
        if !runs("slave_io_running") || !runs("slave_sql_running") {
            return f64::INFINITY;
        }
        let number = |name| self.get(name).and_then(|text| text.parse::<f64>().ok());
        let delay = number("sql_delay").unwrap_or(0.0);
        number("seconds_behind_master").map_or(f64::INFINITY, |lag| (lag - delay).max(0.0))
    }

    /// How an operator tells this channel from others.
    pub(crate) fn source(self) -> String {
        let text = |name| self.get(name).unwrap_or_default();
        let name = [text("connection_name"), text("channel_name")].into_iter().find(|name| !name.is_empty());
        let address = format!("{}:{}", text("master_host"), text("master_port"));
        name.map_or_else(|| address.clone(), |name| format!("{name} ({address})"))
    }
}

/// How many transactions a replica holds under its own identity, not under a source's; `None` without GTIDs and where it is no replica.
pub(crate) fn own_transactions(replication: &Rows, variables: &Rows) -> Option<f64> {
    let channel = channels(replication).next()?;
    // MySQL: all that was ever executed, as `uuid:1-5:7,uuid:tag:1-3`. A former source's own is in it.
    if let Some(own) = variables.lookup("server_uuid") {
        let executed = channel.get("executed_gtid_set").filter(|set| !set.is_empty())?;
        let mut transactions = 0.0;
        for set in executed.split(',') {
            let mut parts = set.trim().split(':');
            if parts.next().is_some_and(|uuid| uuid.eq_ignore_ascii_case(own)) {
                transactions += parts.filter_map(interval).sum::<f64>();
            }
        }
        return Some(transactions);
    }
    // MariaDB: what is behind the last replicated one of a domain, if this server wrote it. A former source that replicates from where it ended
    // has nothing behind.
    let own = variables.lookup("server_id")?;
    // Empty in a new binary log, and where there is none.
    let has_log = variables.lookup("log_bin").is_some_and(|state| state.eq_ignore_ascii_case("on"));
    let written = variables.lookup("gtid_binlog_pos").filter(|_| has_log)?;
    let replicated = variables.lookup("gtid_slave_pos")?;
    let mut transactions = 0.0;
    for (domain, server, sequence) in positions(written) {
        let reached = positions(replicated).find(|(of, ..)| *of == domain).map_or(0.0, |(.., sequence)| sequence);
        if server == own {
            transactions += (sequence - reached).max(0.0);
        }
    }
    Some(transactions)
}

/// `3-5` are three transactions, `7` is one; a tag is none.
fn interval(text: &str) -> Option<f64> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last) = (first.parse::<u64>().ok()?, last.parse::<u64>().ok()?);
    Some((last.checked_sub(first)? + 1) as f64)
}

/// MariaDB's positions, `0-1-5,7-2-40`: domain, server, sequence number.
pub(crate) fn positions(text: &str) -> impl Iterator<Item = (&str, &str, f64)> {
    text.split(',').filter_map(|position| {
        let (domain, rest) = position.trim().split_once('-')?;
        let (server, sequence) = rest.split_once('-')?;
        Some((domain, server, sequence.parse::<u64>().ok()? as f64))
    })
}

/// The old name of a column, in lower case.
pub(crate) fn old_name(column: &str) -> String {
    words(column).collect::<Vec<_>>().join("_")
}

fn renames(column: &str, old_name: &str) -> bool {
    words(column).eq(old_name.split('_').map(str::to_owned))
}

fn words(column: &str) -> impl Iterator<Item = String> {
    column.split('_').map(|word| {
        let word = word.to_ascii_lowercase();
        match word.as_str() {
            "source" => "master".to_owned(),
            "replica" => "slave".to_owned(),
            _ => word,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_have_their_old_names() {
        for (column, old) in [
            ("Seconds_Behind_Source", "seconds_behind_master"),
            ("Replica_IO_Running", "slave_io_running"),
            ("Read_Source_Log_Pos", "read_master_log_pos"),
            ("Get_Source_public_key", "get_master_public_key"),
            ("Replicate_Do_DB", "replicate_do_db"),
            ("Slave_SQL_Running", "slave_sql_running"),
        ] {
            assert_eq!(old_name(column), old);
            assert!(renames(column, old), "{column}");
        }
        assert!(!renames("Source_Host", "master"));
    }

    #[test]
    fn what_is_configured_is_no_lag_and_what_is_unknown_is_endless() {
        let lag = |io, sql, cells: [Option<&str>; 2]| {
            let columns = ["Replica_IO_Running", "Replica_SQL_Running", "Seconds_Behind_Source", "SQL_Delay"];
            let mut rows = Rows::new(columns.map(str::to_owned));
            let cells = [Some(io), Some(sql)].into_iter().chain(cells);
            rows.push(cells.map(|cell| cell.map(str::as_bytes))).unwrap();
            channels(&rows).next().unwrap().lag()
        };
        assert_eq!(lag("Yes", "Yes", [Some("7"), Some("0")]), 7.0);
        assert_eq!(lag("Yes", "Yes", [Some("7"), None]), 7.0);
        assert_eq!(lag("Yes", "Yes", [Some("3607"), Some("3600")]), 7.0);
        assert_eq!(lag("Yes", "Yes", [Some("12"), Some("3600")]), 0.0);
        assert_eq!(lag("Yes", "Yes", [None, Some("3600")]), f64::INFINITY);
        assert_eq!(lag("Connecting", "Yes", [Some("0"), Some("0")]), f64::INFINITY);
        assert_eq!(lag("Yes", "No", [Some("0"), Some("0")]), f64::INFINITY);
    }

    #[test]
    fn transactions_of_its_own_are_counted() {
        let mysql = |executed: &str| {
            let mut rows = Rows::new(["Source_Host", "Executed_Gtid_Set"].map(str::to_owned));
            rows.push([Some(b"db1".as_slice()), Some(executed.as_bytes())].into_iter()).unwrap();
            own_transactions(&rows, &Rows::pairs(&[("server_uuid", "AB-1"), ("server_id", "2")]))
        };
        assert_eq!(mysql("cd-2:1-100,\nab-1:1-5:7:backup:1-3"), Some(9.0));
        assert_eq!(mysql("cd-2:1-100"), Some(0.0));
        assert_eq!(mysql(""), None);
        let mariadb = |log_bin, written, replicated| {
            let mut rows = Rows::new(["Master_Host".to_owned()]);
            rows.push([Some(b"db1".as_slice())].into_iter()).unwrap();
            let variables = [
                ("log_bin", log_bin),
                ("server_id", "2"),
                ("gtid_binlog_pos", written),
                ("gtid_slave_pos", replicated),
            ];
            own_transactions(&rows, &Rows::pairs(&variables))
        };
        assert_eq!(mariadb("ON", "0-2-15,7-1-3", "0-1-12,7-1-3"), Some(3.0));
        assert_eq!(mariadb("ON", "5-2-2", "0-1-12"), Some(2.0));
        assert_eq!(mariadb("ON", "0-1-12", "0-1-12"), Some(0.0));
        // It was the source up to 15.
        assert_eq!(mariadb("ON", "0-2-15", "0-2-15"), Some(0.0));
        assert_eq!(mariadb("ON", "", "0-1-12"), Some(0.0));
        assert_eq!(mariadb("OFF", "", "0-1-12"), None);
        assert_eq!(own_transactions(&Rows::default(), &Rows::pairs(&[("server_uuid", "ab-1")])), None);
    }

    #[test]
    fn a_channel_is_named_after_what_tells_it_from_others() {
        let mut rows = Rows::new(["Connection_name", "Master_Host", "Master_Port"].map(str::to_owned));
        rows.push([Some(b"".as_slice()), Some(b"db1"), Some(b"3306")].into_iter()).unwrap();
        rows.push([Some(b"east".as_slice()), Some(b"db2"), Some(b"3307")].into_iter()).unwrap();
        assert_eq!(channels(&rows).map(Channel::source).collect::<Vec<_>>(), ["db1:3306", "east (db2:3307)"]);
    }
}
