//! Faults as events: one comes, another is scheduled, until all of them are over.
//!
//! **Invariants.** After [`World::heal`] no fault is left and none comes: every store lives or starts
//! at once, every link is healthy, every disk syncs. Clocks go on at their own speeds.

use crate::engines::Cut;
use crate::faults::{FaultKind, Options, PlantedBug};
use crate::network::Link;
use crate::world::{Closing, Event, World};

/// The shortest time between two faults, and of an outage.
const GAP_US_MIN: u64 = 1_000;

impl Options {
    /// The planted bug, where it is in this store.
    pub(crate) fn planted_bug_on(&self, store: usize) -> Option<PlantedBug> {
        self.planted_bug.filter(|bug| match bug {
            PlantedBug::ForgottenWrite
            | PlantedBug::WipedReplica
            | PlantedBug::MixedSnapshot
            | PlantedBug::DamagedData => store == 1,
            PlantedBug::SkippedSync
            | PlantedBug::VoteBeforeSync
            | PlantedBug::AnswerTwice
            | PlantedBug::LostAnswer
            | PlantedBug::StaleRead
            | PlantedBug::CachedClock
            | PlantedBug::LeaseFromAnswer
            | PlantedBug::DeafRegion
            | PlantedBug::UnsyncedCut
            | PlantedBug::UnsyncedShape
            | PlantedBug::NoTombstone
            | PlantedBug::NoFarewell => true,
        })
    }
}

impl World {
    /// A fault comes, and the next one is on its way.
    pub(crate) fn fault(&mut self) {
        if self.is_healed || self.plan.events.is_empty() {
            return;
        }
        let kind = self.fault_rng.pick(&self.plan.events);
        let store = self.fault_rng.below(self.stores.len() as u64) as usize;
        self.note(format_args!("fault {kind:?} at s{}", store + 1));
        self.inject(kind, store);
        let gap_us = self.fault_rng.between(GAP_US_MIN, self.plan.gap_us_max);
        self.after(gap_us, Event::Fault);
    }

    fn inject(&mut self, kind: FaultKind, store: usize) {
        let others = (0..self.stores.len()).filter(|other| *other != store);
        let links_in: Vec<Link> = others.clone().map(|other| (other, store)).collect();
        let links_out: Vec<Link> = others.map(|other| (store, other)).collect();
        match kind {
            FaultKind::SlowLink => {
                let link = self.fault_rng.pick(&links_out);
                let extra_us = self.outage_us() / 3;
                let disturbance = self.network.slow_down(vec![link], extra_us);
                self.heal_later("slow link", disturbance);
            }
            FaultKind::OneWayCut => {
                let link = self.fault_rng.pick(&links_out);
                let disturbance = self.network.cut(vec![link]);
                self.heal_later("one-way cut", disturbance);
            }
            FaultKind::Isolation => {
                let disturbance = self.network.cut([links_in, links_out].concat());
                self.heal_later("isolation", disturbance);
            }
            FaultKind::Deafness => {
                let disturbance = self.network.cut(links_in);
                self.heal_later("deafness", disturbance);
            }
            FaultKind::Pause => {
                let until_us = self.now_us + self.outage_us();
                self.stores[store].ticks_pile_up = self.fault_rng.chance(500_000);
                self.stores[store].paused_until_us = until_us;
                self.count("pause");
            }
            FaultKind::Kill => {
                if self.stores[store].life.is_some() {
                    self.count("kill");
                    self.kill(store);
                }
            }
            FaultKind::PowerCut => self.power_cut(store, "power cut"),
            FaultKind::CutInWrite => {
                let cut = Cut {
                    writes_left: self.fault_rng.below(30),
                    after_write: self.fault_rng.chance(500_000),
                };
                if let Some(life) = &self.stores[store].life {
                    life.control.arm(cut);
                }
            }
            FaultKind::SyncFailure => {
                if self.stores[store].life.is_some() {
                    self.stores[store].disk.fail_syncs(true);
                }
            }
            FaultKind::ClusterPowerCut => {
                for store in 0..self.stores.len() {
                    self.power_cut(store, "power cut of all");
                }
            }
            FaultKind::RollingPowerCut => {
                let gap_us = self.options.faults.outage_us_max / 2;
                for turn in 0..self.stores.len() {
                    let store = (store + turn) % self.stores.len();
                    self.after(turn as u64 * gap_us, Event::PowerCut { store });
                }
            }
            FaultKind::Loss
            | FaultKind::Duplicate
            | FaultKind::Reorder
            | FaultKind::AnswerLoss
            | FaultKind::Drift => unreachable!("it is there all the time"),
        }
    }

    pub(crate) fn rolling_power_cut(&mut self, store: usize) {
        if !self.is_healed {
            self.power_cut(store, "rolling power cut");
        }
    }

    fn power_cut(&mut self, store: usize, name: &'static str) {
        if self.stores[store].life.is_some() {
            self.count(name);
            self.lose_power(store);
        }
    }

    fn heal_later(&mut self, name: &'static str, disturbance: u64) {
        self.count(name);
        let outage_us = self.outage_us();
        self.after(outage_us, Event::Heal { disturbance });
    }

    fn outage_us(&mut self) -> u64 {
        let max = self.options.faults.outage_us_max.max(GAP_US_MIN);
        self.fault_rng.between(GAP_US_MIN, max)
    }

    /// The faults are over. One client for each group is left, to see whether it is served.
    pub(crate) fn heal(&mut self) {
        self.note(format_args!("the faults are over"));
        self.is_healed = true;
        self.network.heal_all();
        for store in 0..self.stores.len() {
            let now_us = self.now_us;
            let stores = &mut self.stores[store];
            stores.paused_until_us = now_us;
            stores.disk.fail_syncs(false);
            let life = stores.life_number;
            match &stores.life {
                None => self.after(0, Event::Start { store }),
                Some(current) => {
                    current.control.disarm();
                    self.after(0, Event::Round { store, life });
                }
            }
        }
        self.closing = vec![Closing::Write; self.clients.keys().groups()];
        for _ in 0..self.closing.len() {
            let client = self.clients.join();
            self.after(0, Event::Turn { client });
        }
    }
}
