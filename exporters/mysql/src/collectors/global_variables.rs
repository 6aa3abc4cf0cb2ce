//! `SHOW GLOBAL VARIABLES`.

use exporter_toolkit::{BoxError, Collector, Desc, Families, Kind, async_trait};

use crate::rows::Rows;
use crate::session::Session;
use crate::value::{family_name, parse};

const PREFIX: &str = "mysql_global_variables_";
const GENERIC_HELP: &str = "System variable of this name, see the server's manual.";

const VERSION: Desc = Desc::info(
    "mysql_version_info",
    "Information about the server's version.",
    &["innodb_version", "version", "version_comment"],
)
.field("version");
// The peer's name: it is an info family without the required suffix `_info`.
const ISOLATION: Desc = Desc::gauge(
    "mysql_transaction_isolation",
    "Default transaction isolation level, in the label level (always 1).",
    &["level"],
)
.field("transaction_isolation");
const GALERA_INFO: Desc =
    Desc::info("mysql_galera_variables_info", "Information about the Galera cluster.", &["wsrep_cluster_name"])
        .field("wsrep_cluster_name");
const GCACHE: Desc = Desc::gauge("mysql_galera_gcache_size_bytes", "Size of Galera's write-set cache, in bytes.", &[])
    .field("wsrep_provider_options");

pub(super) struct GlobalVariables;

#[async_trait]
impl Collector<Session> for GlobalVariables {
    fn name(&self) -> &'static str {
        "global_variables"
    }

    fn help(&self) -> &'static str {
        "System variables."
    }

    fn source(&self) -> &'static str {
        "SHOW GLOBAL VARIABLES"
    }

    fn families(&self) -> Vec<Desc> {
        vec![
            Desc::gauge("mysql_global_variables_<variable>", GENERIC_HELP, &[]).field("<variable>"),
            VERSION,
            ISOLATION,
            GALERA_INFO,
            GCACHE,
        ]
    }

    async fn collect(&self, session: &Session, out: &mut Families) -> Result<(), BoxError> {
        write(&session.variables().await?.rows, out);
        Ok(())
    }
}

fn write(rows: &Rows, out: &mut Families) {
    // Three of four variables are numbers, each a separate family.
    out.reserve(rows.len() * 3 / 4);
    for (variable, value) in rows.iter_pairs() {
        let Some(value) = parse(value) else { continue };
        let name = family_name(PREFIX, variable);
        out.dynamic_family(name.into(), GENERIC_HELP.into(), Kind::Gauge, &[]).push(&[], value);
    }
    let text = |name| rows.lookup(name).filter(|text| !text.is_empty());
    let version = ["innodb_version", "version", "version_comment"].map(|name| text(name).unwrap_or_default());
    if version.iter().any(|part| !part.is_empty()) {
        out.push(&VERSION, &version, 1.0);
    }
    // MySQL 5.7.20 and MariaDB 11.1 renamed it.
    if let Some(level) = text("transaction_isolation").or_else(|| text("tx_isolation")) {
        out.push(&ISOLATION, &[level], 1.0);
    }
    if let Some(cluster) = text("wsrep_cluster_name") {
        out.push(&GALERA_INFO, &[cluster], 1.0);
    }
    if let Some(size) = text("wsrep_provider_options").and_then(gcache_size) {
        out.push(&GCACHE, &[], size);
    }
}

/// `…; gcache.size = 128M; …`
fn gcache_size(options: &str) -> Option<f64> {
    let size = options.split(';').find_map(|option| option.trim().strip_prefix("gcache.size = "))?;
    let (digits, unit) = match size.strip_suffix(['M', 'G']) {
        Some(digits) if size.ends_with('M') => (digits, 1024.0 * 1024.0),
        Some(digits) => (digits, 1024.0 * 1024.0 * 1024.0),
        None => (size, 1.0),
    };
    digits.parse::<u64>().ok().map(|size| size as f64 * unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(pairs: &[(&str, &str)]) -> String {
        super::super::testing::page(write, &Rows::pairs(pairs))
    }

    #[test]
    fn numbers_are_gauges_and_some_texts_are_labels() {
        let page = written(&[
            ("innodb_version", "10.11.19"),
            ("log_bin", "ON"),
            ("max_connections", "151"),
            ("socket", "/run/mysqld/mysqld.sock"),
            ("tx_isolation", "REPEATABLE-READ"),
            ("validate_password.length", "8"),
            ("version", "10.11.19-MariaDB-0+deb12u1"),
            ("version_comment", "Debian \"12\""),
            ("wsrep_cluster_name", "one"),
            ("wsrep_provider_options", "gcache.page_size = 128M; gcache.size = 1G; gcs.fc_debug = 0;"),
        ]);
        assert_eq!(
            page,
            "\
# TYPE mysql_galera_gcache_size_bytes gauge
mysql_galera_gcache_size_bytes 1073741824
# TYPE mysql_galera_variables_info gauge
mysql_galera_variables_info{wsrep_cluster_name=\"one\"} 1
# TYPE mysql_global_variables_log_bin gauge
mysql_global_variables_log_bin 1
# TYPE mysql_global_variables_max_connections gauge
mysql_global_variables_max_connections 151
# TYPE mysql_global_variables_validate_password_length gauge
mysql_global_variables_validate_password_length 8
# TYPE mysql_transaction_isolation gauge
mysql_transaction_isolation{level=\"REPEATABLE-READ\"} 1
# TYPE mysql_version_info gauge
mysql_version_info{innodb_version=\"10.11.19\",version=\"10.11.19-MariaDB-0+deb12u1\",version_comment=\"Debian \\\"12\\\"\"} 1
"
        );
    }

    #[test]
    fn missing_values_have_no_series() {
        assert_eq!(written(&[("wsrep_cluster_name", ""), ("wsrep_provider_options", "gcache.size = none;")]), "");
    }
}
