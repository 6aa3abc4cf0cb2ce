//! Flavours and versions of servers and of their clients.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Which product a server or a client is. They share a protocol and a history, but neither versions nor statements.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Flavour {
    #[serde(rename = "mariadb")]
    MariaDb,
    #[serde(rename = "mysql")]
    MySql,
}

impl fmt::Display for Flavour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::MariaDb => "MariaDB",
            Self::MySql => "MySQL",
        })
    }
}

/// A flavour and its version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Version {
    flavour: Flavour,
    number: (u16, u16, u16),
}

impl Version {
    /// Parses the variable `version`: `10.11.19-MariaDB-0+deb12u1`, `8.4.3`, `5.7.44-48-log`. Missing numbers are 0.
    pub fn parse(text: &str) -> Self {
        let mut parts = text.split(|c: char| !c.is_ascii_digit()).map(|part| part.parse().unwrap_or(0));
        let mut next = || parts.next().unwrap_or(0);
        let number = (next(), next(), next());
        // A configured version string may lack the name, but MySQL has no two-digit major version.
        let is_mariadb = number.0 >= 10 || text.to_ascii_lowercase().contains("mariadb");
        Self { flavour: if is_mariadb { Flavour::MariaDb } else { Flavour::MySql }, number }
    }

    pub fn flavour(self) -> Flavour {
        self.flavour
    }

    pub fn is_mariadb(self) -> bool {
        self.flavour == Flavour::MariaDb
    }

    /// MariaDB of this version or a later one.
    pub fn is_mariadb_since(self, number: (u16, u16, u16)) -> bool {
        self.is_mariadb() && self.number >= number
    }

    /// MySQL of this version or a later one.
    pub fn is_mysql_since(self, number: (u16, u16, u16)) -> bool {
        !self.is_mariadb() && self.number >= number
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flavours_are_parsed() {
        for (version, expected) in [
            ("10.11.19-MariaDB-0+deb12u1", Flavour::MariaDb),
            ("5.5.68-MariaDB", Flavour::MariaDb),
            ("11.4.2", Flavour::MariaDb),
            ("8.4.3", Flavour::MySql),
            ("8.0.36-28", Flavour::MySql),
            ("", Flavour::MySql),
        ] {
            assert_eq!(Version::parse(version).flavour(), expected, "{version}");
        }
    }

    #[test]
    fn versions_are_compared_within_a_flavour() {
        for (version, mysql, mariadb) in [
            ("8.0.28", true, false),
            ("8.1.0", true, false),
            ("9.7.4-commercial", true, false),
            ("8.0.27", false, false),
            ("10.11.19-MariaDB", false, true),
            ("10.4.34-MariaDB", false, false),
            ("", false, false),
        ] {
            assert_eq!(Version::parse(version).is_mysql_since((8, 0, 28)), mysql, "{version}");
            assert_eq!(Version::parse(version).is_mariadb_since((10, 5, 0)), mariadb, "{version}");
        }
    }

    #[test]
    fn flavours_have_stable_names_in_json() {
        for flavour in [Flavour::MariaDb, Flavour::MySql] {
            let json = format!("\"{}\"", flavour.to_string().to_lowercase());
            assert_eq!(serde_json::to_string(&flavour).unwrap(), json);
        }
    }
}
