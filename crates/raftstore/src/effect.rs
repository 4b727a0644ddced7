//! What a Peer wants done, as values: the node performs them in the order given.
//!
//! **The ordering that keeps promises.** [`Effect::Send`] may be performed at once. Messages that
//! promise something durable (votes, append responses) are kept by the Peer until
//! [`Input::Persisted`](crate::peer::Input::Persisted) and only then become `Send`. Replies come from
//! `apply`, or from here for requests that never reached the log.

use crate::command::Outcome;
use crate::error::RequestError;
use crate::message::RaftMessage;
use crate::op::consistency::{Quarantine, Report};
use crate::op::hibernate::Sleep;
use crate::op::lease::MonotonicTime;
use crate::op::merge::{MergeAsk, SourceWish};
use crate::op::snapshot::{GenerateSnapshot, InstallSnapshot, SnapshotKey};
use crate::peer::RequestContext;
use crate::state::Tombstone;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use types::{Epoch, HardState, LogEntry, Peer, PeerId, Region, RegionId, RequestId};

/// Something to be done for a Peer.
#[derive(Debug)]
pub enum Effect {
    /// Send to another store; may be lost.
    Send(Box<RaftMessage>),
    /// Write to the Raft log and sync; answered with `Input::Persisted`.
    Persist(LogWrite),
    /// Apply committed entries; answered with `Input::Applied`, and `Input::Changed` before it.
    Apply(ApplyTask),
    /// Have the applier remove the replica, behind all that it was given before; answered with
    /// `Input::Destroyed`. It leaves this tombstone.
    Destroy(Tombstone),
    /// The applier has removed the replica: remove its log, and tell the store once that is durable.
    RemoveLog(Tombstone),
    /// Tell the store that the Region was cut into these, the last of which it still is.
    Split(SplitDone),
    /// Tell the store that the Region has this shape here now.
    Reshaped(Region),
    /// As [`Effect::Reshaped`], by a snapshot: what the Region was before may have been passed over.
    Restored(Region),
    /// A neighbour was taken in, durably: tell the store, and then the neighbour's replica, which gets
    /// `Input::TakenIn`.
    Merged(MergeDone),
    /// Ask the store to have a neighbour take this Region in.
    AskMerge(Box<MergeAsk>),
    /// Tell the Peer of the source that it is waited for, with `Input::SourceAwaited`.
    AwaitSource(SourceWish),
    /// Have the applier stop behind the entry of this wish, and tell the target's when it is there.
    Freeze(SourceWish),
    /// The applier has nothing to apply any more: it ends.
    EndApplier(RegionId),
    /// Read entries that are no longer in memory; answered with `Input::Fetched`.
    Fetch(FetchEntries),
    /// Drop all log entries before an index, together with the log write that follows, if one does.
    CompactLog {
        /// The Region.
        region_id: RegionId,
        /// The first index that stays.
        up_to: u64,
    },
    /// Say with `Input::KvSynced` when everything that is written to the key-value engine now is
    /// durable there. No hurry.
    SyncKv {
        /// The Region.
        region_id: RegionId,
        /// Comes back.
        applied_index: u64,
    },
    /// Pin a view of the Region for a follower; answered with `Input::SnapshotGenerated`.
    GenerateSnapshot(GenerateSnapshot),
    /// Send the view that was pinned for the receiver, and this message; answered with
    /// `Input::SnapshotSent`.
    SendSnapshot(Box<RaftMessage>),
    /// Once everything handed to the applier is applied, replace all of the Region's data; answered
    /// with `Input::SnapshotInstalled`.
    InstallSnapshot(InstallSnapshot),
    /// A snapshot that was received is of no use: remove its file, and tell the store.
    DropSnapshot(SnapshotKey),
    /// Tell the store that a snapshot it let in is installed.
    SnapshotSettled(SnapshotKey),
    /// Tell the store that this replica ticks no more.
    Slept(Sleep),
    /// Tell the store that it does again.
    Woke(RegionId),
    /// The one answer to a request.
    Reply(RequestId, Result<Reply, RequestError>),
    /// Tell the placement driver about the Region. Sent by leaders only.
    Heartbeat(RegionHeartbeat),
    /// This replica learned of a change of leadership.
    Leadership(Leadership),
    /// What readers on other threads may do has changed. To be performed before every effect that
    /// follows.
    Lease(LeaseChange),
    /// A replica here is quarantined from now on: this one, or one of a Region that is cut off from it.
    Quarantined {
        /// Its Region.
        region_id: RegionId,
        /// Why.
        quarantine: Quarantine,
    },
    /// Replicas of the Region hold different things: an operator has to know.
    Inconsistent(Report),
    /// A message was dropped that no correct member sends to this replica: worth a line in the log.
    Refused(Refusal),
    /// This replica contradicts what it promised: the store must stop, with this as its message.
    Contradiction(Contradiction),
}

/// A Region that was cut.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SplitDone {
    /// In the order of their keys.
    pub parts: Vec<Region>,
    /// Whether it was led here: then the new Regions campaign at once.
    pub was_led_here: bool,
}

/// A Region that has taken a neighbour in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MergeDone {
    /// Its shape now.
    pub target: Region,
    /// The neighbour's replica here.
    pub source: Tombstone,
}

