//! `medassist-api`: reads its flags, starts the log, and runs the library.

use std::process::ExitCode;

use medassist_api::{parse, run};
use service_kit::logging;

fn main() -> ExitCode {
    let flags = match parse() {
        Ok(flags) => flags,
        Err(status) => return status,
    };
    let _log = logging::init(flags.log, "medassist-api");
    // The HTTP client is built without a provider of its own. It fails only where one is installed already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    // Two workers: a request is a few hundred microseconds of work around a wait for MySQL, and three replicas share
    // the machine.
    let runtime = match tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            tracing::error!(%error, "starting the runtime failed");
            return ExitCode::FAILURE;
        }
    };
    let outcome = runtime.block_on(run(flags));
    // A connection attempt to a hung server must not hold the exit.
    runtime.shutdown_background();
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(%error, "stopped");
            ExitCode::FAILURE
        }
    }
}
