//! Hibernation: a Region at which nothing happens stops its clock, on all replicas, and costs nothing.
//!
//! **Falling asleep.** A leader that has had nothing to do for a while, whose followers all have its log,
//! is *drowsy*: it stops its own ticks, and asks the followers to sleep, naming the end of its log. One
//! that is as far and has nothing to do either stops its ticks, says so, and campaigns no more. When all
//! have said so, the leader sleeps. It does not wait for one that it has not heard for as long, if those
//! who sleep are a quorum with it: such a replica is *missing*.
//!
//! **Waking.** Any request and any of Raft's own messages wakes a replica, but late answers to a leader's
//! heartbeats. The leader's heartbeats thus wake those who fell asleep where others did not. A follower
//! that a request has woken wakes its leader, which that will be sent to next.
//!
//! **Who looks after the leader** while nobody waits for its heartbeats: the stores, each of which asks
//! those on which its sleeping replicas rely whether they live (`store::liveness`). When one of them
//! stays silent, the followers whose leader is there wake, and no others.
//!
//! **Why it is safe.** No promise of Raft depends on ticks, and leases are measured on clocks: that of a
//! sleeping leader ends, and the next read asks a quorum. Only liveness has to be argued for, and there
//! the way out is always the same: a replica that is awake and hears no leader asks for votes, and its
//! question wakes those whom it reaches.
//! - A follower that was missed: it is awake, or wakes since its leader's store is silent for it.
//! - A leader that was deposed while it slept: for the new one it is missing, and the new one wakes, and
//!   wakes it, as soon as its store is heard.
//! - A follower that was removed, or got another leader, and never heard of it: now and then each sleeping
//!   follower says to its leader that it sleeps. A leader that knows it as removed says farewell. Whoever
//!   is no such leader any more tells it, its store does where that replica is gone, and the follower goes
//!   on as one that is awake: it campaigns, or asks whether it is a member.
//!
//! **Not here.** The placement Region, which never sleeps: it is one, and all others need it.

use std::collections::BTreeSet;
use types::{PeerId, RegionId, StoreId};

/// What a replica or a store says beside Raft.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extra {
    /// A leader to a follower: sleep, if you are my follower and this is the end of your log. A leader
    /// begins each of its terms with an entry, so that the index names the term as well.
    HibernateRequest {
        /// The last index, which is committed.
        index: u64,
    },
    /// A follower to its leader: I sleep, and this is the end of my log.
    HibernateResponse {
        /// The last index.
        index: u64,
    },
    /// To a sleeping replica: go on. A follower was sent a request, or took the sender for its leader.
    WakeUp,
    /// A store to another one: do you live?
    StorePing,
    /// The answer.
    StorePong,
}

impl Extra {
    /// Whether it is from store to store, about no Region.
    pub fn is_of_stores(self) -> bool {
        matches!(self, Self::StorePing | Self::StorePong)
    }
}

/// A replica that ticks no more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sleep {
    /// Its Region.
    pub region_id: RegionId,
    /// On which stores it relies.
    pub reliance: Reliance,
}

/// On which stores a sleeping replica relies, and what for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reliance {
    /// A follower: it has to campaign when its leader is lost.
    Leader(StoreId),
    /// A leader: it has to tell the placement driver who is down, and to go on once a missing follower
    /// is back.
    Followers {
        /// Where all of them are.
        all: Vec<StoreId>,
        /// Where those are that do not sleep and were not heard.
        missing: Vec<StoreId>,
    },
}

/// How far a replica is from sleep.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Hibernation {
    /// It ticks.
    Awake {
        /// For so long a leader has had nothing to do.
        idle_ticks: u64,
    },
    /// A leader that has asked its followers to sleep.
    Drowsy {
        /// Since it has.
        ticks: u64,
        /// Who does.
        asleep: BTreeSet<PeerId>,
    },
    /// It does not tick.
    Asleep {
        /// Stores that were silent for so long, when the placement driver was told last, that what is
        /// there counts as down.
        down: Vec<StoreId>,
    },
}

/// What a tick comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Beat {
    /// It is one for Raft as well.
    Tick,
    /// The followers are to be asked.
    Ask,
    /// Nothing.
    Rest,
    /// The followers had their time: sleep if that will do, go on otherwise.
    Decide,
}

/// Ticks for which a leader that has asked its followers waits for them.
const PATIENCE_TICKS: u64 = 2;

impl Hibernation {
    pub(crate) const AWAKE: Self = Self::Awake { idle_ticks: 0 };

    /// One tick of the store's clock. `may_sleep`: a leader, with nothing to do.
    pub(crate) fn tick(&mut self, may_sleep: bool, hibernate_ticks: u64) -> Beat {
        match self {
            Self::Asleep { .. } => Beat::Rest,
            Self::Awake { idle_ticks } if may_sleep && hibernate_ticks > 0 => {
                *idle_ticks += 1;
                if *idle_ticks <= hibernate_ticks {
                    return Beat::Tick;
                }
                *self = Self::Drowsy {
                    ticks: 0,
                    asleep: BTreeSet::new(),
                };
                Beat::Ask
            }
            Self::Drowsy { ticks, .. } if may_sleep => {
                *ticks += 1;
                match *ticks >= PATIENCE_TICKS {
                    true => Beat::Decide,
                    false => Beat::Rest,
                }
            }
            Self::Awake { .. } | Self::Drowsy { .. } => {
                *self = Self::AWAKE;
                Beat::Tick
            }
        }
    }

    /// A follower of a drowsy leader sleeps.
    pub(crate) fn heard(&mut self, follower: PeerId) {
        if let Self::Drowsy { asleep, .. } = self {
            asleep.insert(follower);
        }
    }

    /// Whether this follower of a drowsy leader sleeps.
    pub(crate) fn has_asleep(&self, follower: PeerId) -> bool {
        matches!(self, Self::Drowsy { asleep, .. } if asleep.contains(&follower))
    }

    /// The stores that count as down for a sleeping replica.
    pub(crate) fn down(&self) -> &[StoreId] {
        match self {
            Self::Asleep { down } => down,
            Self::Awake { .. } | Self::Drowsy { .. } => &[],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_leader_asks_once_it_was_idle_for_long_enough_and_gives_its_followers_some_time() {
        let mut state = Hibernation::AWAKE;
        let beats: Vec<Beat> = (0..6).map(|_| state.tick(true, 3)).collect();
        use Beat::{Ask, Decide, Rest, Tick};
        assert_eq!(beats, [Tick, Tick, Tick, Ask, Rest, Decide]);
    }

    #[test]
    fn work_begins_the_count_anew_and_ends_drowsiness() {
        let mut state = Hibernation::AWAKE;
        for _ in 0..3 {
            state.tick(true, 3);
        }
        assert_eq!(state.tick(false, 3), Beat::Tick);
        assert_eq!(state, Hibernation::AWAKE);
        for _ in 0..4 {
            state.tick(true, 3);
        }
        state.heard(PeerId(2));
        assert!(state.has_asleep(PeerId(2)) && !state.has_asleep(PeerId(3)));
        assert_eq!(state.tick(false, 3), Beat::Tick);
        assert!(!state.has_asleep(PeerId(2)));
    }

    #[test]
    fn without_a_number_of_ticks_nobody_sleeps() {
        let mut state = Hibernation::AWAKE;
        assert!((0..100).all(|_| state.tick(true, 0) == Beat::Tick));
    }
}
