//! Servers of the backends.

use exporter_toolkit::{BoxError, Collector, Desc, Families, State, async_trait};

use super::rows::{Rows, state_of};
use crate::columns::{Column, Naming, Scope, Table};
use crate::selection::Part;
use crate::state::{CHECK_STATES, CheckState, ServerState, check_state};
use crate::target::Session;

/// One row per line: it is a table, in the order of HAProxy's fields.
#[rustfmt::skip]
pub(super) static NUMBERS: Table = Table::new(Scope::Server, &[
    Column::gauge("qcur", "haproxy_server_current_queue", "Current number of queued requests.").retired(),
    Column::gauge("qmax", "haproxy_server_max_queue", "Maximum number of queued requests since the start.").retired(),
    Column::gauge("scur", "haproxy_server_current_sessions", "Current number of sessions.").retired(),
    Column::gauge("smax", "haproxy_server_max_sessions", "Maximum number of concurrent sessions since the start.").retired(),
    Column::gauge("slim", "haproxy_server_limit_sessions", "Limit of sessions (maxconn).").retired(),
    Column::counter("stot", "haproxy_server_sessions_total", "Total number of sessions.").retired(),
    Column::counter("bin", "haproxy_server_bytes_in_total", "Total number of bytes of requests.").retired(),
    Column::counter("bout", "haproxy_server_bytes_out_total", "Total number of bytes of responses.").retired(),
    Column::counter("dresp", "haproxy_server_responses_denied_total", "Total number of responses denied by a rule."),
    Column::counter("econ", "haproxy_server_connection_errors_total", "Total number of failed connections to servers.").retired(),
    Column::counter("eresp", "haproxy_server_response_errors_total", "Total number of invalid responses.").retired(),
    Column::counter("wretr", "haproxy_server_retry_warnings_total", "Total number of retried connections to servers.").retired(),
    Column::counter("wredis", "haproxy_server_redispatch_warnings_total", "Total number of requests sent to another server after a failed connection.").retired(),
    Column::gauge("weight", "haproxy_server_weight", "Effective weight of the server.").retired(),
    Column::gauge("act", "haproxy_server_active", "Whether the server is an active one."),
    Column::gauge("bck", "haproxy_server_backup", "Whether the server is a backup."),
    Column::counter("chkfail", "haproxy_server_check_failures_total", "Total number of failed health checks.").retired(),
    Column::counter("chkdown", "haproxy_server_check_up_down_total", "Total number of changes from up to down."),
    Column::gauge("lastchg", "haproxy_server_check_last_change_seconds", "Seconds since the last change between up and down."),
    Column::counter("downtime", "haproxy_server_downtime_seconds_total", "Total seconds of downtime.").retired(),
    Column::gauge("qlimit", "haproxy_server_queue_limit", "Limit of the queue of the server (maxqueue)."),
    Column::gauge("throttle", "haproxy_server_current_throttle", "Percentage of the weight in use while the server starts slowly."),
    Column::counter("lbtot", "haproxy_server_loadbalanced_total", "Total number of requests assigned by load balancing.").retired_as("haproxy_server_server_selected_total"),
    Column::gauge("rate", "haproxy_server_current_session_rate", "New sessions in the last second.").retired(),
    Column::gauge("rate_max", "haproxy_server_max_session_rate", "Maximum number of new sessions per second since the start.").retired(),
    Column::gauge("check_code", "haproxy_server_check_code", "Status code of the last health check, if its protocol has codes."),
    Column::millis("check_duration", "haproxy_server_check_duration_seconds", "Duration of the last health check.").retired(),
    Column::responses("hrsp_1xx", "1xx", "haproxy_server_http_responses_total").retired(),
    Column::responses("hrsp_2xx", "2xx", "haproxy_server_http_responses_total").retired(),
    Column::responses("hrsp_3xx", "3xx", "haproxy_server_http_responses_total").retired(),
    Column::responses("hrsp_4xx", "4xx", "haproxy_server_http_responses_total").retired(),
    Column::responses("hrsp_5xx", "5xx", "haproxy_server_http_responses_total").retired(),
    Column::responses("hrsp_other", "other", "haproxy_server_http_responses_total").retired(),
    Column::counter("req_tot", "haproxy_server_http_requests_total", "Total number of HTTP requests."),
    Column::counter("cli_abrt", "haproxy_server_client_aborts_total", "Total number of transfers aborted by the client.").retired(),
    Column::counter("srv_abrt", "haproxy_server_server_aborts_total", "Total number of transfers aborted by the server.").retired(),
    Column::gauge("lastsess", "haproxy_server_last_session_seconds", "Seconds since the last session; -1 without any."),
    Column::millis("qtime", "haproxy_server_queue_time_average_seconds", "Average time in the queue, over the last 1024 connections.").retired_as("haproxy_server_http_queue_time_average_seconds"),
    Column::millis("ctime", "haproxy_server_connect_time_average_seconds", "Average time to connect, over the last 1024 connections.").retired_as("haproxy_server_http_connect_time_average_seconds"),
    Column::millis("rtime", "haproxy_server_response_time_average_seconds", "Average time to the response, over the last 1024 connections; 0 for TCP.").retired_as("haproxy_server_http_response_time_average_seconds"),
    Column::millis("ttime", "haproxy_server_total_time_average_seconds", "Average total time of a session, over the last 1024.").retired_as("haproxy_server_http_total_time_average_seconds"),
    Column::gauge("agent_code", "haproxy_server_agent_code", "Code of the last agent check (unused)."),
    Column::millis("agent_duration", "haproxy_server_agent_duration_seconds", "Duration of the last agent check."),
    Column::counter("wrew", "haproxy_server_failed_header_rewriting_total", "Total number of headers that could not be rewritten."),
    Column::counter("connect", "haproxy_server_connection_attempts_total", "Total number of attempts to connect to a server."),
    Column::counter("reuse", "haproxy_server_connection_reuses_total", "Total number of requests over a reused connection."),
    Column::gauge("srv_icur", "haproxy_server_idle_connections_current", "Current number of idle connections available for reuse."),
    Column::gauge("src_ilim", "haproxy_server_idle_connections_limit", "Limit of idle connections (pool-max-conn)."),
    Column::millis("qtime_max", "haproxy_server_max_queue_time_seconds", "Maximum time in the queue."),
    Column::millis("ctime_max", "haproxy_server_max_connect_time_seconds", "Maximum time to connect."),
    Column::millis("rtime_max", "haproxy_server_max_response_time_seconds", "Maximum time to the response."),
    Column::millis("ttime_max", "haproxy_server_max_total_time_seconds", "Maximum total time of a session."),
    Column::counter("eint", "haproxy_server_internal_errors_total", "Total number of internal errors."),
    Column::gauge("idle_conn_cur", "haproxy_server_unsafe_idle_connections_current", "Current number of idle connections that are unsafe to reuse for a first request."),
    Column::gauge("safe_conn_cur", "haproxy_server_safe_idle_connections_current", "Current number of idle connections that are safe to reuse."),
    Column::gauge("used_conn_cur", "haproxy_server_used_connections_current", "Current number of connections in use."),
    Column::gauge("need_conn_est", "haproxy_server_need_connections_current", "Estimated number of needed connections."),
    Column::gauge("uweight", "haproxy_server_uweight", "Configured weight of the server."),
    Column::gauge("priv_idle_cur", "haproxy_server_private_idle_connections_current", "Current number of idle connections that only their own session can reuse."),
    Column::counter("reqbin", "haproxy_server_req_bytes_in_total", "Total number of bytes of requests received."),
    Column::counter("reqbout", "haproxy_server_req_bytes_out_total", "Total number of bytes of requests sent."),
    Column::counter("resbin", "haproxy_server_res_bytes_in_total", "Total number of bytes of responses received."),
    Column::counter("resbout", "haproxy_server_res_bytes_out_total", "Total number of bytes of responses sent."),
]);

