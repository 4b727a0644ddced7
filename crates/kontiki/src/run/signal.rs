//! When the process is asked to end.
//!
//! **Invariants.** The first SIGINT or SIGTERM begins a graceful stop. A second one ends the process at
//! once: everything that was acknowledged is durable anyhow.
//!
//! **Not here.** What a graceful stop is.

use crate::error::{Error, Result};
use std::process;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// The exit code of a process that did not wait for its graceful stop.
const IMPATIENT: i32 = 130;

/// Listens for the signals; from its making on they no longer end the process.
pub struct StopSignal {
    interrupt: Signal,
    terminate: Signal,
}

impl StopSignal {
    /// Begins to listen.
    ///
    /// # Errors
    /// The system refuses a handler.
    pub fn listen() -> Result<Self> {
        let listen = |kind| signal(kind).map_err(Error::io("listening for signals"));
        Ok(Self {
            interrupt: listen(SignalKind::interrupt())?,
            terminate: listen(SignalKind::terminate())?,
        })
    }

    /// Waits for the first signal and returns its name. From then on another one ends the process.
    pub async fn wait(mut self) -> &'static str {
        let name = self.next().await;
        tokio::spawn(async move {
            self.next().await;
            process::exit(IMPATIENT);
        });
        name
    }

    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.interrupt.recv() => "SIGINT",
            _ = self.terminate.recv() => "SIGTERM",
        }
    }
}
