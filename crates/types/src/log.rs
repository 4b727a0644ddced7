//! Records of a Raft log, as engines store them and state machines read them.

use crate::PeerId;
use bytes::Bytes;

/// What an entry's data means to Raft itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EntryKind {
    /// A batch of commands, or nothing (a new leader's first entry).
    #[default]
    Normal,
    /// A single-step change of membership.
    ConfChange,
    /// A joint-consensus change of membership.
    ConfChangeV2,
}

/// One entry of a Raft log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogEntry {
    /// Position in the log; contiguous.
    pub index: u64,
    /// The term in which it was proposed; never decreases along the log.
    pub term: u64,
    /// How Raft reads `data`.
    pub kind: EntryKind,
    /// The payload, opaque to engines.
    pub data: Bytes,
}

/// What a voter must never forget (Raft §5: currentTerm, votedFor; and a hint of the commit index).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HardState {
    /// The latest term this replica has seen.
    pub term: u64,
    /// Whom it voted for in that term; zero for nobody.
    pub vote: PeerId,
    /// The highest index known to be committed.
    pub commit: u64,
}

/// How far a replica's log has been applied, and where its log begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ApplyState {
    /// The last index whose effects are in the key-value engine.
    pub applied_index: u64,
    /// That entry's term.
    pub applied_term: u64,
    /// The last index that is no longer in the log (compacted away).
    pub truncated_index: u64,
    /// That entry's term.
    pub truncated_term: u64,
}
