//! The command line: the flags that all exporters share, one switch a collector, and an environment variable for each
//! flag.

use std::ffi::OsString;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Args as _, Command, FromArgMatches as _};
use service_kit::duration::duration;
use service_kit::listen::ListenAddress;
use service_kit::logging::{self, LogArgs};
use service_kit::signals::Signals;
use service_kit::{env, healthcheck, panics};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tracing::{error, info};
use web_kit::{ActiveConfig, inherit};

use crate::build::Build;
use crate::exporter::{BoxError, Collector, Exporter};
use crate::gather::{Executor, Gatherer, PageLimits};
use crate::handler::{self, Handler, MaxRequests};
use crate::memory::DEFAULT_LIMIT_MIB;
use crate::probe::{ProbePolicy, TargetPattern};
use crate::reload::Reloader;
use crate::validate::validate;

/// Where `healthcheck` sends its request; it needs no user.
const HEALTH_PATH: &str = "/-/healthy";
const LISTEN_ADDRESS: &str = "web.listen-address";
const PRINT_METRICS: &str = "print-metrics";

// The IDs of shared flags have a character that a field's name cannot have: an exporter's own fields never collide.
#[derive(clap::Args, Debug)]
#[group(skip)]
struct SharedArgs {
    /// Address to listen on: `:PORT` for every interface, `HOST:PORT` or `[IPv6]:PORT` for one. Repeatable
    #[arg(id = LISTEN_ADDRESS, long = LISTEN_ADDRESS, value_name = "ADDRESS", value_delimiter = ',', help_heading = "Web")]
    listen_address: Vec<ListenAddress>,

    /// Listen on the sockets that systemd passes (.socket unit) instead of --web.listen-address
    #[arg(id = "web.systemd-socket", long = "web.systemd-socket", help_heading = "Web")]
    systemd_socket: bool,

    /// YAML file with TLS, users, headers and a rate limit, in the format of the Go exporter-toolkit
    #[arg(id = "web.config.file", long = "web.config.file", value_name = "FILE", help_heading = "Web")]
    config_file: Option<OsString>,

    /// Path under which to expose metrics
    #[arg(
        id = "web.telemetry-path",
        long = "web.telemetry-path",
        value_name = "PATH",
        default_value = "/metrics",
        help_heading = "Web"
    )]
    telemetry_path: String,

    /// Subtracted from Prometheus' scrape timeout, to leave time to send the response
    #[arg(id = "timeout-offset", long = "timeout-offset", value_name = "DURATION", default_value = "0.25", value_parser = duration, help_heading = "Web")]
    timeout_offset: Duration,

    /// Maximum samples in one metric family; further samples are dropped and the collector fails [default: no limit]
    #[arg(id = "scrape.sample-limit", long = "scrape.sample-limit", value_name = "SAMPLES", help_heading = "Web")]
    sample_limit: Option<usize>,

    /// Maximum memory for the samples of all running scrapes, in MiB; probes together use at most half of it
    #[arg(id = "scrape.memory-limit", long = "scrape.memory-limit", value_name = "MIB", default_value_t = DEFAULT_LIMIT_MIB, help_heading = "Web")]
    memory_limit: usize,

    /// Maximum concurrent requests for the metrics; further ones get 503. 0 means no limit: they share a gather
    #[arg(
        id = "web.max-requests",
        long = "web.max-requests",
        value_name = "REQUESTS",
        default_value_t = 0,
        help_heading = "Web"
    )]
    max_requests: usize,

    /// Exclude the exporter's own process_* metrics
    #[arg(id = "web.disable-exporter-metrics", long = "web.disable-exporter-metrics", help_heading = "Web")]
    disable_exporter_metrics: bool,

    /// Targets of /probe that get credentials, such as *.example:3306 or 10.0.0.0/8; no others are probed. Repeatable
    #[arg(
        id = "probe.targets",
        long = "probe.targets",
        value_name = "PATTERN",
        value_delimiter = ',',
        help_heading = "Web"
    )]
    probe_targets: Vec<TargetPattern>,

    /// Turn /probe off
    #[arg(id = "no-probe", long = "no-probe", alias = "disable-scrape-endpoint", help_heading = "Web")]
    no_probe: bool,

    #[command(flatten)]
    log: LogArgs,
}

