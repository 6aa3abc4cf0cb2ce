//! What makes each alert fire. A rule without a case here or a reason below fails a test.

use crate::fault::Fault::{
    self, All, Backup, Kill, Nothing, Page, Payments, Restart, Session, Slow, Sql, Stop, Vanish, Webhook,
};
use crate::page::Value::{Ago, Grows, Is, Line};

/// One fault, and the alerts that it makes fire.
pub(crate) struct Case {
    /// For people. "page: …" is a value on an exporter's page, where the local stack cannot have the fault itself.
    pub(crate) what: &'static str,
    pub(crate) fault: Fault,
    pub(crate) alerts: &'static [&'static str],
    /// When the fault is undone.
    pub(crate) until: Until,
    /// Part of `make test`.
    pub(crate) quick: bool,
}

pub(crate) enum Until {
    Notified,
    /// It keeps the notification from being delivered.
    Firing,
}

const CASE: Case = Case { what: "", fault: Nothing, alerts: &[], until: Until::Notified, quick: false };

/// One fault whose time to the first notification is measured, and the alerts of which that is one.
pub(crate) struct Drill {
    pub(crate) what: &'static str,
    pub(crate) fault: Fault,
    pub(crate) alerts: &'static [&'static str],
}

const REPLICAS: &[&str] = &["api1", "api2", "api3"];

pub(crate) static DRILLS: &[Drill] = &[
    Drill { what: "one replica killed", fault: Kill(&["api2"]), alerts: &["ApiInstanceDown", "ApiCapacityReduced"] },
    Drill {
        what: "one replica hung",
        fault: Fault::Pause(&["api2"]),
        alerts: &["ApiInstanceDown", "ApiCapacityReduced"],
    },
    Drill { what: "all replicas killed", fault: Kill(REPLICAS), alerts: &["AllApiDown"] },
    Drill { what: "database killed", fault: Kill(&["mysql"]), alerts: &["MysqlDown"] },
];

