//! When the process is asked to end.
//!
//! **Invariants.** The first signal is a request, which everybody who listens hears of, at whatever
//! they are. A second one ends the process at once: everything that was acknowledged is durable anyhow.
//!
//! **Not here.** What a graceful stop is.

use crate::error::{Error, Result};
use std::{fs, process};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};

/// The exit code of a process that did not wait for its graceful stop.
pub const IMPATIENT: i32 = 130;

/// Whether to stop. Clones are the same.
#[derive(Clone)]
pub struct StopRequest {
    /// Why, once it is wanted.
    reason: watch::Sender<Option<&'static str>>,
}

impl StopRequest {
    /// A request that [`Self::make`] makes.
    pub fn new() -> Self {
        let (reason, _) = watch::channel(None);
        Self { reason }
    }

    /// A request that a signal makes, too: from now on the first does not end the process. At a second
    /// one `last_act` is performed, and the process ends.
    ///
    /// # Errors
    /// The system refuses a handler.
    pub fn on_signals(
        signals: &[(&'static str, SignalKind)],
        last_act: impl FnOnce() + Send + 'static,
    ) -> Result<Self> {
        let (sender, mut arrived) = mpsc::unbounded_channel();
        for &(name, kind) in signals.iter().filter(|(_, kind)| !is_ignored(*kind)) {
            let mut signals = signal(kind).map_err(Error::io("listening for signals"))?;
            let sender = sender.clone();
            tokio::spawn(async move {
                while signals.recv().await.is_some() {
                    // Nobody receives any more when the process ends.
                    let _ = sender.send(name);
                }
            });
        }
        let request = Self::new();
        let heard = request.clone();
        tokio::spawn(async move {
            if let Some(name) = arrived.recv().await {
                heard.make(name);
                arrived.recv().await;
                last_act();
                process::exit(IMPATIENT);
            }
        });
        Ok(request)
    }

    /// Asks everybody to stop. The first reason counts.
    pub fn make(&self, why: &'static str) {
        self.reason.send_if_modified(|reason| {
            let is_first = reason.is_none();
            reason.get_or_insert(why);
            is_first
        });
    }

    /// Whether it was made.
    pub fn is_made(&self) -> bool {
        self.reason.borrow().is_some()
    }

    /// Ready when it was made, with the reason.
    pub async fn made(&self) -> &'static str {
        let mut reason = self.reason.subscribe();
        let made = reason.wait_for(Option::is_some).await;
        // The sender is in `self`, so the channel is open.
        made.ok().and_then(|reason| *reason).unwrap_or_default()
    }
}

/// Whether whoever started this process has switched the signal off for it, as `nohup` does.
fn is_ignored(kind: SignalKind) -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_some_and(|mask| (mask >> (kind.as_raw_value() - 1)) & 1 == 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn everybody_hears_the_first_reason_then_and_later() {
        let request = StopRequest::new();
        let listener = request.clone();
        let hears = tokio::spawn(async move { listener.made().await });
        assert!(!request.is_made());
        request.make("first");
        request.make("second");
        assert_eq!(hears.await.unwrap(), "first");
        assert!(request.is_made());
        assert_eq!(request.clone().made().await, "first");
    }
}
