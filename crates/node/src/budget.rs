//! One limit for the memory of the process, and the room that is left of it.
//!
//! **Why one.** The bounds of all queues and caches add up to more than a small machine has, and none of them knows
//! what nobody counts: code, RocksDB's caches and memtables, connections, what the allocator keeps.
//!
//! **How room is known.** What parts count of themselves is known at every moment ([`MemoryBudget::counted_bytes`]).
//! What the process has beyond that is looked at a few times in a second ([`MemoryBudget::observe`]), together with
//! what RocksDB's caches may still grow by. The limit less both is free. New work asks for room before it begins
//! ([`MemoryBudget::wait_for_room`]); what has begun goes on, within the bounds of its part.
//!
//! **Invariants.** The bounds of the parts together stay below the limit, whatever is configured for each. A sixteenth
//! of the limit is kept for work that has begun, and as much again for writes: answers wait for clients that may never
//! take them, and must not keep others from writing. Nobody waits once there is room.
//!
//! **Not here.** Reading what the process has, and making the allocator give back what it keeps (`kontiki`). What a
//! part does at its own bound. Snapshots: they go through files, in chunks that are small.

use batch_system::ByteBudget;
use metrics::Counter;
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::Notify;

/// This part of the limit is not given to new work.
const RESERVED: usize = 16;
/// This part is not given to answers.
const KEPT_FROM_ANSWERS: usize = 8;

/// What parts of a node may have at the most, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartLimits {
    /// Messages that wait for Peers.
    pub mailboxes: usize,
    /// Committed entries that are not applied.
    pub unapplied: usize,
    /// Log entries kept in memory although the log has them.
    pub entry_cache: usize,
    /// Answers that are gathered, or wait to be sent.
    pub answers: usize,
}

impl PartLimits {
    /// These, or less where the limit for all is small.
    pub fn within(self, limit_bytes: usize) -> Self {
        Self {
            mailboxes: self.mailboxes.min(limit_bytes / 4),
            unapplied: self.unapplied.min(limit_bytes / 8),
            entry_cache: self.entry_cache.min(limit_bytes / 8),
            answers: self.answers.min(limit_bytes / 4),
        }
    }
}

/// Where parts count their bytes.
#[derive(Clone)]
pub struct Parts {
    /// Messages that wait for Peers: the batch system's.
    pub mailboxes: ByteBudget,
    /// Committed entries that are not applied.
    pub unapplied: ByteBudget,
    /// Log entries kept in memory.
    pub entry_cache: ByteBudget,
    /// Answers that are gathered, or wait to be sent.
    pub answers: ByteBudget,
    /// Writes of clients from their admission to their answer; bounded by who admits them.
    pub writes: ByteBudget,
}

impl Parts {
    /// Parts that have nothing yet, and no bounds.
    pub fn unbounded() -> Self {
        let part = || ByteBudget::new(usize::MAX);
        Self {
            mailboxes: part(),
            unapplied: part(),
            entry_cache: part(),
            answers: part(),
            writes: part(),
        }
    }

    fn each(&self) -> [&ByteBudget; 5] {
        [
            &self.mailboxes,
            &self.unapplied,
            &self.entry_cache,
            &self.answers,
            &self.writes,
        ]
    }
}

/// What was seen of the process, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// What is resident.
    pub resident: usize,
    /// What caches and buffers of engines may still grow by, and will. More than a quarter of the limit is not
    /// believed: a machine with less memory than the caches want would take no work at all.
    pub unfilled: usize,
}

/// The memory of a process. Clones are the same.
#[derive(Clone)]
pub struct MemoryBudget(Arc<Shared>);

struct Shared {
    parts: Parts,
    /// What is configured for the parts.
    wanted: Mutex<PartLimits>,
    limit: AtomicUsize,
    /// What the process has, or will have, beyond what the parts count.
    base: AtomicUsize,
    freed: Notify,
    /// New work that has waited for room: how much of it found some, and how much did not.
    admitted: Counter,
    refused: Counter,
}

/// There was no room for new work in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoRoom;

impl MemoryBudget {
    /// Of `limit_bytes` for all of the process, and of these for its parts.
    pub fn new(limit_bytes: usize, parts: Parts, wanted: PartLimits) -> Self {
        let budget = Self(Arc::new(Shared {
            parts,
            wanted: Mutex::new(wanted),
            limit: AtomicUsize::new(limit_bytes),
            base: AtomicUsize::new(0),
            freed: Notify::new(),
            admitted: Counter::new(),
            refused: Counter::new(),
        }));
        budget.bound_parts();
        budget
    }