/// A message that was not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The Region it names.
    pub region_id: RegionId,
    /// The sender it names.
    pub from: Peer,
    /// What is wrong with it.
    pub reason: &'static str,
}

/// Proof that this replica has lost log entries that it had acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Contradiction {
    /// The Region.
    pub region_id: RegionId,
    /// The leader that knows better.
    pub leader: Peer,
    /// Its term.
    pub term: u64,
    /// Up to here this replica had acknowledged the log, and it was committed.
    pub committed: u64,
    /// Where its log ends.
    pub last_index: u64,
}

impl fmt::Display for Contradiction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Region {}: the log here ends at {}, but its leader (store {}, term {}) knows entries up \
             to {} to be acknowledged by this store and committed. Part of this store's data is lost, \
             and going on without it would break promises that it made. Bring back the directory as it \
             was; if it is lost, leave this node down: the others serve as long as they are a majority. \
             Do not empty the directory and start again",
            self.region_id, self.last_index, self.leader.store_id, self.term, self.committed
        )
    }
}

/// A successful answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// The command was applied.
    Command(Outcome),
    /// Every write that was acknowledged before the read was asked for is visible in a snapshot
    /// that is taken now. Carries the Region, to clip the read to its range.
    ReadReady(Arc<Region>),
    /// The replicas were compared.
    Checked(Box<Report>),
}

/// One Region's part of a log write.
#[derive(Debug)]
pub struct LogWrite {
    /// The Region.
    pub region_id: RegionId,
    /// Replaces the log from the first of these on; may be empty.
    pub entries: Vec<LogEntry>,
    /// The new hard state, if it changed.
    pub hard_state: Option<HardState>,
    /// Comes back in `Input::Persisted`.
    pub number: u64,
}

/// Committed entries for the Region's applier.
#[derive(Debug)]
pub struct ApplyTask {
    /// The Region.
    pub region_id: RegionId,
    /// In log order, without gaps to the task before.
    pub entries: Vec<ApplyEntry>,
}

impl ApplyTask {
    /// An estimate of the memory that the entries hold, in bytes.
    pub fn size_bytes(&self) -> usize {
        const ENTRY_OVERHEAD: usize = 96;
        let entries = self.entries.iter();
        entries
            .map(|entry| ENTRY_OVERHEAD + entry.entry.data.len())
            .sum()
    }
}

/// A committed entry, and who waits for it here.
#[derive(Debug)]
pub struct ApplyEntry {
    /// The entry.
    pub entry: LogEntry,
    /// For each command of the entry in order, the request to answer; empty where nobody waits.
    pub requests: Vec<RequestId>,
}

/// Entries that raft-rs wants and the cache no longer has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchEntries {
    /// The Region.
    pub region_id: RegionId,
    /// Comes back in `Input::Fetched`.
    pub token: u64,
    /// First index.
    pub low: u64,
    /// One past the last index.
    pub high: u64,
    /// Stop after about so many bytes, but return one entry at least.
    pub bytes_max: u64,
}

/// What a leader tells the placement driver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegionHeartbeat {
    /// The Region's shape.
    pub region: Region,
    /// This replica.
    pub leader: Peer,
    /// The leader's term.
    pub term: u64,
    /// Peers that were not heard of for [`PeerOptions::down_ticks`](crate::peer::PeerOptions).
    pub down_peers: Vec<PeerId>,
    /// Peers whose log is behind what the leader's still has: they need a snapshot.
    pub pending_peers: Vec<PeerId>,
    /// How long the leader has not told what was read and written, in whole seconds. Zero: too short a
    /// time to say anything about it, and the next report speaks of it too.
    pub measured: Duration,
    /// Replicas that hold something else than most: they are to be replaced.
    pub quarantined_peers: Vec<PeerId>,
}

/// What a Peer tells readers on other threads about its lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LeaseChange {
    /// There is one; it replaces what was told before.
    Granted(LeaseView),
    /// There is none.
    Ended(RegionId),
}

/// A lease as readers see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaseView {
    /// The Region.
    pub region: Arc<Region>,
    /// The leader, which is this replica.
    pub me: Peer,
    /// Its term.
    pub term: u64,
    /// At this moment of the store's clock it is over.
    pub until: MonotonicTime,
    /// How long a lease lasts when it is new.
    pub length: Duration,
}

impl LeaseView {
    /// Whether a read addressed like this is for this Region, this replica and this term. If not, the
    /// Peer knows what to answer.
    pub fn is_meant_by(&self, context: &RequestContext) -> bool {
        let is_me = |asked: &Peer| asked.id == self.me.id && asked.store_id == self.me.store_id;
        context.region_id == self.region.id
            && context.epoch.version == self.region.epoch.version
            && (context.peer.id.get() == 0 || is_me(&context.peer))
            && (context.term == 0 || context.term == self.term)
    }
}

/// Who leads a Region, as one replica knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leadership {
    /// The Region.
    pub region_id: RegionId,
    /// The leader, if one is known.
    pub leader: Option<Peer>,
    /// Whether it is this replica.
    pub is_self: bool,
    /// The term.
    pub term: u64,
    /// The Region's epoch.
    pub epoch: Epoch,
}

impl Leadership {
    /// Before anything was heard.
    pub(crate) fn unknown(region: &Region) -> Self {
        Self {
            region_id: region.id,
            leader: None,
            is_self: false,
            term: 0,
            epoch: region.epoch,
        }
    }
}
