//! The dump client: which program fits the server, and with which flags.
//!
//! Flavours must match. A MariaDB client rejects MySQL's flags and writes a first line (the sandbox mode) that MySQL's
//! client can't restore; and Debian calls MariaDB's client `mysqldump` too. So the program's own `--version` decides,
//! never its name.

use std::{
    fs::{File, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::PathBuf,
    process::{Command, Stdio},
};

use mysql_kit::Version;
use service_kit::{address::Address, secret::Secret};

use crate::{
    error::RunError,
    manifest::{Flavour, Tool},
    server::Login,
};

/// What is common: one snapshot of all InnoDB tables, rows streamed rather than collected, everything that the default
/// leaves out, and bytes that no character set changes on the way back. A gibibyte is the protocol's largest packet, so
/// the largest possible row.
const COMMON_FLAGS: [&str; 9] = [
    "--single-transaction",
    "--quick",
    "--triggers",
    "--routines",
    "--events",
    "--hex-blob",
    "--default-character-set=utf8mb4",
    "--max-allowed-packet=1G",
    // Tablespaces would need PROCESS, and belong to a server rather than to a database.
    "--no-tablespaces",
];

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Client {
    pub(crate) program: &'static str,
    version: Version,
    /// The answer to `--version`.
    version_text: String,
}

impl Client {
    /// The installed client that fits; a program that is not installed is skipped.
    pub(crate) fn find(server: Flavour) -> Result<Self, RunError> {
        let mut seen = Vec::new();
        for program in candidates(server) {
            let output = Command::new(program).arg("--version").stdin(Stdio::null()).output();
            match output {
                Ok(output) => seen.push(Self::identify(program, String::from_utf8_lossy(&output.stdout).trim())),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(source) => return Err(RunError::ClientBroken { tool: (*program).to_owned(), source }),
            }
        }
        choose(server, seen)
    }

    fn identify(program: &'static str, version_text: &str) -> Self {
        Self { program, version: parse_version(version_text), version_text: version_text.to_owned() }
    }

    pub(crate) fn flags(&self) -> Vec<&'static str> {
        let mut flags = COMMON_FLAGS.to_vec();
        match self.version.flavour() {
            // From 11.4 the client insists on a certificate that it can verify, which a server with default settings
            // hasn't got.
            Flavour::MariaDb => flags.push("--skip-ssl-verify-server-cert"),
            Flavour::MySql => {
                // COMMENTED keeps the set of transactions in the file without breaking a restore on a server that has
                // some.
                let gtid = if self.version.is_mysql_since((8, 0, 17)) { "COMMENTED" } else { "OFF" };
                flags.push(if gtid == "OFF" { "--set-gtid-purged=OFF" } else { "--set-gtid-purged=COMMENTED" });
                // An 8.x client requests histograms, which older servers lack; clients before 8.0 ignore a
                // loose option.
                flags.push("--loose-column-statistics=0");
                // Without TLS, caching_sha2_password needs the server's key to send the password.
                flags.push("--loose-get-server-public-key");
            }
        }
        flags
    }

    pub(crate) fn tool(&self) -> Tool {
        Tool {
            name: self.program.to_owned(),
            version: self.version_text.clone(),
            flags: self.flags().into_iter().map(str::to_owned).collect(),
        }
    }
}

/// `mysqldump  Ver 8.4.3 for Linux …`; `mysqldump  Ver 10.13 Distrib 5.7.44, for Linux …`, where the first number is
/// the protocol's; `mariadb-dump from 11.4.2-MariaDB, client 10.19 …`.
fn parse_version(text: &str) -> Version {
    let rest = ["Distrib ", " from ", "Ver "].into_iter().find_map(|word| text.split_once(word)).map(|(_, rest)| rest);
    Version::parse(rest.unwrap_or_default().split(' ').next().unwrap_or_default())
}

fn candidates(server: Flavour) -> &'static [&'static str] {
    match server {
        Flavour::MariaDb => &["mariadb-dump", "mysqldump"],
        // `mariadb-dump` only to tell that it was seen and can't be used.
        Flavour::MySql => &["mysqldump", "mariadb-dump"],
    }
}

fn choose(server: Flavour, mut seen: Vec<Client>) -> Result<Client, RunError> {
    if let Some(index) = seen.iter().position(|client| client.version.flavour() == server) {
        return Ok(seen.swap_remove(index));
    }
    let names: Vec<String> =
        seen.iter().map(|client| format!("{} is {}'s", client.program, client.version.flavour())).collect();
    Err(RunError::NoSuitableClient {
        server,
        seen: if names.is_empty() { "none is installed".to_owned() } else { names.join(", ") },
        advice: match server {
            Flavour::MariaDb => "install mariadb-client",
            Flavour::MySql => {
                "install MySQL's own client (mysql-community-client); MariaDB's dump of a MySQL server may not restore there"
            }
        },
    })
}

