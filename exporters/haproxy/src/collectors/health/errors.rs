//! Errors and retries since the previous scrape.

use exporter_toolkit::flags::positive;
use exporter_toolkit::{CheckDef, CheckStatus, Families, Finding};

use super::reason::{count, joined, path, shortened, span};
use crate::columns::Scope;
use crate::history::{Changes, Counters, Object};

pub(super) static REQUESTS: CheckDef = CheckDef {
    name: "requests",
    help: "Fails when HAProxy refused every request since the previous scrape: all responses were 5xx, or all connections \
           of a TCP backend failed. Absent in the first scrape and on `/probe`.",
    essential: true,
};
pub(super) static ERRORS: CheckDef = CheckDef {
    name: "errors",
    help: "Fails when a frontend or backend refused every request since the previous scrape. Warns when a frontend, \
           backend or server has `--health.error-percent` errors: 5xx, failed connections, invalid responses. Absent in \
           the first scrape and on `/probe`.",
    essential: false,
};
pub(super) static RETRIES: CheckDef = CheckDef {
    name: "retries",
    help: "Warns when a backend has retries and redispatches for `--health.retry-percent` of its requests since the \
           previous scrape. Absent in the first scrape and on `/probe`.",
    essential: false,
};

#[derive(clap::Args, Clone, Copy, Debug)]
#[group(skip)]
pub(super) struct Thresholds {
    /// Warn (check `errors`) when this percentage of requests since the previous scrape are errors
    #[arg(long = "health.error-percent", value_name = "PERCENT", default_value_t = 10.0, value_parser = positive)]
    error_percent: f64,

    /// Warn (check `retries`) when retries and redispatches reach this percentage of requests since the previous scrape
    #[arg(long = "health.retry-percent", value_name = "PERCENT", default_value_t = 10.0, value_parser = positive)]
    retry_percent: f64,

    /// Minimum errors or retries since the previous scrape (checks `requests`, `errors`, `retries`)
    #[arg(long = "health.min-errors", value_name = "ERRORS", default_value_t = 10.0, value_parser = positive)]
    min_errors: f64,
}

/// The requests of a frontend, backend or server since the previous scrape.
#[derive(Debug)]
struct Outcome<'a> {
    object: Object<'a, Counters>,
    errors: f64,
    requests: f64,
}

impl<'a> Outcome<'a> {
    fn of(object: &Object<'a, Counters>) -> Self {
        let counters = &object.value;
        let failed = counters.connection_errors + counters.response_errors;
        let (errors, requests) = match (object.scope, counters.http) {
            // HAProxy answers 5xx to a request that fails, and counts it here, but not at the server.
            (Scope::Frontend | Scope::Backend, true) => (counters.server_errors, counters.responses),
            (Scope::Server, true) => (counters.server_errors + failed, counters.responses + failed),
            (Scope::Backend, false) => (failed, counters.sessions.max(failed)),
            // A retry is a session of the server, too.
            (Scope::Server, false) => (failed, (counters.sessions - counters.retries).max(failed)),
            // HAProxy does not count failed sessions of TCP frontends and of listeners.
            (Scope::Frontend, false) | (Scope::Listener, _) => (0.0, 0.0),
        };
        Self { object: *object, errors, requests }
    }

    fn refused_all(&self, thresholds: Thresholds) -> bool {
        self.errors >= thresholds.min_errors && self.errors >= self.requests
    }

    fn describe(&self) -> String {
        let Object { scope, proxy, name, value } = &self.object;
        let name = match scope {
            Scope::Server | Scope::Listener => path(proxy, name),
            Scope::Frontend | Scope::Backend => shortened(proxy),
        };
        let parts: Vec<String> = [
            (value.server_errors, "5xx"),
            (value.connection_errors, "failed connections"),
            (value.response_errors, "invalid responses"),
        ]
        .into_iter()
        .filter(|(number, _)| *number > 0.0)
        .map(|(number, what)| format!("{} {what}", count(number)))
        .collect();
        format!("{name} failed {} of {} requests ({})", count(self.errors), count(self.requests), parts.join(", "))
    }
}

pub(super) fn report(changes: &Changes<'_, Counters>, thresholds: Thresholds, out: &mut Families) {
    let outcomes: Vec<Outcome<'_>> = changes.objects.iter().map(Outcome::of).collect();
    let since = format!("in {}", span(changes.span));
    out.finding(&REQUESTS, Some(requests(&outcomes, &since, thresholds)));
    out.finding(&ERRORS, Some(errors(&outcomes, &since, thresholds)));
    out.finding(&RETRIES, Some(retries(&changes.objects, &since, thresholds)));
}

