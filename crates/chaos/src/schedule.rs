//! Which faults come, in which order, and for how long: all of it from the seed.
//!
//! **Invariants.** The same seed and numbers give the same schedule. Each fault draws from a stream of its own.
//! Every kind of a group comes as often as its weight says, in a small run, too.
//!
//! **Not here.** Who leads when a fault begins, and doing it (`run`).

use crate::layout::{GROUPS, NODES};
use std::fmt;
use std::time::Duration;
use workload::Rng;

/// Links that are not slower than this don't keep a probe from its answer.
const DELAY_SERVED_MAX: Duration = Duration::from_millis(50);

/// What happens to the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// `kill -9` of a leader.
    KillLeader,
    /// `kill -9` of any node.
    KillAny,
    /// `kill -9` of all nodes at once.
    KillAll,
    /// SIGSTOP of a leader, for longer than its lease, then SIGCONT.
    PauseLeader,
    /// The same for any node.
    PauseAny,
    /// A leader is cut off from the others. Clients still reach it.
    CutLeader,
    /// The same for any node.
    CutAny,
    /// Nothing that the others send reaches a leader.
    DeafLeader,
    /// Nothing that a leader sends reaches the others.
    MuteLeader,
    /// A leader and one other are cut off from each other.
    CutPair,
    /// All that a leader sends and receives comes late.
    SlowLeader,
}

impl Kind {
    /// All of them.
    pub const ALL: [Kind; 11] = [
        Kind::KillLeader,
        Kind::KillAny,
        Kind::KillAll,
        Kind::PauseLeader,
        Kind::PauseAny,
        Kind::CutLeader,
        Kind::CutAny,
        Kind::DeafLeader,
        Kind::MuteLeader,
        Kind::CutPair,
        Kind::SlowLeader,
    ];
    const KILLS: [Kind; 4] = [
        Kind::KillLeader,
        Kind::KillAny,
        Kind::KillLeader,
        Kind::KillAll,
    ];
    const PAUSES: [Kind; 3] = [Kind::PauseLeader, Kind::PauseAny, Kind::PauseLeader];
    const PARTITIONS: [Kind; 6] = [
        Kind::CutLeader,
        Kind::DeafLeader,
        Kind::MuteLeader,
        Kind::CutAny,
        Kind::CutPair,
        Kind::SlowLeader,
    ];

    /// Whether it ends processes.
    pub fn kills(self) -> bool {
        Self::KILLS.contains(&self)
    }

    /// Whether it hits whoever leads.
    pub fn hits_leader(self) -> bool {
        !matches!(
            self,
            Kind::KillAny | Kind::KillAll | Kind::PauseAny | Kind::CutAny
        )
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Kind::KillLeader => "kill leader",
            Kind::KillAny => "kill any",
            Kind::KillAll => "kill all",
            Kind::PauseLeader => "pause leader",
            Kind::PauseAny => "pause any",
            Kind::CutLeader => "cut leader off",
            Kind::CutAny => "cut any off",
            Kind::DeafLeader => "leader hears nothing",
            Kind::MuteLeader => "leader is not heard",
            Kind::CutPair => "cut leader from one",
            Kind::SlowLeader => "slow links of leader",
        })
    }
}

/// Whose leader a fault hits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Led {
    /// The Region of this group of keys.
    Group(usize),
    /// Placement.
    Placement,
}

/// What becomes of bytes on a link that is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CutStyle {
    /// They wait and arrive after the heal, as what TCP sends again does. Connections live on, if their ends
    /// have the patience.
    Hold,
    /// Connections break, and new ones, too.
    Reset,
}

/// One fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// What happens.
    pub kind: Kind,
    /// Whose leader is hit, if a leader is.
    pub led: Led,
    /// The node that is hit, if not a leader; the other end of the link that is cut, counted from the leader.
    pub node: usize,
    /// How links are cut.
    pub style: CutStyle,
    /// How late messages come on a slow link.
    pub delay: Duration,
    /// The load goes on for so long before it.
    pub wait: Duration,
    /// It lasts so long at the least.
    pub hold: Duration,
}

