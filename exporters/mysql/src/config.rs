//! Flags, password files and `my.cnf`: which server, and as whom.
//!
//! What the file says wins over the flags, as in mysqld_exporter, so that its service files keep their meaning.

use std::collections::HashMap;
use std::fmt;
use std::net::Ipv6Addr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use exporter_toolkit::duration::duration;
use exporter_toolkit::secret::Secret;
use mysql_async::{ClientIdentity, SslOpts};
use tokio::time::Instant;

use crate::collectors::Options;
use crate::collectors::health::Thresholds;
use crate::error::ConfigError;

/// The section of the main target, and of a probe that names none.
pub(crate) const CLIENT: &str = "client";

const DEFAULT_FILE: &str = ".my.cnf";
const DEFAULT_PORT: u16 = 3306;
const PASSWORD_VARIABLE: &str = "MYSQLD_EXPORTER_PASSWORD";

#[derive(clap::Args, Debug)]
pub struct Args {
    /// The server: host:port or unix:///path/to/socket
    #[arg(long = "mysqld.address", value_name = "ADDRESS", default_value = "localhost:3306")]
    address: String,

    /// The user to connect as; the password comes from a file or from MYSQLD_EXPORTER_PASSWORD
    #[arg(long = "mysqld.username", value_name = "USER")]
    username: Option<String>,

    /// File containing only the password
    #[arg(long = "mysqld.password-file", value_name = "FILE")]
    password_file: Option<PathBuf>,

    /// File with [client] and further sections for /probe?auth_module=SECTION; what it says wins over the flags [default: .my.cnf, if it is there]
    #[arg(long = "config.my-cnf", value_name = "FILE")]
    my_cnf: Option<PathBuf>,

    /// Use TLS without checking the server's certificate
    #[arg(long = "tls.insecure-skip-verify")]
    insecure_skip_verify: bool,

    #[command(flatten)]
    connections: ConnectionSettings,

    #[command(flatten)]
    thresholds: Thresholds,

    #[command(flatten)]
    options: Options,
}

// How the exporter behaves on a server, by mysqld_exporter's names. (No doc comment: clap would take it for the program's description.)
#[derive(clap::Args, Clone, Copy, Debug)]
pub(crate) struct ConnectionSettings {
    /// Seconds that a statement waits for a metadata lock, which an ALTER TABLE may hold for hours
    #[arg(long = "exporter.lock_wait_timeout", value_name = "SECONDS", default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=31_536_000), help_heading = "Connections")]
    lock_wait_timeout: u32,

    /// Set that limit; it is on unless --no-exporter.enable_lock_wait_timeout is given
    #[arg(long = "exporter.enable_lock_wait_timeout", help_heading = "Connections")]
    enable_lock_wait_timeout: bool,

    /// Leave the server's own lock_wait_timeout
    #[arg(
        long = "no-exporter.enable_lock_wait_timeout",
        overrides_with = "enable_lock_wait_timeout",
        help_heading = "Connections"
    )]
    no_lock_wait_timeout: bool,

    /// Log of the exporter's statements only those with a temporary table or a sort on disk (MariaDB, Percona); without it none gets into the slow log by its time
    #[arg(long = "exporter.log_slow_filter", help_heading = "Connections")]
    pub(crate) log_slow_filter: bool,

    /// Timeout of one statement; 0 means the scrape's own timeout
    #[arg(long = "exporter.query_timeout", value_name = "DURATION", default_value = "0", value_parser = duration, help_heading = "Connections")]
    query_timeout: Duration,

    /// Connections to one server at the most: 1 or 2; of a larger number 2 are opened
    #[arg(long = "exporter.max_open_connections", value_name = "CONNECTIONS", default_value_t = MAX_CONNECTIONS, value_parser = connections, help_heading = "Connections")]
    pub(crate) max_open_connections: usize,
}

