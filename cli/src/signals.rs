//! Ctrl-C and its relatives.

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::error::Failure;

/// What asks the program to stop: Ctrl-C, SIGTERM, or a terminal that was closed. All count alike.
pub(crate) struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hang_up: Signal,
    came: bool,
}

impl Signals {
    /// From here on these signals end nothing by themselves. Needs a runtime.
    pub(crate) fn listen() -> Result<Self, Failure> {
        let listen = |kind| signal(kind).map_err(|error| Failure::cannot_start(&error));
        Ok(Self {
            interrupt: listen(SignalKind::interrupt())?,
            terminate: listen(SignalKind::terminate())?,
            hang_up: listen(SignalKind::hangup())?,
            came: false,
        })
    }

    /// Returns with the next one. Nothing is lost when this is dropped before it returns.
    pub(crate) async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
            _ = self.hang_up.recv() => {}
        }
        self.came = true;
    }

    /// Whether one came, whoever waited for it.
    pub(crate) fn came(&self) -> bool {
        self.came
    }
}
