//! The servers of the backends: usable, down, taken out by intent, or lost by DNS.

use std::collections::{HashMap, HashSet};
use std::fmt::Write as _;

use exporter_toolkit::{CheckDef, CheckStatus, Families};

use super::reason::{counted, joined, path, shortened};
use super::statistics::Reader;
use crate::columns::Scope;
use crate::state::{ServerState, backend_state};

pub(super) static SERVING: CheckDef =
    CheckDef { name: "serving", help: "Fails when no backend that has servers has a usable one.", essential: true };
pub(super) static BACKENDS: CheckDef = CheckDef {
    name: "backends",
    help: "Fails when a backend with servers has no usable one, for any reason: down, in maintenance, drained, of weight 0, \
           without an address. Warns when it has fewer than `--haproxy.min-servers`, by default half of those that are \
           not out by intent.",
    essential: false,
};
pub(super) static SERVERS: CheckDef = CheckDef {
    name: "servers",
    help: "Warns when a server is DOWN. MAINT, DRAIN, NOLB and a weight of 0 are intentional.",
    essential: false,
};
pub(super) static RESOLUTION: CheckDef = CheckDef {
    name: "resolution",
    help: "Warns when a server has no address because its name does not resolve: `MAINT (resolution)`. Free slots of the \
           backends in `--health.template-backends` are intentional.",
    essential: false,
};

/// HAProxy's word for a server without an address.
const LOST: &str = "MAINT (resolution)";

#[derive(clap::Args, Clone, Debug)]
#[group(skip)]
pub(super) struct Thresholds {
    /// Warn (check `backends`) when a backend has fewer usable servers [default: half of those not out by intent]
    #[arg(long = "haproxy.min-servers", value_name = "SERVERS", help_heading = "HAProxy")]
    pub(super) min_servers: Option<usize>,

    /// Backends with a server-template, comma-separated: their servers without an address are free slots
    #[arg(long = "health.template-backends", value_name = "BACKEND", value_delimiter = ',')]
    pub(super) template_backends: Vec<String>,
}

#[derive(Debug, Default)]
pub(super) struct Backend<'a> {
    name: &'a str,
    /// Servers that receive requests, including backups.
    usable: usize,
    servers: usize,
    /// Out by intent.
    maintenance: usize,
    drained: usize,
    weightless: usize,
    down: Vec<&'a str>,
    /// Without an address.
    lost: Vec<&'a str>,
}

impl<'a> Backend<'a> {
    /// The backends with servers. A backend without servers serves statistics, redirects or errors.
    pub(super) fn all(reader: &Reader<'a>, template_backends: &[String]) -> Vec<Self> {
        let [status, tracked, weight] = ["status", "tracked", "weight"].map(|name| reader.field(name));
        let lost: HashSet<String> = reader
            .rows(Scope::Server)
            .filter(|row| reader.text(*row, status) == LOST)
            .map(|row| format!("{}/{}", row.proxy(), row.name()))
            .collect();
        let mut by_name: HashMap<&str, usize> = HashMap::new();
        let mut all: Vec<Self> = Vec::new();
        for row in reader.rows(Scope::Server) {
            let state = reader.server_state(row, status);
            // A server that tracks one without an address is lost with it.
            let is_lost = state == Some(ServerState::Maint)
                && (reader.text(row, status) == LOST || lost.contains(reader.text(row, tracked)));
            if is_lost && template_backends.iter().any(|name| name == row.proxy()) {
                continue;
            }
            let index = *by_name.entry(row.proxy()).or_insert_with(|| {
                all.push(Self { name: row.proxy(), ..Self::default() });
                all.len() - 1
            });
            let backend = &mut all[index];
            backend.servers += 1;
            match state {
                Some(ServerState::Up | ServerState::Nolb) if reader.number(row, weight) == Some(0.0) => {
                    backend.weightless += 1;
                }
                Some(ServerState::Up) => backend.usable += 1,
                Some(ServerState::Down) => backend.down.push(row.name()),
                Some(ServerState::Maint) if is_lost => backend.lost.push(row.name()),
                Some(ServerState::Maint) => backend.maintenance += 1,
                Some(ServerState::Drain) => backend.drained += 1,
                Some(ServerState::Nolb) | None => {}
            }
        }
        let [status, active, backup] = ["status", "act", "bck"].map(|name| reader.field(name));
        // HAProxy's own count.
        for row in reader.rows(Scope::Backend) {
            let Some(&index) = by_name.get(row.proxy()) else { continue };
            if let (Some(active), Some(backup)) = (reader.number(row, active), reader.number(row, backup)) {
                all[index].usable = (active + backup) as usize;
            }
            if backend_state(reader.text(row, status)) == Some("DOWN") {
                all[index].usable = 0;
            }
        }
        all
    }