impl Fault {
    /// Whether every Region has to be served while it lasts: a majority is left, and messages within it come
    /// soon enough for a probe.
    pub fn must_serve(&self) -> bool {
        match self.kind {
            Kind::KillAll => false,
            Kind::SlowLeader => self.delay <= DELAY_SERVED_MAX,
            _ => true,
        }
    }
}

/// How many faults of each group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Numbers {
    /// `kill -9`.
    pub kills: usize,
    /// SIGSTOP and SIGCONT.
    pub pauses: usize,
    /// Links that are cut in one direction or both, or slow.
    pub partitions: usize,
}

/// The faults of a run, in their order.
pub fn schedule(seed: u64, numbers: Numbers) -> Vec<Fault> {
    let kills = Kind::KILLS.into_iter().cycle().take(numbers.kills);
    let pauses = Kind::PAUSES.into_iter().cycle().take(numbers.pauses);
    let partitions = Kind::PARTITIONS.into_iter().cycle();
    let mut kinds: Vec<Kind> = kills
        .chain(pauses)
        .chain(partitions.take(numbers.partitions))
        .collect();
    let mut rng = Rng::new(seed, 0);
    for at in (1..kinds.len()).rev() {
        kinds.swap(at, rng.below(at as u64 + 1) as usize);
    }
    let streams = kinds.into_iter().zip(1..);
    streams
        .map(|(kind, stream)| draw(kind, &mut Rng::new(seed, stream)))
        .collect()
}

fn draw(kind: Kind, rng: &mut Rng) -> Fault {
    let group = rng.below(GROUPS as u64 + 1) as usize;
    let hold_ms = match kind.kills() {
        true => 50 + rng.below(950),
        // About twice an election timeout; some for longer than a silent connection lives.
        false => {
            let more_ms = if rng.below(8) == 0 { 6_000 } else { 1_800 };
            700 + rng.below(more_ms)
        }
    };
    Fault {
        kind,
        led: match group < GROUPS {
            true => Led::Group(group),
            false => Led::Placement,
        },
        node: rng.below(NODES as u64) as usize,
        style: match rng.below(2) {
            0 => CutStyle::Hold,
            _ => CutStyle::Reset,
        },
        // Some are slower than a lease lasts.
        delay: match rng.below(3) {
            0 => Duration::from_millis(250 + rng.below(1_000)),
            _ => Duration::from_millis(5).max(DELAY_SERVED_MAX.mul_f64(rng.unit())),
        },
        wait: Duration::from_millis(150 + rng.below(500)),
        hold: Duration::from_millis(hold_ms),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NUMBERS: Numbers = Numbers {
        kills: 40,
        pauses: 12,
        partitions: 12,
    };

    fn count(faults: &[Fault], is_such: impl Fn(Kind) -> bool) -> usize {
        faults.iter().filter(|fault| is_such(fault.kind)).count()
    }

    #[test]
    fn the_same_seed_gives_the_same_schedule_and_another_one_another() {
        assert_eq!(schedule(7, NUMBERS), schedule(7, NUMBERS));
        assert_ne!(schedule(7, NUMBERS), schedule(8, NUMBERS));
    }

    #[test]
    fn each_kind_comes_as_often_as_was_asked_for() {
        let faults = schedule(1, NUMBERS);
        assert_eq!(faults.len(), 64);
        assert_eq!(count(&faults, Kind::kills), 40);
        assert_eq!(count(&faults, |kind| kind == Kind::KillAll), 10);
        assert_eq!(count(&faults, |kind| kind == Kind::PauseLeader), 8);
        assert_eq!(count(&faults, |kind| kind == Kind::MuteLeader), 2);
        let all_occur = Kind::ALL
            .into_iter()
            .all(|one| count(&faults, |kind| kind == one) > 0);
        assert!(all_occur);
    }

    #[test]
    fn every_leader_is_hit_and_links_are_cut_in_both_styles() {
        let faults = schedule(3, NUMBERS);
        let groups = (0..GROUPS).map(Led::Group).chain([Led::Placement]);
        for led in groups {
            assert!(faults.iter().any(|fault| fault.led == led), "{led:?}");
        }
        for style in [CutStyle::Hold, CutStyle::Reset] {
            assert!(faults.iter().any(|fault| fault.style == style), "{style:?}");
        }
    }
}
