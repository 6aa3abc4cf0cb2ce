//! Which field of `show stat` becomes which family, under HAProxy's own names and under those of the retired haproxy_exporter.

use std::sync::LazyLock;

use exporter_toolkit::{Desc, Kind};

/// What a row of `show stat` is about; the numbers are those of its field `type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    Frontend = 0,
    Backend = 1,
    Server = 2,
    Listener = 3,
}

impl Scope {
    pub(crate) const ALL: [Self; 4] = [Self::Frontend, Self::Backend, Self::Server, Self::Listener];

    const fn bit(self) -> u8 {
        1 << self as u8
    }

    fn word(self) -> &'static str {
        match self {
            Self::Frontend => "frontend",
            Self::Backend => "backend",
            Self::Server => "server",
            Self::Listener => "listener",
        }
    }
}

const F: u8 = Scope::Frontend.bit();
const B: u8 = Scope::Backend.bit();
const S: u8 = Scope::Server.bit();
const L: u8 = Scope::Listener.bit();

/// Whose names and labels the page carries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Names {
    /// HAProxy's own Prometheus endpoint: labels proxy, server, listener, state
    #[default]
    Native,
    /// The retired haproxy_exporter: labels frontend, backend, server
    Exporter,
}

impl Names {
    /// The labels of a family of this scope.
    pub(crate) const fn labels(self, scope: Scope) -> &'static [&'static str] {
        match (self, scope) {
            (Self::Native, Scope::Frontend | Scope::Backend) => &["proxy"],
            (Self::Native, Scope::Server) => &["proxy", "server"],
            (_, Scope::Listener) => &["proxy", "listener"],
            (Self::Exporter, Scope::Frontend) => &["frontend"],
            (Self::Exporter, Scope::Backend) => &["backend"],
            (Self::Exporter, Scope::Server) => &["backend", "server"],
        }
    }

    const fn labels_and_code(self, scope: Scope) -> &'static [&'static str] {
        match (self, scope) {
            (Self::Native, Scope::Frontend | Scope::Backend) => &["proxy", "code"],
            (Self::Native, Scope::Server) => &["proxy", "server", "code"],
            (_, Scope::Listener) => &["proxy", "listener", "code"],
            (Self::Exporter, Scope::Frontend) => &["frontend", "code"],
            (Self::Exporter, Scope::Backend) => &["backend", "code"],
            (Self::Exporter, Scope::Server) => &["backend", "server", "code"],
        }
    }
}

