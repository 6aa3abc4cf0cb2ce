//! Frontends: where clients come in.

use exporter_toolkit::{BoxError, Collector, Desc, Families, async_trait};

use super::write_numbers;
use crate::Session;
use crate::columns::{Names, Scope, documented};
use crate::stat::Row;
use crate::state::{PROXY_STATES, frontend_state};

const STATUS: Desc = Desc::state_set(
    "haproxy_frontend_status",
    "Whether the frontend takes connections; one that is full or paused is up.",
    &["proxy", "state"],
);

pub(super) struct Frontends;

#[async_trait]
impl Collector<Session> for Frontends {
    fn name(&self) -> &'static str {
        "frontends"
    }

    fn help(&self) -> &'static str {
        "Frontends: sessions, bytes, requests, responses."
    }

    fn families(&self) -> Vec<Desc> {
        documented(Scope::Frontend, &[&STATUS], &[])
    }

    async fn collect(&self, session: &Session, out: &mut Families) -> Result<(), BoxError> {
        let rows: Vec<Row<'_>> = session.stat.rows(Scope::Frontend).collect();
        write_numbers(session, Scope::Frontend, &rows, out);
        if session.options.names == Names::Native {
            let family = out.family(&STATUS);
            for row in &rows {
                if let Some(state) = session.known(row.get("status"), frontend_state) {
                    family.push_states(&[row.proxy()], &PROXY_STATES, state);
                }
            }
        }
        Ok(())
    }
}
