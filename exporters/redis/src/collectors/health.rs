//! The health of the server: limits, persistence, replication.

use exporter_toolkit::CheckStatus::{Fail, Ok as Good, Warn};
use exporter_toolkit::flags::positive;
use exporter_toolkit::{BoxError, CheckDef, CheckStatus, Families, Finding, HealthChecks, async_trait};

use crate::client::Session;
use crate::refusal::{Verdict, advice, verdict};

static PING: CheckDef =
    CheckDef { name: "ping", help: "Whether the server executes commands, and answers PING in time.", essential: true };
static MEMORY: CheckDef = CheckDef {
    name: "memory",
    help: "Whether used memory is well below maxmemory. A policy that may evict any key is always ok.",
    essential: false,
};
static PERSISTENCE: CheckDef = CheckDef {
    name: "persistence",
    help: "Whether the last dump and the last write to the append-only file succeeded.",
    essential: false,
};
static REPLICATION: CheckDef = CheckDef {
    name: "replication",
    help: "Whether a replica receives data from its master; absent on a master.",
    essential: false,
};
static CONNECTIONS: CheckDef =
    CheckDef { name: "connections", help: "Whether the number of clients is well below maxclients.", essential: false };
static REJECTED_CONNECTIONS: CheckDef = CheckDef {
    name: "rejected_connections",
    help: "Whether the server refused clients since the previous scrape.",
    essential: false,
};

// Not a doc comment: clap would make it the program's description.
#[derive(clap::Args, Clone, Copy, Debug)]
pub(super) struct Thresholds {
    /// Warn (check `ping`) when the round trip of PING takes this long, in seconds
    #[arg(long = "health.ping-seconds", value_name = "SECONDS", default_value = "0.1", value_parser = positive, help_heading = "Health")]
    ping_seconds: f64,

    /// Warn (check `memory`) when used memory reaches this percentage of maxmemory
    #[arg(long = "health.memory-percent", value_name = "PERCENT", default_value = "90", value_parser = positive, help_heading = "Health")]
    memory_percent: f64,

    /// Warn (check `connections`) when the number of clients reaches this percentage of maxclients
    #[arg(long = "health.connections-percent", value_name = "PERCENT", default_value = "90", value_parser = positive, help_heading = "Health")]
    connections_percent: f64,

    /// Warn (check `replication`) when the master has sent nothing for this many seconds
    #[arg(long = "health.replication-seconds", value_name = "SECONDS", default_value = "30", value_parser = positive, help_heading = "Health")]
    replication_seconds: f64,
}

pub(super) struct Health;

#[async_trait]
impl HealthChecks for Health {
    type Session = Session;
    type Thresholds = Thresholds;

    const HELP: &'static str = "Health checks: ping, memory, persistence, replication, connections.";
    const SOURCE: &'static str = "`PING`, `INFO ALL`, `CONFIG GET`";
    const CHECKS: &'static [&'static CheckDef] =
        &[&PING, &MEMORY, &PERSISTENCE, &REPLICATION, &CONNECTIONS, &REJECTED_CONNECTIONS];

    async fn report(session: &Session, thresholds: &Thresholds, out: &mut Families) -> Result<(), BoxError> {
        out.finding(&PING, Some(ping(session, thresholds.ping_seconds)));
        out.finding(&MEMORY, memory(session, thresholds.memory_percent));
        out.finding(&PERSISTENCE, persistence(session));
        out.finding(&REPLICATION, replication(session, thresholds.replication_seconds));
        out.finding(&CONNECTIONS, connections(session, thresholds.connections_percent));
        out.finding(&REJECTED_CONNECTIONS, rejected_connections(session));
        Ok(())
    }
}

fn ping(session: &Session, warn: f64) -> Finding {
    if let Some(refusal) = &session.ping.refusal {
        let reason = || format!("PING was refused: {refusal}: {}", advice(refusal));
        match verdict(refusal) {
            Verdict::Unusable | Verdict::RefusesCommands => return (Fail, reason()),
            Verdict::Unknown => return (Warn, reason()),
            // The check `persistence` reports refused writes. The server does execute commands.
            Verdict::RefusesWrites | Verdict::CommandUnavailable => {}
        }
    }
    let seconds = session.ping.round_trip.as_secs_f64();
    let reason = format!("answered in {:.1} ms", seconds * 1e3);
    match CheckStatus::grade(seconds, warn, f64::INFINITY) {
        Good => (Good, reason),
        slow => (slow, format!("{reason}, the limit is {:.0} ms: see SLOWLOG GET", warn * 1e3)),
    }
}

