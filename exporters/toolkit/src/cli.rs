//! The command line: the flags that all exporters share, one switch a collector, and an environment variable for each flag.

use std::ffi::OsString;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::builder::BoolishValueParser;
use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Args as _, Command, FromArgMatches as _};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tracing::info;

use crate::exporter::{BoxError, Collector, Exporter};
use crate::family::DEFAULT_SAMPLE_LIMIT;
use crate::flags::duration;
use crate::gather::Gatherer;
use crate::logging::{self, Level, LogFormat};
use crate::reload::Reloader;
use crate::server::{self, Server};
use crate::web_config::Web;

#[derive(clap::Args, Debug)]
struct SharedArgs {
    /// Address to listen on; `:9104` is every interface. May be given several times
    #[arg(long = "web.listen-address", value_name = "ADDRESS", value_delimiter = ',', help_heading = "Web")]
    listen_address: Vec<String>,

    /// Listen on the sockets that systemd passes instead, as the .socket unit says
    #[arg(long = "web.systemd-socket", help_heading = "Web")]
    systemd_socket: bool,

    /// File with TLS, users, headers and a rate limit, in the YAML of the Go exporter-toolkit
    #[arg(long = "web.config.file", value_name = "FILE", help_heading = "Web")]
    config_file: Option<OsString>,

    /// Path of the series
    #[arg(long = "web.telemetry-path", value_name = "PATH", default_value = "/metrics", help_heading = "Web")]
    telemetry_path: String,

    /// Seconds taken off the scraper's timeout, for the way of the answer
    #[arg(long = "timeout-offset", value_name = "SECONDS", default_value = "0.25", value_parser = duration, help_heading = "Web")]
    timeout_offset: Duration,

    /// Samples in one family at the most; more are dropped and counted
    #[arg(long = "scrape.sample-limit", value_name = "SAMPLES", default_value_t = DEFAULT_SAMPLE_LIMIT, help_heading = "Web")]
    sample_limit: usize,

    /// Least severe messages to log
    #[arg(long = "log.level", value_enum, default_value_t = Level::Info, help_heading = "Logs")]
    log_level: Level,

    /// Format of the log
    #[arg(long = "log.format", value_enum, default_value_t = LogFormat::Logfmt, help_heading = "Logs")]
    log_format: LogFormat,

    /// Print METRICS.md, the table of all families, and exit
    #[arg(long = "print-metrics")]
    print_metrics: bool,
}

/// The whole program: flags, logs, HTTP, until a signal ends it. Failure to start is one clear line and exit status 1.
pub fn run<E: Exporter>() -> ExitCode {
    match start::<E>(command::<E>().get_matches()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            print_error(E::PROGRAM, &*error);
            ExitCode::FAILURE
        }
    }
}

#[expect(
    clippy::print_stderr,
    reason = "the one line that tells why the program did not start, for a person or a service manager"
)]
fn print_error(program: &str, error: &dyn std::error::Error) {
    eprintln!("{program}: {error}");
}

fn start<E: Exporter>(matches: ArgMatches) -> Result<(), BoxError> {
    let shared = SharedArgs::from_arg_matches(&matches)?;
    if shared.print_metrics {
        std::io::stdout().write_all(crate::docs::metrics_markdown::<E>().as_bytes())?;
        return Ok(());
    }
    if !shared.telemetry_path.starts_with('/') || shared.telemetry_path == "/" {
        return Err(format!(
            "--web.telemetry-path={}: a path below / is expected, such as /metrics",
            shared.telemetry_path
        )
        .into());
    }
    logging::init(shared.log_level, shared.log_format);
    // The first provider stays, and every TLS client of the exporter takes it from here.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut collectors = E::collectors();
    let enabled = enabled_collectors(&collectors, &matches);
    for collector in &mut collectors {
        collector.configure(&matches)?;
    }
    // A sidecar: one thread serves a thousand scrapes a second, and each further one would cost a memory arena.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().max_blocking_threads(4).build()?;
    let served = runtime.block_on(async {
        let exporter = E::new(E::Args::from_arg_matches(&matches)?)?;
        drop(matches);
        // `--web.config.file=` is how service files of Go's exporters say that there is none.
        let config_file = shared.config_file.filter(|file| !file.is_empty());
        let web = Arc::new(Web::load(config_file.map(PathBuf::from))?);
        let listeners = if shared.systemd_socket {
            server::inherited()?
        } else {
            let default = [format!(":{}", E::DEFAULT_PORT)];
            listen(if shared.listen_address.is_empty() { &default } else { &shared.listen_address }).await?
        };
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut hangup = signal(SignalKind::hangup())?;
        let gatherer = Arc::new(Gatherer::new(exporter, collectors, enabled, shared.sample_limit));
        let collectors: Vec<_> = gatherer.enabled_names().collect();
        info!(
            version = env!("CARGO_PKG_VERSION"),
            revision = crate::REVISION,
            target = gatherer.target_address(),
            listen = ?server::addresses(&listeners),
            tls = web.config().tls.is_some(),
            users = web.config().users.is_some(),
            collectors = collectors.join(","),
            "started"
        );
        let reloader = Arc::new(Reloader::new(Arc::clone(&gatherer), Arc::clone(&web)));
        let reloads = async {
            while hangup.recv().await.is_some() {
                // The log has how it went.
                let _ = reloader.reload().await;
            }
        };
        let server = Server {
            gatherer,
            reloader: Arc::clone(&reloader),
            telemetry_path: shared.telemetry_path,
            timeout_offset: shared.timeout_offset,
            web,
            stopping: watch::Sender::new(false),
        };
        let stop = async {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
                () = reloads => {}
            }
        };
        server::serve(Arc::new(server), listeners, stop).await;
        Ok(())
    });
    // Dropping the runtime would wait, without a deadline, for threads that hang in the file system.
    runtime.shutdown_background();
    served
}

