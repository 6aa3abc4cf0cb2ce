//! The HAProxy process, from `show info`: over the runtime socket only.

use exporter_toolkit::{BoxError, Collector, Desc, Families, async_trait};

use crate::columns::Naming;
use crate::selection::Part;
use crate::target::Session;

const fn gauge(field: &'static str, name: &'static str, help: &'static str) -> Desc {
    Desc::gauge(name, help, &[]).field(field)
}

const fn counter(field: &'static str, name: &'static str, help: &'static str) -> Desc {
    Desc::counter(name, help, &[]).field(field)
}

/// Fields of `show info`, with the names of HAProxy's own endpoint. If versions spell a field differently, the first
/// spelling that is there counts.
#[rustfmt::skip] // One row per line: it is a table.
static NUMBERS: &[Desc] = &[
    gauge("Nbthread", "haproxy_process_nbthread", "Current number of threads."),
    gauge("Nbproc", "haproxy_process_nbproc", "Current number of worker processes; 1 since HAProxy 2.5."),
    gauge("Process_num", "haproxy_process_relative_process_id", "Number of the worker process; 1 since HAProxy 2.5."),
    gauge("Uptime_sec", "haproxy_process_uptime_seconds", "Seconds since the start of the worker process."),
    gauge("Start_time_sec", "haproxy_process_start_time_seconds", "Unix time of the start of the worker process."),
    gauge("Memmax_bytes", "haproxy_process_max_memory_bytes", "Limit of memory (-m); 0 for none."),
    gauge("PoolAlloc_bytes", "haproxy_process_pool_allocated_bytes", "Memory allocated in pools."),
    gauge("PoolUsed_bytes", "haproxy_process_pool_used_bytes", "Memory in use in pools."),
    counter("PoolFailed", "haproxy_process_pool_failures_total", "Total number of failed allocations in pools."),
    gauge("Ulimit-n", "haproxy_process_max_fds", "Limit of file descriptors."),
    gauge("Maxsock", "haproxy_process_max_sockets", "Limit of sockets."),
    gauge("Maxconn", "haproxy_process_max_connections", "Limit of connections; it can be changed at run time."),
    gauge("Hard_maxconn", "haproxy_process_hard_max_connections", "Limit of connections that cannot be changed at run time."),
    gauge("CurrConns", "haproxy_process_current_connections", "Current number of connections."),
    counter("CumConns", "haproxy_process_connections_total", "Total number of connections."),
    counter("CumReq", "haproxy_process_requests_total", "Total number of requests."),
    gauge("MaxSslConns", "haproxy_process_max_ssl_connections", "Limit of TLS connections; 0 for none."),
    gauge("CurrSslConns", "haproxy_process_current_ssl_connections", "Current number of TLS connections."),
    counter("CumSslConns", "haproxy_process_ssl_connections_total", "Total number of TLS connections."),
    gauge("Maxpipes", "haproxy_process_max_pipes", "Limit of pipes for splicing; 0 for none."),
    // Both are gauges in fact. HAProxy's own endpoint declares counters.
    counter("PipesUsed", "haproxy_process_pipes_used_total", "Current number of pipes in use."),
    counter("PipesFree", "haproxy_process_pipes_free_total", "Current number of allocated and free pipes."),
    gauge("ConnRate", "haproxy_process_current_connection_rate", "New connections in the last second."),
    gauge("ConnRateLimit", "haproxy_process_limit_connection_rate", "Limit of new connections per second (maxconnrate); 0 for none."),
    gauge("MaxConnRate", "haproxy_process_max_connection_rate", "Maximum number of new connections per second since the start."),
    gauge("SessRate", "haproxy_process_current_session_rate", "New sessions in the last second."),
    gauge("SessRateLimit", "haproxy_process_limit_session_rate", "Limit of new sessions per second (maxsessrate); 0 for none."),
    gauge("MaxSessRate", "haproxy_process_max_session_rate", "Maximum number of new sessions per second since the start."),
    gauge("SslRate", "haproxy_process_current_ssl_rate", "New TLS connections in the last second."),
    gauge("SslRateLimit", "haproxy_process_limit_ssl_rate", "Limit of new TLS connections per second (maxsslrate); 0 for none."),
    gauge("MaxSslRate", "haproxy_process_max_ssl_rate", "Maximum number of new TLS connections per second since the start."),
    gauge("SslFrontendKeyRate", "haproxy_process_current_frontend_ssl_key_rate", "TLS keys computed for clients in the last second."),
    gauge("SslFrontendMaxKeyRate", "haproxy_process_max_frontend_ssl_key_rate", "Maximum number of TLS keys computed for clients per second since the start."),
    gauge("SslFrontendSessionReuse_pct", "haproxy_process_frontend_ssl_reuse", "Percentage of TLS connections of clients that reused a session."),
    gauge("SslBackendKeyRate", "haproxy_process_current_backend_ssl_key_rate", "TLS keys computed for servers in the last second."),
    gauge("SslBackendMaxKeyRate", "haproxy_process_max_backend_ssl_key_rate", "Maximum number of TLS keys computed for servers per second since the start."),
    counter("SslCacheLookups", "haproxy_process_ssl_cache_lookups_total", "Total number of lookups in the TLS session cache."),
    counter("SslCacheMisses", "haproxy_process_ssl_cache_misses_total", "Total number of misses in the TLS session cache."),
    // Both are rates in fact. HAProxy's own endpoint declares counters.
    counter("CompressBpsIn", "haproxy_process_http_comp_bytes_in_total", "Bytes before compression in the last second."),
    counter("CompressBpsOut", "haproxy_process_http_comp_bytes_out_total", "Bytes after compression in the last second."),
    gauge("CompressBpsRateLim", "haproxy_process_limit_http_comp", "Limit of compressed bytes per second; 0 for none."),
    gauge("ZlibMemUsage", "haproxy_process_current_zlib_memory", "Memory in use by compression, in bytes."),
    gauge("MaxZlibMemUsage", "haproxy_process_max_zlib_memory", "Limit of memory for compression, in bytes; 0 for none."),
    gauge("Tasks", "haproxy_process_current_tasks", "Current number of tasks."),
    gauge("Run_queue", "haproxy_process_current_run_queue", "Current number of runnable tasks."),
    gauge("Idle_pct", "haproxy_process_idle_time_percent", "Percentage of idle time in the last second."),
    gauge("Stopping", "haproxy_process_stopping", "Whether the process is stopping."),
    gauge("Jobs", "haproxy_process_jobs", "Current number of jobs: connections of clients, listeners, peers."),
    gauge("Unstoppable Jobs", "haproxy_process_unstoppable_jobs", "Current number of jobs that do not delay the end of the process."),
    gauge("Listeners", "haproxy_process_listeners", "Current number of active listeners."),
    gauge("ActivePeers", "haproxy_process_active_peers", "Current number of peers with a verified connection."),
    gauge("ConnectedPeers", "haproxy_process_connected_peers", "Current number of connected peers."),
    counter("DroppedLogs", "haproxy_process_dropped_logs_total", "Total number of dropped log messages."),
    gauge("BusyPolling", "haproxy_process_busy_polling_enabled", "Whether busy polling is on."),
    counter("FailedResolutions", "haproxy_process_failed_resolutions", "Total number of failed DNS resolutions."),
    counter("TotalBytesOut", "haproxy_process_bytes_out_total", "Total number of bytes sent."),
    counter("TotalSplicedBytesOut", "haproxy_process_spliced_bytes_out_total", "Total number of bytes sent through a pipe in the kernel."),
    // The spelling before HAProxy 2.9.
    counter("TotalSplicdedBytesOut", "haproxy_process_spliced_bytes_out_total", "Total number of bytes sent through a pipe in the kernel."),
    gauge("BytesOutRate", "haproxy_process_bytes_out_rate", "Bytes sent in the last second."),
    counter("CumRecvLogs", "haproxy_process_recv_logs_total", "Total number of received log messages."),
    counter("TotalWarnings", "haproxy_process_total_warnings", "Total number of warnings."),
    counter("PatternsAdded", "haproxy_process_patterns_added_total", "Total number of patterns added to maps and ACLs."),
    counter("PatternsFreed", "haproxy_process_patterns_freed_total", "Total number of patterns removed from maps and ACLs."),
    gauge("NbThreadGroups", "haproxy_process_nb_thread_groups", "Current number of thread groups."),
];

