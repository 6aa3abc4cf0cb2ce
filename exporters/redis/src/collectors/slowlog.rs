//! Length and newest entry of the slow log.

use exporter_toolkit::{BoxError, Collector, Desc, Families, async_trait};

use crate::client::Session;

static LENGTH: Desc =
    Desc::gauge("redis_slowlog_length", "Current number of entries in the slow log.", &[]).field("SLOWLOG LEN");
static LAST_ID: Desc =
    Desc::gauge("redis_slowlog_last_id", "Id of the newest entry in the slow log, 0 while it is empty.", &[])
        .field("SLOWLOG GET id");
static LAST_DURATION: Desc = Desc::gauge(
    "redis_last_slow_execution_duration_seconds",
    "Duration of the newest command in the slow log, 0 while the log is empty.",
    &[],
)
.field("SLOWLOG GET duration");

pub(super) struct SlowLog;

#[async_trait]
impl Collector<Session> for SlowLog {
    fn name(&self) -> &'static str {
        "slowlog"
    }

    fn help(&self) -> &'static str {
        "Length and newest entry of the slow log."
    }

    fn source(&self) -> &'static str {
        "`SLOWLOG LEN` and `SLOWLOG GET`"
    }

    fn families(&self) -> Vec<Desc> {
        vec![LENGTH.clone(), LAST_ID.clone(), LAST_DURATION.clone()]
    }

    async fn collect(&self, session: &Session, out: &mut Families) -> Result<(), BoxError> {
        let log = session.slow_log.as_ref().map_err(Clone::clone)?;
        out.push(&LENGTH, &[], log.length as f64);
        let (id, microseconds) = log.newest.map_or((0, 0), |newest| (newest.id, newest.microseconds));
        out.push(&LAST_ID, &[], id as f64);
        out.push(&LAST_DURATION, &[], microseconds as f64 / 1e6);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::page;
    use super::*;
    use crate::client::{SlowCommand, session};

    #[test]
    fn an_entry_and_an_empty_log() {
        let mut session = session("");
        assert_eq!(
            page(&SlowLog, &session),
            "redis_last_slow_execution_duration_seconds 0\nredis_slowlog_last_id 0\nredis_slowlog_length 0\n"
        );
        let newest = Some(SlowCommand { id: 41, microseconds: 12_500 });
        session.slow_log = Ok(crate::client::SlowLog { length: 2, newest });
        assert_eq!(
            page(&SlowLog, &session),
            "redis_last_slow_execution_duration_seconds 0.0125\nredis_slowlog_last_id 41\nredis_slowlog_length 2\n"
        );
    }
}
