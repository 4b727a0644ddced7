//! The store: the one owner of which Regions live here, in which shape, and who leads them. It creates
//! replicas, and knows which ones it must never have again.
//!
//! Others hold versions of this metadata; none holds a lock on it.
//!
//! **A message for a Region without a replica here** creates an uninitialised one, if the store never
//! had it and the Region's range is free: a range that another replica here still holds means that it
//! has yet to apply the split which cut the Region off, and will create the replica itself.
//!
//! **Invariants.** At most one replica of a Region lives on a store. A replica that was removed is never
//! created again: its Region's later replicas have higher ids. The ranges of initialised replicas don't
//! overlap.
//!
//! **Not here.** What a replica does (`peer`); making actors of them (`node`).

mod liveness;
mod ranges;
mod slow_score;
#[cfg(test)]
mod tests;

use crate::effect::{Leadership, MergeDone, SplitDone};
use crate::message::RaftMessage;
use crate::op::hibernate::{Extra, Sleep};
use crate::op::last_merge::LastMerge;
use crate::op::merge::{History, MergeAsk};
use crate::op::snapshot::{SnapshotKey, SnapshotMeta};
use crate::state::Tombstone;
use liveness::Liveness;
use ranges::{Ranges, overlap};
use std::collections::BTreeMap;
use types::{KeyRange, Peer, Region, RegionId, StoreId};

pub use liveness::StoreOptions;
pub use slow_score::{SlowScore, SlowScoreOptions};

/// The most questions that are kept for splits to come, some hundred bytes each. A Region that is cut into
/// thousands asks as many.
const EARLY_MAX: usize = 16_384;

/// What can happen to a store.
#[derive(Debug)]
pub enum Input {
    /// One tick of the Raft clock has passed.
    Tick,
    /// A Raft message came for a Region that has no replica here.
    Stray(Box<RaftMessage>),
    /// A replica's report of a change of leadership.
    Leadership(Leadership),
    /// A Region with a replica here was cut.
    Split(SplitDone),
    /// A replica here has this shape now.
    Reshaped(Region),
    /// A replica here has this shape now, by a snapshot.
    Restored(Region),
    /// A replica here has taken its neighbour's in, which is about to go.
    Merged(MergeDone),
    /// A replica here wants its neighbour's to take it in.
    MergeAsked(Box<MergeAsk>),
    /// A farewell to a replica whose Region was merged.
    MergedElsewhere(Box<RaftMessage>),
    /// A replica here is gone.
    Removed(Tombstone),
    /// All of a snapshot is here. It must not overlap what is, or is about to be, another replica's.
    Snapshot(Box<RaftMessage>),
    /// A snapshot that was let in is installed, or of no use.
    SnapshotSettled(SnapshotKey),
    /// A replica here ticks no more.
    Slept(Sleep),
    /// A replica here that slept is awake.
    Woke(RegionId),
    /// Another store has said this, as a store.
    Heard {
        /// Which one.
        store: StoreId,
        /// One of those that are of stores.
        extra: Extra,
    },
    /// The store's times from now on.
    Options(StoreOptions),
    /// A replica could not be made, since the one before it was not out of the way yet.
    CreateAgain(Create),
}

/// What a store wants done.
#[derive(Debug, PartialEq)]
pub enum Effect {
    /// Give every replica that is [awake](Store::awake) one tick.
    TickAwake,
    /// Tell these sleeping replicas that the store of their leader is silent.
    LeadersLost {
        /// Which one.
        store: StoreId,
        /// Theirs.
        regions: Vec<RegionId>,
    },
    /// Wake these replicas.
    Wake(Vec<RegionId>),
    /// Have these sleeping replicas check what goes on without them.
    Check {
        /// Theirs.
        regions: Vec<RegionId>,
        /// Stores that were silent for so long that what is there counts as down.
        down: Vec<StoreId>,
    },
    /// Send to another store; may be lost.
    Send(Box<RaftMessage>),
    /// Tell the placement driver about the store.
    Heartbeat(StoreSummary),
    /// Make a replica.
    Create(Create),
    /// Hand a message to its replica, if that is still there.
    Deliver(Box<RaftMessage>),
    /// Hand a snapshot's message to its replica; if that is gone, the snapshot is settled.
    LetIn(Box<RaftMessage>),
    /// Ask a replica to take in its neighbour's, or to refuse.
    AskMerge(RegionId, Box<MergeAsk>),
    /// Tell a replica that the merge which began at this index is refused.
    RefuseMerge(RegionId, u64),
    /// Tell a replica that the entry at this index and term took a neighbour in.
    LastMerge(RegionId, (u64, u64)),
    /// Have a replica end with this tombstone: its Region was merged, and nobody here needs it.
    End(Tombstone),
    /// Remove a snapshot's file: it can't be let in now. Its leader will send another one.
    DropSnapshot(SnapshotKey),
}

