//! Which Region owns a key, as far as is known: a cache over what placement and stores said.
//!
//! **Invariants.** Cached Regions do not overlap: a newer one takes the place of all that it touches.
//!
//! **Not here.** Asking anybody (`pd`), and addresses of stores (`channels`).

use parking_lot::RwLock;
use std::collections::BTreeMap;
use types::{Epoch, Peer, Region, RegionId};

/// A Region and the Peer to ask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Route {
    pub(crate) region: Region,
    pub(crate) peer: Peer,
}

impl Route {
    /// `leader` if it is known and one of the Region's Peers, else the first Peer; `None` for a
    /// Region without Peers, which nobody can serve.
    pub(crate) fn new(region: Region, leader: Option<Peer>) -> Option<Route> {
        let known = leader.and_then(|leader| region.peer(leader.id).copied());
        let peer = known.or_else(|| region.peers.first().copied())?;
        Some(Route { region, peer })
    }
}

/// Routes by the start of their ranges.
#[derive(Default)]
pub(crate) struct Routes(RwLock<BTreeMap<Vec<u8>, Route>>);

impl Routes {
    /// The route for a Region key.
    pub(crate) fn find(&self, key: &[u8]) -> Option<Route> {
        let routes = self.0.read();
        let (_, route) = routes
            .range::<[u8], _>((std::ops::Bound::Unbounded, std::ops::Bound::Included(key)))
            .next_back()?;
        route.region.range.contains(key).then(|| route.clone())
    }

    pub(crate) fn insert(&self, route: Route) {
        let range = &route.region.range;
        let mut routes = self.0.write();
        let overlapped: Vec<Vec<u8>> = routes
            .iter()
            .filter(|(_, old)| {
                let old = &old.region.range;
                let ends_before = !old.end.is_empty() && old.end <= range.start;
                let begins_after = !range.end.is_empty() && range.end <= old.start;
                !ends_before && !begins_after
            })
            .map(|(start, _)| start.clone())
            .collect();
        for start in overlapped {
            routes.remove(&start);
        }
        routes.insert(route.region.range.start.clone(), route);
    }

    /// Forgets the route, unless a newer one has taken its place.
    pub(crate) fn forget(&self, route: &Route) {
        self.change(route, |_| None);
    }

    /// Another Peer is to be asked: the one with this id, if the Region has it.
    pub(crate) fn redirect(&self, route: &Route, leader: Peer) {
        self.change(route, |route| {
            Route::new(route.region.clone(), Some(leader))
        });
    }

    /// The Peer does not answer: the next in the Region's list is to be asked.
    pub(crate) fn rotate(&self, route: &Route) {
        self.change(route, |route| {
            let peers = &route.region.peers;
            let at = peers.iter().position(|peer| peer.id == route.peer.id)?;
            let peer = peers[(at + 1) % peers.len()];
            Some(Route {
                region: route.region.clone(),
                peer,
            })
        });
    }

    /// Replaces a route that is still the same in Region, epoch and Peer; others have moved on.
    fn change(&self, seen: &Route, to: impl FnOnce(&Route) -> Option<Route>) {
        let identity = |route: &Route| -> (RegionId, Epoch, Peer) {
            (route.region.id, route.region.epoch, route.peer)
        };
        let mut routes = self.0.write();
        let start = &seen.region.range.start;
        let Some(current) = routes
            .get(start)
            .filter(|now| identity(now) == identity(seen))
        else {
            return;
        };
        match to(current) {
            Some(route) => routes.insert(start.clone(), route),
            None => routes.remove(start),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use types::{KeyRange, PeerId, StoreId};

    fn route(id: u64, start: &str, end: &str) -> Route {
        let peers = (1..=3)
            .map(|n| Peer {
                id: PeerId(id * 10 + n),
                store_id: StoreId(n),
                ..Peer::default()
            })
            .collect();
        let range = KeyRange {
            start: start.into(),
            end: end.into(),
        };
        let region = Region {
            id: RegionId(id),
            range,
            peers,
            ..Region::default()
        };
        Route::new(region, None).unwrap()
    }

    fn found(routes: &Routes, key: &str) -> Option<u64> {
        routes
            .find(key.as_bytes())
            .map(|route| route.region.id.get())
    }

    #[test]
    fn a_key_finds_the_region_that_owns_it_and_a_gap_finds_none() {
        let routes = Routes::default();
        routes.insert(route(1, "", "b"));
        routes.insert(route(2, "d", ""));
        let keys = ["", "a", "b", "c", "d", "zz"];
        let ids = keys.map(|key| found(&routes, key));
        assert_eq!(ids, [Some(1), Some(1), None, None, Some(2), Some(2)]);
    }

    #[test]
    fn a_new_region_replaces_all_that_it_overlaps_and_no_neighbour() {
        let routes = Routes::default();
        for (id, start, end) in [(1, "", "b"), (2, "b", "d"), (3, "d", "f"), (4, "f", "")] {
            routes.insert(route(id, start, end));
        }
        routes.insert(route(9, "c", "e"));
        let ids = ["a", "b", "c", "d", "e", "f"].map(|key| found(&routes, key));
        assert_eq!(ids, [Some(1), None, Some(9), Some(9), None, Some(4)]);
        routes.insert(route(10, "", ""));
        assert_eq!(found(&routes, "a"), Some(10));
    }

    #[test]
    fn peers_are_asked_in_turn_and_a_hint_is_followed() {
        let routes = Routes::default();
        routes.insert(route(1, "", ""));
        let peer = || routes.find(b"").unwrap().peer.id.get();
        let mut seen = vec![peer()];
        for _ in 0..3 {
            routes.rotate(&routes.find(b"").unwrap());
            seen.push(peer());
        }
        assert_eq!(seen, [11, 12, 13, 11]);
        let hint = Peer {
            id: PeerId(13),
            store_id: StoreId(3),
            ..Peer::default()
        };
        routes.redirect(&routes.find(b"").unwrap(), hint);
        assert_eq!(peer(), 13);
    }

    #[test]
    fn what_was_learnt_meanwhile_is_not_undone_by_a_late_failure() {
        let routes = Routes::default();
        routes.insert(route(1, "", ""));
        let stale = routes.find(b"").unwrap();
        routes.rotate(&stale);
        let current = routes.find(b"").unwrap();
        routes.forget(&stale);
        routes.rotate(&stale);
        assert_eq!(routes.find(b""), Some(current));
    }

    #[test]
    fn a_region_without_peers_is_no_route() {
        assert_eq!(Route::new(Region::default(), None), None);
    }
}