    /// Without a limit.
    pub fn unlimited() -> Self {
        let wanted = PartLimits {
            mailboxes: usize::MAX,
            unapplied: usize::MAX,
            entry_cache: usize::MAX,
            answers: usize::MAX,
        };
        Self::new(usize::MAX, Parts::unbounded(), wanted)
    }

    /// Where parts count.
    pub fn parts(&self) -> &Parts {
        &self.0.parts
    }

    /// The limit for all of the process.
    pub fn limit_bytes(&self) -> usize {
        self.0.limit.load(Ordering::Relaxed)
    }

    /// Goes by another limit from now on. What is there stays, but nothing new begins above it.
    pub fn set_limit_bytes(&self, limit_bytes: usize) {
        self.0.limit.store(limit_bytes, Ordering::Relaxed);
        self.bound_parts();
        self.wake();
    }

    /// Changes what is configured for the parts.
    pub fn want(&self, change: impl FnOnce(&mut PartLimits)) {
        change(&mut self.0.wanted.lock());
        self.bound_parts();
    }

    fn bound_parts(&self) {
        let limits = self.0.wanted.lock().within(self.limit_bytes());
        let parts = &self.0.parts;
        parts.mailboxes.set_limit_bytes(limits.mailboxes);
        parts.unapplied.set_limit_bytes(limits.unapplied);
        parts.entry_cache.set_limit_bytes(limits.entry_cache);
        parts.answers.set_limit_bytes(limits.answers);
    }

    /// What the parts count, all together.
    pub fn counted_bytes(&self) -> usize {
        let used = |sum: usize, part: &ByteBudget| sum.saturating_add(part.used_bytes());
        self.0.parts.each().into_iter().fold(0, used)
    }

    /// What the process has, or will have, beyond that, as it was seen last.
    pub fn base_bytes(&self) -> usize {
        self.0.base.load(Ordering::Relaxed)
    }

    /// What is left of the limit.
    pub fn free_bytes(&self) -> usize {
        let taken = self.counted_bytes().saturating_add(self.base_bytes());
        self.limit_bytes().saturating_sub(taken)
    }

    /// Whether new work may begin.
    pub fn has_room(&self) -> bool {
        self.free_bytes() > self.limit_bytes() / RESERVED
    }

    /// What answers may take of what is left.
    pub fn left_for_answers(&self) -> usize {
        let kept = self.limit_bytes() / KEPT_FROM_ANSWERS;
        self.free_bytes().saturating_sub(kept)
    }

    /// Takes note of what the process has. Returns whether the allocator should give back what it can: more than
    /// three quarters of the limit are resident.
    pub fn observe(&self, seen: Seen) -> bool {
        let beyond = seen.resident.saturating_sub(self.counted_bytes());
        let unfilled = seen.unfilled.min(self.limit_bytes() / 4);
        let base = beyond.saturating_add(unfilled);
        self.0.base.store(base, Ordering::Relaxed);
        self.wake();
        seen.resident > self.limit_bytes() / 4 * 3
    }

    /// Waits until new work may begin, but not for longer than this.
    ///
    /// # Errors
    /// There was no room in time.
    pub async fn wait_for_room(&self, within: Duration) -> Result<(), NoRoom> {
        if self.has_room() {
            return Ok(());
        }
        let waited = tokio::time::timeout(within, self.room()).await;
        let counter = match waited {
            Ok(()) => &self.0.admitted,
            Err(_) => &self.0.refused,
        };
        counter.add(1);
        waited.map_err(|_| NoRoom)
    }

    async fn room(&self) {
        loop {
            let freed = self.0.freed.notified();
            // From here on nothing is missed: a wake-up after this line ends the wait below.
            let mut freed = std::pin::pin!(freed);
            freed.as_mut().enable();
            if self.has_room() {
                return;
            }
            freed.await;
        }
    }

    fn wake(&self) {
        if self.has_room() {
            self.0.freed.notify_waiters();
        }
    }

