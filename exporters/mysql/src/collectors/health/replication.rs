//! Whether a replica replicates, keeps up and has no errant transactions; whether a source accepts writes.

use exporter_toolkit::flags::positive;
use exporter_toolkit::{CheckDef, CheckStatus, Finding};
use mysql_kit::error_code::Code;

use super::group::Role;
use crate::replication::Channel;
use crate::rows::Rows;

pub(super) const REPLICATION: CheckDef = CheckDef {
    name: "replication",
    help: "Whether a replica's threads run, and whether it lags (--health.replication-lag-warn, --health.replication-lag-fail). \
           Absent on a server that is not a replica.",
    essential: false,
};

pub(super) const ERRANT_TRANSACTIONS: CheckDef = CheckDef {
    name: "errant_transactions",
    help: "Whether a replica has transactions that its source does not have. MariaDB: all of them. MySQL: those since the \
           exporter started. Absent without GTIDs and on a server that is not a replica.",
    essential: false,
};

pub(super) const READ_ONLY: CheckDef =
    CheckDef { name: "read_only", help: "Whether a server that is not a replica accepts writes.", essential: false };

#[derive(clap::Args, Clone, Copy, Debug)]
#[group(skip)]
pub(super) struct Thresholds {
    /// Warn (check `replication`) when replication lag reaches this many seconds; a configured delay is subtracted
    /// first
    #[arg(long = "health.replication-lag-warn", value_name = "SECONDS", default_value_t = 30.0, value_parser = positive)]
    lag_warn: f64,

    /// Fail (check `replication`) when replication lag reaches this many seconds; a configured delay is subtracted
    /// first
    #[arg(long = "health.replication-lag-fail", value_name = "SECONDS", default_value_t = 300.0, value_parser = positive)]
    lag_fail: f64,
}

/// `statement` shows the channel on the server. The error's own text quotes the failed statement and its row, so only
/// its code is reported.
pub(super) fn find(channel: Channel<'_>, statement: &str, thresholds: Thresholds) -> Finding {
    let source = channel.source();
    for (thread, state, code, text) in [
        ("I/O", "slave_io_running", "last_io_errno", "Last_IO_Error"),
        ("SQL", "slave_sql_running", "last_sql_errno", "Last_SQL_Error"),
    ] {
        let state = channel.get(state).unwrap_or("unknown");
        if !state.eq_ignore_ascii_case("yes") {
            let error = match channel.get(code).and_then(|code| code.parse().ok()).filter(|code| *code > 0) {
                Some(code) => format!("{}; {statement} on the server has the message ({text})", Code(code)),
                None => "no error reported".to_owned(),
            };
            return (
                CheckStatus::Fail,
                format!("replication from {source}: {thread} thread is in state {state}: {error}"),
            );
        }
    }
    let number = |name| channel.get(name).and_then(|text| text.parse::<f64>().ok());
    let Some(lag) = number("seconds_behind_master") else {
        return (CheckStatus::Warn, format!("replication from {source}: threads are running, but the lag is unknown"));
    };
    let delay = number("sql_delay").unwrap_or(0.0);
    let status = CheckStatus::grade((lag - delay).max(0.0), thresholds.lag_warn, thresholds.lag_fail);
    let configured = if delay > 0.0 { format!(" ({delay} s of it configured)") } else { String::new() };
    (status, format!("replication from {source}: {lag} s behind{configured}"))
}

/// Transactions that the source does not have break the next failover. `own` originated on the replica, `new` of them
/// since the exporter's first scrape. In MariaDB, all of them are errant.
pub(super) fn own_transactions(own: f64, new: f64, is_mariadb: bool) -> Finding {
    let errant = if is_mariadb { own } else { new };
    if errant > 0.0 {
        let found = format!("{errant} errant transactions, which originated on this replica and not on its source");
        return (CheckStatus::Warn, format!("{found}: set read_only=ON here, and compare its GTIDs with the source's"));
    }
    let reason = match own > 0.0 {
        true => format!(
            "{own} transactions originated on this replica, none recently; the server was probably a source before"
        ),
        false => "no errant transactions".to_owned(),
    };
    (CheckStatus::Ok, reason)
}

