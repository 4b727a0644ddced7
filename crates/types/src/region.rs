//! A Region: a range of keys, the Peers that replicate it, and the epoch that versions both.

use crate::{PeerId, RegionId, StoreId};

/// The version of a Region's shape. A request made with another epoch is refused, so that a client
/// with a stale route can't touch keys that the Region no longer owns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Epoch {
    /// Counts changes of membership.
    pub conf_ver: u64,
    /// Counts changes of the key range (split, merge).
    pub version: u64,
}

/// What a Peer may do in its Raft group.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum PeerRole {
    /// Votes and can lead.
    #[default]
    Voter,
    /// Receives the log, does not vote.
    Learner,
    /// A learner that becomes a voter when the joint configuration is left.
    IncomingVoter,
    /// A voter that becomes a learner when the joint configuration is left.
    DemotingVoter,
}

/// One replica of a Region.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Peer {
    /// Unique in the cluster, never reused.
    pub id: PeerId,
    /// Where it lives.
    pub store_id: StoreId,
    /// Its part in the group.
    pub role: PeerRole,
}

/// A half-open range of keys, `[start, end)`. An empty `end` means "to the end of the key space".
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct KeyRange {
    /// First key in the range.
    pub start: Vec<u8>,
    /// First key after the range; empty for none.
    pub end: Vec<u8>,
}

impl KeyRange {
    /// Whether `key` lies in the range.
    pub fn contains(&self, key: &[u8]) -> bool {
        key >= self.start.as_slice() && (self.end.is_empty() || key < self.end.as_slice())
    }

    /// Whether `[start, end)` (empty `end`: unbounded) lies wholly inside the range.
    pub fn contains_range(&self, start: &[u8], end: &[u8]) -> bool {
        start >= self.start.as_slice()
            && (self.end.is_empty() || (!end.is_empty() && end <= self.end.as_slice()))
    }

    /// Whether the range holds no key at all.
    pub fn is_empty(&self) -> bool {
        !self.end.is_empty() && self.start >= self.end
    }
}

/// A Region's identity and shape.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Region {
    /// Unique in the cluster, never reused.
    pub id: RegionId,
    /// The keys it owns, encoded as they are stored (see `types::keys`).
    pub range: KeyRange,
    /// The version of `range` and `peers`.
    pub epoch: Epoch,
    /// Its replicas; at most one a store.
    pub peers: Vec<Peer>,
}

impl Region {
    /// The replica on `store`, if there is one.
    pub fn peer_on(&self, store: StoreId) -> Option<&Peer> {
        self.peers.iter().find(|peer| peer.store_id == store)
    }

    /// The replica with this id, if there is one.
    pub fn peer(&self, id: PeerId) -> Option<&Peer> {
        self.peers.iter().find(|peer| peer.id == id)
    }
}
