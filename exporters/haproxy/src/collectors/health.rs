//! Is HAProxy well, and if not, which backend and which server is it.

use std::collections::HashMap;
use std::fmt::Write as _;

use exporter_toolkit::check::CheckResult;
use exporter_toolkit::{BoxError, CheckDef, CheckStatus, Collector, Desc, Families, async_trait};

use crate::Session;
use crate::columns::Scope;
use crate::state::{ServerState, backend_state};

pub(crate) const CHECKS: &[CheckDef] = &[SERVING, BACKENDS, SERVERS, FRONTENDS, CONNECTIONS, PROCESS];

const SERVING: CheckDef =
    CheckDef { name: "serving", help: "Fails when no backend that has servers has a usable one.", essential: true };
const BACKENDS: CheckDef = CheckDef {
    name: "backends",
    help: "Fails when a backend with servers has no usable one; warns when it has fewer than `--haproxy.min-servers`, or by default \
           fewer than half of those that are not in maintenance or drained.",
    essential: false,
};
const SERVERS: CheckDef = CheckDef {
    name: "servers",
    help: "Warns when a server is DOWN. MAINT, DRAIN and NOLB are somebody's intention.",
    essential: false,
};
const FRONTENDS: CheckDef = CheckDef {
    name: "frontends",
    help: "Warns when a frontend is stopped or has 90 % of the sessions that it may have.",
    essential: false,
};
const CONNECTIONS: CheckDef = CheckDef {
    name: "connections",
    help: "Warns when the process has 90 % of the connections that it may have. Over the runtime socket only.",
    essential: false,
};
const PROCESS: CheckDef = CheckDef {
    name: "process",
    help: "Warns when the process is stopping. Over the runtime socket only.",
    essential: false,
};

/// From this share of a limit on it is nearly reached.
const NEARLY: f64 = 0.9;

/// Names in one list of a reason; the rest is a number, so that a reason stays a line to read.
const MAX_NAMES: usize = 5;
/// Characters of a name in a reason.
const MAX_NAME: usize = 64;

pub(super) struct Health;

#[async_trait]
impl Collector<Session> for Health {
    fn name(&self) -> &'static str {
        "health"
    }

    fn help(&self) -> &'static str {
        "Health checks: usable servers, full frontends, the process."
    }

    fn families(&self) -> Vec<Desc> {
        Vec::new()
    }

    async fn collect(&self, session: &Session, out: &mut Families) -> Result<(), BoxError> {
        for result in checks(session) {
            out.check(result.check, result.status, result.reason);
        }
        Ok(())
    }
}

fn checks(session: &Session) -> Vec<CheckResult> {
    let mut results = Vec::new();
    let mut report = |check, status, reason: String| results.push(CheckResult { check, status, reason });
    check_backends(&Backend::all(session), session.options.min_servers, &mut report);
    check_frontends(session, &mut report);
    check_process(session, &mut report);
    results
}

#[derive(Debug, Default)]
struct Backend<'a> {
    name: &'a str,
    /// Servers that get requests, backups included.
    usable: usize,
    servers: usize,
    /// Servers that the operator took out.
    out: usize,
    down: Vec<&'a str>,
}

impl<'a> Backend<'a> {
    /// The backends that have servers: one without serves statistics, redirects or errors.
    fn all(session: &'a Session) -> Vec<Self> {
        let mut by_name: HashMap<&str, usize> = HashMap::new();
        let mut all: Vec<Self> = Vec::new();
        for row in session.stat.rows(Scope::Server) {
            let index = *by_name.entry(row.proxy()).or_insert_with(|| {
                all.push(Self { name: row.proxy(), ..Self::default() });
                all.len() - 1
            });
            let backend = &mut all[index];
            backend.servers += 1;
            match ServerState::parse(row.get("status")) {
                Some(ServerState::Up) => backend.usable += 1,
                Some(ServerState::Down) => backend.down.push(row.name()),
                Some(ServerState::Maint | ServerState::Drain) => backend.out += 1,
                Some(ServerState::Nolb) | None => {}
            }
        }
        // HAProxy's own count knows about weights of 0.
        for row in session.stat.rows(Scope::Backend) {
            let Some(&index) = by_name.get(row.proxy()) else { continue };
            if let (Some(active), Some(backup)) = (row.number("act"), row.number("bck")) {
                all[index].usable = (active + backup) as usize;
            }
            if backend_state(row.get("status")) == Some("DOWN") {
                all[index].usable = 0;
            }
        }
        all
    }

