//! A run of the backup job against the pipe that people write by hand, `mariadb-dump | zstd -3`, on one table.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use medassist_stack::database::Flavour;
use medassist_tests::testbed::servers::Database;

use crate::figures::{Result, boxed, median};

/// Of each side, alternating.
const ROUNDS: usize = 5;
/// Bytes of a row in the dump: hexadecimal digits, which compress to about a half, as text of people does.
const ROW: u64 = 1040;

/// Each side writes the table to a directory of its own, which is emptied between the rounds.
#[expect(clippy::print_stdout, reason = "the benchmark's table")]
pub(crate) async fn run(programs: &Path, mebibytes: u64) -> Result<()> {
    let program = programs.join("mysql-backup");
    if !program.is_file() {
        return Err(format!("{} is missing: `make dist` builds the programs to measure", program.display()).into());
    }
    let db = Database::start_as(Flavour::MariaDb, &["--innodb-flush-log-at-trx-commit=0"]).await?;
    let rows = (mebibytes << 20) / ROW;
    db.sql("CREATE DATABASE bench; CREATE TABLE bench.t (id INT PRIMARY KEY, x TEXT NOT NULL)")?;
    let digests: Vec<String> = (0..8).map(|part| format!("SHA2(seq * 8 + {part}, 512)")).collect();
    // In parts: one transaction of all would need as much for its undo log.
    for first in (1..=rows).step_by(100_000) {
        let last = rows.min(first + 99_999);
        let values = digests.join(", ");
        db.sql(&format!("USE bench; INSERT INTO t SELECT seq, CONCAT({values}) FROM seq_{first}_to_{last}"))?;
    }
    let home = db.directory().join("bench");
    fs::create_dir(&home)?;
    let key = home.join("key");
    succeed(Command::new("age-keygen").arg("-o").arg(&key))?;
    let public = succeed(Command::new("age-keygen").arg("-y").arg(&key))?;
    let recipient = format!("--encrypt.recipients={}", public.trim());

    let socket = db.socket();
    let backups = home.join("backups");
    let by_hand = || {
        let pipe = r#"set -o pipefail; mariadb-dump --socket="$1" --single-transaction bench | zstd -q -3 >"$2/dump""#;
        let mut command = Command::new("bash");
        command.args(["-c", pipe, "bash"]).arg(socket).arg(&backups);
        command
    };
    let job = |flags: &[&str]| {
        let mut command = Command::new(&program);
        command.arg("run").arg(format!("--backup.directory={}", backups.display()));
        command.arg(format!("--mysql.address=unix://{}", socket.display())).args(["--mysql.user=root"]).args(flags);
        command
    };
    let mut seconds: [Vec<f64>; 3] = Default::default();
    for _ in 0..ROUNDS {
        for (side, mut command) in [by_hand(), job(&[]), job(&[&recipient])].into_iter().enumerate() {
            fs::create_dir(&backups)?;
            let started = Instant::now();
            succeed(&mut command)?;
            seconds[side].push(started.elapsed().as_secs_f64());
            fs::remove_dir_all(&backups)?;
        }
    }
    println!("Dump of {mebibytes} MiB of SQL; median of {ROUNDS} runs, alternating\n");
    println!("{:<44} {:>9} {:>9} {:>12}", "", "s", "MiB/s", "throughput");
    let base = median(seconds[0].clone());
    for (name, seconds) in
        ["mariadb-dump | zstd -3", "mysql-backup run", "mysql-backup run, encrypted"].iter().zip(seconds)
    {
        let seconds = median(seconds);
        println!("{name:<44} {seconds:>9.2} {:>9.0} {:>10.2} x", mebibytes as f64 / seconds, base / seconds);
    }
    println!("\ngoals: 0.9 x the pipe, encrypted 0.8 x\n");
    Ok(())
}

fn succeed(command: &mut Command) -> Result<String> {
    let output = command.stdin(Stdio::null()).output()?;
    if !output.status.success() {
        return Err(format!("{command:?}: {}", String::from_utf8_lossy(&output.stderr)).into());
    }
    String::from_utf8(output.stdout).map_err(boxed)
}
