//! The configuration of the exporter: flags, the password file and the option file (`my.cnf`).
//!
//! The option file takes precedence over the flags, as in mysqld_exporter, so that existing service files keep their
//! meaning.

use std::path::PathBuf;

use exporter_toolkit::address::Address;
use exporter_toolkit::secret::Secret;

use crate::connection::{Account, ConnectionSettings};
use crate::error::ConfigError;
use crate::my_cnf::{CLIENT, Options, Sections};
use crate::tls_options;

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
    sections: Sections,
}

impl Config {
    /// Reads the files. `[client]` and each `[client.…]` must be valid. Other sections are read when a probe uses them,
    /// as they may be another program's.
    pub(crate) fn load(args: &Args) -> Result<Self, ConfigError> {
        let path = args.my_cnf.clone().unwrap_or_else(|| PathBuf::from(DEFAULT_FILE));
        let suffix = std::env::var("MYSQL_GROUP_SUFFIX").ok();
        let mut sections = match &args.my_cnf {
            None if !path.exists() => Sections::none(path),
            _ => Sections::read(path, suffix.as_deref())?,
        };
        let password =
            Secret::from_file_or_variable("--mysqld.password-file", args.password_file.as_deref(), PASSWORD_VARIABLE)?;
        sections.default_to(CLIENT, "user", args.username.clone());
        sections.default_to(CLIENT, "password", password.map(|password| password.expose().to_owned()));
        let config = Self {
            connections: args.connections,
            address: args.address.clone(),
            insecure_skip_verify: args.insecure_skip_verify,
            sections,
        };
        config.address()?;
        let mut probes = 0;
        for section in config.sections.heirs(CLIENT) {
            config.account(section)?;
            probes += 1;
        }
        match config.account(CLIENT) {
            // Without an account for the main target, only `/probe` works.
            Err(ConfigError::NoUser { .. }) if probes > 0 => {}
            account => drop(account?),
        }
        Ok(config)
    }

    /// The address of the main target: the file's socket, else its host and port, each falling back to the flag.
    pub(crate) fn address(&self) -> Result<Address, ConfigError> {
        let options = self.options(CLIENT)?;
        let get = |key| options.get(key);
        if let Some(path) = get("socket") {
            return Ok(Address::parse(&format!("unix://{path}"), DEFAULT_PORT)?);
        }
        let from_flag = parse_address(&self.address)?;
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
        let options = self.options(section)?;
        Ok(Account {
            user: options.get("user").filter(|user| !user.is_empty()).ok_or_else(|| options.no_user())?.to_owned(),
            password: options.get("password").map(str::to_owned),
            tls: tls_options::tls(&options, self.insecure_skip_verify)?,
            cleartext: options.switch("enable-cleartext-plugin")?.unwrap_or(false),
        })
    }

    fn options(&self, section: &str) -> Result<Options, ConfigError> {
        self.sections.options(section, &|name| std::env::var(name).ok())
    }
}

/// Never repeats an address with a login: mysqld_exporter's older versions were configured with `user:password@…`.
fn parse_address(text: &str) -> Result<Address, ConfigError> {
    if text.contains('@') {
        return Err(ConfigError::LoginInAddress);
    }
    Ok(Address::parse(text, DEFAULT_PORT)?)
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
    fn a_probe_needs_no_account_of_the_main_target() {
        let config = config("[client.a]\nuser=a\n[alone]\nhost=h\n[client.b]\nuser=b\npassword=p\n", &[]).unwrap();
        assert_eq!(config.account("client.a").unwrap().user, "a");
        assert_eq!(config.account("client.b").unwrap().password.as_deref(), Some("p"));
        assert!(error(config.account(CLIENT)).contains("user= in [client]"));
        assert!(error(config.account("alone")).contains("user= in [alone]"));
        assert!(error(config.account("nowhere")).contains("no section [nowhere]"));
        assert!(error(self::config("[alone]\nuser=u\n", &[])).starts_with("no user: set --mysqld.username"));
    }

    #[test]
    fn every_account_of_ours_is_checked_at_the_start() {
        for text in [
            "[client]\nuser=u\nssl-mode=maybe\n",
            "[client]\nuser=u\n[client.a]\ntls=maybe\n",
            "[client.a]\npassword=p\n",
            "[client]\nuser=u\nport=x\n",
            "[client]\nuser=u\npassword=${NOT_CLOSED\n",
        ] {
            assert!(config(text, &[]).is_err(), "{text}");
        }
        assert!(config("[client]\nuser=u\n[mysql]\nssl-mode=maybe\npassword=${X\n", &[]).is_ok());
    }

    #[test]
    fn a_login_in_the_address_is_not_repeated() {
        for address in ["u:secret@tcp(db:3306)/", "mysql://u:secret@db", "u:secret@db:3306"] {
            let error = error(config("[client]\nuser=u\n", &[&format!("--mysqld.address={address}")]));
            assert!(error.contains("--mysqld.username") && !error.contains("secret"), "{error}");
        }
    }
}