impl ConnectionSettings {
    /// When a statement that begins now has to be done.
    pub(crate) fn statement_deadline(&self, now: Instant, scrape: Instant) -> Instant {
        let limit = Some(self.query_timeout).filter(|limit| !limit.is_zero());
        limit.and_then(|limit| now.checked_add(limit)).map_or(scrape, |own| own.min(scrape))
    }

    /// The server's own limit, in whole seconds.
    pub(crate) fn statement_seconds(&self, scrape: u64) -> u64 {
        let seconds = self.query_timeout.as_secs() + u64::from(self.query_timeout.subsec_nanos() > 0);
        if seconds == 0 { scrape } else { seconds.min(scrape) }
    }

    pub(crate) fn lock_wait_timeout(&self) -> Option<u32> {
        (self.enable_lock_wait_timeout || !self.no_lock_wait_timeout).then_some(self.lock_wait_timeout)
    }
}

/// One for the statement that hangs and one for the others; what mysqld_exporter uses, too.
const MAX_CONNECTIONS: usize = 2;

/// mysqld_exporter's 0 is "without a bound".
fn connections(text: &str) -> Result<usize, String> {
    match text.parse::<usize>() {
        Ok(1) => Ok(1),
        Ok(0 | 2..) => Ok(MAX_CONNECTIONS),
        Err(_) => Err("a number of connections is expected".to_owned()),
    }
}

/// Where a server is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Address {
    Tcp { host: String, port: u16 },
    Unix(String),
}

impl Address {
    /// `host:port`, `host`, `[::1]:3306`, `unix:///path`.
    pub(crate) fn parse(text: &str) -> Result<Self, ConfigError> {
        let wrong = || ConfigError::Address { address: text.to_owned() };
        if let Some(path) = text.strip_prefix("unix://") {
            return if path.starts_with('/') { Ok(Self::Unix(path.to_owned())) } else { Err(wrong()) };
        }
        let (host, port) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            Some((host, "")) => (host, None),
            Some((host, port)) => (host, Some(port.strip_prefix(':').ok_or_else(wrong)?)),
            None => text.rsplit_once(':').map_or((text, None), |(host, port)| (host, Some(port))),
        };
        let port = port.map_or(Ok(DEFAULT_PORT), str::parse).ok().filter(|port| *port != 0).ok_or_else(wrong)?;
        let in_a_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
        let fits = match text.starts_with('[') {
            true => host.parse::<Ipv6Addr>().is_ok(),
            false => !host.is_empty() && host.chars().all(in_a_name),
        };
        if !fits {
            return Err(wrong());
        }
        Ok(Self::Tcp { host: host.to_owned(), port })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host, port } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Self::Tcp { host, port } => write!(f, "{host}:{port}"),
            Self::Unix(path) => write!(f, "unix://{path}"),
        }
    }
}

/// As whom to connect. It has no `Debug`: there is a password in it.
pub(crate) struct Account {
    pub(crate) user: String,
    pub(crate) password: Option<String>,
    pub(crate) tls: Option<SslOpts>,
    pub(crate) cleartext: bool,
}

