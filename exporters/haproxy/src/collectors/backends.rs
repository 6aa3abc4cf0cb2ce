//! Backends: pools of servers.

use std::collections::BTreeMap;

use exporter_toolkit::{BoxError, Collector, Desc, Families, async_trait};

use super::rows::{Rows, state_of};
use crate::columns::{Column, Naming, Scope, Table};
use crate::selection::Part;
use crate::state::{CHECK_STATES, CheckState, PROXY_STATES, ServerState, backend_state, check_state};
use crate::target::Session;

/// One row per line: it is a table, in the order of HAProxy's fields.
#[rustfmt::skip]
pub(super) static NUMBERS: Table = Table::new(Scope::Backend, &[
    Column::gauge("qcur", "haproxy_backend_current_queue", "Current number of queued requests.").retired(),
    Column::gauge("qmax", "haproxy_backend_max_queue", "Maximum number of queued requests since the start.").retired(),
    Column::gauge("scur", "haproxy_backend_current_sessions", "Current number of sessions.").retired(),
    Column::gauge("smax", "haproxy_backend_max_sessions", "Maximum number of concurrent sessions since the start.").retired(),
    Column::gauge("slim", "haproxy_backend_limit_sessions", "Limit of sessions (fullconn).").retired(),
    Column::counter("stot", "haproxy_backend_sessions_total", "Total number of sessions.").retired(),
    Column::counter("bin", "haproxy_backend_bytes_in_total", "Total number of bytes of requests.").retired(),
    Column::counter("bout", "haproxy_backend_bytes_out_total", "Total number of bytes of responses.").retired(),
    Column::counter("dreq", "haproxy_backend_requests_denied_total", "Total number of requests denied by a rule."),
    Column::counter("dresp", "haproxy_backend_responses_denied_total", "Total number of responses denied by a rule."),
    Column::counter("econ", "haproxy_backend_connection_errors_total", "Total number of failed connections to servers.").retired(),
    Column::counter("eresp", "haproxy_backend_response_errors_total", "Total number of invalid responses.").retired(),
    Column::counter("wretr", "haproxy_backend_retry_warnings_total", "Total number of retried connections to servers.").retired(),
    Column::counter("wredis", "haproxy_backend_redispatch_warnings_total", "Total number of requests sent to another server after a failed connection.").retired(),
    Column::gauge("weight", "haproxy_backend_weight", "Sum of the effective weights of the active servers.").retired(),
    Column::gauge("act", "haproxy_backend_active_servers", "Current number of active servers that are up and have a weight.").retired_as("haproxy_backend_current_server"),
    Column::gauge("bck", "haproxy_backend_backup_servers", "Current number of backup servers that are up and have a weight."),
    Column::counter("chkdown", "haproxy_backend_check_up_down_total", "Total number of changes from up to down."),
    Column::gauge("lastchg", "haproxy_backend_check_last_change_seconds", "Seconds since the last change between up and down."),
    Column::counter("downtime", "haproxy_backend_downtime_seconds_total", "Total seconds of downtime."),
    Column::counter("lbtot", "haproxy_backend_loadbalanced_total", "Total number of requests assigned by load balancing.").retired_as("haproxy_backend_server_selected_total"),
    Column::gauge("rate", "haproxy_backend_current_session_rate", "New sessions in the last second.").retired(),
    Column::gauge("rate_max", "haproxy_backend_max_session_rate", "Maximum number of new sessions per second since the start.").retired(),
    Column::responses("hrsp_1xx", "1xx", "haproxy_backend_http_responses_total").retired(),
    Column::responses("hrsp_2xx", "2xx", "haproxy_backend_http_responses_total").retired(),
    Column::responses("hrsp_3xx", "3xx", "haproxy_backend_http_responses_total").retired(),
    Column::responses("hrsp_4xx", "4xx", "haproxy_backend_http_responses_total").retired(),
    Column::responses("hrsp_5xx", "5xx", "haproxy_backend_http_responses_total").retired(),
    Column::responses("hrsp_other", "other", "haproxy_backend_http_responses_total").retired(),
    Column::counter("req_tot", "haproxy_backend_http_requests_total", "Total number of HTTP requests."),
    Column::counter("cli_abrt", "haproxy_backend_client_aborts_total", "Total number of transfers aborted by the client.").retired(),
    Column::counter("srv_abrt", "haproxy_backend_server_aborts_total", "Total number of transfers aborted by the server.").retired(),
    Column::counter("comp_in", "haproxy_backend_http_comp_bytes_in_total", "Total number of bytes of responses before compression.").retired_as("haproxy_backend_compressor_bytes_in_total"),
    Column::counter("comp_out", "haproxy_backend_http_comp_bytes_out_total", "Total number of bytes of responses after compression.").retired_as("haproxy_backend_compressor_bytes_out_total"),
    Column::counter("comp_byp", "haproxy_backend_http_comp_bytes_bypassed_total", "Total number of bytes of responses that were not compressed because of a limit.").retired_as("haproxy_backend_compressor_bytes_bypassed_total"),
    Column::counter("comp_rsp", "haproxy_backend_http_comp_responses_total", "Total number of compressed responses.").retired_as("haproxy_backend_http_responses_compressed_total"),
    Column::gauge("lastsess", "haproxy_backend_last_session_seconds", "Seconds since the last session; -1 without any."),
    Column::millis("qtime", "haproxy_backend_queue_time_average_seconds", "Average time in the queue, over the last 1024 connections.").retired_as("haproxy_backend_http_queue_time_average_seconds"),
    Column::millis("ctime", "haproxy_backend_connect_time_average_seconds", "Average time to connect, over the last 1024 connections.").retired_as("haproxy_backend_http_connect_time_average_seconds"),
    Column::millis("rtime", "haproxy_backend_response_time_average_seconds", "Average time to the response, over the last 1024 connections; 0 for TCP.").retired_as("haproxy_backend_http_response_time_average_seconds"),
    Column::millis("ttime", "haproxy_backend_total_time_average_seconds", "Average total time of a session, over the last 1024.").retired_as("haproxy_backend_http_total_time_average_seconds"),
    Column::counter("wrew", "haproxy_backend_failed_header_rewriting_total", "Total number of headers that could not be rewritten."),
    Column::counter("connect", "haproxy_backend_connection_attempts_total", "Total number of attempts to connect to a server."),
    Column::counter("reuse", "haproxy_backend_connection_reuses_total", "Total number of requests over a reused connection."),
    Column::counter("cache_lookups", "haproxy_backend_http_cache_lookups_total", "Total number of cache lookups."),
    Column::counter("cache_hits", "haproxy_backend_http_cache_hits_total", "Total number of cache hits."),
    Column::millis("qtime_max", "haproxy_backend_max_queue_time_seconds", "Maximum time in the queue."),
    Column::millis("ctime_max", "haproxy_backend_max_connect_time_seconds", "Maximum time to connect."),
    Column::millis("rtime_max", "haproxy_backend_max_response_time_seconds", "Maximum time to the response."),
    Column::millis("ttime_max", "haproxy_backend_max_total_time_seconds", "Maximum total time of a session."),
    Column::counter("eint", "haproxy_backend_internal_errors_total", "Total number of internal errors."),
    Column::gauge("uweight", "haproxy_backend_uweight", "Sum of the configured weights of the active servers."),
    Column::counter("reqbin", "haproxy_backend_req_bytes_in_total", "Total number of bytes of requests received."),
    Column::counter("reqbout", "haproxy_backend_req_bytes_out_total", "Total number of bytes of requests sent."),
    Column::counter("resbin", "haproxy_backend_res_bytes_in_total", "Total number of bytes of responses received."),
    Column::counter("resbout", "haproxy_backend_res_bytes_out_total", "Total number of bytes of responses sent."),
    Column::counter("cache_hint_hits", "haproxy_backend_http_cache_hint_hits_total", "Total number of cache lookups that found a hint."),
]);

