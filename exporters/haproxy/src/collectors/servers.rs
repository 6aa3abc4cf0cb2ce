//! Servers: what the backends balance over.

use exporter_toolkit::{BoxError, Collector, Desc, Families, async_trait};

use super::write_numbers;
use crate::Session;
use crate::columns::{Names, Scope, documented};
use crate::stat::Row;
use crate::state::{CHECK_STATES, ServerState, check_state};

const STATUS: Desc = Desc::state_set("haproxy_server_status", "The server's state.", &["proxy", "server", "state"]);
const CHECK_STATUS: Desc = Desc::state_set(
    "haproxy_server_check_status",
    "How the last health check ended; absent without one.",
    &["proxy", "server", "state"],
);
const AGENT_STATUS: Desc = Desc::state_set(
    "haproxy_server_agent_status",
    "How the last agent check ended; absent without one.",
    &["proxy", "server", "state"],
);

/// Ours: HAProxy's own endpoint doesn't tell.
const INFO: Desc = Desc::info(
    "haproxy_server_info",
    "The server's address; HAProxy tells it over sockets of `level operator` and `admin` only.",
    &["proxy", "server", "address"],
);

/// Of the retired exporter alone.
const UP: Desc = Desc::gauge(
    "haproxy_server_up",
    "1 if the server is up, drains or is not checked; 0 if it is down or in maintenance.",
    &["backend", "server"],
);

pub(super) struct Servers;

#[async_trait]
impl Collector<Session> for Servers {
    fn name(&self) -> &'static str {
        "servers"
    }

    fn help(&self) -> &'static str {
        "Servers: state, checks, sessions, bytes, responses, queue, times."
    }

    fn families(&self) -> Vec<Desc> {
        documented(Scope::Server, &[&STATUS, &CHECK_STATUS, &AGENT_STATUS, &INFO], &[&UP])
    }

    async fn collect(&self, session: &Session, out: &mut Families) -> Result<(), BoxError> {
        let (rows, states): (Vec<Row<'_>>, Vec<Option<ServerState>>) = session
            .stat
            .rows(Scope::Server)
            .map(|row| (row, session.server_state(row)))
            .filter(|(_, state)| state.is_none_or(|state| !session.options.exclude_states.contains(&state)))
            .unzip();
        write_numbers(session, Scope::Server, &rows, out);
        let states = rows.iter().zip(states).filter_map(|(row, state)| Some((row, state?)));
        match session.options.names {
            Names::Exporter => {
                let family = out.family(&UP);
                for (row, state) in states {
                    family.push(&[row.proxy(), row.name()], f64::from(state.is_up()));
                }
            }
            Names::Native => {
                let family = out.family(&STATUS);
                for (row, state) in states {
                    family.push_states(&[row.proxy(), row.name()], &ServerState::NAMES, state.name());
                }
                for (desc, column) in [(&CHECK_STATUS, "check_status"), (&AGENT_STATUS, "agent_status")] {
                    let family = out.family(desc);
                    for row in &rows {
                        if let Some(state) = check_state(row.get(column)) {
                            family.push_states(&[row.proxy(), row.name()], &CHECK_STATES, CHECK_STATES[state]);
                        }
                    }
                }
                let family = out.family(&INFO);
                for row in rows.iter().filter(|row| !row.get("addr").is_empty()) {
                    family.push(&[row.proxy(), row.name(), row.get("addr")], 1.0);
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

    const CSV: &str = "# pxname,svname,status,check_status,addr,type,\n\
                       be,up,UP,* L7OK,10.0.0.1:80,2,\nbe,off,MAINT (resolution),,,2,\nbe,soft,DRAIN (agent),INI,,2,\n";

    async fn is(session: &Session, line: &str) -> bool {
        lines(&Servers, session).await.iter().any(|found| found == line)
    }

    #[tokio::test]
    async fn states_checks_and_addresses() {
        let native = session(CSV, Names::Native);
        for line in [
            r#"haproxy_server_status{proxy="be",server="off",state="MAINT"} 1"#,
            r#"haproxy_server_status{proxy="be",server="soft",state="DRAIN"} 1"#,
            r#"haproxy_server_status{proxy="be",server="soft",state="DOWN"} 0"#,
            r#"haproxy_server_check_status{proxy="be",server="up",state="L7OK"} 1"#,
            r#"haproxy_server_info{proxy="be",server="up",address="10.0.0.1:80"} 1"#,
        ] {
            assert!(is(&native, line).await, "{line}");
        }
        // No check of theirs has ended.
        let checked = lines(&Servers, &native).await;
        assert!(!checked.iter().any(|line| line.contains("check_status") && !line.contains(r#"server="up""#)));
        let exporter = session(CSV, Names::Exporter);
        assert!(is(&exporter, r#"haproxy_server_up{backend="be",server="soft"} 1"#).await);
        assert!(is(&exporter, r#"haproxy_server_up{backend="be",server="off"} 0"#).await);
    }

    #[tokio::test]
    async fn excluded_states_have_no_series() {
        let session = with_options(session(CSV, Names::Native), None, &[ServerState::Maint]);
        let lines = lines(&Servers, &session).await;
        assert!(lines.iter().any(|line| line.contains(r#"server="soft""#)));
        assert!(!lines.iter().any(|line| line.contains(r#"server="off""#)));
    }
}