pub(crate) static CASES: &[Case] = &[
    Case { what: "nothing: it always fires", fault: Nothing, alerts: &["Watchdog"], ..CASE },
    // ---- The API ----
    Case { what: "all replicas stopped", fault: Stop(REPLICAS), alerts: &["AllApiDown"], quick: true, ..CASE },
    Case {
        what: "api2 killed",
        fault: Kill(&["api2"]),
        alerts: &["ApiInstanceDown", "ApiCapacityReduced"],
        quick: true,
        ..CASE
    },
    Case {
        what: "MySQL stopped, and payments",
        fault: All(&[Stop(&["mysql"]), Payments]),
        alerts: &["MysqlDown", "ApiErrorRateHigh", "ApiRouteErrorRateHigh", "ApiDependencyDown"],
        quick: true,
        ..CASE
    },
    // It ends a minute later, with the shortened window.
    Case {
        what: "MySQL stopped, and payments",
        fault: All(&[Stop(&["mysql"]), Payments]),
        alerts: &["ApiAvailabilityBudgetBurn", "MysqlAvailabilityBudgetBurn"],
        ..CASE
    },
    Case {
        what: "payments wait for a lock on their table",
        fault: All(&[Session("LOCK TABLES medassist.payment WRITE; SELECT SLEEP(600)"), Payments]),
        alerts: &["ApiLatencyHigh", "ApiLatencyBudgetBurn"],
        ..CASE
    },
    Case {
        what: "page: api1 alone has lost MySQL, and all connections of its pool are in use",
        fault: Page(
            "api",
            &[("app_dependency_up{dependency=\"mysql\"}", Is(0.0)), ("app_mysql_pool_connections_in_use", Is(8.0))],
        ),
        alerts: &["ApiReplicaDegraded", "ApiPoolExhausted"],
        ..CASE
    },
    Case {
        what: "api3 killed and started four times",
        fault: Restart("api3", 4),
        alerts: &["ApiInstanceRestarting"],
        ..CASE
    },
    // ---- MySQL ----
    Case {
        what: "MySQL set to read-only",
        fault: Sql("SET GLOBAL read_only = 1", "SET GLOBAL read_only = 0"),
        alerts: &["MysqlReadOnly"],
        ..CASE
    },
    Case { what: "MySQL killed and started", fault: Restart("mysql", 1), alerts: &["MysqlRestarted"], ..CASE },
    Case {
        what: "page: MySQL is saturated, its replica lags, a lock and a transaction are old",
        fault: Page(
            "mysql",
            &[
                ("mysql_global_status_connection_errors_total{error=\"max_connections\"}", Grows(2.0)),
                ("mysql_global_status_threads_connected", Is(10_000.0)),
                ("mysql_replication_lag_seconds", Is(400.0)),
                ("mysql_health_check_status{check=\"errant_transactions\",status=\"warn\"}", Is(1.0)),
                ("mysql_health_check_status{check=\"galera\",status=\"fail\"}", Is(1.0)),
                ("mysql_health_check_status{check=\"certificate\",status=\"warn\"}", Is(1.0)),
                ("mysql_metadata_lock_oldest_wait_start_timestamp_seconds", Ago(120.0)),
                ("mysql_transactions_oldest_start_timestamp_seconds", Ago(4000.0)),
                ("mysql_innodb_history_list_length", Is(2e6)),
                ("mysql_global_status_slow_queries", Grows(100.0)),
            ],
        ),
        alerts: &[
            "MysqlConnectionsRefused",
            "MysqlConnectionsHigh",
            "MysqlReplicationLagHigh",
            "MysqlReplicaDiverged",
            "MysqlClusterNodeOut",
            "MysqlCertificateExpiring",
            "MysqlMetadataLockWait",
            "MysqlTransactionOpenLong",
            "MysqlHistoryListLong",
            "MysqlSlowQueriesHigh",
        ],
        ..CASE
    },
    Case {
        what: "page: replication has stopped",
        fault: Page("mysql", &[("mysql_replication_lag_seconds", Is(f64::INFINITY))]),
        alerts: &["MysqlReplicationStopped"],
        ..CASE
    },
    // ---- Redis ----
    Case { what: "Redis stopped", fault: Stop(&["redis"]), alerts: &["RedisDown"], quick: true, ..CASE },
    Case { what: "Redis killed and started", fault: Restart("redis", 1), alerts: &["RedisRestarted"], ..CASE },
    Case {
        what: "page: Redis is full, its dumps fail, its primary, cluster and sentinel are down",
        fault: Page(
            "redis",
            &[
                ("redis_errors_total{err=\"OOM\"}", Grows(2.0)),
                ("redis_memory_used_bytes", Is(66e6)),
                ("redis_health_check_status{check=\"memory\",status=\"ok\"}", Is(0.0)),
                ("redis_evicted_keys_total", Grows(100.0)),
                ("redis_health_check_status{check=\"persistence\",status=\"warn\"}", Is(1.0)),
                ("redis_master_link_up", Is(0.0)),
                ("redis_cluster_state", Is(0.0)),
                ("redis_sentinel_master_status", Is(0.0)),
                ("redis_rejected_connections_total", Grows(2.0)),
                ("redis_connected_clients", Is(9_900.0)),
                ("redis_blocked_clients", Is(9_000.0)),
            ],
        ),
        alerts: &[
            "RedisWritesRefused",
            "RedisMemoryHigh",
            "RedisEvictionsHigh",
            "RedisPersistenceFailed",
            "RedisReplicationBroken",
            "RedisClusterDown",
            "RedisSentinelMasterDown",
            "RedisConnectionsRefused",
            "RedisConnectionsHigh",
            "RedisClientsBlocked",
        ],
        ..CASE
    },
    Case {
        what: "page: Redis had a replica, and has none",
        fault: Vanish("redis", &[("redis_connected_slaves", Is(1.0))]),
        alerts: &["RedisReplicaLost"],
        ..CASE
    },
    // ---- Backups ----
    Case {
        what: "a backup while MySQL is down",
        fault: Backup,
        alerts: &["MysqlBackupFailed", "BackupSuccessBudgetBurn"],
        ..CASE
    },
    Case {
        what: "page: the recovery point is 67 min old, the last backup is large, the disk is full, a file is from the future",
        fault: Page(
            "backup",
            &[
                ("backup_last_recovery_point_timestamp_seconds{backup=\"mysql\"}", Ago(4000.0)),
                ("backup_last_size_bytes{backup=\"mysql\"}", Is(9e6)),
                ("backup_size_median_bytes{backup=\"mysql\"}", Is(1e6)),
                ("backup_complete_files{backup=\"mysql\"}", Is(6.0)),
                ("backup_filesystem_avail_bytes{backup=\"mysql\"}", Is(1e6)),
                ("backup_files{backup=\"mysql\",state=\"future\"}", Is(1.0)),
            ],
        ),
        alerts: &[
            "MysqlBackupRpoExceeded",
            "MysqlBackupSizeAnomaly",
            "MysqlBackupSpaceLow",
            "MysqlBackupClockWrong",
            "RecoveryPointBudgetBurn",
        ],
        ..CASE
    },
    Case {
        what: "page: the recovery point is 27 min old, the directory unreadable, a file damaged",
        fault: Page(
            "backup",
            &[
                ("backup_last_recovery_point_timestamp_seconds{backup=\"mysql\"}", Ago(1600.0)),
                ("backup_scan_success{backup=\"mysql\"}", Is(0.0)),
                ("backup_files{backup=\"mysql\",state=\"partial\"}", Is(1.0)),
            ],
        ),
        alerts: &["MysqlBackupLate", "MysqlBackupDirectoryUnreadable", "MysqlBackupFilesDamaged"],
        ..CASE
    },
    Case {
        what: "page: the last backup lacks a database, and restore tests are old, slow and failed",
        fault: Page(
            "backup",
            &[
                ("backup_last_run_partial{backup=\"mysql\"}", Is(1.0)),
                ("backup_databases_without_backup{backup=\"mysql\"}", Is(1.0)),
                ("backup_proof_success{backup=\"mysql\"}", Is(0.0)),
                ("backup_proof_last_success_timestamp_seconds{backup=\"mysql\"}", Ago(100_000.0)),
                ("backup_proof_restore_seconds{backup=\"mysql\"}", Is(4000.0)),
                ("backup_offsite_recovery_point_timestamp_seconds{backup=\"mysql\"}", Ago(100_000.0)),
                ("backup_binlog_recovery_point_timestamp_seconds{backup=\"mysql\"}", Ago(1000.0)),
                ("backup_binlog_covers_last_backup{backup=\"mysql\"}", Is(0.0)),
            ],
        ),
        alerts: &[
            "MysqlBackupPartial",
            "MysqlBackupDatabaseRpoExceeded",
            "MysqlRestoreTestFailed",
            "MysqlRestoreTestOld",
            "MysqlRestoreTooSlow",
            "MysqlBackupOffsiteOld",
            "MysqlBinlogOld",
            "MysqlBinlogGap",
        ],
        ..CASE
    },
    // ---- nginx and HAProxy ----
    Case { what: "nginx killed", fault: Kill(&["nginx"]), alerts: &["NginxDown"], quick: true, ..CASE },
    Case {
        what: "page: nginx drops connections",
        fault: Page("nginx", &[("nginx_connections_accepted", Grows(50.0))]),
        alerts: &["NginxConnectionsDropped"],
        ..CASE
    },
    Case {
        what: "page: nginx had 1,000 requests/s, and has next to none",
        fault: Vanish("nginx", &[("nginx_http_requests_total", Grows(1000.0))]),
        alerts: &["FrontendTrafficLost"],
        ..CASE
    },
    Case {
        what: "page: HAProxy is saturated, repeats requests, and a server flaps; with payments",
        fault: All(&[
            Page(
                "haproxy",
                &[
                    ("haproxy_backend_current_queue{proxy=\"be_api\"}", Is(10.0)),
                    ("haproxy_server_current_sessions{proxy=\"be_api\",server=\"api1\"}", Is(250.0)),
                    ("haproxy_process_current_connections", Is(3_900.0)),
                    ("haproxy_backend_retry_warnings_total{proxy=\"be_api\"}", Grows(1000.0)),
                    ("haproxy_health_check_status{check=\"resolution\",status=\"warn\"}", Is(1.0)),
                    ("haproxy_server_check_up_down_total{proxy=\"be_api\",server=\"api1\"}", Grows(1.0)),
                ],
            ),
            Payments,
        ]),
        alerts: &[
            "HaproxyQueueing",
            "HaproxyServerLimitNear",
            "HaproxyConnectionsHigh",
            "HaproxyRetriesHigh",
            "HaproxyServerUnresolved",
            "HaproxyServerFlapping",
        ],
        ..CASE
    },
    // ---- The machine and containers ----
    Case {
        what: "page: the machine is out of CPU and memory, its disk is full and read-only, its clock is wrong",
        fault: Page(
            "node",
            &[
                ("node_cpu_seconds_total{mode=\"idle\"}", Is(0.0)),
                ("node_load5", Is(0.0)),
                ("node_memory_MemAvailable_bytes", Is(1.0)),
                ("node_filesystem_avail_bytes{device=\"/dev/fire\",fstype=\"ext4\",mountpoint=\"/fire\"}", Is(1e9)),
                ("node_filesystem_size_bytes{device=\"/dev/fire\",fstype=\"ext4\",mountpoint=\"/fire\"}", Is(1e11)),
                ("node_filesystem_readonly", Is(1.0)),
                ("node_vmstat_oom_kill", Grows(1.0)),
                ("node_time_seconds", Ago(100.0)),
            ],
        ),
        alerts: &[
            "NodeCpuHigh",
            "NodeMemoryHigh",
            "NodeFilesystemSpaceLow",
            "NodeFilesystemReadOnly",
            "NodeOomKill",
            "NodeClockSkew",
        ],
        quick: true,
        ..CASE
    },
    Case {
        what: "page: the machine has a load of 100, and a disk that will be full in 10 min",
        fault: Page(
            "node",
            &[
                // Busy CPUs would inhibit it.
                ("node_cpu_seconds_total{mode=\"idle\"}", Grows(1000.0)),
                ("node_load5", Is(100.0)),
                (
                    "node_filesystem_avail_bytes{device=\"/dev/fire\",fstype=\"ext4\",mountpoint=\"/fire\"}",
                    Line(3e10, -5e7),
                ),
                ("node_filesystem_size_bytes{device=\"/dev/fire\",fstype=\"ext4\",mountpoint=\"/fire\"}", Is(1e11)),
            ],
        ),
        alerts: &["NodeLoadHigh", "NodeFilesystemFillsUp"],
        ..CASE
    },
    Case {
        what: "page: a container is unhealthy, restarts, is throttled and out of memory",
        fault: Page(
            "cadvisor",
            &[
                ("container_oom_events_total{name=\"medassist-api1-1\"}", Grows(1.0)),
                ("container_start_time_seconds{name=\"medassist-api1-1\"}", Ago(0.0)),
                ("container_health_state{name=\"medassist-api1-1\"}", Is(0.0)),
                ("container_memory_working_set_bytes{name=\"medassist-api1-1\"}", Is(95e6)),
                ("container_spec_memory_limit_bytes{name=\"medassist-api1-1\"}", Is(100e6)),
                ("container_cpu_cfs_periods_total{name=\"medassist-api1-1\"}", Grows(10.0)),
                ("container_cpu_cfs_throttled_periods_total{name=\"medassist-api1-1\"}", Grows(5.0)),
            ],
        ),
        alerts: &[
            "ContainerOomKilled",
            "ContainerRestarting",
            "ContainerUnhealthy",
            "ContainerMemoryHigh",
            "ContainerThrottled",
        ],
        ..CASE
    },
    // ---- Logs ----
    Case {
        what: "page: Elasticsearch is red, its disk is full, no log arrives while there are payments",
        fault: All(&[
            Page(
                "elasticsearch",
                &[
                    ("elasticsearch_indices_docs_primary{index=\".ds-logs-medassist.api-default-1\"}", Is(100.0)),
                    ("elasticsearch_cluster_health_status{color=\"red\"}", Is(1.0)),
                    ("elasticsearch_filesystem_data_available_bytes{name=\"es\"}", Is(1e9)),
                ],
            ),
            Payments,
        ]),
        alerts: &["LogsNotArriving", "ElasticsearchRed", "ElasticsearchDiskLow"],
        ..CASE
    },
    // ---- Monitoring ----
    Case {
        what: "redis-exporter killed",
        fault: Kill(&["redis-exporter"]),
        alerts: &["ExporterDown"],
        quick: true,
        ..CASE
    },
    Case {
        what: "haproxy-exporter killed",
        fault: Kill(&["haproxy-exporter"]),
        alerts: &["HaproxyExporterDown", "SloMetricAbsent"],
        quick: true,
        ..CASE
    },
    Case {
        what: "cAdvisor had a target, and has none",
        fault: Vanish("cadvisor", &[("container_last_seen", Is(1.0))]),
        alerts: &["TargetsVanished"],
        ..CASE
    },
    Case {
        what: "page: an exporter loses a collector, samples and log lines; checks warn and fail; its reload failed",
        fault: Page(
            "redis",
            &[
                ("redis_exporter_collector_success", Is(0.0)),
                ("redis_exporter_dropped_samples_total", Grows(1.0)),
                ("redis_exporter_log_lines_dropped_total", Grows(1.0)),
                ("redis_exporter_config_last_reload_successful", Is(0.0)),
                ("redis_health_check_status{check=\"latency\",status=\"fail\"}", Is(1.0)),
                ("redis_health_check_status{check=\"latency\",status=\"warn\"}", Is(1.0)),
            ],
        ),
        alerts: &[
            "ExporterCollectorFailing",
            "ExporterSamplesDropped",
            "LogLinesDropped",
            "ConfigReloadFailed",
            "HealthCheckFailing",
            "HealthCheckWarning",
        ],
        ..CASE
    },
    Case {
        what: "haproxy-exporter answers 2.5 s later",
        fault: Slow("haproxy", 2500),
        alerts: &["TargetScrapeSlow"],
        ..CASE
    },
    Case {
        what: "the webhook answers 500",
        fault: Webhook,
        alerts: &["AlertmanagerNotificationsFailed"],
        until: Until::Firing,
        ..CASE
    },
    Case {
        what: "page: Prometheus cannot deliver alerts, evaluate rules, store or accept samples",
        fault: Page(
            "prometheus",
            &[
                ("prometheus_notifications_errors_total", Grows(1.0)),
                ("prometheus_rule_evaluation_failures_total", Grows(1.0)),
                ("prometheus_rule_group_last_duration_seconds", Is(100.0)),
                ("prometheus_tsdb_wal_corruptions_total", Grows(1.0)),
                ("prometheus_target_scrapes_sample_out_of_order_total", Grows(1.0)),
            ],
        ),
        alerts: &[
            "PrometheusNotificationsFailed",
            "PrometheusRuleFailures",
            "PrometheusRuleEvaluationSlow",
            "PrometheusStorageFailing",
            "PrometheusSamplesRejected",
        ],
        ..CASE
    },
    Case {
        what: "page: a push was rejected",
        fault: Page("pushgateway", &[("push_failure_time_seconds{job=\"mysql_backup\"}", Ago(0.0))]),
        alerts: &["PushgatewayPushRejected"],
        ..CASE
    },
];