const BUILD_INFO: Desc =
    Desc::info("haproxy_process_build_info", "Version of HAProxy.", &["version"]).field("Build info");
const NODE: Desc = Desc::gauge("haproxy_process_node", "Name of the node in haproxy.cfg.", &["node"]).field("node");
const DESCRIPTION: Desc =
    Desc::gauge("haproxy_process_description", "Description in haproxy.cfg.", &["desc"]).field("description");

/// Of the retired exporter only.
const VERSION_INFO: Desc =
    Desc::info("haproxy_version_info", "Version and release date of HAProxy.", &["release_date", "version"])
        .field("Version");

pub(super) struct Process;

#[async_trait]
impl Collector<Session> for Process {
    fn name(&self) -> &'static str {
        "process"
    }

    fn help(&self) -> &'static str {
        "The HAProxy process; over the runtime socket only."
    }

    fn source(&self) -> &'static str {
        "`show info`"
    }

    fn families(&self) -> Vec<Desc> {
        let mut all = NUMBERS.to_vec();
        all.dedup_by(|a, b| a.name == b.name);
        let version = format!("With `--haproxy.names=exporter`: {}", VERSION_INFO.help);
        all.extend([BUILD_INFO, NODE, DESCRIPTION, Desc { help: version.into(), ..VERSION_INFO }]);
        all
    }

    async fn collect(&self, session: &Session, out: &mut Families) -> Result<(), BoxError> {
        let Some(info) = session.info() else { return Ok(()) };
        let exports = |desc: &Desc| session.exports(Part::Global, desc);
        let mut last = None;
        for desc in NUMBERS.iter().filter(|desc| exports(desc)) {
            // The two spellings of one field follow each other.
            if last == Some(&desc.name) {
                continue;
            }
            if let Some(value) = info.number(desc.field) {
                out.push(desc, &[], value);
                last = Some(&desc.name);
            }
        }
        for desc in [&BUILD_INFO, &NODE, &DESCRIPTION].into_iter().filter(|desc| exports(desc)) {
            if let Some(value) = info.get(desc.field) {
                out.push(desc, &[value], 1.0);
            }
        }
        if let (Naming::Exporter, Some(version)) = (session.options.naming, info.get("Version")) {
            out.push(&VERSION_INFO, &[info.get("Release_date").unwrap_or_default(), version], 1.0);
        }
        Ok(())
    }
}
