//! Parse failures of HAProxy's CSV.

use exporter_toolkit::{BoxError, Collector, Desc, Families, async_trait};

use crate::target::Session;

const PARSE_FAILURES: Desc = Desc::counter(
    "haproxy_exporter_csv_parse_failures_total",
    "Total number of rows and fields of HAProxy's CSV that could not be read; on `/probe`, of this scrape.",
    &[],
);

pub(super) struct Csv;

#[async_trait]
impl Collector<Session> for Csv {
    fn name(&self) -> &'static str {
        "csv"
    }

    fn help(&self) -> &'static str {
        "Parse failures of HAProxy's CSV."
    }

    fn source(&self) -> &'static str {
        "`show stat`"
    }

    fn families(&self) -> Vec<Desc> {
        vec![PARSE_FAILURES]
    }

    async fn collect(&self, session: &Session, out: &mut Families) -> Result<(), BoxError> {
        out.push(&PARSE_FAILURES, &[], session.failures.get() as f64);
        Ok(())
    }
}
