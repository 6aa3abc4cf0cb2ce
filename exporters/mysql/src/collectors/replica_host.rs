//! Amazon Aurora's replicas, which share the writer's storage and so have no replication status.

use exporter_toolkit::Desc;

use super::table::Table;

const LABELS: &[&str] = &["server_id", "role"];

pub(super) const REPLICA_HOSTS: Table = Table {
    name: "info_schema.replica_host",
    help: "Amazon Aurora's replicas, from information_schema.replica_host_status; nothing on other servers.",
    by_default: false,
    switches: &[],
    opens_tables: false,
    // A cluster has at most 16 of them.
    statement: "SELECT server_id, IF(session_id = 'MASTER_SESSION_ID', 'writer', 'reader'), cpu, \
                master_slave_latency_in_microseconds, replica_lag_in_milliseconds, log_stream_speed_in_kib_per_second, \
                current_replay_latency_in_microseconds FROM information_schema.replica_host_status LIMIT 1000",
    labels: 2,
    families: &[
        (Desc::gauge("mysql_info_schema_replica_host_cpu_percent", "Percent of its processors in use.", LABELS), 1.0),
        (
            Desc::gauge(
                "mysql_info_schema_replica_host_replica_latency_seconds",
                "Latency between writer and replica.",
                LABELS,
            ),
            1e6,
        ),
        (Desc::gauge("mysql_info_schema_replica_host_lag_seconds", "Seconds behind the writer.", LABELS), 1e3),
        (
            Desc::gauge(
                "mysql_info_schema_replica_host_log_stream_speed",
                "Speed of its log stream, in KiB a second.",
                LABELS,
            ),
            1.0,
        ),
        (
            Desc::gauge(
                "mysql_info_schema_replica_host_replay_latency_seconds",
                "Latency of replaying the log.",
                LABELS,
            ),
            1e6,
        ),
    ],
};

#[cfg(test)]
mod tests {
    use super::super::table::written;
    use super::*;

    #[test]
    fn times_become_seconds() {
        let row = ["db-2", "reader", "12.5", "20000", "15.5", "3.25", "500000"].map(Some);
        let labels = r#"{server_id="db-2",role="reader"}"#;
        assert_eq!(
            written(&REPLICA_HOSTS, &row),
            [
                ("cpu_percent", "12.5"),
                ("lag_seconds", "0.0155"),
                ("log_stream_speed", "3.25"),
                ("replay_latency_seconds", "0.5"),
                ("replica_latency_seconds", "0.02"),
            ]
            .map(|(name, value)| format!("mysql_info_schema_replica_host_{name}{labels} {value}"))
        );
    }
}
