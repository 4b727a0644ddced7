//! What the leader of a Region is told to do.
//!
//! **Why so few.** A leader only has to change its membership, hand over its leadership, split, or
//! merge. Everything else (moving a replica, say) is a sequence of these, and the sequence is the
//! placement driver's: see [`Operator`](crate::Operator).
//!
//! **Invariants.** An instruction names the epoch for which it was made: a Region of another epoch
//! ignores it. It may be lost, and may come twice; the report of the Region tells what is left to do.

use types::{Epoch, Peer, Region, RegionId};

/// One thing that the leader of a Region has to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Instruction {
    /// Change the membership. One change is a simple one; several are made at once, by entering a
    /// joint configuration, which stays until it is left by another instruction. No change at all:
    /// leave the joint configuration.
    ChangePeers(Vec<PeerChange>),
    /// Hand leadership over.
    TransferLeader {
        /// To this voter.
        to: Peer,
    },
    /// Merge into a neighbour that has its replicas on the same stores.
    Merge {
        /// The neighbour, as it was reported last. It survives.
        target: Region,
    },
    /// Split.
    Split {
        /// At these keys, as Regions' boundaries are encoded; none: in the middle.
        keys: Vec<Vec<u8>>,
    },
}

/// One change of a Region's membership.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerChange {
    /// What becomes of the replica.
    pub kind: PeerChangeKind,
    /// Which. Its role is the one it is to have.
    pub peer: Peer,
}

/// What becomes of a replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PeerChangeKind {
    /// It is a voter, whether it is new or was a learner.
    AddVoter,
    /// It is a learner, whether it is new or was a voter.
    AddLearner,
    /// It is gone.
    Remove,
}

/// An instruction, and whom it is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegionInstruction {
    /// The Region.
    pub region_id: RegionId,
    /// Its epoch when this was decided.
    pub epoch: Epoch,
    /// Its leader: who has to do it.
    pub leader: Peer,
    /// What.
    pub instruction: Instruction,
}
