//! `mysql-backup`: the program. See `--help`.

use std::process::ExitCode;

use clap::Parser;
use mysql_backup::{RunError, cli::Cli, logging, run, schedule};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::watch,
};

fn main() -> ExitCode {
    let cli = Cli::parse();
    logging::init(cli.log_level, cli.log_format);
    // The HTTP and MySQL clients are built without a provider of their own. It fails only where one is installed already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    // One thread conducts, the pipe has its own: more would wait.
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().max_blocking_threads(4).build() {
        Ok(runtime) => runtime,
        Err(error) => {
            tracing::error!(%error, "cannot start");
            return ExitCode::FAILURE;
        }
    };
    let status = runtime.block_on(conduct(cli));
    // Where a disk hangs, the thread that writes to it must not hold the exit.
    runtime.shutdown_background();
    status
}

async fn conduct(cli: Cli) -> ExitCode {
    let every = cli.every;
    let job = cli.job();
    let mut stop = match stop_on_signals() {
        Ok(stop) => stop,
        Err(error) => {
            tracing::error!(%error, "cannot listen for signals");
            return ExitCode::FAILURE;
        }
    };
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
                tracing::error!(%error, "no run");
                ExitCode::FAILURE
            }
            Err(_) => ExitCode::FAILURE,
        },
    }
}

fn stop_on_signals() -> std::io::Result<run::Stop> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let (sender, stop) = watch::channel(false);
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        sender.send_replace(true);
        // Kept, or the receivers would take its end for "never".
        sender.closed().await;
    });
    Ok(stop)
}
