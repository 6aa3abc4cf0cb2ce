//! `redis-exporter`: Prometheus exporter for Redis and Valkey with the names of the Go redis_exporter, and health
//! checks.
//!
//! ```text
//! RedisExporter ── target() ──▶ Client ── open(): PING, then INFO ALL and the rest in one round trip ──▶ Session ──▶
//! collectors
//! ```

mod address;
mod client;
mod collectors;
mod connection;
mod credentials;
mod info;
mod refusal;
mod tls;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use exporter_toolkit::secret::Secret;
use exporter_toolkit::tls::{ClientTls, TlsError};
use exporter_toolkit::{BoxError, Collector, Exporter, ProbeRequest};

use crate::address::{Address, Endpoint};
use crate::client::{Client, Session};
use crate::credentials::{Credentials, CredentialsError, PasswordTarget};
use crate::tls::{Connector, RedisTlsArgs};

const DEFAULT_ADDRESS: &str = "redis://localhost:6379";

#[derive(clap::Args, Clone, Debug)]
#[command(next_help_heading = "Redis")]
pub struct RedisArgs {
    /// Server: redis://host:port, rediss:// for TLS, unix:///path; also $REDIS_ADDR [default: redis://localhost:6379]
    #[arg(long = "redis.addr", value_name = "ADDRESS")]
    addr: Option<String>,

    /// User to log in as (Redis 6 and later); also $REDIS_USER. The password comes from a file or $REDIS_PASSWORD
    #[arg(long = "redis.user", value_name = "USER")]
    user: Option<String>,

    /// File containing only the password, or a JSON object of passwords by address; also $REDIS_PASSWORD_FILE
    #[arg(long = "redis.password-file", value_name = "FILE")]
    password_file: Option<PathBuf>,

    /// Servers that get the one password when /probe names them; `*` for all. Repeatable [default: only --redis.addr]
    #[arg(long = "redis.password-targets", value_name = "ADDRESS", value_delimiter = ',')]
    password_targets: Vec<PasswordTarget>,

    #[command(flatten)]
    tls: RedisTlsArgs,
}

