//! The primitives of synchronisation that the hand-over of FSMs is built from.
//!
//! **Why a module.** `mailbox.rs` and `run_queue.rs` take theirs from here. The model check
//! (`tests/model.rs`) compiles the same two files against loom's primitives, by putting another
//! `sync` beside them.

pub(crate) use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// A lock without poisoning: a panic inside an FSM never happens under it.
pub(crate) struct Mutex<T>(parking_lot::Mutex<T>);

/// Proof that the lock is held.
pub(crate) type MutexGuard<'a, T> = parking_lot::MutexGuard<'a, T>;

impl<T> Mutex<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(parking_lot::Mutex::new(value))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        self.0.lock()
    }
}

/// Where pollers sleep.
pub(crate) struct Condvar(parking_lot::Condvar);

impl Condvar {
    pub(crate) fn new() -> Self {
        Self(parking_lot::Condvar::new())
    }

    /// Sleeps until it is notified, perhaps longer than needed, perhaps for no reason.
    pub(crate) fn wait<'a, T>(&self, mut guard: MutexGuard<'a, T>) -> MutexGuard<'a, T> {
        self.0.wait(&mut guard);
        guard
    }

    pub(crate) fn notify_one(&self) {
        self.0.notify_one();
    }

    pub(crate) fn notify_all(&self) {
        self.0.notify_all();
    }
}

/// How many times a searching poller looks before it sleeps: some microseconds, in which a sender that has
/// just been answered often sends again. Searching longer, or giving way to others in between, was measured
/// to cost more than it gains where all processors are busy.
const SPINS: u32 = 128;

/// Looks at `found` for a moment; ends early when it is true.
pub(crate) fn spin_until(found: impl Fn() -> bool) {
    for _ in 0..SPINS {
        if found() {
            return;
        }
        std::hint::spin_loop();
    }
}
