//! Amazon Aurora's replicas, which share the writer's storage and so have no replication status.

use exporter_toolkit::Desc;

use super::select::{Measure, Select};
use super::table::{Requires, Table};

const LABELS: &[&str] = &["server_id", "role"];

pub(super) const REPLICA_HOSTS: Table = Table {
    name: "info_schema.replica_host",
    help: "Replicas of Amazon Aurora; no series on other servers.",
    enabled_by_default: false,
    requires: Requires::Nothing,
    opens_tables: false,
    select: Select {
        from: "information_schema.replica_host_status",
        labels: &["server_id", "IF(session_id = 'MASTER_SESSION_ID', 'writer', 'reader')"],
        measures: &[
            Measure::one(
                Desc::gauge(
                    "mysql_info_schema_replica_host_cpu_percent",
                    "CPU usage of the replica, in percent.",
                    LABELS,
                ),
                "cpu",
            ),
            Measure::one(
                Desc::gauge(
                    "mysql_info_schema_replica_host_replica_latency_seconds",
                    "Latency between the writer and the replica, in seconds.",
                    LABELS,
                ),
                "master_slave_latency_in_microseconds",
            )
            .divided_by(1e6),
            Measure::one(
                Desc::gauge(
                    "mysql_info_schema_replica_host_lag_seconds",
                    "Replication lag behind the writer, in seconds.",
                    LABELS,
                ),
                "replica_lag_in_milliseconds",
            )
            .divided_by(1e3),
            Measure::one(
                Desc::gauge(
                    "mysql_info_schema_replica_host_log_stream_speed",
                    "Speed of the replica's log stream, in KiB per second.",
                    LABELS,
                ),
                "log_stream_speed_in_kib_per_second",
            ),
            Measure::one(
                Desc::gauge(
                    "mysql_info_schema_replica_host_replay_latency_seconds",
                    "Latency of replaying the log, in seconds.",
                    LABELS,
                ),
                "current_replay_latency_in_microseconds",
            )
            .divided_by(1e6),
        ],
    },
};

#[cfg(test)]
mod tests {
    use super::super::select::samples;
    use super::*;

    #[test]
    fn times_are_converted_to_seconds() {
        let row = ["db-2", "reader", "12.5", "20000", "15.5", "3.25", "500000"].map(Some);
        let labels = r#"{server_id="db-2",role="reader"}"#;
        assert_eq!(
            samples(&REPLICA_HOSTS.select, "", &row),
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