/// `None` also for a member of a replication group whose role is unknown: it may be read-only by intent.
pub(super) fn read_only(variables: &Rows, is_replica: bool, role: Role) -> Option<Finding> {
    let state = variables.lookup("read_only")?;
    if state.eq_ignore_ascii_case("OFF") || state == "0" {
        return Some((CheckStatus::Ok, "server accepts writes (read_only=OFF)".to_owned()));
    }
    Some(match role {
        Role::Secondary => {
            (CheckStatus::Ok, format!("secondary of a replication group is read-only (read_only={state})"))
        }
        Role::Unknown => return None,
        Role::Outside => (
            CheckStatus::Warn,
            format!(
                "server is read-only (read_only={state}) because it is not an active member of its replication group, so \
                 writes fail: see group_replication"
            ),
        ),
        Role::Primary | Role::NotConfigured if is_replica => {
            (CheckStatus::Ok, format!("replica is read-only (read_only={state})"))
        }
        Role::Primary => (
            CheckStatus::Warn,
            format!(
                "server is read-only (read_only={state}) but the primary of its replication group, so writes fail: SET GLOBAL \
                 read_only=OFF"
            ),
        ),
        Role::NotConfigured => (
            CheckStatus::Warn,
            format!(
                "server is read-only (read_only={state}) but not a replica, so writes fail: SET GLOBAL read_only=OFF, or \
                 start replication"
            ),
        ),
    })
}

#[cfg(test)]
mod tests {
    use CheckStatus::{Fail, Ok, Warn};
    use exporter_toolkit::flags::defaults;

    use super::*;
    use crate::replication::channels;

    fn replica(cells: &[(&str, Option<&str>)]) -> Finding {
        let mut rows = Rows::new(cells.iter().map(|(column, _)| (*column).to_owned()));
        rows.push(cells.iter().map(|(_, cell)| cell.map(str::as_bytes))).unwrap();
        find(channels(&rows).next().unwrap(), "SHOW REPLICA STATUS", defaults())
    }

    #[test]
    fn lag_is_graded() {
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
    fn a_configured_delay_is_subtracted() {
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
    fn a_stopped_thread_fails_with_its_error() {
        let (status, reason) = replica(&[
            ("Connection_name", Some("east")),
            ("Master_Host", Some("db2")),
            ("Master_Port", Some("3306")),
            ("Slave_IO_Running", Some("Connecting")),
            ("Slave_SQL_Running", Some("Yes")),
            ("Seconds_Behind_Master", None),
            ("Last_IO_Errno", Some("2003")),
            ("Last_IO_Error", Some("error connecting to master")),
        ]);
        assert_eq!(status, Fail);
        let expected = "replication from east (db2:3306): I/O thread is in state Connecting: error 2003 \
                        (CR_CONN_HOST_ERROR); SHOW REPLICA STATUS on the server has the message (Last_IO_Error)";
        assert_eq!(reason, expected);
        let stopped =
            [("Slave_IO_Running", Some("Yes")), ("Slave_SQL_Running", Some("No")), ("Last_SQL_Errno", Some("0"))];
        let (status, reason) = replica(&stopped);
        assert_eq!(status, Fail);
        assert!(reason.ends_with("SQL thread is in state No: no error reported"));
    }

    #[test]
    fn transactions_that_originated_on_the_replica_are_errant() {
        assert_eq!(own_transactions(0.0, 0.0, false), (Ok, "no errant transactions".to_owned()));
        let (status, reason) = own_transactions(103.0, 3.0, false);
        assert_eq!(status, Warn);
        assert!(reason.starts_with("3 errant transactions, which originated on this replica"), "{reason}");
        // A MySQL replica that was a source keeps the transactions of that time; in MariaDB they can be told apart.
        assert_eq!(own_transactions(100.0, 0.0, false).0, Ok);
        assert_eq!(own_transactions(2.0, 0.0, true).0, Warn);
    }

    #[test]
    fn only_a_replica_may_be_read_only() {
        let found = |state, is_replica, role| {
            read_only(&Rows::pairs(&[("read_only", state)]), is_replica, role).map(|(status, _)| status)
        };
        assert_eq!(found("OFF", false, Role::NotConfigured), Some(Ok));
        assert_eq!(found("ON", true, Role::NotConfigured), Some(Ok));
        assert_eq!(found("ON", false, Role::NotConfigured), Some(Warn));
        assert_eq!(found("NO_LOCK", false, Role::NotConfigured), Some(Warn));
        assert_eq!(found("ON", false, Role::Secondary), Some(Ok));
        assert_eq!(found("ON", false, Role::Primary), Some(Warn));
        // The primary of a group that replicates another group.
        assert_eq!(found("ON", true, Role::Primary), Some(Ok));
        assert_eq!(found("ON", true, Role::Outside), Some(Warn));
        assert_eq!(found("ON", false, Role::Unknown), None);
        assert_eq!(found("OFF", false, Role::Unknown), Some(Ok));
        assert_eq!(read_only(&Rows::pairs(&[]), false, Role::NotConfigured), None);
    }
}
