//! The operators that are at work, how many there may be, and those that have ended lately.
//!
//! **Invariants.**
//! - A Region has one operator at most.
//! - Of each kind there are not more than its limit, and no store is given or loses more replicas in a
//!   minute than its own.
//! - `influence` is the sum over the operators; `by_kind` counts them.
//! - When one half of a merge fails, so does the other.
//!
//! **Not persisted.** A new leader knows none: what is left to do is seen from the Regions.
//!
//! **Not here.** Which operators are wanted: `check`, `schedule`, `control`.

use crate::Error;
use crate::error::Result;
use crate::health::Health;
use crate::instruct::RegionInstruction;
use crate::limits::{Change, StoreLimits};
use crate::message::Now;
use crate::observed::{Observed, RegionSeen};
use crate::operator::{Influence, Operator, OperatorKind, OperatorStatus, OperatorStep};
use crate::settings::Settings;
use crate::stats::{self, PlacementStats};
use std::collections::{BTreeMap, VecDeque};
use types::{RegionId, StoreId};

const HISTORY_MAX: usize = 1_024;
const STORE_LOST: OperatorStatus = OperatorStatus::Cancelled("a store of it is lost");

/// An operator, and how it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OperatorRecord {
    /// The operator.
    pub operator: Operator,
    /// How it stands.
    pub status: OperatorStatus,
    /// When it ended.
    pub ended: Option<Now>,
}

#[derive(Debug)]
struct Running {
    operator: Operator,
    influence: Vec<(StoreId, Influence)>,
}

/// All operators of a leader.
#[derive(Debug, Default)]
pub(crate) struct Operators {
    running: BTreeMap<RegionId, Running>,
    by_kind: BTreeMap<OperatorKind, u64>,
    influence: BTreeMap<StoreId, Influence>,
    limits: StoreLimits,
    history: VecDeque<OperatorRecord>,
    /// How many have ended, by kind and result.
    ended: BTreeMap<(&'static str, &'static str), u64>,
}

impl Operators {
    /// Adds how many are at work and have ended.
    pub(crate) fn count(&self, stats: &mut PlacementStats) {
        stats.running = stats::no_operators();
        for (kind, count) in &self.by_kind {
            stats.running.insert(stats::kind_name(*kind), *count);
        }
        stats.ended = self.ended.clone();
    }

    pub(crate) fn get(&self, id: RegionId) -> Option<&Operator> {
        self.running.get(&id).map(|running| &running.operator)
    }

    /// What is known of a Region's operator, or the last that it had.
    pub(crate) fn record(&self, id: RegionId) -> Result<OperatorRecord> {
        let ended = || {
            self.history
                .iter()
                .rev()
                .find(|record| record.operator.region_id == id)
        };
        let running = self.get(id).map(record_of);
        let record = running.or_else(|| ended().cloned());
        record.ok_or(Error::OperatorNotFound(id))
    }

    /// All that are at work, by Region, or those that have ended lately, the last one first.
    pub(crate) fn list(&self, ended: bool) -> Vec<OperatorRecord> {
        if ended {
            return self.history.iter().rev().cloned().collect();
        }
        let running = self.running.values();
        running
            .map(|running| record_of(&running.operator))
            .collect()
    }

    /// What operators are going to add to a store.
    pub(crate) fn influence(&self, store: StoreId) -> Influence {
        self.influence.get(&store).copied().unwrap_or_default()
    }

    /// Whether another operator of a kind is within its limit.
    pub(crate) fn allows(&self, settings: &Settings, kind: OperatorKind, more: u64) -> bool {
        let running = self.by_kind.get(&kind).copied().unwrap_or(0);
        limit(settings, kind).is_none_or(|(limit, _)| running + more <= limit)
    }

    /// Whether a store may be given a replica now.
    pub(crate) fn allows_add(&self, health: &Health<'_>, store: StoreId) -> bool {
        let limit = health.settings.store_limit_add_peer;
        let now_ms = health.now.monotonic_ms;
        self.limits.allows(now_ms, store, Change::Add, limit)
    }

    /// Whether a replica may be taken from a store now.
    pub(crate) fn allows_remove(&self, health: &Health<'_>, store: StoreId) -> bool {
        let limit = health.settings.store_limit_remove_peer;
        let now_ms = health.now.monotonic_ms;
        self.limits.allows(now_ms, store, Change::Remove, limit)
    }

