//! The bare client in C, `c_client.c`: built where the benchmark runs, and asked for one turn at a time.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Stdio};

use medassist_tests::launch::{Launch, run, target_directory};

use crate::Result;

pub(crate) struct Client {
    child: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
}

/// Builds the program.
pub(crate) fn build() -> Result<Launch> {
    let program = target_directory()?.join("c_client");
    let config = Launch::installed(&["mariadb_config"])?.args(["--cflags", "--libs"]);
    let flags = run(&mut config.wrapped(&[]), "mariadb_config", "")?;
    let cc = Launch::installed(&["cc"])?
        .args(["-O2", "-Wall", "-x", "c", "-", "-o"])
        .arg(&program)
        .args(flags.split_whitespace())
        .arg("-lz");
    run(&mut cc.wrapped(&[]), "cc", include_str!("c_client.c"))?;
    Ok(Launch::new(program))
}

impl Client {
    pub(crate) fn start(launch: Launch) -> Result<Self> {
        let mut child = launch.wrapped(&[]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let (stdin, stdout) = child.stdin.take().zip(child.stdout.take()).ok_or("the C client has no pipes")?;
        Ok(Self { child, stdin, stdout: BufReader::new(stdout) })
    }

    /// The seconds of one turn.
    pub(crate) fn ask(&mut self) -> Result<f64> {
        let mut line = String::new();
        let asked = self.stdin.write_all(b"\n").and_then(|()| self.stdout.read_line(&mut line));
        match line.trim().parse() {
            Ok(seconds) if asked.is_ok() => Ok(seconds),
            _ => Err("the C client has ended; what it said is above".into()),
        }
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