/// An option file with the login, readable by this user only, gone when dropped. Neither argv nor the environment would
/// keep a secret.
pub(crate) struct Credentials {
    // Removes the directory with the file in it.
    _directory: tempfile::TempDir,
    path: PathBuf,
}

impl Credentials {
    pub(crate) fn write(login: &Login) -> Result<Self, RunError> {
        let storage =
            |path: PathBuf| move |source| RunError::Storage { action: "write the client's login to", path, source };
        // 0700 by itself.
        let directory =
            tempfile::Builder::new().prefix("mysql-backup-").tempdir().map_err(storage(std::env::temp_dir()))?;
        let path = directory.path().join("client.cnf");
        let mut file: File =
            OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path).map_err(storage(path.clone()))?;
        file.write_all(option_file(login).as_bytes()).map_err(storage(path.clone()))?;
        Ok(Self { _directory: directory, path })
    }

    /// Must be the client's first argument. `--defaults-file` and not `--defaults-extra-file`: the host's own option
    /// files could say `force` or `skip-comments`, which make bad dumps look good.
    pub(crate) fn argument(&self) -> String {
        format!("--defaults-file={}", self.path.display())
    }
}

fn option_file(login: &Login) -> String {
    let address = match &login.address {
        Address::Tcp { host, port } => format!("protocol=tcp\nhost={}\nport={port}", quoted(host)),
        Address::Unix(path) => format!("protocol=socket\nsocket={}", quoted(&path.to_string_lossy())),
    };
    let password = login.password.as_ref().map_or("", Secret::expose);
    format!("[client]\n{address}\nuser={}\npassword={}\n", quoted(&login.user), quoted(password))
}

/// A value of an option file. In double quotes `#` starts no comment; the escapes are the ones that the clients undo.
fn quoted(value: &str) -> String {
    let mut quoted = String::from("\"");
    for c in value.chars() {
        match c {
            '\\' => quoted.push_str("\\\\"),
            '"' => quoted.push_str("\\\""),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    const MARIADB: &str = "mysqldump  Ver 10.19 Distrib 10.11.19-MariaDB, for debian-linux-gnu (x86_64)";
    const MARIADB_11: &str = "mariadb-dump from 11.4.2-MariaDB, client 10.19 for debian-linux-gnu (x86_64)";
    const MYSQL_84: &str = "mysqldump  Ver 8.4.3 for Linux on x86_64 (MySQL Community Server - GPL)";
    const MYSQL_57: &str = "mysqldump  Ver 10.13 Distrib 5.7.44, for Linux (x86_64)";

    #[test]
    fn the_version_decides_not_the_name() {
        let of = |program, version| Client::identify(program, version);
        let both = vec![of("mariadb-dump", MARIADB_11), of("mysqldump", MYSQL_84)];
        assert_eq!(choose(Flavour::MySql, both.clone()).unwrap().program, "mysqldump");
        assert_eq!(choose(Flavour::MariaDb, both).unwrap().program, "mariadb-dump");
        assert_eq!(choose(Flavour::MariaDb, vec![of("mysqldump", MARIADB)]).unwrap().program, "mysqldump");
    }

    #[test]
    fn a_client_of_the_other_flavour_is_refused_with_advice() {
        let debian = vec![Client::identify("mysqldump", MARIADB), Client::identify("mariadb-dump", MARIADB)];
        let error = choose(Flavour::MySql, debian).unwrap_err().to_string();
        assert!(error.contains("mysqldump is MariaDB's, mariadb-dump is MariaDB's"), "{error}");
        assert!(error.contains("mysql-community-client"), "{error}");
        let error = choose(Flavour::MariaDb, vec![]).unwrap_err().to_string();
        assert!(error.contains("none is installed"), "{error}");
    }

    #[test]
    fn each_client_gets_flags_that_it_knows() {
        let flags = |version| Client::identify("mysqldump", version).flags();
        assert!(flags(MYSQL_84).contains(&"--set-gtid-purged=COMMENTED"));
        assert!(flags(MYSQL_57).contains(&"--set-gtid-purged=OFF"));
        for flag in flags(MARIADB) {
            assert!(!flag.contains("gtid") && !flag.contains("ssl-mode"), "{flag}");
        }
        for version in [MARIADB, MARIADB_11, MYSQL_57, MYSQL_84] {
            assert!(flags(version).contains(&"--single-transaction"));
        }
    }

    #[test]
    fn the_option_file_quotes_what_the_clients_unquote() {
        let login = Login {
            address: Address::Unix("/run/my db.sock".into()),
            user: "backup".to_owned(),
            password: Some(Secret::new("p\"a's\\s#s;w o\trd")),
        };
        assert_eq!(
            option_file(&login),
            "[client]\nprotocol=socket\nsocket=\"/run/my db.sock\"\nuser=\"backup\"\npassword=\"p\\\"a's\\\\s#s;w o\\trd\"\n"
        );
    }
}