#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("{name}: {source}")]
    Address { name: &'static str, source: address::AddressError },
    #[error(
        "--redis.addr contains a password, which every user of the machine can read: use --redis.password-file, REDIS_PASSWORD or REDIS_ADDR"
    )]
    PasswordInFlag,
    #[error("target contains a password, which appears in logs: put it into --redis.password-file, by address")]
    PasswordInTarget,
    #[error(transparent)]
    Tls(#[from] TlsError),
    #[error(transparent)]
    Credentials(#[from] CredentialsError),
}

pub struct RedisExporter {
    address: Address,
    credentials: Credentials,
    tls: ClientTls,
    /// Replaced by each reload. A running scrape keeps the previous one until its end.
    target: Mutex<Arc<Client>>,
}

impl RedisExporter {
    /// `environment` looks up the variables of the Go redis_exporter. Flags and their own variables take precedence.
    fn configure(args: RedisArgs, environment: impl Fn(&str) -> Option<String>) -> Result<Self, ConfigError> {
        let environment = |name: &str| environment(name).filter(|value| !value.is_empty());
        let address = match (&args.addr, environment("REDIS_ADDR")) {
            (Some(flag), _) => {
                let address = parse("--redis.addr", flag)?;
                if address.password.is_some() {
                    return Err(ConfigError::PasswordInFlag);
                }
                address
            }
            (None, Some(variable)) => parse("REDIS_ADDR", &variable)?,
            (None, None) => parse("the default address", DEFAULT_ADDRESS)?,
        };
        let credentials = Credentials {
            user: args.user.or_else(|| environment("REDIS_USER")),
            password: environment("REDIS_PASSWORD").map(Secret::new),
            password_file: args.password_file.or_else(|| environment("REDIS_PASSWORD_FILE").map(PathBuf::from)),
            main: address.endpoint.clone(),
            password_targets: args.password_targets,
        };
        let target = main_target(&address, &credentials, &args.tls.tls)?;
        Ok(Self { address, credentials, tls: args.tls.tls, target: Mutex::new(target) })
    }

    fn main_target(&self) -> MutexGuard<'_, Arc<Client>> {
        self.target.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn probe_target(&self, target: &str, lists: impl Fn(&str) -> bool) -> Result<Client, ConfigError> {
        let address = parse("target", target)?;
        let mut credentials = self.credentials.clone();
        if lists(&address.endpoint.to_string()) {
            credentials.password_targets.push(PasswordTarget::Server(address.endpoint.clone()));
        }
        if address.password.is_some() {
            return Err(ConfigError::PasswordInTarget);
        }
        // The caller gets this error as a response. A file that cannot be read is a failed scrape.
        if let Err(error @ CredentialsError::NotForTarget) = credentials.login(&address) {
            return Err(error.into());
        }
        let tls = connector(&self.tls, &address)?;
        Ok(Client::new(address, credentials, tls))
    }
}

/// Reads all files once: a file that cannot be read stops the start or the reload, not the first scrape.
fn main_target(address: &Address, credentials: &Credentials, tls: &ClientTls) -> Result<Arc<Client>, ConfigError> {
    credentials.login(address)?;
    let tls = connector(tls, address)?;
    Ok(Arc::new(Client::new(address.clone(), credentials.clone(), tls)))
}

fn parse(name: &'static str, text: &str) -> Result<Address, ConfigError> {
    text.parse().map_err(|source| ConfigError::Address { name, source })
}

fn connector(tls: &ClientTls, address: &Address) -> Result<Option<Connector>, ConfigError> {
    match address.endpoint {
        Endpoint::Tls { .. } => Ok(Some(Connector::new(tls)?)),
        Endpoint::Tcp { .. } | Endpoint::Unix(_) => Ok(None),
    }
}

impl Exporter for RedisExporter {
    const PROGRAM: &'static str = "redis-exporter";
    const NAMESPACE: &'static str = "redis";
    const ABOUT: &'static str = "Prometheus exporter for Redis and Valkey.";
    const DEFAULT_PORT: u16 = 9121;

    type Args = RedisArgs;
    type Target = Client;

    fn new(args: RedisArgs) -> Result<Self, BoxError> {
        Ok(Self::configure(args, |name| std::env::var(name).ok())?)
    }

    fn collectors() -> Vec<Box<dyn Collector<Session>>> {
        collectors::all()
    }

    fn target(&self) -> Arc<Client> {
        Arc::clone(&self.main_target())
    }

    fn probe(&self, request: &ProbeRequest<'_>) -> Result<Client, BoxError> {
        Ok(self.probe_target(request.target, |address| request.lists(address))?)
    }

    /// Passwords are read at each login, and each probe logs in. The main target keeps its connection: a new one logs
    /// in again, with the current certificates.
    fn reload(&self) -> Result<(), BoxError> {
        let target = main_target(&self.address, &self.credentials, &self.tls)?;
        *self.main_target() = target;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use exporter_toolkit::Target as _;

    use super::*;

    #[derive(Parser)]
    struct Command {
        #[command(flatten)]
        args: RedisArgs,
    }

    fn configure(flags: &[&str], environment: &[(&str, &str)]) -> Result<RedisExporter, ConfigError> {
        let command = Command::try_parse_from(["redis-exporter"].iter().chain(flags)).unwrap();
        RedisExporter::configure(command.args, |name| {
            environment.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
        })
    }

    fn error(flags: &[&str], environment: &[(&str, &str)]) -> String {
        configure(flags, environment).err().expect("an error").to_string()
    }

    #[test]
    fn flags_take_precedence_over_the_go_exporters_variables() {
        let address = |flags: &[&str], environment: &[(&str, &str)]| {
            configure(flags, environment).unwrap().target().address().to_owned()
        };
        assert_eq!(address(&[], &[]), "redis://localhost:6379");
        assert_eq!(address(&[], &[("REDIS_ADDR", "cache:1")]), "redis://cache:1");
        assert_eq!(address(&["--redis.addr=cache:2"], &[("REDIS_ADDR", "cache:1")]), "redis://cache:2");
        assert_eq!(address(&[], &[("REDIS_ADDR", "redis://:secret@cache:1")]), "redis://cache:1");
    }

    #[test]
    fn invalid_configuration_names_its_key_and_no_secret() {
        assert!(error(&["--redis.addr=http://x"], &[]).starts_with("--redis.addr: "));
        assert!(error(&[], &[("REDIS_ADDR", "redis://u:secret@:x")]).starts_with("REDIS_ADDR: "));
        let text = error(&["--redis.addr=redis://u:secret@cache"], &[]);
        assert!(text.contains("--redis.password-file") && !text.contains("secret"), "{text}");
        assert!(error(&[], &[("REDIS_PASSWORD_FILE", "/nonexistent")]).contains("/nonexistent"));
        let text = error(&["--redis.addr=rediss://cache", "--tls-ca-cert-file=/nonexistent"], &[]);
        assert!(text.starts_with("--tls-ca-cert-file=/nonexistent: "), "{text}");
    }

    #[test]
    fn probes_with_a_password_are_refused() {
        let exporter = configure(&[], &[]).unwrap();
        assert_eq!(exporter.probe_target("redis://me@other:1", |_| false).unwrap().address(), "redis://other:1");
        assert!(exporter.probe_target("redis://me:pw@other:1", |_| false).is_err());
        assert!(exporter.probe_target("", |_| false).is_err());
    }

    #[test]
    fn the_one_password_is_for_the_main_target_and_those_listed() {
        let secret = [("REDIS_PASSWORD", "secret")];
        let exporter = configure(&[], &secret).unwrap();
        let refused = exporter.probe_target("redis://other:1", |_| false).err().unwrap().to_string();
        assert!(refused.contains("--redis.password-targets") && !refused.contains("secret"), "{refused}");
        assert!(exporter.probe_target("localhost", |_| false).is_ok());
        let exporter = configure(&["--redis.password-targets=other:1,third:1"], &secret).unwrap();
        assert!(
            exporter.probe_target("redis://other:1", |_| false).is_ok()
                && exporter.probe_target("third:1", |_| false).is_ok()
        );
        assert!(exporter.probe_target("other:2", |_| false).is_err());
        assert!(exporter.probe_target("other:2", |address| address == "redis://other:2").is_ok());
    }

    #[test]
    fn every_family_is_declared_once() {
        let mut names: Vec<String> = collectors::all()
            .iter()
            .flat_map(|collector| collector.families())
            .map(|desc| desc.name.into_owned())
            .collect();
        names.sort();
        let count = names.len();
        names.dedup();
        assert_eq!(names.len(), count);
    }
}