/// The whole program: flags, logs, HTTP, until a signal ends it. Failure to start is one clear line and exit status 1.
/// `build` is `exporter_toolkit::build!()`.
pub fn run<E: Exporter>(build: Build) -> ExitCode {
    panics::keep();
    let result = panics::catch(|| {
        let command = command::<E>(build);
        validate::<E>(&command)?;
        let args = double_dashes(&command, std::env::args_os());
        let matches = command.get_matches_from(args);
        match healthcheck::run_http_if_requested(&matches, LISTEN_ADDRESS, HEALTH_PATH) {
            Some(status) => Ok(status),
            None => start::<E>(matches, build),
        }
    });
    let error = match result {
        Ok(Ok(status)) => return status,
        Ok(Err(error)) => error,
        Err(panic) => format!("{panic} (a bug in the exporter)").into(),
    };
    print_error(E::PROGRAM, &*error);
    ExitCode::FAILURE
}

/// `-web.listen-address`, as Go's older exporters spell it.
fn double_dashes(command: &Command, args: impl Iterator<Item = OsString>) -> Vec<OsString> {
    let mut longs: Vec<&str> =
        command.get_arguments().filter_map(Arg::get_long_and_visible_aliases).flatten().collect();
    longs.extend(command.get_arguments().filter_map(Arg::get_all_aliases).flatten());
    longs.extend(["help", "version"]);
    let double = |arg: OsString| match arg.to_str().and_then(|arg| arg.strip_prefix('-')) {
        Some(flag) if longs.contains(&flag.split('=').next().unwrap_or_default()) => format!("--{flag}").into(),
        _ => arg,
    };
    args.map(double).collect()
}

#[expect(
    clippy::print_stderr,
    reason = "the line that says why the program did not start, for a person or a service manager"
)]
fn print_error(program: &str, error: &dyn std::error::Error) {
    eprintln!("{program}: {error}");
}

fn start<E: Exporter>(matches: ArgMatches, build: Build) -> Result<ExitCode, BoxError> {
    let shared = SharedArgs::from_arg_matches(&matches)?;
    if matches.get_flag(PRINT_METRICS) {
        std::io::stdout().write_all(crate::docs::metrics_markdown::<E>().as_bytes())?;
        return Ok(ExitCode::SUCCESS);
    }
    if !shared.telemetry_path.starts_with('/') || shared.telemetry_path == "/" {
        return Err(format!(
            "--web.telemetry-path={}: expected a path below /, such as /metrics",
            shared.telemetry_path
        )
        .into());
    }
    let _log = logging::init(shared.log, E::PROGRAM);
    panics::keep();
    // The process-wide provider, which every TLS client of the exporter uses.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut collectors = E::collectors();
    let enabled = enabled_collectors(&collectors, &matches);
    for collector in &mut collectors {
        collector.configure(&matches)?;
    }
    // A sidecar: this thread serves a thousand scrapes a second, and each further thread costs a memory arena.
    // Collectors run on one of their own, so that none of them delays HTTP and signals.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().max_blocking_threads(4).build()?;
    let served = runtime.block_on(async {
        // Before the files are read: a SIGHUP during the start must not end the program.
        let Signals { mut stop, mut reload } = Signals::listen()?;
        let executor = Executor::start()?;
        let exporter = {
            let _entered = executor.enter();
            E::new(E::Args::from_arg_matches(&matches)?)?
        };
        drop(matches);
        let web = Arc::new(ActiveConfig::load(shared.config_file.map(PathBuf::from))?);
        let listeners =
            if shared.systemd_socket { inherit::listeners()? } else { listen(&shared.listen_address).await? };
        let limits = PageLimits {
            samples: shared.sample_limit.unwrap_or(usize::MAX),
            memory: shared.memory_limit.saturating_mul(1 << 20),
        };
        let gatherer = Arc::new(
            Gatherer::new(exporter, collectors, enabled, limits, executor, build)
                .with_probe_policy(ProbePolicy { off: shared.no_probe, targets: shared.probe_targets })
                .with_process(!shared.disable_exporter_metrics),
        );
        let collectors: Vec<_> = gatherer.enabled_names().collect();
        // From here on, a panic does not end the program.
        panics::log();
        info!(
            version = build.version,
            revision = build.revision,
            target = gatherer.target_address(),
            listen = ?addresses(&listeners),
            tls = web.current().has_tls(),
            users = web.current().has_users(),
            collectors = collectors.join(","),
            "started"
        );
        let reloader = Arc::new(Reloader::new(Arc::clone(&gatherer), Arc::clone(&web)));
        let reloads = async {
            loop {
                reload.recv().await;
                // It logs its result.
                let _ = reloader.reload().await;
            }
        };
        let handler = Handler {
            gatherer,
            reloader: Arc::clone(&reloader),
            telemetry_path: shared.telemetry_path,
            timeout_offset: shared.timeout_offset,
            web,
            stopping: AtomicBool::default(),
            build,
            max_requests: MaxRequests::new(shared.max_requests),
        };
        let (drain, draining) = oneshot::channel();
        let second_signal = async {
            stop.recv().await;
            let _ = drain.send(());
            stop.recv().await;
        };
        let drained = async {
            let _ = draining.await;
        };
        let status = tokio::select! {
            () = handler::serve(Arc::new(handler), listeners, drained) => ExitCode::SUCCESS,
            () = second_signal => {
                error!("second stop signal; stopping without waiting for running scrapes");
                ExitCode::FAILURE
            }
            () = reloads => ExitCode::FAILURE,
        };
        Ok(status)
    });
    // Dropping the runtime would wait, without a deadline, for threads that hang in the file system.
    runtime.shutdown_background();
    served
}

