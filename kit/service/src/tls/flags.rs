//! The flags of a TLS client.

use std::marker::PhantomData;
use std::path::PathBuf;

use clap::{Arg, ArgAction, ArgMatches, Command, Error, FromArgMatches, value_parser};
use rustls::pki_types::ServerName;

use super::client::ClientTls;
use super::names::TlsFlags;

/// The flags, for `#[command(flatten)]`.
#[derive(Clone, Debug)]
pub struct TlsArgs<F> {
    pub tls: ClientTls,
    names: PhantomData<fn() -> F>,
}

impl<F: TlsFlags> clap::Args for TlsArgs<F> {
    fn augment_args(command: Command) -> Command {
        let names = F::NAMES;
        let file =
            |name: &'static str| Arg::new(name).long(name).value_name("FILE").value_parser(value_parser!(PathBuf));
        command
            .arg(file(names.ca).help(format!(
                "PEM file of the certificates to trust for {}: authorities, or the server's own [default: the system's]",
                names.for_what
            )))
            .arg(
                file(names.certificate)
                    .requires(names.key)
                    .help(format!("PEM file of the client certificate, for {} that request one", names.for_what)),
            )
            .arg(
                file(names.key).requires(names.certificate).help(format!("PEM file of the key of --{}", names.certificate)),
            )
            .arg(
                Arg::new(names.server_name)
                    .long(names.server_name)
                    .value_name("NAME")
                    .value_parser(server_name)
                    .help("Name to verify the server's TLS certificate against [default: the host]"),
            )
            .arg(
                Arg::new(names.skip_verify)
                    .long(names.skip_verify)
                    .action(ArgAction::SetTrue)
                    .help("Skip verification of the server's TLS certificate"),
            )
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

fn server_name(text: &str) -> Result<ServerName<'static>, String> {
    ServerName::try_from(text.to_owned()).map_err(|_| "expected a DNS name or an IP address".to_owned())
}

impl<F: TlsFlags> FromArgMatches for TlsArgs<F> {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, Error> {
        let names = F::NAMES;
        let path = |name: &str| matches.get_one::<PathBuf>(name).cloned();
        let tls = ClientTls {
            names,
            ca: path(names.ca),
            identity: path(names.certificate).zip(path(names.key)),
            server_name: matches.get_one::<ServerName<'static>>(names.server_name).cloned(),
            skip_verify: matches.get_flag(names.skip_verify),
        };
        Ok(Self { tls, names: PhantomData })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}
