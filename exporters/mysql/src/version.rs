//! What differs between MySQL's versions and MariaDB's.

use crate::config::ConnectionSettings;

/// A server's flavour and version, from its variable `version`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Version {
    mariadb: bool,
    number: (u16, u16, u16),
}

impl Version {
    /// `10.11.19-MariaDB-0+deb12u1`, `8.4.3`, `5.7.44-48-log`.
    pub(crate) fn parse(text: &str) -> Self {
        let mut parts = text.split(|c: char| !c.is_ascii_digit()).map(|part| part.parse().unwrap_or(0));
        let mut next = || parts.next().unwrap_or(0);
        let number = (next(), next(), next());
        // A custom version string may lack the name, but no MySQL has a two-digit version.
        let mariadb = number.0 >= 10 || text.to_ascii_lowercase().contains("mariadb");
        Self { mariadb, number }
    }

    /// MySQL of this version or a later one; not MariaDB, whose versions are others.
    pub(crate) fn is_mysql_since(self, number: (u16, u16, u16)) -> bool {
        !self.mariadb && self.number >= number
    }

    /// The one statement that this server understands; no error noise in its log by trying others.
    pub(crate) fn replication_statement(self) -> &'static str {
        match (self.mariadb, self.number) {
            (true, (10.., ..)) => "SHOW ALL SLAVES STATUS",
            (false, (8, 0, 22..) | (8, 1.., _) | (9.., ..)) => "SHOW REPLICA STATUS",
            _ => "SHOW SLAVE STATUS",
        }
    }

    /// Which replicas are registered with it.
    pub(crate) fn replicas_statement(self) -> &'static str {
        match (self.mariadb, self.number) {
            (false, (8, 0, 22..) | (8, 1.., _) | (9.., ..)) => "SHOW REPLICAS",
            _ => "SHOW SLAVE HOSTS",
        }
    }

    pub(crate) fn is_mariadb(self) -> bool {
        self.mariadb
    }

    pub(crate) fn is_mariadb_since(self, major: u16, minor: u16) -> bool {
        self.mariadb && self.number >= (major, minor, 0)
    }

    /// What a connection is set to once: assignments for one `SET`.
    pub(crate) fn session_settings(self, wanted: &ConnectionSettings, statement_limit: u64) -> Vec<String> {
        let mut settings = vec![
            // The server itself closes a connection that nobody scrapes over any more.
            format!("wait_timeout={}", crate::client::SERVER_IDLE_LIMIT.as_secs()),
        ];
        // Neither an ALTER TABLE nor somebody's lock on the canary's row may hold the scrape.
        if let Some(seconds) = wanted.lock_wait_timeout() {
            settings.extend(["lock_wait_timeout", "innodb_lock_wait_timeout"].map(|name| format!("{name}={seconds}")));
        }
        if wanted.log_slow_filter {
            settings.push("log_slow_filter='tmp_table_on_disk,filesort_on_disk'".to_owned());
        }
        // The server gives up with us, so that abandoned statements don't pile up there. MySQL limits SELECT only.
        match (self.mariadb, self.number) {
            (true, (11.., ..) | (10, 1.., _)) => settings.push(format!("max_statement_time={statement_limit}")),
            (false, (8.., ..) | (5, 8.., _) | (5, 7, 8..)) => {
                settings.push(format!("max_execution_time={}", statement_limit.saturating_mul(1000)));
            }
            _ => {}
        }
        settings
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_server_is_asked_in_its_own_words() {
        for (version, statement, limit) in [
            ("10.11.19-MariaDB-0+deb12u1", "SHOW ALL SLAVES STATUS", Some("max_statement_time=10")),
            ("12.1.2", "SHOW ALL SLAVES STATUS", Some("max_statement_time=10")),
            ("10.0.38-MariaDB", "SHOW ALL SLAVES STATUS", None),
            ("5.5.68-MariaDB", "SHOW SLAVE STATUS", None),
            ("5.6.51", "SHOW SLAVE STATUS", None),
            ("5.7.44-48-log", "SHOW SLAVE STATUS", Some("max_execution_time=10000")),
            ("8.0.21", "SHOW SLAVE STATUS", Some("max_execution_time=10000")),
            ("8.0.22", "SHOW REPLICA STATUS", Some("max_execution_time=10000")),
            ("8.4.3", "SHOW REPLICA STATUS", Some("max_execution_time=10000")),
            ("9.7.0-commercial", "SHOW REPLICA STATUS", Some("max_execution_time=10000")),
            ("", "SHOW SLAVE STATUS", None),
        ] {
            let parsed = Version::parse(version);
            assert_eq!(parsed.replication_statement(), statement, "{version}");
            let settings = parsed.session_settings(&ConnectionSettings::given(&[]), 10);
            assert_eq!(settings.get(1).map(String::as_str), Some("lock_wait_timeout=2"));
            assert_eq!(settings.get(3).map(String::as_str), limit, "{version}");
        }
    }

    #[test]
    fn the_peers_flags_set_what_they_set_there() {
        let set = |flags: &[&str]| {
            Version::parse("10.11.6-MariaDB").session_settings(&ConnectionSettings::given(flags), 10)[1..].join(" ")
        };
        let limit = "max_statement_time=10";
        let waits = |seconds| format!("lock_wait_timeout={seconds} innodb_lock_wait_timeout={seconds}");
        assert_eq!(set(&["--exporter.lock_wait_timeout=7"]), format!("{} {limit}", waits(7)));
        assert_eq!(set(&["--no-exporter.enable_lock_wait_timeout"]), limit);
        assert_eq!(
            set(&["--no-exporter.enable_lock_wait_timeout", "--exporter.enable_lock_wait_timeout"]),
            format!("{} {limit}", waits(2))
        );
        assert_eq!(
            set(&["--exporter.log_slow_filter"]),
            format!("{} log_slow_filter='tmp_table_on_disk,filesort_on_disk' {limit}", waits(2))
        );
    }

    #[test]
    fn mysqls_versions_are_no_mariadbs() {
        for (version, expected) in [
            ("8.0.28", true),
            ("8.1.0", true),
            ("9.7.4", true),
            ("8.0.27", false),
            ("10.11.19-MariaDB", false),
            ("", false),
        ] {
            assert_eq!(Version::parse(version).is_mysql_since((8, 0, 28)), expected, "{version}");
        }
    }
}
