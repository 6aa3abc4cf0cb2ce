//! Listeners: the single addresses of a frontend, with `option socket-stats` only.

use exporter_toolkit::{BoxError, Collector, Desc, Families, async_trait};

use super::rows::{Rows, state_of};
use crate::columns::{Column, Naming, Scope, Table};
use crate::state::{LISTENER_STATES, listener_state};
use crate::target::Session;

/// One row per line: it is a table, in the order of HAProxy's fields.
#[rustfmt::skip]
pub(super) static NUMBERS: Table = Table::new(Scope::Listener, &[
    Column::gauge("scur", "haproxy_listener_current_sessions", "Current number of sessions."),
    Column::gauge("smax", "haproxy_listener_max_sessions", "Maximum number of concurrent sessions since the start."),
    Column::gauge("slim", "haproxy_listener_limit_sessions", "Limit of sessions (maxconn)."),
    Column::counter("stot", "haproxy_listener_sessions_total", "Total number of sessions."),
    Column::counter("bin", "haproxy_listener_bytes_in_total", "Total number of bytes of requests."),
    Column::counter("bout", "haproxy_listener_bytes_out_total", "Total number of bytes of responses."),
    Column::counter("dreq", "haproxy_listener_requests_denied_total", "Total number of requests denied by a rule."),
    Column::counter("dresp", "haproxy_listener_responses_denied_total", "Total number of responses denied by a rule."),
    Column::counter("ereq", "haproxy_listener_request_errors_total", "Total number of invalid requests."),
    Column::counter("conn_tot", "haproxy_listener_connections_total", "Total number of accepted connections."),
    Column::counter("dcon", "haproxy_listener_denied_connections_total", "Total number of connections refused by a tcp-request connection rule."),
    Column::counter("dses", "haproxy_listener_denied_sessions_total", "Total number of sessions refused by a tcp-request session rule."),
    Column::counter("wrew", "haproxy_listener_failed_header_rewriting_total", "Total number of headers that could not be rewritten."),
    Column::counter("eint", "haproxy_listener_internal_errors_total", "Total number of internal errors."),
    Column::counter("reqbin", "haproxy_listener_req_bytes_in_total", "Total number of bytes of requests received."),
    Column::counter("reqbout", "haproxy_listener_req_bytes_out_total", "Total number of bytes of requests sent."),
    Column::counter("resbin", "haproxy_listener_res_bytes_in_total", "Total number of bytes of responses received."),
    Column::counter("resbout", "haproxy_listener_res_bytes_out_total", "Total number of bytes of responses sent."),
]);

const STATUS: Desc =
    Desc::state_set("haproxy_listener_status", "Current state of the listener.", &["proxy", "listener", "state"])
        .field("status");

pub(super) struct Listeners;

#[async_trait]
impl Collector<Session> for Listeners {
    fn name(&self) -> &'static str {
        "listeners"
    }

    fn help(&self) -> &'static str {
        "Listeners of frontends with `option socket-stats`; not with the names of the retired exporter."
    }

    fn source(&self) -> &'static str {
        "`show stat`"
    }

    fn families(&self) -> Vec<Desc> {
        NUMBERS.documented(&[&STATUS], &[])
    }

    async fn collect(&self, session: &Session, out: &mut Families) -> Result<(), BoxError> {
        let rows = Rows::new(session, Scope::Listener);
        rows.write_numbers(&NUMBERS, out);
        if session.options.naming == Naming::Native {
            rows.write_states(out, &STATUS, &LISTENER_STATES, |row| {
                state_of(&LISTENER_STATES, session.known(row.get("status"), listener_state))
            });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::test_kit::{lines, session};
    use super::*;

    #[tokio::test]
    async fn listeners_of_one_name_are_told_apart_by_their_number() {
        let csv = "# pxname,svname,scur,sid,type,\nfe,web,1,1,3,\nfe,web,2,2,3,\nother,web,3,1,3,\n";
        assert_eq!(
            lines(&Listeners, &session(csv, Naming::Native)).await,
            [
                r#"haproxy_listener_current_sessions{proxy="fe",listener="web"} 1"#,
                r#"haproxy_listener_current_sessions{proxy="fe",listener="web:2"} 2"#,
                r#"haproxy_listener_current_sessions{proxy="other",listener="web"} 3"#,
            ]
        );
    }
}
