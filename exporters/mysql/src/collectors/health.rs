//! Is this server well, and if not, why. It asks nothing of its own: the checks judge the answers that the other collectors write as series.

use exporter_toolkit::flags::positive;
use exporter_toolkit::{BoxError, CheckDef, CheckStatus, Collector, Desc, Families, async_trait};

use crate::replication::{Channel, channels};
use crate::rows::Rows;
use crate::session::{Answer, Session};

pub(crate) static CHECKS: [CheckDef; 4] = [
    CheckDef {
        name: "query",
        help: "Whether the server answers a statement, and in time (--health.query-warn).",
        essential: true,
    },
    CheckDef {
        name: "connections",
        help: "Whether there is room for more connections (--health.connections-warn, --health.connections-fail).",
        essential: false,
    },
    CheckDef {
        name: "replication",
        help: "Whether a replica's threads run and how far it is behind (--health.replication-lag-warn, --health.replication-lag-fail); absent on \
               a server that replicates from nobody.",
        essential: false,
    },
    CheckDef {
        name: "read_only",
        help: "Whether a server that replicates from nobody takes writes.",
        essential: false,
    },
];
static QUERY: &CheckDef = &CHECKS[0];
static CONNECTIONS: &CheckDef = &CHECKS[1];
static REPLICATION: &CheckDef = &CHECKS[2];
static READ_ONLY: &CheckDef = &CHECKS[3];

/// A replica's last error can be a whole statement; MySQL's, which tells where the worker's own error stands, has some 350.
const MAX_ERROR_CHARS: usize = 400;

// When a check warns and when it fails. (No doc comment: clap would take it for the program's description.)
#[derive(clap::Args, Clone, Copy, Debug)]
pub(crate) struct Thresholds {
    /// Seconds for an answer to SHOW GLOBAL STATUS from which on the check `query` warns
    #[arg(long = "health.query-warn", value_name = "SECONDS", default_value_t = 1.0, value_parser = positive, help_heading = "Health")]
    query_warn: f64,

    /// Percent of max_connections in use from which on the check `connections` warns
    #[arg(long = "health.connections-warn", value_name = "PERCENT", default_value_t = 80.0, value_parser = positive, help_heading = "Health")]
    connections_warn: f64,

    /// Percent of max_connections in use from which on the check `connections` fails
    #[arg(long = "health.connections-fail", value_name = "PERCENT", default_value_t = 95.0, value_parser = positive, help_heading = "Health")]
    connections_fail: f64,

    /// Seconds behind the source, beyond a delay that is configured, from which on the check `replication` warns
    #[arg(long = "health.replication-lag-warn", value_name = "SECONDS", default_value_t = 30.0, value_parser = positive, help_heading = "Health")]
    lag_warn: f64,

    /// Seconds behind the source, beyond a delay that is configured, from which on the check `replication` fails
    #[arg(long = "health.replication-lag-fail", value_name = "SECONDS", default_value_t = 300.0, value_parser = positive, help_heading = "Health")]
    lag_fail: f64,
}

type Finding = (CheckStatus, String);

pub(super) struct Health;

#[async_trait]
impl Collector<Session> for Health {
    fn name(&self) -> &'static str {
        "health"
    }

    fn help(&self) -> &'static str {
        "Health checks, from the status, the variables and the replication status; no series besides the checks."
    }

    fn families(&self) -> Vec<Desc> {
        Vec::new()
    }

    async fn collect(&self, session: &Session, out: &mut Families) -> Result<(), BoxError> {
        let thresholds = session.thresholds();
        let (status, variables, replication) =
            tokio::join!(session.status(), session.variables(), session.replication());
        match &status {
            Ok(answer) => report(out, QUERY, Some(query(answer, thresholds))),
            Err(error) => report(out, QUERY, Some((CheckStatus::Fail, error.to_string()))),
        }
        if let (Ok(status), Ok(variables)) = (&status, &variables) {
            report(out, CONNECTIONS, connections(&status.rows, &variables.rows, thresholds));
        }
        if let Ok(replication) = &replication {
            let worst = channels(&replication.rows).map(|channel| replicates(channel, thresholds));
            report(out, REPLICATION, worst.max_by_key(|(status, _)| *status));
            if let Ok(variables) = &variables {
                report(out, READ_ONLY, read_only(&variables.rows, !replication.rows.is_empty()));
            }
        }
        status.and(variables).and(replication)?;
        Ok(())
    }
}

fn report(out: &mut Families, check: &'static CheckDef, finding: Option<Finding>) {
    if let Some((status, reason)) = finding {
        out.check(check, status, reason);
    }
}

fn query(answer: &Answer, thresholds: Thresholds) -> Finding {
    let seconds = answer.took.as_secs_f64();
    let status = if seconds < thresholds.query_warn { CheckStatus::Ok } else { CheckStatus::Warn };
    (status, format!("SHOW GLOBAL STATUS took {:.1} ms", seconds * 1000.0))
}

fn connections(status: &Rows, variables: &Rows, thresholds: Thresholds) -> Option<Finding> {
    let connected = status.lookup_number("threads_connected")?;
    let most = variables.lookup_number("max_connections").filter(|most| *most > 0.0)?;
    let percent = 100.0 * connected / most;
    let reason = format!("{connected} of {most} connections in use ({percent:.0} %)");
    Some((grade(percent, thresholds.connections_warn, thresholds.connections_fail), reason))
}

fn grade(value: f64, warn: f64, fail: f64) -> CheckStatus {
    if value >= fail {
        CheckStatus::Fail
    } else if value >= warn {
        CheckStatus::Warn
    } else {
        CheckStatus::Ok
    }
}

fn replicates(channel: Channel<'_>, thresholds: Thresholds) -> Finding {
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

fn read_only(variables: &Rows, is_replica: bool) -> Option<Finding> {
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
    use std::time::Duration;

    use CheckStatus::{Fail, Ok, Warn};

    use super::*;

    const THRESHOLDS: Thresholds =
        Thresholds { query_warn: 1.0, connections_warn: 80.0, connections_fail: 95.0, lag_warn: 30.0, lag_fail: 300.0 };

    #[test]
    fn a_slow_answer_is_a_warning() {
        let answer = |millis| Answer { rows: Rows::default(), took: Duration::from_millis(millis) };
        assert_eq!(query(&answer(3), THRESHOLDS), (Ok, "SHOW GLOBAL STATUS took 3.0 ms".to_owned()));
        assert_eq!(query(&answer(1000), THRESHOLDS).0, Warn);
    }

    #[test]
    fn connections_have_headroom() {
        let found = |connected: &str, most: &str| {
            connections(
                &Rows::pairs(&[("Threads_connected", connected)]),
                &Rows::pairs(&[("max_connections", most)]),
                THRESHOLDS,
            )
        };
        assert_eq!(found("79", "100"), Some((Ok, "79 of 100 connections in use (79 %)".to_owned())));
        assert_eq!(found("80", "100").unwrap().0, Warn);
        assert_eq!(found("95", "100").unwrap().0, Fail);
        // What can't be read is no finding.
        assert_eq!(found("many", "100"), None);
        assert_eq!(found("1", "0"), None);
    }

    fn replica(cells: &[(&str, Option<&str>)]) -> Finding {
        let mut rows = Rows::new(cells.iter().map(|(column, _)| (*column).to_owned()));
        rows.push(cells.iter().map(|(_, cell)| cell.map(str::as_bytes))).unwrap();
        replicates(channels(&rows).next().unwrap(), THRESHOLDS)
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
