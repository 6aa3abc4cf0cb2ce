//! The local stack: `make up`, `make down`, and what drills do to single services.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use clap::{Parser, Subcommand};
use medassist_stack::error::LogTail;
use medassist_stack::{
    Error, Layout, SERVICES, Service, State, eventually, http, launch, ports, provision, service, services, supervise,
};

/// As `println!`, without the panic when the reader of the pipe has ended: `make status | head`.
macro_rules! print_line {
    ($($words:tt)*) => {{
        let _ = writeln!(std::io::stdout(), $($words)*);
    }};
}

/// Two scrapes of the slowest job (15 s), Prometheus' own 5 s before its first, and room for a busy machine.
const TARGETS: Duration = Duration::from_secs(90);

/// Runs MedAssist's observability suite as processes on loopback, with no container.
///
/// Data, logs and generated passwords are in target/stack, or in $STACK_DIRECTORY; $STACK_PORT_OFFSET is added to every
/// port.
#[derive(Parser)]
#[command(name = "stack", version, max_term_width = 120)]
struct Cli {
    #[command(subcommand)]
    command: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Start what is not running, wait until every target of Prometheus is UP, and leave it running
    Up,
    /// Print the name, state and URL of each service; exit with 1 unless all run
    Status,
    /// Stop everything: SIGTERM, and SIGKILL after 20 s
    Down,
    /// Start one service and wait until it is ready
    Start { service: String },
    /// Stop one service
    Stop { service: String },
    /// Kill one service with SIGKILL
    Kill { service: String },
    /// Hang one service with SIGSTOP
    Pause { service: String },
    /// End the hang with SIGCONT
    Resume { service: String },
    /// Show the last 100 lines of one service's log
    Logs {
        service: String,
        /// Continue with new lines
        #[arg(short, long)]
        follow: bool,
    },
    /// Run the backup job once, and exit with its status
    Backup,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let outcome = match runtime {
        Ok(runtime) => runtime.block_on(run(cli.command)),
        Err(error) => Err(Error::Stack(format!("cannot start the runtime: {error}"))),
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("stack: {error}");
        ExitCode::FAILURE
    })
}

async fn run(action: Action) -> Result<ExitCode, Error> {
    let layout = Layout::from_environment()?;
    match action {
        Action::Status => return Ok(status(&layout)),
        Action::Logs { service: name, follow } => return logs(&layout, service(&name)?, follow),
        Action::Backup => return Err(exec(&mut services::backup_now(&layout)?.wrapped(&[]))),
        _ => {}
    }
    let _lock = supervise::lock(&layout).await?;
    match action {
        Action::Up => up(&layout).await?,
        Action::Down => down(&layout).await?,
        Action::Start { service: name } => start(&layout, service(&name)?).await?,
        Action::Stop { service: name } => {
            let service = service(&name)?;
            let before = service.state(&layout);
            let killed = service.stop(&layout).await?;
            print_line!("{name}: {}", ended(before, killed));
        }
        Action::Kill { service: name } => {
            service(&name)?.kill(&layout).await?;
            print_line!("{name}: killed");
        }
        Action::Pause { service: name } => {
            service(&name)?.pause(&layout)?;
            print_line!("{name}: paused");
        }
        Action::Resume { service: name } => {
            service(&name)?.resume(&layout)?;
            print_line!("{name}: resumed");
        }
        Action::Status | Action::Logs { .. } | Action::Backup => {}
    }
    Ok(ExitCode::SUCCESS)
}

async fn up(layout: &Layout) -> Result<(), Error> {
    let begin = Instant::now();
    let say = |name: &str, what: &str| print_line!("[{:5.1} s] {name:<16} {what}", begin.elapsed().as_secs_f64());
    let missing: Vec<&Service> = SERVICES.iter().filter(|service| !is_up(service, layout)).collect();
    // Before anything is touched: a program that lacks or a port that is taken costs nothing but a message.
    for service in &missing {
        service.launch(layout)?;
    }
    check_ports(layout, &missing)?;
    provision::prepare(layout)?;
    for service in SERVICES {
        match service.state(layout) {
            State::Running => {
                service.settle(layout).await?;
                let reloaded = service.reload(layout)?;
                say(
                    service.name,
                    if reloaded { "runs already, reads its configuration again" } else { "runs already" },
                );
            }
            State::Paused => {
                service.resume(layout)?;
                service.settle(layout).await?;
                say(service.name, "was paused, goes on");
            }
            State::Stopped | State::Exited => {
                let start = Instant::now();
                service.start(layout).await?;
                say(service.name, &format!("ready after {:.1} s", start.elapsed().as_secs_f64()));
            }
        }
    }
    say("prometheus", "scrapes every target for the first time …");
    await_targets(layout).await?;
    say("prometheus", "every target is UP");
    print_line!("");
    status(layout);
    print_line!("{:<16} {:<8} {}", "data, logs", "", layout.directory().display());
    let own = layout.alertmanager_targets();
    if !["email_to", "pager_url"].iter().any(|target| own.join(target).is_file()) {
        print_line!("P1 alerts reach the API alone: alertmanager/README.md#targets adds mail or a pager");
    }
    Ok(())
}