/// A replica to be made.
#[derive(Debug, PartialEq)]
pub struct Create {
    /// Without Peers: it is uninitialised.
    pub region: Region,
    /// Which replica of it.
    pub me: Peer,
    /// Whether it campaigns at once.
    pub campaigns: bool,
    /// Its first message.
    pub message: Option<Box<RaftMessage>>,
}

/// What a store knows of itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StoreSummary {
    /// Replicas that live here.
    pub regions: u64,
    /// Replicas that lead.
    pub leaders: u64,
    /// Replicas that sleep.
    pub asleep: u64,
    /// Messages for Regions that have no replica here, since the start.
    pub strays: u64,
}

/// One store.
#[derive(Debug)]
pub struct Store {
    id: StoreId,
    replicas: BTreeMap<RegionId, Replica>,
    /// Of each Region whose replica was removed: that of the one with the highest id.
    tombstones: BTreeMap<RegionId, Tombstone>,
    ranges: Ranges,
    /// Of each Region that had a replica here in this life, or that was merged.
    histories: BTreeMap<RegionId, History>,
    /// Snapshots that were let in, and the ranges that their replicas will hold.
    snapshots: BTreeMap<RegionId, (SnapshotKey, KeyRange)>,
    /// Questions that came before the split which makes the Region that they are for.
    early: BTreeMap<RegionId, Box<RaftMessage>>,
    strays: u64,
    report_ticks: u64,
    report_due_ticks: u64,
    liveness: Liveness,
}

#[derive(Debug, Default)]
struct Replica {
    is_leader: bool,
    is_initialized: bool,
    /// Its range and its data are its neighbour's; it is about to go.
    is_taken_in: bool,
}

impl Store {
    /// A store with the replicas and tombstones that were found on disk; reports itself at the first
    /// tick, and then as its options say.
    pub fn new(
        id: StoreId,
        regions: Vec<Region>,
        tombstones: BTreeMap<RegionId, Tombstone>,
        options: StoreOptions,
    ) -> Self {
        let mut store = Self {
            id,
            replicas: BTreeMap::new(),
            tombstones,
            ranges: Ranges::default(),
            histories: BTreeMap::new(),
            snapshots: BTreeMap::new(),
            early: BTreeMap::new(),
            strays: 0,
            report_ticks: options.report_ticks,
            report_due_ticks: 0,
            liveness: Liveness::new(id, options),
        };
        for region in regions {
            store.insert(&region);
        }
        store
    }

    /// What earlier lives knew of Regions that a snapshot brought here, or that were merged.
    #[must_use]
    pub fn with_histories(mut self, histories: BTreeMap<RegionId, History>) -> Self {
        self.histories.extend(histories);
        self
    }

    /// The store's id.
    pub fn id(&self) -> StoreId {
        self.id
    }

    /// The store in numbers.
    pub fn summary(&self) -> StoreSummary {
        let replicas = self.replicas.values();
        StoreSummary {
            regions: self.replicas.len() as u64,
            leaders: replicas.filter(|replica| replica.is_leader).count() as u64,
            asleep: self.liveness.asleep_count(),
            strays: self.strays,
        }
    }

    /// The replicas that tick.
    pub fn awake(&self) -> impl Iterator<Item = RegionId> {
        self.liveness.awake()
    }

    /// Takes in one input.
    pub fn step(&mut self, input: Input, out: &mut Vec<Effect>) {
        match input {
            Input::Tick => {
                self.liveness.tick(out);
                self.report_due_ticks = self.report_due_ticks.saturating_sub(1);
                if self.report_due_ticks == 0 {
                    // By now others have asked again.
                    self.early.clear();
                    self.report_due_ticks = self.report_ticks;
                    out.push(Effect::Heartbeat(self.summary()));
                }
            }
            Input::Stray(message) => self.stray(message, out),
            Input::Leadership(leadership) => {
                if let Some(replica) = self.replicas.get_mut(&leadership.region_id) {
                    replica.is_leader = leadership.is_self;
                }
            }
            Input::Split(split) => self.split(split, out),
            Input::Reshaped(region) => self.reshaped(&region),
            Input::Restored(region) => {
                self.reshaped(&region);
                let since = region.epoch;
                self.histories
                    .insert(region.id, History { since, now: since });
            }
            Input::Merged(merge) => self.merged(&merge),
            Input::MergedElsewhere(farewell) => self.merged_elsewhere(&farewell, out),
            Input::MergeAsked(ask) => self.merge_asked(ask, out),
            Input::Removed(tombstone) => self.removed(tombstone),
            Input::Snapshot(message) => self.snapshot(message, out),
            Input::SnapshotSettled(key) => self.settled(key),
            Input::Slept(sleep) => {
                if self.replicas.contains_key(&sleep.region_id) {
                    self.liveness.slept(sleep);
                }
            }
            Input::Woke(region_id) => {
                if self.replicas.contains_key(&region_id) {
                    self.liveness.woke(region_id);
                }
            }
            Input::Heard { store, extra } => self.liveness.heard(store, extra, out),
            Input::Options(options) => {
                self.report_ticks = options.report_ticks;
                self.report_due_ticks = self.report_due_ticks.min(options.report_ticks);
                self.liveness.set_options(options);
            }
            Input::CreateAgain(create) => out.push(Effect::Create(create)),
        }
    }