async fn listen(addresses: &[String]) -> Result<Vec<TcpListener>, BoxError> {
    let mut listeners = Vec::new();
    for address in addresses {
        let listener = server::bind(address).await;
        listeners.push(listener.map_err(|error| format!("--web.listen-address={address}: can't listen: {error}"))?);
    }
    Ok(listeners)
}

fn command<E: Exporter>() -> Command {
    let mut command = Command::new(E::PROGRAM)
        .version(format!("{} (revision {})", env!("CARGO_PKG_VERSION"), crate::REVISION))
        .after_help(format!(
            "Every flag is also an environment variable: --web.listen-address is {}.",
            environment_variable(E::PROGRAM, "web.listen-address")
        ));
    command = E::Args::augment_args(command);
    for collector in E::collectors() {
        command = command.args(collector_switches(&*collector, E::PEER_COLLECTOR_PREFIX));
        command = collector.augment_args(command);
    }
    // After the groups of flags, whose doc comments would be the description otherwise.
    command = SharedArgs::augment_args(command).about(E::ABOUT).long_about(None);
    command.mut_args(|arg| {
        let arg = match arg.get_action() {
            // Without it a variable would have to be `true` or `false`, and `1` an error.
            ArgAction::SetTrue => arg.value_parser(BoolishValueParser::new()),
            _ => arg,
        };
        match arg.get_long().map(|long| environment_variable(E::PROGRAM, long)) {
            Some(variable) if arg.get_env().is_none() && arg.get_id() != "print_metrics" && !is_empty(&variable) => {
                arg.env(variable).hide_env(true)
            }
            _ => arg,
        }
    })
}

fn environment_variable(program: &str, flag: &str) -> String {
    format!("{program}_{flag}").to_uppercase().replace(['.', '-'], "_")
}

/// A variable without a value, as `${VARIABLE:-}` in a compose file gives it, says nothing: so it is for Go's exporters.
fn is_empty(variable: &str) -> bool {
    std::env::var_os(variable).is_some_and(|value| value.is_empty())
}

fn collector_switches<S>(collector: &dyn Collector<S>, peer_prefix: Option<&str>) -> [Arg; 2] {
    let (on, off) = switch_names(collector.name());
    let default = if collector.enabled_by_default() { "on" } else { "off" };
    let switch = |name: &str, no: &str| {
        let peers = peer_prefix.map(|prefix| format!("{no}{prefix}{}", collector.name()));
        Arg::new(name.to_owned())
            .long(name.to_owned())
            .visible_aliases(peers)
            .action(ArgAction::SetTrue)
            .help_heading("Collectors")
    };
    [
        switch(&on, "").help(format!("{} [default: {default}; --{off} turns it off]", collector.help())),
        switch(&off, "no-").hide(true),
    ]
}

fn switch_names(collector: &str) -> (String, String) {
    (format!("collector.{collector}"), format!("no-collector.{collector}"))
}

fn enabled_collectors<S>(collectors: &[Box<dyn Collector<S>>], matches: &ArgMatches) -> Vec<usize> {
    // The last one on the command line counts, whose indices begin at 1, and before that the environment.
    let given = |name: &str| {
        let rank = match matches.value_source(name)? {
            ValueSource::CommandLine => matches.index_of(name)?,
            ValueSource::EnvVariable => 0,
            _ => return None,
        };
        Some((rank, matches.get_flag(name)))
    };
    let enabled = |collector: &dyn Collector<S>| {
        let (on, off) = switch_names(collector.name());
        // `…_NO_COLLECTOR_NAME=false` says nothing.
        let off = given(&off).filter(|(_, off)| *off).map(|(rank, _)| (rank, false));
        let last = given(&on).into_iter().chain(off).max_by_key(|(rank, _)| *rank);
        last.map_or_else(|| collector.enabled_by_default(), |(_, enabled)| enabled)
    };
    collectors.iter().enumerate().filter(|(_, collector)| enabled(&***collector)).map(|(index, _)| index).collect()
}
