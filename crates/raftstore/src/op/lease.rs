//! Leader leases: for how long a leader may answer reads without asking the others.
//!
//! **How it holds.** A follower that hears its leader *promises*: until [`promise`] has passed on its
//! own clock it neither votes nor campaigns, unless the leader itself asks for that by a transfer. The
//! leader's lease begins when it *sent* what a quorum then acknowledged (a proposal that is committed, or
//! the heartbeats of a ReadIndex confirmation), and lasts [`length`], nine tenths of a promise. Each
//! promise of that quorum begins after the sending and so ends after the lease, and every quorum that
//! could elect another leader has a member of it.
//!
//! **Why clocks and not ticks.** Ticks pile up while a store's threads stand still, and a handful that is
//! handled at once would end a promise that has just begun.
//!
//! **What is assumed.** Clocks do not go back, go on while a process is stopped or a machine sleeps, and
//! run at rates that differ by less than one part in nine between any two stores. All stores have the
//! same election timeout.
//!
//! **What ends a lease early.** A restart ends it for the leader, but not the promises: a replica that
//! starts in a term in which somebody may have led promises anew, since it can't know what it said before.
//! The end of the leader's term, by whatever message, ends it before the answer to that message leaves. So
//! does the request to campaign that a transfer sends; as that request may arrive at any later time, no
//! lease follows it in the same term. What takes keys away from a Region (split, merge) withholds the
//! lease from its proposal until it is applied: others may have applied it first, and write there. A
//! change of membership gives it up when it is applied: from then on other quorums count.
//!
//! **Invariants.** A lease is used only by a replica that has applied an entry of its own term: then it
//! has applied all that was acknowledged in earlier ones. Times are compared with times of the same
//! store only.
//!
//! **Not here.** Clocks and the readers (`node::local_read`). When a confirmation begins (`peer`).
//!
//! After Ongaro's thesis, §6.4.1, and TiKV's raftstore.

use std::time::Duration;

/// A reading of a store's monotonic clock, in nanoseconds since some moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct MonotonicTime(pub u64);

impl MonotonicTime {
    /// So much later.
    pub fn after(self, span: Duration) -> Self {
        let nanos = u64::try_from(span.as_nanos()).unwrap_or(u64::MAX);
        Self(self.0.saturating_add(nanos))
    }

    /// How long until `later`; zero if it has passed.
    pub fn until(self, later: Self) -> Duration {
        Duration::from_nanos(later.0.saturating_sub(self.0))
    }
}

/// How long a follower keeps its promise after it has heard its leader.
pub fn promise(tick: Duration, election_ticks_min: usize) -> Duration {
    tick.saturating_mul(u32::try_from(election_ticks_min).unwrap_or(u32::MAX))
}

/// How long a lease lasts from its sending on: with TiKV's defaults 9 s, its `raft-store-max-leader-lease`.
pub fn length(promise: Duration) -> Duration {
    promise / 10 * 9
}

/// Whether so much of a lease is left that a reader should have it renewed: a quarter.
pub fn wants_renewal(left: Duration, length: Duration) -> bool {
    left <= length / 4
}

/// Why there is no lease, however recently a quorum answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Withheld {
    No,
    /// An entry at this index, once applied, may take keys away.
    UntilApplied(u64),
    /// The leader has asked another one to campaign.
    ForTheTerm,
}

/// A leader's lease, as its Peer knows it.
#[derive(Debug)]
pub(crate) struct Lease {
    length: Duration,
    /// The term in which it was granted; in another one there is none.
    term: u64,
    until: MonotonicTime,
    withheld: Withheld,
    /// What was sent before does not count.
    counts_from: MonotonicTime,
}

impl Lease {
    pub(crate) fn new(length: Duration) -> Self {
        Self {
            length,
            term: 0,
            until: MonotonicTime::default(),
            withheld: Withheld::No,
            counts_from: MonotonicTime::default(),
        }
    }

    pub(crate) fn length(&self) -> Duration {
        self.length
    }

    /// The replica is in this term. What was known of an earlier one is forgotten.
    pub(crate) fn enter(&mut self, term: u64) {
        if self.term != term {
            assert!(self.term < term, "terms don't go back");
            self.term = term;
            self.until = MonotonicTime::default();
            self.withheld = Withheld::No;
        }
    }

    /// A quorum has acknowledged what the leader of the present term sent no earlier than `sent_at`.
    pub(crate) fn acknowledged(&mut self, sent_at: MonotonicTime) {
        if sent_at >= self.counts_from {
            self.until = self.until.max(sent_at.after(self.length));
        }
    }

    /// The lease ends now; what is sent from `now` on may bring a new one.
    pub(crate) fn give_up(&mut self, now: MonotonicTime) {
        self.until = MonotonicTime::default();
        // The clock may not have moved since the last sending.
        self.counts_from = now.after(Duration::from_nanos(1));
    }

    /// No lease until the entry at `index` is applied.
    pub(crate) fn withhold_until_applied(&mut self, index: u64) {
        self.withheld = match self.withheld {
            Withheld::No => Withheld::UntilApplied(index),
            Withheld::UntilApplied(known) => Withheld::UntilApplied(known.max(index)),
            Withheld::ForTheTerm => Withheld::ForTheTerm,
        };
    }

