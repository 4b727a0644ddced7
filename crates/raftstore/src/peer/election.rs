//! When a replica that hears of no leader asks for votes.
//!
//! **Why in turns.** Two replicas that draw their timeouts from one range now and then ask at the same time, split the
//! votes, and wait for another timeout. A store that is lost has led hundreds of Regions, so for some of them that
//! would happen each time. Here each follower has a part of the range for itself, by its place behind
//! the leader, and a pause follows each part. Only where no leader is known, nor whom it voted for, it draws from the
//! whole range.
//!
//! **After a start** nobody knows who led, but whom it voted for last is persisted. That replica comes first, so a
//! cluster whose stores were all stopped has the leaders again that it had, and as soon as promises allow.
//!
//! **Invariants.** No timeout is shorter than `election_ticks_min`, on which leases rely.
//!
//! **Not here.** Who gets votes (raft-rs), and what a leader was promised (`lease`).

use super::{Peer, PeerOptions};
use types::PeerRole;

/// A replica's place among those who campaign once a leader is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    before: usize,
    candidates: usize,
}

impl Peer {
    /// Sets the number of ticks without a leader after which this replica campaigns: drawn from the seed, anew for
    /// each term and role. raft-rs draws its own, from the thread's generator, whenever one of these changes.
    pub(super) fn draw_election_timeout(&mut self) {
        let draw = [
            self.region.id.get(),
            self.me.id.get(),
            self.term(),
            self.raw.raft.state as u64,
        ];
        let timeout = timeout_ticks(&self.options, self.place(), draw);
        self.raw.raft.set_randomized_election_timeout(timeout);
    }

    /// Whether nobody else campaigns before.
    pub(super) fn is_first_in_line(&self) -> bool {
        self.place().is_some_and(|place| place.before == 0)
    }

    /// The voters follow the leader in the order of their ids, and the first of all follows the last.
    fn place(&self) -> Option<Place> {
        let leader = self.leader();
        let head = leader.or_else(|| self.voted_for_last())?;
        if self.is_leader() {
            return None;
        }
        let voters = self.region.peers.iter();
        let candidates =
            voters.filter(|peer| peer.role != PeerRole::Learner && Some(**peer) != leader);
        let order = |peer: &types::Peer| (peer.id < head.id, peer.id);
        let (mut before, mut all) = (0, 0);
        for candidate in candidates {
            before += usize::from(order(candidate) < order(&self.me));
            all += 1;
        }
        (before < all).then_some(Place {
            before,
            candidates: all,
        })
    }

    /// Who probably led when this replica was stopped, or lost its leader, until it has asked for votes itself.
    fn voted_for_last(&self) -> Option<types::Peer> {
        let vote = self.raw.raft.vote;
        let mut peers = self.region.peers.iter().copied();
        let voted_for = peers.find(|peer| peer.id.get() == vote);
        voted_for.filter(|_| self.votes_asked_term == 0)
    }
}

fn timeout_ticks(options: &PeerOptions, place: Option<Place>, draw: [u64; 4]) -> usize {
    let (min, max) = (options.election_ticks_min, options.election_ticks_max);
    let range = max - min;
    let (first, ticks) = match place {
        None => (0, range),
        Some(Place { before, candidates }) => (
            range * before / candidates,
            (range / candidates).div_ceil(2),
        ),
    };
    let hash = draw
        .into_iter()
        .fold(options.seed, |hash, part| mix(hash ^ part));
    min + first + (hash % ticks.max(1) as u64) as usize
}

/// The finaliser of SplitMix64 (Steele, Lea, Flood 2014).
fn mix(value: u64) -> u64 {
    let value = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn followers_of_one_leader_never_campaign_at_the_same_time() {
        let options = PeerOptions::default();
        let (min, max) = (options.election_ticks_min, options.election_ticks_max);
        for candidates in 1..=6 {
            let mut last = min;
            for before in 0..candidates {
                let place = Some(Place { before, candidates });
                let drawn = (0..100).map(|term| timeout_ticks(&options, place, [7, 8, term, 0]));
                let drawn: Vec<_> = drawn.collect();
                let (first, end) = (drawn.iter().min().unwrap(), drawn.iter().max().unwrap());
                assert!(
                    *first >= last && *end < max,
                    "{before} of {candidates}: {drawn:?}"
                );
                last = end + 1;
            }
        }
    }

    #[test]
    fn without_a_leader_the_whole_range_is_drawn_from() {
        let options = PeerOptions::default();
        let drawn = (0..1_000).map(|term| timeout_ticks(&options, None, [7, 8, term, 0]));
        let drawn: std::collections::BTreeSet<_> = drawn.collect();
        let all = options.election_ticks_min..options.election_ticks_max;
        assert!(drawn.into_iter().eq(all));
    }
}
