//! Limits that are near, and queues: of frontends, listeners, backends and servers.

use std::collections::HashMap;

use exporter_toolkit::flags::positive;
use exporter_toolkit::{CheckDef, CheckStatus, Families, Finding};

use super::reason::{count, joined, path, shortened};
use super::statistics::{Field, Reader};
use crate::columns::Scope;
use crate::stat::Row;
use crate::state::ServerState;

pub(super) static FRONTENDS: CheckDef = CheckDef {
    name: "frontends",
    help: "Warns when a frontend is stopped or full, or when a frontend or listener is at `--health.limit-percent` of its \
           limit of sessions or of new sessions per second.",
    essential: false,
};
pub(super) static LIMITS: CheckDef = CheckDef {
    name: "limits",
    help: "Warns when a server is at `--health.limit-percent` of its `maxconn` or `maxqueue`, or a backend at \
           `--health.fullconn-percent` of its `fullconn`.",
    essential: false,
};
pub(super) static QUEUE: CheckDef = CheckDef {
    name: "queue",
    help: "Warns when `--health.queue` requests wait in the queues of one backend and its servers.",
    essential: false,
};
#[derive(clap::Args, Clone, Copy, Debug)]
#[group(skip)]
pub(super) struct Thresholds {
    /// Warn (checks `frontends`, `limits`, `connections`) at this percentage of a limit
    #[arg(long = "health.limit-percent", value_name = "PERCENT", default_value_t = 90.0, value_parser = positive)]
    pub(super) limit_percent: f64,

    /// Warn (check `limits`) at this percentage of a backend's fullconn [default: not checked]
    #[arg(long = "health.fullconn-percent", value_name = "PERCENT", value_parser = positive)]
    pub(super) fullconn_percent: Option<f64>,

    /// Warn (check `queue`) when this many requests wait in the queues of one backend and its servers
    #[arg(long = "health.queue", value_name = "REQUESTS", default_value_t = 5.0, value_parser = positive)]
    queue: f64,
}

/// What is at its limit.
#[derive(Debug)]
struct Full<'a> {
    proxy: &'a str,
    /// Absent for frontends and backends.
    name: Option<&'a str>,
    value: f64,
    limit: f64,
    /// `sessions (maxconn)`
    what: &'static str,
}

impl Full<'_> {
    fn share(&self) -> f64 {
        self.value / self.limit
    }

    fn describe(&self) -> String {
        let name = self.name.map_or_else(|| shortened(self.proxy), |name| path(self.proxy, name));
        format!("{name} has {} of {} {}", count(self.value), count(self.limit), self.what)
    }
}

/// A limit of 0 means no limit.
pub(super) fn nearly(value: f64, limit: f64, percent: f64) -> bool {
    limit > 0.0 && value * 100.0 >= limit * percent
}

fn sort_worst_first(full: &mut [Full<'_>]) {
    full.sort_by(|a, b| b.share().total_cmp(&a.share()));
}

/// The fields of one kind of limit.
struct Limit {
    value: Field,
    limit: Field,
    what: &'static str,
    percent: f64,
}

impl Limit {
    fn full<'a>(&self, reader: &Reader<'a>, row: Row<'a>, name: Option<&'a str>) -> Option<Full<'a>> {
        let (value, limit) = (reader.number(row, self.value)?, reader.number(row, self.limit)?);
        let full = Full { proxy: row.proxy(), name, value, limit, what: self.what };
        nearly(value, limit, self.percent).then_some(full)
    }
}

pub(super) fn report(reader: &Reader<'_>, thresholds: Thresholds, out: &mut Families) {
    out.finding(&FRONTENDS, frontends(reader, thresholds));
    out.finding(&LIMITS, limits(reader, thresholds));
    out.finding(&QUEUE, queue(reader, thresholds));
}