    fn insert(&mut self, region: &Region) {
        self.ranges.set(region.id, &region.range);
        self.liveness.woke(region.id);
        let is_initialized = !region.peers.is_empty();
        let replica = Replica {
            is_initialized,
            ..Replica::default()
        };
        let before = self.replicas.insert(region.id, replica);
        assert!(before.is_none(), "Region {} has one replica", region.id);
        // An uninitialised one adds nothing to what an earlier one went through.
        if is_initialized {
            self.histories.entry(region.id).or_default().now = region.epoch;
        }
    }

    fn stray(&mut self, message: Box<RaftMessage>, out: &mut Vec<Effect>) {
        self.strays += 1;
        let region_id = message.region_id;
        if message.is_tombstone {
            return;
        }
        if self.replicas.contains_key(&region_id) {
            // It was made while the message was on its way. Its sender would ask again, but only an
            // election timeout later.
            return out.push(Effect::Deliver(message));
        }
        if let Some(Extra::HibernateResponse { .. }) = message.extra {
            return out.push(answer_sleeper(&message));
        }
        let tombstone = self.tombstones.get(&region_id);
        if let Some(removed) = tombstone.filter(|removed| message.to.id <= removed.peer_id) {
            let farewell = RaftMessage::farewell_of_merged(removed, message.to, message.from);
            out.extend(farewell.map(|it| Effect::Send(Box::new(it))));
            return;
        }
        let Some(range) = message.range.clone().filter(|_| message.may_create()) else {
            return;
        };
        if !self.is_free(region_id, None, &range) {
            return self.keep_for_split(message);
        }
        let me = message.to;
        let region = Region {
            id: region_id,
            ..Region::default()
        };
        self.insert(&region);
        self.ranges.set(region_id, &range);
        out.push(Effect::Create(Create {
            region,
            me,
            campaigns: false,
            message: Some(message),
        }));
    }

    /// The replica that led the Region asks for votes in what was cut off as soon as it has applied the
    /// split itself; whoever applies it later answers then, rather than an election timeout later.
    fn keep_for_split(&mut self, question: Box<RaftMessage>) {
        let region_id = question.region_id;
        if self.early.len() < EARLY_MAX || self.early.contains_key(&region_id) {
            self.early.insert(region_id, question);
        }
    }

    /// Whether no other replica, `source` left aside, holds a part of the range, or will.
    fn is_free(&self, region_id: RegionId, source: Option<RegionId>, range: &KeyRange) -> bool {
        let is_promised = self.snapshots.iter().any(|(other, (_, promised))| {
            let (a, b) = (*other, region_id);
            a != b && ![a, b].contains(&RegionId::PLACEMENT) && overlap(promised, range)
        });
        let mine: Vec<RegionId> = [region_id].into_iter().chain(source).collect();
        !is_promised && self.ranges.is_free(&mine, range)
    }

    /// One snapshot for each replica at a time: what it promises must stand until it is settled.
    fn snapshot(&mut self, message: Box<RaftMessage>, out: &mut Vec<Effect>) {
        let Some(key) = SnapshotKey::of_message(&message) else {
            return;
        };
        let region_id = message.region_id;
        let meta = SnapshotMeta::of_message(&message).ok();
        let last_merge = meta.as_ref().and_then(|meta| meta.last_merge.clone());
        let range = meta.map(|meta| meta.region.range).filter(|range| {
            let source = last_merge
                .as_ref()
                .and_then(|it| self.source_of(region_id, it));
            self.replicas.contains_key(&region_id)
                && !self.snapshots.contains_key(&region_id)
                && self.is_free(region_id, source, range)
        });
        match range {
            Some(range) => {
                self.snapshots.insert(region_id, (key, range));
                out.push(Effect::LetIn(message));
            }
            None => {
                out.push(Effect::DropSnapshot(key));
                // What is in the way may be neighbours that the replica takes in by its log.
                let places = last_merge.map(|merge| [merge.source.before, merge.place]);
                for place in places.into_iter().flatten().filter(|(index, _)| *index > 0) {
                    out.push(Effect::LastMerge(region_id, place));
                }
            }
        }
    }

