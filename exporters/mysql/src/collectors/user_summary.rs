//! `sys.x$user_summary`: what each user does, as the performance schema sums it up.

use exporter_toolkit::Desc;

use super::table::Table;

const USER: &[&str] = &["user"];
/// The performance schema's unit of time.
const PICOSECONDS: f64 = 1e12;

pub(super) const USER_SUMMARY: Table = Table {
    name: "sys.user_summary",
    help: "What each user does, from sys.x$user_summary.",
    by_default: false,
    switches: &[],
    opens_tables: false,
    // The view puts those first who waited longest.
    statement: "SELECT user, statements, statement_latency, table_scans, file_ios, file_io_latency, current_connections, \
                total_connections, unique_hosts, current_memory, total_memory_allocated FROM sys.x$user_summary LIMIT 10000",
    labels: 1,
    families: &[
        (Desc::counter("mysql_sys_statements_total", "Statements of the user.", USER), 1.0),
        // The peer's name, without its unit.
        (Desc::counter("mysql_sys_statement_latency", "Seconds that the user's statements took.", USER), PICOSECONDS),
        (Desc::counter("mysql_sys_table_scans_total", "Table scans by the user.", USER), 1.0),
        (Desc::counter("mysql_sys_file_ios_total", "File operations for the user.", USER), 1.0),
        (Desc::counter("mysql_sys_file_io_seconds_total", "Time of file operations for the user.", USER), PICOSECONDS),
        (Desc::gauge("mysql_sys_current_connections", "Connections that the user has.", USER), 1.0),
        (Desc::counter("mysql_sys_connections_total", "Connections that the user made.", USER), 1.0),
        (Desc::counter("mysql_sys_unique_hosts_total", "Hosts from which the user came.", USER), 1.0),
        (Desc::gauge("mysql_sys_current_memory_bytes", "Memory that is allocated for the user.", USER), 1.0),
        (Desc::counter("mysql_sys_memory_allocated_bytes_total", "Memory that was allocated for the user.", USER), 1.0),
    ],
};

#[cfg(test)]
mod tests {
    use super::super::table::written;
    use super::*;

    #[test]
    fn picoseconds_become_seconds() {
        let row = ["app", "7", "1500000000000", "1", "2", "250000000000", "3", "4", "1", "-5", "6"].map(Some);
        let samples = written(&USER_SUMMARY, &row);
        assert_eq!(samples.len(), 10);
        for expected in [
            r#"mysql_sys_statements_total{user="app"} 7"#,
            r#"mysql_sys_statement_latency{user="app"} 1.5"#,
            r#"mysql_sys_file_io_seconds_total{user="app"} 0.25"#,
            r#"mysql_sys_current_memory_bytes{user="app"} -5"#,
        ] {
            assert!(samples.iter().any(|sample| sample == expected), "{expected}");
        }
    }
}
