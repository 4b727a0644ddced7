//! How stores and Regions are, for those who decide about them: what is persisted, what was reported,
//! and what is set, at one moment.
//!
//! **Not here.** Operators that are under way: `cluster`.

use crate::Liveness;
use crate::message::Now;
use crate::observed::{Observed, RegionSeen};
use crate::settings::Settings;
use crate::state::Durable;
use crate::stores::{Store, StoreState};
use std::sync::Arc;
use types::{Peer, PeerRole, Region, StoreId};

/// What is known at one moment.
#[derive(Clone, Copy)]
pub(crate) struct Health<'a> {
    pub(crate) now: Now,
    pub(crate) settings: &'a Settings,
    pub(crate) state: &'a Durable,
    pub(crate) observed: &'a Observed,
}

impl<'a> Health<'a> {
    /// All stores that are known, by id.
    pub(crate) fn stores(&self) -> impl Iterator<Item = &'a Arc<Store>> {
        self.state.stores.iter()
    }

    pub(crate) fn store_state(&self, id: StoreId) -> StoreState {
        let store = self.state.stores.get(id);
        store.map_or(StoreState::Tombstone, |store| store.state)
    }

    pub(crate) fn liveness(&self, id: StoreId) -> Liveness {
        self.observed.liveness(self.now, self.settings, id)
    }

    /// Whether a store has been heard of lately, by this leader itself: a new one takes stores to be
    /// alive, but does not build on it.
    pub(crate) fn is_alive(&self, id: StoreId) -> bool {
        let is_known = self.store_state(id) != StoreState::Tombstone;
        let was_heard = self.observed.store(id).is_some();
        is_known && was_heard && self.liveness(id) == Liveness::Connected
    }

    /// Whether nobody expects the store back: its replicas are to be replaced.
    pub(crate) fn is_lost(&self, id: StoreId) -> bool {
        self.store_state(id) == StoreState::Tombstone || self.liveness(id) == Liveness::Down
    }

    /// Whether more than half of these voters are there and have caught up.
    pub(crate) fn has_majority(&self, seen: &RegionSeen, voters: &[Peer]) -> bool {
        let is_well = |peer: &&Peer| seen.is_peer_well(peer.id) && self.is_alive(peer.store_id);
        voters.iter().filter(is_well).count() * 2 > voters.len()
    }
}

/// Who votes in a Region, when it has left its joint configuration.
pub(crate) fn voters(region: &Region) -> impl Iterator<Item = &Peer> {
    let votes = |peer: &&Peer| matches!(peer.role, PeerRole::Voter | PeerRole::IncomingVoter);
    region.peers.iter().filter(votes)
}

/// Whether a Region is between two configurations.
pub(crate) fn is_joint(region: &Region) -> bool {
    let is_changing =
        |peer: &Peer| matches!(peer.role, PeerRole::IncomingVoter | PeerRole::DemotingVoter);
    region.peers.iter().any(is_changing)
}