pub(crate) struct Config {
    pub(crate) thresholds: Thresholds,
    pub(crate) options: Arc<Options>,
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
            thresholds: args.thresholds,
            options: Arc::new(args.options.clone()),
            connections: args.connections,
            address: args.address.clone(),
            insecure_skip_verify: args.insecure_skip_verify,
            path,
            sections,
        })
    }

    /// The main target: the file's socket, else its host and port, each of them by the flag where the file has none.
    pub(crate) fn address(&self) -> Result<Address, ConfigError> {
        let get = |key| self.sections.get(CLIENT, key);
        if let Some(path) = get("socket") {
            return Address::parse(&format!("unix://{path}"));
        }
        let by_flag = Address::parse(&self.address)?;
        let (host, port) = match by_flag {
            Address::Unix(_) if get("host").is_none() => return Ok(by_flag),
            Address::Unix(_) => ("localhost".to_owned(), DEFAULT_PORT),
            Address::Tcp { host, port } => (host, port),
        };
        let host = get("host").map_or(host, str::to_owned);
        let port = get("port").map_or(port.to_string(), str::to_owned);
        Address::parse(&if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") })
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

    fn tls(&self, section: &str) -> Result<Option<SslOpts>, ConfigError> {
        let get = |key| self.sections.get(section, key);
        // Looked at now, so that a wrong path stops the start; the driver reads it for each connection, so that a renewed one counts.
        let file = |key| {
            let read = |path: &str| std::fs::File::open(path).map(|_| PathBuf::from(path));
            get(key).map(read).transpose().map_err(|error| self.wrong(section, key, &error.to_string()))
        };
        for key in ["tls-min-version", "tls-max-version"] {
            if get(key).is_some() {
                return Err(self.wrong(section, key, "not supported; TLS 1.2 and 1.3 are spoken"));
            }
        }
        let (wanted, unchecked) = match get("tls") {
            None | Some("false") => (false, false),
            Some("true") => (true, false),
            Some("skip-verify") => (true, true),
            Some(_) => return Err(self.wrong(section, "tls", "expected is true, false or skip-verify")),
        };
        // mysqld_exporter's option has a letter too few; both spellings do.
        let skip_verify = self.insecure_skip_verify
            || unchecked
            || self.switch(section, "ssl-skip-verfication")?
            || self.switch(section, "ssl-skip-verification")?;
        let authority = file("ssl-ca")?;
        let identity = match (file("ssl-cert")?, file("ssl-key")?) {
            (Some(certificate), Some(key)) => Some(ClientIdentity::new(certificate.into(), key.into())),
            (None, None) => None,
            (Some(_), None) => return Err(self.wrong(section, "ssl-cert", "ssl-key is missing")),
            (None, Some(_)) => return Err(self.wrong(section, "ssl-key", "ssl-cert is missing")),
        };
        let server_name = get("tls-server-name").map(str::to_owned);
        if !wanted && !skip_verify && authority.is_none() && identity.is_none() && server_name.is_none() {
            return Ok(None);
        }
        let options = SslOpts::default()
            .with_disable_built_in_roots(authority.is_some())
            .with_root_certs(authority.into_iter().map(Into::into).collect())
            .with_client_identity(identity)
            .with_danger_tls_hostname_override(server_name)
            .with_danger_accept_invalid_certs(skip_verify);
        Ok(Some(options))
    }

    /// A key alone is on, as in MySQL's own files.
    fn switch(&self, section: &str, key: &str) -> Result<bool, ConfigError> {
        match self.sections.get(section, key).map(str::to_ascii_lowercase).as_deref() {
            None | Some("false" | "0" | "off" | "no") => Ok(false),
            Some("" | "true" | "1" | "on" | "yes") => Ok(true),
            Some(_) => Err(self.wrong(section, key, "expected is true or false")),
        }
    }

    fn wrong(&self, section: &str, key: &str, reason: &str) -> ConfigError {
        ConfigError::Value {
            section: section.to_owned(),
            key: key.to_owned(),
            path: self.path.clone(),
            reason: reason.to_owned(),
        }
    }
}

/// An ini file as MySQL's programs read it: `key=value`, `key` alone, quotes around values; `#` and `;` begin a comment only at a line's start,
/// as passwords may contain them. `${NAME}` is an environment variable. A section `a.b` has what it lacks from `a`.
struct Sections(HashMap<String, HashMap<String, String>>);

impl Sections {
    fn parse(path: &Path, text: &str, variable: &dyn Fn(&str) -> Option<String>) -> Result<Self, ConfigError> {
        let mut sections = HashMap::from([(CLIENT.to_owned(), HashMap::new())]);
        let mut current = None;
        for (index, line) in text.lines().enumerate() {
            let wrong = |reason| ConfigError::Syntax { path: path.to_owned(), line: index + 1, reason };
            let line = line.trim();
            // `!include` is for MySQL's own programs; mysqld_exporter doesn't follow it either.
            if line.is_empty() || line.starts_with(['#', ';', '!']) {
                continue;
            }
            if let Some(rest) = line.strip_prefix('[') {
                let name = rest.strip_suffix(']').ok_or_else(|| wrong("] is missing"))?.trim();
                sections.entry(name.to_owned()).or_default();
                current = Some(name.to_owned());
                continue;
            }
            let section = current.as_ref().and_then(|name| sections.get_mut(name));
            let section = section.ok_or_else(|| wrong("a [section] must come first"))?;
            let (key, value) = line.split_once('=').unwrap_or((line, ""));
            let value = expand(unquote(value.trim()), variable)
                .ok_or_else(|| wrong("${NAME} is not closed, or there is no such environment variable"))?;
            // MySQL's programs take both.
            section.insert(key.trim().replace('_', "-"), value);
        }
        Ok(Self(sections))
    }

    fn has(&self, section: &str) -> bool {
        self.0.contains_key(section)
    }

    fn get(&self, section: &str, key: &str) -> Option<&str> {
        let own = self.0.get(section).and_then(|keys| keys.get(key));
        match (own, section.rsplit_once('.')) {
            (Some(value), _) => Some(value),
            (None, Some((parent, _))) => self.get(parent, key),
            (None, None) => None,
        }
    }

    fn default_to(&mut self, section: &str, key: &str, value: Option<String>) {
        let known = self.get(section, key).is_some_and(|value| !value.is_empty());
        if let Some(value) = value.filter(|_| !known) {
            self.0.entry(section.to_owned()).or_default().insert(key.to_owned(), value);
        }
    }
}

fn unquote(value: &str) -> &str {
    let quoted = |quote| value.strip_prefix(quote).and_then(|rest: &str| rest.strip_suffix(quote));
    quoted('"').or_else(|| quoted('\'')).unwrap_or(value)
}

/// Puts environment variables in for `${NAME}`; a `$` alone stays, as passwords may contain it.
fn expand(value: &str, variable: &dyn Fn(&str) -> Option<String>) -> Option<String> {
    let mut out = String::with_capacity(value.len());
    let mut rest = value;
    while let Some((before, after)) = rest.split_once("${") {
        let (name, after) = after.split_once('}')?;
        out.push_str(before);
        out.push_str(&variable(name)?);
        rest = after;
    }
    out.push_str(rest);
    Some(out)
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

    impl ConnectionSettings {
        /// As these flags make them.
        pub(crate) fn given(flags: &[&str]) -> Self {
            #[derive(clap::Parser)]
            struct Command {
                #[command(flatten)]
                settings: ConnectionSettings,
            }
            <Command as clap::Parser>::parse_from(["test"].iter().chain(flags)).settings
        }
    }

    #[test]
    fn statements_end_with_the_scrape_or_before() {
        let now = Instant::now();
        let scrape = now + Duration::from_secs(10);
        for (flag, ours, servers) in [("0", 10_000, 10), ("2", 2_000, 2), ("1500ms", 1_500, 2), ("60", 10_000, 10)] {
            let settings = ConnectionSettings::given(&[&format!("--exporter.query_timeout={flag}")]);
            assert_eq!(settings.statement_deadline(now, scrape) - now, Duration::from_millis(ours), "{flag}");
            assert_eq!(settings.statement_seconds(10), servers, "{flag}");
        }
        let endless = ConnectionSettings::given(&["--exporter.query_timeout=3660d"]);
        assert_eq!(endless.statement_deadline(now, scrape), scrape);
    }

    #[test]
    fn no_flag_opens_more_than_two_connections() {
        for (flag, connections) in [("0", 2), ("1", 1), ("2", 2), ("10", 2)] {
            let settings = ConnectionSettings::given(&[&format!("--exporter.max_open_connections={flag}")]);
            assert_eq!(settings.max_open_connections, connections);
        }
    }

    #[test]
    fn addresses() {
        for (text, shown) in [
            ("localhost:3306", "localhost:3306"),
            ("db", "db:3306"),
            ("[::1]:3307", "[::1]:3307"),
            ("[::1]", "[::1]:3306"),
            ("unix:///run/mysqld/mysqld.sock", "unix:///run/mysqld/mysqld.sock"),
        ] {
            assert_eq!(Address::parse(text).unwrap().to_string(), shown);
        }
        for text in [
            "",
            ":3306",
            "db:",
            "db:0",
            "db:70000",
            "::1",
            "[::1]x",
            "[db]:3306",
            "[fe80::1%eth0]:3306",
            "unix://relative",
            "user@db:3306",
            "http://db",
        ] {
            assert!(Address::parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn the_file_wins_over_the_flags() {
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
    fn flags_and_a_password_file_fill_in_what_the_file_lacks() {
        let password = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(password.path(), " se${cret \r\n").unwrap();
        let flag = format!("--mysqld.password-file={}", password.path().display());
        let config = config("", &["--mysqld.username=flag", "--mysqld.address=unix:///tmp/s", &flag]).unwrap();
        assert_eq!(config.address().unwrap().to_string(), "unix:///tmp/s");
        let account = config.account(CLIENT).unwrap();
        assert_eq!((account.user.as_str(), account.password.as_deref()), ("flag", Some(" se${cret ")));
    }

    #[test]
    fn a_section_inherits_from_the_one_before_its_dot() {
        let config = config(
            "[client]\nuser=u\npassword=p\n[client.other]\nuser=o\nenable-cleartext-plugin\n[alone]\nhost=h\n",
            &[],
        )
        .unwrap();
        let other = config.account("client.other").unwrap();
        assert_eq!((other.user.as_str(), other.password.as_deref(), other.cleartext), ("o", Some("p"), true));
        assert!(error(config.account("alone")).contains("user= in [alone]"));
        assert!(error(config.account("nowhere")).contains("no section [nowhere]"));
    }

    #[test]
    fn tls_is_used_where_something_asks_for_it() {
        let tls = |text: &str, flags: &[&str]| {
            config(&format!("[client]\nuser=u\n{text}"), flags).unwrap().account(CLIENT).map(|account| account.tls)
        };
        assert!(tls("", &[]).unwrap().is_none());
        assert!(tls("", &["--tls.insecure-skip-verify"]).unwrap().unwrap().accept_invalid_certs());
        let pem = tempfile::NamedTempFile::new().unwrap();
        let pem = pem.path().display();
        let all = format!("ssl-ca={pem}\nssl-cert={pem}\nssl_key={pem}\ntls-server-name=db\n");
        let options = tls(&all, &[]).unwrap().unwrap();
        assert!(options.disable_built_in_roots() && options.client_identity().is_some());
        assert!(!options.accept_invalid_certs());
        assert_eq!(options.tls_hostname_override(), Some("db"));
        let unchecked = tls(&format!("ssl-ca={pem}\nssl-skip-verfication=true\n"), &[]);
        assert!(unchecked.unwrap().unwrap().accept_invalid_certs());
        assert!(error(tls(&format!("ssl-cert={pem}\n"), &[])).contains("ssl-key is missing"));
        assert!(error(tls("ssl-ca=/nowhere.pem\n", &[])).contains("ssl-ca= in [client]"));
        assert!(error(tls("tls=maybe\n", &[])).contains("tls= in [client]"));
        assert!(error(tls("tls-min-version=TLSv1.3\n", &[])).contains("not supported"));
    }

    #[test]
    fn environment_variables_stand_in_braces() {
        let variable = |name: &str| (name == "NAME").then(|| "value".to_owned());
        assert_eq!(expand("a${NAME}b$NAME", &variable).unwrap(), "avalueb$NAME");
        assert_eq!(expand("${NAME", &variable), None);
        assert_eq!(expand("${OTHER}", &variable), None);
    }

    #[test]
    fn a_wrong_line_is_named() {
        assert!(error(config("[client]\n[broken\n", &[])).ends_with(":2: ] is missing"));
        assert!(error(config("user=u\n", &[])).contains(":1: a [section] must come first"));
        assert!(error(config("", &[]).unwrap().account(CLIENT)).starts_with("no user: set --mysqld.username"));
    }
}
