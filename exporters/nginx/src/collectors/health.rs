//! The health of nginx: connections that it dropped, and how many it has.

use exporter_toolkit::CheckStatus::{Ok as Good, Warn};
use exporter_toolkit::{BoxError, CheckDef, Families, Finding, HealthChecks, async_trait};

use crate::target::Session;

static DROPPED_CONNECTIONS: CheckDef = CheckDef {
    name: "dropped_connections",
    help: "Warns when nginx dropped connections since the previous scrape: it reached worker_connections.",
    essential: false,
};
static CONNECTIONS: CheckDef = CheckDef {
    name: "connections",
    help: "Warns when client connections reach `--health.max-connections`; absent without a limit.",
    essential: false,
};

// Not a doc comment: clap would make it the program's description.
#[derive(clap::Args)]
pub(super) struct Thresholds {
    /// Warn (check `connections`) when nginx has this many client connections; 0 turns the check off
    #[arg(long = "health.max-connections", value_name = "CONNECTIONS", default_value_t = 0, help_heading = "Health")]
    max_connections: u64,
}

pub(super) struct Health;

#[async_trait]
impl HealthChecks for Health {
    type Session = Session;
    type Thresholds = Thresholds;

    const HELP: &'static str = "Health checks: dropped connections, number of connections.";
    const SOURCE: &'static str = "the page of `stub_status`";
    const CHECKS: &'static [&'static CheckDef] = &[&DROPPED_CONNECTIONS, &CONNECTIONS];

    async fn report(session: &Session, thresholds: &Thresholds, out: &mut Families) -> Result<(), BoxError> {
        out.finding(&DROPPED_CONNECTIONS, dropped_connections(session));
        out.finding(&CONNECTIONS, connections(session, thresholds.max_connections));
        Ok(())
    }
}

/// Absent in the first scrape.
fn dropped_connections(session: &Session) -> Option<Finding> {
    Some(match session.now.dropped_since(session.before.as_ref()?) {
        0 => (Good, "none since the previous scrape".to_owned()),
        new => (Warn, format!("{new} since the previous scrape: raise worker_connections in nginx.conf")),
    })
}

fn connections(session: &Session, limit: u64) -> Option<Finding> {
    let active = session.now.active;
    let status = if active < limit { Good } else { Warn };
    (limit > 0).then(|| (status, format!("{active} active, the limit is {limit}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stub_status::StubStatus;

    #[test]
    fn dropped_connections_are_those_since_the_previous_scrape() {
        let status = |accepts, handled| StubStatus { accepts, handled, ..StubStatus::default() };
        let check = |now, before| dropped_connections(&Session { now, before });
        assert_eq!(check(status(9, 5), None), None);
        assert_eq!(check(status(9, 8), Some(status(7, 6))).unwrap().0, Good);
        let (found, reason) = check(status(9, 5), Some(status(7, 6))).unwrap();
        assert!(found == Warn && reason.starts_with("3 since"), "{reason}");
    }

    #[test]
    fn connections_reach_their_limit() {
        let session = Session { now: StubStatus { active: 5, ..StubStatus::default() }, before: None };
        assert_eq!(connections(&session, 0), None);
        assert_eq!(connections(&session, 6).unwrap().0, Good);
        assert_eq!(connections(&session, 5), Some((Warn, "5 active, the limit is 5".to_owned())));
    }
}
