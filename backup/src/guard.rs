//! Ties the dump client to the life of this process: a `kill -9` must not leave a client with an open transaction,
//! which waits for a lock for a day.
//!
//! A process can only ask for itself to be killed with its parent. So this program starts itself, asks, and becomes the
//! client.

use std::{
    ffi::OsString,
    os::unix::process::CommandExt as _,
    process::{Command, ExitCode},
};

use rustix::process::{Signal, getppid, set_parent_process_death_signal};

/// The first argument of such a start. Not documented: it is of use to this program alone.
pub const SUBCOMMAND: &str = "__client";

/// Starts `program`, with further arguments, as a child that dies with the thread that starts it.
pub(crate) fn command(program: &str) -> Command {
    // The link leads to this very file, even if an upgrade has replaced it.
    let mut command = Command::new("/proc/self/exe");
    command.arg(SUBCOMMAND).arg(std::process::id().to_string()).arg(program);
    command
}

/// Becomes the client. Returns only on an error.
pub fn exec(mut args: impl Iterator<Item = OsString>) -> ExitCode {
    let parent = args.next();
    let Some(program) = args.next() else { return ExitCode::FAILURE };
    let is_bound = set_parent_process_death_signal(Some(Signal::KILL)).is_ok();
    // The parent may have died before.
    let alive = getppid().map(|pid| pid.as_raw_nonzero().to_string());
    if !is_bound || alive.map(OsString::from) != parent {
        return ExitCode::FAILURE;
    }
    let error = Command::new(&program).args(args).exec();
    let _ = std::io::Write::write_all(
        &mut std::io::stderr(),
        format!("cannot start {}: {error}\n", program.to_string_lossy()).as_bytes(),
    );
    ExitCode::FAILURE
}
