//! What may go wrong: the options of a run, and the share of them that a seed switches on.
//!
//! **Why a random share** ("swarm testing", Groce et al., ISSTA 2012): runs in which only a few kinds
//! of faults occur reach states that runs with all of them at once never reach.
//!
//! **Invariants.** Times are in simulated microseconds, probabilities in parts per million.

use crate::rng::{ALWAYS_PPM, Rng};
use std::collections::BTreeSet;

/// A run's shape and bounds.
#[derive(Clone, Debug)]
pub struct Options {
    /// Which faults there are, and how bad they get.
    pub faults: FaultOptions,
    /// How long clients work while faults come.
    pub fault_phase_us: u64,
    /// How long the healed cluster may take until it has served a write and a read in every Region,
    /// and again until all replicas are equal and every request is answered.
    pub liveness_us_max: u64,
    /// Clients that work at the same time.
    pub clients: usize,
    /// Further clients, which only read, ask any store, and do not wait for long: whoever was deposed and
    /// does not know it is asked soon.
    pub readers: usize,
    /// Lines of trace that a violation carries.
    pub trace_lines: usize,
    /// A defect that is built in, to prove that the checkers find it.
    pub planted_bug: Option<PlantedBug>,
}

/// Kinds of faults, their bounds, and how often one comes.
#[derive(Clone, Debug)]
pub struct FaultOptions {
    /// The kinds that may occur at all.
    pub kinds: Vec<FaultKind>,
    /// Whether each seed switches on a random share of `kinds` only.
    pub is_swarm: bool,
    /// The most messages lost, where messages are lost.
    pub loss_ppm_max: u64,
    /// The most messages delivered twice.
    pub duplicate_ppm_max: u64,
    /// The most messages that overtake or fall behind.
    pub reorder_ppm_max: u64,
    /// The most answers lost on their way to the client.
    pub answer_loss_ppm_max: u64,
    /// The longest way of a message on a healthy link.
    pub delay_us_max: u64,
    /// How far a store's ticks may come too fast or too slow.
    pub drift_ppm_max: u64,
    /// How far a store's clock may run too fast or too slow: leases allow for less than one part in
    /// nineteen each.
    pub clock_drift_ppm_max: u64,
    /// The longest time between two faults.
    pub gap_us_max: u64,
    /// The longest time until a partition heals, a store starts again or goes on.
    pub outage_us_max: u64,
}

/// A kind of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum FaultKind {
    /// Messages are lost all the time.
    Loss,
    /// Messages come twice.
    Duplicate,
    /// Messages overtake each other.
    Reorder,
    /// Answers to clients are lost.
    AnswerLoss,
    /// The stores' ticks and clocks run at different speeds.
    Drift,
    /// One link becomes very slow for a while.
    SlowLink,
    /// One direction of one link is cut.
    OneWayCut,
    /// One store is cut off, in both directions.
    Isolation,
    /// One store hears nobody, but is heard.
    Deafness,
    /// One store stands still, its ticks with it or piling up.
    Pause,
    /// A process ends at once; what it wrote, synced or not, is kept.
    Kill,
    /// A machine ends at once; a suffix of what was not synced is lost.
    PowerCut,
    /// A machine ends just before or after one of its next writes.
    CutInWrite,
    /// A sync fails; the store must stop by itself.
    SyncFailure,
    /// All machines end at once.
    ClusterPowerCut,
    /// The machines end one after the other, each as soon as the last one is back.
    RollingPowerCut,
}

impl FaultKind {
    /// All kinds.
    pub const ALL: [FaultKind; 16] = [
        Self::Loss,
        Self::Duplicate,
        Self::Reorder,
        Self::AnswerLoss,
        Self::Drift,
        Self::SlowLink,
        Self::OneWayCut,
        Self::Isolation,
        Self::Deafness,
        Self::Pause,
        Self::Kill,
        Self::PowerCut,
        Self::CutInWrite,
        Self::SyncFailure,
        Self::ClusterPowerCut,
        Self::RollingPowerCut,
    ];

    /// Whether it is there all the time, rather than an event.
    fn is_lasting(self) -> bool {
        matches!(
            self,
            Self::Loss | Self::Duplicate | Self::Reorder | Self::AnswerLoss | Self::Drift
        )
    }
}

