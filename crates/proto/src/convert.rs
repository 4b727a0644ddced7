//! Conversions between the wire's messages and `types`.
//!
//! Into the wire they are total. From the wire a message may lack parts: an absent epoch or id reads
//! as zero, which is how protobuf says "absent"; only a Region is refused when it can't be one.

use crate::metapb;
use bytes::Bytes;
use std::error::Error;
use std::fmt;
use types::{Epoch, KeyRange, Peer, PeerId, PeerRole, Region, RegionId, StoreId};

/// A Region from the wire that names no id, or a Peer without an id or a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidRegion {
    /// The Region's id as it was sent.
    pub region_id: RegionId,
    /// What is wrong with it.
    pub reason: &'static str,
}

impl fmt::Display for InvalidRegion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Region {} is invalid: {}", self.region_id, self.reason)
    }
}

impl Error for InvalidRegion {}

impl From<Epoch> for metapb::RegionEpoch {
    fn from(epoch: Epoch) -> Self {
        Self {
            conf_ver: epoch.conf_ver,
            version: epoch.version,
        }
    }
}

impl From<metapb::RegionEpoch> for Epoch {
    fn from(epoch: metapb::RegionEpoch) -> Self {
        Self {
            conf_ver: epoch.conf_ver,
            version: epoch.version,
        }
    }
}

impl From<PeerRole> for metapb::PeerRole {
    fn from(role: PeerRole) -> Self {
        match role {
            PeerRole::Voter => Self::Voter,
            PeerRole::Learner => Self::Learner,
            PeerRole::IncomingVoter => Self::IncomingVoter,
            PeerRole::DemotingVoter => Self::DemotingVoter,
        }
    }
}

impl From<metapb::PeerRole> for PeerRole {
    fn from(role: metapb::PeerRole) -> Self {
        match role {
            metapb::PeerRole::Voter => Self::Voter,
            metapb::PeerRole::Learner => Self::Learner,
            metapb::PeerRole::IncomingVoter => Self::IncomingVoter,
            metapb::PeerRole::DemotingVoter => Self::DemotingVoter,
        }
    }
}

impl From<Peer> for metapb::Peer {
    fn from(peer: Peer) -> Self {
        Self {
            id: peer.id.get(),
            store_id: peer.store_id.get(),
            role: metapb::PeerRole::from(peer.role) as i32,
            is_witness: false,
        }
    }
}

/// An unknown role reads as a voter, which is the protocol's default.
impl From<metapb::Peer> for Peer {
    fn from(peer: metapb::Peer) -> Self {
        Self {
            id: PeerId(peer.id),
            store_id: StoreId(peer.store_id),
            role: peer.role().into(),
        }
    }
}

impl From<&Region> for metapb::Region {
    fn from(region: &Region) -> Self {
        Self {
            id: region.id.get(),
            start_key: Bytes::copy_from_slice(&region.range.start),
            end_key: Bytes::copy_from_slice(&region.range.end),
            region_epoch: Some(region.epoch.into()),
            peers: region.peers.iter().copied().map(Into::into).collect(),
        }
    }
}

impl TryFrom<metapb::Region> for Region {
    type Error = InvalidRegion;

    fn try_from(region: metapb::Region) -> Result<Self, InvalidRegion> {
        let invalid = |reason| InvalidRegion {
            region_id: RegionId(region.id),
            reason,
        };
        if region.id == 0 {
            return Err(invalid("its id is zero"));
        }
        if region
            .peers
            .iter()
            .any(|peer| peer.id == 0 || peer.store_id == 0)
        {
            return Err(invalid("a Peer's id or store id is zero"));
        }
        let range = KeyRange {
            start: region.start_key.to_vec(),
            end: region.end_key.to_vec(),
        };
        if range.is_empty() {
            return Err(invalid("its range is empty or inverted"));
        }
        Ok(Self {
            id: RegionId(region.id),
            range,
            epoch: region.region_epoch.map(Into::into).unwrap_or_default(),
            peers: region.peers.into_iter().map(Into::into).collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn region() -> Region {
        let role = |id, role| Peer {
            id: PeerId(id),
            store_id: StoreId(id + 100),
            role,
        };
        Region {
            id: RegionId(7),
            range: KeyRange {
                start: b"a".to_vec(),
                end: b"z".to_vec(),
            },
            epoch: Epoch {
                conf_ver: 3,
                version: 9,
            },
            peers: vec![
                role(1, PeerRole::Voter),
                role(2, PeerRole::Learner),
                role(3, PeerRole::IncomingVoter),
                role(4, PeerRole::DemotingVoter),
            ],
        }
    }

    #[test]
    fn a_region_survives_the_way_over_the_wire() {
        let there = metapb::Region::from(&region());
        assert_eq!(Region::try_from(there), Ok(region()));
    }

    #[test]
    fn a_region_that_cannot_be_one_is_refused() {
        let good = metapb::Region::from(&region());
        let no_id = metapb::Region {
            id: 0,
            ..good.clone()
        };
        let inverted = metapb::Region {
            end_key: Bytes::from_static(b"A"),
            ..good.clone()
        };
        let mut no_store = good;
        no_store.peers[1].store_id = 0;
        for bad in [no_id, inverted, no_store] {
            assert!(Region::try_from(bad.clone()).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn an_unknown_role_reads_as_a_voter() {
        let peer = metapb::Peer {
            id: 1,
            store_id: 1,
            role: 99,
            is_witness: false,
        };
        assert_eq!(Peer::from(peer).role, PeerRole::Voter);
    }
}
