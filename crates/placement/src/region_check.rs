//! What an operator looks for among the Regions: replicas that are missing, too many, or not well.
//!
//! **Not here.** Putting it right, which checkers do by themselves: `check`.

use crate::message::RegionRoute;
use std::collections::BTreeSet;
use types::{Peer, PeerRole, StoreId};

/// A Region that reports no more bytes counts as empty.
const EMPTY_BYTES_MAX: u64 = 1 << 20;

/// What to look for. The names are PD's, but for the one that PD does not have: `quarantined-peer`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RegionCheck {
    /// Fewer voters than there should be.
    MissPeer,
    /// More voters than there should be.
    ExtraPeer,
    /// A replica that its leader has not heard of for long.
    DownPeer,
    /// A replica that is catching up.
    PendingPeer,
    /// A learner.
    LearnerPeer,
    /// A replica on a store that is drained or has left.
    OfflinePeer,
    /// A replica that holds something else than most, and serves nobody.
    QuarantinedPeer,
    /// Next to no data.
    EmptyRegion,
}

const NAMES: [(&str, RegionCheck); 8] = [
    ("miss-peer", RegionCheck::MissPeer),
    ("extra-peer", RegionCheck::ExtraPeer),
    ("down-peer", RegionCheck::DownPeer),
    ("pending-peer", RegionCheck::PendingPeer),
    ("learner-peer", RegionCheck::LearnerPeer),
    ("offline-peer", RegionCheck::OfflinePeer),
    ("quarantined-peer", RegionCheck::QuarantinedPeer),
    ("empty-region", RegionCheck::EmptyRegion),
];

impl RegionCheck {
    /// All of them, with their names.
    pub const ALL: &[(&str, Self)] = &NAMES;

    /// The check with this name, if there is one.
    pub fn parse(name: &str) -> Option<Self> {
        let known = NAMES.iter().find(|(known, _)| *known == name);
        known.map(|(_, check)| *check)
    }

    /// Whether a Region is what is looked for, given how many voters it should have and which stores
    /// are not in service.
    pub fn finds(
        self,
        route: &RegionRoute,
        max_replicas: u64,
        offline: &BTreeSet<StoreId>,
    ) -> bool {
        let peers = &route.region.peers;
        let votes = |peer: &&Peer| matches!(peer.role, PeerRole::Voter | PeerRole::IncomingVoter);
        let voters = peers.iter().filter(votes).count() as u64;
        match self {
            RegionCheck::MissPeer => voters < max_replicas,
            RegionCheck::ExtraPeer => voters > max_replicas,
            RegionCheck::DownPeer => !route.down_peers.is_empty(),
            RegionCheck::PendingPeer => !route.pending_peers.is_empty(),
            RegionCheck::LearnerPeer => peers.iter().any(|peer| peer.role == PeerRole::Learner),
            RegionCheck::OfflinePeer => peers.iter().any(|peer| offline.contains(&peer.store_id)),
            RegionCheck::QuarantinedPeer => !route.quarantined_peers.is_empty(),
            // Of a Region that has not reported yet, the size is not known.
            RegionCheck::EmptyRegion => {
                route.leader.is_some() && route.approximate_size_bytes <= EMPTY_BYTES_MAX
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use types::{PeerId, Region};

    fn peer(store: u64, role: PeerRole) -> Peer {
        Peer {
            id: PeerId(store * 10),
            store_id: StoreId(store),
            role,
        }
    }

    fn route(peers: Vec<Peer>) -> RegionRoute {
        RegionRoute {
            leader: peers.first().copied(),
            region: Arc::new(Region {
                peers,
                ..Region::default()
            }),
            down_peers: Vec::new(),
            pending_peers: Vec::new(),
            quarantined_peers: Vec::new(),
            approximate_size_bytes: 2 << 20,
            approximate_keys: 0,
            read_bytes_per_s: 0,
            written_bytes_per_s: 0,
        }
    }

    fn found(route: &RegionRoute) -> Vec<&'static str> {
        let offline = BTreeSet::from([StoreId(9)]);
        let finds = |(_, check): &&(&str, RegionCheck)| check.finds(route, 3, &offline);
        NAMES.iter().filter(finds).map(|(name, _)| *name).collect()
    }

    #[test]
    fn each_check_finds_what_it_is_named_after_and_nothing_else() {
        use PeerRole::{DemotingVoter, IncomingVoter, Learner, Voter};
        let voters = |stores: &[u64]| stores.iter().map(|id| peer(*id, Voter)).collect::<Vec<_>>();
        assert_eq!(found(&route(voters(&[1, 2, 3]))), [""; 0]);
        assert_eq!(found(&route(voters(&[1, 2]))), ["miss-peer"]);
        assert_eq!(found(&route(voters(&[1, 2, 3, 4]))), ["extra-peer"]);
        assert_eq!(found(&route(voters(&[1, 2, 9]))), ["offline-peer"]);
        let mut learning = voters(&[1, 2]);
        learning.push(peer(3, Learner));
        assert_eq!(found(&route(learning)), ["miss-peer", "learner-peer"]);
        let mut joint = voters(&[1, 2]);
        joint.extend([peer(3, DemotingVoter), peer(4, IncomingVoter)]);
        assert_eq!(found(&route(joint)), [""; 0]);
        let mut ailing = route(voters(&[1, 2, 3]));
        ailing.down_peers.push(ailing.region.peers[1]);
        ailing.pending_peers.push(ailing.region.peers[2]);
        assert_eq!(found(&ailing), ["down-peer", "pending-peer"]);
        let mut damaged = route(voters(&[1, 2, 3]));
        damaged.quarantined_peers.push(damaged.region.peers[2]);
        assert_eq!(found(&damaged), ["quarantined-peer"]);
    }

    #[test]
    fn a_region_is_empty_only_if_it_has_reported() {
        let peers = || (1..=3).map(|id| peer(id, PeerRole::Voter)).collect();
        let mut route = route(peers());
        route.approximate_size_bytes = 1 << 20;
        assert_eq!(found(&route), ["empty-region"]);
        route.leader = None;
        assert_eq!(found(&route), [""; 0]);
    }

    #[test]
    fn a_name_leads_to_its_check() {
        for (name, check) in NAMES {
            assert_eq!(RegionCheck::parse(name), Some(check));
        }
        assert_eq!(RegionCheck::parse("miss-peers"), None);
    }
}
