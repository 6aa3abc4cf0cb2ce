//! What the runtime socket shows: the process and its limits, stick tables, name servers.

use exporter_toolkit::flags::positive;
use exporter_toolkit::{CheckDef, CheckStatus, Families, Finding};
use tokio::time::Instant;

use super::limits::nearly;
use super::reason::{count, joined, path, shortened};
use crate::columns::Scope;
use crate::history::{History, Lookups, Object, Objects};
use crate::info::Info;
use crate::runtime::{NameServer, Runtime, StickTable};

pub(super) static CONNECTIONS: CheckDef = CheckDef {
    name: "connections",
    help: "Warns when the process is at `--health.limit-percent` of a limit: connections, TLS connections, or new ones per \
           second; or reached its limit of connections since the previous scrape (counted by 3.2, not by 2.6). Over the runtime \
           socket only.",
    essential: false,
};
pub(super) static PROCESS: CheckDef = CheckDef {
    name: "process",
    help: "Warns when the process is stopping, or has less idle time than `--health.idle-percent`. Over the runtime socket \
           only.",
    essential: false,
};
pub(super) static STICK_TABLES: CheckDef = CheckDef {
    name: "stick_tables",
    help: "Warns when a stick table is full: new entries replace the oldest ones. Over the runtime socket only.",
    essential: false,
};
pub(super) static NAME_SERVERS: CheckDef = CheckDef {
    name: "name_servers",
    help: "Warns when a name server left at least half of three or more requests unanswered since the previous scrape. Over \
           the runtime socket only.",
    essential: false,
};

/// Fewer requests without an answer are a lost packet.
const MIN_LOOKUPS: f64 = 3.0;
/// Answers to a request, whatever they say about the name. `sent` counts requests, and HAProxy 2.6 and 3.2 count no
/// timeout of a server that is silent.
const ANSWERS: [&str; 6] = ["valid", "nx", "cname", "any_err", "truncated", "outdated"];

#[derive(clap::Args, Clone, Copy, Debug)]
#[group(skip)]
pub(super) struct Thresholds {
    /// Warn (check `process`) when the process was idle for less than this percentage of the last second
    #[arg(long = "health.idle-percent", value_name = "PERCENT", default_value_t = 5.0, value_parser = positive)]
    idle_percent: f64,
}

/// `limit_percent` is that of the other limits.
pub(super) fn report(
    runtime: &Runtime,
    history: Option<&History>,
    limit_percent: f64,
    thresholds: Thresholds,
    out: &mut Families,
) {
    let (info, now) = (&runtime.info, Instant::now());
    let reached = history.and_then(|history| history.reached(now, info.number("MaxconnReached")?));
    out.finding(&CONNECTIONS, connections(info, reached, limit_percent));
    out.finding(&PROCESS, process(info, thresholds));
    out.finding(&STICK_TABLES, stick_tables(&runtime.tables));
    out.finding(&NAME_SERVERS, history.and_then(|history| name_servers(&runtime.name_servers, history, now)));
}

fn connections(info: &Info, reached: Option<f64>, limit_percent: f64) -> Option<Finding> {
    let of = |value, limit, what| Some((info.number(value)?, info.number(limit)?, what));
    let used = [
        of("CurrConns", "Maxconn", "connections (maxconn)"),
        of("CurrSslConns", "MaxSslConns", "TLS connections (maxsslconn)"),
        of("ConnRate", "ConnRateLimit", "new connections per second (maxconnrate)"),
        of("SessRate", "SessRateLimit", "new sessions per second (maxsessrate)"),
        of("SslRate", "SslRateLimit", "new TLS connections per second (maxsslrate)"),
    ];
    let describe = |(value, limit, what): &(f64, f64, &str)| format!("{} of {} {what}", count(*value), count(*limit));
    let first = used[0]?;
    let near: Vec<_> =
        used.into_iter().flatten().filter(|(value, limit, _)| nearly(*value, *limit, limit_percent)).collect();
    Some(match (near.is_empty(), reached.filter(|times| *times > 0.0)) {
        (true, None) => (CheckStatus::Ok, format!("the process has {}", describe(&first))),
        (true, Some(times)) => {
            let (_, limit, _) = first;
            let text = format!("the process reached its {} connections (maxconn) {} times", count(limit), count(times));
            (CheckStatus::Warn, text)
        }
        (false, _) => (CheckStatus::Warn, format!("the process has {}", joined(&near, ", ", describe))),
    })
}

