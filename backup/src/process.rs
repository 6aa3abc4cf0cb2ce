//! The dump client's process: how it is started, killed and waited for.

use std::{
    io,
    process::{Child, Command, ExitStatus},
    sync::{Arc, Mutex},
};

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};
use service_kit::lock::lock;

/// The dump client's process. Another thread can kill it, and with it its children: signals go to its process group.
#[derive(Clone, Default)]
pub(crate) struct DumpProcess(Arc<Mutex<State>>);

#[derive(Default)]
enum State {
    #[default]
    Idle,
    Running(Pid),
    Killed,
}

impl DumpProcess {
    /// Kills the client and refuses to start another one. Returns whether one was running.
    pub(crate) fn kill(&self) -> bool {
        let mut state = lock(&self.0);
        let ran = if let State::Running(group) = *state {
            // It fails only when the group is gone already.
            let _ = kill_process_group(group, Signal::KILL);
            true
        } else {
            false
        };
        *state = State::Killed;
        ran
    }

    pub(crate) fn spawn(&self, mut command: Command) -> io::Result<Child> {
        let mut state = lock(&self.0);
        if matches!(*state, State::Killed) {
            return Err(io::Error::other("the run was stopped"));
        }
        let child = command.spawn()?;
        *state = State::Running(Pid::from_child(&child));
        Ok(child)
    }

    /// Waits for the child without holding the lock. It is reaped only under the lock, so `kill` can't hit a process
    /// that got its number.
    pub(crate) fn wait(&self, child: &mut Child) -> io::Result<ExitStatus> {
        let pid = Pid::from_child(child);
        while let Err(error) = waitid(WaitId::Pid(pid), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT) {
            if error != rustix::io::Errno::INTR {
                return Err(error.into());
            }
        }
        let mut state = lock(&self.0);
        if matches!(*state, State::Running(_)) {
            *state = State::Idle;
        }
        child.wait()
    }
}

#[cfg(test)]
mod tests {
    use std::{io::Read as _, os::unix::process::CommandExt as _, process::Stdio};

    use super::*;

    #[test]
    fn a_kill_ends_what_the_child_started_too() {
        let process = DumpProcess::default();
        let mut command = Command::new("sh");
        // The grandchild holds the pipe: reading ends only when both are gone.
        command.args(["-c", "sleep 600 & echo ready; wait"]).stdout(Stdio::piped()).process_group(0);
        let mut child = process.spawn(command).unwrap();
        let mut stdout = child.stdout.take().unwrap();
        let mut ready = [0; 6];
        stdout.read_exact(&mut ready).unwrap();
        assert!(process.kill());
        assert_eq!(stdout.read(&mut ready).unwrap(), 0);
        assert!(!process.wait(&mut child).unwrap().success());
        assert!(process.spawn(Command::new("true")).is_err(), "nothing starts after a kill");
    }
}
