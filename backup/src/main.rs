//! `mysql-backup`: the program. See `--help`.

use std::process::ExitCode;

use mysql_backup::{
    RunError,
    cli::{Cli, Task},
    healthcheck, run, schedule,
};
use service_kit::{
    logging,
    signals::{ReloadSignals, Signals, StopSignals},
};
use tokio::sync::watch;

fn main() -> ExitCode {
    let (task, cli) = Cli::read();
    if task == Task::Healthcheck {
        return service_kit::healthcheck::conclude(healthcheck::check(&cli));
    }
    let _log = logging::init(cli.log, "mysql-backup");
    // The HTTP and MySQL clients are built without a provider of their own. It fails only where one is installed
    // already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    // One thread runs the job, and the dump's pipe has its own: further threads would be idle.
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().max_blocking_threads(4).build() {
        Ok(runtime) => runtime,
        Err(error) => {
            tracing::error!(%error, "starting the runtime failed");
            return ExitCode::FAILURE;
        }
    };
    let status = runtime.block_on(run_until_stopped(cli));
    // Where a disk hangs, the thread that writes to it must not hold the exit.
    runtime.shutdown_background();
    status
}

async fn run_until_stopped(cli: Cli) -> ExitCode {
    let Signals { mut stop, reload } = match Signals::listen() {
        Ok(signals) => signals,
        Err(error) => {
            tracing::error!(%error, "listening for signals failed");
            return ExitCode::FAILURE;
        }
    };
    tokio::spawn(log_reloads(reload));
    let (stopping, stopped) = watch::channel(false);
    tokio::select! {
        status = run_job(cli, stopped) => status,
        () = second_signal(&mut stop, &stopping) => {
            tracing::error!("second stop signal; stopped without cleaning up");
            ExitCode::FAILURE
        }
    }
}

async fn run_job(cli: Cli, mut stop: run::ShutdownSignal) -> ExitCode {
    let every = cli.every;
    let job = cli.job();
    match every {
        Some(period) => {
            schedule::every(&job, period, &mut stop).await;
            tracing::info!("stopped");
            ExitCode::SUCCESS
        }
        None => match run::run(&job, &mut stop).await {
            Ok(manifest) if manifest.success().is_some() => ExitCode::SUCCESS,
            Ok(_) => ExitCode::FAILURE,
            Err(error @ RunError::AlreadyRunning { .. }) => {
                tracing::error!(%error, "backup not started");
                ExitCode::FAILURE
            }
            Err(_) => ExitCode::FAILURE,
        },
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
