//! The health of HAProxy: servers of the backends, limits of frontends and process.

use std::collections::HashMap;
use std::fmt::Write as _;

use exporter_toolkit::{BoxError, CheckDef, CheckStatus, Families, HealthChecks, async_trait};

use crate::columns::Scope;
use crate::state::{ServerState, backend_state};
use crate::target::Session;

static SERVING: CheckDef =
    CheckDef { name: "serving", help: "Fails when no backend that has servers has a usable one.", essential: true };
static BACKENDS: CheckDef = CheckDef {
    name: "backends",
    help: "Fails when a backend with servers has no usable one. Warns when it has fewer than `--haproxy.min-servers`, \
           by default half of those that are not in maintenance or drained.",
    essential: false,
};
static SERVERS: CheckDef = CheckDef {
    name: "servers",
    help: "Warns when a server is DOWN. MAINT, DRAIN and NOLB are intentional.",
    essential: false,
};
static FRONTENDS: CheckDef = CheckDef {
    name: "frontends",
    help: "Warns when a frontend is stopped, or at 90 % of its limit of sessions.",
    essential: false,
};
static CONNECTIONS: CheckDef = CheckDef {
    name: "connections",
    help: "Warns when the process is at 90 % of its limit of connections. Over the runtime socket only.",
    essential: false,
};
static PROCESS: CheckDef = CheckDef {
    name: "process",
    help: "Warns when the process is stopping. Over the runtime socket only.",
    essential: false,
};

/// The share of a limit at which a check warns.
const NEARLY: f64 = 0.9;

/// Maximum names in one list of a reason. The others are counted, so that a reason is one line.
const MAX_NAMES: usize = 5;
/// Maximum characters of a name in a reason.
const MAX_NAME: usize = 64;

// Not a doc comment: clap would make it the program's description.
#[derive(clap::Args)]
pub(super) struct Thresholds {
    /// Warn (check `backends`) when a backend has fewer usable servers [default: half of those not in MAINT or DRAIN]
    #[arg(long = "haproxy.min-servers", value_name = "SERVERS", help_heading = "HAProxy")]
    min_servers: Option<usize>,
}

pub(super) struct Health;

#[async_trait]
impl HealthChecks for Health {
    type Session = Session;
    type Thresholds = Thresholds;

    const HELP: &'static str = "Health checks: usable servers, full frontends, the process.";
    const SOURCE: &'static str = "`show stat`, `show info`";
    const CHECKS: &'static [&'static CheckDef] = &[&SERVING, &BACKENDS, &SERVERS, &FRONTENDS, &CONNECTIONS, &PROCESS];

    async fn report(session: &Session, thresholds: &Thresholds, out: &mut Families) -> Result<(), BoxError> {
        check_backends(&Backend::all(session), thresholds.min_servers, out);
        check_frontends(session, out);
        check_process(session, out);
        Ok(())
    }
}

#[derive(Debug, Default)]
struct Backend<'a> {
    name: &'a str,
    /// Servers that receive requests, including backups.
    usable: usize,
    servers: usize,
    /// Servers in maintenance or drained.
    disabled: usize,
    down: Vec<&'a str>,
}

impl<'a> Backend<'a> {
    /// The backends with servers. A backend without servers serves statistics, redirects or errors.
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
                Some(ServerState::Maint | ServerState::Drain) => backend.disabled += 1,
                Some(ServerState::Nolb) | None => {}
            }
        }
        // HAProxy's own count excludes servers with a weight of 0.
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

    fn required(&self, min_servers: Option<usize>) -> usize {
        match min_servers {
            Some(minimum) => minimum.min(self.servers),
            None => (self.servers - self.disabled).div_ceil(2),
        }
    }

    fn describe(&self) -> String {
        let mut text = format!("{} has {} of {} servers usable", shortened(self.name), self.usable, self.servers);
        if !self.down.is_empty() {
            let _ = write!(text, "; down: {}", listed(self.down.iter().copied()));
        }
        if self.disabled > 0 {
            let _ = write!(text, "; in maintenance or drained: {}", self.disabled);
        }
        text
    }
}

