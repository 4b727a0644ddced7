//! A store that is about to stop asks others to lead what is led here.
//!
//! **Why.** Whoever waits for an election waits ten seconds; a leader that hands over costs its clients one
//! retry.
//!
//! **Invariants.** It is a courtesy with an end: a Region that nobody takes over is left to an election. A
//! Region without another voter does not count.
//!
//! **Not here.** How leadership is transferred (raft-rs), and what else a stop does (`node`).

use crate::handle::NodeHandle;
use engine::KvEngine;
use std::time::Duration;
use tokio::time::{Instant, sleep};
use types::{Peer, PeerId, PeerRole, Region, StoreId};

/// How often it is looked who leads.
const LOOK_AGAIN: Duration = Duration::from_millis(50);
/// So many looks long one voter is asked before it is another's turn.
const LOOKS_A_VOTER: usize = 20;

impl<K: KvEngine> NodeHandle<K> {
    /// Has other voters lead what is led here. Ready when they do, or when this time has passed; answers how
    /// many Regions that others could lead are led here still.
    pub async fn hand_over(&self, patience: Duration) -> usize {
        let deadline = Instant::now() + patience;
        for look in 0.. {
            let left = self.ask_others(look / LOOKS_A_VOTER);
            if left == 0 || Instant::now() >= deadline {
                return left;
            }
            sleep(LOOK_AGAIN).await;
        }
        unreachable!("there is always another look")
    }

    /// Asks a voter of each Region that is led here; answers how many Regions that were.
    fn ask_others(&self, turn: usize) -> usize {
        let here = self.identity().store_id;
        let mut asked = 0;
        for id in self.inner.leaders.led_here() {
            let shape = self.shape(id).ok();
            if let Some(to) = shape.and_then(|shape| successor(&shape, here, turn)) {
                self.transfer_leader(id, to);
                asked += 1;
            }
        }
        asked
    }
}

/// Whom to ask at this turn. Regions with the same voters ask different ones.
fn successor(region: &Region, here: StoreId, turn: usize) -> Option<PeerId> {
    let is_fit = |peer: &&Peer| peer.role == PeerRole::Voter && peer.store_id != here;
    let others: Vec<PeerId> = region
        .peers
        .iter()
        .filter(is_fit)
        .map(|peer| peer.id)
        .collect();
    let first = usize::try_from(region.id.get()).unwrap_or_default();
    let at = first.wrapping_add(turn).checked_rem(others.len())?;
    Some(others[at])
}

#[cfg(test)]
mod tests {
    use super::*;
    use types::RegionId;

    fn region(roles: &[PeerRole]) -> Region {
        let peer = |(at, role): (usize, &PeerRole)| Peer {
            id: PeerId(at as u64 + 11),
            store_id: StoreId(at as u64 + 1),
            role: *role,
        };
        Region {
            id: RegionId(2),
            peers: roles.iter().enumerate().map(peer).collect(),
            ..Region::default()
        }
    }

    #[test]
    fn other_voters_are_asked_in_turn_and_a_learner_or_oneself_never() {
        use PeerRole::{Learner, Voter};
        let region = region(&[Voter, Learner, Voter, Voter]);
        let asked: Vec<_> = (0..3)
            .map(|turn| successor(&region, StoreId(1), turn).map(PeerId::get))
            .collect();
        assert_eq!(asked, [Some(13), Some(14), Some(13)]);
    }

    #[test]
    fn a_region_without_another_voter_is_nobodys() {
        let region = region(&[PeerRole::Voter, PeerRole::Learner]);
        assert_eq!(successor(&region, StoreId(1), 0), None);
    }
}
