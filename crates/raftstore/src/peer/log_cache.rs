//! The part of a Raft log that is in memory, and what raft-rs may ask of it without waiting.
//!
//! raft-rs reads its log synchronously. To keep the core free of I/O it reads this cache only:
//! entries above the applied index are always here; older ones are answered with
//! `LogTemporarilyUnavailable`, noted as a wish, and come back through [`LogCache::supply`]. So do
//! snapshots, through [`LogCache::offer_snapshot`].
//!
//! Terms are kept for the *whole* log, as runs of equal terms: there are as many runs as there were
//! elections, so this stays small, and raft-rs may ask for any term at any time.
//!
//! **Invariants.** Cached entries are contiguous and end at the last index. Runs are ordered by
//! index and by term, and the first one begins at the truncated index.

use super::idle::give_back_queue;
use super::raft::{to_raft_entry, to_raft_hard_state};
use raft::eraftpb::{ConfState, Entry, Snapshot};
use raft::{GetEntriesContext, RaftState, Storage, StorageError};
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use types::{HardState, LogEntry};

/// Where a log's terms change: from `index` on, the term is `term`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TermRun {
    /// First index of the run.
    pub index: u64,
    /// The term of every entry in the run.
    pub term: u64,
}

/// A read of entries that the cache could not answer.
#[derive(Debug)]
pub(super) struct Wish {
    pub(super) context: GetEntriesContext,
    pub(super) low: u64,
    pub(super) high: u64,
    pub(super) bytes_max: u64,
}

/// The log as raft-rs sees it.
pub(crate) struct LogCache {
    /// What raft-rs asks for once, at its start.
    initial: Option<Box<(HardState, ConfState)>>,
    /// First run begins at the truncated index: the dummy entry before the log.
    runs: Vec<TermRun>,
    last_index: u64,
    entries: VecDeque<LogEntry>,
    bytes: usize,
    /// Nothing, unless a follower is far behind. Behind a cell, since raft-rs asks by shared reference.
    outside: RefCell<Option<Box<Outside>>>,
    /// About the bytes of the whole log since this replica started.
    log_bytes: u64,
}

/// What raft-rs has asked for that is not in memory, and what was brought.
#[derive(Default)]
struct Outside {
    /// Entries that were fetched for the wish that is being answered right now.
    supplied: Vec<LogEntry>,
    wishes: Vec<Wish>,
    /// By replica, for the next question.
    snapshots: BTreeMap<u64, Snapshot>,
    snapshot_wishes: BTreeSet<u64>,
}

impl Outside {
    fn is_empty(&self) -> bool {
        self.supplied.is_empty()
            && self.wishes.is_empty()
            && self.snapshots.is_empty()
            && self.snapshot_wishes.is_empty()
    }
}

/// What is known of a log when a Peer starts.
#[derive(Clone, Debug, Default)]
pub struct LogInfo {
    /// As persisted; its commit index is at least the applied index.
    pub hard_state: HardState,
    /// The terms from the truncated index to the last index; never empty.
    pub runs: Vec<TermRun>,
    /// The last index in the log.
    pub last_index: u64,
    /// All entries after the applied index.
    pub tail: Vec<LogEntry>,
}

impl LogCache {
    pub(super) fn new(info: LogInfo, conf_state: ConfState) -> Self {
        let bytes = info.tail.iter().map(|entry| entry.data.len()).sum();
        let cache = Self {
            initial: Some(Box::new((info.hard_state, conf_state))),
            runs: info.runs,
            last_index: info.last_index,
            entries: info.tail.into(),
            bytes,
            outside: RefCell::default(),
            log_bytes: bytes as u64,
        };
        cache.check_invariants();
        cache
    }

    /// raft-rs has started.
    pub(super) fn started(&mut self) {
        self.initial = None;
    }

    /// Gives back all that is left of a log whose entries were all let go of, and about how many bytes that are.
    pub(super) fn take_down(&mut self, hard_state: HardState) -> (LogInfo, u64) {
        assert!(self.entries.is_empty(), "entries are still needed");
        let mut runs = std::mem::take(&mut self.runs);
        runs.shrink_to_fit();
        let info = LogInfo {
            hard_state,
            runs,
            last_index: self.last_index,
            tail: Vec::new(),
        };
        (info, self.log_bytes)
    }

    /// For one that was taken down.
    pub(super) fn set_log_bytes(&mut self, bytes: u64) {
        self.log_bytes = bytes;
    }

    /// Frees what nothing is in.
    pub(super) fn give_back_buffers(&mut self) {
        give_back_queue(&mut self.entries);
        self.outside.get_mut().take_if(|outside| outside.is_empty());
    }