const STATUS: Desc = Desc::state_set(
    "haproxy_backend_status",
    "Current state of the backend; UP with a usable server or without servers.",
    &["proxy", "state"],
)
.field("status");

const AGG_SERVER_STATUS: Desc = Desc::gauge(
    "haproxy_backend_agg_server_status",
    "Current number of the backend's servers by state.",
    &["proxy", "state"],
)
.field("status");
const AGG_SERVER_CHECK_STATUS: Desc = Desc::gauge(
    "haproxy_backend_agg_server_check_status",
    "Current number of the backend's servers by state; older name of haproxy_backend_agg_server_status.",
    &["proxy", "state"],
)
.field("status");
const AGG_CHECK_STATUS: Desc = Desc::gauge(
    "haproxy_backend_agg_check_status",
    "Current number of the backend's servers by the result of their last health check.",
    &["proxy", "state"],
)
.field("check_status");

/// Not in HAProxy's own endpoint.
const INFO: Desc = Desc::info(
    "haproxy_backend_info",
    "Mode and balancing algorithm of the backend; over sockets of `level operator` and `admin` only.",
    &["proxy", "mode", "algorithm"],
)
.field("algo");

/// Of the retired exporter only.
const UP: Desc = Desc::gauge("haproxy_backend_up", "Whether the backend is up.", &["backend"]).field("status");

