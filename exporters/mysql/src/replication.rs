//! The replication status under one set of names.
//!
//! MySQL 8.0.22 renamed the columns (`Master_Host` became `Source_Host`, `Slave_IO_Running` became
//! `Replica_IO_Running`). Existing dashboards and rules use the old names, so they are used here for both.

use mysql_kit::Version;

use crate::rows::{Row, Rows};

/// The statement for the replication status. Trying several would log errors at the server.
pub(crate) fn status_statement(version: Version) -> &'static str {
    if version.is_mariadb_since((10, 0, 0)) {
        "SHOW ALL SLAVES STATUS"
    } else if version.is_mysql_since((8, 0, 22)) {
        "SHOW REPLICA STATUS"
    } else {
        "SHOW SLAVE STATUS"
    }
}

/// A group has at most nine members.
pub(crate) const GROUP_MEMBERS_STATEMENT: &str = "SELECT * FROM performance_schema.replication_group_members LIMIT 9";

/// Whether the server is a member of a replication group, active or not (MySQL's Group Replication).
pub(crate) fn is_group_configured(variables: &Rows) -> bool {
    variables.lookup("group_replication_group_name").is_some_and(|name| !name.is_empty())
}

/// Whether the members of the server's replication group keep it read-only. A write there would fail by intent, or
/// because the member left its group.
pub(crate) fn is_read_only_in_group(variables: &Rows) -> bool {
    is_group_configured(variables)
        && variables.lookup("super_read_only").is_some_and(|state| state.eq_ignore_ascii_case("ON"))
}

/// Replication from one server: a row of the status.
#[derive(Clone, Copy)]
pub(crate) struct Channel<'a>(Row<'a>);

/// All channels of an answer; empty if the server is not a replica.
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

    /// Seconds behind the source, without a configured delay. While a thread doesn't run the server reports NULL, or 0
    /// (MySQL 9.7 whose I/O thread is connecting). The lag is infinite then, so that an alert fires.
    pub(crate) fn lag(self) -> f64 {
        let runs = |thread| self.get(thread).is_some_and(|state| state.eq_ignore_ascii_case("yes"));
        if !runs("slave_io_running") || !runs("slave_sql_running") {
            return f64::INFINITY;
        }
        let number = |name| self.get(name).and_then(|text| text.parse::<f64>().ok());
        let delay = number("sql_delay").unwrap_or(0.0);
        number("seconds_behind_master").map_or(f64::INFINITY, |lag| (lag - delay).max(0.0))
    }

    /// The name of the channel and the address of its source, for operators.
    pub(crate) fn source(self) -> String {
        let text = |name| self.get(name).unwrap_or_default();
        let name = [text("connection_name"), text("channel_name")].into_iter().find(|name| !name.is_empty());
        let address = format!("{}:{}", text("master_host"), text("master_port"));
        name.map_or_else(|| address.clone(), |name| format!("{name} ({address})"))
    }
}

/// The number of transactions that originated on this replica; `None` without GTIDs, and if the server is not a
/// replica.
pub(crate) fn own_transactions(replication: &Rows, variables: &Rows) -> Option<f64> {
    let channel = channels(replication).next()?;
    // MySQL: every executed transaction, as `uuid:1-5:7,uuid:tag:1-3`, including those from a time as source.
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
    // MariaDB: the transactions after the last replicated one of a domain, if this server wrote them. A former source
    // that replicates from its last position has none.
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

/// The number of transactions in `3-5` (three) or `7` (one); `None` for a tag.
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
    fn each_server_gets_the_statement_that_it_supports() {
        for (version, statement) in [
            ("10.11.19-MariaDB-0+deb12u1", "SHOW ALL SLAVES STATUS"),
            ("12.1.2", "SHOW ALL SLAVES STATUS"),
            ("10.0.38-MariaDB", "SHOW ALL SLAVES STATUS"),
            ("5.5.68-MariaDB", "SHOW SLAVE STATUS"),
            ("5.6.51", "SHOW SLAVE STATUS"),
            ("5.7.44-48-log", "SHOW SLAVE STATUS"),
            ("8.0.21", "SHOW SLAVE STATUS"),
            ("8.0.22", "SHOW REPLICA STATUS"),
            ("8.4.3", "SHOW REPLICA STATUS"),
            ("9.7.0-commercial", "SHOW REPLICA STATUS"),
            ("", "SHOW SLAVE STATUS"),
        ] {
            assert_eq!(status_statement(Version::parse(version)), statement, "{version}");
        }
    }

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
    fn a_configured_delay_is_subtracted_and_an_unknown_lag_is_infinite() {
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
    fn transactions_that_originated_on_the_replica_are_counted() {
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
    fn a_channel_is_named_by_its_name_and_source() {
        let mut rows = Rows::new(["Connection_name", "Master_Host", "Master_Port"].map(str::to_owned));
        rows.push([Some(b"".as_slice()), Some(b"db1"), Some(b"3306")].into_iter()).unwrap();
        rows.push([Some(b"east".as_slice()), Some(b"db2"), Some(b"3307")].into_iter()).unwrap();
        assert_eq!(channels(&rows).map(Channel::source).collect::<Vec<_>>(), ["db1:3306", "east (db2:3307)"]);
    }
}
