//! Health checks on the answers that other collectors export. Checks with statements of their own are in
//! `transactions`, `canary` and `logins`.

mod caches;
mod certificate;
mod connections;
mod galera;
mod group;
mod replication;

use exporter_toolkit::flags::positive;
use exporter_toolkit::{BoxError, CheckDef, CheckStatus, Families, Finding, HealthChecks, async_trait};
use jiff::Timestamp;
use tokio::time::Instant;

use self::caches::{TABLE_CACHE, TEMP_TABLES};
use self::certificate::CERTIFICATE;
use self::connections::CONNECTIONS;
use self::galera::GALERA;
use self::group::{GROUP_REPLICATION, Role};
use self::replication::{ERRANT_TRANSACTIONS, READ_ONLY, REPLICATION};
use crate::history::StatusSample;
use crate::replication::{channels, own_transactions, status_statement};
use crate::rows::Rows;
use crate::session::{Answer, Session};

const PING_QUERY: CheckDef = CheckDef {
    name: "ping_query",
    help: "Whether the server answers SHOW GLOBAL STATUS, and how fast (--health.query-warn).",
    essential: true,
};

#[derive(clap::Args, Clone, Copy, Debug)]
#[group(skip)]
#[command(next_help_heading = "Health")]
pub(super) struct Thresholds {
    /// Warn (check `ping_query`) when SHOW GLOBAL STATUS takes this long, in seconds
    #[arg(long = "health.query-warn", value_name = "SECONDS", default_value_t = 1.0, value_parser = positive)]
    query_warn: f64,

    #[command(flatten)]
    connections: connections::Thresholds,

    #[command(flatten)]
    replication: replication::Thresholds,

    #[command(flatten)]
    galera: galera::Thresholds,

    #[command(flatten)]
    caches: caches::Thresholds,

    #[command(flatten)]
    certificate: certificate::Thresholds,
}

pub(super) struct Health;

#[async_trait]
impl HealthChecks for Health {
    type Session = Session;
    type Thresholds = Thresholds;

    const HELP: &'static str =
        "Health checks on the status, the variables and the replication status; it writes no other series.";
    const SOURCE: &'static str = "the answers of global_status, global_variables and slave_status";
    const CHECKS: &'static [&'static CheckDef] = &[
        &PING_QUERY,
        &CONNECTIONS,
        &REPLICATION,
        &ERRANT_TRANSACTIONS,
        &READ_ONLY,
        &GALERA,
        &GROUP_REPLICATION,
        &TABLE_CACHE,
        &TEMP_TABLES,
        &CERTIFICATE,
    ];

    async fn report(session: &Session, thresholds: &Thresholds, out: &mut Families) -> Result<(), BoxError> {
        let (status, variables, replication) =
            tokio::join!(session.status(), session.variables(), session.replication());
        match &status {
            Ok(answer) => {
                out.finding(&PING_QUERY, Some(ping_query(answer, thresholds.query_warn)));
                let certificate = certificate::find(&answer.rows, Timestamp::now(), thresholds.certificate);
                out.finding(&CERTIFICATE, certificate);
            }
            Err(error) => out.finding(&PING_QUERY, Some((CheckStatus::Fail, error.to_string()))),
        }
        if let (Ok(status), Ok(variables)) = (&status, &variables) {
            let (status, variables) = (&status.rows, &variables.rows);
            let trend = sample(status).and_then(|sample| session.history().trend(Instant::now(), sample));
            out.finding(&CONNECTIONS, connections::find(status, variables, trend, thresholds.connections));
            out.finding(&GALERA, galera::find(status, variables, trend, thresholds.galera));
            out.finding(&TABLE_CACHE, caches::table_cache(status, variables, trend, thresholds.caches));
            out.finding(&TEMP_TABLES, caches::temp_tables(trend, thresholds.caches));
        }
        let mut role = Role::Unknown;
        if let Ok(variables) = &variables {
            let members = session.group_members(&variables.rows).await;
            let server_uuid = variables.rows.lookup("server_uuid").unwrap_or_default();
            let finding;
            (role, finding) = group::find(members.as_ref().map(Result::as_ref), server_uuid);
            out.finding(&GROUP_REPLICATION, finding);
        }
        if let Ok(replication) = &replication {
            let statement = status_statement(session.version());
            let findings = channels(&replication.rows)
                .map(|channel| replication::find(channel, statement, thresholds.replication));
            out.finding(&REPLICATION, findings.max_by_key(|(status, _)| *status));
            if let Ok(variables) = &variables {
                let own = own_transactions(&replication.rows, &variables.rows);
                let new = session.history().new_own_transactions(own);
                let errant = own
                    .zip(new)
                    .map(|(own, new)| replication::own_transactions(own, new, session.version().is_mariadb()));
                out.finding(&ERRANT_TRANSACTIONS, errant);
                out.finding(&READ_ONLY, replication::read_only(&variables.rows, !replication.rows.is_empty(), role));
            }
        }
        status.and(variables).and(replication)?;
        Ok(())
    }
}

fn sample(status: &Rows) -> Option<StatusSample> {
    let number = |name| status.lookup_number(name);
    Some(StatusSample {
        uptime: number("uptime")?,
        connections: number("threads_connected")?,
        opened_tables: number("opened_tables")?,
        temp_tables: number("created_tmp_tables")?,
        temp_tables_on_disk: number("created_tmp_disk_tables")?,
        flow_control_paused: number("wsrep_flow_control_paused_ns").unwrap_or_default() / 1e9,
    })
}

fn ping_query(answer: &Answer, warn: f64) -> Finding {
    let seconds = answer.took.as_secs_f64();
    let status = if seconds < warn { CheckStatus::Ok } else { CheckStatus::Warn };
    (status, format!("SHOW GLOBAL STATUS took {:.1} ms", seconds * 1000.0))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_slow_answer_warns() {
        let found = |millis| ping_query(&Answer { rows: Rows::default(), took: Duration::from_millis(millis) }, 1.0);
        assert_eq!(found(3), (CheckStatus::Ok, "SHOW GLOBAL STATUS took 3.0 ms".to_owned()));
        assert_eq!(found(1000).0, CheckStatus::Warn);
    }
}
