//! The applier's part in a consistency check: the view that is hashed, and quarantine.
//!
//! **Crash.** The record of a quarantine is in the batch of the entry that brings it, and so are those of
//! what a split cuts off from a quarantined replica, and of what takes one in by a merge.
//!
//! **Invariants.** A view that is pinned shows the effect of all entries before its own, and of none after.
//! From the entry that quarantines the replica on, no answer says what was found here.
//!
//! **Not here.** Who is quarantined, and why (`op::consistency`).

use super::{Answer, Applied, Applier, ApplyStore, Change, RegionChange};
use crate::command::Outcome;
use crate::effect::Reply;
use crate::error::RequestError;
use crate::op::consistency::{HashWish, Quarantine, Verdict};
use engine::Cf;
use types::{Region, RegionId, keys};

impl Applier {
    /// The replica is quarantined, as it was before this life, or as what it was cut off from.
    pub fn set_quarantine(&mut self, quarantine: Quarantine) {
        self.quarantine = Some(Box::new(quarantine));
    }

    pub(super) fn compute_hash(
        &mut self,
        index: u64,
        store: &mut impl ApplyStore,
        out: &mut Applied,
    ) -> Reply {
        self.finish_round(store);
        store.pin(HashWish {
            region: Region::clone(&self.region),
            index,
        });
        self.tell(index, Change::Hashing, out)
    }

    pub(super) fn verify_hash(
        &mut self,
        index: u64,
        verdict: &Verdict,
        store: &mut impl ApplyStore,
        out: &mut Applied,
    ) -> Reply {
        let me = self.region.peer_on(self.store_id).map(|peer| peer.id);
        let mut named = verdict.quarantines();
        if let Some(quarantine) = named.find(|quarantine| Some(quarantine.peer_id) == me)
            && self.quarantine.is_none()
        {
            put_quarantine(self.region.id, &quarantine, store);
            self.set_quarantine(quarantine);
        }
        self.tell(index, Change::Verified(verdict.clone()), out)
    }

    fn tell(&self, index: u64, change: Change, out: &mut Applied) -> Reply {
        out.changes.push(RegionChange {
            region_id: self.region.id,
            index,
            change,
        });
        Reply::Command(Outcome::Written)
    }

    /// What is cut off from a quarantined replica may hold what is wrong with it.
    pub(super) fn quarantine_parts(&self, parts: &[Region], store: &mut impl ApplyStore) {
        let Some(quarantine) = self.quarantine.as_deref() else {
            return;
        };
        for part in parts.iter().filter(|part| part.id != self.region.id) {
            if let Some(me) = part.peer_on(self.store_id) {
                let peer_id = me.id;
                let quarantine = Quarantine {
                    peer_id,
                    ..*quarantine
                };
                put_quarantine(part.id, &quarantine, store);
            }
        }
    }

    /// A source was taken in; if it was quarantined, what is wrong with it is wrong here now. Returns the
    /// quarantine that this brings, if there was none.
    pub(super) fn inherit_quarantine(
        &mut self,
        of_source: Option<Quarantine>,
        store: &mut impl ApplyStore,
    ) -> Option<Box<Quarantine>> {
        let me = self.region.peer_on(self.store_id)?;
        let quarantine = Quarantine {
            peer_id: me.id,
            ..of_source.filter(|_| self.quarantine.is_none())?
        };
        put_quarantine(self.region.id, &quarantine, store);
        self.set_quarantine(quarantine);
        self.quarantine.clone()
    }

    /// The commands are committed and others apply them; what this replica found does not count.
    pub(super) fn distrust(&self, answers: &mut [Answer]) {
        if self.quarantine.is_none() {
            return;
        }
        for (_, answer) in answers {
            *answer = Err(RequestError::Undetermined);
        }
    }
}

fn put_quarantine(region: RegionId, quarantine: &Quarantine, store: &mut impl ApplyStore) {
    let key = keys::quarantine_key(region);
    store.put(Cf::Raft, &key, &quarantine.encode());
}
