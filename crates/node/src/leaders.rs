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
pub struct Leaders(Arc<RwLock<Table>>);

#[derive(Default)]
struct Table {
    known: BTreeMap<RegionId, Known>,
    /// How many of them are led here.
    led: usize,
}

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
        let mut table = self.0.write();
        let before = table.known.insert(region_id, Known { leader, is_self });
        table.led += usize::from(is_self);
        table.led -= usize::from(before.is_some_and(|before| before.is_self));
    }

    /// The Region has no replica here any more.
    pub(crate) fn remove(&self, region_id: RegionId) {
        let mut table = self.0.write();
        let before = table.known.remove(&region_id);
        table.led -= usize::from(before.is_some_and(|before| before.is_self));
    }

    /// Who leads a Region, and whether that is the replica here; none if there is no replica here.
    pub(crate) fn leader(&self, region_id: RegionId) -> Option<(Option<Peer>, bool)> {
        let table = self.0.read();
        let known = table.known.get(&region_id)?;
        Some((known.leader, known.is_self))
    }

    /// How many Regions are led here.
    pub(crate) fn led(&self) -> usize {
        self.0.read().led
    }

    /// Those that are led here, in the order of their ids.
    pub(crate) fn led_here(&self) -> Vec<RegionId> {
        let table = self.0.read();
        let led = table.known.iter().filter(|(_, known)| known.is_self);
        led.map(|(id, _)| *id).collect()
    }

    /// The Region led here with the least id above this one, or else the one with the least.
    pub(crate) fn led_here_after(&self, last: RegionId) -> Option<RegionId> {
        let known = self.0.read();
        let led = || known.known.iter().filter(|(_, known)| known.is_self);
        let mut above = led().filter(|(id, _)| **id > last);
        above.next().or_else(|| led().next()).map(|(id, _)| *id)
    }

    /// Refuses what has to be asked elsewhere.
    pub(crate) fn check_leads(&self, region_id: RegionId) -> Result<(), RequestError> {
        match self.0.read().known.get(&region_id) {
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