fn memory(session: &Session, warn: f64) -> Option<Finding> {
    let limit = session.info.number("maxmemory")?;
    // Buffers of replicas and of the append-only file do not count towards the limit.
    let used = session.info.number("used_memory")? - session.info.number("mem_not_counted_for_evict").unwrap_or(0.0);
    if limit <= 0.0 {
        return Some((Good, format!("{} used, no maxmemory", mebibytes(used))));
    }
    let percent = used / limit * 100.0;
    let reason = format!("{percent:.0} % of maxmemory: {} of {}", mebibytes(used), mebibytes(limit));
    let policy = session.info.get("maxmemory_policy").unwrap_or("noeviction");
    let status = match policy {
        // A cache that may evict any key is normally at its limit.
        _ if policy.starts_with("allkeys-") || percent < warn => Good,
        "noeviction" if percent >= 100.0 => Fail,
        _ => Warn,
    };
    Some((
        status,
        if status == Fail {
            format!("{reason}: writes are refused (noeviction)")
        } else {
            format!("{reason} ({policy})")
        },
    ))
}

fn mebibytes(bytes: f64) -> String {
    format!("{:.1} MiB", bytes / f64::from(1 << 20))
}

fn persistence(session: &Session) -> Option<Finding> {
    let info = &session.info;
    let dump = info.get("rdb_last_bgsave_status");
    let refusal = session.ping.refusal.as_ref().filter(|refusal| verdict(refusal) == Verdict::RefusesWrites);
    if dump.is_none() && refusal.is_none() {
        return None;
    }
    let failed = |status: Option<&str>| status.is_some_and(|status| status != "ok");
    let writes = if refusal.is_some() { "writes are refused" } else { "writes may be refused" };
    Some(if info.get("loading") == Some("1") {
        let percent = info.get("loading_loaded_perc").unwrap_or("?");
        (Fail, format!("the server is loading its data ({percent} %) and refuses commands"))
    } else if failed(info.get("aof_last_write_status")) {
        (
            Fail,
            "the last write to the append-only file failed and writes are refused: check the disk and the server's log"
                .to_owned(),
        )
    } else if failed(dump) {
        (Fail, format!("the last dump (BGSAVE) failed and {writes}: check the disk, memory and the server's log"))
    } else if let Some(refusal) = refusal {
        (Fail, format!("{writes}: {refusal}: {}", advice(refusal)))
    } else if failed(info.get("aof_last_bgrewrite_status")) {
        (
            Warn,
            "the last rewrite of the append-only file failed: check the disk, memory and the server's log".to_owned(),
        )
    } else {
        let changes = info.get("rdb_changes_since_last_save").unwrap_or("?");
        let aof = if info.get("aof_enabled") == Some("1") { "on" } else { "off" };
        (Good, format!("{changes} changes since the last dump, append-only file {aof}"))
    })
}

fn replication(session: &Session, warn: f64) -> Option<Finding> {
    let info = &session.info;
    if info.get("role") != Some("slave") {
        return None;
    }
    let master = format!("{}:{}", info.get("master_host").unwrap_or("?"), info.get("master_port").unwrap_or("?"));
    let status = info.get("master_link_status")?;
    if info.get("master_sync_in_progress") == Some("1") {
        return Some((Warn, format!("full synchronization from {master} is in progress")));
    }
    if status != "up" {
        let since = match info.get("master_link_down_since_seconds") {
            Some(seconds) if seconds != "-1" => format!(" for {seconds} s"),
            _ => String::new(),
        };
        return Some((Fail, format!("the link to {master} is {status}{since}")));
    }
    let seconds = info.number("master_last_io_seconds_ago")?;
    Some((CheckStatus::grade(seconds, warn, f64::INFINITY), format!("last data from {master} {seconds:.0} s ago")))
}

fn connections(session: &Session, warn: f64) -> Option<Finding> {
    let clients = session.info.number("connected_clients")?;
    // In INFO since 6.0.
    let limit = session.info.number("maxclients").or_else(|| session.setting("maxclients")?.parse().ok());
    let limit = limit.filter(|limit| *limit > 0.0)?;
    let percent = clients / limit * 100.0;
    let reason = format!("{percent:.0} % of maxclients: {clients:.0} of {limit:.0}");
    Some((CheckStatus::grade(percent, warn, f64::INFINITY), reason))
}

