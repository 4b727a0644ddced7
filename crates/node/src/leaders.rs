//! Who leads each Region that has a replica here, as the replicas announced it last: a hint for those
//! who would wait for a Peer in vain.
//!
//! **Not here.** Certainty: the Peer itself checks what it is asked.

use parking_lot::RwLock;
use raftstore::{Leadership, RequestError};
use std::collections::BTreeMap;
use std::sync::Arc;
use types::{Peer, RegionId};

/// The hints of one store. Clones are the same.
#[derive(Clone, Default)]
pub struct Leaders(Arc<RwLock<BTreeMap<RegionId, Known>>>);

/// What of an announcement is asked for: there is one for each Region.
struct Known {
    leader: Option<Peer>,
    is_self: bool,
}

impl Leaders {
    /// A replica has announced a change.
    pub(crate) fn set(&self, leadership: Leadership) {
        let Leadership {
            region_id,
            leader,
            is_self,
            ..
        } = leadership;
        self.0.write().insert(region_id, Known { leader, is_self });
    }

    /// The Region has no replica here any more.
    pub(crate) fn remove(&self, region_id: RegionId) {
        self.0.write().remove(&region_id);
    }

    /// The Region led here with the least id above this one, or else the one with the least.
    pub(crate) fn led_here_after(&self, last: RegionId) -> Option<RegionId> {
        let known = self.0.read();
        let led = || known.iter().filter(|(_, known)| known.is_self);
        let mut above = led().filter(|(id, _)| **id > last);
        above.next().or_else(|| led().next()).map(|(id, _)| *id)
    }

    /// Refuses what has to be asked elsewhere.
    pub(crate) fn check_leads(&self, region_id: RegionId) -> Result<(), RequestError> {
        match self.0.read().get(&region_id) {
            Some(known) if !known.is_self => Err(RequestError::NotLeader {
                region_id,
                leader: known.leader,
            }),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use types::Epoch;

    #[test]
    fn the_regions_led_here_come_one_after_the_other_and_then_again() {
        let leaders = Leaders::default();
        assert_eq!(leaders.led_here_after(RegionId(0)), None);
        for (id, is_self) in [(2, true), (3, false), (5, true)] {
            leaders.set(Leadership {
                region_id: RegionId(id),
                leader: None,
                is_self,
                term: 6,
                epoch: Epoch::default(),
            });
        }
        let after = |id| leaders.led_here_after(RegionId(id)).map(RegionId::get);
        assert_eq!([0, 2, 5].map(after), [Some(2), Some(5), Some(2)]);
    }
}