fn requests(outcomes: &[Outcome<'_>], since: &str, thresholds: Thresholds) -> Finding {
    let proxies = || outcomes.iter().filter(|outcome| outcome.object.scope != Scope::Server);
    let refused: Vec<_> = proxies().filter(|outcome| outcome.refused_all(thresholds)).collect();
    // A frontend with a few requests may be the statistics page, which our own scrape reads.
    let served = proxies().any(|outcome| {
        let minimum = if outcome.object.scope == Scope::Frontend { thresholds.min_errors } else { 1.0 };
        outcome.requests >= minimum && outcome.errors < outcome.requests
    });
    if refused.is_empty() || served {
        return (CheckStatus::Ok, format!("not all requests were refused {since}"));
    }
    (CheckStatus::Fail, format!("every request was refused {since}: {}", joined(&refused, ", ", |o| o.describe())))
}

fn errors(outcomes: &[Outcome<'_>], since: &str, thresholds: Thresholds) -> Finding {
    let mut bad: Vec<&Outcome<'_>> = outcomes
        .iter()
        .filter(|outcome| {
            outcome.errors >= thresholds.min_errors
                && outcome.errors * 100.0 >= outcome.requests * thresholds.error_percent
        })
        .collect();
    if bad.is_empty() {
        return (CheckStatus::Ok, format!("few or no errors {since}"));
    }
    let dead = |outcome: &Outcome<'_>| outcome.object.scope != Scope::Server && outcome.refused_all(thresholds);
    let status = if bad.iter().any(|outcome| dead(outcome)) { CheckStatus::Fail } else { CheckStatus::Warn };
    bad.sort_by(|a, b| dead(b).cmp(&dead(a)).then(b.errors.total_cmp(&a.errors)));
    (status, format!("{since}: {}", joined(&bad, ", ", |outcome| outcome.describe())))
}

fn retries(objects: &[Object<'_, Counters>], since: &str, thresholds: Thresholds) -> Finding {
    let again = |object: &Object<'_, Counters>| object.value.retries + object.value.redispatches;
    let mut bad: Vec<_> = objects
        .iter()
        .filter(|object| {
            object.scope == Scope::Backend
                && again(object) >= thresholds.min_errors
                && again(object) * 100.0 >= object.value.sessions * thresholds.retry_percent
        })
        .collect();
    if bad.is_empty() {
        return (CheckStatus::Ok, format!("few or no retries {since}"));
    }
    bad.sort_by(|a, b| again(b).total_cmp(&again(a)));
    let describe = |backend: &&Object<'_, Counters>| {
        let Counters { retries, redispatches, sessions, .. } = backend.value;
        let servers = objects.iter().filter(|o| o.scope == Scope::Server && o.proxy == backend.proxy && again(o) > 0.0);
        let most = servers.max_by(|a, b| again(a).total_cmp(&again(b)));
        let most = most.map_or_else(String::new, |server| format!(", most at {}", shortened(server.name)));
        let (retries, redispatches, sessions) = (count(retries), count(redispatches), count(sessions));
        format!(
            "{} has {retries} retries and {redispatches} redispatches for {sessions} requests{most}",
            shortened(backend.proxy)
        )
    };
    (CheckStatus::Warn, format!("{since}: {}", joined(&bad, ", ", describe)))
}

#[cfg(test)]
mod tests {
    use super::super::test_kit::{Checks, checks_with};
    use super::*;

    const HEADER: &str = "# pxname,svname,stot,econ,eresp,wretr,wredis,hrsp_2xx,hrsp_4xx,hrsp_5xx,type,\n";

    /// The checks of the second of two scrapes.
    fn between(before: &str, after: &str) -> Checks {
        let pages = [before, after].map(|rows| format!("{HEADER}{rows}"));
        checks_with(&[&pages[0], &pages[1]], None, |_| ())
    }

    #[test]
    fn the_first_scrape_has_no_such_checks() {
        let first = checks_with(&[&format!("{HEADER}fe,FRONTEND,50,,,,,0,0,50,0,\n")], None, |_| ());
        for name in ["requests", "errors", "retries"] {
            assert!(!first.contains_key(name), "{name}");
        }
    }

    #[test]
    fn every_request_refused_is_down_and_names_frontend_and_backend() {
        // The page of statistics answers our own scrapes.
        let before =
            "fe,FRONTEND,100,,,,,100,0,0,0,\nstats,FRONTEND,8,,,,,8,0,0,0,\nbe,BACKEND,100,0,0,0,0,100,0,0,1,\n";
        let after =
            "fe,FRONTEND,150,,,,,100,0,50,0,\nstats,FRONTEND,9,,,,,9,0,0,0,\nbe,BACKEND,150,50,0,0,0,100,0,50,1,\n";
        let checks = between(before, after);
        let list = "fe failed 50 of 50 requests (50 5xx), be failed 50 of 50 requests (50 5xx, 50 failed connections)";
        assert_eq!(checks["requests"], (CheckStatus::Fail, format!("every request was refused in 1 s: {list}")));
        assert_eq!(checks["errors"], (CheckStatus::Fail, format!("in 1 s: {list}")));
    }

    #[test]
    fn one_backend_that_refuses_all_fails_while_another_serves() {
        let before = "";
        let after =
            "fe,FRONTEND,100,,,,,80,0,20,0,\ngood,BACKEND,80,0,0,0,0,80,0,0,1,\nbad,BACKEND,20,20,0,0,0,0,0,20,1,\n";
        let checks = between(before, after);
        assert_eq!(checks["requests"].0, CheckStatus::Ok);
        let reason = "in 1 s: bad failed 20 of 20 requests (20 5xx, 20 failed connections), \
                      fe failed 20 of 100 requests (20 5xx)";
        assert_eq!(checks["errors"], (CheckStatus::Fail, reason.to_owned()));
    }

    #[test]
    fn a_share_of_errors_warns_from_a_minimum_count() {
        let of = |errors: u32, ok: u32| between("", &format!("fe,FRONTEND,1,,,,,{ok},0,{errors},0,\n"))["errors"].0;
        assert_eq!(of(10, 90), CheckStatus::Warn);
        assert_eq!(of(10, 91), CheckStatus::Ok);
        assert_eq!(of(9, 0), CheckStatus::Ok);
        assert_eq!(of(10, 0), CheckStatus::Fail);
    }

    #[test]
    fn a_server_that_fails_is_named_while_others_serve() {
        let checks = between("", "be,bad,44,11,3,33,0,0,0,1,2,\nbe,BACKEND,100,0,0,33,11,100,0,0,1,\n");
        let reason = "in 1 s: be/bad failed 15 of 15 requests (1 5xx, 11 failed connections, 3 invalid responses)";
        assert_eq!(checks["errors"], (CheckStatus::Warn, reason.to_owned()));
        let reason = "in 1 s: be has 33 retries and 11 redispatches for 100 requests, most at bad";
        assert_eq!(checks["retries"], (CheckStatus::Warn, reason.to_owned()));
    }

    #[test]
    fn tcp_backends_are_judged_by_their_connections() {
        let checks = between("", "fe,FRONTEND,20,,,,,,,,0,\nbe,d,80,20,0,60,0,,,,2,\nbe,BACKEND,20,20,0,60,0,,,,1,\n");
        let reason = "every request was refused in 1 s: be failed 20 of 20 requests (20 failed connections)";
        assert_eq!(checks["requests"], (CheckStatus::Fail, reason.to_owned()));
        assert!(checks["errors"].1.contains("be/d failed 20 of 20"), "{}", checks["errors"].1);
    }

    #[test]
    fn a_restart_of_haproxy_is_not_an_error() {
        let before = "fe,FRONTEND,1000,,,,,900,0,100,0,\nbe,BACKEND,1000,100,0,100,0,900,0,100,1,\n";
        let after = "fe,FRONTEND,20,,,,,20,0,0,0,\nbe,BACKEND,20,0,0,0,0,20,0,0,1,\n";
        let checks = between(before, after);
        for name in ["requests", "errors", "retries"] {
            assert_eq!(checks[name].0, CheckStatus::Ok, "{name}: {}", checks[name].1);
        }
    }

    #[test]
    fn a_row_that_could_not_be_read_for_one_scrape_is_not_an_error() {
        let row = "be,BACKEND,1000,900,0,0,0,100,0,900,1,\n";
        for unreadable in ["be,BACKEND,10", "be,BACKEND,1000,900,many,0,0,100,0,900,1,"] {
            for checks in [between(&format!("{unreadable}\n"), row), between(row, &format!("{unreadable}\n"))] {
                assert_eq!(checks["errors"].0, CheckStatus::Ok, "{}", checks["errors"].1);
                assert_eq!(checks["requests"].0, CheckStatus::Ok, "{}", checks["requests"].1);
            }
        }
    }

    #[test]
    fn errors_before_the_previous_scrape_do_not_count() {
        let row = "fe,FRONTEND,150,,,,,100,0,50,0,\n";
        assert_eq!(between(row, row)["errors"].0, CheckStatus::Ok);
    }
}
