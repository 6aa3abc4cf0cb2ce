//! `make bench`: what we claim about speed, measured side by side in one run.
//!
//! Figures of one machine differ from run to run; the ratios of one run are what to compare.

mod c_client;
mod exporters;
mod snapshot;
mod train;
mod usage;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(about = "Measures the toolkit's path and the exporters beside their peers", version)]
struct Args {
    #[command(subcommand)]
    what: Option<What>,
}

#[derive(Subcommand, Clone)]
enum What {
    /// 300,000 samples to bytes, against a hand-written formatting loop
    Snapshot,
    /// One side of `snapshot`, in a process of its own so that its memory can be told
    #[command(hide = true)]
    SnapshotSide { side: snapshot::Side },
    /// Our exporters beside the Go ones from Debian, on the same servers
    Exporters {
        /// Scrapes of each exporter
        #[arg(long, default_value_t = exporters::SCRAPES)]
        scrapes: usize,
    },
    /// Scrapes exporters that count what runs in them, as exporters/build-dist.sh built them
    Train {
        /// Where they are
        directory: PathBuf,
        #[arg(required = true)]
        exporters: Vec<train::Exporter>,
    },
}

#[expect(clippy::print_stderr, reason = "a command for people")]
fn main() -> ExitCode {
    let result = match Args::parse().what {
        None => snapshot::run().and_then(|()| exporters::run(exporters::SCRAPES)),
        Some(What::Snapshot) => snapshot::run(),
        Some(What::SnapshotSide { side }) => snapshot::run_side(side),
        Some(What::Exporters { scrapes }) => exporters::run(scrapes),
        Some(What::Train { directory, exporters }) => train::run(&directory, &exporters),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error}");
            ExitCode::FAILURE
        }
    }
}

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

fn boxed(error: impl Into<Box<dyn std::error::Error>>) -> Box<dyn std::error::Error> {
    error.into()
}

fn quantile(sorted: &[f64], q: f64) -> f64 {
    let index = ((sorted.len() as f64 * q).ceil() as usize).clamp(1, sorted.len()) - 1;
    sorted[index]
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    quantile(&values, 0.5)
}
