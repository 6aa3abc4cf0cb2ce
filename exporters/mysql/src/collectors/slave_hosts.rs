//! The replicas registered with this server.

use exporter_toolkit::{BoxError, Collector, Desc, Families, async_trait};
use mysql_kit::Version;

use crate::replication::old_name;
use crate::rows::Rows;
use crate::session::Session;

/// mysqld_exporter's name, including the wrong prefix.
const INFO: Desc = Desc::info(
    "mysql_heartbeat_mysql_slave_hosts_info",
    "Information about a replica registered with this server.",
    &["server_id", "slave_host", "port", "master_id", "slave_uuid"],
);
/// The columns of the labels, by their old names. MariaDB and older servers have no UUID.
const COLUMNS: [&str; 5] = ["server_id", "host", "port", "master_id", "slave_uuid"];

pub(super) struct SlaveHosts;

#[async_trait]
impl Collector<Session> for SlaveHosts {
    fn name(&self) -> &'static str {
        "slave_hosts"
    }

    fn help(&self) -> &'static str {
        "Registered replicas; requires REPLICATION SLAVE, on MariaDB REPLICATION MASTER ADMIN."
    }

    fn source(&self) -> &'static str {
        "SHOW REPLICAS (SHOW SLAVE HOSTS before MySQL 8.0.22 and in MariaDB)"
    }

    fn enabled_by_default(&self) -> bool {
        false
    }

    fn families(&self) -> Vec<Desc> {
        vec![INFO]
    }

    async fn collect(&self, session: &Session, out: &mut Families) -> Result<(), BoxError> {
        write(&session.query(statement(session.version())).await?, out);
        Ok(())
    }
}

fn statement(version: Version) -> &'static str {
    if version.is_mysql_since((8, 0, 22)) { "SHOW REPLICAS" } else { "SHOW SLAVE HOSTS" }
}

fn write(rows: &Rows, out: &mut Families) {
    for row in rows.iter() {
        let labels = COLUMNS.map(|name| {
            let cell = row.cells().find(|(column, _)| old_name(column) == name);
            cell.map(|(_, text)| text).unwrap_or_default()
        });
        out.push(&INFO, &labels, 1.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(columns: &[&str], row: &[&str]) -> String {
        let mut rows = Rows::new(columns.iter().map(|&column| column.to_owned()));
        rows.push(row.iter().map(|cell| Some(cell.as_bytes()))).unwrap();
        super::super::testing::page(write, &rows)
    }

    #[test]
    fn replicas_have_the_same_labels_on_all_servers() {
        let expected = |uuid| {
            format!(
                "# TYPE mysql_heartbeat_mysql_slave_hosts_info gauge\n\
                 mysql_heartbeat_mysql_slave_hosts_info{{server_id=\"2\",slave_host=\"db2\",port=\"3306\",master_id=\"1\",slave_uuid=\"{uuid}\"}} 1\n"
            )
        };
        let new = ["Server_Id", "Host", "Port", "Source_Id", "Replica_UUID"];
        assert_eq!(written(&new, &["2", "db2", "3306", "1", "u-2"]), expected("u-2"));
        assert_eq!(written(&["Server_id", "Host", "Port", "Master_id"], &["2", "db2", "3306", "1"]), expected(""));
        let old = ["Server_id", "Host", "Port", "Rpl_recovery_rank", "Master_id"];
        assert_eq!(written(&old, &["2", "db2", "3306", "0", "1"]), expected(""));
    }
}