    fn outside(&mut self) -> &mut Outside {
        self.outside.get_mut().get_or_insert_default()
    }

    /// The last index before the log.
    pub(crate) fn truncated_index(&self) -> u64 {
        self.runs[0].index
    }

    /// One past the last index.
    pub(crate) fn log_end(&self) -> u64 {
        self.last_index + 1
    }

    /// About the bytes of the whole log, in memory or not.
    pub(crate) fn log_bytes(&self) -> u64 {
        self.log_bytes
    }

    /// The term of an entry of the log.
    pub(crate) fn term_at(&self, index: u64) -> Option<u64> {
        self.term(index).ok()
    }

    fn cache_first(&self) -> u64 {
        self.last_index + 1 - self.entries.len() as u64
    }

    /// Bytes of payload in memory.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Replaces the log from the first of `entries` on.
    pub(super) fn append(&mut self, entries: &[LogEntry]) {
        let Some(first) = entries.first() else {
            return;
        };
        assert!(
            first.index > self.truncated_index() && first.index <= self.last_index + 1,
            "entry {} does not continue a log that ends at {}",
            first.index,
            self.last_index
        );
        while self
            .entries
            .back()
            .is_some_and(|last| last.index >= first.index)
        {
            let last = self.entries.pop_back().expect("just seen");
            self.bytes -= last.data.len();
        }
        while self.runs.last().is_some_and(|run| run.index >= first.index) {
            self.runs.pop();
        }
        for entry in entries {
            if self.runs.last().is_none_or(|run| run.term != entry.term) {
                self.runs.push(TermRun {
                    index: entry.index,
                    term: entry.term,
                });
            }
            self.bytes += entry.data.len();
            self.log_bytes += entry.data.len() as u64;
            self.entries.push_back(entry.clone());
        }
        self.last_index = entries.last().expect("not empty").index;
        self.debug_check();
    }

    /// Forgets cached entries up to and with `index`; they stay readable through a fetch.
    pub(super) fn evict_to(&mut self, index: u64) {
        while self
            .entries
            .front()
            .is_some_and(|first| first.index <= index)
        {
            let first = self.entries.pop_front().expect("just seen");
            self.bytes -= first.data.len();
        }
        self.debug_check();
    }

    /// Begins the log behind `index`, which is applied. False if it begins there or later already.
    pub(crate) fn compact_to(&mut self, index: u64, term: u64) -> bool {
        let truncated = self.truncated_index();
        if index <= truncated {
            return false;
        }
        assert_eq!(self.term_at(index), Some(term), "replicas cut the same log");
        self.evict_to(index);
        // Entries are about as large as each other.
        let kept = u128::from(self.last_index - index);
        let share = u128::from(self.log_bytes) * kept / u128::from(self.last_index - truncated);
        self.log_bytes = share as u64;
        let after = self.runs.partition_point(|run| run.index <= index);
        self.runs.drain(..after - 1);
        self.runs[0].index = index;
        self.debug_check();
        true
    }

    /// Begins an empty log behind a snapshot.
    pub(crate) fn restore(&mut self, index: u64, term: u64) {
        self.runs = vec![TermRun { index, term }];
        self.last_index = index;
        self.entries.clear();
        (self.bytes, self.log_bytes) = (0, 0);
        self.debug_check();
    }

    /// Answers raft-rs's next question for a snapshot for `to`.
    pub(crate) fn offer_snapshot(&mut self, to: u64, snapshot: Snapshot) {
        self.outside().snapshots.insert(to, snapshot);
    }

    /// Forgets what was offered and not asked for.
    pub(crate) fn forget_snapshots(&mut self) {
        if let Some(outside) = self.outside.get_mut() {
            outside.snapshots.clear();
        }
    }

    /// For whom raft-rs has asked in vain since the last call.
    pub(crate) fn take_snapshot_wishes(&mut self) -> BTreeSet<u64> {
        let outside = self.outside.get_mut().as_mut();
        outside.map_or_else(BTreeSet::new, |outside| {
            std::mem::take(&mut outside.snapshot_wishes)
        })
    }

    /// The wishes since the last call.
    pub(super) fn take_wishes(&mut self) -> Vec<Wish> {
        let outside = self.outside.get_mut().as_mut();
        outside.map_or_else(Vec::new, |outside| std::mem::take(&mut outside.wishes))
    }

    /// Hands over fetched entries for the duration of `on_entries_fetched`.
    pub(super) fn supply(&mut self, entries: Vec<LogEntry>) {
        self.outside().supplied = entries;
    }

    /// After each change, where tests or a debug build run: it costs the length of the cache.
    fn debug_check(&self) {
        if cfg!(any(test, debug_assertions)) {
            self.check_invariants();
        }
    }

