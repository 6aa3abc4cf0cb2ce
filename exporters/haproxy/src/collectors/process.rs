//! The HAProxy process, from `show info`: over the runtime socket only.

use std::sync::LazyLock;

use exporter_toolkit::{BoxError, Collector, Desc, Families, Kind, async_trait};

use crate::Session;
use crate::columns::Names;

const COUNTER: Kind = Kind::Counter;
const GAUGE: Kind = Kind::Gauge;

/// Fields of `show info` and what HAProxy's own endpoint calls them. Where versions spell a field differently, the first that is there counts.
#[rustfmt::skip]
const FIELDS: &[(&str, Kind, &str, &str)] = &[
    ("Nbthread", GAUGE, "nbthread", "Threads."),
    ("Nbproc", GAUGE, "nbproc", "Worker processes; 1 since HAProxy 2.5."),
    ("Process_num", GAUGE, "relative_process_id", "Number of the worker process; 1 since HAProxy 2.5."),
    ("Uptime_sec", GAUGE, "uptime_seconds", "Time since the worker process started."),
    ("Start_time_sec", GAUGE, "start_time_seconds", "When the worker process started, in seconds since 1970."),
    ("Memmax_bytes", GAUGE, "max_memory_bytes", "Limit of memory (-m); 0 is none."),
    ("PoolAlloc_bytes", GAUGE, "pool_allocated_bytes", "Memory allocated in pools."),
    ("PoolUsed_bytes", GAUGE, "pool_used_bytes", "Memory in use in pools."),
    ("PoolFailed", COUNTER, "pool_failures_total", "Failed allocations in pools."),
    ("Ulimit-n", GAUGE, "max_fds", "Limit of file descriptors."),
    ("Maxsock", GAUGE, "max_sockets", "Limit of sockets."),
    ("Maxconn", GAUGE, "max_connections", "Limit of connections; it can be changed at run time."),
    ("Hard_maxconn", GAUGE, "hard_max_connections", "Limit of connections that can't be changed at run time."),
    ("CurrConns", GAUGE, "current_connections", "Connections."),
    ("CumConns", COUNTER, "connections_total", "Connections."),
    ("CumReq", COUNTER, "requests_total", "Requests."),
    ("MaxSslConns", GAUGE, "max_ssl_connections", "Limit of TLS connections; 0 is none."),
    ("CurrSslConns", GAUGE, "current_ssl_connections", "TLS connections."),
    ("CumSslConns", COUNTER, "ssl_connections_total", "TLS connections."),
    ("Maxpipes", GAUGE, "max_pipes", "Limit of pipes for splicing; 0 is none."),
    // These two are gauges by nature; HAProxy's own endpoint says counter.
    ("PipesUsed", COUNTER, "pipes_used_total", "Pipes in use."),
    ("PipesFree", COUNTER, "pipes_free_total", "Pipes allocated and free."),
    ("ConnRate", GAUGE, "current_connection_rate", "New connections in the last second."),
    ("ConnRateLimit", GAUGE, "limit_connection_rate", "Limit of new connections per second (maxconnrate); 0 is none."),
    ("MaxConnRate", GAUGE, "max_connection_rate", "Most new connections in a second since the start."),
    ("SessRate", GAUGE, "current_session_rate", "New sessions in the last second."),
    ("SessRateLimit", GAUGE, "limit_session_rate", "Limit of new sessions per second (maxsessrate); 0 is none."),
    ("MaxSessRate", GAUGE, "max_session_rate", "Most new sessions in a second since the start."),
    ("SslRate", GAUGE, "current_ssl_rate", "New TLS connections in the last second."),
    ("SslRateLimit", GAUGE, "limit_ssl_rate", "Limit of new TLS connections per second (maxsslrate); 0 is none."),
    ("MaxSslRate", GAUGE, "max_ssl_rate", "Most new TLS connections in a second since the start."),
    ("SslFrontendKeyRate", GAUGE, "current_frontend_ssl_key_rate", "TLS keys computed for clients in the last second."),
    ("SslFrontendMaxKeyRate", GAUGE, "max_frontend_ssl_key_rate", "Most TLS keys computed for clients in a second since the start."),
    ("SslFrontendSessionReuse_pct", GAUGE, "frontend_ssl_reuse", "Percentage of TLS connections of clients that needed no new key."),
    ("SslBackendKeyRate", GAUGE, "current_backend_ssl_key_rate", "TLS keys computed for servers in the last second."),
    ("SslBackendMaxKeyRate", GAUGE, "max_backend_ssl_key_rate", "Most TLS keys computed for servers in a second since the start."),
    ("SslCacheLookups", COUNTER, "ssl_cache_lookups_total", "Look-ups in the TLS session cache."),
    ("SslCacheMisses", COUNTER, "ssl_cache_misses_total", "Look-ups in the TLS session cache that found nothing."),
    // Rates by nature; HAProxy's own endpoint says counter.
    ("CompressBpsIn", COUNTER, "http_comp_bytes_in_total", "Bytes that went into compression in the last second."),
    ("CompressBpsOut", COUNTER, "http_comp_bytes_out_total", "Bytes that came out of compression in the last second."),
    ("CompressBpsRateLim", GAUGE, "limit_http_comp", "Limit of bytes out of compression per second; 0 is none."),
    ("ZlibMemUsage", GAUGE, "current_zlib_memory", "Memory that compression uses, in bytes."),
    ("MaxZlibMemUsage", GAUGE, "max_zlib_memory", "Limit of memory for compression, in bytes; 0 is none."),
    ("Tasks", GAUGE, "current_tasks", "Tasks, running and sleeping."),
    ("Run_queue", GAUGE, "current_run_queue", "Tasks that want to run."),
    ("Idle_pct", GAUGE, "idle_time_percent", "Percentage of the last second that HAProxy spent waiting."),
    ("Stopping", GAUGE, "stopping", "1 if the process finishes its connections and then ends."),
    ("Jobs", GAUGE, "jobs", "Jobs: connections of clients, listeners, peers."),
    ("Unstoppable Jobs", GAUGE, "unstoppable_jobs", "Jobs that don't hinder the process from ending."),
    ("Listeners", GAUGE, "listeners", "Active listeners."),
    ("ActivePeers", GAUGE, "active_peers", "Peers with a verified connection."),
    ("ConnectedPeers", GAUGE, "connected_peers", "Peers with a connection."),
    ("DroppedLogs", COUNTER, "dropped_logs_total", "Log messages that were dropped."),
    ("BusyPolling", GAUGE, "busy_polling_enabled", "1 if busy-polling is on."),
    ("FailedResolutions", COUNTER, "failed_resolutions", "DNS resolutions that failed."),
    ("TotalBytesOut", COUNTER, "bytes_out_total", "Bytes sent."),
    ("TotalSplicedBytesOut", COUNTER, "spliced_bytes_out_total", "Bytes sent through a pipe in the kernel."),
    // So spelled before HAProxy 2.9.
    ("TotalSplicdedBytesOut", COUNTER, "spliced_bytes_out_total", "Bytes sent through a pipe in the kernel."),
    ("BytesOutRate", GAUGE, "bytes_out_rate", "Bytes sent in the last second."),
    ("CumRecvLogs", COUNTER, "recv_logs_total", "Log messages received."),
    ("TotalWarnings", COUNTER, "total_warnings", "Warnings since the start."),
    ("PatternsAdded", COUNTER, "patterns_added_total", "Patterns added to maps and ACLs."),
    ("PatternsFreed", COUNTER, "patterns_freed_total", "Patterns freed from maps and ACLs."),
    ("NbThreadGroups", GAUGE, "nb_thread_groups", "Thread groups."),
];

