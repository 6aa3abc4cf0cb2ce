//! The database servers: Debian 12's MariaDB, which the local stack runs too, and those that `tests/unpack-servers.sh`
//! unpacks for the tests. How each is installed, started and queried.

use std::path::{Path, PathBuf};

use crate::error::Error;
use crate::launch::{Launch, run, target_directory};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flavour {
    /// Debian 12's, 10.11.
    MariaDb,
    /// Debian 13's, 11.8.
    MariaDb11,
    /// Debian unstable's, 9.7.
    MySql,
}

impl Flavour {
    /// Names its process, its log and its directories.
    pub fn name(self) -> &'static str {
        match self {
            Self::MariaDb => "mariadb",
            Self::MariaDb11 => "mariadb11",
            Self::MySql => "mysql",
        }
    }

    pub fn is_mariadb(self) -> bool {
        self != Self::MySql
    }

    /// One of its programs, with the arguments that every one of them needs.
    fn program(self, installed: &str, unpacked: &str) -> Result<Launch, Error> {
        let suite = match self {
            Self::MariaDb => return Ok(Launch::installed(&[installed])?.arg("--no-defaults")),
            Self::MariaDb11 => "trixie",
            Self::MySql => "unstable",
        };
        let usr = unpacked_root(suite)?.join("usr");
        // Must be the first argument: nothing of /etc/mysql may leak in.
        Ok(unpacked_program(suite, unpacked)?.arg("--no-defaults").path("--basedir", &usr))
    }

    /// The server over a data directory that [`Flavour::install`] made. Nothing here is worth an fsync.
    pub fn launch(self, data: &Path, socket: &Path, port: u16) -> Result<Launch, Error> {
        let server = if self.is_mariadb() { "mariadbd" } else { "mysqld" };
        let launch = self.program(server, &format!("usr/sbin/{server}"))?;
        let launch = as_root(launch)
            .path("--datadir", data)
            .path("--socket", socket)
            .path("--pid-file", &data.join("server.pid"))
            // Never a shared one: a starting server removes all `#sql*` of its tmpdir, and another that has them in use
            // crashes (10.11.19: signal 11 in `ha_maria::drop_table`). Only a subdirectory of the data would be listed
            // as a database.
            .path("--tmpdir", data)
            .arg(format!("--port={port}"))
            .args(["--bind-address=127.0.0.1", "--skip-name-resolve", "--character-set-server=utf8mb4"])
            .args(["--innodb-buffer-pool-size=16M", "--key-buffer-size=1M"])
            // 2: what was committed survives the death of the process, which drills bring about, but not of the
            // machine.
            .args(["--innodb-flush-log-at-trx-commit=2", "--innodb-flush-method=nosync", "--sync-binlog=0"]);
        Ok(launch.args(self.sizes()))
    }

    /// The least that each takes, so that a new server is copied and started fast.
    fn sizes(self) -> &'static [&'static str] {
        if self.is_mariadb() {
            &["--innodb-log-file-size=8M"]
        } else {
            // Unasked it writes a binary log, listens on a second port and looks for /var/lib/mysql-files.
            &["--innodb-redo-log-capacity=8M", "--skip-log-bin", "--mysqlx=OFF", "--secure-file-priv=NULL"]
        }
    }

    /// Makes an empty data directory at `data` by copying a template that is made once: 0.1 s instead of seconds.
    /// `root` has no password in it.
    pub fn install(self, template: &Path, data: &Path) -> Result<(), Error> {
        if let Some(parent) = template.parent() {
            std::fs::create_dir_all(parent).map_err(Error::file("cannot create", parent))?;
        }
        let lock_path = template.with_extension("lock");
        let lock = std::fs::File::create(&lock_path).map_err(Error::file("cannot create", &lock_path))?;
        lock.lock().map_err(Error::file("cannot lock", &lock_path))?;
        if !template.is_dir() {
            let partial = template.with_extension("partial");
            if partial.exists() {
                std::fs::remove_dir_all(&partial).map_err(Error::file("cannot remove", &partial))?;
            }
            let launch = if self.is_mariadb() {
                self.program("mariadb-install-db", "usr/bin/mariadb-install-db")?
                    .path("--tmpdir", &partial)
                    .args(["--auth-root-authentication-method=normal", "--skip-test-db"])
            } else {
                self.program("mysqld", "usr/sbin/mysqld")?.arg("--initialize-insecure")
            };
            let launch = as_root(launch).path("--datadir", &partial).args(self.sizes());
            run(&mut launch.wrapped(&[]), "the installation of a database", "")?;
            std::fs::rename(&partial, template).map_err(Error::file("cannot rename", &partial))?;
        }
        drop(lock);
        copy_directory(template, data)?;
        // MySQL's name for itself, which it makes again: a replica refuses a source of its own name.
        let own_name = data.join("auto.cnf");
        match std::fs::remove_file(&own_name) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(Error::file("cannot remove", &own_name)(error))
            }
            _ => Ok(()),
        }
    }
}

/// A PATH on which the flavour's own programs come first: its dump client, its server.
pub fn path_of(flavour: Flavour) -> Result<std::ffi::OsString, Error> {
    let own = std::env::var_os("PATH").unwrap_or_default();
    let suite = match flavour {
        Flavour::MariaDb => None,
        Flavour::MariaDb11 => Some("trixie"),
        Flavour::MySql => Some("unstable"),
    };
    let mut directories = Vec::new();
    if let Some(suite) = suite {
        let usr = unpacked_root(suite)?.join("usr");
        directories.extend([usr.join("bin"), usr.join("sbin")]);
    }
    directories.extend(std::env::split_paths(&own));
    std::env::join_paths(directories).map_err(|error| Error::io("cannot join PATH")(std::io::Error::other(error)))
}

/// The servers refuse to run as root unless told to.
fn as_root(launch: Launch) -> Launch {
    if rustix::process::geteuid().is_root() { launch.arg("--user=root") } else { launch }
}

/// Where `tests/unpack-servers.sh` put the packages of one of Debian's suites.
fn unpacked_root(suite: &str) -> Result<PathBuf, Error> {
    Ok(target_directory()?.join("unpacked").join(suite))
}

/// A program that `tests/unpack-servers.sh` unpacked, by its path in the package.
pub fn unpacked_program(suite: &str, path: &str) -> Result<Launch, Error> {
    let program = unpacked_root(suite)?.join(path);
    if program.is_file() { Ok(Launch::new(program)) } else { Err(Error::NotUnpacked { program }) }
}

fn copy_directory(from: &Path, to: &Path) -> Result<(), Error> {
    std::fs::create_dir_all(to).map_err(Error::file("cannot create", to))?;
    for entry in std::fs::read_dir(from).map_err(Error::file("cannot read", from))? {
        let entry = entry.map_err(Error::file("cannot read", from))?;
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        if source.is_dir() {
            copy_directory(&source, &target)?;
        } else {
            std::fs::copy(&source, &target).map_err(Error::file("cannot copy", &source))?;
        }
    }
    Ok(())
}

/// Runs statements as root through the database's own client: several at once and `DELIMITER` work, and nothing secret
/// shows in argv. Rows come back as tab-separated lines.
pub fn sql(socket: &Path, statements: &str) -> Result<String, Error> {
    let launch = Launch::installed(&["mariadb"])?.arg("--no-defaults").path("--socket", socket).args([
        "--user=root",
        "--batch",
        "--skip-column-names",
        "--connect-timeout=5",
    ]);
    run(&mut launch.wrapped(&[]), "mariadb", statements)
}
