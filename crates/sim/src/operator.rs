//! The operator: cuts Regions and hands leaderships over, while clients and faults are at work.
//!
//! It plays the placement driver: it knows all Regions as some store has them, gives out ids that were
//! never used, and asks whoever seems to lead. What it asks for may fail.
//!
//! **Not here.** What a change does (`raftstore`).

use crate::world::{Event, World};
use raftstore::peer::Input;
use raftstore::{Admin, Command, Cut, RequestContext};
use std::collections::BTreeMap;
use types::{PeerId, Region, RegionId, RequestId};

/// The longest time between two changes.
const GAP_US_MAX: u64 = 300_000;
/// The requests of clients have lower ids.
const FIRST_REQUEST: u64 = 1 << 40;
/// The ids of the cluster's beginning are lower.
const FIRST_ID: u64 = 1_000;

/// What the operator has asked for and given out.
#[derive(Debug, Default)]
pub(crate) struct Operator {
    /// What came of it, by name.
    pub(crate) changes: BTreeMap<&'static str, u64>,
    requests: u64,
    ids: u64,
}

impl Operator {
    /// Whether an answer is for the operator.
    pub(crate) fn hears(&self, request: RequestId) -> bool {
        request.get() >= FIRST_REQUEST
    }

    pub(crate) fn count(&mut self, change: &'static str) {
        *self.changes.entry(change).or_default() += 1;
    }

    fn request(&mut self) -> RequestId {
        self.requests += 1;
        RequestId(FIRST_REQUEST + self.requests)
    }

    fn id(&mut self) -> u64 {
        self.ids += 1;
        FIRST_ID + self.ids
    }
}

impl World {
    /// One change, and the next one is on its way.
    pub(crate) fn operate(&mut self) {
        if self.is_healed {
            return;
        }
        match self.rng.chance(600_000) {
            true => self.cut_a_region(),
            false => self.hand_a_leadership_over(),
        }
        let gap_us = self.rng.between(1_000, GAP_US_MAX);
        self.after(gap_us, Event::Operate);
    }

    fn cut_a_region(&mut self) {
        let group = self.rng.below(self.clients.keys().groups() as u64) as usize;
        let Some(key) = self.clients.keys().cut(group).cloned() else {
            return;
        };
        self.ask_the_way();
        let region = self.clients.route(group).clone();
        if region.range.start == key {
            return;
        }
        let cut = Cut {
            key,
            region_id: RegionId(self.operator.id()),
            peer_ids: region
                .peers
                .iter()
                .map(|_| PeerId(self.operator.id()))
                .collect(),
        };
        let request = self.operator.request();
        let input = Input::Propose {
            request,
            context: context(&region),
            command: Command::Admin(Admin::Split(vec![cut])),
        };
        let store = self.clients.leader(group);
        self.note(format_args!("operator cuts r{}: {input:?}", region.id));
        self.hand_in(store, region.id, request, input);
    }

    fn hand_a_leadership_over(&mut self) {
        let group = self.rng.below(self.clients.keys().groups() as u64) as usize;
        let region = self.clients.route(group).clone();
        let to = region.peers[self.rng.below(region.peers.len() as u64) as usize];
        let store = self.clients.leader(group);
        let Some(life) = &self.stores[store].life else {
            return;
        };
        let input = node::PeerMessage(Input::TransferLeader { to: to.id });
        let _ = life.router.send(region.id.get(), input);
        self.note(format_args!("operator hands r{} over to {to:?}", region.id));
        self.operator.count("handover");
        self.wake(store);
    }

    /// Whoever looks for a Region learns of all that any store has.
    pub(crate) fn ask_the_way(&mut self) {
        for store in 0..self.stores.len() {
            let regions = match &self.stores[store].life {
                Some(life) => life.regions(),
                None => continue,
            };
            match regions {
                Ok(regions) => self.clients.learn(&regions),
                Err(what) => self.violate(format_args!("store {}: {what}", store + 1)),
            }
        }
    }
}

fn context(region: &Region) -> RequestContext {
    RequestContext {
        region_id: region.id,
        epoch: region.epoch,
        ..RequestContext::default()
    }
}
