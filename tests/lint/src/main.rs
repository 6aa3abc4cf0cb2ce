//! `make lint`'s guards of what clippy cannot see: the structure of our crates, and plain words.

mod circles;
mod collectors;
mod dependencies;
mod rust;
mod size;
mod text;
mod tree;
mod words;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, ValueEnum};

use tree::{Finding, Tree};

/// Checks this repository's source, and prints each finding with its place and how to mend it.
#[derive(Parser)]
#[command(name = "lint", version, max_term_width = 120)]
struct Args {
    /// Checks to run (default: all)
    #[arg(value_enum)]
    checks: Vec<Check>,
    /// Directory of the repository
    #[arg(long, default_value = ".")]
    root: PathBuf,
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum Check {
    /// Modules of a crate that import each other in a circle
    Circles,
    /// Dependencies between our crates that tests/lint/dependencies.toml does not list
    Dependencies,
    /// Families and checks that their collector does not declare
    Collectors,
    /// Files that are too long
    Size,
    /// Banned phrases, long help texts, log messages with data, wide comments: tests/lint/words.toml
    Words,
}

impl Check {
    fn run(self, tree: &Tree) -> Vec<Finding> {
        match self {
            Self::Circles => circles::check(tree),
            Self::Dependencies => dependencies::check(tree),
            Self::Collectors => collectors::check(tree),
            Self::Size => size::check(tree),
            Self::Words => words::check(tree),
        }
    }

    fn name(self) -> String {
        self.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
    }
}

#[expect(clippy::print_stdout, clippy::print_stderr, reason = "a command for people")]
fn main() -> ExitCode {
    let args = Args::parse();
    let tree = match Tree::read(&args.root) {
        Ok(tree) => tree,
        Err(error) => {
            eprintln!("lint: {error}");
            return ExitCode::FAILURE;
        }
    };
    let mut clean = true;
    for check in Check::value_variants().iter().filter(|check| args.checks.is_empty() || args.checks.contains(check)) {
        let findings = check.run(&tree);
        for finding in &findings {
            println!("{finding}");
        }
        println!("lint: {}: {} findings in {} files", check.name(), findings.len(), tree.files.len());
        clean &= findings.is_empty();
    }
    if clean { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
