//! `mysql-backup`: the program. See `--help`.

use std::process::ExitCode;

use mysql_backup::{
    cli::{self, Task},
    commands, guard, healthcheck,
};
use rustix::fs::Mode;
use service_kit::{
    logging::{self, LogArgs},
    signals::{ReloadSignals, Signals, StopSignals},
};
use tokio::sync::watch;

fn main() -> ExitCode {
    let mut args = std::env::args_os().skip(1);
    if args.next().is_some_and(|first| first == guard::SUBCOMMAND) {
        return guard::exec(args);
    }
    let task = cli::read();
    if let Task::Healthcheck(args) = task {
        let place = &args.run.place;
        let result = healthcheck::check(&place.directory, &place.name, args.every, args.run.timeout);
        return service_kit::healthcheck::conclude(result);
    }
    let _log = log_args(&task).map(|args| logging::init(args, "mysql-backup"));
    // Whatever creates a file, such as a library that copies backups: only the owner reads it.
    rustix::process::umask(Mode::RWXG | Mode::RWXO);
    // The HTTP and MySQL clients are built without a provider of their own. It fails only where one is installed
    // already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    // One thread runs the job, and the dump's pipe has its own. Others wait for the file system; where it hangs, they
    // stay: each attempt to copy to a mount that hangs costs one, and backups go on for weeks.
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().max_blocking_threads(512).build() {
        Ok(runtime) => runtime,
        Err(error) => {
            tracing::error!(%error, "starting the runtime failed");
            return ExitCode::FAILURE;
        }
    };
    let status = runtime.block_on(run_until_stopped(task));
    // Where a disk hangs, the thread that writes to it must not hold the exit.
    runtime.shutdown_background();
    status
}

fn log_args(task: &Task) -> Option<LogArgs> {
    match task {
        Task::Run(args) => Some(args.log),
        Task::Schedule(args) | Task::Healthcheck(args) => Some(args.run.log),
        Task::Verify(args) => Some(args.log),
        Task::Restore(args) => Some(args.log),
        Task::Fetch(args) => Some(args.log),
        Task::List(_) | Task::Prune(_) => None,
    }
}

async fn run_until_stopped(task: Task) -> ExitCode {
    let Signals { mut stop, reload } = match Signals::listen() {
        Ok(signals) => signals,
        Err(error) => {
            tracing::error!(%error, "listening for signals failed");
            return ExitCode::FAILURE;
        }
    };
    tokio::spawn(log_reloads(reload));
    let (stopping, stopped) = watch::channel(false);
    let work = async {
        match task {
            Task::Run(args) => commands::run(args, stopped).await,
            Task::Schedule(args) | Task::Healthcheck(args) => commands::schedule(args, stopped).await,
            Task::List(args) => commands::list(args).await,
            Task::Verify(args) => commands::verify(args, stopped).await,
            Task::Restore(args) => commands::restore(args, stopped).await,
            Task::Fetch(args) => commands::fetch(args, stopped).await,
            Task::Prune(args) => commands::prune(args).await,
        }
    };
    tokio::select! {
        status = work => status,
        () = second_signal(&mut stop, &stopping) => {
            tracing::error!("second stop signal; stopped without cleaning up");
            ExitCode::FAILURE
        }
    }
}

/// The first signal ends a run as interrupted, which removes its files.
async fn second_signal(stop: &mut StopSignals, stopping: &watch::Sender<bool>) {
    stop.recv().await;
    stopping.send_replace(true);
    stop.recv().await;
}

/// There is nothing to reload, and a SIGHUP must not kill a dump.
async fn log_reloads(mut reload: ReloadSignals) {
    loop {
        reload.recv().await;
        tracing::info!("reload not needed; the next run reads the password file again");
    }
}