    /// Begins operators that belong together: all of them or none.
    pub(crate) fn begin(&mut self, health: &Health<'_>, operators: Vec<Operator>) -> Result<()> {
        for operator in &operators {
            self.check(health, operator, operators.len() as u64)?;
        }
        for operator in operators {
            if operator.kind != OperatorKind::Admin {
                self.take_limits(health, &operator);
            }
            let seen = health.observed.region(operator.region_id);
            let influence = seen.map_or_else(Vec::new, |seen| operator.influence(seen));
            *self.by_kind.entry(operator.kind).or_default() += 1;
            add(&mut self.influence, &influence, 1);
            let running = Running {
                operator,
                influence,
            };
            let before = self.running.insert(running.operator.region_id, running);
            assert!(before.is_none(), "a second operator of a Region began");
        }
        Ok(())
    }

    fn check(&self, health: &Health<'_>, operator: &Operator, more: u64) -> Result<()> {
        let region_id = operator.region_id;
        if let Some(running) = self.get(region_id) {
            return Err(Error::OperatorExists {
                region_id,
                operator: running.purpose,
            });
        }
        if operator.steps.is_empty() {
            let reason = "nothing is to be done";
            return Err(Error::OperatorRefused { region_id, reason });
        }
        let settings = health.settings;
        if let Some((_, name)) = limit(settings, operator.kind)
            && !self.allows(settings, operator.kind, more)
        {
            return Err(Error::OperatorLimit {
                region_id,
                limit: name,
            });
        }
        let refused = |limit| Err(Error::OperatorLimit { region_id, limit });
        for (store, change) in store_changes(operator) {
            let is_allowed = operator.kind == OperatorKind::Admin
                || match change {
                    Change::Add => self.allows_add(health, store),
                    // Nothing costs a lost store anything.
                    Change::Remove => health.is_lost(store) || self.allows_remove(health, store),
                };
            match change {
                _ if is_allowed => {}
                Change::Add => return refused("store-limit-add-peer"),
                Change::Remove => return refused("store-limit-remove-peer"),
            }
        }
        Ok(())
    }

    fn take_limits(&mut self, health: &Health<'_>, operator: &Operator) {
        for (store, change) in store_changes(operator) {
            self.limits.take(health.now.monotonic_ms, store, change);
        }
    }

    /// A Region has reported: its operator goes on, or ends.
    pub(crate) fn heard(&mut self, health: &Health<'_>, seen: &RegionSeen) {
        let id = seen.region.id;
        let Some(running) = self.running.get_mut(&id) else {
            return;
        };
        if let Some(status) = running.operator.advance(health, seen) {
            return self.end(health.now, id, status);
        }
        let influence = running.operator.influence(seen);
        add(&mut self.influence, &running.influence, -1);
        add(&mut self.influence, &influence, 1);
        running.influence = influence;
    }

    /// What a Region's leader has to do now.
    pub(crate) fn instruction(
        &self,
        health: &Health<'_>,
        seen: &RegionSeen,
    ) -> Option<RegionInstruction> {
        self.get(seen.region.id)?.instruction(seen, health)
    }

    /// A Region is gone: it was merged, as its operator may have wanted.
    pub(crate) fn region_gone(&mut self, now: Now, id: RegionId) {
        let step = self.get(id).map(Operator::step);
        let status = match step {
            None => return,
            Some(Some(OperatorStep::Merge { .. })) => OperatorStatus::Finished,
            Some(_) => OperatorStatus::Cancelled("the Region is gone"),
        };
        self.end(now, id, status);
    }

    /// Gives up what takes too long, and what a lost store stands in the way of.
    pub(crate) fn expire(&mut self, health: &Health<'_>) {
        let verdict = |operator: &Operator| match operator.is_overdue(health) {
            true => Some(OperatorStatus::TimedOut),
            false => operator.is_hopeless(health).then_some(STORE_LOST),
        };
        let running = self.running.iter();
        let over = running.filter_map(|(id, running)| Some((*id, verdict(&running.operator)?)));
        for (id, status) in over.collect::<Vec<_>>() {
            self.end(health.now, id, status);
        }
    }

    /// Gives up a Region's operator.
    pub(crate) fn cancel(&mut self, now: Now, id: RegionId, reason: &'static str) -> Result<()> {
        if self.get(id).is_none() {
            return Err(Error::OperatorNotFound(id));
        }
        self.end(now, id, OperatorStatus::Cancelled(reason));
        Ok(())
    }