/// A defect to be found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PlantedBug {
    /// The Raft log is written, but never synced.
    SkippedSync,
    /// A vote leaves before it is synced.
    VoteBeforeSync,
    /// One store comes back from every crash with an empty disk, under its old name.
    WipedReplica,
    /// Some requests are answered twice.
    AnswerTwice,
    /// Some requests are never answered.
    LostAnswer,
    /// One store drops some writes when it applies them.
    ForgottenWrite,
    /// A store that believes to lead answers reads without asking the others.
    StaleRead,
    /// Readers compare their leases with the time that the store has read in its last round.
    CachedClock,
    /// A lease counts from the moment at which the quorum's answer came.
    LeaseFromAnswer,
    /// Raft messages reach nobody in one Region once the faults are over.
    DeafRegion,
    /// The key-value engine says that it has synced, and has not.
    UnsyncedCut,
    /// One store leaves what it had in the place of what a snapshot brings.
    MixedSnapshot,
    /// Splits and changes of membership are written, but not synced before others act on them.
    UnsyncedShape,
    /// A removed replica leaves no tombstone: the record of its Region stays.
    NoTombstone,
    /// Nobody tells a replica that it was removed.
    NoFarewell,
    /// On one store there are pairs that nobody has written. Only comparing the replicas finds them.
    DamagedData,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            faults: FaultOptions::default(),
            fault_phase_us: 5_000_000,
            liveness_us_max: 2_000_000,
            clients: 6,
            readers: 3,
            trace_lines: 400,
            planted_bug: None,
        }
    }
}

impl Default for FaultOptions {
    fn default() -> Self {
        Self {
            kinds: FaultKind::ALL.to_vec(),
            is_swarm: true,
            loss_ppm_max: 300_000,
            duplicate_ppm_max: 200_000,
            reorder_ppm_max: 300_000,
            answer_loss_ppm_max: 50_000,
            delay_us_max: 8_000,
            drift_ppm_max: 300_000,
            clock_drift_ppm_max: 50_000,
            gap_us_max: 1_500_000,
            outage_us_max: 500_000,
        }
    }
}

/// The least that a seed makes of [`FaultOptions::gap_us_max`].
const GAP_US_MIN: u64 = 50_000;

/// What one seed makes of the options.
#[derive(Debug)]
pub(crate) struct Plan {
    /// The kinds that come as events.
    pub(crate) events: Vec<FaultKind>,
    pub(crate) loss_ppm: u64,
    pub(crate) duplicate_ppm: u64,
    pub(crate) reorder_ppm: u64,
    pub(crate) answer_loss_ppm: u64,
    pub(crate) delay_us_max: u64,
    pub(crate) drift_ppm: u64,
    pub(crate) clock_drift_ppm: u64,
    pub(crate) gap_us_max: u64,
}

impl Plan {
    pub(crate) fn draw(options: &FaultOptions, rng: &mut Rng) -> Self {
        let kinds: BTreeSet<FaultKind> = options
            .kinds
            .iter()
            .copied()
            .filter(|_| !options.is_swarm || rng.chance(ALWAYS_PPM / 2))
            .collect();
        let mut rate = |kind: FaultKind, max: u64| match kinds.contains(&kind) && max > 0 {
            true => rng.between(1, max),
            false => 0,
        };
        Self {
            loss_ppm: rate(FaultKind::Loss, options.loss_ppm_max),
            duplicate_ppm: rate(FaultKind::Duplicate, options.duplicate_ppm_max),
            reorder_ppm: rate(FaultKind::Reorder, options.reorder_ppm_max),
            answer_loss_ppm: rate(FaultKind::AnswerLoss, options.answer_loss_ppm_max),
            drift_ppm: rate(FaultKind::Drift, options.drift_ppm_max),
            clock_drift_ppm: rate(FaultKind::Drift, options.clock_drift_ppm_max),
            delay_us_max: rng.between(200, options.delay_us_max.max(200)),
            gap_us_max: rng.between(GAP_US_MIN, options.gap_us_max.max(GAP_US_MIN)),
            events: kinds
                .into_iter()
                .filter(|kind| !kind.is_lasting())
                .collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_switch_on_different_shares_and_every_kind_is_on_in_some() {
        let plans: Vec<_> = (0..50)
            .map(|seed| Plan::draw(&FaultOptions::default(), &mut Rng::new(seed)))
            .collect();
        for kind in FaultKind::ALL.into_iter().filter(|kind| !kind.is_lasting()) {
            assert!(plans.iter().any(|plan| plan.events.contains(&kind)));
            assert!(plans.iter().any(|plan| !plan.events.contains(&kind)));
        }
        assert!(plans.iter().any(|plan| plan.loss_ppm == 0));
        assert!(plans.iter().any(|plan| plan.loss_ppm > 0));
    }

    #[test]
    fn without_kinds_nothing_goes_wrong() {
        let options = FaultOptions {
            kinds: Vec::new(),
            ..FaultOptions::default()
        };
        let plan = Plan::draw(&options, &mut Rng::new(1));
        assert!(plan.events.is_empty());
        assert_eq!(plan.loss_ppm + plan.duplicate_ppm + plan.drift_ppm, 0);
    }
}
