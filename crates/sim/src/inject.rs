//! Faults as events: one comes, another is scheduled, until all of them are over.
//!
//! **Invariants.** After [`World::heal`] no fault is left and none comes: every store lives or starts
//! at once, every link is healthy, every disk syncs. Clocks go on at their own speeds.

use crate::engines::Cut;
use crate::faults::FaultKind;
use crate::network::Link;
use crate::rng::Rng;
use crate::world::{Closing, Event, World};
use types::RegionId;

/// The shortest time between two faults, and of an outage.
const GAP_US_MIN: u64 = 1_000;
/// How far a wall clock is off at most, in either direction, after it has jumped.
const CLOCK_JUMP_MS_MAX: u64 = 3_600_000;
/// So many times as long as other faults: until a replica whose snapshot waits is given up for another one.
const INSTALLS_LAST: u64 = 6;

impl World {
    /// A fault comes, and the next one is on its way. Each draws from a generator of its own, so that
    /// one can be left out and the others stay.
    pub(crate) fn fault(&mut self) {
        if self.is_healed || !self.plan.has_events() {
            return;
        }
        let mut rng = self.event_rng.fork();
        let kind = self.plan.pick(&mut rng);
        let store = rng.below(self.stores.len() as u64) as usize;
        let gap_us = rng.between(GAP_US_MIN, self.plan.gap_us_max);
        self.after(gap_us, Event::Fault);
        let number = self.fault_events;
        self.fault_events += 1;
        let only = &self.options.faults.only_events;
        let is_left_out = only.as_ref().is_some_and(|only| !only.contains(&number));
        if let Some(kind) = kind.filter(|_| !is_left_out) {
            self.note(format_args!("fault {number}: {kind:?} at s{}", store + 1));
            self.inject(kind, store, &mut rng);
        }
    }

    fn inject(&mut self, kind: FaultKind, store: usize, rng: &mut Rng) {
        match kind {
            FaultKind::SlowLink
            | FaultKind::OneWayCut
            | FaultKind::Isolation
            | FaultKind::Deafness => self.disturb_links(kind, store, rng),
            FaultKind::Pause
            | FaultKind::SlowStore
            | FaultKind::SlowInstalls
            | FaultKind::ClockJump
            | FaultKind::DiskFull
            | FaultKind::CutInWrite
            | FaultKind::SyncFailure => self.disturb_store(kind, store, rng),
            FaultKind::PlacementOutage => self.take_placement_leader_away(rng),
            FaultKind::Kill => {
                if self.stores[store].life.is_some() {
                    self.count("kill");
                    self.kill(store);
                }
            }
            FaultKind::PowerCut => self.power_cut(store, "power cut"),
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

    fn disturb_links(&mut self, kind: FaultKind, store: usize, rng: &mut Rng) {
        let others = (0..self.stores.len()).filter(|other| *other != store);
        let links_in: Vec<Link> = others.clone().map(|other| (other, store)).collect();
        let links_out: Vec<Link> = others.map(|other| (store, other)).collect();
        match kind {
            FaultKind::SlowLink => {
                let link = rng.pick(&links_out);
                let extra_us = self.length_us(rng) / 3;
                let disturbance = self.network.slow_down(vec![link], extra_us);
                self.heal_later("slow link", disturbance, rng);
            }
            FaultKind::OneWayCut => {
                let link = rng.pick(&links_out);
                let disturbance = self.network.cut(vec![link]);
                self.heal_later("one-way cut", disturbance, rng);
            }
            FaultKind::Isolation => {
                let disturbance = self.network.cut([links_in, links_out].concat());
                self.heal_later("isolation", disturbance, rng);
            }
            FaultKind::Deafness => {
                let disturbance = self.network.cut(links_in);
                self.heal_later("deafness", disturbance, rng);
            }
            _ => unreachable!("{kind:?} is none of links"),
        }
    }

    fn disturb_store(&mut self, kind: FaultKind, store: usize, rng: &mut Rng) {
        match kind {
            FaultKind::Pause => {
                let until_us = self.now_us + self.length_us(rng);
                self.stores[store].ticks_pile_up = rng.chance(500_000);
                self.stores[store].paused_until_us = until_us;
                self.count("pause");
            }
            FaultKind::SlowStore => {
                self.stores[store].slow_until_us = self.now_us + self.length_us(rng);
                self.count("slow store");
            }
            FaultKind::SlowInstalls => {
                let length_us = INSTALLS_LAST * self.length_us(rng);
                self.stores[store].installs_wait_until_us = self.now_us + length_us;
                self.count("slow installs");
            }
            FaultKind::ClockJump => {
                let ahead_ms = rng.below(2 * CLOCK_JUMP_MS_MAX) as i64;
                self.stores[store].wall_offset_ms = ahead_ms - CLOCK_JUMP_MS_MAX as i64;
                self.count("clock jump");
            }
            FaultKind::DiskFull => {
                if let Some(life) = &self.stores[store].life {
                    life.control.fill_disk(rng.between(1, 5));
                }
            }
            FaultKind::CutInWrite => {
                let cut = Cut {
                    writes_left: rng.below(30),
                    after_write: rng.chance(500_000),
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
            _ => unreachable!("{kind:?} is none of a store that goes on"),
        }
    }

    fn take_placement_leader_away(&mut self, rng: &mut Rng) {
        let Some(leader) = self.operator.leader(RegionId::PLACEMENT) else {
            return;
        };
        self.count("placement outage");
        match rng.chance(500_000) {
            true => self.inject(FaultKind::Isolation, leader, rng),
            false => self.inject(FaultKind::Kill, leader, rng),
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

    fn heal_later(&mut self, name: &'static str, disturbance: u64, rng: &mut Rng) {
        self.count(name);
        let outage_us = self.length_us(rng);
        self.after(outage_us, Event::Heal { disturbance });
    }

    fn length_us(&self, rng: &mut Rng) -> u64 {
        let max = self.options.faults.outage_us_max.max(GAP_US_MIN);
        rng.between(GAP_US_MIN, max)
    }

    /// The faults are over. One client for each group is left, to see whether it is served.
    pub(crate) fn heal(&mut self) {
        self.note(format_args!("the faults are over"));
        self.is_healed = true;
        self.network.heal_all();
        self.operator.left_out = None;
        for store in 0..self.stores.len() {
            let now_us = self.now_us;
            let stores = &mut self.stores[store];
            stores.paused_until_us = now_us;
            stores.slow_until_us = now_us;
            stores.installs_wait_until_us = now_us;
            stores.disk.fail_syncs(false);
            stores.disk.set_full(false);
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
        for group in 0..self.closing.len() {
            let client = self.clients.join();
            if group != Self::PLACEMENT_GROUP {
                self.after(0, Event::Turn { client });
            }
        }
        let asker = self.options.askers;
        self.after(0, Event::AskerTurn { asker });
    }
}
