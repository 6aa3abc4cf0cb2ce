//! The bare client in C, `c_client.c`: built where the benchmark runs, and asked for one turn at a time.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Stdio};

use medassist_tests::launch::{Launch, run, target_directory};

use crate::Result;

#[derive(Clone, Copy)]
pub(crate) enum Task {
    /// Asks for the two large answers.
    Ask,
    /// Makes a page of them as well.
    MakePage,
}

pub(crate) struct Client {
    child: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
}

impl Client {
    pub(crate) fn start(task: Task, user: &str, password: &str, port: u16) -> Result<Self> {
        let program = target_directory()?.join(match task {
            Task::Ask => "c_client",
            Task::MakePage => "c_client-page",
        });
        let flags = run(
            &mut Launch::installed(&["mariadb_config"])?.args(["--cflags", "--libs"]).wrapped(&[]),
            "mariadb_config",
            "",
        )?;
        let cc = Launch::installed(&["cc"])?
            .args(["-O2", "-Wall", "-x", "c", "-", "-o"])
            .arg(&program)
            .args(flags.split_whitespace());
        run(&mut cc.arg("-lz").wrapped(&[]), "cc", include_str!("c_client.c"))?;
        let launch = Launch::new(program).args([user, &port.to_string()]).env("MYSQL_PWD", password);
        let launch = match task {
            Task::Ask => launch,
            Task::MakePage => launch.arg("page"),
        };
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
