//! Spikes from the latency monitor (`latency-monitor-threshold`).

use exporter_toolkit::{BoxError, Collector, Desc, Families, async_trait};
use tokio::task::coop::consume_budget;

use crate::client::Session;

static LAST: Desc =
    Desc::gauge("redis_latency_spike_last", "Unix time of the latest spike of the event.", &["event_name"])
        .field("time of the latest spike");
static DURATION: Desc =
    Desc::gauge("redis_latency_spike_duration_seconds", "Duration of the latest spike of the event.", &["event_name"])
        .field("latency of the latest spike");

pub(super) struct Latency;

#[async_trait]
impl Collector<Session> for Latency {
    fn name(&self) -> &'static str {
        "latency"
    }

    fn help(&self) -> &'static str {
        "The latest spike of each event of the latency monitor."
    }

    fn source(&self) -> &'static str {
        "`LATENCY LATEST`"
    }

    fn families(&self) -> Vec<Desc> {
        vec![LAST.clone(), DURATION.clone()]
    }

    async fn collect(&self, session: &Session, out: &mut Families) -> Result<(), BoxError> {
        for event in session.latency.as_ref().map_err(Clone::clone)? {
            consume_budget().await;
            out.push(&LAST, &[&event.name], event.unix_seconds as f64);
            out.push(&DURATION, &[&event.name], event.milliseconds as f64 / 1e3);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::page;
    use super::*;
    use crate::client::{LatencyEvent, session};

    #[test]
    fn events() {
        let mut session = session("");
        let event = LatencyEvent { name: "fast-command".to_owned(), unix_seconds: 1_700_000_000, milliseconds: 250 };
        session.latency = Ok(vec![event]);
        assert_eq!(
            page(&Latency, &session),
            "redis_latency_spike_duration_seconds{event_name=\"fast-command\"} 0.25\n\
             redis_latency_spike_last{event_name=\"fast-command\"} 1700000000\n"
        );
    }
}
