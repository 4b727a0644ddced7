//! One bound, in bytes, for all that waits.
//!
//! **Why.** A bound by count says nothing of memory: forty thousand messages may be a megabyte or
//! forty gigabytes. Several batch systems (and any other queue) can share one budget.
//!
//! **Invariant.** `used` is the sum of the sizes of accepted messages that are not handled, given back
//! or dropped. It exceeds the limit only by what was forced or by a limit lowered while running.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A shared budget of bytes; clones are the same budget.
#[derive(Clone)]
pub struct ByteBudget(Arc<Counters>);

struct Counters {
    used: AtomicUsize,
    limit: AtomicUsize,
}

impl ByteBudget {
    /// A budget of so many bytes.
    pub fn new(limit_bytes: usize) -> Self {
        Self(Arc::new(Counters {
            used: AtomicUsize::new(0),
            limit: AtomicUsize::new(limit_bytes),
        }))
    }

    /// Bytes in use.
    pub fn used_bytes(&self) -> usize {
        self.0.used.load(Ordering::Relaxed)
    }

    /// The most bytes that may be in use.
    pub fn limit_bytes(&self) -> usize {
        self.0.limit.load(Ordering::Relaxed)
    }

    /// Changes the bound; what is in use already stays.
    pub fn set_limit_bytes(&self, limit_bytes: usize) {
        self.0.limit.store(limit_bytes, Ordering::Relaxed);
    }

    /// Takes `bytes` if they fit. One that is larger than the whole budget never fits.
    pub fn try_acquire(&self, bytes: usize) -> bool {
        if bytes == 0 {
            return true;
        }
        let before = self.0.used.fetch_add(bytes, Ordering::Relaxed);
        let fits = before
            .checked_add(bytes)
            .is_some_and(|used| used <= self.limit_bytes());
        if !fits {
            self.0.used.fetch_sub(bytes, Ordering::Relaxed);
        }
        fits
    }

    /// Takes `bytes` whether they fit or not.
    pub fn force_acquire(&self, bytes: usize) {
        if bytes > 0 {
            self.0.used.fetch_add(bytes, Ordering::Relaxed);
        }
    }

    /// Gives back what was taken.
    pub fn release(&self, bytes: usize) {
        if bytes > 0 {
            let before = self.0.used.fetch_sub(bytes, Ordering::Relaxed);
            assert!(before >= bytes, "more bytes given back than taken");
        }
    }
}
