//! Listeners: the addresses of a frontend, one by one. HAProxy tells them apart with `option socket-stats` only.

use exporter_toolkit::{BoxError, Collector, Desc, Families, async_trait};

use super::write_numbers;
use crate::Session;
use crate::columns::{Names, Scope, documented};
use crate::stat::Row;
use crate::state::LISTENER_STATES;

const STATUS: Desc = Desc::state_set(
    "haproxy_listener_status",
    "Whether the listener takes connections.",
    &["proxy", "listener", "state"],
);

pub(super) struct Listeners;

#[async_trait]
impl Collector<Session> for Listeners {
    fn name(&self) -> &'static str {
        "listeners"
    }

    fn help(&self) -> &'static str {
        "Listeners of frontends with `option socket-stats`; there are none under the retired exporter's names."
    }

    fn families(&self) -> Vec<Desc> {
        documented(Scope::Listener, &[&STATUS], &[])
    }

    async fn collect(&self, session: &Session, out: &mut Families) -> Result<(), BoxError> {
        let rows: Vec<Row<'_>> = session.stat.rows(Scope::Listener).collect();
        write_numbers(session, Scope::Listener, &rows, out);
        if session.options.names == Names::Native {
            let family = out.family(&STATUS);
            for row in &rows {
                let known = |status: &str| LISTENER_STATES.into_iter().find(|state| *state == status);
                if let Some(state) = session.known(row.get("status"), known) {
                    family.push_states(&[row.proxy(), row.name()], &LISTENER_STATES, state);
                }
            }
        }
        Ok(())
    }
}
