//! Reports of Regions and stores to the placement leader, and what it tells them to do.
//!
//! **Invariants.** A report and its answer travel as messages do: they may be lost, and then the next
//! report says it again. Once the faults are over nothing is reported any more, so that Regions come to rest.
//!
//! What it says counts only in seeds in which it rules ([`ActionKind::Obey`](crate::ActionKind::Obey)).
//!
//! **Not here.** Splits that placement asks for: it names no keys, and stores here have too few to halve.

use crate::hosts::Asker;
use crate::operator::context;
use crate::world::{Event, World};
use node::PeerMessage;
use placement::{
    Instruction, PeerChange, PeerChangeKind, RegionHeartbeat, RegionInstruction, Request, Store,
    StoreStats,
};
use raftstore::peer::Input;
use raftstore::{Admin, Command};
use types::{Region, RegionId, StoreId};

/// What a simulated disk is said to hold.
const CAPACITY_BYTES: u64 = 1 << 40;

impl World {
    /// A leader's report leaves its store.
    pub(crate) fn report_region(&mut self, store: usize, heartbeat: RegionHeartbeat) {
        let life = self.stores[store].life_number;
        let request = Request::RegionHeartbeat(Box::new(heartbeat));
        self.report_to_leader(store, Asker::Reporter { store, life }, request);
    }

    /// A store's report leaves it; until it is registered it registers instead.
    pub(crate) fn report_store(&mut self, store: usize, stats: StoreStats) {
        let life = self.stores[store].life_number;
        let Some(current) = &self.stores[store].life else {
            return;
        };
        if current.host.is_registered {
            let stats = StoreStats {
                capacity_bytes: CAPACITY_BYTES,
                available_bytes: CAPACITY_BYTES / 2,
                ..stats
            };
            let heartbeat = Request::StoreHeartbeat(stats);
            return self.report_to_leader(store, Asker::Nobody, heartbeat);
        }
        let registration = Store {
            id: StoreId(store as u64 + 1),
            address: format!("sim:{}", store + 1),
            start_time_s: life,
            ..Store::default()
        };
        let asker = Asker::Newcomer { store, life };
        self.report_to_leader(store, asker, Request::PutStore(registration));
    }

    /// A report, or anything else that a store tells placement, is on its way to whoever leads it.
    pub(crate) fn report_to_leader(&mut self, store: usize, asker: Asker, request: Request) {
        let Some(leader) = self.operator.leader(RegionId::PLACEMENT) else {
            return;
        };
        if self.is_healed {
            return;
        }
        if let Some(at_us) = self.arrival(store, leader) {
            let asked = Event::HostAsked {
                store: leader,
                asker,
                request: Box::new(request),
            };
            self.at(at_us, asked);
        }
    }

    /// A driver says by itself what a Region's leader is to do.
    pub(crate) fn instruct_from(&mut self, host: usize, told: RegionInstruction) {
        let store = told.leader.store_id.get() as usize - 1;
        let life = self.stores[store].life_number;
        self.instruct(host, (store, life), told);
    }

    /// What is to be done is on its way to a store, in one of its lives.
    pub(crate) fn instruct(
        &mut self,
        host: usize,
        (store, life): (usize, u64),
        told: RegionInstruction,
    ) {
        if let Some(at_us) = self.arrival(host, store) {
            let told = Box::new(told);
            self.at(at_us, Event::Instructed { store, life, told });
        }
    }

    fn arrival(&mut self, from: usize, to: usize) -> Option<u64> {
        match from == to {
            true => Some(self.now_us + self.rng.below(200)),
            false => self
                .network
                .arrivals(self.now_us, (from, to))
                .first()
                .copied(),
        }
    }

    /// A store does what placement says, as `NodeHandle::instruct` does.
    pub(crate) fn instructed(&mut self, store: usize, life: u64, told: RegionInstruction) {
        if self.is_healed || !self.placement_rules || self.stores[store].life_number != life {
            return;
        }
        self.note(format_args!("s{} is told: {told:?}", store + 1));
        let region = Region {
            id: told.region_id,
            epoch: told.epoch,
            ..Region::default()
        };
        match told.instruction {
            Instruction::ChangePeers(changes) if changes.is_empty() => {}
            Instruction::ChangePeers(changes) => {
                let changes = changes.into_iter().map(change).collect();
                self.ask_to_change(store, &region, "placement's change", changes);
            }
            Instruction::TransferLeader { to } => {
                if let Some(current) = &self.stores[store].life {
                    let input = PeerMessage(Input::TransferLeader { to: to.id });
                    let _ = current.router.force_send(told.region_id.get(), input);
                    self.operator.count("placement's handover");
                    self.wake(store);
                }
            }
            Instruction::Merge { target } => self.merge_as_told(store, &region, &target),
            Instruction::Split { .. } => {}
        }
    }

    fn merge_as_told(&mut self, store: usize, source: &Region, target: &Region) {
        let here = match &self.stores[store].life {
            Some(current) => current.regions().unwrap_or_default(),
            None => return,
        };
        let here = here.into_iter().find(|region| region.id == target.id);
        let Some(here) = here.filter(|here| here.epoch == target.epoch) else {
            return;
        };
        let request = self.operator.request();
        self.operator.asked.insert(request, "merge begun");
        let input = Input::Propose {
            request,
            context: context(source),
            command: Command::Admin(Admin::PrepareMerge(Box::new(here))),
        };
        self.hand_in_unbounded(store, source.id, request, input);
    }
}

fn change(change: PeerChange) -> raftstore::PeerChange {
    raftstore::PeerChange {
        kind: match change.kind {
            PeerChangeKind::AddVoter => raftstore::PeerChangeKind::AddVoter,
            PeerChangeKind::AddLearner => raftstore::PeerChangeKind::AddLearner,
            PeerChangeKind::Remove => raftstore::PeerChangeKind::Remove,
        },
        peer_id: change.peer.id,
        store_id: change.peer.store_id,
    }
}