async fn listen(addresses: &[ListenAddress]) -> Result<Vec<TcpListener>, BoxError> {
    let mut listeners = Vec::new();
    for address in addresses {
        let listener = address.bind().await;
        listeners.push(listener.map_err(|error| format!("--web.listen-address={address}: cannot listen: {error}"))?);
    }
    Ok(listeners)
}

fn addresses(listeners: &[TcpListener]) -> Vec<SocketAddr> {
    listeners.iter().filter_map(|listener| listener.local_addr().ok()).collect()
}

fn command<E: Exporter>(build: Build) -> Command {
    let version = format!("{} (revision {})", build.version, build.revision);
    let mut command = Command::new(E::PROGRAM).version(version).after_help(format!(
        "Every flag is also an environment variable: --web.listen-address is {}.",
        env::variable(E::PROGRAM, "web.listen-address")
    ));
    command = E::Args::augment_args(command);
    for collector in E::collectors() {
        command = command.args(collector_switches(&*collector, E::PEER_COLLECTOR_PREFIX));
        command = collector.augment_args(command);
    }
    // After the groups of flags, whose doc comments would be the description otherwise.
    command = SharedArgs::augment_args(command.next_help_heading(None)).about(E::ABOUT).long_about(None);
    command = command.mut_arg(LISTEN_ADDRESS, |arg| arg.default_value(format!(":{}", E::DEFAULT_PORT)));
    command = healthcheck::with_http_subcommand(env::with_variables(command), LISTEN_ADDRESS, HEALTH_PATH);
    // Not by a variable: the service would print and exit.
    command.arg(
        Arg::new(PRINT_METRICS)
            .long("print-metrics")
            .action(ArgAction::SetTrue)
            .help("Print METRICS.md, the table of all families, and exit"),
    )
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
    // The last switch on the command line wins; its index is at least 1. The environment comes after it.
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
        // `…_NO_COLLECTOR_NAME=false` has no effect.
        let off = given(&off).filter(|(_, off)| *off).map(|(rank, _)| (rank, false));
        let last = given(&on).into_iter().chain(off).max_by_key(|(rank, _)| *rank);
        last.map_or_else(|| collector.enabled_by_default(), |(_, enabled)| enabled)
    };
    collectors.iter().enumerate().filter(|(_, collector)| enabled(&***collector)).map(|(index, _)| index).collect()
}
