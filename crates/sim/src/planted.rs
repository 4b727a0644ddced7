//! Defects that are built in to prove that the checkers find them.
//!
//! **Invariants.** They live in the simulation's ports: its engines, network, clocks, readers and
//! outboxes. The production crates know nothing of them.

use crate::names::Named;

/// A defect to be found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum PlantedBug {
    /// The Raft log is written, but never synced.
    SkippedSync,
    /// A vote leaves before it is synced.
    VoteBeforeSync,
    /// Entries are acknowledged before they are synced.
    AckBeforeSync,
    /// One store comes back from every crash with an empty disk, under its old name.
    WipedReplica,
    /// Some requests are answered twice.
    AnswerTwice,
    /// Some requests are never answered.
    LostAnswer,
    /// A store's front door tries some writes a second time.
    RetriedWrite,
    /// One store drops some writes when it applies them.
    ForgottenWrite,
    /// A store that believes to lead answers reads without asking the others.
    StaleRead,
    /// A follower answers reads without asking its leader.
    UnaskedFollower,
    /// Who reads on a replica does not ask its leader once more after the look.
    AskedOnce,
    /// Readers see values that have expired.
    ExpiredVisible,
    /// Readers compare their leases with the time that the store has read in its last round.
    CachedClock,
    /// A lease counts from the moment at which the quorum's answer came.
    LeaseFromAnswer,
    /// Raft messages reach nobody in one Region once the faults are over.
    DeafRegion,
    /// An applier that has something to do is not woken now and then, until more comes.
    LostWakeUp,
    /// The key-value engine says that it has synced, and has not.
    UnsyncedCut,
    /// One store leaves what it had in the place of what a snapshot brings.
    MixedSnapshot,
    /// Snapshots are damaged on their way, and no checksum says so.
    UncheckedSnapshot,
    /// Splits and changes of membership are written, but not synced before others act on them.
    UnsyncedShape,
    /// The new parts of a Region that was cut are written before what is left of it, and not with that.
    HalfSplit,
    /// One store counts a change of membership twice.
    ConfChangeTwice,
    /// A Region takes its neighbour in before that one has applied all that it had.
    MergeWithoutCatchUp,
    /// A removed replica leaves no tombstone: the record of its Region stays.
    NoTombstone,
    /// Nobody tells a replica that it was removed.
    NoFarewell,
    /// On one store there are pairs that nobody has written. Only comparing the replicas finds them.
    DamagedData,
    /// The bound of timestamps is not persisted.
    TimestampWindow,
    /// Timestamps are answered without asking whether their giver still leads.
    UnconfirmedTimestamp,
    /// The bound of ids is not persisted.
    IdWindow,
}

impl Named for PlantedBug {
    const ALL: &'static [Self] = &[
        Self::SkippedSync,
        Self::VoteBeforeSync,
        Self::AckBeforeSync,
        Self::WipedReplica,
        Self::AnswerTwice,
        Self::LostAnswer,
        Self::RetriedWrite,
        Self::ForgottenWrite,
        Self::StaleRead,
        Self::UnaskedFollower,
        Self::AskedOnce,
        Self::ExpiredVisible,
        Self::CachedClock,
        Self::LeaseFromAnswer,
        Self::DeafRegion,
        Self::LostWakeUp,
        Self::UnsyncedCut,
        Self::MixedSnapshot,
        Self::UncheckedSnapshot,
        Self::UnsyncedShape,
        Self::HalfSplit,
        Self::ConfChangeTwice,
        Self::MergeWithoutCatchUp,
        Self::NoTombstone,
        Self::NoFarewell,
        Self::DamagedData,
        Self::TimestampWindow,
        Self::UnconfirmedTimestamp,
        Self::IdWindow,
    ];
}

impl PlantedBug {
    /// Whether it is in this store.
    pub(crate) fn is_in(self, store: usize) -> bool {
        match self {
            Self::ForgottenWrite
            | Self::WipedReplica
            | Self::MixedSnapshot
            | Self::DamagedData
            | Self::ConfChangeTwice => store == 1,
            _ => true,
        }
    }
}
