//! The replication status, one series per channel. Columns are always exported under their old names, which dashboards
//! and rules use; MySQL 8.0.22 and later has new names, which are exported as well.

use exporter_toolkit::{BoxError, Collector, Desc, Families, Kind, async_trait};

use crate::replication::{Channel, channels, old_name, own_transactions, positions};
use crate::rows::Rows;
use crate::session::Session;
use crate::value::{family_name, parse};

const PREFIX: &str = "mysql_slave_status_";
const GENERIC_HELP: &str = "Column of this name in the replication status.";
const LABELS: &[&str] = &["master_host", "master_uuid", "channel_name", "connection_name"];
const POSITION_LABELS: &[&str] =
    &["master_host", "master_uuid", "channel_name", "connection_name", "domain_id", "server_id"];

/// Not in mysqld_exporter, whose lag is absent if the server reports NULL: an alert on it stops firing when replication
/// stops.
const LAG: Desc = Desc::gauge(
    "mysql_replication_lag_seconds",
    "Replication lag, in seconds, without a configured delay (SQL_Delay); +Inf while a thread is not running.",
    LABELS,
);

/// Not in mysqld_exporter. MariaDB: the transactions after the last replicated one, which are all errant. MySQL: all in
/// the GTID set; an increase means errant transactions.
const OWN_TRANSACTIONS: Desc = Desc::gauge(
    "mysql_replication_own_transactions",
    "Current number of transactions that originated on this replica; absent without GTIDs.",
    &[],
);

/// MariaDB's GTID positions, by column: `domain-server-sequence,…`.
const POSITIONS: [(&str, Desc); 2] = [
    (
        "gtid_io_pos",
        Desc::gauge(
            "mysql_slave_status_gtid_io_pos",
            "Sequence number of the last received transaction, by replication domain.",
            POSITION_LABELS,
        ),
    ),
    (
        "gtid_slave_pos",
        Desc::gauge(
            "mysql_slave_status_gtid_slave_pos",
            "Sequence number of the last applied transaction, by replication domain.",
            POSITION_LABELS,
        ),
    ),
];

pub(super) struct SlaveStatus;

#[async_trait]
impl Collector<Session> for SlaveStatus {
    fn name(&self) -> &'static str {
        "slave_status"
    }

    fn help(&self) -> &'static str {
        "Replication status."
    }

    fn source(&self) -> &'static str {
        "SHOW REPLICA STATUS, SHOW ALL SLAVES STATUS or SHOW SLAVE STATUS, by version"
    }

    fn families(&self) -> Vec<Desc> {
        let generic = Desc::untyped("mysql_slave_status_<column>", GENERIC_HELP, LABELS).field("<column>");
        [generic, LAG.field("Seconds_Behind_Source"), OWN_TRANSACTIONS]
            .into_iter()
            .chain(POSITIONS.into_iter().map(|(column, desc)| desc.field(column)))
            .collect()
    }

    async fn collect(&self, session: &Session, out: &mut Families) -> Result<(), BoxError> {
        let replication = &session.replication().await?.rows;
        write(replication, out);
        if replication.is_empty() {
            return Ok(());
        }
        if let Some(own) = own_transactions(replication, &session.variables().await?.rows) {
            out.push(&OWN_TRANSACTIONS, &[], own);
        }
        Ok(())
    }
}

fn write(rows: &Rows, out: &mut Families) {
    for channel in channels(rows) {
        write_channel(channel, out);
    }
}