    fn check_invariants(&self) {
        assert!(!self.runs.is_empty(), "a log has a beginning");
        assert!(
            self.runs
                .windows(2)
                .all(|pair| pair[0].index < pair[1].index && pair[0].term < pair[1].term),
            "terms grow along the log: {:?}",
            self.runs
        );
        assert!(self.runs.last().expect("not empty").index <= self.last_index);
        for (index, entry) in (self.cache_first()..).zip(&self.entries) {
            assert_eq!(entry.index, index, "cached entries are contiguous");
        }
        let bytes: usize = self.entries.iter().map(|entry| entry.data.len()).sum();
        assert_eq!(bytes, self.bytes, "bytes are those of the cached entries");
    }

    fn cached(&self, low: u64, high: u64, bytes_max: u64) -> Vec<Entry> {
        let skip = (low - self.cache_first()) as usize;
        let range = self.entries.range(skip..skip + (high - low) as usize);
        limited(range, bytes_max)
    }
}

fn limited<'a>(entries: impl Iterator<Item = &'a LogEntry>, bytes_max: u64) -> Vec<Entry> {
    let mut bytes = 0u64;
    let mut taken = Vec::new();
    for entry in entries {
        bytes += entry.data.len() as u64;
        if !taken.is_empty() && bytes > bytes_max {
            break;
        }
        taken.push(to_raft_entry(entry));
    }
    taken
}

impl Storage for LogCache {
    fn initial_state(&self) -> raft::Result<RaftState> {
        let initial = self.initial.as_deref();
        let (hard_state, conf_state) = initial.expect("raft-rs asks once, at its start");
        Ok(RaftState::new(
            to_raft_hard_state(hard_state),
            conf_state.clone(),
        ))
    }

    fn entries(
        &self,
        low: u64,
        high: u64,
        max_size: impl Into<Option<u64>>,
        context: GetEntriesContext,
    ) -> raft::Result<Vec<Entry>> {
        let bytes_max = max_size.into().unwrap_or(u64::MAX);
        if low <= self.truncated_index() {
            return Err(raft::Error::Store(StorageError::Compacted));
        }
        assert!(
            high <= self.last_index + 1,
            "read of [{low}, {high}) past the log's end"
        );
        if low >= self.cache_first() {
            return Ok(self.cached(low, high, bytes_max));
        }
        let mut outside = self.outside.borrow_mut();
        let outside = outside.get_or_insert_default();
        let supplied = &outside.supplied;
        if supplied.first().is_some_and(|first| first.index == low) {
            let wanted = supplied.iter().take_while(|entry| entry.index < high);
            return Ok(limited(wanted, bytes_max));
        }
        assert!(
            context.can_async(),
            "entries above the applied index are always in memory: asked for {low}, cached from {}",
            self.cache_first()
        );
        outside.wishes.push(Wish {
            context,
            low,
            high,
            bytes_max,
        });
        Err(raft::Error::Store(StorageError::LogTemporarilyUnavailable))
    }

    fn term(&self, index: u64) -> raft::Result<u64> {
        if index < self.truncated_index() {
            return Err(raft::Error::Store(StorageError::Compacted));
        }
        if index > self.last_index {
            return Err(raft::Error::Store(StorageError::Unavailable));
        }
        let after = self.runs.partition_point(|run| run.index <= index);
        Ok(self.runs[after - 1].term)
    }

    fn first_index(&self) -> raft::Result<u64> {
        Ok(self.truncated_index() + 1)
    }

    fn last_index(&self) -> raft::Result<u64> {
        Ok(self.last_index)
    }