fn frontends(reader: &Reader<'_>, thresholds: Thresholds) -> Option<Finding> {
    let limit = |value, limit, what| Limit {
        value: reader.field(value),
        limit: reader.field(limit),
        what,
        percent: thresholds.limit_percent,
    };
    let limits =
        [limit("scur", "slim", "sessions (maxconn)"), limit("rate", "rate_lim", "sessions per second (rate-limit)")];
    let status = reader.field("status");
    let (mut any, mut stopped, mut full) = (false, Vec::new(), Vec::new());
    for scope in [Scope::Frontend, Scope::Listener] {
        for row in reader.rows(scope) {
            any = true;
            let name = (scope == Scope::Listener).then(|| row.name());
            let before = full.len();
            full.extend(limits.iter().filter_map(|limit| limit.full(reader, row, name)));
            match reader.text(row, status) {
                "STOP" => stopped.push((row.proxy(), "is stopped")),
                // A limit that is not its own, such as that of the process.
                "FULL" if scope == Scope::Frontend && full.len() == before => {
                    stopped.push((row.proxy(), "is full"));
                }
                _ => {}
            }
        }
    }
    if !any {
        return None;
    }
    sort_worst_first(&mut full);
    let reasons: Vec<String> = stopped
        .iter()
        .map(|(proxy, what)| format!("{} {what}", shortened(proxy)))
        .chain(full.iter().map(Full::describe))
        .collect();
    Some(match reasons.is_empty() {
        true => (CheckStatus::Ok, "no frontend is stopped or nearly full".to_owned()),
        false => (CheckStatus::Warn, joined(&reasons, ", ", Clone::clone)),
    })
}

fn limits(reader: &Reader<'_>, thresholds: Thresholds) -> Option<Finding> {
    let [sessions, slim, queued, qlimit, status] =
        ["scur", "slim", "qcur", "qlimit", "status"].map(|name| reader.field(name));
    let percent = thresholds.limit_percent;
    let servers = [
        Limit { value: sessions, limit: slim, what: "sessions (maxconn)", percent },
        Limit { value: queued, limit: qlimit, what: "queued requests (maxqueue)", percent },
    ];
    let mut any = false;
    let mut full = Vec::new();
    for row in reader.rows(Scope::Server) {
        any = true;
        // The checks of backends and servers name the others.
        if ServerState::parse(reader.text(row, status)).is_none_or(|state| state == ServerState::Up) {
            full.extend(servers.iter().filter_map(|limit| limit.full(reader, row, Some(row.name()))));
        }
    }
    if let Some(percent) = thresholds.fullconn_percent {
        let fullconn = Limit { value: sessions, limit: slim, what: "sessions (fullconn)", percent };
        full.extend(reader.rows(Scope::Backend).filter_map(|row| fullconn.full(reader, row, None)));
    }
    if !any && full.is_empty() {
        return None;
    }
    sort_worst_first(&mut full);
    Some(match full.is_empty() {
        true => (CheckStatus::Ok, "no server is near a limit".to_owned()),
        false => (CheckStatus::Warn, joined(&full, ", ", Full::describe)),
    })
}

/// The requests that wait in one backend.
#[derive(Debug)]
struct Queued<'a> {
    proxy: &'a str,
    requests: f64,
    /// The longest queue of one server: of requests that need this server, such as by a cookie.
    longest: Option<(&'a str, f64)>,
}

impl Queued<'_> {
    fn describe(&self) -> String {
        let server = self.longest.map_or_else(String::new, |(name, requests)| {
            format!(" ({} of them for {})", count(requests), shortened(name))
        });
        format!("{} has {} queued requests{server}", shortened(self.proxy), count(self.requests))
    }
}

