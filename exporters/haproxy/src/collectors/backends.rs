//! Backends: pools of servers.

use std::collections::BTreeMap;

use exporter_toolkit::{BoxError, Collector, Desc, Families, async_trait};

use super::write_numbers;
use crate::Session;
use crate::columns::{Names, Scope, documented};
use crate::stat::Row;
use crate::state::{CHECK_STATES, PROXY_STATES, ServerState, backend_state, check_state};

const STATUS: Desc = Desc::state_set(
    "haproxy_backend_status",
    "Whether the backend has a usable server, or needs none.",
    &["proxy", "state"],
);

const AGG_SERVER_STATUS: Desc =
    Desc::gauge("haproxy_backend_agg_server_status", "The backend's servers by state.", &["proxy", "state"]);
const AGG_SERVER_CHECK_STATUS: Desc = Desc::gauge(
    "haproxy_backend_agg_server_check_status",
    "The backend's servers by state; HAProxy's older name for haproxy_backend_agg_server_status.",
    &["proxy", "state"],
);
const AGG_CHECK_STATUS: Desc = Desc::gauge(
    "haproxy_backend_agg_check_status",
    "The backend's servers by the result of their last health check.",
    &["proxy", "state"],
);

/// Ours: HAProxy's own endpoint doesn't tell.
const INFO: Desc = Desc::info(
    "haproxy_backend_info",
    "The backend's mode and the algorithm that it balances with; HAProxy tells it over sockets of `level operator` and `admin` only.",
    &["proxy", "mode", "algorithm"],
);

/// Of the retired exporter alone.
const UP: Desc = Desc::gauge("haproxy_backend_up", "1 if the backend is up, 0 if not.", &["backend"]);

pub(super) struct Backends;

#[async_trait]
impl Collector<Session> for Backends {
    fn name(&self) -> &'static str {
        "backends"
    }

    fn help(&self) -> &'static str {
        "Backends: sessions, bytes, responses, queue, times, servers by state."
    }

    fn families(&self) -> Vec<Desc> {
        documented(
            Scope::Backend,
            &[&STATUS, &AGG_SERVER_STATUS, &AGG_SERVER_CHECK_STATUS, &AGG_CHECK_STATUS, &INFO],
            &[&UP],
        )
    }

    async fn collect(&self, session: &Session, out: &mut Families) -> Result<(), BoxError> {
        let rows: Vec<Row<'_>> = session.stat.rows(Scope::Backend).collect();
        write_numbers(session, Scope::Backend, &rows, out);
        for row in &rows {
            let Some(state) = session.known(row.get("status"), backend_state) else { continue };
            match session.options.names {
                Names::Native => out.family(&STATUS).push_states(&[row.proxy()], &PROXY_STATES, state),
                Names::Exporter => out.push(&UP, &[row.proxy()], f64::from(state == "UP")),
            }
        }
        if session.options.names == Names::Native {
            write_aggregates(session, out);
            let family = out.family(&INFO);
            for row in &rows {
                let (mode, algorithm) = (row.get("mode"), row.get("algo"));
                if !mode.is_empty() {
                    family.push(&[row.proxy(), mode, algorithm], 1.0);
                }
            }
        }
        Ok(())
    }
}

/// `show stat` has columns for them, but HAProxy leaves them at 0: they are counted from the servers.
fn write_aggregates(session: &Session, out: &mut Families) {
    #[derive(Default)]
    struct Counts {
        servers: [u32; ServerState::ALL.len()],
        checks: [u32; CHECK_STATES.len()],
    }
    let mut backends: BTreeMap<&str, Counts> = BTreeMap::new();
    for row in session.stat.rows(Scope::Server) {
        let counts = backends.entry(row.proxy()).or_default();
        // A word that isn't known is counted as a failure by the collector of the servers.
        if let Some(state) = ServerState::parse(row.get("status")) {
            counts.servers[state as usize] += 1;
        }
        if let Some(state) = check_state(row.get("check_status")) {
            counts.checks[state] += 1;
        }
    }
    for (proxy, counts) in backends {
        for desc in [&AGG_SERVER_STATUS, &AGG_SERVER_CHECK_STATUS] {
            let family = out.family(desc);
            for (state, count) in ServerState::NAMES.iter().zip(counts.servers) {
                family.push(&[proxy, state], f64::from(count));
            }
        }
        let family = out.family(&AGG_CHECK_STATUS);
        for (state, count) in CHECK_STATES.iter().zip(counts.checks) {
            family.push(&[proxy, state], f64::from(count));
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
        let lines = lines(&Backends, &session(csv, Names::Native)).await;
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
        // A backend without servers has nothing to count.
        assert!(!lines.iter().any(|line| line.contains("agg_") && line.contains("empty")));
    }
}