fn is_up(service: &Service, layout: &Layout) -> bool {
    matches!(service.state(layout), State::Running | State::Paused)
}

fn check_ports(layout: &Layout, services: &[&Service]) -> Result<(), Error> {
    let mut busy = Vec::new();
    for service in services {
        for port in service.ports.iter().map(|port| layout.port(*port)).filter(|port| !ports::is_free(*port)) {
            let holder = ports::holder(port).unwrap_or_else(|| "another user's process".to_owned());
            busy.push(format!("port {port} of {} is held by {holder}", service.name));
        }
    }
    if busy.is_empty() {
        return Ok(());
    }
    let offset = Layout::PORT_OFFSET;
    Err(Error::Stack(format!("{}; end it, or move the stack with {offset}=1000 make up", busy.join("; "))))
}

async fn await_targets(layout: &Layout) -> Result<(), Error> {
    let wanted: BTreeSet<u16> =
        SERVICES.iter().filter_map(|service| service.scraped).map(|port| layout.port(port)).collect();
    let url = services::prometheus_url(layout, "/api/v1/targets?state=active");
    let up = eventually(TARGETS, "every target of Prometheus is UP", async || {
        let reply = http::get(&url).await.map_err(|error| error.to_string())?.json();
        let mut down = wanted.clone();
        let mut reasons = Vec::new();
        for target in reply["data"]["activeTargets"].as_array().into_iter().flatten() {
            let scraped = target["scrapeUrl"].as_str().unwrap_or_default();
            let port = scraped.split(':').nth(2).and_then(|rest| rest.split('/').next()?.parse().ok());
            if target["health"] == "up" {
                down.retain(|wanted| Some(*wanted) != port);
            } else {
                let error = target["lastError"].as_str().filter(|error| !error.is_empty()).unwrap_or("not scraped yet");
                reasons.push(format!("{} ({error})", target["labels"]["instance"].as_str().unwrap_or(scraped)));
            }
        }
        match (down.is_empty(), reasons.is_empty()) {
            (true, true) => Ok(()),
            (_, false) => Err(format!("not up: {}", reasons.join(", "))),
            (false, true) => Err(format!("no target for the ports {down:?}")),
        }
    })
    .await;
    let Err(error) = up else { return Ok(()) };
    // The log of what does not run says more than Prometheus' "connection refused".
    let failed = SERVICES.iter().find(|service| !is_up(service, layout));
    let log = failed.map_or_else(String::new, |service| LogTail::of(layout.log(service.name)).to_string());
    Err(Error::Stack(format!("{error}{log}")))
}

async fn start(layout: &Layout, service: &Service) -> Result<(), Error> {
    if is_up(service, layout) {
        print_line!("{}: {} already", service.name, service.state(layout));
        return Ok(());
    }
    check_ports(layout, &[service])?;
    provision::prepare(layout)?;
    service.start(layout).await?;
    print_line!("{}: ready", service.name);
    Ok(())
}

/// All at once, for the replicas drain for some seconds each; but what holds the data goes after those that work on it.
async fn down(layout: &Layout) -> Result<(), Error> {
    let mut outcomes = Vec::new();
    for stores in [false, true] {
        let stopping = SERVICES.iter().filter(|service| service.store == stores).map(async |service| {
            let (before, begin) = (service.state(layout), Instant::now());
            let killed = service.stop(layout).await?;
            if before != State::Stopped {
                print_line!(
                    "{:<16} {} after {:.1} s",
                    service.name,
                    ended(before, killed),
                    begin.elapsed().as_secs_f64()
                );
            }
            Ok(())
        });
        // One that does not stop must not keep the others from it.
        outcomes.extend(futures::future::join_all(stopping).await);
    }
    outcomes.into_iter().collect::<Result<(), Error>>()?;
    print_line!("nothing of the stack runs; its data stays in {}", layout.directory().display());
    Ok(())
}

fn ended(before: State, killed: bool) -> &'static str {
    match (before, killed) {
        (State::Stopped, _) => "was stopped",
        (State::Exited, _) => "had exited",
        (_, true) => "killed, for it ignored SIGTERM",
        (_, false) => "stopped",
    }
}

fn status(layout: &Layout) -> ExitCode {
    for service in SERVICES {
        print_line!("{:<16} {:<8} {}", service.name, service.state(layout), service.url(layout));
    }
    let running = SERVICES.iter().all(|service| service.state(layout) == State::Running);
    if running { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn logs(layout: &Layout, service: &Service, follow: bool) -> Result<ExitCode, Error> {
    let mut tail = Command::new(launch::installed(&["tail"])?);
    tail.args(["-n", "100"]);
    if follow {
        tail.arg("--follow=name");
    }
    Err(exec(tail.arg(layout.log(service.name))))
}

/// Becomes the command; returns only if that fails.
fn exec(command: &mut Command) -> Error {
    let name = command.get_program().display().to_string();
    let source = command.exec();
    Error::Spawn { name, source }
}
