//! Which thread may read which log.
//!
//! **Why.** raft-engine keeps the block that a thread read last, and knows it by the file's number and the
//! offset, not by the log: a thread that reads a second log may get a block of the first. The nodes of a
//! playground live in one process and share threads while they start.
//!
//! **Invariant.** A thread reads one log, opened once, and no other: a read of another one is done by a
//! thread of its own. That is rare; pollers belong to a node.

use std::cell::Cell;
use std::panic::resume_unwind;
use std::sync::atomic::{AtomicU64, Ordering};

thread_local! {
    /// The log that this thread has read; zero for none.
    static READS: Cell<u64> = const { Cell::new(0) };
}

/// One opening of one log.
pub(crate) struct Reader(u64);

impl Reader {
    /// Of a log that has just been opened.
    pub(crate) fn new() -> Self {
        static LAST: AtomicU64 = AtomicU64::new(0);
        Self(LAST.fetch_add(1, Ordering::Relaxed) + 1)
    }

    /// Runs a read where no block of another log is kept.
    pub(crate) fn run<T: Send>(&self, read: impl FnOnce() -> T + Send) -> T {
        if READS.get() == 0 {
            READS.set(self.0);
        }
        if READS.get() == self.0 {
            return read();
        }
        let apart = std::thread::scope(|scope| scope.spawn(read).join());
        apart.unwrap_or_else(|payload| resume_unwind(payload))
    }
}
