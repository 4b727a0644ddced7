//! The network between stores: which messages arrive, when, and how often.
//!
//! **Invariants.** Without reordering a link keeps its order. A cut stops what is sent while it
//! lasts; what is already under way arrives.
//!
//! **Not here.** The messages: a link only answers with times of arrival.

use crate::faults::Plan;
use crate::rng::Rng;
use std::collections::BTreeMap;

/// The fastest way between two stores.
const DELAY_US_MIN: u64 = 50;

/// A direction of a link, by the positions of its stores.
pub(crate) type Link = (usize, usize);

/// What happened to messages, for the report.
#[derive(Debug, Default)]
pub(crate) struct NetworkCounts {
    pub(crate) sent: u64,
    pub(crate) lost: u64,
    pub(crate) doubled: u64,
    pub(crate) reordered: u64,
    pub(crate) cut: u64,
}

#[derive(Debug)]
struct Disturbance {
    links: Vec<Link>,
    /// Zero: nothing passes.
    extra_us: u64,
}

/// The links and what is wrong with them.
#[derive(Debug)]
pub(crate) struct Network {
    rng: Rng,
    loss_ppm: u64,
    duplicate_ppm: u64,
    reorder_ppm: u64,
    delay_us_max: u64,
    disturbances: BTreeMap<u64, Disturbance>,
    last_disturbance: u64,
    last_arrival: BTreeMap<Link, u64>,
    pub(crate) counts: NetworkCounts,
}

impl Network {
    pub(crate) fn new(plan: &Plan, rng: Rng) -> Self {
        Self {
            rng,
            loss_ppm: plan.loss_ppm,
            duplicate_ppm: plan.duplicate_ppm,
            reorder_ppm: plan.reorder_ppm,
            delay_us_max: plan.delay_us_max,
            disturbances: BTreeMap::new(),
            last_disturbance: 0,
            last_arrival: BTreeMap::new(),
            counts: NetworkCounts::default(),
        }
    }

    /// Nothing passes on these links until [`Self::heal`] is called with the number returned.
    pub(crate) fn cut(&mut self, links: Vec<Link>) -> u64 {
        self.disturb(links, 0)
    }

    /// These links become slower by so much, until healed.
    pub(crate) fn slow_down(&mut self, links: Vec<Link>, extra_us: u64) -> u64 {
        self.disturb(links, extra_us.max(1))
    }

    fn disturb(&mut self, links: Vec<Link>, extra_us: u64) -> u64 {
        self.last_disturbance += 1;
        let disturbance = Disturbance { links, extra_us };
        self.disturbances.insert(self.last_disturbance, disturbance);
        self.last_disturbance
    }

    pub(crate) fn heal(&mut self, disturbance: u64) {
        self.disturbances.remove(&disturbance);
    }

    /// From now on every link is healthy.
    pub(crate) fn heal_all(&mut self) {
        self.disturbances.clear();
        (self.loss_ppm, self.duplicate_ppm, self.reorder_ppm) = (0, 0, 0);
        self.last_arrival.clear();
    }

    /// When a message that is sent now arrives: never, once, or twice.
    pub(crate) fn arrivals(&mut self, now_us: u64, link: Link) -> Vec<u64> {
        self.counts.sent += 1;
        let mut extra_us = 0;
        for disturbance in self.disturbances.values() {
            if disturbance.links.contains(&link) {
                if disturbance.extra_us == 0 {
                    self.counts.cut += 1;
                    return Vec::new();
                }
                extra_us += disturbance.extra_us;
            }
        }
        if self.rng.chance(self.loss_ppm) {
            self.counts.lost += 1;
            return Vec::new();
        }
        let copies = 1 + usize::from(self.rng.chance(self.duplicate_ppm));
        self.counts.doubled += copies as u64 - 1;
        (0..copies)
            .map(|_| self.arrival(now_us + extra_us, link))
            .collect()
    }

    fn arrival(&mut self, from_us: u64, link: Link) -> u64 {
        let at = from_us + self.rng.between(DELAY_US_MIN, self.delay_us_max);
        if self.rng.chance(self.reorder_ppm) {
            self.counts.reordered += 1;
            return at + self.rng.below(self.delay_us_max * 8);
        }
        let last = self.last_arrival.entry(link).or_default();
        *last = at.max(*last);
        *last
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::faults::FaultOptions;

    fn healthy() -> Network {
        let options = FaultOptions {
            kinds: Vec::new(),
            ..FaultOptions::default()
        };
        Network::new(&Plan::draw(&options, &mut Rng::new(3)), Rng::new(4))
    }

    #[test]
    fn a_healthy_link_delivers_everything_once_and_in_order() {
        let mut network = healthy();
        let mut last = 0;
        for now in 0..1000 {
            let arrivals = network.arrivals(now, (0, 1));
            assert_eq!(arrivals.len(), 1);
            assert!(arrivals[0] >= last && arrivals[0] > now);
            last = arrivals[0];
        }
    }

    #[test]
    fn a_cut_goes_one_way_until_it_heals() {
        let mut network = healthy();
        let cut = network.cut(vec![(0, 1)]);
        let slow = network.slow_down(vec![(1, 0)], 1_000_000);
        assert!(network.arrivals(5, (0, 1)).is_empty());
        assert!(network.arrivals(5, (1, 0))[0] > 1_000_000);
        network.heal(cut);
        network.heal(slow);
        assert_eq!(network.arrivals(5, (0, 1)).len(), 1);
        network.cut(vec![(0, 1)]);
        network.heal_all();
        assert_eq!(network.arrivals(5, (0, 1)).len(), 1);
    }

    #[test]
    fn an_unreliable_link_loses_doubles_and_reorders() {
        let mut network = healthy();
        network.loss_ppm = 200_000;
        network.duplicate_ppm = 200_000;
        network.reorder_ppm = 200_000;
        let mut arrivals = Vec::new();
        for now in 0..1000 {
            arrivals.extend(network.arrivals(now, (0, 1)));
        }
        let counts = &network.counts;
        assert!(counts.lost > 0 && counts.doubled > 0 && counts.reordered > 0);
        assert_eq!(arrivals.len() as u64, 1000 - counts.lost + counts.doubled);
        assert!(!arrivals.is_sorted());
    }
}
