//! `make bench`: what we claim about speed, measured side by side in one run.
//!
//! Figures of one machine differ from run to run; the ratios of one run are what to compare.

mod contest;
mod dump;
mod exporters;
mod figures;
mod snapshot;
mod usage;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand, ValueEnum};
use medassist_stack::launch::target_directory;

use crate::figures::Result;

/// Measures the exporters against their peers, the snapshot against a hand-written loop, and the backup job against a
/// pipe.
///
/// For a before and after in one run, keep the programs of before in a directory: those of target/shipped and
/// target/release/bench. Then build the programs of after, and give the directory as --baseline.
#[derive(Parser)]
#[command(version, max_term_width = 120, args_conflicts_with_subcommands = true)]
struct Args {
    /// Subjects to measure, separated by commas (default: all)
    #[arg(long, value_enum, value_delimiter = ',', value_name = "SUBJECT")]
    only: Vec<Subject>,
    /// Directory of the programs to compare with: exporters, and `bench` for the snapshot
    #[arg(long, value_name = "DIRECTORY")]
    baseline: Option<PathBuf>,
    /// Directory of the exporters to measure (default: target/shipped)
    #[arg(long, value_name = "DIRECTORY")]
    programs: Option<PathBuf>,
    /// Scrapes of each exporter
    #[arg(long, default_value_t = 1000)]
    scrapes: usize,
    /// Size of the table of the subject `dump`, as SQL
    #[arg(long, default_value_t = 1024, value_name = "MEBIBYTES")]
    dump_size: u64,
    #[command(subcommand)]
    internal: Option<Internal>,
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum Subject {
    /// 300,000 samples to bytes, against a hand-written formatting loop
    Snapshot,
    /// mysql-exporter and mysqld_exporter, on MariaDB, MySQL and 20,000 tables
    Mysql,
    /// redis-exporter and redis_exporter
    Redis,
    /// haproxy-exporter and haproxy_exporter, on 10 backends of 10 servers; and HAProxy's own endpoint, on 100 of 100
    Haproxy,
    /// mysql-backup, plain and encrypted, and `mariadb-dump | zstd -3`
    Dump,
}

#[derive(Subcommand)]
enum Internal {
    /// Measures one side of the snapshot, in its own process so that its memory can be measured
    #[command(hide = true)]
    SnapshotSide { side: snapshot::Side },
}

#[expect(clippy::print_stderr, reason = "a command for people")]
fn main() -> ExitCode {
    let args = Args::parse();
    let result = match args.internal {
        Some(Internal::SnapshotSide { side }) => snapshot::run_side(side),
        None => measure(args),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error}");
            ExitCode::FAILURE
        }
    }
}

fn measure(args: Args) -> Result<()> {
    let chosen = |subject| args.only.is_empty() || args.only.contains(&subject);
    if chosen(Subject::Snapshot) {
        snapshot::run(args.baseline.as_deref())?;
    }
    let programs = match args.programs {
        Some(directory) => directory,
        None => target_directory()?.join("shipped"),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        if chosen(Subject::Dump) {
            dump::run(&programs, args.dump_size).await?;
        }
        let exporters = [Subject::Mysql, Subject::Redis, Subject::Haproxy];
        if !exporters.into_iter().any(chosen) {
            return Ok(());
        }
        let settings = exporters::Settings { scrapes: args.scrapes, programs, baseline: args.baseline };
        contest::print_header(settings.scrapes);
        if chosen(Subject::Mysql) {
            exporters::mysql(&settings).await?;
        }
        if chosen(Subject::Redis) {
            exporters::redis(&settings).await?;
        }
        if chosen(Subject::Haproxy) {
            exporters::haproxy(&settings).await?;
        }
        Ok(())
    })
}
