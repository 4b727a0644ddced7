//! Counts what is sent at the same time.
//!
//! **Invariants.** A slot is free again when the last clone of it has gone.
//!
//! **Not here.** The bound: whoever takes one has looked before.

use parking_lot::{Condvar, Mutex};
use std::sync::Arc;
use std::time::Duration;

/// All slots.
#[derive(Default)]
pub(super) struct Slots(Arc<Counter>);

#[derive(Default)]
struct Counter {
    taken: Mutex<usize>,
    freed: Condvar,
}

/// One that is taken.
#[derive(Clone)]
pub(super) struct Slot {
    _taken: Arc<Taken>,
}

struct Taken(Arc<Counter>);

impl Slots {
    pub(super) fn take(&self) -> Slot {
        *self.0.taken.lock() += 1;
        Slot {
            _taken: Arc::new(Taken(Arc::clone(&self.0))),
        }
    }

    pub(super) fn taken(&self) -> usize {
        *self.0.taken.lock()
    }

    /// Waits until none is taken. False if one still is.
    pub(super) fn await_none(&self, patience: Duration) -> bool {
        let mut taken = self.0.taken.lock();
        let is_taken = |taken: &mut usize| *taken > 0;
        let waited = self.0.freed.wait_while_for(&mut taken, is_taken, patience);
        !waited.timed_out()
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        *self.0.taken.lock() -= 1;
        self.0.freed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_is_free_when_its_last_clone_has_gone() {
        let slots = Slots::default();
        let slot = slots.take();
        let clone = slot.clone();
        drop(slot);
        assert_eq!(slots.taken(), 1);
        assert!(!slots.await_none(Duration::ZERO));
        std::thread::scope(|scope| {
            scope.spawn(move || drop(clone));
            assert!(slots.await_none(Duration::from_secs(60)));
        });
    }
}
