//! Is this server well, and if not, why. It asks nothing of its own: the checks judge the answers that the other collectors write as series. Checks
//! of something else are with its collector: `transactions`, `canary`, `logins`.

mod certificate;
mod connections;
mod pressure;
mod replication;
mod thresholds;

use exporter_toolkit::{BoxError, CheckDef, CheckStatus, Collector, Desc, Families, Finding, async_trait};
use jiff::Timestamp;
use tokio::time::Instant;

pub(crate) use self::thresholds::Thresholds;
pub(super) use self::thresholds::grade;
use crate::history::Reading;
use crate::replication::{channels, own_transactions};
use crate::rows::Rows;
use crate::session::{Answer, Session};

pub(crate) static CHECKS: [CheckDef; 13] = [
    CheckDef {
        name: "query",
        help: "Whether the server answers a statement, and in time (--health.query-warn).",
        essential: true,
    },
    CheckDef {
        name: "connections",
        help: "Whether there is room for more connections, and for how long as they grow now (--health.connections-warn, --health.connections-fail, \
               --health.connections-forecast).",
        essential: false,
    },
    CheckDef {
        name: "replication",
        help: "Whether a replica's threads run and how far it is behind (--health.replication-lag-warn, --health.replication-lag-fail); absent on \
               a server that replicates from nobody.",
        essential: false,
    },
    CheckDef {
        name: "errant_transactions",
        help: "Whether a replica holds transactions that were written on it and not on its source: in MariaDB all of them, in MySQL those that came \
               since the exporter started. Absent without GTIDs and on a server that replicates from nobody.",
        essential: false,
    },
    CheckDef {
        name: "read_only",
        help: "Whether a server that replicates from nobody takes writes.",
        essential: false,
    },
    CheckDef {
        name: "table_cache",
        help: "Whether table_open_cache is full while tables are opened all the time (--health.table-opens-warn); absent in the first minute.",
        essential: false,
    },
    CheckDef {
        name: "temp_tables",
        help: "Whether many temporary tables go to disk (--health.temp-tables-warn); absent in the first minute.",
        essential: false,
    },
    CheckDef {
        name: "certificate",
        help: "How long the server's TLS certificate is valid (--health.certificate-warn, --health.certificate-fail); absent without one, \
               and on MariaDB where the exporter does not connect by TLS.",
        essential: false,
    },
    CheckDef {
        name: "transactions",
        help: "How long the oldest transaction has been open (--health.transaction-warn, --health.transaction-fail).",
        essential: false,
    },
    CheckDef {
        name: "metadata_locks",
        help: "How long a statement has waited for a metadata lock (--health.metadata-lock-warn, --health.metadata-lock-fail).",
        essential: false,
    },
    CheckDef {
        name: "history",
        help: "How many old versions of rows InnoDB keeps for the oldest transaction or a purge that lags (--health.history-warn, \
               --health.history-fail).",
        essential: false,
    },
    CheckDef {
        name: "write",
        help: "Whether the server takes a write, and in time (--health.write-warn), by the collector canary; absent without it and on a replica.",
        essential: true,
    },
    CheckDef {
        name: "login",
        help: "Whether the exporter's newest login worked; connections are kept, and each is made anew after a minute.",
        essential: false,
    },
];
static QUERY: &CheckDef = &CHECKS[0];
static CONNECTIONS: &CheckDef = &CHECKS[1];
static REPLICATION: &CheckDef = &CHECKS[2];
static ERRANT_TRANSACTIONS: &CheckDef = &CHECKS[3];
static READ_ONLY: &CheckDef = &CHECKS[4];
static TABLE_CACHE: &CheckDef = &CHECKS[5];
static TEMP_TABLES: &CheckDef = &CHECKS[6];
static CERTIFICATE: &CheckDef = &CHECKS[7];
pub(super) static TRANSACTIONS: &CheckDef = &CHECKS[8];
pub(super) static METADATA_LOCKS: &CheckDef = &CHECKS[9];
pub(super) static HISTORY: &CheckDef = &CHECKS[10];
pub(super) static WRITE: &CheckDef = &CHECKS[11];
pub(super) static LOGIN: &CheckDef = &CHECKS[12];

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
            Ok(answer) => {
                out.finding(QUERY, Some(query(answer, thresholds)));
                out.finding(CERTIFICATE, certificate::find(&answer.rows, Timestamp::now(), thresholds));
            }
            Err(error) => out.finding(QUERY, Some((CheckStatus::Fail, error.to_string()))),
        }
        if let (Ok(status), Ok(variables)) = (&status, &variables) {
            let (status, variables) = (&status.rows, &variables.rows);
            let trend = reading(status).and_then(|reading| session.history().trend(Instant::now(), reading));
            out.finding(CONNECTIONS, connections::find(status, variables, trend, thresholds));
            out.finding(TABLE_CACHE, pressure::table_cache(status, variables, trend, thresholds));
            out.finding(TEMP_TABLES, pressure::temp_tables(trend, thresholds));
        }
        if let Ok(replication) = &replication {
            let worst = channels(&replication.rows).map(|channel| replication::find(channel, thresholds));
            out.finding(REPLICATION, worst.max_by_key(|(status, _)| *status));
            if let Ok(variables) = &variables {
                let own = own_transactions(&replication.rows, &variables.rows);
                let new = session.history().new_own_transactions(own);
                let errant = own
                    .zip(new)
                    .map(|(own, new)| replication::own_transactions(own, new, session.version().is_mariadb()));
                out.finding(ERRANT_TRANSACTIONS, errant);
                out.finding(READ_ONLY, replication::read_only(&variables.rows, !replication.rows.is_empty()));
            }
        }
        status.and(variables).and(replication)?;
        Ok(())
    }
}

fn reading(status: &Rows) -> Option<Reading> {
    let number = |name| status.lookup_number(name);
    Some(Reading {
        uptime: number("uptime")?,
        connections: number("threads_connected")?,
        opened_tables: number("opened_tables")?,
        temp_tables: number("created_tmp_tables")?,
        temp_tables_on_disk: number("created_tmp_disk_tables")?,
    })
}

fn query(answer: &Answer, thresholds: Thresholds) -> Finding {
    let seconds = answer.took.as_secs_f64();
    let status = if seconds < thresholds.query_warn { CheckStatus::Ok } else { CheckStatus::Warn };
    (status, format!("SHOW GLOBAL STATUS took {:.1} ms", seconds * 1000.0))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_slow_answer_is_a_warning() {
        let found = |millis| {
            query(&Answer { rows: Rows::default(), took: Duration::from_millis(millis) }, Thresholds::defaults())
        };
        assert_eq!(found(3), (CheckStatus::Ok, "SHOW GLOBAL STATUS took 3.0 ms".to_owned()));
        assert_eq!(found(1000).0, CheckStatus::Warn);
    }
}