    fn required(&self, min_servers: Option<usize>) -> usize {
        let intended = self.maintenance + self.drained + self.weightless;
        min_servers.map_or((self.servers - intended).div_ceil(2), |minimum| minimum.min(self.servers))
    }

    fn describe(&self) -> String {
        let mut text = format!("{} has {} of {} servers usable", shortened(self.name), self.usable, self.servers);
        // Writing to a String does not fail.
        for (what, names) in [("down", &self.down), ("without an address", &self.lost)] {
            if !names.is_empty() {
                let _ = write!(text, "; {what}: {}", joined(names, ", ", |name| shortened(name)));
            }
        }
        for (what, count) in
            [("in maintenance", self.maintenance), ("drained", self.drained), ("of weight 0", self.weightless)]
        {
            if count > 0 {
                let _ = write!(text, "; {what}: {count}");
            }
        }
        text
    }
}

pub(super) fn report(backends: &[Backend<'_>], thresholds: &Thresholds, out: &mut Families) {
    if backends.is_empty() {
        return;
    }
    let (dead, alive): (Vec<&Backend<'_>>, Vec<_>) = backends.iter().partition(|backend| backend.usable == 0);
    if alive.is_empty() {
        let names = joined(&dead, ", ", |backend| shortened(backend.name));
        out.check(&SERVING, CheckStatus::Fail, format!("no backend has a usable server: {names}"));
    } else {
        out.check(
            &SERVING,
            CheckStatus::Ok,
            format!("{} of {} backends have usable servers", alive.len(), backends.len()),
        );
    }

    let few = alive.iter().filter(|backend| backend.usable < backend.required(thresholds.min_servers));
    // The worst first.
    let poor: Vec<&Backend<'_>> = dead.iter().chain(few).copied().collect();
    let status = match (dead.is_empty(), poor.is_empty()) {
        (false, _) => CheckStatus::Fail,
        (true, false) => CheckStatus::Warn,
        (true, true) => CheckStatus::Ok,
    };
    let reason = match status {
        CheckStatus::Ok => "all backends have enough usable servers".to_owned(),
        _ => joined(&poor, " / ", |backend| backend.describe()),
    };
    out.check(&BACKENDS, status, reason);

    let down = servers(backends, |backend| &backend.down);
    out.check(
        &SERVERS,
        status_of(&down),
        match down.len() {
            0 => "no server is down".to_owned(),
            count => format!("{} down: {}", counted(count, "server is", "servers are"), listed(&down)),
        },
    );
    let lost = servers(backends, |backend| &backend.lost);
    out.check(
        &RESOLUTION,
        status_of(&lost),
        match lost.len() {
            0 => "all servers have an address".to_owned(),
            count => format!(
                "{} no address, because the name does not resolve: {}",
                counted(count, "server has", "servers have"),
                listed(&lost)
            ),
        },
    );
}

fn servers<'a>(
    backends: &'a [Backend<'a>],
    names: impl Fn(&'a Backend<'a>) -> &'a Vec<&'a str>,
) -> Vec<(&'a str, &'a str)> {
    backends.iter().flat_map(|backend| names(backend).iter().map(|server| (backend.name, *server))).collect()
}

fn status_of(bad: &[(&str, &str)]) -> CheckStatus {
    if bad.is_empty() { CheckStatus::Ok } else { CheckStatus::Warn }
}

fn listed(servers: &[(&str, &str)]) -> String {
    joined(servers, ", ", |(backend, server)| path(backend, server))
}

#[cfg(test)]
mod tests {
    use super::super::test_kit::{check, checks, checks_with};
    use super::*;

    const HEADER: &str = "# pxname,svname,weight,tracked,status,act,bck,type,\n";

    fn csv(rows: &str) -> String {
        format!("{HEADER}{rows}")
    }

    #[test]
    fn one_server_of_three_down_warns_and_names_it() {
        let checks = checks(&csv(
            "be,one,1,,UP,1,0,2,\nbe,two,1,,DOWN 1/2,1,0,2,\nbe,three,1,,UP 2/3,1,0,2,\nbe,BACKEND,2,,UP,2,0,1,\n",
        ));
        assert_eq!(checks["serving"].0, CheckStatus::Ok);
        assert_eq!(checks["backends"].0, CheckStatus::Ok);
        assert_eq!(checks["servers"], (CheckStatus::Warn, "1 server is down: be/two".to_owned()));
    }

    #[test]
    fn fewer_than_half_warn() {
        let rows =
            "be,one,1,,UP,1,0,2,\nbe,two,1,,DOWN,1,0,2,\nbe,three,1,,DOWN (agent),1,0,2,\nbe,BACKEND,1,,UP,1,0,1,\n";
        let reason = "be has 1 of 3 servers usable; down: two, three";
        assert_eq!(check(&csv(rows), "backends"), (CheckStatus::Warn, reason.to_owned()));
    }

