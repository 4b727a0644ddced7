//! What a Peer wants done, as values: the node performs them in the order given.
//!
//! **The ordering that keeps promises.** [`Effect::Send`] may be performed at once. Messages that
//! promise something durable (votes, append responses) are kept by the Peer until
//! [`Input::Persisted`](crate::peer::Input::Persisted) and only then become `Send`. Replies come from
//! `apply`, or from here for requests that never reached the log.

use crate::command::Outcome;
use crate::error::RequestError;
use crate::message::RaftMessage;
use std::sync::Arc;
use types::{Epoch, HardState, LogEntry, Peer, Region, RegionId, RequestId};

/// Something to be done for a Peer.
#[derive(Debug)]
pub enum Effect {
    /// Send to another store; may be lost.
    Send(RaftMessage),
    /// Write to the Raft log and sync; answered with `Input::Persisted`.
    Persist(LogWrite),
    /// Apply committed entries; answered with `Input::Applied`.
    Apply(ApplyTask),
    /// Read entries that are no longer in memory; answered with `Input::Fetched`.
    Fetch(FetchEntries),
    /// The one answer to a request.
    Reply(RequestId, Result<Reply, RequestError>),
    /// Tell the placement driver about the Region. Sent by leaders only.
    Heartbeat(RegionHeartbeat),
    /// This replica learned of a change of leadership.
    Leadership(Leadership),
}

/// A successful answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// The command was applied.
    Command(Outcome),
    /// Every write that was acknowledged before the read was asked for is visible in a snapshot
    /// that is taken now. Carries the Region, to clip the read to its range.
    ReadReady(Arc<Region>),
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
