//! Rounds of appliers: run each one's entries into one key-value batch, write it, then answer.
//!
//! **Crash.** The batch is atomic and holds each Region's applied index, so a crash before it leaves
//! the entries to be applied again, and a crash after it leaves nothing to do. The batch is not
//! synced: the Raft log, which was, can rebuild it, with two exceptions. The log of a replica that is
//! removed goes next. And of a split, a merge or a change of membership others act at once: replicas that
//! were cut off acknowledge entries of their own, and if the split were lost with a crash, a snapshot might
//! take the Region past it and leave them without the data that they have answered for.
//!
//! **Invariants.** A reply leaves after the write it speaks of can be read. One that follows a
//! failed write does not leave at all: the handler panics.

use crate::consistency::{HashTask, Pinned, hash_is_missing};
use crate::fsm::{AppliedMark, ApplyFsm, ApplyMessage, NoControl, NoMessage, PeerMessage};
use crate::meters::{ApplyCounts, Stage};
use crate::ports::Ports;
use crate::room::{DiskRoom, Insisted};
use crate::slow_round::SlowRound;
use crate::snap::SnapTask;
use crate::traffic::Counts;
use batch_system::{Batch, Handler, Inbox, RoundInfo};
use bytes::Bytes;
use engine::{Cf, Durability, KvBatch, KvEngine};
use raftstore::apply::{Applied, Applier, ApplyError, ApplyStore, Change, RegionChange};
use raftstore::op::consistency::HashWish;
use raftstore::op::measure::Size;
use raftstore::op::merge::ReadySource;
use raftstore::peer::Input;
use raftstore::state::Tombstone;
use raftstore::{ApplyTask, RequestError};
use std::collections::BTreeMap;
use std::sync::Arc;

/// One poller's handler.
pub struct ApplyHandler<K: KvEngine> {
    round: Round<K>,
    out: Applied,
    /// Replicas that the round removes.
    destroyed: Vec<Tombstone>,
    /// Sources that are ready once the round is written.
    fulfilled: Vec<ReadySource>,
    /// Regions of the round and the index each has come to.
    applied: Vec<(u64, u64, Arc<AppliedMark>)>,
    /// What the round applies, as it was counted.
    taken_bytes: usize,
    counts: ApplyCounts,
    slow: SlowRound,
    ports: Ports,
}

impl<K: KvEngine> ApplyHandler<K> {
    /// A handler that applies to `engine`.
    pub fn new(engine: K, ports: Ports) -> Self {
        Self {
            round: Round {
                batch: engine.batch(),
                engine,
                room: ports.room.clone(),
                unwritten: None,
                written: Size::default(),
                pinned: Vec::new(),
            },
            out: Applied::default(),
            destroyed: Vec::new(),
            fulfilled: Vec::new(),
            applied: Vec::new(),
            taken_bytes: 0,
            counts: ApplyCounts::default(),
            slow: SlowRound::default(),
            ports,
        }
    }
}

impl<K: KvEngine> ApplyHandler<K> {
    fn apply(&mut self, applier: &mut Applier, task: ApplyTask) {
        let region = task.region_id;
        self.taken_bytes += task.size_bytes();
        let requests = task.entries.iter().map(|entry| entry.requests.len() as u64);
        let writes = requests.sum();
        self.counts.applied += task.entries.len() as u64;
        self.counts.answered += writes;
        self.round.written = Size::default();
        let result = applier.apply(task.entries, &mut self.round, &mut self.out);
        must_apply(applier, result);
        let counts = Counts {
            written: self.round.written,
            writes,
            ..Counts::default()
        };
        let traffic = &self.ports.traffic;
        // Who waits for a write has asked the leader.
        if counts.writes > 0 {
            traffic.count_led(region, &counts, None);
        } else if counts != Counts::default() {
            traffic.count(region, &counts);
        }
    }

    fn go_on(&mut self, applier: &mut Applier, source: ReadySource) {
        let result = applier.source_is_ready(source, &mut self.round, &mut self.out);
        must_apply(applier, result);
    }

    /// Whether others act on what the round does, or a log goes that could rebuild it.
    fn must_sync(&self) -> bool {
        let is_reshaped = |change: &RegionChange| match change.change {
            Change::Split(_)
            | Change::Peers { .. }
            | Change::Merging { .. }
            | Change::Merged { .. } => true,
            Change::CompactLog { .. } | Change::Hashing | Change::Verified(_) => false,
        };
        !self.destroyed.is_empty() || self.out.changes.iter().any(is_reshaped)
    }