fn write_channel(channel: Channel<'_>, out: &mut Families) {
    let [host, uuid, name, connection] = ["master_host", "master_uuid", "channel_name", "connection_name"]
        .map(|label| channel.get(label).unwrap_or_default());
    out.push(&LAG, &[host, uuid, name, connection], channel.lag());
    for (column, text) in channel.cells() {
        let old = old_name(column);
        if let Some((_, position)) = POSITIONS.iter().find(|(column, _)| *column == old) {
            for (domain, server, sequence) in positions(text) {
                out.push(position, &[host, uuid, name, connection, domain, server], sequence);
            }
        } else if let Some(value) = parse(text) {
            let mut push = |column: &str| {
                let desc = Desc::dynamic(Kind::Untyped, family_name(PREFIX, column), GENERIC_HELP, LABELS);
                out.push(&desc, &[host, uuid, name, connection], value);
            };
            push(&old);
            if !column.eq_ignore_ascii_case(&old) {
                push(column);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(columns: &[&str], rows: &[&[Option<&str>]]) -> String {
        let mut answer = Rows::new(columns.iter().map(|&column| column.to_owned()));
        for row in rows {
            answer.push(row.iter().map(|cell| cell.map(str::as_bytes))).unwrap();
        }
        super::super::testing::page(write, &answer)
    }

    #[test]
    fn mariadb_has_a_row_per_connection_and_a_position_per_domain() {
        let columns = [
            "Connection_name",
            "Slave_IO_State",
            "Master_Host",
            "Slave_IO_Running",
            "Slave_SQL_Running",
            "Seconds_Behind_Master",
            "Gtid_IO_Pos",
            "Gtid_Slave_Pos",
        ];
        let page = written(
            &columns,
            &[
                &[
                    Some(""),
                    Some("Waiting"),
                    Some("db1"),
                    Some("Yes"),
                    Some("Yes"),
                    Some("7"),
                    Some("0-1-5,7-2-40"),
                    Some("0-1-4"),
                ],
                &[Some("east"), Some(""), Some("db2"), Some("Connecting"), Some("Yes"), None, Some(""), Some("0-1-4")],
            ],
        );
        let labels = |host: &str, connection: &str| {
            format!("master_host=\"{host}\",master_uuid=\"\",channel_name=\"\",connection_name=\"{connection}\"")
        };
        let (first, second) = (labels("db1", ""), labels("db2", "east"));
        let expected = format!(
            "\
# TYPE mysql_replication_lag_seconds gauge
mysql_replication_lag_seconds{{{first}}} 7
mysql_replication_lag_seconds{{{second}}} +Inf
# TYPE mysql_slave_status_gtid_io_pos gauge
mysql_slave_status_gtid_io_pos{{{first},domain_id=\"0\",server_id=\"1\"}} 5
mysql_slave_status_gtid_io_pos{{{first},domain_id=\"7\",server_id=\"2\"}} 40
# TYPE mysql_slave_status_gtid_slave_pos gauge
mysql_slave_status_gtid_slave_pos{{{first},domain_id=\"0\",server_id=\"1\"}} 4
mysql_slave_status_gtid_slave_pos{{{second},domain_id=\"0\",server_id=\"1\"}} 4
# TYPE mysql_slave_status_seconds_behind_master untyped
mysql_slave_status_seconds_behind_master{{{first}}} 7
# TYPE mysql_slave_status_slave_io_running untyped
mysql_slave_status_slave_io_running{{{first}}} 1
mysql_slave_status_slave_io_running{{{second}}} 0
# TYPE mysql_slave_status_slave_sql_running untyped
mysql_slave_status_slave_sql_running{{{first}}} 1
mysql_slave_status_slave_sql_running{{{second}}} 1
"
        );
        assert_eq!(page, expected);
    }

    #[test]
    fn mysql_8_4_has_both_names() {
        let columns = [
            "Source_Host",
            "Source_UUID",
            "Channel_Name",
            "Replica_IO_Running",
            "Replica_SQL_Running",
            "Seconds_Behind_Source",
            "Relay_Log_Space",
        ];
        let page = written(
            &columns,
            &[&[Some("db1"), Some("u1"), Some("c1"), Some("Yes"), Some("Yes"), Some("0"), Some("157")]],
        );
        let labels = "{master_host=\"db1\",master_uuid=\"u1\",channel_name=\"c1\",connection_name=\"\"}";
        let series: Vec<_> = page.lines().filter(|line| !line.starts_with('#')).collect();
        assert_eq!(
            series,
            [
                format!("mysql_replication_lag_seconds{labels} 0"),
                format!("mysql_slave_status_relay_log_space{labels} 157"),
                format!("mysql_slave_status_replica_io_running{labels} 1"),
                format!("mysql_slave_status_replica_sql_running{labels} 1"),
                format!("mysql_slave_status_seconds_behind_master{labels} 0"),
                format!("mysql_slave_status_seconds_behind_source{labels} 0"),
                format!("mysql_slave_status_slave_io_running{labels} 1"),
                format!("mysql_slave_status_slave_sql_running{labels} 1"),
            ]
        );
    }

    #[test]
    fn a_server_that_is_not_a_replica_has_no_series() {
        assert_eq!(written(&["Source_Host"], &[]), "");
    }
}