    fn snapshot(&self, request_index: u64, to: u64) -> raft::Result<Snapshot> {
        let index_min = request_index.max(self.truncated_index());
        let mut outside = self.outside.borrow_mut();
        let outside = outside.get_or_insert_default();
        let offered = outside.snapshots.remove(&to);
        let offered = offered.filter(|snapshot| snapshot.get_metadata().index >= index_min);
        offered.ok_or_else(|| {
            outside.snapshot_wishes.insert(to);
            raft::Error::Store(StorageError::SnapshotTemporarilyUnavailable)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    fn entry(index: u64, term: u64) -> LogEntry {
        LogEntry {
            index,
            term,
            data: Bytes::from(vec![0; 10]),
            ..LogEntry::default()
        }
    }

    fn cache() -> LogCache {
        let info = LogInfo {
            hard_state: HardState::default(),
            runs: vec![TermRun { index: 5, term: 5 }],
            last_index: 5,
            tail: vec![],
        };
        LogCache::new(info, ConfState::default())
    }

    fn indexes(entries: raft::Result<Vec<Entry>>) -> Vec<u64> {
        entries.unwrap().iter().map(|entry| entry.index).collect()
    }

    #[test]
    fn an_append_in_the_middle_replaces_the_suffix_and_its_terms() {
        let mut cache = cache();
        cache.append(&[entry(6, 6), entry(7, 6), entry(8, 7)]);
        cache.append(&[entry(7, 9)]);
        assert_eq!(cache.last_index().unwrap(), 7);
        assert_eq!([5, 6, 7].map(|index| cache.term(index).unwrap()), [5, 6, 9]);
        assert!(cache.term(8).is_err());
        assert_eq!(cache.bytes(), 20);
    }

    #[test]
    fn a_read_below_the_cache_becomes_a_wish_and_is_answered_from_what_was_supplied() {
        let mut cache = cache();
        let all: Vec<_> = (6..12).map(|index| entry(index, 6)).collect();
        cache.append(&all);
        cache.evict_to(8);
        let read = cache.entries(7, 11, None, GetEntriesContext::empty(true));
        assert_eq!(
            read,
            Err(raft::Error::Store(StorageError::LogTemporarilyUnavailable))
        );
        let wishes = cache.take_wishes();
        assert_eq!((wishes[0].low, wishes[0].high), (7, 11));
        cache.supply(all[1..5].to_vec());
        let read = cache.entries(7, 11, None, GetEntriesContext::empty(true));
        assert_eq!(indexes(read), [7, 8, 9, 10]);
        assert_eq!(cache.term(6).unwrap(), 6, "terms outlive eviction");
    }

    #[test]
    fn a_compacted_log_keeps_the_term_before_it_and_refuses_what_is_gone() {
        let mut cache = cache();
        cache.append(&[entry(6, 6), entry(7, 6), entry(8, 7), entry(9, 7)]);
        assert!(cache.compact_to(7, 6));
        assert!(!cache.compact_to(6, 6), "it has gone already");
        assert_eq!(cache.first_index().unwrap(), 8);
        assert_eq!(cache.term(7).unwrap(), 6);
        assert_eq!(cache.term(8).unwrap(), 7);
        let compacted = || raft::Error::Store(StorageError::Compacted);
        assert_eq!(cache.term(6), Err(compacted()));
        let read = cache.entries(7, 9, None, GetEntriesContext::empty(true));
        assert_eq!(read, Err(compacted()));
        assert_eq!((cache.bytes(), cache.log_bytes()), (20, 20));
        assert!(cache.compact_to(9, 7));
        assert_eq!((cache.first_index().unwrap(), cache.bytes()), (10, 0));
    }

    #[test]
    fn a_snapshot_is_wished_for_offered_and_taken_once_if_the_log_goes_on_from_it() {
        let mut cache = cache();
        cache.append(&[entry(6, 6), entry(7, 6)]);
        let offer = |index| {
            let mut snapshot = Snapshot::default();
            snapshot.mut_metadata().index = index;
            snapshot
        };
        assert!(cache.snapshot(0, 2).is_err());
        assert_eq!(cache.take_snapshot_wishes(), BTreeSet::from([2]));
        cache.offer_snapshot(2, offer(6));
        assert!(cache.snapshot(0, 3).is_err(), "it is for another replica");
        assert_eq!(cache.snapshot(0, 2).unwrap(), offer(6));
        assert!(cache.snapshot(0, 2).is_err(), "it was taken");
        cache.offer_snapshot(2, offer(6));
        cache.compact_to(7, 6);
        assert!(cache.snapshot(0, 2).is_err(), "the log begins behind it");
    }

    #[test]
    fn a_restored_log_is_empty_behind_the_snapshot() {
        let mut cache = cache();
        cache.append(&[entry(6, 6), entry(7, 6)]);
        cache.restore(20, 9);
        assert_eq!(
            (cache.first_index().unwrap(), cache.last_index().unwrap()),
            (21, 20)
        );
        assert_eq!(cache.term(20).unwrap(), 9);
        assert!(cache.term(7).is_err());
        cache.append(&[entry(21, 9)]);
        assert_eq!(cache.last_index().unwrap(), 21);
    }

    #[test]
    fn a_read_is_bounded_by_bytes_but_returns_one_entry() {
        let mut cache = cache();
        cache.append(&(6..10).map(|index| entry(index, 6)).collect::<Vec<_>>());
        let read = |max: u64| indexes(cache.entries(6, 10, max, GetEntriesContext::empty(false)));
        assert_eq!(read(0), [6]);
        assert_eq!(read(25), [6, 7]);
        assert_eq!(read(u64::MAX), [6, 7, 8, 9]);
    }
}