    /// Gives up everything that puts a replica on a store.
    pub(crate) fn cancel_onto(&mut self, now: Now, store: StoreId, reason: &'static str) {
        let adds = |running: &&Running| {
            let operator = &running.operator;
            let left = &operator.steps[operator.steps_done..];
            left.iter().any(
                |step| matches!(step, OperatorStep::AddLearner(peer) if peer.store_id == store),
            )
        };
        let found = self.running.values().filter(adds);
        let found: Vec<RegionId> = found.map(|running| running.operator.region_id).collect();
        for id in found {
            self.end(now, id, OperatorStatus::Cancelled(reason));
        }
    }

    fn end(&mut self, now: Now, id: RegionId, status: OperatorStatus) {
        let Some(running) = self.running.remove(&id) else {
            return;
        };
        add(&mut self.influence, &running.influence, -1);
        let operator = running.operator;
        if let Some(count) = self.by_kind.get_mut(&operator.kind) {
            *count -= 1;
        }
        let (kind, result) = (stats::kind_name(operator.kind), stats::result_name(status));
        *self.ended.entry((kind, result)).or_default() += 1;
        let partner = operator.partner;
        if self.history.len() == HISTORY_MAX {
            self.history.pop_front();
        }
        self.history.push_back(OperatorRecord {
            operator,
            status,
            ended: Some(now),
        });
        if let Some(partner) = partner
            && status != OperatorStatus::Finished
        {
            self.end(
                now,
                partner,
                OperatorStatus::Cancelled("the other Region's operator failed"),
            );
        }
    }

    /// Checks all invariants.
    pub(crate) fn check_invariants(&self, observed: &Observed) {
        let mut by_kind: BTreeMap<OperatorKind, u64> = BTreeMap::new();
        let mut influence = BTreeMap::new();
        for (id, running) in &self.running {
            let operator = &running.operator;
            assert_eq!(*id, operator.region_id);
            assert!(operator.step().is_some(), "{operator:?} is over");
            *by_kind.entry(operator.kind).or_default() += 1;
            add(&mut influence, &running.influence, 1);
            let Some(seen) = observed.region(*id) else {
                continue;
            };
            for step in &operator.steps[operator.steps_done..] {
                if let OperatorStep::AddLearner(peer) = step {
                    let there = seen.region.peer_on(peer.store_id);
                    assert!(
                        there.is_none_or(|there| there.id == peer.id),
                        "{operator:?}"
                    );
                }
            }
        }
        let counted = self.by_kind.iter().filter(|(_, count)| **count > 0);
        assert!(counted.eq(by_kind.iter()), "{:?}", self.by_kind);
        for (store, known) in &self.influence {
            let sum = influence.get(store).copied().unwrap_or_default();
            assert_eq!(*known, sum, "of store {store}");
        }
    }
}

fn record_of(operator: &Operator) -> OperatorRecord {
    OperatorRecord {
        operator: operator.clone(),
        status: OperatorStatus::Running,
        ended: None,
    }
}

fn add(to: &mut BTreeMap<StoreId, Influence>, influences: &[(StoreId, Influence)], sign: i64) {
    for (store, influence) in influences {
        to.entry(*store).or_default().add(*influence, sign);
    }
}

/// The limit of a kind, and its setting.
fn limit(settings: &Settings, kind: OperatorKind) -> Option<(u64, &'static str)> {
    match kind {
        OperatorKind::Leader => Some((settings.leader_schedule_limit, "leader-schedule-limit")),
        OperatorKind::Region => Some((settings.region_schedule_limit, "region-schedule-limit")),
        OperatorKind::Replica => Some((settings.replica_schedule_limit, "replica-schedule-limit")),
        OperatorKind::Merge => Some((settings.merge_schedule_limit, "merge-schedule-limit")),
        OperatorKind::Hot => Some((
            settings.hot_region_schedule_limit,
            "hot-region-schedule-limit",
        )),
        OperatorKind::Admin => None,
    }
}

/// What an operator does to stores.
fn store_changes(operator: &Operator) -> impl Iterator<Item = (StoreId, Change)> {
    operator.steps.iter().filter_map(|step| match step {
        OperatorStep::AddLearner(peer) => Some((peer.store_id, Change::Add)),
        OperatorStep::RemovePeer(peer) => Some((peer.store_id, Change::Remove)),
        _ => None,
    })
}
