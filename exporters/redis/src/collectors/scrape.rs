//! Series of the Go redis_exporter about its own scrape. Without an answer they are absent and `redis_up` is 0.

use exporter_toolkit::{BoxError, Collector, Desc, Families, async_trait};

use crate::client::Session;

static DURATION: Desc = Desc::gauge(
    "redis_exporter_last_scrape_duration_seconds",
    "Duration of this scrape in seconds, with the connection if it was made in this scrape.",
    &[],
);
static CONNECT: Desc = Desc::gauge(
    "redis_exporter_last_scrape_connect_time_seconds",
    "Seconds to connect and log in, at the latest connection; the connection is kept.",
    &[],
);
static PING: Desc =
    Desc::gauge("redis_exporter_last_scrape_ping_time_seconds", "Round-trip time of PING in seconds.", &[]);
static ERROR: Desc = Desc::gauge(
    "redis_exporter_last_scrape_error",
    "Whether the last scrape failed (always 0; absent while redis_up is 0).",
    &["err"],
);

pub(super) struct Scrape;

#[async_trait]
impl Collector<Session> for Scrape {
    fn name(&self) -> &'static str {
        "scrape"
    }

    fn help(&self) -> &'static str {
        "Durations of the exporter's own scrape."
    }

    fn source(&self) -> &'static str {
        "The exporter's clock"
    }

    fn families(&self) -> Vec<Desc> {
        vec![DURATION.clone(), CONNECT.clone(), PING.clone(), ERROR.clone()]
    }

    async fn collect(&self, session: &Session, out: &mut Families) -> Result<(), BoxError> {
        out.push(&DURATION, &[], session.duration.as_secs_f64());
        out.push(&CONNECT, &[], session.connect.as_secs_f64());
        out.push(&PING, &[], session.ping.round_trip.as_secs_f64());
        out.push(&ERROR, &[""], 0.0);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::page;
    use super::*;
    use crate::client::session;

    #[test]
    fn times() {
        assert_eq!(
            page(&Scrape, &session("")),
            "redis_exporter_last_scrape_connect_time_seconds 0.002\nredis_exporter_last_scrape_duration_seconds 0.003\n\
             redis_exporter_last_scrape_error{err=\"\"} 0\nredis_exporter_last_scrape_ping_time_seconds 0.001\n"
        );
    }
}
