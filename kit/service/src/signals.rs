//! The signals that a service manager sends: SIGTERM and SIGINT stop a program, SIGHUP makes it read its files again.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// Both halves, so that a program can reload while it waits for the stop.
#[derive(Debug)]
pub struct Signals {
    pub stop: StopSignals,
    pub reload: ReloadSignals,
}

/// SIGTERM and SIGINT. A second one means: stop at once.
#[derive(Debug)]
pub struct StopSignals {
    terminate: Signal,
    interrupt: Signal,
}

/// SIGHUP, which would kill a program that doesn't handle it.
#[derive(Debug)]
pub struct ReloadSignals(Signal);

impl Signals {
    /// Handles the signals from now on. It needs a Tokio runtime.
    pub fn listen() -> io::Result<Self> {
        Ok(Self {
            stop: StopSignals {
                terminate: signal(SignalKind::terminate())?,
                interrupt: signal(SignalKind::interrupt())?,
            },
            reload: ReloadSignals(signal(SignalKind::hangup())?),
        })
    }
}

impl StopSignals {
    pub async fn recv(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

impl ReloadSignals {
    pub async fn recv(&mut self) {
        self.0.recv().await;
    }
}

#[cfg(test)]
mod tests {
    use rustix::process::{Signal, getpid, kill_process};

    use super::*;

    #[tokio::test]
    async fn each_signal_arrives_where_it_belongs() {
        let mut signals = Signals::listen().unwrap();
        for signal in [Signal::HUP, Signal::TERM, Signal::INT] {
            kill_process(getpid(), signal).unwrap();
            let stops = tokio::select! {
                () = signals.stop.recv() => true,
                () = signals.reload.recv() => false,
            };
            assert_eq!(stops, signal != Signal::HUP);
        }
    }
}