    #[test]
    fn the_minimum_is_a_flag() {
        let rows = csv("be,one,1,,UP,1,0,2,\nbe,two,1,,UP,1,0,2,\nbe,three,1,,MAINT,1,0,2,\nbe,BACKEND,2,,UP,2,0,1,\n\
                        single,s,1,,UP,1,0,2,\nsingle,BACKEND,1,,UP,1,0,1,\n");
        assert_eq!(check(&rows, "backends").0, CheckStatus::Ok);
        // A backend with a single server does not need three.
        let reason = "be has 2 of 3 servers usable; in maintenance: 1";
        let minimum = checks_with(&[&rows], None, |thresholds| thresholds.backends.min_servers = Some(3));
        assert_eq!(minimum["backends"], (CheckStatus::Warn, reason.to_owned()));
    }

    #[test]
    fn haproxy_is_down_when_no_backend_has_a_usable_server() {
        let dead = "dead,one,1,,DOWN,1,0,2,\ndead,BACKEND,0,,DOWN,0,0,1,\n";
        let alive = "alive,one,1,,no check,1,0,2,\nalive,BACKEND,1,,UP,1,0,1,\n";
        let both = checks(&csv(&format!("{dead}{alive}")));
        assert_eq!(both["serving"].0, CheckStatus::Ok);
        assert_eq!(both["backends"], (CheckStatus::Fail, "dead has 0 of 1 servers usable; down: one".to_owned()));
        let reason = "no backend has a usable server: dead";
        assert_eq!(check(&csv(dead), "serving"), (CheckStatus::Fail, reason.to_owned()));
    }

    #[test]
    fn servers_out_by_intent_are_not_down_and_the_reason_names_the_intent() {
        let checks = checks(&csv(
            "be,one,1,x/y,MAINT (via x/y),1,0,2,\nbe,two,1,,DRAIN,1,0,2,\nbe,three,0,,no check,1,0,2,\nbe,BACKEND,0,,DOWN,0,0,1,\n",
        ));
        assert_eq!(checks["servers"].0, CheckStatus::Ok);
        assert_eq!(checks["resolution"].0, CheckStatus::Ok);
        let reason = "be has 0 of 3 servers usable; in maintenance: 1; drained: 1; of weight 0: 1";
        assert_eq!(checks["backends"], (CheckStatus::Fail, reason.to_owned()));
    }

    #[test]
    fn servers_without_an_address_are_not_out_by_intent() {
        let rows = "be,a,1,,UP,1,0,2,\nbe,b,1,,MAINT (resolution),1,0,2,\nbe,c,1,,MAINT (resolution),1,0,2,\n\
                    be,BACKEND,1,,UP,1,0,1,\nother,t,1,be/b,MAINT (via be/b),1,0,2,\nother,u,1,,UP,1,0,2,\n";
        let checks = checks(&csv(rows));
        let reason = "be has 1 of 3 servers usable; without an address: b, c";
        assert_eq!(checks["backends"], (CheckStatus::Warn, reason.to_owned()));
        let reason = "3 servers have no address, because the name does not resolve: be/b, be/c, other/t";
        assert_eq!(checks["resolution"], (CheckStatus::Warn, reason.to_owned()));
        assert_eq!(checks["servers"].0, CheckStatus::Ok);
    }

    #[test]
    fn free_slots_of_a_server_template_are_intentional() {
        let rows = "be,s1,1,,UP,1,0,2,\nbe,s2,1,,MAINT (resolution),1,0,2,\nbe,s3,1,,MAINT (resolution),1,0,2,\n\
                    be,BACKEND,1,,UP,1,0,1,\nidle,s1,1,,MAINT (resolution),1,0,2,\nidle,BACKEND,0,,DOWN,0,0,1,\n";
        let all = checks_with(&[&csv(rows)], None, |thresholds| {
            thresholds.backends.template_backends = vec!["be".to_owned(), "idle".to_owned()];
        });
        for name in ["serving", "backends", "servers", "resolution"] {
            assert_eq!(all[name].0, CheckStatus::Ok, "{name}: {}", all[name].1);
        }
    }

    #[test]
    fn backup_servers_are_usable() {
        let rows = "be,one,1,,DOWN,1,0,2,\nbe,two,1,,UP,0,1,2,\nbe,BACKEND,1,,UP,0,1,1,\n";
        assert_eq!(check(&csv(rows), "backends").0, CheckStatus::Ok);
    }

    #[test]
    fn backends_without_servers_have_no_checks() {
        let checks = checks(&csv("stats,BACKEND,0,,UP,0,0,1,\n"));
        assert!(!checks.contains_key("serving") && !checks.contains_key("backends"), "{checks:?}");
    }
}
