//! Which replicas here tick, and whether the stores live on which those that don't rely.
//!
//! A store asks each store on which one of its sleeping replicas relies, every few ticks, whether it
//! lives. Whatever comes from there is an answer. That costs messages by the pairs of stores, however
//! many Regions sleep.
//!
//! **Invariants.** Every replica is awake or asleep. A tick costs as much as there are replicas awake and
//! stores relied on, and a small, bounded share of the sleeping replicas for their checks.
//!
//! **Not here.** What a replica does when it is woken or checked (`peer`).

use super::Effect;
use crate::message::RaftMessage;
use crate::op::hibernate::{Extra, Reliance, Sleep};
use crate::peer::PeerOptions;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use types::{Epoch, Peer, RegionId, StoreId};

/// The most sleeping leaders that report in one tick, and the most followers that look for their leader:
/// where more sleep than that allows, each one's turn comes later.
const TURNS_PER_TICK_MAX: u64 = 200;

/// The times of a store, in ticks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreOptions {
    /// Between its reports to the placement driver; zero: at every one.
    pub report_ticks: u64,
    /// Between two questions to another store whether it lives.
    pub ping_ticks: u64,
    /// Without a sign of life, after which the leaders there count as lost.
    pub silent_ticks: u64,
    /// Without a sign of life, after which the replicas there count as down.
    pub down_ticks: u64,
    /// Between two reports of a sleeping leader to the placement driver.
    pub asleep_report_ticks: u64,
    /// Between two looks of a sleeping follower for its leader.
    pub asleep_check_ticks: u64,
}

impl StoreOptions {
    /// That fit what its Peers do while they are awake.
    pub fn new(report_ticks: u64, peer: &PeerOptions) -> Self {
        Self {
            report_ticks,
            ping_ticks: peer.heartbeat_ticks as u64,
            silent_ticks: peer.election_ticks_min as u64,
            down_ticks: peer.down_ticks,
            asleep_report_ticks: peer.report_ticks,
            asleep_check_ticks: peer.asleep_check_ticks,
        }
    }
}

/// The replicas of a store, and the stores they rely on while they sleep.
#[derive(Debug)]
pub(super) struct Liveness {
    me: StoreId,
    options: StoreOptions,
    awake: BTreeSet<RegionId>,
    asleep: BTreeMap<RegionId, Reliance>,
    watched: BTreeMap<StoreId, Watched>,
    /// Of sleeping leaders.
    reports: Turns,
    /// Of sleeping followers.
    checks: Turns,
}

/// Sleeping replicas, one after the other.
#[derive(Debug, Default)]
struct Turns {
    of: BTreeSet<RegionId>,
    /// Whose turn was last.
    last: RegionId,
    /// In replicas times ticks.
    credit: u64,
}

/// A store on which sleeping replicas rely.
#[derive(Debug, Default)]
struct Watched {
    silent_ticks: u64,
    ping_due_ticks: u64,
    /// Whose leader is there.
    led: BTreeSet<RegionId>,
    /// Led here, with a follower there.
    followed: BTreeSet<RegionId>,
    /// Of those, the ones whose follower there is missing.
    missed: BTreeSet<RegionId>,
}

impl Watched {
    fn is_of_no_use(&self) -> bool {
        self.led.is_empty() && self.followed.is_empty() && self.missed.is_empty()
    }
}

impl Liveness {
    pub(super) fn new(me: StoreId, options: StoreOptions) -> Self {
        Self {
            me,
            options,
            awake: BTreeSet::new(),
            asleep: BTreeMap::new(),
            watched: BTreeMap::new(),
            reports: Turns::default(),
            checks: Turns::default(),
        }
    }

    pub(super) fn set_options(&mut self, options: StoreOptions) {
        self.options = options;
    }

    pub(super) fn awake(&self) -> impl Iterator<Item = RegionId> {
        self.awake.iter().copied()
    }

    pub(super) fn asleep_count(&self) -> u64 {
        self.asleep.len() as u64
    }

    /// There is a new replica, or one that has woken.
    pub(super) fn woke(&mut self, region_id: RegionId) {
        self.forget(region_id);
        self.awake.insert(region_id);
    }

