//! An operator: what is to become of one Region, as steps that its leader takes one after the other.
//!
//! **How.** The placement driver never hears "done". A report shows the Region as it is; a step is done
//! when the report shows what it was to bring about, however that came to be.
//!
//! **Invariants.**
//! - No step takes a voter away if less than a majority of those who stay would be well.
//! - An operator whose Region was changed by somebody else ends: it was made for another shape.
//! - No step puts a second replica on a store.
//!
//! **Not here.** Which operators there are, and limits on them: `operators`. How steps are found for a
//! wanted membership: `plan`.

mod step;

use crate::health::Health;
use crate::instruct::{Instruction, RegionInstruction};
use crate::message::Now;
use crate::observed::RegionSeen;
use std::collections::BTreeMap;
pub use step::OperatorStep;
pub(crate) use step::Progress;
use types::{PeerId, RegionId, StoreId};

/// What an operator is for; each kind has its limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum OperatorKind {
    /// Moving leaders for balance.
    Leader,
    /// Moving replicas for balance.
    Region,
    /// Repairing replication.
    Replica,
    /// Merging.
    Merge,
    /// Moving what is busy.
    Hot,
    /// What somebody asked for. It has no limit.
    Admin,
}

/// Changes to one Region that belong together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operator {
    /// The Region.
    pub region_id: RegionId,
    /// What kind of operator it is.
    pub kind: OperatorKind,
    /// Who wanted it and why, in a few words.
    pub purpose: &'static str,
    /// What is to be done, in this order.
    pub steps: Vec<OperatorStep>,
    /// How many of the steps are done.
    pub steps_done: usize,
    /// When it began.
    pub began: Now,
    pub(crate) step_began_ms: u64,
    /// The Region's version when it began.
    version: u64,
    /// Replicas that it does not touch.
    untouched: Vec<PeerId>,
    /// The other Region of a merge.
    pub(crate) partner: Option<RegionId>,
    size_bytes: u64,
}

/// How an operator stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OperatorStatus {
    /// It is at work.
    Running,
    /// All its steps are done.
    Finished,
    /// A step took too long.
    TimedOut,
    /// It was given up, for this reason.
    Cancelled(&'static str),
}

/// What an operator is going to add to a store, until reports show it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Influence {
    pub(crate) leaders: i64,
    pub(crate) peers_bytes: i64,
    pub(crate) read_rate: i64,
    pub(crate) write_rate: i64,
}

impl Influence {
    pub(crate) fn add(&mut self, other: Influence, sign: i64) {
        self.leaders += sign * other.leaders;
        self.peers_bytes += sign * other.peers_bytes;
        self.read_rate += sign * other.read_rate;
        self.write_rate += sign * other.write_rate;
    }
}

impl Operator {
    /// An operator that begins now, for a Region as it was seen.
    pub(crate) fn new(
        now: Now,
        seen: &RegionSeen,
        kind: OperatorKind,
        purpose: &'static str,
        steps: Vec<OperatorStep>,
    ) -> Self {
        let mut operator = Self {
            region_id: seen.region.id,
            kind,
            purpose,
            steps,
            steps_done: 0,
            began: now,
            step_began_ms: now.monotonic_ms,
            version: seen.region.epoch.version,
            untouched: Vec::new(),
            partner: None,
            size_bytes: seen.size_bytes,
        };
        operator.untouched = operator.untouched_of(seen);
        operator
    }

    /// The step that is to be done now.
    pub(crate) fn step(&self) -> Option<&OperatorStep> {
        self.steps.get(self.steps_done)
    }

    fn untouched_of(&self, seen: &RegionSeen) -> Vec<PeerId> {
        let is_touched = |id: &PeerId| self.steps.iter().any(|step| step.touches(*id));
        let ids = seen.region.peers.iter().map(|peer| peer.id);
        let mut ids: Vec<PeerId> = ids.filter(|id| !is_touched(id)).collect();
        ids.sort_unstable();
        ids
    }

