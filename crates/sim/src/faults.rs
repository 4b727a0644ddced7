//! What may go wrong: the kinds of faults, and the share of them that a seed switches on.
//!
//! **Why a random share** ("swarm testing", Groce et al., ISSTA 2012): runs in which only a few kinds
//! of faults occur reach states that runs with all of them at once never reach.
//!
//! **Invariants.** Times are in simulated microseconds, probabilities in parts per million. What a seed
//! draws for one kind does not depend on which others are allowed: a kind, or a single event, can be left
//! out of a run, and what is left stays as it was.

use crate::names::Named;
use crate::rng::{ALWAYS_PPM, Rng};
use std::collections::BTreeSet;

/// Kinds of faults, their bounds, and how often one comes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FaultOptions {
    /// The kinds that may occur at all.
    pub kinds: Vec<FaultKind>,
    /// Whether each seed switches on a random share of all kinds only.
    pub is_swarm: bool,
    /// Of the events those that do come, by number; `None`: all.
    pub only_events: Option<BTreeSet<u64>>,
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
    /// One store works, but slowly.
    SlowStore,
    /// Snapshots that one store has received wait for a while to be installed.
    SlowInstalls,
    /// One store's wall clock jumps, by an hour at most.
    ClockJump,
    /// One store's disk is full for a while.
    DiskFull,
    /// The store that leads the placement Region is cut off, or its process ends.
    PlacementOutage,
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

impl Named for FaultKind {
    const ALL: &'static [Self] = &[
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
        Self::SlowStore,
        Self::SlowInstalls,
        Self::ClockJump,
        Self::DiskFull,
        Self::PlacementOutage,
        Self::Kill,
        Self::PowerCut,
        Self::CutInWrite,
        Self::SyncFailure,
        Self::ClusterPowerCut,
        Self::RollingPowerCut,
    ];
}

impl FaultKind {
    /// Whether it is there all the time, rather than an event.
    fn is_lasting(self) -> bool {
        matches!(
            self,
            Self::Loss | Self::Duplicate | Self::Reorder | Self::AnswerLoss | Self::Drift
        )
    }
}

impl Default for FaultOptions {
    fn default() -> Self {
        Self {
            kinds: FaultKind::ALL.to_vec(),
            is_swarm: true,
            only_events: None,
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
    /// What comes as an event: kinds that are drawn from, nothing for one that is not allowed.
    events: Vec<Option<FaultKind>>,
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
        let is_allowed = |kind: &FaultKind| options.kinds.contains(kind);
        let mut is_on = |kind: &FaultKind| match options.is_swarm {
            true => rng.chance(ALWAYS_PPM / 2),
            false => is_allowed(kind),
        };
        let on: Vec<FaultKind> = FaultKind::ALL.iter().copied().filter(&mut is_on).collect();
        let mut rate = |kind: FaultKind, max: u64| {
            let drawn = rng.between(1, max.max(1));
            match on.contains(&kind) && is_allowed(&kind) && max > 0 {
                true => drawn,
                false => 0,
            }
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
            events: on
                .into_iter()
                .filter(|kind| !kind.is_lasting())
                .map(|kind| Some(kind).filter(is_allowed))
                .collect(),
        }
    }

    /// Whether events come at all.
    pub(crate) fn has_events(&self) -> bool {
        self.events.iter().any(Option::is_some)
    }

    /// Whether events of this kind come.
    pub(crate) fn has(&self, kind: FaultKind) -> bool {
        self.events.contains(&Some(kind))
    }

    /// What the next event is: nothing, if it is of a kind that is not allowed.
    pub(crate) fn pick(&self, rng: &mut Rng) -> Option<FaultKind> {
        rng.pick(&self.events)
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
        let events = FaultKind::ALL.iter().filter(|kind| !kind.is_lasting());
        for kind in events.copied() {
            assert!(plans.iter().any(|plan| plan.has(kind)));
            assert!(plans.iter().any(|plan| !plan.has(kind)));
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
        assert!(!plan.has_events());
        assert_eq!(plan.loss_ppm + plan.duplicate_ppm + plan.drift_ppm, 0);
    }

    #[test]
    fn leaving_a_kind_out_changes_nothing_of_the_others() {
        for seed in 0..50 {
            let whole = Plan::draw(&FaultOptions::default(), &mut Rng::new(seed));
            let is_left = |kind: &FaultKind| !matches!(kind, FaultKind::Loss | FaultKind::Kill);
            let kinds = FaultKind::ALL.iter().copied().filter(is_left).collect();
            let options = FaultOptions {
                kinds,
                ..FaultOptions::default()
            };
            let part = Plan::draw(&options, &mut Rng::new(seed));
            assert_eq!((part.loss_ppm, part.has(FaultKind::Kill)), (0, false));
            assert_eq!(part.reorder_ppm, whole.reorder_ppm);
            assert_eq!(part.gap_us_max, whole.gap_us_max);
            let mut draws = (Rng::new(seed), Rng::new(seed));
            for _ in 0..20 * usize::from(part.has_events()) {
                let drawn = whole.pick(&mut draws.0);
                assert_eq!(part.pick(&mut draws.1), drawn.filter(is_left));
            }
        }
    }
}