fn process(info: &Info, thresholds: Thresholds) -> Option<Finding> {
    let idle = info.number("Idle_pct");
    Some(match info.number("Stopping")? {
        0.0 => match idle.filter(|idle| *idle < thresholds.idle_percent) {
            Some(idle) => (CheckStatus::Warn, format!("the process was idle for {} % of the last second", count(idle))),
            None => (CheckStatus::Ok, "the process is not stopping, and has idle time".to_owned()),
        },
        _ => {
            let reason = "the process is stopping: it accepts no new connections and ends with its last one";
            (CheckStatus::Warn, reason.to_owned())
        }
    })
}

fn stick_tables(tables: &[StickTable]) -> Option<Finding> {
    let is_full =
        |table: &&StickTable| table.size.zip(table.used).is_some_and(|(size, used)| size > 0.0 && used >= size);
    let full: Vec<&StickTable> = tables.iter().filter(is_full).collect();
    let describe = |table: &&StickTable| {
        format!("{} has {} entries", shortened(&table.name), count(table.size.unwrap_or_default()))
    };
    (!tables.is_empty()).then(|| match full.is_empty() {
        true => (CheckStatus::Ok, "no stick table is full".to_owned()),
        false => (CheckStatus::Warn, format!("full stick tables: {}", joined(&full, ", ", describe))),
    })
}

fn name_servers(servers: &[NameServer], history: &History, now: Instant) -> Option<Finding> {
    let all: Vec<_> = servers
        .iter()
        .filter_map(|server| {
            let answered = ANSWERS.iter().filter_map(|field| server.counter(field)).sum();
            let value = Lookups { sent: server.counter("sent")?, answered };
            Some(Object { scope: Scope::Server, proxy: &server.resolver, name: &server.name, value })
        })
        .collect();
    if all.is_empty() {
        return None;
    }
    let changes = history.lookups(now, &Objects { all, complete: true })?;
    let is_silent = |value: &Lookups| value.sent >= MIN_LOOKUPS && value.answered * 2.0 <= value.sent;
    let silent: Vec<_> = changes.objects.iter().filter(|object| is_silent(&object.value)).collect();
    let describe = |object: &&Object<'_, Lookups>| {
        let Lookups { sent, answered } = object.value;
        format!("{} answered {} of {} requests", path(object.proxy, object.name), count(answered), count(sent))
    };
    Some(match silent.is_empty() {
        true => (CheckStatus::Ok, "all name servers answer".to_owned()),
        false => (CheckStatus::Warn, joined(&silent, ", ", describe)),
    })
}

#[cfg(test)]
mod tests {
    use super::super::test_kit::checks_with;
    use super::*;

    const HEADER: &str = "# pxname,svname,type,\n";

    #[test]
    fn the_process_has_checks_over_the_runtime_socket() {
        assert!(!checks_with(&[HEADER], None, |_| ()).contains_key("process"));
        let info = "Stopping: 1\nCurrConns: 95\nMaxconn: 100\nCurrSslConns: 1\nMaxSslConns: 0\nSessRate: 9\n\
                    SessRateLimit: 10\n";
        let stopping = checks_with(&[HEADER], Some(info), |_| ());
        assert_eq!(stopping["process"].0, CheckStatus::Warn);
        let reason = "the process has 95 of 100 connections (maxconn), 9 of 10 new sessions per second (maxsessrate)";
        assert_eq!(stopping["connections"], (CheckStatus::Warn, reason.to_owned()));
    }

    #[test]
    fn a_busy_process_and_full_stick_tables_warn() {
        let info = |idle: u32, used: u32| {
            format!(
                "Stopping: 0\nIdle_pct: {idle}\n\n# table: be, type: ip, size:100, used:{used}\n# table: off, type: ip, size:0, used:0\n"
            )
        };
        let busy = checks_with(&[HEADER], Some(&info(4, 100)), |_| ());
        let reason = "the process was idle for 4 % of the last second".to_owned();
        assert_eq!(busy["process"], (CheckStatus::Warn, reason));
        assert_eq!(busy["stick_tables"], (CheckStatus::Warn, "full stick tables: be has 100 entries".to_owned()));
        let calm = checks_with(&[HEADER], Some(&info(5, 99)), |_| ());
        assert_eq!((calm["process"].0, calm["stick_tables"].0), (CheckStatus::Ok, CheckStatus::Ok));
    }
}
