//! Connections and requests, under the names of nginx-prometheus-exporter.

use exporter_toolkit::{BoxError, Collector, Desc, Families, async_trait};

use crate::target::Session;

/// In the order of the page.
static FAMILIES: [Desc; 7] = [
    Desc::gauge("nginx_connections_active", "Current number of client connections, including idle ones.", &[])
        .field("Active connections"),
    Desc::counter("nginx_connections_accepted", "Total number of accepted client connections.", &[]).field("accepts"),
    Desc::counter("nginx_connections_handled", "Total number of client connections that were not dropped.", &[])
        .field("handled"),
    Desc::counter("nginx_http_requests_total", "Total number of client requests.", &[]).field("requests"),
    Desc::gauge("nginx_connections_reading", "Current number of connections whose request nginx reads.", &[])
        .field("Reading"),
    Desc::gauge("nginx_connections_writing", "Current number of connections whose response nginx writes.", &[])
        .field("Writing"),
    Desc::gauge("nginx_connections_waiting", "Current number of idle client connections.", &[]).field("Waiting"),
];

pub(super) struct Connections;

#[async_trait]
impl Collector<Session> for Connections {
    fn name(&self) -> &'static str {
        "stub_status"
    }

    fn help(&self) -> &'static str {
        "Client connections and requests."
    }

    fn source(&self) -> &'static str {
        "the page of `stub_status`"
    }

    fn families(&self) -> Vec<Desc> {
        FAMILIES.to_vec()
    }

    async fn collect(&self, session: &Session, out: &mut Families) -> Result<(), BoxError> {
        for (desc, number) in FAMILIES.iter().zip(session.now.numbers()) {
            out.push(desc, &[], number as f64);
        }
        Ok(())
    }
}
