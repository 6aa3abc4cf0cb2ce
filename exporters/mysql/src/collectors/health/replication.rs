//! Whether a replica replicates, keeps up, and holds nothing but what its source has; whether a server that is none takes writes.

use exporter_toolkit::CheckStatus;

use super::{Finding, Thresholds, grade};
use crate::replication::Channel;
use crate::rows::Rows;

/// A replica's last error can be a whole statement; MySQL's, which tells where the worker's own error stands, has some 350.
const MAX_ERROR_CHARS: usize = 400;

pub(super) fn find(channel: Channel<'_>, thresholds: Thresholds) -> Finding {
    let source = channel.source();
    for (thread, state, error) in
        [("I/O", "slave_io_running", "last_io_error"), ("SQL", "slave_sql_running", "last_sql_error")]
    {
        let state = channel.get(state).unwrap_or("unknown");
        if !state.eq_ignore_ascii_case("yes") {
            let error = channel.get(error).filter(|error| !error.is_empty()).unwrap_or("no error is given");
            let error: String = error.chars().take(MAX_ERROR_CHARS).collect();
            return (
                CheckStatus::Fail,
                format!("replication from {source}: the {thread} thread's state is {state}: {error}"),
            );
        }
    }
    let number = |name| channel.get(name).and_then(|text| text.parse::<f64>().ok());
    let Some(lag) = number("seconds_behind_master") else {
        return (CheckStatus::Warn, format!("replication from {source}: the threads run, but the lag is unknown"));
    };
    let delay = number("sql_delay").unwrap_or(0.0);
    let status = grade((lag - delay).max(0.0), thresholds.lag_warn, thresholds.lag_fail);
    let configured = if delay > 0.0 { format!(", of which {delay} s are configured") } else { String::new() };
    (status, format!("replication from {source}: {lag} s behind{configured}"))
}

/// What a replica holds that its source never wrote breaks the next failover. `new` is what came while the exporter looked on; MariaDB tells of
/// all of it.
pub(super) fn own_transactions(own: f64, new: f64, is_mariadb: bool) -> Finding {
    let errant = if is_mariadb { own } else { new };
    if errant > 0.0 {
        let found = format!("{errant} transactions were written on this replica itself, not on its source");
        return (CheckStatus::Warn, format!("{found}: set it read_only, and compare its GTIDs with the source's"));
    }
    let reason = match own > 0.0 {
        true => format!("{own} transactions of its own, none of them new: it may have been a source"),
        false => "no transaction of its own".to_owned(),
    };
    (CheckStatus::Ok, reason)
}

pub(super) fn read_only(variables: &Rows, is_replica: bool) -> Option<Finding> {
    let state = variables.lookup("read_only")?;
    let is_off = state.eq_ignore_ascii_case("OFF") || state == "0";
    // Of a group the other members decide who takes writes; the replication status doesn't show them.
    let group = variables.lookup("group_replication_group_name").unwrap_or_default();
    Some(match (is_off, is_replica || !group.is_empty()) {
        (true, _) => (CheckStatus::Ok, "read_only is OFF".to_owned()),
        (false, true) => (CheckStatus::Ok, format!("read_only is {state}, as befits a replica")),
        (false, false) => (
            CheckStatus::Warn,
            format!(
                "read_only is {state}, but the server replicates from nobody: writes fail here; SET GLOBAL read_only=OFF, or start replication"
            ),
        ),
    })
}

#[cfg(test)]
mod tests {
    use CheckStatus::{Fail, Ok, Warn};

    use super::*;
    use crate::replication::channels;

    fn replica(cells: &[(&str, Option<&str>)]) -> Finding {
        let mut rows = Rows::new(cells.iter().map(|(column, _)| (*column).to_owned()));
        rows.push(cells.iter().map(|(_, cell)| cell.map(str::as_bytes))).unwrap();
        find(channels(&rows).next().unwrap(), Thresholds::defaults())
    }

    #[test]
    fn replicas_run_and_keep_up() {
        let running = |lag| {
            replica(&[
                ("Source_Host", Some("db1")),
                ("Source_Port", Some("3306")),
                ("Replica_IO_Running", Some("Yes")),
                ("Replica_SQL_Running", Some("Yes")),
                ("Seconds_Behind_Source", lag),
            ])
        };
        assert_eq!(running(Some("29")), (Ok, "replication from db1:3306: 29 s behind".to_owned()));
        assert_eq!(running(Some("30")).0, Warn);
        assert_eq!(running(Some("300")).0, Fail);
        assert_eq!(running(None).0, Warn);
    }

    #[test]
    fn a_configured_delay_is_no_lag() {
        let delayed = |lag| {
            replica(&[
                ("Slave_IO_Running", Some("Yes")),
                ("Slave_SQL_Running", Some("Yes")),
                ("Seconds_Behind_Master", Some(lag)),
                ("SQL_Delay", Some("3600")),
            ])
        };
        assert_eq!(delayed("3600").0, Ok);
        assert_eq!(delayed("12").0, Ok);
        assert_eq!(delayed("3630").0, Warn);
    }

    #[test]
    fn a_stopped_thread_is_named_with_its_error() {
        let (status, reason) = replica(&[
            ("Connection_name", Some("east")),
            ("Master_Host", Some("db2")),
            ("Master_Port", Some("3306")),
            ("Slave_IO_Running", Some("Connecting")),
            ("Slave_SQL_Running", Some("Yes")),
            ("Seconds_Behind_Master", None),
            ("Last_IO_Error", Some(&"x".repeat(2 * MAX_ERROR_CHARS))),
        ]);
        assert_eq!(status, Fail);
        let expected = "replication from east (db2:3306): the I/O thread's state is Connecting: ";
        assert_eq!(reason, format!("{expected}{}", "x".repeat(MAX_ERROR_CHARS)));
        let (status, reason) = replica(&[("Slave_IO_Running", Some("Yes")), ("Slave_SQL_Running", Some("No"))]);
        assert_eq!(status, Fail);
        assert!(reason.ends_with("the SQL thread's state is No: no error is given"));
    }

    #[test]
    fn what_a_replica_wrote_itself_is_errant() {
        assert_eq!(own_transactions(0.0, 0.0, false), (Ok, "no transaction of its own".to_owned()));
        let (status, reason) = own_transactions(103.0, 3.0, false);
        assert_eq!(status, Warn);
        assert!(reason.starts_with("3 transactions were written on this replica itself"), "{reason}");
        // MySQL's replica that was a source has its own from then; MariaDB knows the difference.
        assert_eq!(own_transactions(100.0, 0.0, false).0, Ok);
        assert_eq!(own_transactions(2.0, 0.0, true).0, Warn);
    }

    #[test]
    fn only_a_replica_is_read_only() {
        let found = |state, is_replica| read_only(&Rows::pairs(&[("read_only", state)]), is_replica).unwrap().0;
        assert_eq!(found("OFF", false), Ok);
        assert_eq!(found("ON", true), Ok);
        assert_eq!(found("ON", false), Warn);
        assert_eq!(found("NO_LOCK", false), Warn);
        let member = Rows::pairs(&[("read_only", "ON"), ("group_replication_group_name", "g")]);
        assert_eq!(read_only(&member, false).unwrap().0, Ok);
        assert_eq!(read_only(&Rows::pairs(&[]), false), None);
    }
}