const STATUS: Desc =
    Desc::state_set("haproxy_server_status", "Current state of the server.", &["proxy", "server", "state"])
        .field("status");
const CHECK_STATUS: Desc = Desc::state_set(
    "haproxy_server_check_status",
    "Result of the last health check; absent without one.",
    &["proxy", "server", "state"],
)
.field("check_status");
const AGENT_STATUS: Desc = Desc::state_set(
    "haproxy_server_agent_status",
    "Result of the last agent check; absent without one.",
    &["proxy", "server", "state"],
)
.field("agent_status");

/// Not in HAProxy's own endpoint.
const INFO: Desc = Desc::info(
    "haproxy_server_info",
    "Address of the server; over sockets of `level operator` and `admin` only.",
    &["proxy", "server", "address"],
)
.field("addr");

/// Of the retired exporter only.
const UP: Desc =
    Desc::gauge("haproxy_server_up", "Whether the server is up, drained or not checked.", &["backend", "server"])
        .field("status");

pub(super) struct Servers;

#[async_trait]
impl Collector<Session> for Servers {
    fn name(&self) -> &'static str {
        "servers"
    }

    fn help(&self) -> &'static str {
        "Servers: state, checks, sessions, bytes, responses, queue, times."
    }

    fn source(&self) -> &'static str {
        "`show stat`"
    }

    fn families(&self) -> Vec<Desc> {
        NUMBERS.documented(&[&STATUS, &CHECK_STATUS, &AGENT_STATUS, &INFO], &[&UP])
    }

    async fn collect(&self, session: &Session, out: &mut Families) -> Result<(), BoxError> {
        let rows = Rows::new(session, Scope::Server);
        rows.write_numbers(&NUMBERS, out);
        let has_column = |field| session.options.has_server_column(&session.stat, field);
        match session.options.naming {
            Naming::Exporter if has_column("status") => {
                let is_up = |state: ServerState| f64::from(state.is_up());
                rows.write(out, &UP, None, |row| session.server_state(*row).map(is_up));
            }
            Naming::Exporter => {}
            Naming::Native => {
                rows.write_states(out, &STATUS, &ServerState::NAMES, |row| {
                    state_of(&ServerState::NAMES, session.server_state(*row).map(ServerState::name))
                });
                for desc in [&CHECK_STATUS, &AGENT_STATUS] {
                    let Some(column) = session.stat.column(desc.field) else { continue };
                    rows.write_states(out, desc, &CHECK_STATES, |row| match check_state(row.field(column)) {
                        CheckState::Unchecked => State::Absent,
                        CheckState::Other => State::None,
                        CheckState::Ended(index) => State::Current(index as u8),
                    });
                }
                if session.exports(Part::Server, &INFO) {
                    let family = out.family(&INFO);
                    for row in rows.iter().filter(|row| !row.get("addr").is_empty()) {
                        family.push(&[row.proxy(), row.name(), row.get("addr")], 1.0);
                    }
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::test_kit::{lines, session, with_options};
    use super::*;
    use crate::options::{ExcludedState, Options, States};

    const CSV: &str = "# pxname,svname,status,check_status,addr,type,\n\
                       be,up,UP,* L7OK,10.0.0.1:80,2,\nbe,off,MAINT (resolution),,,2,\nbe,soft,DRAIN (agent),INI,,2,\n";

    async fn is(session: &Session, line: &str) -> bool {
        lines(&Servers, session).await.iter().any(|found| found == line)
    }

    #[tokio::test]
    async fn states_checks_and_addresses() {
        let native = session(CSV, Naming::Native);
        for line in [
            r#"haproxy_server_status{proxy="be",server="off",state="MAINT"} 1"#,
            r#"haproxy_server_status{proxy="be",server="soft",state="DRAIN"} 1"#,
            r#"haproxy_server_status{proxy="be",server="soft",state="DOWN"} 0"#,
            r#"haproxy_server_check_status{proxy="be",server="up",state="L7OK"} 1"#,
            r#"haproxy_server_info{proxy="be",server="up",address="10.0.0.1:80"} 1"#,
        ] {
            assert!(is(&native, line).await, "{line}");
        }
        // Its check has not ended: as in HAProxy's endpoint it has no state. The third has no check.
        assert!(is(&native, r#"haproxy_server_check_status{proxy="be",server="soft",state="HANA"} 0"#).await);
        let all = lines(&Servers, &native).await;
        let checked = |server: &str| {
            all.iter()
                .filter(|line| line.contains("check_status") && line.contains(server) && line.ends_with(" 1"))
                .count()
        };
        assert_eq!([checked("\"up\""), checked("\"soft\""), checked("\"off\"")], [1, 0, 0]);
        assert!(!all.iter().any(|line| line.contains("check_status") && line.contains("\"off\"")));
        let exporter = session(CSV, Naming::Exporter);
        assert!(is(&exporter, r#"haproxy_server_up{backend="be",server="soft"} 1"#).await);
        assert!(is(&exporter, r#"haproxy_server_up{backend="be",server="off"} 0"#).await);
    }

    #[tokio::test]
    async fn excluded_states_have_no_series() {
        let exclude = vec![ExcludedState::parse("MAINT").unwrap()];
        let session = with_options(CSV, Options { exclude, ..Options::default() });
        let lines = lines(&Servers, &session).await;
        assert!(lines.iter().any(|line| line.contains(r#"server="soft""#)));
        assert!(!lines.iter().any(|line| line.contains(r#"server="off""#)));
    }

    #[tokio::test]
    async fn only_the_current_state() {
        let session = with_options(CSV, Options { states: States::Current, ..Options::default() });
        let states: Vec<_> =
            lines(&Servers, &session).await.into_iter().filter(|line| line.contains("_status")).collect();
        assert_eq!(
            states,
            [
                r#"haproxy_server_check_status{proxy="be",server="up",state="L7OK"} 1"#,
                r#"haproxy_server_status{proxy="be",server="off",state="MAINT"} 1"#,
                r#"haproxy_server_status{proxy="be",server="soft",state="DRAIN"} 1"#,
                r#"haproxy_server_status{proxy="be",server="up",state="UP"} 1"#,
            ]
        );
    }

    #[tokio::test]
    async fn columns_by_number_as_in_the_retired_exporter() {
        let csv = "# pxname,svname,qcur,qmax,status,type,\nbe,one,1,2,UP,2,\n";
        let options = |server_columns: &[usize]| Options {
            naming: Naming::Exporter,
            server_columns: server_columns.to_vec(),
            ..Options::default()
        };
        let queue = [r#"haproxy_server_current_queue{backend="be",server="one"} 1"#];
        assert_eq!(lines(&Servers, &with_options(csv, options(&[2]))).await, queue);
        let up = [r#"haproxy_server_up{backend="be",server="one"} 1"#];
        assert_eq!(lines(&Servers, &with_options(csv, options(&[4]))).await, up);
    }
}
