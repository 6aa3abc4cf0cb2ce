//! Frontends: the entry points of clients.

use exporter_toolkit::{BoxError, Collector, Desc, Families, async_trait};

use super::rows::{Rows, state_of};
use crate::columns::{Column, Naming, Scope, Table};
use crate::state::{PROXY_STATES, frontend_state};
use crate::target::Session;

/// One row per line: it is a table, in the order of HAProxy's fields.
#[rustfmt::skip]
pub(super) static NUMBERS: Table = Table::new(Scope::Frontend, &[
    Column::gauge("scur", "haproxy_frontend_current_sessions", "Current number of sessions.").retired(),
    Column::gauge("smax", "haproxy_frontend_max_sessions", "Maximum number of concurrent sessions since the start.").retired(),
    Column::gauge("slim", "haproxy_frontend_limit_sessions", "Limit of sessions (maxconn).").retired(),
    Column::counter("stot", "haproxy_frontend_sessions_total", "Total number of sessions.").retired(),
    Column::counter("bin", "haproxy_frontend_bytes_in_total", "Total number of bytes of requests.").retired(),
    Column::counter("bout", "haproxy_frontend_bytes_out_total", "Total number of bytes of responses.").retired(),
    Column::counter("dreq", "haproxy_frontend_requests_denied_total", "Total number of requests denied by a rule.").retired(),
    Column::counter("dresp", "haproxy_frontend_responses_denied_total", "Total number of responses denied by a rule."),
    Column::counter("ereq", "haproxy_frontend_request_errors_total", "Total number of invalid requests.").retired(),
    Column::gauge("rate", "haproxy_frontend_current_session_rate", "New sessions in the last second.").retired(),
    Column::gauge("rate_lim", "haproxy_frontend_limit_session_rate", "Limit of new sessions per second (rate-limit sessions).").retired(),
    Column::gauge("rate_max", "haproxy_frontend_max_session_rate", "Maximum number of new sessions per second since the start.").retired(),
    Column::responses("hrsp_1xx", "1xx", "haproxy_frontend_http_responses_total").retired(),
    Column::responses("hrsp_2xx", "2xx", "haproxy_frontend_http_responses_total").retired(),
    Column::responses("hrsp_3xx", "3xx", "haproxy_frontend_http_responses_total").retired(),
    Column::responses("hrsp_4xx", "4xx", "haproxy_frontend_http_responses_total").retired(),
    Column::responses("hrsp_5xx", "5xx", "haproxy_frontend_http_responses_total").retired(),
    Column::responses("hrsp_other", "other", "haproxy_frontend_http_responses_total").retired(),
    Column::gauge("req_rate_max", "haproxy_frontend_http_requests_rate_max", "Maximum number of HTTP requests per second since the start."),
    Column::counter("req_tot", "haproxy_frontend_http_requests_total", "Total number of HTTP requests.").retired(),
    Column::counter("comp_in", "haproxy_frontend_http_comp_bytes_in_total", "Total number of bytes of responses before compression.").retired_as("haproxy_frontend_compressor_bytes_in_total"),
    Column::counter("comp_out", "haproxy_frontend_http_comp_bytes_out_total", "Total number of bytes of responses after compression.").retired_as("haproxy_frontend_compressor_bytes_out_total"),
    Column::counter("comp_byp", "haproxy_frontend_http_comp_bytes_bypassed_total", "Total number of bytes of responses that were not compressed because of a limit.").retired_as("haproxy_frontend_compressor_bytes_bypassed_total"),
    Column::counter("comp_rsp", "haproxy_frontend_http_comp_responses_total", "Total number of compressed responses.").retired_as("haproxy_frontend_http_responses_compressed_total"),
    Column::gauge("conn_rate_max", "haproxy_frontend_connections_rate_max", "Maximum number of new connections per second since the start."),
    Column::counter("conn_tot", "haproxy_frontend_connections_total", "Total number of accepted connections.").retired(),
    Column::counter("intercepted", "haproxy_frontend_intercepted_requests_total", "Total number of requests answered by HAProxy itself: redirects, statistics, services."),
    Column::counter("dcon", "haproxy_frontend_denied_connections_total", "Total number of connections refused by a tcp-request connection rule."),
    Column::counter("dses", "haproxy_frontend_denied_sessions_total", "Total number of sessions refused by a tcp-request session rule."),
    Column::counter("wrew", "haproxy_frontend_failed_header_rewriting_total", "Total number of headers that could not be rewritten."),
    Column::counter("cache_lookups", "haproxy_frontend_http_cache_lookups_total", "Total number of cache lookups."),
    Column::counter("cache_hits", "haproxy_frontend_http_cache_hits_total", "Total number of cache hits."),
    Column::counter("eint", "haproxy_frontend_internal_errors_total", "Total number of internal errors."),
    Column::counter("reqbin", "haproxy_frontend_req_bytes_in_total", "Total number of bytes of requests received."),
    Column::counter("reqbout", "haproxy_frontend_req_bytes_out_total", "Total number of bytes of requests sent."),
    Column::counter("resbin", "haproxy_frontend_res_bytes_in_total", "Total number of bytes of responses received."),
    Column::counter("resbout", "haproxy_frontend_res_bytes_out_total", "Total number of bytes of responses sent."),
    Column::counter("cache_hint_hits", "haproxy_frontend_http_cache_hint_hits_total", "Total number of cache lookups that found a hint."),
]);

const STATUS: Desc = Desc::state_set(
    "haproxy_frontend_status",
    "Current state of the frontend; UP also when it is full or paused.",
    &["proxy", "state"],
)
.field("status");

pub(super) struct Frontends;

#[async_trait]
impl Collector<Session> for Frontends {
    fn name(&self) -> &'static str {
        "frontends"
    }

    fn help(&self) -> &'static str {
        "Frontends: sessions, bytes, requests, responses."
    }

    fn source(&self) -> &'static str {
        "`show stat`"
    }

    fn families(&self) -> Vec<Desc> {
        NUMBERS.documented(&[&STATUS], &[])
    }

    async fn collect(&self, session: &Session, out: &mut Families) -> Result<(), BoxError> {
        let rows = Rows::new(session, Scope::Frontend);
        rows.write_numbers(&NUMBERS, out);
        if session.options.naming == Naming::Native {
            rows.write_states(out, &STATUS, &PROXY_STATES, |row| {
                state_of(&PROXY_STATES, session.known(row.get("status"), frontend_state))
            });
        }
        Ok(())
    }
}