    /// Whom the target's replica here has yet to take in, by its log or by a snapshot.
    fn source_of(&self, target: RegionId, merge: &LastMerge) -> Option<RegionId> {
        let waits = self.has_yet_to_come_to(target, merge.version);
        waits.then_some(merge.source.region.id)
    }

    /// Whether the Region has a replica here that is in a version from before this one.
    fn has_yet_to_come_to(&self, region_id: RegionId, version: u64) -> bool {
        let replica = self.replicas.get(&region_id);
        let history = self.histories.get(&region_id);
        replica.is_some_and(|replica| replica.is_initialized)
            && history.is_some_and(|history| history.now.version < version)
    }

    fn settled(&mut self, key: SnapshotKey) {
        let known = self.snapshots.get(&key.region_id);
        if known.is_some_and(|(known, _)| *known == key) {
            self.snapshots.remove(&key.region_id);
        }
    }

    fn split(&mut self, split: SplitDone, out: &mut Vec<Effect>) {
        let (kept, new) = split.parts.split_last().expect("a split has parts");
        self.reshaped(kept);
        for region in new {
            let Some(me) = region.peer_on(self.id).copied() else {
                continue;
            };
            if self.replicas.contains_key(&region.id) {
                continue;
            }
            self.insert(region);
            out.push(Effect::Create(Create {
                region: region.clone(),
                me,
                campaigns: split.was_led_here,
                message: self.early.remove(&region.id),
            }));
        }
    }

    fn reshaped(&mut self, region: &Region) {
        let replica = self.replicas.get_mut(&region.id);
        if let Some(replica) = replica.filter(|replica| !replica.is_taken_in) {
            replica.is_initialized = true;
            self.ranges.set(region.id, &region.range);
            self.histories.entry(region.id).or_default().now = region.epoch;
        }
    }

    fn merged(&mut self, merge: &MergeDone) {
        let source = merge.source.region_id;
        if let Some(replica) = self.replicas.get_mut(&source) {
            replica.is_taken_in = true;
        }
        self.ranges.remove(source);
        let history = self.histories.entry(source).or_default();
        *history = History::ended(history.since, merge.source.epoch);
        self.reshaped(&merge.target);
    }

    fn is_alive(&self, id: RegionId) -> bool {
        let replica = self.replicas.get(&id);
        replica.is_some_and(|replica| !replica.is_taken_in)
    }

    /// What the target's log has decided, if it is known here; else its replica is asked.
    fn merge_asked(&self, ask: Box<MergeAsk>, out: &mut Vec<Effect>) {
        let (source, target) = (ask.source.id, &ask.merging.target);
        // One that is taken in may have asked before it heard of that.
        let history = self.histories.get(&target.id);
        let Some(history) = history.filter(|_| self.is_alive(source)) else {
            return;
        };
        if history.has_left(target.epoch) {
            out.push(Effect::RefuseMerge(source, ask.merging.index));
        } else if history.now == target.epoch {
            out.push(Effect::AskMerge(target.id, ask));
        }
    }

    /// A replica of the target here that has yet to take the source in needs it to do so. One that is
    /// there later, or knows nothing of its Region yet, has joined behind the merge.
    fn merged_elsewhere(&self, farewell: &RaftMessage, out: &mut Vec<Effect>) {
        let Some(target) = farewell.merged_into else {
            return;
        };
        let is_needed = self.has_yet_to_come_to(target.region_id, target.version);
        if self.is_alive(farewell.region_id) && !is_needed {
            out.push(Effect::End(Tombstone {
                region_id: farewell.region_id,
                epoch: farewell.epoch,
                peer_id: farewell.to.id,
                merged_into: Some(target),
            }));
        }
    }

    fn removed(&mut self, tombstone: Tombstone) {
        let region_id = tombstone.region_id;
        let replica = self.replicas.remove(&region_id);
        self.liveness.forget(region_id);
        self.ranges.remove(region_id);
        self.snapshots.remove(&region_id);
        let was_taken_in = replica.is_some_and(|replica| replica.is_taken_in);
        if tombstone.merged_into.is_some() && !was_taken_in {
            let (since, now) = (tombstone.epoch, tombstone.epoch);
            self.histories.insert(region_id, History::ended(since, now));
        }
        self.tombstones.insert(region_id, tombstone);
    }
}

/// A follower takes a replica for its leader that is not here any more.
fn answer_sleeper(message: &RaftMessage) -> Effect {
    let place = (message.region_id, message.epoch);
    let answer = RaftMessage::extra(place, message.to, message.from, Extra::WakeUp);
    Effect::Send(Box::new(answer))
}
