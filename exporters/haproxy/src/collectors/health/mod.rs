//! The health of HAProxy: servers, limits, queues, errors and retries, and the process.

mod backends;
mod errors;
mod flapping;
mod limits;
mod reason;
mod runtime;
mod statistics;

use exporter_toolkit::{BoxError, CheckDef, Families, HealthChecks, async_trait};
use tokio::time::Instant;

use self::backends::{BACKENDS, Backend, RESOLUTION, SERVERS, SERVING};
use self::errors::{ERRORS, REQUESTS, RETRIES};
use self::flapping::FLAPPING;
use self::limits::{FRONTENDS, LIMITS, QUEUE};
use self::runtime::{CONNECTIONS, NAME_SERVERS, PROCESS, STICK_TABLES};
use self::statistics::{Reader, STATISTICS};
use crate::target::Session;

// Not a doc comment: clap would make it the program's description.
#[derive(clap::Args)]
#[group(skip)]
#[command(next_help_heading = "Health")]
pub(super) struct Thresholds {
    #[command(flatten)]
    backends: backends::Thresholds,

    #[command(flatten)]
    limits: limits::Thresholds,

    #[command(flatten)]
    runtime: runtime::Thresholds,

    #[command(flatten)]
    errors: errors::Thresholds,

    #[command(flatten)]
    flapping: flapping::Thresholds,
}

pub(super) struct Health;

#[async_trait]
impl HealthChecks for Health {
    type Session = Session;
    type Thresholds = Thresholds;

    const HELP: &'static str =
        "Health checks: usable servers, limits, queues, errors, retries, the process, stick tables, name servers.";
    const SOURCE: &'static str = "`show stat`, `show info`, `show table`, `show resolvers`";
    const CHECKS: &'static [&'static CheckDef] = &[
        &SERVING,
        &REQUESTS,
        &BACKENDS,
        &SERVERS,
        &RESOLUTION,
        &ERRORS,
        &RETRIES,
        &FLAPPING,
        &QUEUE,
        &LIMITS,
        &FRONTENDS,
        &CONNECTIONS,
        &PROCESS,
        &STICK_TABLES,
        &NAME_SERVERS,
        &STATISTICS,
    ];

    async fn report(session: &Session, thresholds: &Thresholds, out: &mut Families) -> Result<(), BoxError> {
        let reader = Reader::new(&session.stat);
        let backends = Backend::all(&reader, &thresholds.backends.template_backends);
        backends::report(&backends, &thresholds.backends, out);
        if let Some(history) = &session.history {
            let now = Instant::now();
            if let Some(changes) = history.errors(now, &reader.counters()) {
                errors::report(&changes, thresholds.errors, out);
            }
            let downs = history.downs(now, &reader.downs());
            out.finding(&FLAPPING, downs.map(|downs| flapping::find(&downs, thresholds.flapping)));
        }
        limits::report(&reader, thresholds.limits, out);
        if let Some(runtime) = &session.runtime {
            let history = session.history.as_deref();
            runtime::report(runtime, history, thresholds.limits.limit_percent, thresholds.runtime, out);
        }
        out.finding(&STATISTICS, Some(reader.finding()));
        Ok(())
    }
}

#[cfg(test)]
mod test_kit {
    use std::collections::HashMap;
    use std::sync::Arc;

    use exporter_toolkit::flags::defaults;
    use exporter_toolkit::{Finding, testing};
    use futures::FutureExt as _;

    use super::super::test_kit::{session, with_runtime};
    use super::*;
    use crate::columns::Naming;
    use crate::history::History;

    /// Status and reason by check.
    pub(super) type Checks = HashMap<&'static str, Finding>;

    /// The checks of the last of these scrapes of one HAProxy.
    pub(super) fn checks_with(pages: &[&str], info: Option<&str>, change: impl Fn(&mut Thresholds)) -> Checks {
        let mut thresholds: Thresholds = defaults();
        change(&mut thresholds);
        let history = Arc::new(History::default());
        let mut checks = Checks::new();
        for page in pages {
            let mut session = session(page, Naming::Native);
            session.history = Some(Arc::clone(&history));
            if let Some(info) = info {
                session = with_runtime(session, info);
            }
            let mut out = Families::default();
            Health::report(&session, &thresholds, &mut out).now_or_never().unwrap().unwrap();
            checks = testing::checks(out).into_iter().map(|(name, status, reason)| (name, (status, reason))).collect();
        }
        checks
    }

    pub(super) fn checks(page: &str) -> Checks {
        checks_with(&[page], None, |_| ())
    }

    #[track_caller]
    pub(super) fn check(page: &str, name: &str) -> Finding {
        checks(page).remove(name).expect("the check can be made")
    }
}

#[cfg(test)]
mod tests {
    use super::test_kit::checks_with;
    use super::*;

    #[test]
    fn reasons_are_short_whatever_the_number_and_length_of_names() {
        let name = "n".repeat(500);
        let number = "9".repeat(300);
        let header = "# pxname,svname,qcur,scur,slim,stot,econ,wretr,chkdown,hrsp_5xx,weight,act,bck,status,type,\n";
        let page = |value: &str| {
            let rows = (0..2000).map(|i| {
                format!(
                    "{name}{i},FRONTEND,,{number},1,1,,,,{value},,,,STOP,0,\n\
                     {name}{i},up{name},{number},{number},1,1,{value},{value},{value},{value},1,1,0,UP,2,\n\
                     {name}{i},down{name},0,0,,1,0,0,0,0,1,1,0,DOWN,2,\n\
                     {name}{i},lost{name},0,0,,1,0,0,0,0,1,1,0,MAINT (resolution),2,\n\
                     {name}{i},BACKEND,{number},1,1,1,{value},{value},,{value},0,0,0,DOWN,1,\n"
                )
            });
            format!("{header}{}", rows.collect::<String>())
        };
        let checks = checks_with(&[&page("0"), &page(&number)], None, |_| ());
        for (check, (_, reason)) in &checks {
            assert!(reason.len() < 2000, "{check}: {} bytes: {reason}", reason.len());
        }
        for name in
            ["requests", "backends", "servers", "resolution", "errors", "retries", "flapping", "queue", "limits"]
        {
            assert!(checks[name].1.contains(" more"), "{name}: {}", checks[name].1);
        }
    }

    #[test]
    fn all_check_names_are_unique() {
        let mut names: Vec<_> = Health::CHECKS.iter().map(|check| check.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Health::CHECKS.len());
    }
}