fn check_backends(backends: &[Backend<'_>], min_servers: Option<usize>, out: &mut Families) {
    if backends.is_empty() {
        return;
    }
    let (dead, alive): (Vec<&Backend<'_>>, Vec<_>) = backends.iter().partition(|backend| backend.usable == 0);
    if alive.is_empty() {
        let names = listed(dead.iter().map(|backend| backend.name));
        out.check(&SERVING, CheckStatus::Fail, format!("no backend has a usable server: {names}"));
    } else {
        out.check(
            &SERVING,
            CheckStatus::Ok,
            format!("{} of {} backends have usable servers", alive.len(), backends.len()),
        );
    }

    let few: Vec<_> = alive.iter().filter(|backend| backend.usable < backend.required(min_servers)).collect();
    // The worst first.
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
    out.check(&BACKENDS, status, reason);

    let down: Vec<(&str, &str)> =
        backends.iter().flat_map(|backend| backend.down.iter().map(|server| (backend.name, *server))).collect();
    if down.is_empty() {
        out.check(&SERVERS, CheckStatus::Ok, "no server is down".to_owned());
    } else {
        let names =
            joined(down.iter().map(|(backend, server)| format!("{}/{}", shortened(backend), shortened(server))), ", ");
        let reason = format!("{} down: {names}", counted(down.len(), "server is", "servers are"));
        out.check(&SERVERS, CheckStatus::Warn, reason);
    }
}

fn check_frontends(session: &Session, out: &mut Families) {
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
        (true, true) => out.check(&FRONTENDS, CheckStatus::Ok, "no frontend is stopped or nearly full".to_owned()),
        (true, false) => out.check(&FRONTENDS, CheckStatus::Warn, joined(reasons.into_iter(), ", ")),
    }
}

fn check_process(session: &Session, out: &mut Families) {
    let Some(info) = &session.info else { return };
    match info.number("Stopping") {
        None => {}
        Some(0.0) => out.check(&PROCESS, CheckStatus::Ok, "the process is not stopping".to_owned()),
        Some(_) => {
            let reason = "the process is stopping: it accepts no new connections and ends with its last one";
            out.check(&PROCESS, CheckStatus::Warn, reason.to_owned());
        }
    }
    if let (Some(connections), Some(limit)) = (info.number("CurrConns"), info.number("Maxconn")) {
        let status = if nearly(connections, limit) { CheckStatus::Warn } else { CheckStatus::Ok };
        out.check(&CONNECTIONS, status, format!("the process has {connections} of {limit} connections (maxconn)"));
    }
}

/// A limit of 0 means no limit.
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

    use exporter_toolkit::testing;
    use futures::FutureExt as _;

    use super::super::test_kit::{session, with_info};
    use super::*;
    use crate::columns::Naming;

    const HEADER: &str = "# pxname,svname,scur,slim,status,act,bck,type,\n";

    /// Status and reason by check.
    fn checks(session: &Session) -> HashMap<&'static str, (CheckStatus, String)> {
        checks_with(session, None)
    }

    fn checks_with(session: &Session, min_servers: Option<usize>) -> HashMap<&'static str, (CheckStatus, String)> {
        let mut out = Families::default();
        Health::report(session, &Thresholds { min_servers }, &mut out).now_or_never().unwrap().unwrap();
        testing::checks(out).into_iter().map(|(name, status, reason)| (name, (status, reason))).collect()
    }

    fn checks_of(rows: &str) -> HashMap<&'static str, (CheckStatus, String)> {
        checks(&session(&format!("{HEADER}{rows}"), Naming::Native))
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
    fn the_minimum_is_a_flag() {
        let rows = "be,one,,,UP,1,0,2,\nbe,two,,,UP,1,0,2,\nbe,three,,,MAINT,1,0,2,\nbe,BACKEND,,,UP,2,0,1,\n\
                    single,s,,,UP,1,0,2,\nsingle,BACKEND,,,UP,1,0,1,\n";
        let session = session(&format!("{HEADER}{rows}"), Naming::Native);
        assert_eq!(checks(&session)["backends"].0, CheckStatus::Ok);
        // A backend with a single server does not need three.
        let reason = "be has 2 of 3 servers usable; in maintenance or drained: 1";
        assert_eq!(checks_with(&session, Some(3))["backends"], (CheckStatus::Warn, reason.to_owned()));
    }

    #[test]
    fn haproxy_is_down_when_no_backend_has_a_usable_server() {
        let dead = "dead,one,,,DOWN,1,0,2,\ndead,BACKEND,,,DOWN,0,0,1,\n";
        let alive = "alive,one,,,no check,1,0,2,\nalive,BACKEND,,,UP,1,0,1,\n";
        let checks = checks_of(&format!("{dead}{alive}"));
        assert_eq!(checks["serving"].0, CheckStatus::Ok);
        assert_eq!(checks["backends"], (CheckStatus::Fail, "dead has 0 of 1 servers usable; down: one".to_owned()));

        let checks = checks_of(dead);
        assert_eq!(checks["serving"], (CheckStatus::Fail, "no backend has a usable server: dead".to_owned()));
    }

    #[test]
    fn servers_in_maintenance_or_drained_are_not_down() {
        let checks = checks_of("be,one,,,MAINT (via x/y),1,0,2,\nbe,two,,,DRAIN,1,0,2,\nbe,BACKEND,,,DOWN,0,0,1,\n");
        assert_eq!(checks["servers"].0, CheckStatus::Ok);
        let reason = "be has 0 of 2 servers usable; in maintenance or drained: 2";
        assert_eq!(checks["backends"], (CheckStatus::Fail, reason.to_owned()));
    }

    #[test]
    fn backup_servers_are_usable() {
        let checks = checks_of("be,one,,,DOWN,1,0,2,\nbe,two,,,UP,0,1,2,\nbe,BACKEND,,,UP,0,1,1,\n");
        assert_eq!(checks["backends"].0, CheckStatus::Ok);
    }

    #[test]
    fn backends_without_servers_have_no_checks() {
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
    fn the_process_has_checks_over_the_runtime_socket() {
        assert!(!checks_of("").contains_key("process"));
        let stopping = with_info(session(HEADER, Naming::Native), "Stopping: 1\nCurrConns: 95\nMaxconn: 100\n");
        let checks = checks(&stopping);
        assert_eq!(checks["process"].0, CheckStatus::Warn);
        let reason = "the process has 95 of 100 connections (maxconn)";
        assert_eq!(checks["connections"], (CheckStatus::Warn, reason.to_owned()));
    }

    #[test]
    fn reasons_are_short_whatever_the_number_and_length_of_names() {
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
    fn all_check_names_are_unique() {
        let mut names: Vec<_> = Health::CHECKS.iter().map(|check| check.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Health::CHECKS.len());
    }
}