fn rejected_connections(session: &Session) -> Option<Finding> {
    let now = session.info.number("rejected_connections")?;
    // Absent in the first scrape. A lower number means that the server was restarted.
    let before = session.rejected_before?;
    let new = if now < before { now } else { now - before };
    if new > 0.0 {
        return Some((Warn, format!("{new:.0} since the previous scrape: the server reached maxclients")));
    }
    Some((Good, "none since the previous scrape".to_owned()))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::client::session;

    #[track_caller]
    fn assert_finding(finding: Option<Finding>, status: CheckStatus, reason: &str) {
        let (found, text) = finding.expect("the check can be made");
        assert_eq!(found, status, "{text}");
        assert!(text.contains(reason), "{text}");
    }

    #[test]
    fn ping_is_fast_slow_or_refused() {
        let mut session = session("");
        assert_finding(Some(ping(&session, 0.1)), Good, "1.0 ms");
        session.ping.round_trip = Duration::from_millis(100);
        assert_finding(Some(ping(&session, 0.1)), Warn, "100.0 ms");
        session.ping.round_trip = Duration::from_millis(1);
        for (refusal, status, reason) in [
            ("LOADING Redis is loading the dataset in memory", Fail, "LOADING"),
            ("MASTERDOWN Link with MASTER is down", Fail, "MASTERDOWN"),
            ("MISCONF Redis is configured to save RDB snapshots", Good, "1.0 ms"),
            ("NOPERM User exporter has no permissions", Good, "1.0 ms"),
            ("ERR unknown command 'PING'", Good, "1.0 ms"),
            ("WEIRD proxy", Warn, "WEIRD proxy: see the server's log"),
        ] {
            session.ping.refusal = Some(refusal.to_owned());
            assert_finding(Some(ping(&session, 0.1)), status, reason);
        }
    }

    #[test]
    fn memory_against_its_limit() {
        let of = |used: u32, policy: &str| {
            memory(&session(&format!("used_memory:{used}\nmaxmemory:1000\nmaxmemory_policy:{policy}\n")), 90.0)
        };
        assert_finding(of(899, "noeviction"), Good, "90 %");
        assert_finding(of(900, "noeviction"), Warn, "90 %");
        assert_finding(of(1000, "noeviction"), Fail, "writes are refused");
        assert_finding(of(1000, "volatile-lru"), Warn, "100 %");
        assert_finding(of(1000, "allkeys-lru"), Good, "allkeys-lru");
        assert_finding(memory(&session("used_memory:1048576\nmaxmemory:0\n"), 90.0), Good, "1.0 MiB used");
        let buffers = session("used_memory:950\nmem_not_counted_for_evict:100\nmaxmemory:1000\n");
        assert_finding(memory(&buffers, 90.0), Good, "85 %");
        assert_eq!(memory(&session("used_memory:1\n"), 90.0), None);
    }

    #[test]
    fn persistence_names_what_failed() {
        let of = |text: &str| persistence(&session(&format!("rdb_last_bgsave_status:ok\n{text}\n")));
        assert_finding(of("aof_last_write_status:ok\naof_enabled:1\nrdb_changes_since_last_save:3"), Good, "3 changes");
        assert_finding(of("aof_last_write_status:err"), Fail, "append-only");
        assert_finding(of("aof_last_bgrewrite_status:err"), Warn, "rewrite");
        assert_finding(of("loading:1\nloading_loaded_perc:42.00"), Fail, "42.00 %");
        assert_finding(persistence(&session("rdb_last_bgsave_status:err\n")), Fail, "writes may be refused");
        assert_eq!(persistence(&session("redis_mode:sentinel\n")), None);
        // What INFO does not show, PING does.
        for (info, reason) in [
            ("rdb_last_bgsave_status:err\n", "BGSAVE) failed and writes are refused"),
            ("rdb_last_bgsave_status:ok\n", "writes are refused: MISCONF no"),
            ("redis_version:7\n", "writes are refused: MISCONF no"),
        ] {
            let mut session = session(info);
            session.ping.refusal = Some("MISCONF no".to_owned());
            assert_finding(persistence(&session), Fail, reason);
        }
    }

    #[test]
    fn replication_is_for_replicas() {
        let of =
            |text: &str| replication(&session(&format!("role:slave\nmaster_host:m\nmaster_port:6379\n{text}\n")), 30.0);
        assert_finding(of("master_link_status:up\nmaster_last_io_seconds_ago:1"), Good, "m:6379 1 s ago");
        assert_finding(of("master_link_status:up\nmaster_last_io_seconds_ago:30"), Warn, "30 s ago");
        assert_finding(of("master_link_status:down\nmaster_link_down_since_seconds:7"), Fail, "down for 7 s");
        assert_finding(of("master_link_status:down\nmaster_link_down_since_seconds:-1"), Fail, "m:6379 is down");
        assert_finding(of("master_link_status:down\nmaster_sync_in_progress:1"), Warn, "full synchronization");
        assert_eq!(replication(&session("role:master\n"), 30.0), None);
    }

    #[test]
    fn connections_against_their_limit() {
        let mut session = session("connected_clients:90\n");
        assert_eq!(connections(&session, 90.0), None);
        session.config = Ok(vec![("maxclients".to_owned(), "100".to_owned())]);
        assert_finding(connections(&session, 90.0), Warn, "90 of 100");
        let quiet = crate::client::session("connected_clients:1\nmaxclients:10000\n");
        assert_finding(connections(&quiet, 90.0), Good, "1 of 10000");
    }

    #[test]
    fn rejections_since_the_previous_scrape() {
        let mut session = session("rejected_connections:5\n");
        assert_eq!(rejected_connections(&session), None);
        session.rejected_before = Some(5.0);
        assert_finding(rejected_connections(&session), Good, "none");
        session.rejected_before = Some(2.0);
        assert_finding(rejected_connections(&session), Warn, "3 since");
        session.rejected_before = Some(9.0);
        assert_finding(rejected_connections(&session), Warn, "5 since");
    }
}