    /// A replica sleeps.
    pub(super) fn slept(&mut self, sleep: Sleep) {
        let region_id = sleep.region_id;
        self.forget(region_id);
        match &sleep.reliance {
            Reliance::Leader(store) => {
                let watched = self.watched.entry(*store).or_default();
                // It was the leader who asked for it.
                watched.silent_ticks = 0;
                watched.led.insert(region_id);
                self.checks.of.insert(region_id);
            }
            Reliance::Followers { all, missing } => {
                for store in all {
                    let watched = self.watched.entry(*store).or_default();
                    watched.followed.insert(region_id);
                    if missing.contains(store) {
                        watched.missed.insert(region_id);
                    }
                }
                self.reports.of.insert(region_id);
            }
        }
        self.asleep.insert(region_id, sleep.reliance);
    }

    /// There is no such replica any more.
    pub(super) fn forget(&mut self, region_id: RegionId) {
        self.awake.remove(&region_id);
        self.reports.of.remove(&region_id);
        self.checks.of.remove(&region_id);
        let stores = match self.asleep.remove(&region_id) {
            None => return,
            Some(Reliance::Leader(store)) => vec![store],
            Some(Reliance::Followers { all, .. }) => all,
        };
        for store in stores {
            let Some(watched) = self.watched.get_mut(&store) else {
                continue;
            };
            watched.led.remove(&region_id);
            watched.followed.remove(&region_id);
            watched.missed.remove(&region_id);
            if watched.is_of_no_use() {
                self.watched.remove(&store);
            }
        }
    }

    pub(super) fn tick(&mut self, out: &mut Vec<Effect>) {
        out.push(Effect::TickAwake);
        let mut pings = Vec::new();
        let mut down = Vec::new();
        for (store, watched) in &mut self.watched {
            watched.silent_ticks += 1;
            if watched.ping_due_ticks == 0 {
                watched.ping_due_ticks = self.options.ping_ticks;
                pings.push(*store);
            }
            watched.ping_due_ticks = watched.ping_due_ticks.saturating_sub(1);
            if watched.silent_ticks >= self.options.silent_ticks && !watched.led.is_empty() {
                out.push(Effect::LeadersLost {
                    store: *store,
                    regions: std::mem::take(&mut watched.led).into_iter().collect(),
                });
            }
            if watched.silent_ticks == self.options.down_ticks {
                down.extend(watched.followed.iter().copied());
            }
        }
        for store in pings {
            out.push(self.say(store, Extra::StorePing));
        }
        down.extend(self.reports.take_due(self.options.asleep_report_ticks));
        down.extend(self.checks.take_due(self.options.asleep_check_ticks));
        self.check(down, out);
    }

    /// Another store has said something.
    pub(super) fn heard(&mut self, store: StoreId, extra: Extra, out: &mut Vec<Effect>) {
        if extra == Extra::StorePing {
            out.push(self.say(store, Extra::StorePong));
        }
        let Some(watched) = self.watched.get_mut(&store) else {
            return;
        };
        let was_down = watched.silent_ticks >= self.options.down_ticks;
        watched.silent_ticks = 0;
        let back: Vec<_> = std::mem::take(&mut watched.missed).into_iter().collect();
        let followed = watched.followed.iter().copied().filter(|_| was_down);
        let followed = followed.collect();
        if !back.is_empty() {
            out.push(Effect::Wake(back));
        }
        self.check(followed, out);
    }

    fn check(&self, regions: Vec<RegionId>, out: &mut Vec<Effect>) {
        if regions.is_empty() {
            return;
        }
        let is_down = |watched: &Watched| watched.silent_ticks >= self.options.down_ticks;
        let down = self.watched.iter().filter(|(_, watched)| is_down(watched));
        let down = down.map(|(store, _)| *store).collect();
        out.push(Effect::Check { regions, down });
    }

    fn say(&self, to: StoreId, extra: Extra) -> Effect {
        let of = |store_id| Peer {
            store_id,
            ..Peer::default()
        };
        let nowhere = (RegionId::default(), Epoch::default());
        let message = RaftMessage::extra(nowhere, of(self.me), of(to), extra);
        Effect::Send(Box::new(message))
    }
}

impl Turns {
    /// Whose turn it is in this tick, if each has one in `every` of them.
    fn take_due(&mut self, every: u64) -> Vec<RegionId> {
        let every = every.max(1);
        let most = TURNS_PER_TICK_MAX.saturating_mul(every);
        self.credit = (self.credit + self.of.len() as u64).min(most);
        let count = (self.credit / every) as usize;
        self.credit %= every;
        let after = (Bound::Excluded(self.last), Bound::Unbounded);
        let around = self.of.range(..=self.last);
        let due = self.of.range(after).chain(around).copied();
        let due: Vec<_> = due.take(count).collect();
        self.last = due.last().copied().unwrap_or(self.last);
        due
    }
}
