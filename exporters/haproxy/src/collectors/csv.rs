//! How well HAProxy's CSV could be read.

use exporter_toolkit::{BoxError, Collector, Desc, Families, async_trait};

use crate::Session;

const PARSE_FAILURES: Desc = Desc::counter(
    "haproxy_exporter_csv_parse_failures_total",
    "Rows and fields of HAProxy's CSV that could not be read and were left out; on /probe, of that one answer.",
    &[],
);

pub(super) struct Csv;

#[async_trait]
impl Collector<Session> for Csv {
    fn name(&self) -> &'static str {
        "csv"
    }

    fn help(&self) -> &'static str {
        "How well HAProxy's CSV could be read."
    }

    fn families(&self) -> Vec<Desc> {
        vec![PARSE_FAILURES]
    }

    async fn collect(&self, session: &Session, out: &mut Families) -> Result<(), BoxError> {
        out.push(&PARSE_FAILURES, &[], session.failures.get() as f64);
        Ok(())
    }
}