    /// Goes on over all steps that a report shows as done. Returns how the operator ended, if it did.
    pub(crate) fn advance(
        &mut self,
        health: &Health<'_>,
        seen: &RegionSeen,
    ) -> Option<OperatorStatus> {
        if self.untouched_of(seen) != self.untouched {
            let reason = "somebody else has changed the membership";
            return Some(OperatorStatus::Cancelled(reason));
        }
        if !self.repairs() && !seen.quarantined().is_empty() {
            let reason = "a quarantined replica is to be replaced first";
            return Some(OperatorStatus::Cancelled(reason));
        }
        while let Some(step) = self.step() {
            match step.progress(seen, self.version, health.observed) {
                Progress::Done => {
                    self.steps_done += 1;
                    self.step_began_ms = health.now.monotonic_ms;
                }
                Progress::Doing => return None,
                Progress::Impossible(reason) => return Some(OperatorStatus::Cancelled(reason)),
            }
        }
        Some(OperatorStatus::Finished)
    }

    /// What the Region's leader has to do now.
    pub(crate) fn instruction(
        &self,
        seen: &RegionSeen,
        health: &Health<'_>,
    ) -> Option<RegionInstruction> {
        let instruction: Instruction = self.step()?.instruction(seen, health)?;
        Some(RegionInstruction {
            region_id: seen.region.id,
            epoch: seen.region.epoch,
            leader: seen.leader(),
            instruction,
        })
    }

    /// Whether the step that is to be done now takes too long.
    pub(crate) fn is_overdue(&self, health: &Health<'_>) -> bool {
        let settings = health.settings;
        let timeout_ms = match self.step() {
            // The other Region's operator has the time-outs.
            Some(OperatorStep::AwaitMerge { .. }) => return false,
            Some(step) if step.moves_data() => {
                let parts = 1 + (self.size_bytes >> 28);
                settings.slow_step_timeout_ms.saturating_mul(parts)
            }
            _ => settings.fast_step_timeout_ms,
        };
        health.now.monotonic_ms.saturating_sub(self.step_began_ms) >= timeout_ms
    }

    /// Whether it waits for a store that nobody expects back, or keeps its Region from being repaired after
    /// such a loss.
    pub(crate) fn is_hopeless(&self, health: &Health<'_>) -> bool {
        let mut left = self.steps[self.steps_done..].iter();
        if left.any(|step| step.gives_to().is_some_and(|store| health.is_lost(store))) {
            return true;
        }
        let seen = health.observed.region(self.region_id);
        let mut peers = seen.into_iter().flat_map(|seen| &seen.region.peers);
        !self.repairs() && peers.any(|peer| health.is_lost(peer.store_id))
    }

    /// Whether it repairs its Region, or somebody wants it even so: all others give way to repair.
    fn repairs(&self) -> bool {
        matches!(self.kind, OperatorKind::Replica | OperatorKind::Admin)
    }

    /// What it is going to add to stores, beyond what the report shows.
    pub(crate) fn influence(&self, seen: &RegionSeen) -> Vec<(StoreId, Influence)> {
        let mut influences: BTreeMap<StoreId, Influence> = BTreeMap::new();
        let mut add = |store, influence, sign| {
            let sum: &mut Influence = influences.entry(store).or_default();
            sum.add(influence, sign);
        };
        let weight = seen.weight;
        let signed = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        let replica = Influence {
            peers_bytes: signed(weight.size_bytes),
            write_rate: signed(weight.write_rate),
            ..Influence::default()
        };
        let leadership = Influence {
            leaders: 1,
            read_rate: signed(weight.read_rate),
            ..Influence::default()
        };
        let mut leads = seen.leader().store_id;
        for step in &self.steps[self.steps_done..] {
            match step {
                OperatorStep::AddLearner(peer) if seen.region.peer(peer.id).is_none() => {
                    add(peer.store_id, replica, 1);
                }
                OperatorStep::RemovePeer(peer) if seen.region.peer(peer.id).is_some() => {
                    add(peer.store_id, replica, -1);
                }
                OperatorStep::TransferLeader { to } if *to != leads => {
                    add(leads, leadership, -1);
                    add(*to, leadership, 1);
                    leads = *to;
                }
                _ => {}
            }
        }
        influences.into_iter().collect()
    }
}