    /// New work that waited: found room, and was refused.
    pub fn waited(&self) -> (u64, u64) {
        (self.0.admitted.get(), self.0.refused.get())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;

    const MIB: usize = 1 << 20;
    const WANTED: PartLimits = PartLimits {
        mailboxes: 256 * MIB,
        unapplied: 256 * MIB,
        entry_cache: 256 * MIB,
        answers: 512 * MIB,
    };

    fn budget(limit_bytes: usize) -> MemoryBudget {
        MemoryBudget::new(limit_bytes, Parts::unbounded(), WANTED)
    }

    fn seen(resident: usize) -> Seen {
        Seen {
            resident,
            unfilled: 0,
        }
    }

    #[test]
    fn parts_get_what_is_configured_if_the_limit_allows_it_and_never_all_of_it_together() {
        assert_eq!(WANTED.within(usize::MAX), WANTED);
        for limit in [0, 1, 100 * MIB, 1_024 * MIB, 4_096 * MIB] {
            let PartLimits {
                mailboxes,
                unapplied,
                entry_cache,
                answers,
            } = WANTED.within(limit);
            assert!(mailboxes + unapplied + entry_cache + answers <= limit / 4 * 3 + 3);
        }
        let budget = budget(400 * MIB);
        assert_eq!(budget.parts().answers.limit_bytes(), 100 * MIB);
        budget.set_limit_bytes(usize::MAX);
        assert_eq!(budget.parts().answers.limit_bytes(), WANTED.answers);
        budget.want(|wanted| wanted.mailboxes = MIB);
        assert_eq!(budget.parts().mailboxes.limit_bytes(), MIB);
    }

    #[test]
    fn what_is_counted_is_free_no_more_at_once_and_what_is_not_as_soon_as_it_is_seen() {
        let budget = budget(160 * MIB);
        assert_eq!(budget.free_bytes(), 160 * MIB);
        budget.parts().writes.force_acquire(20 * MIB);
        assert_eq!(budget.free_bytes(), 140 * MIB);
        // Of what is resident, 20 MiB are counted already.
        budget.observe(seen(90 * MIB));
        assert_eq!(
            (budget.base_bytes(), budget.free_bytes()),
            (70 * MIB, 70 * MIB)
        );
        budget.parts().writes.release(20 * MIB);
        assert_eq!(budget.free_bytes(), 90 * MIB);
        let caches = |resident, unfilled| {
            budget.observe(Seen { resident, unfilled });
            budget.free_bytes()
        };
        assert_eq!(caches(90 * MIB, 30 * MIB), 40 * MIB);
        assert_eq!(caches(90 * MIB, 300 * MIB), 30 * MIB);
    }

    #[test]
    fn a_part_that_counts_more_than_is_resident_does_not_make_room() {
        let budget = budget(160 * MIB);
        budget.parts().answers.force_acquire(50 * MIB);
        budget.observe(seen(10 * MIB));
        assert_eq!(budget.free_bytes(), 110 * MIB);
        budget.parts().answers.force_acquire(usize::MAX / 2);
        budget.parts().writes.force_acquire(usize::MAX / 2);
        assert_eq!(budget.free_bytes(), 0);
    }

    #[test]
    fn a_sixteenth_is_kept_for_what_has_begun_and_as_much_for_writes() {
        let budget = budget(160 * MIB);
        budget.observe(seen(139 * MIB));
        assert_eq!(budget.left_for_answers(), MIB);
        budget.parts().answers.force_acquire(MIB);
        assert_eq!(budget.left_for_answers(), 0);
        budget.observe(seen(149 * MIB));
        assert!(budget.has_room());
        assert_eq!(budget.left_for_answers(), 0);
        budget.observe(seen(150 * MIB));
        assert!(!budget.has_room());
    }

    #[test]
    fn the_allocator_is_asked_to_give_back_above_three_quarters() {
        let budget = budget(160 * MIB);
        assert!(!budget.observe(seen(120 * MIB)));
        assert!(budget.observe(seen(121 * MIB)));
    }

    #[tokio::test]
    async fn work_waits_for_room_and_is_refused_when_none_comes() {
        let budget = budget(160 * MIB);
        assert_eq!(budget.wait_for_room(Duration::ZERO).await, Ok(()));
        assert_eq!(budget.waited(), (0, 0), "it did not wait");
        budget.observe(seen(160 * MIB));
        let no_room = budget.wait_for_room(Duration::ZERO).await;
        assert_eq!(no_room, Err(NoRoom));
        let mut first = Box::pin(budget.wait_for_room(Duration::from_secs(3_600)));
        let mut second = Box::pin(budget.wait_for_room(Duration::from_secs(3_600)));
        assert!((&mut first).now_or_never().is_none() && (&mut second).now_or_never().is_none());
        budget.observe(seen(155 * MIB));
        assert!((&mut first).now_or_never().is_none(), "that is not enough");
        budget.observe(seen(100 * MIB));
        assert_eq!((first.await, second.await), (Ok(()), Ok(())));
        assert_eq!(budget.waited(), (2, 1));
    }

    #[tokio::test]
    async fn a_higher_limit_ends_the_wait() {
        let budget = budget(160 * MIB);
        budget.observe(seen(160 * MIB));
        let mut waits = Box::pin(budget.wait_for_room(Duration::from_secs(3_600)));
        assert!((&mut waits).now_or_never().is_none());
        budget.set_limit_bytes(320 * MIB);
        assert_eq!(waits.await, Ok(()));
    }
}