    /// No lease in this term any more.
    pub(crate) fn withhold_for_the_term(&mut self) {
        self.withheld = Withheld::ForTheTerm;
    }

    /// Entries up to `index` are applied.
    pub(crate) fn applied(&mut self, index: u64) {
        if matches!(self.withheld, Withheld::UntilApplied(awaited) if awaited <= index) {
            self.withheld = Withheld::No;
        }
    }

    /// When the lease of this term ends, if there is one; that may be in the past.
    pub(crate) fn end(&self, term: u64) -> Option<MonotonicTime> {
        let is_open = self.withheld == Withheld::No && self.term == term;
        (is_open && self.until > MonotonicTime::default()).then_some(self.until)
    }
}

/// What a follower owes the leader that it heard last.
#[derive(Debug)]
pub(crate) struct Promise {
    length: Duration,
    until: Until,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Until {
    /// For a whole length from the first look at the clock on.
    Unknown,
    At(MonotonicTime),
}

impl Promise {
    /// `may_owe`: whether an earlier life of the replica may have promised something.
    pub(crate) fn new(length: Duration, may_owe: bool) -> Self {
        let until = match may_owe {
            true => Until::Unknown,
            false => Until::At(MonotonicTime::default()),
        };
        Self { length, until }
    }

    /// The clock shows this much at least. To be called before anything else.
    pub(crate) fn look(&mut self, now: MonotonicTime) {
        if self.until == Until::Unknown {
            self.until = Until::At(now.after(self.length));
        }
    }

    /// The leader was heard. `now` is read after its message was taken up.
    pub(crate) fn heard(&mut self, now: MonotonicTime) {
        self.until = Until::At(now.after(self.length));
    }

    /// Whether the replica must neither vote nor campaign.
    pub(crate) fn holds(&self, now: MonotonicTime) -> bool {
        match self.until {
            Until::Unknown => true,
            Until::At(until) => now < until,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn at(seconds: u64) -> MonotonicTime {
        MonotonicTime(seconds * SECOND)
    }

    fn lease() -> Lease {
        let mut lease = Lease::new(Duration::from_secs(9));
        lease.enter(6);
        lease
    }

    #[test]
    fn a_lease_lasts_nine_tenths_of_a_promise_at_any_tick() {
        assert_eq!(length(promise(Duration::from_secs(1), 10)).as_secs(), 9);
        for tick in [1, 10, 50, 1000, 3000].map(Duration::from_millis) {
            for ticks in [2, 3, 10, 100] {
                let promise = promise(tick, ticks);
                assert!(length(promise) * 10 <= promise * 9, "{tick:?} {ticks}");
                assert!(length(promise) > promise / 2);
            }
        }
    }

    #[test]
    fn a_lease_counts_from_the_sending_and_never_shrinks_by_an_older_one() {
        let mut lease = lease();
        assert_eq!(lease.end(6), None);
        lease.acknowledged(at(10));
        lease.acknowledged(at(8));
        assert_eq!(lease.end(6), Some(at(19)));
        assert_eq!(lease.end(7), None, "it is the term's");
    }

    #[test]
    fn a_new_term_forgets_the_lease_and_why_there_was_none() {
        let mut lease = lease();
        lease.acknowledged(at(10));
        lease.withhold_for_the_term();
        lease.enter(7);
        assert_eq!(lease.end(7), None);
        lease.acknowledged(at(11));
        assert_eq!(lease.end(7), Some(at(20)));
    }

    #[test]
    fn what_was_sent_before_a_lease_was_given_up_brings_none_back() {
        let mut lease = lease();
        lease.acknowledged(at(10));
        lease.give_up(at(12));
        lease.acknowledged(at(11));
        lease.acknowledged(at(12));
        assert_eq!(lease.end(6), None);
        lease.acknowledged(at(13));
        assert_eq!(lease.end(6), Some(at(22)));
    }

    #[test]
    fn a_withheld_lease_comes_back_when_the_last_entry_is_applied() {
        let mut lease = lease();
        lease.acknowledged(at(10));
        lease.withhold_until_applied(40);
        lease.withhold_until_applied(30);
        lease.applied(39);
        assert_eq!(lease.end(6), None);
        lease.applied(41);
        assert_eq!(lease.end(6), Some(at(19)));
    }

    #[test]
    fn after_a_request_to_campaign_nothing_brings_the_lease_of_that_term_back() {
        let mut lease = lease();
        lease.withhold_for_the_term();
        lease.withhold_until_applied(30);
        lease.applied(30);
        lease.acknowledged(at(100));
        assert_eq!(lease.end(6), None);
    }

    #[test]
    fn a_promise_holds_for_its_length_and_longer_if_the_leader_is_heard_again() {
        let mut promise = Promise::new(Duration::from_secs(10), false);
        promise.look(at(3));
        assert!(!promise.holds(at(3)));
        promise.heard(at(5));
        promise.heard(at(7));
        assert!(promise.holds(MonotonicTime(17 * SECOND - 1)));
        assert!(!promise.holds(at(17)));
    }

    #[test]
    fn a_replica_that_starts_again_promises_from_its_first_look_at_the_clock() {
        let mut promise = Promise::new(Duration::from_secs(10), true);
        assert!(promise.holds(at(1_000_000)));
        promise.look(at(50));
        promise.look(at(55));
        assert!(promise.holds(at(59)));
        assert!(!promise.holds(at(60)));
    }
}
