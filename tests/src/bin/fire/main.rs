//! `make fire`: makes every alert of `prometheus/rules` fire on a local stack of its own, by a fault, and shows how
//! long each took. The waits are shorter than in production: see [`scale`].

mod fault;
mod page;
mod report;
mod scale;
mod table;
mod watch;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Parser;
use medassist_stack::Error;

use crate::watch::Harness;

/// Makes alerts fire on a local stack of its own, by the faults of a table, and prints a table of times
#[derive(Parser)]
#[command(name = "fire", max_term_width = 120)]
struct Cli {
    /// Only this alert
    #[arg(long, value_name = "NAME")]
    alert: Option<String>,

    /// Only the cases that together take about three minutes
    #[arg(long)]
    quick: bool,

    /// Measure, with the waits of production, the time from a fault to its first notification
    #[arg(long)]
    detect: bool,

    /// Measurements of each fault
    #[arg(long, value_name = "NUMBER", default_value_t = 5, requires = "detect")]
    runs: usize,
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(&Cli::parse()).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            report::line(&format!("fire: {error}"));
            ExitCode::FAILURE
        }
    }
}

/// Whether every alert did what it should.
async fn run(cli: &Cli) -> Result<bool, Error> {
    if cli.detect {
        let harness = Harness::start(false).await?;
        let mut rows = Vec::new();
        for drill in table::DRILLS {
            let mut times = Vec::new();
            for _ in 0..cli.runs {
                let (time, alert) = harness.detect(drill).await?;
                report::line(&format!("{}: {alert} after {:.1} s", drill.what, time.as_secs_f64()));
                times.push((time, alert));
            }
            rows.push(report::detection(drill, &times));
        }
        report::detections(&rows);
        return Ok(true);
    }
    let cases: Vec<_> = table::CASES
        .iter()
        .filter(|case| !cli.quick || case.quick)
        .filter(|case| cli.alert.as_deref().is_none_or(|alert| case.alerts.contains(&alert)))
        .collect();
    if cases.is_empty() {
        let name = cli.alert.as_deref().unwrap_or_default();
        let reason = table::EXCEPTIONS.iter().find(|(alert, _)| *alert == name);
        return Err(Error::Stack(match reason {
            Some((_, reason)) => format!("{name} does not fire here: {reason}"),
            None => format!("no case makes {name} fire"),
        }));
    }
    let begin = Instant::now();
    let harness = Harness::start(true).await?;
    let mut outcomes = Vec::new();
    for case in cases {
        let wanted = |alert: &&'static str| cli.alert.as_deref().is_none_or(|only| only == *alert);
        let alerts: Vec<&'static str> =
            case.alerts.iter().copied().filter(wanted).filter(|alert| harness.has(alert)).collect();
        for outcome in harness.fire(case, &alerts).await {
            report::line(&report::row(&outcome));
            outcomes.push(outcome);
        }
    }
    report::table(&outcomes, begin.elapsed());
    Ok(outcomes.iter().all(|outcome| outcome.problem.is_none()))
}

/// For one alert to fire, or to end, with the shortened waits on a busy machine.
const FIRES: Duration = Duration::from_secs(180);
const ENDS: Duration = Duration::from_secs(180);