    /// The points before a round is written, by what is in it.
    fn reach_before(&self) {
        failpoint::at!("node::apply::before_write");
        for change in &self.out.changes {
            match change.change {
                Change::Split(_) => failpoint::at!("node::apply::before_split"),
                Change::Peers { .. } => failpoint::at!("node::apply::before_peers"),
                Change::Merging { .. } => failpoint::at!("node::apply::before_merging"),
                Change::Merged { .. } => failpoint::at!("node::apply::before_merged"),
                Change::CompactLog { .. } | Change::Hashing | Change::Verified(_) => {}
            }
        }
        if !self.destroyed.is_empty() {
            failpoint::at!("node::apply::before_destroyed");
        }
    }

    /// Those after it, before anybody hears of it.
    fn reach_after(&self) {
        failpoint::at!("node::apply::written");
        for change in &self.out.changes {
            match change.change {
                Change::Split(_) => failpoint::at!("node::apply::split"),
                Change::Peers { .. } => failpoint::at!("node::apply::peers"),
                Change::Merging { .. } => failpoint::at!("node::apply::merging"),
                Change::Merged { .. } => failpoint::at!("node::apply::merged"),
                Change::CompactLog { .. } => failpoint::at!("node::apply::log_gc"),
                Change::Hashing | Change::Verified(_) => {}
            }
        }
        if !self.destroyed.is_empty() {
            failpoint::at!("node::apply::destroyed");
        }
    }

    /// The store stops and the round is not written: the next start applies it from the log.
    fn give_up(&mut self) {
        self.round.batch.clear();
        self.round.pinned.clear();
        self.applied.clear();
        self.destroyed.clear();
        self.fulfilled.clear();
        self.out.wishes.clear();
        self.out.installs.clear();
        self.out.changes.clear();
        for (request, _) in self.out.answers.drain(..) {
            let undetermined = Err(RequestError::Undetermined);
            self.ports.replies.complete(request, undetermined);
        }
    }
}

fn must_apply(applier: &Applier, result: Result<(), ApplyError>) {
    if let Err(error) = result {
        let region = applier.region().id;
        tracing::error!(%region, %error, "can't be applied: the store stops");
        panic!("Region {region} can't be applied: {error:?}");
    }
}

impl<K: KvEngine> Handler<ApplyFsm, NoControl> for ApplyHandler<K> {
    fn begin(&mut self, _round: RoundInfo) {
        self.slow = SlowRound::begin(&*self.ports.clock);
    }

