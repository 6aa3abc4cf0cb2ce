//! The dump client: which program fits the server, and with which flags.
//!
//! Flavours must match. A MariaDB client rejects MySQL's flags and writes a first line (the sandbox mode) that MySQL's
//! client can't restore; and Debian calls MariaDB's client `mysqldump` too. So the program's own `--version` decides,
//! never its name.

use std::{
    fs::File,
    io::{self, Write},
    os::unix::process::CommandExt as _,
    process::{Command, Stdio},
};

use mysql_kit::Version;
use rustix::fs::{MemfdFlags, Mode, fchmod, memfd_create};
use service_kit::{address::Address, secret::Secret};

use crate::{
    error::RunError,
    guard,
    login::Login,
    manifest::{Flavour, Tool},
};

/// What is common: one snapshot of all InnoDB tables, rows streamed rather than collected, everything that the default
/// leaves out, and bytes that no character set changes on the way back. A gibibyte is the protocol's largest packet, so
/// the largest possible row.
const COMMON_FLAGS: [&str; 10] = [
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
    // A table whose default is a sequence can't be loaded under LOCK TABLES, and nobody else writes at a restore.
    "--skip-add-locks",
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

    /// The flags for this content of a server.
    pub(crate) fn flags(&self, features: Features) -> Vec<&'static str> {
        let mut flags = COMMON_FLAGS.to_vec();
        match self.version.flavour() {
            Flavour::MariaDb => {
                // From 11.4 the client insists on a certificate that it can verify, which a server with default
                // settings hasn't got.
                if !features.verify_tls {
                    flags.push("--skip-ssl-verify-server-cert");
                }
                if features.versioned_tables && self.keeps_history() {
                    flags.push("--dump-history");
                }
                if features.binary_log {
                    // The coordinates of the snapshot, as a comment. MariaDB takes no lock for them.
                    flags.push("--master-data=2");
                }
            }
            Flavour::MySql => {
                // Any other value makes the client run FLUSH TABLES, which stalls the application behind the longest
                // query, and write a dump whose restore is hidden from replicas.
                flags.push("--set-gtid-purged=OFF");
                // An 8.x client requests histograms, which older servers lack; clients before 8.0 ignore a
                // loose option.
                flags.push("--loose-column-statistics=0");
                // Without TLS, caching_sha2_password needs the server's key to send the password.
                flags.push("--loose-get-server-public-key");
                // Like tablespaces, masking policies belong to a server and need further privileges.
                flags.push("--loose-skip-masking-policies");
            }
        }
        flags
    }

    /// Whether it can save the history of system-versioned tables.
    pub(crate) fn keeps_history(&self) -> bool {
        self.version.is_mariadb_since((10, 11, 0))
    }

    /// The client with its login, which it reads from an anonymous file: no kill leaves a password on a disk, and
    /// neither argv nor the environment keeps one. The client dies with this process.
    pub(crate) fn command(&self, login: &Login) -> Result<Command, RunError> {
        let login = login_file(login, self.version.flavour())
            .map_err(|source| RunError::ClientBroken { tool: self.program.to_owned(), source })?;
        let mut command = guard::command(self.program);
        command
            // It must be the first argument. `--defaults-file` and not `--defaults-extra-file`: the host's own option
            // files could say `force` or `skip-comments`, which make bad dumps look good.
            .arg("--defaults-file=/dev/stdin")
            // The clients read a login file in the home directory even where --defaults-file forbids all others.
            .env_remove("HOME")
            .env_remove("MYSQL_PWD")
            .stdin(Stdio::from(login))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0);
        Ok(command)
    }

    pub(crate) fn tool(&self, flags: Vec<String>) -> Tool {
        Tool { name: self.program.to_owned(), version: self.version_text.clone(), flags }
    }
}

/// What the flags depend on.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Features {
    pub(crate) binary_log: bool,
    pub(crate) versioned_tables: bool,
    pub(crate) verify_tls: bool,
}

/// The login of a flavour's client, as an option file without a name.
pub(crate) fn login_file(login: &Login, client: Flavour) -> io::Result<File> {
    anonymous_file(option_file(login, client).as_bytes())
}

