//! The toolkit's own path at scale: 30 families × 10,000 label sets of two labels, from samples to bytes, checks and
//! sorting included, against a hand-written loop that prints the same bytes with no checks from samples that are in
//! order already.

use std::hash::{DefaultHasher, Hasher as _};
use std::io::Write as _;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Instant;

use exporter_toolkit::exposition::{Desc, FamilyWriter, Format, Kind, Snapshot, encode};

use crate::figures::{Result, median};
use crate::usage;

const FAMILIES: usize = 30;
const LABEL_SETS: usize = 10_000;
const RUNS: usize = 9;
/// Processes of each side, alternating.
const ROUNDS: usize = 3;
const HELP: &str = "One of the families of the benchmark.";

#[derive(Clone, Copy, PartialEq, clap::ValueEnum)]
pub(crate) enum Side {
    Loop,
    Ordered,
    Shuffled,
}

#[derive(Clone)]
struct Sample {
    schema: String,
    table: String,
    value: f64,
}

struct Measured {
    seconds: f64,
    /// Peak of resident memory above what was there before.
    peak: f64,
    bytes: f64,
    hash: u64,
}

/// The sides that a baseline is measured on, too; each prints the same bytes.
const OURS: [&str; 2] = ["ordered", "shuffled"];

/// With a baseline, its program `bench` alternates with this one.
#[expect(clippy::print_stdout, reason = "the benchmark's table")]
pub(crate) fn run(baseline: Option<&Path>) -> Result<()> {
    println!(
        "Snapshot: {FAMILIES} families x {LABEL_SETS} label sets (2 labels), samples to bytes; median of {RUNS} runs, each side in its own process\n"
    );
    println!("{:<44} {:>9} {:>12} {:>8} {:>10} {:>12}", "", "ms", "ns/sample", "x loop", "peak MB", "peak/text");
    let program = std::env::current_exe()?;
    let mut sides = vec![
        ("hand-written loop, no checks, in order", program.clone(), "loop"),
        ("snapshot, checked, samples in order", program.clone(), OURS[0]),
        ("snapshot, checked and sorted, shuffled", program, OURS[1]),
    ];
    if let Some(directory) = baseline {
        let program = directory.join("bench");
        sides.push(("baseline: samples in order", program.clone(), OURS[0]));
        sides.push(("baseline: shuffled", program, OURS[1]));
    }
    let mut rounds = Vec::new();
    for _ in 0..ROUNDS {
        let round: Result<Vec<Measured>> = sides.iter().map(|(_, program, side)| measure(program, side)).collect();
        rounds.push(round?);
    }
    let median_of =
        |side: usize, figure: fn(&Measured) -> f64| median(rounds.iter().map(|round| figure(&round[side])).collect());
    let base = median_of(0, |m| m.seconds);
    let (bytes, hash) = (rounds[0][0].bytes, rounds[0][0].hash);
    for (side, (name, ..)) in sides.iter().enumerate() {
        // A baseline may print otherwise: it is another revision.
        if side <= OURS.len() && rounds.iter().any(|round| round[side].hash != hash) {
            return Err(format!("{name}: prints other bytes than the loop").into());
        }
        let (seconds, peak) = (median_of(side, |m| m.seconds), median_of(side, |m| m.peak));
        println!(
            "{name:<44} {:>9.1} {:>12.0} {:>8.2} {:>10.1} {:>12.2}",
            seconds * 1e3,
            seconds * 1e9 / (FAMILIES * LABEL_SETS) as f64,
            seconds / base,
            peak / 1e6,
            peak / bytes,
        );
    }
    if baseline.is_some() {
        for (ours, name) in [(1, "  ours / baseline, in order"), (2, "  ours / baseline, shuffled")] {
            let ratio = |figure: fn(&Measured) -> f64| median_of(ours, figure) / median_of(ours + OURS.len(), figure);
            println!("{name:<44} {:>9.3} {:>12} {:>8} {:>10.3}", ratio(|m| m.seconds), "", "", ratio(|m| m.peak));
        }
    }
    println!("\ntext: {:.1} MB; goals: up to 6 x the loop, peak up to 3 x the text\n", bytes / 1e6);
    Ok(())
}

