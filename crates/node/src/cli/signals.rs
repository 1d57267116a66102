//! The signals that ask a process to stop.

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::Failure;

/// Ctrl-C and SIGTERM.
pub(super) struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    /// Takes the signals over; they stop ending the process by themselves.
    pub(super) fn take() -> Result<Signals, Failure> {
        let take = |kind| {
            signal(kind).map_err(|error| Failure::Run(format!("cannot wait for signals: {error}")))
        };
        Ok(Signals {
            interrupt: take(SignalKind::interrupt())?,
            terminate: take(SignalKind::terminate())?,
        })
    }

    /// Returns when one of them arrives.
    pub(super) async fn stop(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}