const BUILD_INFO: Desc = Desc::info("haproxy_process_build_info", "HAProxy's version.", &["version"]);
const NODE: Desc = Desc::gauge("haproxy_process_node", "HAProxy's name for itself: node in haproxy.cfg.", &["node"]);
const DESCRIPTION: Desc = Desc::gauge("haproxy_process_description", "description in haproxy.cfg.", &["desc"]);

/// Of the retired exporter alone.
const VERSION_INFO: Desc =
    Desc::info("haproxy_version_info", "HAProxy's version and the day of its release.", &["release_date", "version"]);

fn descs() -> &'static [(&'static str, Desc)] {
    static DESCS: LazyLock<Vec<(&'static str, Desc)>> = LazyLock::new(|| {
        let desc = |kind, name, help| Desc::dynamic(kind, format!("haproxy_process_{name}"), help, &[]);
        FIELDS.iter().map(|&(field, kind, name, help)| (field, desc(kind, name, help))).collect()
    });
    &DESCS
}

pub(super) struct Process;

#[async_trait]
impl Collector<Session> for Process {
    fn name(&self) -> &'static str {
        "process"
    }

    fn help(&self) -> &'static str {
        "The HAProxy process, from `show info`: over the runtime socket only."
    }

    fn families(&self) -> Vec<Desc> {
        let mut all: Vec<Desc> = descs().iter().map(|(_, desc)| desc.clone()).collect();
        all.dedup_by(|a, b| a.name == b.name);
        let version = format!("With `--haproxy.names=exporter`: {}", VERSION_INFO.help);
        all.extend([BUILD_INFO, NODE, DESCRIPTION, Desc { help: version.into(), ..VERSION_INFO }]);
        all
    }

    async fn collect(&self, session: &Session, out: &mut Families) -> Result<(), BoxError> {
        let Some(info) = &session.info else { return Ok(()) };
        let mut last = None;
        for (field, desc) in descs() {
            // Two spellings of one field stand side by side.
            if last == Some(&desc.name) {
                continue;
            }
            if let Some(value) = info.number(field) {
                out.push(desc, &[], value);
                last = Some(&desc.name);
            }
        }
        for (field, desc) in [("Build info", &BUILD_INFO), ("node", &NODE), ("description", &DESCRIPTION)] {
            if let Some(value) = info.get(field) {
                out.push(desc, &[value], 1.0);
            }
        }
        if let (Names::Exporter, Some(version)) = (session.options.names, info.get("Version")) {
            out.push(&VERSION_INFO, &[info.get("Release_date").unwrap_or_default(), version], 1.0);
        }
        Ok(())
    }
}