/// A field of `show stat` that is a number.
#[derive(Debug)]
pub(crate) struct Column {
    pub(crate) field: &'static str,
    kind: Kind,
    help: &'static str,
    /// The value is divided by this: HAProxy's times are milliseconds.
    pub(crate) divisor: f64,
    /// The value of the label `code`, where several fields make one family.
    pub(crate) code: Option<&'static str>,
    native: (u8, &'static str),
    exporter: (u8, &'static str),
}

impl Column {
    const fn new(kind: Kind, field: &'static str, scopes: u8, name: &'static str, help: &'static str) -> Self {
        Self { field, kind, help, divisor: 1.0, code: None, native: (scopes, name), exporter: (0, name) }
    }

    const fn counter(field: &'static str, scopes: u8, name: &'static str, help: &'static str) -> Self {
        Self::new(Kind::Counter, field, scopes, name, help)
    }

    const fn gauge(field: &'static str, scopes: u8, name: &'static str, help: &'static str) -> Self {
        Self::new(Kind::Gauge, field, scopes, name, help)
    }

    const fn millis(field: &'static str, scopes: u8, name: &'static str, help: &'static str) -> Self {
        Self { divisor: 1000.0, ..Self::new(Kind::Gauge, field, scopes, name, help) }
    }

    const fn responses(field: &'static str, code: &'static str) -> Self {
        Self {
            code: Some(code),
            ..Self::new(
                Kind::Counter,
                field,
                F | B | S,
                "http_responses_total",
                "HTTP responses by the class of their status code.",
            )
        }
        .old(F | B | S)
    }

    /// The retired exporter has it in these scopes, under the same name.
    const fn old(mut self, scopes: u8) -> Self {
        self.exporter.0 = scopes;
        self
    }

    /// The retired exporter has it in these scopes under another name.
    const fn old_as(mut self, scopes: u8, name: &'static str) -> Self {
        self.exporter = (scopes, name);
        self
    }

    fn desc(&self, scope: Scope, names: Names) -> Option<Desc> {
        let (scopes, name) = match names {
            Names::Native => self.native,
            Names::Exporter => self.exporter,
        };
        let labels = if self.code.is_some() { names.labels_and_code(scope) } else { names.labels(scope) };
        (scopes & scope.bit() != 0)
            .then(|| Desc::dynamic(self.kind, format!("haproxy_{}_{name}", scope.word()), self.help, labels))
    }
}

/// In the order of HAProxy's fields. Scopes: F frontend, B backend, S server, L listener.
#[rustfmt::skip]
const COLUMNS: &[Column] = &[
    Column::gauge("qcur", B | S, "current_queue", "Requests in the queue.").old(B | S),
    Column::gauge("qmax", B | S, "max_queue", "Most requests in the queue since the start.").old(B | S),
    Column::gauge("scur", L | F | B | S, "current_sessions", "Sessions.").old(F | B | S),
    Column::gauge("smax", L | F | B | S, "max_sessions", "Most sessions at a time since the start.").old(F | B | S),
    Column::gauge("slim", L | F | B | S, "limit_sessions", "Limit of sessions: maxconn, for a backend fullconn.").old(F | B | S),
    Column::counter("stot", L | F | B | S, "sessions_total", "Sessions.").old(F | B | S),
    Column::counter("bin", L | F | B | S, "bytes_in_total", "Bytes of requests.").old(F | B | S),
    Column::counter("bout", L | F | B | S, "bytes_out_total", "Bytes of responses.").old(F | B | S),
    Column::counter("dreq", L | F | B, "requests_denied_total", "Requests denied by a rule.").old(F),
    Column::counter("dresp", L | F | B | S, "responses_denied_total", "Responses denied by a rule."),
    Column::counter("ereq", L | F, "request_errors_total", "Invalid requests.").old(F),
    Column::counter("econ", B | S, "connection_errors_total", "Failed connections to servers.").old(B | S),
    Column::counter("eresp", B | S, "response_errors_total", "Invalid responses.").old(B | S),
    Column::counter("wretr", B | S, "retry_warnings_total", "Retried connections to servers.").old(B | S),
    Column::counter("wredis", B | S, "redispatch_warnings_total", "Requests sent to another server after a failed connection.").old(B | S),
    Column::gauge("weight", B | S, "weight", "The server's effective weight; for a backend the sum over its active servers.").old(B | S),
    Column::gauge("act", B, "active_servers", "Active servers that are up and have a weight.").old_as(B, "current_server"),
    Column::gauge("act", S, "active", "1 if the server is an active one, 0 if it is a backup."),
    Column::gauge("bck", B, "backup_servers", "Backup servers that are up and have a weight."),
    Column::gauge("bck", S, "backup", "1 if the server is a backup, 0 if it is an active one."),
    Column::counter("chkfail", S, "check_failures_total", "Failed health checks.").old(S),
    Column::counter("chkdown", B | S, "check_up_down_total", "Changes from up to down."),
    Column::gauge("lastchg", B | S, "check_last_change_seconds", "Time since the last change between up and down."),
    Column::counter("downtime", B | S, "downtime_seconds_total", "Time spent down.").old(S),
    Column::gauge("qlimit", S, "queue_limit", "Limit of the server's queue: maxqueue."),
    Column::gauge("throttle", S, "current_throttle", "Percentage of its weight that the server has while it starts slowly."),
    Column::counter("lbtot", B | S, "loadbalanced_total", "Requests that load balancing gave to it.").old_as(B | S, "server_selected_total"),
    Column::gauge("rate", F | B | S, "current_session_rate", "New sessions in the last second.").old(F | B | S),
    Column::gauge("rate_lim", F, "limit_session_rate", "Limit of new sessions per second: rate-limit sessions.").old(F),
    Column::gauge("rate_max", F | B | S, "max_session_rate", "Most new sessions in a second since the start.").old(F | B | S),
    Column::gauge("check_code", S, "check_code", "Code of the last health check, where its protocol has codes."),
    Column::millis("check_duration", S, "check_duration_seconds", "How long the last health check took.").old(S),
    Column::responses("hrsp_1xx", "1xx"),
    Column::responses("hrsp_2xx", "2xx"),
    Column::responses("hrsp_3xx", "3xx"),
    Column::responses("hrsp_4xx", "4xx"),
    Column::responses("hrsp_5xx", "5xx"),
    Column::responses("hrsp_other", "other"),
    Column::gauge("req_rate_max", F, "http_requests_rate_max", "Most HTTP requests in a second since the start."),
    Column::counter("req_tot", F | B | S, "http_requests_total", "HTTP requests.").old(F),
    Column::counter("cli_abrt", B | S, "client_aborts_total", "Transfers that the client aborted.").old(B | S),
    Column::counter("srv_abrt", B | S, "server_aborts_total", "Transfers that the server aborted.").old(B | S),
    Column::counter("comp_in", F | B, "http_comp_bytes_in_total", "Bytes of responses that went into compression.").old_as(F | B, "compressor_bytes_in_total"),
    Column::counter("comp_out", F | B, "http_comp_bytes_out_total", "Bytes of responses that came out of compression.").old_as(F | B, "compressor_bytes_out_total"),
    Column::counter("comp_byp", F | B, "http_comp_bytes_bypassed_total", "Bytes of responses left uncompressed over a limit.").old_as(F | B, "compressor_bytes_bypassed_total"),
    Column::counter("comp_rsp", F | B, "http_comp_responses_total", "Compressed responses.").old_as(F | B, "http_responses_compressed_total"),
    Column::gauge("lastsess", B | S, "last_session_seconds", "Time since the last session; -1 if there was none."),
    Column::millis("qtime", B | S, "queue_time_average_seconds", "Time in the queue, average of the last 1024 connections.").old_as(B | S, "http_queue_time_average_seconds"),
    Column::millis("ctime", B | S, "connect_time_average_seconds", "Time to connect, average of the last 1024 connections.").old_as(B | S, "http_connect_time_average_seconds"),
    Column::millis("rtime", B | S, "response_time_average_seconds", "Time to the response, average of the last 1024 connections; 0 for TCP.").old_as(B | S, "http_response_time_average_seconds"),
    Column::millis("ttime", B | S, "total_time_average_seconds", "Time of the whole session, average of the last 1024.").old_as(B | S, "http_total_time_average_seconds"),
    Column::gauge("agent_code", S, "agent_code", "Code of the last agent check; unused as of now."),
    Column::millis("agent_duration", S, "agent_duration_seconds", "How long the last agent check took."),
    Column::gauge("conn_rate_max", F, "connections_rate_max", "Most new connections in a second since the start."),
    Column::counter("conn_tot", L | F, "connections_total", "Connections accepted.").old(F),
    Column::counter("intercepted", F, "intercepted_requests_total", "Requests that HAProxy answered itself: redirects, statistics, services."),
    Column::counter("dcon", L | F, "denied_connections_total", "Connections that a tcp-request connection rule refused."),
    Column::counter("dses", L | F, "denied_sessions_total", "Sessions that a tcp-request session rule refused."),
    Column::counter("wrew", L | F | B | S, "failed_header_rewriting_total", "Headers that could not be rewritten."),
    Column::counter("connect", B | S, "connection_attempts_total", "Attempts to connect to a server."),
    Column::counter("reuse", B | S, "connection_reuses_total", "Requests over a connection that was there."),
    Column::counter("cache_lookups", F | B, "http_cache_lookups_total", "Look-ups in the cache."),
    Column::counter("cache_hits", F | B, "http_cache_hits_total", "Look-ups that found their object in the cache."),
    Column::gauge("srv_icur", S, "idle_connections_current", "Idle connections that can be reused."),
    Column::gauge("src_ilim", S, "idle_connections_limit", "Limit of idle connections: pool-max-conn."),
    Column::millis("qtime_max", B | S, "max_queue_time_seconds", "Longest time in the queue."),
    Column::millis("ctime_max", B | S, "max_connect_time_seconds", "Longest time to connect."),
    Column::millis("rtime_max", B | S, "max_response_time_seconds", "Longest time to the response."),
    Column::millis("ttime_max", B | S, "max_total_time_seconds", "Longest time of a whole session."),
    Column::counter("eint", L | F | B | S, "internal_errors_total", "Errors inside HAProxy."),
    Column::gauge("idle_conn_cur", S, "unsafe_idle_connections_current", "Idle connections that are unsafe to reuse for a first request."),
    Column::gauge("safe_conn_cur", S, "safe_idle_connections_current", "Idle connections that are safe to reuse."),
    Column::gauge("used_conn_cur", S, "used_connections_current", "Connections in use."),
    Column::gauge("need_conn_est", S, "need_connections_current", "Connections that HAProxy estimates it needs."),
    Column::gauge("uweight", B | S, "uweight", "The configured weight; for a backend the sum over its active servers."),
    Column::gauge("priv_idle_cur", S, "private_idle_connections_current", "Idle connections that only their session can reuse."),
    Column::counter("reqbin", L | F | B | S, "req_bytes_in_total", "Bytes of requests received."),
    Column::counter("reqbout", L | F | B | S, "req_bytes_out_total", "Bytes of requests sent."),
    Column::counter("resbin", L | F | B | S, "res_bytes_in_total", "Bytes of responses received."),
    Column::counter("resbout", L | F | B | S, "res_bytes_out_total", "Bytes of responses sent."),
    Column::counter("cache_hint_hits", F | B, "http_cache_hint_hits_total", "Look-ups that found a hint in the cache."),
];

/// A family and the field that its values come from.
type FromField = (Desc, &'static Column);

/// The families of one scope that are numbers in `show stat`, each with the field that it comes from.
pub(crate) fn families(scope: Scope, names: Names) -> &'static [FromField] {
    static FAMILIES: LazyLock<[[Vec<FromField>; 4]; 2]> = LazyLock::new(|| {
        [Names::Native, Names::Exporter].map(|names| {
            Scope::ALL
                .map(|scope| COLUMNS.iter().filter_map(|column| Some((column.desc(scope, names)?, column))).collect())
        })
    });
    &FAMILIES[names as usize][scope as usize]
}

/// What METRICS.md says about a scope: the native families, `own` among them, then the retired exporter's.
pub(crate) fn documented(scope: Scope, own: &[&Desc], old: &[&Desc]) -> Vec<Desc> {
    let distinct = |names| {
        let mut list: Vec<Desc> = families(scope, names).iter().map(|(desc, _)| desc.clone()).collect();
        list.dedup_by(|a, b| a.name == b.name);
        list
    };
    let mut all = distinct(Names::Native);
    all.extend(own.iter().map(|&desc| desc.clone()));
    let mut exporter = distinct(Names::Exporter);
    exporter.extend(old.iter().map(|&desc| desc.clone()));
    all.extend(
        exporter
            .into_iter()
            .map(|desc| Desc { help: format!("With `--haproxy.names=exporter`: {}", desc.help).into(), ..desc }),
    );
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_and_only_they_end_in_total() {
        for column in COLUMNS {
            for (scopes, name) in [column.native, column.exporter] {
                assert_eq!(
                    column.kind == Kind::Counter,
                    name.ends_with("_total"),
                    "{name} of {} {scopes}",
                    column.field
                );
            }
        }
    }

    #[test]
    fn a_family_comes_from_one_field_or_from_one_per_code() {
        for names in [Names::Native, Names::Exporter] {
            for scope in Scope::ALL {
                let mut seen: Vec<_> = families(scope, names).iter().map(|(d, c)| (d.name.clone(), c.code)).collect();
                seen.sort();
                let all = seen.len();
                seen.dedup();
                assert_eq!(seen.len(), all);
            }
        }
    }

    #[test]
    fn the_scopes_are_haproxys_numbers() {
        assert_eq!(Scope::ALL.map(|scope| scope as u8), [0, 1, 2, 3]);
    }
}