/// A file without a name. The clients refuse one that others may write to.
fn anonymous_file(bytes: &[u8]) -> io::Result<File> {
    let mut file = File::from(memfd_create("login", MemfdFlags::CLOEXEC)?);
    fchmod(&file, Mode::RUSR | Mode::WUSR)?;
    file.write_all(bytes)?;
    Ok(file)
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

fn option_file(login: &Login, client: Flavour) -> String {
    let address = match &login.address {
        Address::Tcp { host, port } => format!("protocol=tcp\nhost={}\nport={port}", quoted(host)),
        Address::Unix(path) => format!("protocol=socket\nsocket={}", quoted(&path.to_string_lossy())),
    };
    let password = login.password.as_ref().map_or("", Secret::expose);
    let tls = match (&login.tls, client) {
        (None, _) => String::new(),
        (Some(tls), client) => {
            let ca =
                tls.ca.as_ref().map_or(String::new(), |path| format!("ssl-ca={}\n", quoted(&path.to_string_lossy())));
            let mode = match (client, tls.skip_verify) {
                (Flavour::MariaDb, true) => "ssl\n",
                (Flavour::MariaDb, false) => "ssl\nssl-verify-server-cert\n",
                (Flavour::MySql, true) => "ssl-mode=REQUIRED\n",
                (Flavour::MySql, false) => "ssl-mode=VERIFY_IDENTITY\n",
            };
            format!("{mode}{ca}")
        }
    };
    format!("[client]\n{address}\nuser={}\npassword={}\n{tls}", quoted(&login.user), quoted(password))
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
    use crate::login::Tls;

    const MARIADB: &str = "mysqldump  Ver 10.19 Distrib 10.11.19-MariaDB, for debian-linux-gnu (x86_64)";
    const MARIADB_106: &str = "mysqldump  Ver 10.19 Distrib 10.6.20-MariaDB, for debian-linux-gnu (x86_64)";
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
        let all = Features { binary_log: true, versioned_tables: true, verify_tls: false };
        let flags = |version, features| Client::identify("mysqldump", version).flags(features);
        assert!(flags(MYSQL_84, all).contains(&"--set-gtid-purged=OFF"));
        for flag in flags(MARIADB, all) {
            assert!(!flag.contains("gtid") && !flag.contains("ssl-mode"), "{flag}");
        }
        assert!(flags(MARIADB, all).ends_with(&["--dump-history", "--master-data=2"]));
        assert!(!flags(MARIADB_106, all).contains(&"--dump-history"));
        assert!(!flags(MARIADB, Features::default()).iter().any(|flag| flag.contains("master-data")));
        assert!(!flags(MYSQL_84, all).iter().any(|flag| flag.contains("-data")), "it would lock all tables");
        for version in [MARIADB, MARIADB_11, MYSQL_57, MYSQL_84] {
            assert!(flags(version, all).contains(&"--single-transaction"));
            assert!(flags(version, all).contains(&"--skip-add-locks"));
        }
    }

    #[test]
    fn the_option_file_quotes_what_the_clients_unquote() {
        let login = Login {
            address: Address::Unix("/run/my db.sock".into()),
            user: "backup".to_owned(),
            password: Some(Secret::new("p\"a's\\s#s;w o\trd")),
            tls: None,
        };
        assert_eq!(
            option_file(&login, Flavour::MySql),
            "[client]\nprotocol=socket\nsocket=\"/run/my db.sock\"\nuser=\"backup\"\npassword=\"p\\\"a's\\\\s#s;w o\\trd\"\n"
        );
        let tls = Tls { ca: Some("/ca.pem".into()), skip_verify: false };
        let login = Login { tls: Some(tls), ..login };
        assert!(option_file(&login, Flavour::MySql).ends_with("ssl-mode=VERIFY_IDENTITY\nssl-ca=\"/ca.pem\"\n"));
        assert!(option_file(&login, Flavour::MariaDb).ends_with("ssl\nssl-verify-server-cert\nssl-ca=\"/ca.pem\"\n"));
    }
}