    fn wanted(&self, min_servers: Option<usize>) -> usize {
        match min_servers {
            // Who has fewer servers needs them all.
            Some(minimum) => minimum.min(self.servers),
            None => (self.servers - self.out).div_ceil(2),
        }
    }

    fn describe(&self) -> String {
        let mut text = format!("{} has {} of {} servers usable", shortened(self.name), self.usable, self.servers);
        if !self.down.is_empty() {
            let _ = write!(text, "; down: {}", listed(self.down.iter().copied()));
        }
        if self.out > 0 {
            let _ = write!(text, "; in maintenance or drained: {}", self.out);
        }
        text
    }
}

fn check_backends(
    backends: &[Backend<'_>],
    min_servers: Option<usize>,
    report: &mut impl FnMut(&'static CheckDef, CheckStatus, String),
) {
    if backends.is_empty() {
        return;
    }
    let (dead, alive): (Vec<&Backend<'_>>, Vec<_>) = backends.iter().partition(|backend| backend.usable == 0);
    if alive.is_empty() {
        let names = listed(dead.iter().map(|backend| backend.name));
        report(&SERVING, CheckStatus::Fail, format!("no backend has a usable server: {names}"));
    } else {
        report(
            &SERVING,
            CheckStatus::Ok,
            format!("{} of {} backends have usable servers", alive.len(), backends.len()),
        );
    }

    let few: Vec<_> = alive.iter().filter(|backend| backend.usable < backend.wanted(min_servers)).collect();
    // The worst first; they share the places in the list.
    let descriptions = dead.iter().chain(few.iter().copied()).map(|backend| backend.describe());
    let status = match (dead.is_empty(), few.is_empty()) {
        (false, _) => CheckStatus::Fail,
        (true, false) => CheckStatus::Warn,
        (true, true) => CheckStatus::Ok,
    };
    let reason = match status {
        CheckStatus::Ok => "all backends have enough usable servers".to_owned(),
        _ => joined(descriptions, " / "),
    };
    report(&BACKENDS, status, reason);

    let down: Vec<(&str, &str)> =
        backends.iter().flat_map(|backend| backend.down.iter().map(|server| (backend.name, *server))).collect();
    if down.is_empty() {
        report(&SERVERS, CheckStatus::Ok, "no server is down".to_owned());
    } else {
        let names =
            joined(down.iter().map(|(backend, server)| format!("{}/{}", shortened(backend), shortened(server))), ", ");
        let reason = format!("{} down: {names}", counted(down.len(), "server is", "servers are"));
        report(&SERVERS, CheckStatus::Warn, reason);
    }
}

fn check_frontends(session: &Session, report: &mut impl FnMut(&'static CheckDef, CheckStatus, String)) {
    let mut any = false;
    let mut reasons = Vec::new();
    for row in session.stat.rows(Scope::Frontend) {
        any = true;
        let name = shortened(row.proxy());
        if row.get("status") == "STOP" {
            reasons.push(format!("{name} is stopped"));
        } else if let (Some(sessions), Some(limit)) = (row.number("scur"), row.number("slim"))
            && nearly(sessions, limit)
        {
            reasons.push(format!("{name} has {sessions} of {limit} sessions (maxconn)"));
        }
    }
    match (any, reasons.is_empty()) {
        (false, _) => {}
        (true, true) => report(&FRONTENDS, CheckStatus::Ok, "no frontend is stopped or nearly full".to_owned()),
        (true, false) => report(&FRONTENDS, CheckStatus::Warn, joined(reasons.into_iter(), ", ")),
    }
}

fn check_process(session: &Session, report: &mut impl FnMut(&'static CheckDef, CheckStatus, String)) {
    let Some(info) = &session.info else { return };
    match info.number("Stopping") {
        None => {}
        Some(0.0) => report(&PROCESS, CheckStatus::Ok, "the process is not stopping".to_owned()),
        Some(_) => {
            let reason = "the process is stopping: it takes no new connections and ends with the last one it has";
            report(&PROCESS, CheckStatus::Warn, reason.to_owned());
        }
    }
    if let (Some(connections), Some(limit)) = (info.number("CurrConns"), info.number("Maxconn")) {
        let status = if nearly(connections, limit) { CheckStatus::Warn } else { CheckStatus::Ok };
        report(&CONNECTIONS, status, format!("the process has {connections} of {limit} connections (maxconn)"));
    }
}

/// A limit of 0 is none.
fn nearly(value: f64, limit: f64) -> bool {
    limit > 0.0 && value >= NEARLY * limit
}

fn counted(count: usize, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}

fn shortened(name: &str) -> String {
    match name.char_indices().nth(MAX_NAME) {
        Some((end, _)) => format!("{}…", &name[..end]),
        None => name.to_owned(),
    }
}

fn listed<'a>(names: impl Iterator<Item = &'a str>) -> String {
    joined(names.map(shortened), ", ")
}

fn joined(items: impl Iterator<Item = String>, separator: &str) -> String {
    let (mut text, mut count) = (String::new(), 0);
    for item in items {
        count += 1;
        if count <= MAX_NAMES {
            if count > 1 {
                text.push_str(separator);
            }
            text.push_str(&item);
        }
    }
    if count > MAX_NAMES {
        let _ = write!(text, "{separator}and {} more", count - MAX_NAMES);
    }
    text
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::super::test_kit::{session, with_info, with_options};
    use super::*;
    use crate::columns::Names;

    const HEADER: &str = "# pxname,svname,scur,slim,status,act,bck,type,\n";

    /// Status and reason by check.
    fn checks(session: &Session) -> HashMap<&'static str, (CheckStatus, String)> {
        super::checks(session).into_iter().map(|result| (result.check.name, (result.status, result.reason))).collect()
    }

    fn checks_of(rows: &str) -> HashMap<&'static str, (CheckStatus, String)> {
        checks(&session(&format!("{HEADER}{rows}"), Names::Native))
    }

    #[test]
    fn one_server_of_three_down_warns_and_names_it() {
        let checks = checks_of(
            "be,one,,,UP,1,0,2,\nbe,two,,,DOWN 1/2,1,0,2,\nbe,three,,,UP 2/3,1,0,2,\nbe,BACKEND,,,UP,2,0,1,\n",
        );
        assert_eq!(checks["serving"].0, CheckStatus::Ok);
        assert_eq!(checks["backends"].0, CheckStatus::Ok);
        assert_eq!(checks["servers"], (CheckStatus::Warn, "1 server is down: be/two".to_owned()));
    }

    #[test]
    fn fewer_than_half_warn() {
        let rows = "be,one,,,UP,1,0,2,\nbe,two,,,DOWN,1,0,2,\nbe,three,,,DOWN (agent),1,0,2,\nbe,BACKEND,,,UP,1,0,1,\n";
        let reason = "be has 1 of 3 servers usable; down: two, three";
        assert_eq!(checks_of(rows)["backends"], (CheckStatus::Warn, reason.to_owned()));
    }

    #[test]
    fn the_minimum_is_the_operators() {
        let rows = "be,one,,,UP,1,0,2,\nbe,two,,,UP,1,0,2,\nbe,three,,,MAINT,1,0,2,\nbe,BACKEND,,,UP,2,0,1,\n\
                    single,s,,,UP,1,0,2,\nsingle,BACKEND,,,UP,1,0,1,\n";
        let session = session(&format!("{HEADER}{rows}"), Names::Native);
        assert_eq!(checks(&session)["backends"].0, CheckStatus::Ok);
        // The backend with a single server is content with it.
        let session = with_options(session, Some(3), &[]);
        let reason = "be has 2 of 3 servers usable; in maintenance or drained: 1";
        assert_eq!(checks(&session)["backends"], (CheckStatus::Warn, reason.to_owned()));
    }

    #[test]
    fn a_backend_without_a_usable_server_fails_and_only_when_all_do_is_haproxy_down() {
        let dead = "dead,one,,,DOWN,1,0,2,\ndead,BACKEND,,,DOWN,0,0,1,\n";
        let alive = "alive,one,,,no check,1,0,2,\nalive,BACKEND,,,UP,1,0,1,\n";
        let checks = checks_of(&format!("{dead}{alive}"));
        assert_eq!(checks["serving"].0, CheckStatus::Ok);
        assert_eq!(checks["backends"], (CheckStatus::Fail, "dead has 0 of 1 servers usable; down: one".to_owned()));

        let checks = checks_of(dead);
        assert_eq!(checks["serving"], (CheckStatus::Fail, "no backend has a usable server: dead".to_owned()));
    }

    #[test]
    fn maintenance_and_drain_are_not_down_but_a_backend_of_them_serves_nobody() {
        let checks = checks_of("be,one,,,MAINT (via x/y),1,0,2,\nbe,two,,,DRAIN,1,0,2,\nbe,BACKEND,,,DOWN,0,0,1,\n");
        assert_eq!(checks["servers"].0, CheckStatus::Ok);
        let reason = "be has 0 of 2 servers usable; in maintenance or drained: 2";
        assert_eq!(checks["backends"], (CheckStatus::Fail, reason.to_owned()));
    }

    #[test]
    fn backups_serve() {
        let checks = checks_of("be,one,,,DOWN,1,0,2,\nbe,two,,,UP,0,1,2,\nbe,BACKEND,,,UP,0,1,1,\n");
        assert_eq!(checks["backends"].0, CheckStatus::Ok);
    }

    #[test]
    fn backends_without_servers_need_none() {
        let checks = checks_of("stats,BACKEND,,,UP,0,0,1,\n");
        assert!(!checks.contains_key("serving") && !checks.contains_key("backends"), "{checks:?}");
    }

    #[test]
    fn frontends_nearly_full_or_stopped() {
        let ok = checks_of("fe,FRONTEND,89,100,OPEN,,,0,\nfree,FRONTEND,5,0,OPEN,,,0,\n");
        assert_eq!(ok["frontends"].0, CheckStatus::Ok);
        let warn = checks_of("fe,FRONTEND,90,100,OPEN,,,0,\ngone,FRONTEND,0,100,STOP,,,0,\n");
        let reason = "fe has 90 of 100 sessions (maxconn), gone is stopped";
        assert_eq!(warn["frontends"], (CheckStatus::Warn, reason.to_owned()));
    }

    #[test]
    fn the_process_is_checked_where_it_is_known() {
        assert!(!checks_of("").contains_key("process"));
        let stopping = with_info(session(HEADER, Names::Native), "Stopping: 1\nCurrConns: 95\nMaxconn: 100\n");
        let checks = checks(&stopping);
        assert_eq!(checks["process"].0, CheckStatus::Warn);
        let reason = "the process has 95 of 100 connections (maxconn)";
        assert_eq!(checks["connections"], (CheckStatus::Warn, reason.to_owned()));
    }

    #[test]
    fn reasons_stay_short_whatever_the_number_and_length_of_names() {
        let name = "n".repeat(500);
        let rows: String = (0..2000)
            .map(|i| format!("{name}{i},s{i}{name},,,DOWN,1,0,2,\n{name}{i},BACKEND,,,DOWN,0,0,1,\n"))
            .collect();
        let checks = checks_of(&rows);
        for (check, (_, reason)) in &checks {
            assert!(reason.len() < 1500, "{check}: {} bytes", reason.len());
        }
        assert!(checks["servers"].1.ends_with("and 1995 more"), "{}", checks["servers"].1);
    }

    #[test]
    fn all_names_are_distinct() {
        let mut names: Vec<_> = CHECKS.iter().map(|check| check.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), CHECKS.len());
    }
}