    fn handle_control(&mut self, _control: &mut NoControl, _inbox: &mut Inbox<'_, NoMessage>) {}

    fn handle_normal(&mut self, fsm: &mut ApplyFsm, inbox: &mut Inbox<'_, ApplyMessage>) {
        let changes = self.out.changes.len();
        while let Some(message) = inbox.pop() {
            match message {
                ApplyMessage::Entries(task) => self.apply(&mut fsm.applier, task),
                ApplyMessage::Destroy(tombstone) => {
                    fsm.applier.destroy(tombstone, &mut self.round);
                    fsm.applier.stop_waiting(&mut self.out);
                    fsm.is_stopped = true;
                    self.destroyed.push(tombstone);
                }
                ApplyMessage::Install(install) => fsm.applier.install(install, &mut self.out),
                ApplyMessage::Restored { region, state } => fsm.applier.restore(*region, state),
                ApplyMessage::Freeze(wish) => fsm.applier.freeze(wish),
                ApplyMessage::SourceReady(source) => self.go_on(&mut fsm.applier, source),
                ApplyMessage::End => fsm.is_stopped = true,
            }
        }
        fsm.applier.finish_round(&mut self.round);
        self.fulfilled.extend(fsm.applier.fulfils());
        for _ in changes..self.out.changes.len() {
            fsm.mark.count_change();
        }
        let index = fsm.applier.state().applied_index;
        let mark = Arc::clone(&fsm.mark);
        let region = fsm.applier.region().id;
        let step = self.ports.growth.step();
        if let Some(growth) = fsm.applier.take_growth(step) {
            self.ports.growth.grew(region, growth);
        }
        if fsm.applier.take_deletions(step.keys) {
            self.ports.growth.doubt(region);
        }
        self.applied.push((region.get(), index, mark));
    }

    fn end(&mut self, batch: &mut Batch<'_, ApplyFsm>) {
        self.slow.stepped(&*self.ports.clock);
        self.reach_before();
        let durability = match self.must_sync() {
            true => Durability::Synced,
            false => Durability::Buffered,
        };
        let written = self.round.write(durability).unwrap_or_else(|error| {
            tracing::error!(%error, "the key-value engine can't be written: the store stops");
            panic!("the key-value engine can't be written: {error:?}");
        });
        self.slow.end(&*self.ports.clock, "appliers", batch.len());
        self.round.unwritten = None;
        if written == Insisted::GaveUp {
            self.give_up();
            return;
        }
        self.reach_after();
        let taken_bytes = std::mem::take(&mut self.taken_bytes);
        self.ports.memory.unapplied.release(taken_bytes);
        for change in self.out.changes.drain(..) {
            let region = change.region_id.get();
            let message = PeerMessage(Input::Changed(change));
            let _ = self.ports.peers.force_send(region, message);
        }
        self.counts.flush(&self.ports.meters);
        let Ports { meters, clock, .. } = &self.ports;
        for (request, result) in self.out.answers.drain(..) {
            meters.pass(request, Stage::Apply, || clock.now());
            self.ports.replies.complete(request, result);
        }
        failpoint::at!("node::apply::answered");
        for wish in self.out.wishes.drain(..) {
            let message = PeerMessage(Input::AwaitsSource(wish));
            let _ = self.ports.peers.force_send(wish.target_id.get(), message);
        }
        for source in self.fulfilled.drain(..) {
            let message = ApplyMessage::SourceReady(source);
            let appliers = &self.ports.appliers;
            let _ = appliers.force_send(source.wish.target_id.get(), message);
        }
        for task in self.round.pinned.drain(..) {
            if let Err(task) = self.ports.hashes.submit(task) {
                hash_is_missing(&task, &self.ports.peers);
            }
        }
        for install in self.out.installs.drain(..) {
            self.ports
                .snaps
                .submit(SnapTask::Install(Box::new(install)));
        }
        for (region, index, mark) in self.applied.drain(..) {
            if mark.advance(index) {
                let message = PeerMessage(Input::Applied { index });
                let _ = self.ports.peers.force_send(region, message);
            }
        }
        for tombstone in self.destroyed.drain(..) {
            let region = tombstone.region_id.get();
            let message = PeerMessage(Input::Destroyed(tombstone));
            let _ = self.ports.peers.force_send(region, message);
        }
    }
}

/// The writes of one round. Once a command of the round reads, the writes after that are remembered
/// by key, too.
struct Round<K: KvEngine> {
    engine: K,
    batch: K::Batch,
    room: DiskRoom,
    unwritten: Option<Unwritten>,
    /// By commands, since it was set to nothing last.
    written: Size,
    /// Views as of some of the round's entries.
    pinned: Vec<HashTask>,
}

/// What the batch holds and the engine does not.
#[derive(Default)]
struct Unwritten {
    keys: BTreeMap<(Cf, Vec<u8>), Option<Bytes>>,
    deleted: Vec<(Cf, Vec<u8>, Vec<u8>)>,
}

impl Unwritten {
    /// `None`: ask the engine.
    fn get(&self, cf: Cf, key: &[u8]) -> Option<Option<Bytes>> {
        if let Some(value) = self.keys.get(&(cf, key.to_vec())) {
            return Some(value.clone());
        }
        let covers = |(at, start, end): &(Cf, Vec<u8>, Vec<u8>)| {
            *at == cf && start.as_slice() <= key && key < end.as_slice()
        };
        self.deleted.iter().any(covers).then_some(None)
    }

    fn delete_range(&mut self, cf: Cf, start: &[u8], end: &[u8]) {
        let range = (cf, start.to_vec())..(cf, end.to_vec());
        for (_, value) in self.keys.range_mut(range) {
            *value = None;
        }
        self.deleted.push((cf, start.to_vec(), end.to_vec()));
    }
}

impl<K: KvEngine> Round<K> {
    fn count(&mut self, cf: Cf, bytes: usize) {
        if cf != Cf::Raft {
            let bytes = bytes as u64;
            self.written.add(Size { bytes, keys: 1 });
        }
    }

    fn write(&mut self, durability: Durability) -> engine::Result<Insisted> {
        if self.batch.is_empty() {
            return Ok(Insisted::Written);
        }
        let write = || self.engine.write(&mut self.batch, durability);
        self.room.insist("the key-value engine", write)
    }
}

impl<K: KvEngine> ApplyStore for Round<K> {
    fn begin_reads(&mut self) -> engine::Result<()> {
        if self.unwritten.is_none() {
            // If it is given up, what the round reads from here on is not written either.
            let _ = self.write(Durability::Buffered)?;
            self.unwritten = Some(Unwritten::default());
        }
        Ok(())
    }

