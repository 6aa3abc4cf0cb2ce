//! The configuration of the exporter: flags, the password file and the option file (`my.cnf`).
//!
//! The option file takes precedence over the flags, as in mysqld_exporter, so that existing service files keep their
//! meaning.

use std::path::PathBuf;

use exporter_toolkit::address::Address;
use exporter_toolkit::secret::Secret;
use mysql_kit::Tls;

use crate::connection::{Account, ConnectionSettings};
use crate::error::ConfigError;
use crate::my_cnf::{CLIENT, Sections};

/// The port of an address without one.
pub(crate) const DEFAULT_PORT: u16 = 3306;
const DEFAULT_FILE: &str = ".my.cnf";
const PASSWORD_VARIABLE: &str = "MYSQLD_EXPORTER_PASSWORD";

#[derive(clap::Args, Debug)]
#[command(next_help_heading = "MySQL")]
pub struct Args {
    /// Address of the server: host:port or unix:///path/to/socket
    #[arg(long = "mysqld.address", value_name = "ADDRESS", default_value = "localhost:3306")]
    address: String,

    /// User name; the password comes from --mysqld.password-file or MYSQLD_EXPORTER_PASSWORD
    #[arg(long = "mysqld.username", value_name = "USER")]
    username: Option<String>,

    /// File containing only the password
    #[arg(long = "mysqld.password-file", value_name = "FILE")]
    password_file: Option<PathBuf>,

    /// Option file; its [client] section takes precedence over the flags [default: .my.cnf, if it exists]
    #[arg(long = "config.my-cnf", value_name = "FILE")]
    my_cnf: Option<PathBuf>,

    /// Use TLS and skip verification of the server's certificate
    #[arg(long = "tls.insecure-skip-verify")]
    insecure_skip_verify: bool,

    #[command(flatten)]
    connections: ConnectionSettings,
}

pub(crate) struct Config {
    pub(crate) connections: ConnectionSettings,
    address: String,
    insecure_skip_verify: bool,
    path: PathBuf,
    sections: Sections,
}

