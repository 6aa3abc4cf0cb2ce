//! The replicas that are registered with this server.

use exporter_toolkit::{BoxError, Collector, Desc, Families, async_trait};

use crate::replication::old_name;
use crate::rows::Rows;
use crate::session::Session;

/// mysqld_exporter's name, by a slip of its prefix.
const INFO: Desc = Desc::info(
    "mysql_heartbeat_mysql_slave_hosts_info",
    "A replica that is registered with this server.",
    &["server_id", "slave_host", "port", "master_id", "slave_uuid"],
);
/// The columns of the labels, by their old names; older servers and MariaDB have no UUID.
const COLUMNS: [&str; 5] = ["server_id", "host", "port", "master_id", "slave_uuid"];

pub(super) struct SlaveHosts;

#[async_trait]
impl Collector<Session> for SlaveHosts {
    fn name(&self) -> &'static str {
        "slave_hosts"
    }

    fn help(&self) -> &'static str {
        "Registered replicas, from SHOW REPLICAS or SHOW SLAVE HOSTS; needs REPLICATION SLAVE, on MariaDB REPLICATION MASTER ADMIN."
    }

    fn enabled_by_default(&self) -> bool {
        false
    }

    fn families(&self) -> Vec<Desc> {
        vec![INFO]
    }

    async fn collect(&self, session: &Session, out: &mut Families) -> Result<(), BoxError> {
        write(&session.query(session.version().replicas_statement()).await?, out);
        Ok(())
    }
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
        super::super::page(write, &rows)
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