    fn get(&mut self, cf: Cf, key: &[u8]) -> engine::Result<Option<Bytes>> {
        let unwritten = self.unwritten.as_ref().expect("reads were begun");
        match unwritten.get(cf, key) {
            Some(value) => Ok(value),
            None => self.engine.get(cf, key),
        }
    }

    fn put(&mut self, cf: Cf, key: &[u8], value: &[u8]) {
        self.count(cf, key.len() + value.len());
        self.batch.put(cf, key, value);
        if let Some(unwritten) = &mut self.unwritten {
            let value = Bytes::copy_from_slice(value);
            unwritten.keys.insert((cf, key.to_vec()), Some(value));
        }
    }

    fn delete(&mut self, cf: Cf, key: &[u8]) {
        self.count(cf, key.len());
        self.batch.delete(cf, key);
        if let Some(unwritten) = &mut self.unwritten {
            unwritten.keys.insert((cf, key.to_vec()), None);
        }
    }

    fn delete_range(&mut self, cf: Cf, start: &[u8], end: &[u8]) {
        self.count(cf, start.len() + end.len());
        self.batch.delete_range(cf, start, end);
        if let Some(unwritten) = &mut self.unwritten {
            unwritten.delete_range(cf, start, end);
        }
    }

    fn pin(&mut self, wish: HashWish) {
        // A round that is given up is not written, and its views are let go of with it.
        let written = self.write(Durability::Buffered);
        if let Err(error) = written {
            tracing::error!(%error, "the key-value engine can't be written: the store stops");
            panic!("the key-value engine can't be written: {error:?}");
        }
        self.unwritten = None;
        let view = Pinned::new(self.engine.snapshot(), wish);
        self.pinned.push(HashTask::new(view));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use engine::mem::{Disk, MemKv};
    use std::time::Duration;
    use types::{Region, RegionId};

    fn round(engine: &MemKv) -> Round<MemKv> {
        Round {
            batch: engine.batch(),
            engine: engine.clone(),
            room: DiskRoom::new(Duration::ZERO),
            unwritten: None,
            written: Size::default(),
            pinned: Vec::new(),
        }
    }

    #[test]
    fn a_view_that_is_pinned_in_a_round_shows_what_came_before_it_and_nothing_else() {
        let hash_of_round = |keys: &[&[u8]], is_read: bool| {
            let engine = Disk::new().open_kv("kv").unwrap();
            let mut round = round(&engine);
            if is_read {
                round.begin_reads().unwrap();
            }
            let (before, after) = keys.split_at(1);
            round.put(Cf::Default, before[0], b"1");
            let region = Region {
                id: RegionId::FIRST_DATA,
                ..Region::default()
            };
            round.pin(HashWish { region, index: 9 });
            for key in after {
                round.put(Cf::Default, key, b"2");
            }
            round.begin_reads().unwrap();
            assert_eq!(round.get(Cf::Default, before[0]).unwrap().unwrap(), "1");
            round.pinned.remove(0).step(u64::MAX).unwrap()
        };
        let alone = hash_of_round(&[b"za"], false);
        assert_eq!(hash_of_round(&[b"za"], true), alone);
        assert_eq!(hash_of_round(&[b"za", b"zb", b"zc"], true), alone);
        assert_ne!(hash_of_round(&[b"zb"], false), alone);
    }

    #[test]
    fn reads_see_the_writes_of_the_round() {
        let engine = Disk::new().open_kv("kv").unwrap();
        let mut round = round(&engine);
        round.put(Cf::Default, b"a", b"before");
        round.begin_reads().unwrap();
        let read = |round: &mut Round<_>, key: &[u8]| round.get(Cf::Default, key).unwrap();
        assert_eq!(read(&mut round, b"a").unwrap(), "before");
        round.put(Cf::Default, b"b", b"1");
        round.delete_range(Cf::Default, b"a", b"c");
        assert_eq!(read(&mut round, b"a"), None);
        assert_eq!(read(&mut round, b"b"), None);
        round.put(Cf::Default, b"a", b"after");
        round.delete(Cf::Default, b"z");
        assert_eq!(read(&mut round, b"a").unwrap(), "after");
        assert_eq!(engine.get(Cf::Default, b"b").unwrap(), None);
        assert_eq!(
            round.write(Durability::Buffered).unwrap(),
            Insisted::Written
        );
        assert_eq!(engine.get(Cf::Default, b"a").unwrap().unwrap(), "after");
    }
}
