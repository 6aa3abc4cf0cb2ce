//! The flavour's program that receives a binary log and reads its files: `mariadb-binlog` or `mysqlbinlog`.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use jiff::Timestamp;
use mysql_kit::{Flavour, Version};

use super::{BinlogError, BinlogName};
use crate::{client::login_file, error::RunError, guard, login::Login};

#[derive(Debug, Clone, Copy)]
pub(crate) struct BinlogClient {
    pub(crate) program: &'static str,
    flavour: Flavour,
}

impl BinlogClient {
    /// Blocks.
    pub(crate) fn find(flavour: Flavour) -> Result<Self, BinlogError> {
        let (programs, advice): (&[_], _) = match flavour {
            Flavour::MariaDb => (&["mariadb-binlog", "mysqlbinlog"], "install mariadb-client"),
            Flavour::MySql => {
                (&["mysqlbinlog"], "install MySQL's own client; MariaDB's cannot read a MySQL server's log")
            }
        };
        let fits = |program: &&&'static str| {
            let output = Command::new(program).arg("--version").stdin(Stdio::null()).output();
            output.is_ok_and(|output| flavour_of(&String::from_utf8_lossy(&output.stdout)) == flavour)
        };
        match programs.iter().find(fits) {
            Some(program) => Ok(Self { program, flavour }),
            None => Err(BinlogError::NoClient { program: programs[0], advice }),
        }
    }

    /// Writes the server's files from `first` on into a directory, until it is killed. It dies with this thread.
    pub(crate) fn receive(
        self,
        login: &Login,
        directory: &Path,
        first: &BinlogName,
        server_id: u32,
    ) -> Result<Command, BinlogError> {
        let options = login_file(login, self.flavour)
            .map_err(|source| RunError::ClientBroken { tool: self.program.to_owned(), source })?;
        let mut command = guard::command(self.program);
        command.args(["--defaults-file=/dev/stdin", "--read-from-remote-server", "--raw", "--stop-never"]);
        match self.flavour {
            Flavour::MariaDb => {
                command.arg(format!("--stop-never-slave-server-id={server_id}"));
                if login.tls.as_ref().is_none_or(|tls| tls.skip_verify) {
                    // From 11.4 it insists on a certificate that it can verify.
                    command.arg("--loose-skip-ssl-verify-server-cert");
                }
            }
            Flavour::MySql => {
                command.arg(format!("--connection-server-id={server_id}"));
                // Without TLS, caching_sha2_password needs the server's key to send the password.
                command.arg("--loose-get-server-public-key");
            }
        }
        // With a slash at its end it is a directory.
        command.arg(format!("--result-file={}/", directory.display())).arg(first.to_string());
        command.env_remove("HOME").env_remove("MYSQL_PWD").stdin(options).stdout(Stdio::null()).stderr(Stdio::piped());
        Ok(command)
    }

    /// Prints files as statements: from a position of the first one to a position of the last one, and without the
    /// events from a time on.
    pub(crate) fn print(
        self,
        files: &[(BinlogName, PathBuf)],
        from: u64,
        to: u64,
        before: Option<Timestamp>,
    ) -> Command {
        let mut command = guard::command(self.program);
        command.args(["--no-defaults", &format!("--start-position={from}"), &format!("--stop-position={to}")]);
        if let Some(before) = before {
            command.arg(format!("--stop-datetime={}", before.strftime("%Y-%m-%d %H:%M:%S")));
        }
        match self.flavour {
            Flavour::MariaDb => command.arg("--skip-annotate-row-events"),
            // Transactions of the target get its own identifiers. MariaDB's are left out by the reader.
            Flavour::MySql => command.arg("--skip-gtids"),
        };
        command.arg("--").args(files.iter().map(|(_, path)| path)).env("TZ", "UTC").env_remove("HOME");
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }
}

/// MariaDB's program has a number of its own, which is below 5: `mysqlbinlog Ver 3.5 for debian-linux-gnu at x86_64`,
/// from 11 on `mariadb-binlog from 11.8.9-MariaDB, client 3.5 …`; MySQL's is `mysqlbinlog  Ver 9.7.4-2 for Linux …`.
fn flavour_of(version: &str) -> Flavour {
    let number = version.split_once("Ver ").map(|(_, rest)| Version::parse(rest.split(' ').next().unwrap_or_default()));
    match number {
        Some(version) if version.is_mysql_since((5, 0, 0)) => Flavour::MySql,
        _ => Flavour::MariaDb,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_flavour_is_in_the_version() {
        for (version, flavour) in [
            ("mysqlbinlog Ver 3.5 for debian-linux-gnu at x86_64", Flavour::MariaDb),
            ("mariadb-binlog from 11.8.9-MariaDB, client 3.5 for debian-linux-gnu (x86_64)", Flavour::MariaDb),
            ("mysqlbinlog  Ver 9.7.4-2 for Linux on x86_64 ((Debian))", Flavour::MySql),
            ("mysqlbinlog  Ver 8.0.36 for Linux on x86_64 (MySQL Community Server - GPL)", Flavour::MySql),
        ] {
            assert_eq!(flavour_of(version), flavour, "{version}");
        }
    }
}
