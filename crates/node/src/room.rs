//! Room on the disk: what a store does while it has none.
//!
//! A write that finds the disk full has changed nothing ([`engine::Action::Retry`]). The poller keeps its
//! batch and the actors that it belongs to, and tries again after a pause, so that nothing overtakes
//! it and nothing is promised for it. Meanwhile new writes are refused, and a leader that can't write
//! falls silent: others are elected where there is room.
//!
//! **Invariants.** A write either happens or is tried again, until the store stops; once one was given
//! up for that reason, no later one happens, since it could build on the one that is missing.
//!
//! **Not here.** Keeping a reserve, so that the disk never becomes that full. Known gap: the poller
//! waits, and with it the reads of its other Regions.

use engine::Action;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

/// A store's view of the room on its disk. Clones are the same.
#[derive(Clone)]
pub struct DiskRoom(Arc<State>);

struct State {
    pause: Duration,
    /// Writes that wait for room.
    waiting: AtomicUsize,
    is_stopping: AtomicBool,
    has_given_up: AtomicBool,
}

/// What became of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(crate) enum Insisted {
    /// It is done.
    Written,
    /// There was no room until the store stopped.
    GaveUp,
}

impl DiskRoom {
    /// Tries writes again after `pause`.
    pub fn new(pause: Duration) -> Self {
        Self(Arc::new(State {
            pause,
            waiting: AtomicUsize::new(0),
            is_stopping: AtomicBool::new(false),
            has_given_up: AtomicBool::new(false),
        }))
    }

    /// Whether a write waits for room.
    pub(crate) fn is_full(&self) -> bool {
        self.0.waiting.load(Ordering::Relaxed) > 0
    }

    /// From now on a write that finds no room is given up.
    pub(crate) fn stop(&self) {
        self.0.is_stopping.store(true, Ordering::Relaxed);
    }

    /// Writes as soon as there is room.
    ///
    /// # Errors
    /// Any but a full disk.
    pub(crate) fn insist(
        &self,
        what: &'static str,
        mut write: impl FnMut() -> engine::Result<()>,
    ) -> engine::Result<Insisted> {
        if self.0.has_given_up.load(Ordering::Relaxed) {
            return Ok(Insisted::GaveUp);
        }
        match write() {
            Err(error) if error.action() == Action::Retry => {
                tracing::error!(%error, what, "writing again until there is room");
            }
            result => return result.map(|()| Insisted::Written),
        }
        self.0.waiting.fetch_add(1, Ordering::Relaxed);
        let result = self.try_again(write);
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
        tracing::info!(?result, what, "no longer waiting for room");
        result
    }

    fn try_again(&self, mut write: impl FnMut() -> engine::Result<()>) -> engine::Result<Insisted> {
        while !self.0.is_stopping.load(Ordering::Relaxed) {
            std::thread::sleep(self.0.pause);
            match write() {
                Err(error) if error.action() == Action::Retry => {}
                result => return result.map(|()| Insisted::Written),
            }
        }
        self.0.has_given_up.store(true, Ordering::Relaxed);
        Ok(Insisted::GaveUp)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use engine::Error;

    fn full() -> engine::Result<()> {
        Err(Error::DiskFull { source: None })
    }

    #[test]
    fn a_write_is_tried_until_there_is_room_and_the_store_is_full_meanwhile() {
        let room = DiskRoom::new(Duration::ZERO);
        let mut tries = 0;
        let result = room.insist("test", || {
            tries += 1;
            assert_eq!(room.is_full(), tries > 1);
            if tries < 4 { full() } else { Ok(()) }
        });
        assert_eq!(result.unwrap(), Insisted::Written);
        assert!(!room.is_full());
    }

    #[test]
    fn another_error_is_not_tried_again() {
        let room = DiskRoom::new(Duration::ZERO);
        let mut tries = 0;
        let result = room.insist("test", || {
            tries += 1;
            Err(Error::Stopped { reason: "test" })
        });
        assert!(result.is_err());
        assert_eq!(tries, 1);
    }

    #[test]
    fn after_a_write_that_was_given_up_there_is_no_other() {
        let room = DiskRoom::new(Duration::ZERO);
        room.stop();
        let result = room.insist("test", || Ok(()));
        assert_eq!(result.unwrap(), Insisted::Written, "there is room");
        assert_eq!(room.insist("test", full).unwrap(), Insisted::GaveUp);
        let later = room.insist("test", || panic!("it would leave a hole"));
        assert_eq!(later.unwrap(), Insisted::GaveUp);
    }
}