fn measure(program: &Path, side: &str) -> Result<Measured> {
    let output = Command::new(program).args(["snapshot-side", side]).output();
    let output = output.map_err(|error| format!("{}: {error}", program.display()))?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned().into());
    }
    let text = String::from_utf8(output.stdout)?;
    let mut fields = text.split_whitespace();
    let mut next = || fields.next().ok_or("a side of the benchmark printed too little");
    Ok(Measured { seconds: next()?.parse()?, peak: next()?.parse()?, bytes: next()?.parse()?, hash: next()?.parse()? })
}

#[expect(clippy::print_stdout, reason = "the parent reads it")]
pub(crate) fn run_side(side: Side) -> Result<()> {
    let families = samples(side);
    usage::reset_peak()?;
    let before = usage::status_bytes("self", "VmRSS")?;
    let (mut times, mut peak, mut bytes, mut hash) = (Vec::new(), 0.0_f64, 0, 0);
    for _ in 0..RUNS {
        let start = Instant::now();
        let text = if side == Side::Loop { hand_written(&families)? } else { through_the_toolkit(&families) };
        times.push(start.elapsed().as_secs_f64());
        peak = peak.max(usage::status_bytes("self", "VmHWM")? - before);
        let mut hasher = DefaultHasher::new();
        hasher.write(&text);
        (bytes, hash) = (text.len(), hasher.finish());
    }
    println!("{} {peak} {bytes} {hash}", median(times));
    Ok(())
}

fn family_name(family: usize) -> String {
    format!("bench_{family:02}_rows_total")
}

fn samples(side: Side) -> Vec<Vec<Sample>> {
    let mut families: Vec<Vec<Sample>> = (0..FAMILIES)
        .map(|family| {
            let sample = |i: usize| Sample {
                schema: format!("medassist_{:03}", i / 100),
                table: format!("table_{:05}", i * 7 % 100_000),
                value: (i * 1000 + family) as f64,
            };
            (0..LABEL_SETS).map(sample).collect()
        })
        .collect();
    for samples in &mut families {
        samples.sort_by(|a, b| (&a.schema, &a.table).cmp(&(&b.schema, &b.table)));
        if side == Side::Shuffled {
            // Fisher and Yates, with a fixed generator: each run sorts the same.
            let mut state = 0x9e37_79b9_7f4a_7c15_u64;
            for i in (1..samples.len()).rev() {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                samples.swap(i, (state >> 33) as usize % (i + 1));
            }
            // In memory in the order in which they come, as the rows of a service's answer are.
            *samples = samples.to_vec();
        }
    }
    families
}

/// Code that formats this one page by hand.
fn hand_written(families: &[Vec<Sample>]) -> Result<Vec<u8>> {
    let mut out = Vec::with_capacity(32 << 20);
    for (family, samples) in families.iter().enumerate() {
        let name = family_name(family);
        writeln!(out, "# HELP {name} {HELP}\n# TYPE {name} counter")?;
        for Sample { schema, table, value } in samples {
            out.extend_from_slice(name.as_bytes());
            out.extend_from_slice(b"{schema=\"");
            out.extend_from_slice(schema.as_bytes());
            out.extend_from_slice(b"\",table=\"");
            out.extend_from_slice(table.as_bytes());
            out.extend_from_slice(b"\"} ");
            out.extend_from_slice(itoa::Buffer::new().format(*value as i64).as_bytes());
            out.push(b'\n');
        }
    }
    Ok(out)
}

fn through_the_toolkit(families: &[Vec<Sample>]) -> Vec<u8> {
    let mut out = FamilyWriter::default();
    for (family, samples) in families.iter().enumerate() {
        let desc = Desc::dynamic(Kind::Counter, family_name(family), HELP, &["schema", "table"]);
        let family = out.family(&desc);
        for sample in samples {
            family.push(&[&sample.schema, &sample.table], sample.value);
        }
    }
    let batch = Arc::new(out.finish());
    encode(&Snapshot::assemble([batch]).0, Format::Text)
}