pub(super) struct Backends;

#[async_trait]
impl Collector<Session> for Backends {
    fn name(&self) -> &'static str {
        "backends"
    }

    fn help(&self) -> &'static str {
        "Backends: sessions, bytes, responses, queue, times, servers by state."
    }

    fn source(&self) -> &'static str {
        "`show stat`"
    }

    fn families(&self) -> Vec<Desc> {
        NUMBERS.documented(&[&STATUS, &AGG_SERVER_STATUS, &AGG_SERVER_CHECK_STATUS, &AGG_CHECK_STATUS, &INFO], &[&UP])
    }

    async fn collect(&self, session: &Session, out: &mut Families) -> Result<(), BoxError> {
        let rows = Rows::new(session, Scope::Backend);
        rows.write_numbers(&NUMBERS, out);
        let state = |status| session.known(status, backend_state);
        match session.options.naming {
            Naming::Exporter => {
                rows.write(out, &UP, None, |row| state(row.get("status")).map(|state| f64::from(state == "UP")));
            }
            Naming::Native => {
                rows.write_states(out, &STATUS, &PROXY_STATES, |row| state_of(&PROXY_STATES, state(row.get("status"))));
                write_aggregates(session, out);
                if session.exports(Part::Backend, &INFO) {
                    let family = out.family(&INFO);
                    for row in rows.iter().filter(|row| !row.get("mode").is_empty()) {
                        family.push(&[row.proxy(), row.get("mode"), row.get("algo")], 1.0);
                    }
                }
            }
        }
        Ok(())
    }
}

/// `show stat` has columns for them that are always 0, so they are counted from the servers.
fn write_aggregates(session: &Session, out: &mut Families) {
    #[derive(Default)]
    struct Counts {
        servers: [u32; ServerState::ALL.len()],
        checks: [u32; CHECK_STATES.len()],
    }
    let [status, check_status] = ["status", "check_status"].map(|name| session.stat.column(name));
    let mut backends: BTreeMap<&str, Counts> = BTreeMap::new();
    for row in session.stat.rows(Scope::Server) {
        let text = |column: Option<usize>| column.map_or("", |column| row.field(column));
        let counts = backends.entry(row.proxy()).or_default();
        // The collector of the servers counts an unknown word as a failure.
        if let Some(state) = ServerState::parse(text(status)) {
            counts.servers[state as usize] += 1;
        }
        if let CheckState::Ended(state) = check_state(text(check_status)) {
            counts.checks[state] += 1;
        }
    }
    for desc in [&AGG_SERVER_STATUS, &AGG_SERVER_CHECK_STATUS, &AGG_CHECK_STATUS] {
        if !session.exports(Part::Backend, desc) {
            continue;
        }
        let family = out.family(desc);
        for (proxy, counts) in &backends {
            let (states, counts): (&[&str], &[u32]) = match desc.field {
                "check_status" => (&CHECK_STATES, &counts.checks),
                _ => (&ServerState::NAMES, &counts.servers),
            };
            for (state, count) in states.iter().zip(counts) {
                family.push(&[proxy, state], f64::from(*count));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::test_kit::{lines, session};
    use super::*;

    #[tokio::test]
    async fn servers_are_counted_by_state_and_by_check() {
        let csv = "# pxname,svname,status,check_status,mode,algo,type,\n\
                   be,a,UP,L7OK,http,,2,\nbe,b,no check,,http,,2,\nbe,c,DOWN 1/2,L4CON,http,,2,\n\
                   be,BACKEND,UP,,http,roundrobin,1,\nempty,BACKEND,UP (0/0),,tcp,,1,\n";
        let lines = lines(&Backends, &session(csv, Naming::Native)).await;
        for line in [
            r#"haproxy_backend_agg_server_status{proxy="be",state="UP"} 2"#,
            r#"haproxy_backend_agg_server_check_status{proxy="be",state="DOWN"} 1"#,
            r#"haproxy_backend_agg_check_status{proxy="be",state="L4CON"} 1"#,
            r#"haproxy_backend_agg_check_status{proxy="be",state="L7TOUT"} 0"#,
            r#"haproxy_backend_status{proxy="empty",state="UP"} 1"#,
            r#"haproxy_backend_info{proxy="be",mode="http",algorithm="roundrobin"} 1"#,
        ] {
            assert!(lines.iter().any(|found| found == line), "{line}");
        }
        // A backend without servers has no such samples.
        assert!(!lines.iter().any(|line| line.contains("agg_") && line.contains("empty")));
    }
}