fn queue(reader: &Reader<'_>, thresholds: Thresholds) -> Option<Finding> {
    let field = reader.field("qcur");
    let mut any = false;
    let mut queues: HashMap<&str, Queued<'_>> = HashMap::new();
    // HAProxy's number of a backend does not include the queues of its servers.
    for scope in [Scope::Backend, Scope::Server] {
        for row in reader.rows(scope) {
            let Some(requests) = reader.number(row, field) else { continue };
            any = true;
            if requests <= 0.0 {
                continue;
            }
            let proxy = row.proxy();
            let queue = queues.entry(proxy).or_insert(Queued { proxy, requests: 0.0, longest: None });
            queue.requests += requests;
            if scope == Scope::Server && queue.longest.is_none_or(|(_, longest)| requests > longest) {
                queue.longest = Some((row.name(), requests));
            }
        }
    }
    if !any {
        return None;
    }
    let mut long: Vec<Queued<'_>> = queues.into_values().filter(|queue| queue.requests >= thresholds.queue).collect();
    long.sort_by(|a, b| b.requests.total_cmp(&a.requests).then(a.proxy.cmp(b.proxy)));
    Some(match long.is_empty() {
        true => (CheckStatus::Ok, "no queue is long".to_owned()),
        false => (CheckStatus::Warn, joined(&long, ", ", Queued::describe)),
    })
}

#[cfg(test)]
mod tests {
    use super::super::test_kit::{check, checks_with};
    use super::*;

    const HEADER: &str = "# pxname,svname,qcur,scur,slim,qlimit,rate,rate_lim,status,type,\n";

    fn csv(rows: &str) -> String {
        format!("{HEADER}{rows}")
    }

    #[test]
    fn frontends_nearly_full_or_stopped() {
        let ok = csv("fe,FRONTEND,,89,100,,1,0,OPEN,0,\nfree,FRONTEND,,5,0,,,,OPEN,0,\n");
        assert_eq!(check(&ok, "frontends").0, CheckStatus::Ok);
        let warn = csv("fe,FRONTEND,,90,100,,0,0,OPEN,0,\ngone,FRONTEND,,0,100,,,,STOP,0,\n\
                        fast,FRONTEND,,1,100,,50,50,OPEN,0,\nwaits,FRONTEND,,1,100,,0,0,FULL,0,\n\
                        fe,sock-1,,10,10,,,,FULL,3,\n");
        let reason = "gone is stopped, waits is full, fast has 50 of 50 sessions per second (rate-limit), \
                      fe/sock-1 has 10 of 10 sessions (maxconn), fe has 90 of 100 sessions (maxconn)";
        assert_eq!(check(&warn, "frontends"), (CheckStatus::Warn, reason.to_owned()));
    }

    #[test]
    fn servers_at_their_limits_the_fullest_first() {
        let rows = csv("be,free,0,8,10,,,,UP,2,\nbe,busy,0,9,10,,,,UP,2,\nbe,full,4,10,10,4,,,no check,2,\n\
                        be,out,0,10,10,,,,MAINT,2,\nbe,unlimited,0,500,,,,,UP,2,\nbe,BACKEND,4,60,30,,,,UP,1,\n");
        let reason = "be/full has 10 of 10 sessions (maxconn), be/full has 4 of 4 queued requests (maxqueue), \
                      be/busy has 9 of 10 sessions (maxconn)";
        assert_eq!(check(&rows, "limits"), (CheckStatus::Warn, reason.to_owned()));
        let fullconn = checks_with(&[&rows], None, |thresholds| thresholds.limits.fullconn_percent = Some(100.0));
        assert!(fullconn["limits"].1.starts_with("be has 60 of 30 sessions (fullconn), "), "{}", fullconn["limits"].1);
        assert_eq!(check(&csv("be,free,0,8,10,,,,UP,2,\n"), "limits").0, CheckStatus::Ok);
    }

    #[test]
    fn a_queue_warns_and_the_longest_is_first() {
        let rows = csv(
            "a,BACKEND,5,1,30,,,,UP,1,\nb,s,8,2,50,,,,UP,2,\nb,t,1,2,50,,,,UP,2,\nb,BACKEND,58,60,30,,,,UP,1,\nc,BACKEND,4,60,30,,,,UP,1,\n",
        );
        let reason = "b has 67 queued requests (8 of them for s), a has 5 queued requests";
        assert_eq!(check(&rows, "queue"), (CheckStatus::Warn, reason.to_owned()));
        assert_eq!(check(&csv("c,BACKEND,4,60,30,,,,UP,1,\n"), "queue").0, CheckStatus::Ok);
    }
}