impl Config {
    pub(crate) fn load(args: &Args) -> Result<Self, ConfigError> {
        let path = args.my_cnf.clone().unwrap_or_else(|| PathBuf::from(DEFAULT_FILE));
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if args.my_cnf.is_none() && error.kind() == std::io::ErrorKind::NotFound => String::new(),
            Err(source) => return Err(ConfigError::File { flag: "--config.my-cnf", path, source }),
        };
        let password =
            Secret::from_file_or_variable("--mysqld.password-file", args.password_file.as_deref(), PASSWORD_VARIABLE)?;
        let variable = |name: &str| std::env::var(name).ok();
        let mut sections = Sections::parse(&path, &text, &variable)?;
        sections.default_to(CLIENT, "user", args.username.clone());
        sections.default_to(CLIENT, "password", password.map(|password| password.expose().to_owned()));
        Ok(Self {
            connections: args.connections,
            address: args.address.clone(),
            insecure_skip_verify: args.insecure_skip_verify,
            path,
            sections,
        })
    }

    /// The address of the main target: the file's socket, else its host and port, each falling back to the flag.
    pub(crate) fn address(&self) -> Result<Address, ConfigError> {
        let get = |key| self.sections.get(CLIENT, key);
        if let Some(path) = get("socket") {
            return Ok(Address::parse(&format!("unix://{path}"), DEFAULT_PORT)?);
        }
        let from_flag = Address::parse(&self.address, DEFAULT_PORT)?;
        let (host, port) = match from_flag {
            Address::Unix(_) if get("host").is_none() => return Ok(from_flag),
            Address::Unix(_) => ("localhost".to_owned(), DEFAULT_PORT),
            Address::Tcp { host, port } => (host, port),
        };
        let host = get("host").map_or(host, str::to_owned);
        let port = get("port").map_or(port.to_string(), str::to_owned);
        let address = if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
        Ok(Address::parse(&address, DEFAULT_PORT)?)
    }

    pub(crate) fn account(&self, section: &str) -> Result<Account, ConfigError> {
        if !self.sections.has(section) {
            return Err(ConfigError::NoSection { section: section.to_owned(), path: self.path.clone() });
        }
        let get = |key| self.sections.get(section, key);
        let user = get("user")
            .ok_or_else(|| ConfigError::NoUser { section: section.to_owned(), path: self.path.clone() })?
            .to_owned();
        Ok(Account {
            user,
            password: get("password").map(str::to_owned),
            tls: self.tls(section)?,
            cleartext: self.switch(section, "enable-cleartext-plugin")?,
        })
    }

    fn tls(&self, section: &str) -> Result<Option<Tls>, ConfigError> {
        let get = |key| self.sections.get(section, key);
        // Opened here so that a wrong path is an error at the start; the driver reads it on each connect.
        let file = |key| {
            let read = |path: &str| std::fs::File::open(path).map(|_| PathBuf::from(path));
            get(key).map(read).transpose().map_err(|error| self.invalid(section, key, &error.to_string()))
        };
        for key in ["tls-min-version", "tls-max-version"] {
            if get(key).is_some() {
                return Err(self.invalid(section, key, "not supported: the exporter uses TLS 1.2 or 1.3"));
            }
        }
        let (enabled, skip_verify) = match get("tls") {
            None | Some("false") => (false, false),
            Some("true") => (true, false),
            Some("skip-verify") => (true, true),
            Some(_) => return Err(self.invalid(section, "tls", "expected true, false or skip-verify")),
        };
        // mysqld_exporter's option lacks a letter; both spellings are accepted.
        let skip_verify = self.insecure_skip_verify
            || skip_verify
            || self.switch(section, "ssl-skip-verfication")?
            || self.switch(section, "ssl-skip-verification")?;
        let ca = file("ssl-ca")?;
        let identity = match (file("ssl-cert")?, file("ssl-key")?) {
            (Some(certificate), Some(key)) => Some((certificate, key)),
            (None, None) => None,
            (Some(_), None) => return Err(self.invalid(section, "ssl-cert", "ssl-key is missing")),
            (None, Some(_)) => return Err(self.invalid(section, "ssl-key", "ssl-cert is missing")),
        };
        let server_name = get("tls-server-name").map(str::to_owned);
        if !enabled && !skip_verify && ca.is_none() && identity.is_none() && server_name.is_none() {
            return Ok(None);
        }
        Ok(Some(Tls { ca, identity, server_name, skip_verify }))
    }

    /// A boolean key; without a value it is true, as in MySQL's own files.
    fn switch(&self, section: &str, key: &str) -> Result<bool, ConfigError> {
        match self.sections.get(section, key).map(str::to_ascii_lowercase).as_deref() {
            None | Some("false" | "0" | "off" | "no") => Ok(false),
            Some("" | "true" | "1" | "on" | "yes") => Ok(true),
            Some(_) => Err(self.invalid(section, key, "expected true or false")),
        }
    }

    fn invalid(&self, section: &str, key: &str, reason: &str) -> ConfigError {
        ConfigError::Value {
            section: section.to_owned(),
            key: key.to_owned(),
            path: self.path.clone(),
            reason: reason.to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(text: &str, flags: &[&str]) -> Result<Config, ConfigError> {
        #[derive(clap::Parser)]
        struct Command {
            #[command(flatten)]
            args: Args,
        }
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        let path = format!("--config.my-cnf={}", file.path().display());
        let command: Command = clap::Parser::parse_from(["test", &path].iter().chain(flags));
        Config::load(&command.args)
    }

    fn error<T>(result: Result<T, ConfigError>) -> String {
        result.err().unwrap().to_string()
    }

    #[test]
    fn the_file_takes_precedence_over_the_flags() {
        let config = config(
            "# comment\n[client]\nuser = \"file\"\nport=3307\npassword='a#b;c'\n",
            &["--mysqld.username=flag", "--mysqld.address=db:3306"],
        )
        .unwrap();
        assert_eq!(config.address().unwrap().to_string(), "db:3307");
        let account = config.account(CLIENT).unwrap();
        assert_eq!((account.user.as_str(), account.password.as_deref()), ("file", Some("a#b;c")));
        assert!(account.tls.is_none());
    }

    #[test]
    fn flags_and_the_password_file_are_used_for_missing_keys() {
        let password = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(password.path(), " se${cret \r\n").unwrap();
        let flag = format!("--mysqld.password-file={}", password.path().display());
        let config = config("", &["--mysqld.username=flag", "--mysqld.address=unix:///tmp/s", &flag]).unwrap();
        assert_eq!(config.address().unwrap().to_string(), "unix:///tmp/s");
        let account = config.account(CLIENT).unwrap();
        assert_eq!((account.user.as_str(), account.password.as_deref()), ("flag", Some(" se${cret ")));
    }

    #[test]
    fn a_section_inherits_from_its_parent() {
        let config = config(
            "[client]\nuser=u\npassword=p\n[client.other]\nuser=o\nenable-cleartext-plugin\n[alone]\nhost=h\n",
            &[],
        )
        .unwrap();
        let other = config.account("client.other").unwrap();
        assert_eq!((other.user.as_str(), other.password.as_deref(), other.cleartext), ("o", Some("p"), true));
        assert!(error(config.account("alone")).contains("user= in [alone]"));
        assert!(error(config.account("nowhere")).contains("no section [nowhere]"));
        assert!(error(self::config("", &[]).unwrap().account(CLIENT)).starts_with("no user: set --mysqld.username"));
    }

    #[test]
    fn tls_is_used_if_a_key_or_flag_configures_it() {
        let tls = |text: &str, flags: &[&str]| {
            config(&format!("[client]\nuser=u\n{text}"), flags).unwrap().account(CLIENT).map(|account| account.tls)
        };
        assert!(tls("", &[]).unwrap().is_none());
        assert!(tls("", &["--tls.insecure-skip-verify"]).unwrap().unwrap().skip_verify);
        let pem = tempfile::NamedTempFile::new().unwrap();
        let (file, pem) = (pem.path().to_owned(), pem.path().display());
        let all = format!("ssl-ca={pem}\nssl-cert={pem}\nssl_key={pem}\ntls-server-name=db\n");
        let expected = Tls {
            ca: Some(file.clone()),
            identity: Some((file.clone(), file.clone())),
            server_name: Some("db".to_owned()),
            skip_verify: false,
        };
        assert_eq!(tls(&all, &[]).unwrap(), Some(expected));
        let unverified = tls(&format!("ssl-ca={pem}\nssl-skip-verfication=true\n"), &[]).unwrap();
        assert_eq!(unverified, Some(Tls { ca: Some(file), skip_verify: true, ..Tls::default() }));
        assert!(error(tls(&format!("ssl-cert={pem}\n"), &[])).contains("ssl-key is missing"));
        assert!(error(tls("ssl-ca=/nowhere.pem\n", &[])).contains("ssl-ca= in [client]"));
        assert!(error(tls("tls=maybe\n", &[])).contains("tls= in [client]"));
        assert!(error(tls("tls-min-version=TLSv1.3\n", &[])).contains("not supported"));
    }
}
