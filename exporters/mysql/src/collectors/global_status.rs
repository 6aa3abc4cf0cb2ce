//! `SHOW GLOBAL STATUS`.

use exporter_toolkit::{BoxError, Collector, Desc, Families, Kind, async_trait};

use crate::rows::Rows;
use crate::session::Session;
use crate::value::{family_name, parse};

const PREFIX: &str = "mysql_global_status_";
const GENERIC_HELP: &str = "Status variable of this name, see the server's manual.";

/// Variables that share a family, by their prefix; the rest of the name is the label value.
const GROUPS: [(&str, Desc); 5] = [
    (
        "com_",
        Desc::counter(
            "mysql_global_status_commands_total",
            "Total number of executed statements, by command.",
            &["command"],
        ).field("Com_*"),
    ),
    (
        "handler_",
        Desc::counter("mysql_global_status_handlers_total", "Total number of handler requests to the storage engines, by handler.", &["handler"]).field("Handler_*"),
    ),
    (
        "connection_errors_",
        Desc::counter(
            "mysql_global_status_connection_errors_total",
            "Total number of failed connections, by error.",
            &["error"],
        ).field("Connection_errors_*"),
    ),
    (
        "innodb_rows_",
        Desc::counter(
            "mysql_global_status_innodb_row_ops_total",
            "Total number of row operations in InnoDB, by operation.",
            &["operation"],
        ).field("Innodb_rows_*"),
    ),
    (
        "performance_schema_",
        Desc::counter(
            "mysql_global_status_performance_schema_lost_total",
            "Total number of performance schema instruments that could not be created for lack of memory, by instrumentation.",
            &["instrumentation"],
        ).field("Performance_schema_*"),
    ),
];

const PAGES_PREFIX: &str = "innodb_buffer_pool_pages_";
const PAGES: Desc = Desc::gauge(
    "mysql_global_status_buffer_pool_pages",
    "Current number of pages in InnoDB's buffer pool, by state.",
    &["state"],
)
.field("Innodb_buffer_pool_pages_*");
const DIRTY_PAGES: Desc = Desc::gauge(
    "mysql_global_status_buffer_pool_dirty_pages",
    "Current number of dirty pages in InnoDB's buffer pool.",
    &[],
)
.field("Innodb_buffer_pool_pages_dirty");
const PAGE_CHANGES: Desc = Desc::counter(
    "mysql_global_status_buffer_pool_page_changes_total",
    "Total number of page changes in InnoDB's buffer pool, by operation.",
    &["operation"],
)
.field("Innodb_buffer_pool_pages_*");

const GALERA_INFO: Desc = Desc::info(
    "mysql_galera_status_info",
    "Information about the Galera cluster state and the provider version.",
    &["wsrep_local_state_uuid", "wsrep_cluster_state_uuid", "wsrep_provider_version"],
)
.field("wsrep_*");

/// The parts of `wsrep_evs_repl_latency`, in order.
const GALERA_LATENCY: [Desc; 5] = [
    Desc::gauge(
        "mysql_galera_evs_repl_latency_min_seconds",
        "Galera's group communication latency: minimum, in seconds.",
        &[],
    )
    .field("wsrep_evs_repl_latency"),
    Desc::gauge(
        "mysql_galera_evs_repl_latency_avg_seconds",
        "Galera's group communication latency: average, in seconds.",
        &[],
    )
    .field("wsrep_evs_repl_latency"),
    Desc::gauge(
        "mysql_galera_evs_repl_latency_max_seconds",
        "Galera's group communication latency: maximum, in seconds.",
        &[],
    )
    .field("wsrep_evs_repl_latency"),
    Desc::gauge(
        "mysql_galera_evs_repl_latency_stdev",
        "Galera's group communication latency: standard deviation, in seconds.",
        &[],
    )
    .field("wsrep_evs_repl_latency"),
    Desc::gauge(
        "mysql_galera_evs_repl_latency_sample_size",
        "Galera's group communication latency: number of samples.",
        &[],
    )
    .field("wsrep_evs_repl_latency"),
];

pub(super) struct GlobalStatus;

#[async_trait]
impl Collector<Session> for GlobalStatus {
    fn name(&self) -> &'static str {
        "global_status"
    }

    fn help(&self) -> &'static str {
        "Status variables."
    }

    fn source(&self) -> &'static str {
        "SHOW GLOBAL STATUS"
    }

    fn families(&self) -> Vec<Desc> {
        let generic = Desc::untyped("mysql_global_status_<variable>", GENERIC_HELP, &[]).field("<variable>");
        let groups = GROUPS.into_iter().map(|(_, desc)| desc);
        groups.chain([PAGES, DIRTY_PAGES, PAGE_CHANGES, generic, GALERA_INFO]).chain(GALERA_LATENCY).collect()
    }

    async fn collect(&self, session: &Session, out: &mut Families) -> Result<(), BoxError> {
        write(&session.status().await?.rows, out);
        Ok(())
    }
}