/// Alerts without a case, and why.
pub(crate) const EXCEPTIONS: &[(&str, &str)] = &[];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// Of `prometheus/rules`.
    fn rules() -> BTreeSet<String> {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../prometheus/rules");
        let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_file());
        let text: String = files.map(|path| std::fs::read_to_string(path).unwrap()).collect();
        text.lines().filter_map(|line| Some(line.split("- alert: ").nth(1)?.to_owned())).collect()
    }

    #[test]
    fn every_rule_has_a_case_or_a_reason() {
        let known: BTreeSet<String> = CASES
            .iter()
            .flat_map(|case| case.alerts)
            .chain(EXCEPTIONS.iter().map(|(alert, _)| alert))
            .map(|alert| (*alert).to_owned())
            .collect();
        let missing: Vec<_> = rules().difference(&known).cloned().collect();
        assert!(missing.is_empty(), "no case of tests/src/bin/fire/table.rs makes these alerts fire: {missing:?}");
    }

    #[test]
    fn no_alert_has_two_cases() {
        let mut seen = BTreeSet::new();
        for alert in CASES.iter().flat_map(|case| case.alerts).chain(EXCEPTIONS.iter().map(|(alert, _)| alert)) {
            assert!(seen.insert(alert), "{alert} is there twice");
        }
    }
}