fn write(rows: &Rows, out: &mut Families) {
    // Nearly every variable is a separate family.
    out.reserve(rows.len());
    for (variable, value) in rows.iter_pairs() {
        let Some(value) = parse(value) else { continue };
        let name = family_name(PREFIX, variable);
        let key = name.get(PREFIX.len()..).unwrap_or_default();
        if let Some((group, rest)) = GROUPS.iter().find_map(|(prefix, desc)| Some((desc, key.strip_prefix(prefix)?))) {
            out.push(group, &[rest], value);
        } else if let Some(page) = key.strip_prefix(PAGES_PREFIX) {
            match page {
                "data" | "free" | "misc" | "old" => out.push(&PAGES, &[page], value),
                "dirty" => out.push(&DIRTY_PAGES, &[], value),
                // The sum of the states.
                "total" => {}
                change => out.push(&PAGE_CHANGES, &[change], value),
            }
        } else {
            out.dynamic_family(name.into(), GENERIC_HELP.into(), Kind::Untyped, &[]).push(&[], value);
        }
    }
    galera(rows, out);
}

fn galera(rows: &Rows, out: &mut Families) {
    let text = |name| rows.lookup(name).filter(|text| !text.is_empty());
    if let Some(state) = text("wsrep_local_state_uuid") {
        let labels = ["wsrep_cluster_state_uuid", "wsrep_provider_version"].map(|name| text(name).unwrap_or_default());
        out.push(&GALERA_INFO, &[state, labels[0], labels[1]], 1.0);
    }
    let latency: Option<Vec<f64>> =
        text("wsrep_evs_repl_latency").and_then(|parts| parts.split('/').map(|part| part.parse().ok()).collect());
    if let Some(latency) = latency.filter(|latency| latency.len() == GALERA_LATENCY.len()) {
        for (desc, value) in GALERA_LATENCY.iter().zip(latency) {
            out.push(desc, &[], value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(pairs: &[(&str, &str)]) -> String {
        super::super::testing::page(write, &Rows::pairs(pairs))
    }

    #[test]
    fn variables_are_grouped_by_prefix_or_untyped() {
        let page = written(&[
            ("Com_select", "5"),
            ("Com_admin_commands", "1"),
            ("Compression", "OFF"),
            ("Connection_errors_internal", "2"),
            ("Handler_read_key", "6"),
            ("Innodb_buffer_pool_dump_status", "not started"),
            ("Innodb_buffer_pool_pages_data", "10"),
            ("Innodb_buffer_pool_pages_dirty", "11"),
            ("Innodb_buffer_pool_pages_flushed", "12"),
            ("Innodb_buffer_pool_pages_total", "13"),
            ("Innodb_rows_read", "14"),
            ("Performance_schema_users_lost", "15"),
            ("Ssl_server_not_after", "Aug 10 12:00:00 2035 GMT"),
        ]);
        assert_eq!(
            page,
            "\
# TYPE mysql_global_status_buffer_pool_dirty_pages gauge
mysql_global_status_buffer_pool_dirty_pages 11
# TYPE mysql_global_status_buffer_pool_page_changes_total counter
mysql_global_status_buffer_pool_page_changes_total{operation=\"flushed\"} 12
# TYPE mysql_global_status_buffer_pool_pages gauge
mysql_global_status_buffer_pool_pages{state=\"data\"} 10
# TYPE mysql_global_status_commands_total counter
mysql_global_status_commands_total{command=\"admin_commands\"} 1
mysql_global_status_commands_total{command=\"select\"} 5
# TYPE mysql_global_status_compression untyped
mysql_global_status_compression 0
# TYPE mysql_global_status_connection_errors_total counter
mysql_global_status_connection_errors_total{error=\"internal\"} 2
# TYPE mysql_global_status_handlers_total counter
mysql_global_status_handlers_total{handler=\"read_key\"} 6
# TYPE mysql_global_status_innodb_row_ops_total counter
mysql_global_status_innodb_row_ops_total{operation=\"read\"} 14
# TYPE mysql_global_status_performance_schema_lost_total counter
mysql_global_status_performance_schema_lost_total{instrumentation=\"users_lost\"} 15
# TYPE mysql_global_status_ssl_server_not_after untyped
mysql_global_status_ssl_server_not_after 2070360000
"
        );
    }

    #[test]
    fn galera_variables_have_separate_families() {
        let page = written(&[
            ("wsrep_local_state_uuid", "u1"),
            ("wsrep_cluster_state_uuid", "u2"),
            ("wsrep_provider_version", "26.4.14(r06a0c285)"),
            ("wsrep_evs_repl_latency", "0.001/0.002/0.003/0.0004/5"),
            ("wsrep_cluster_status", "Primary"),
        ]);
        for line in [
            "mysql_galera_status_info{wsrep_local_state_uuid=\"u1\",wsrep_cluster_state_uuid=\"u2\",wsrep_provider_version=\"26.4.14(r06a0c285)\"} 1",
            "mysql_galera_evs_repl_latency_min_seconds 0.001",
            "mysql_galera_evs_repl_latency_sample_size 5",
            "mysql_global_status_wsrep_cluster_status 1",
        ] {
            assert!(page.lines().any(|found| found == line), "{line}\n{page}");
        }
        assert_eq!(written(&[("wsrep_evs_repl_latency", "0.001/x"), ("wsrep_local_state_uuid", "")]), "");
    }
}
