//! The lease and the promise in the life of a Peer: what renews and ends them, and what readers on
//! other threads are told.
//!
//! **Invariants.** Readers are told that a lease has ended before any message leaves that could make
//! another replica lead: [`Effect::Lease`] comes before that [`Effect::Send`].
//!
//! **Not here.** Why a lease holds (`op::lease`).

use super::Peer;
use crate::effect::{Effect, LeaseChange, LeaseView};
use crate::message::RaftMessage;
use crate::op::lease::{self, MonotonicTime};
use ::raft::eraftpb::MessageType;
use ::raft::{CAMPAIGN_TRANSFER, StateRole};
use std::sync::Arc;
use types::Region;

/// What of a lease that readers were told of is asked for again.
pub(super) struct Published {
    region: Arc<Region>,
    term: u64,
    until: MonotonicTime,
}

impl Peer {
    /// An input that comes before each other one: the store's clock, read after that one was taken up.
    pub fn set_now(&mut self, now: MonotonicTime) {
        self.now = self.now.max(now);
        self.promise.look(self.now);
    }

    /// Gives up the lease: after a change of membership is applied, and wherever else a quorum has to
    /// be asked before the next read. The next confirmation, or the next commit of what is proposed from
    /// now on, brings it back.
    pub fn give_up_lease(&mut self) {
        self.lease.enter(self.term());
        self.lease.give_up(self.now);
    }

    /// Gives up the lease until the entry at `index`, which was just proposed and not collected yet, is
    /// applied here: for what takes keys away from the Region.
    pub fn withhold_lease_until_applied(&mut self, index: u64) {
        self.lease.enter(self.term());
        self.lease.withhold_until_applied(index);
    }

    /// The leader has asked another replica to campaign at once, or is about to.
    pub(super) fn withhold_lease_for_the_term(&mut self, out: &mut Vec<Effect>) {
        self.lease.enter(self.term());
        self.lease.withhold_for_the_term();
        self.publish_lease(out);
    }

    /// A quorum has acknowledged what was sent in `term` no earlier than `sent_at`.
    pub(super) fn quorum_answered(&mut self, term: u64, sent_at: MonotonicTime) {
        if self.is_leader() && term == self.term() {
            self.lease.enter(term);
            self.lease.acknowledged(sent_at);
        }
    }

    /// Readers find too little of the lease left.
    pub(super) fn renew_lease(&mut self) {
        let end = self.lease.end(self.term());
        let left = end.map_or_else(Default::default, |end| self.now.until(end));
        if self.is_leader() && lease::wants_renewal(left, self.lease.length()) {
            self.reads.want_confirmation();
        }
    }

    /// Tells readers what has changed for them. A longer lease is told once half of the one that they
    /// know is over.
    pub(super) fn publish_lease(&mut self, out: &mut Vec<Effect>) {
        let end = self.usable_lease_end();
        let change = match (end, &self.published) {
            (None, None) => return,
            (None, Some(_)) => LeaseChange::Ended(self.region.id),
            (Some(end), Some(known))
                if known.term == self.term()
                    && Arc::ptr_eq(&known.region, &self.region)
                    && (end <= known.until
                        || self.now.until(known.until) > self.lease.length() / 2) =>
            {
                return;
            }
            (Some(until), _) => LeaseChange::Granted(LeaseView {
                region: Arc::clone(&self.region),
                me: self.me,
                term: self.term(),
                until,
                length: self.lease.length(),
            }),
        };
        self.published = match &change {
            LeaseChange::Granted(view) => Some(Published {
                region: Arc::clone(&view.region),
                term: view.term,
                until: view.until,
            }),
            LeaseChange::Ended(_) => None,
        };
        out.push(Effect::Lease(change));
    }

    fn usable_lease_end(&self) -> Option<MonotonicTime> {
        let term = self.term();
        let applied = || self.raw.raft.raft_log.term(self.applied_index);
        let serves = !self.is_stopped && !self.is_leaving && self.quarantine().is_none();
        let is_usable = self.is_leader() && serves && applied() == Ok(term);
        let is_usable = is_usable && self.merging().is_none();
        is_usable.then(|| self.lease.end(term)).flatten()
    }

    /// Whether a message asks for what this replica has promised its leader not to give.
    pub(super) fn is_barred_by_promise(&self, message: &RaftMessage) -> bool {
        let message = &message.message;
        let asks_for_vote = matches!(
            message.get_msg_type(),
            MessageType::MsgRequestVote | MessageType::MsgRequestPreVote
        );
        asks_for_vote
            && message.term >= self.term()
            && message.context.as_ref() != CAMPAIGN_TRANSFER
            && self.promise.holds(self.now)
    }

    /// Tries to lead at once, if no leader was heard.
    pub(super) fn campaign(&mut self) {
        if !self.promise.holds(self.now) && self.quarantine().is_none() {
            let _ = self.raw.campaign();
        }
    }

    /// Whether it has asked if it would be voted for, and waits.
    pub(super) fn asks_for_votes(&self) -> bool {
        self.raw.raft.state == StateRole::PreCandidate
    }

    /// A new replica that asks whether it would be voted for asks again with each tick: a store may be about
    /// to start, or about to make its replica, and raft-rs would wait an election timeout. Nobody's term rises. The first in
    /// line goes on with that for longer, since a store that started later keeps its promises for longer.
    pub(super) fn campaign_again(&mut self) {
        let (min, max) = (
            self.options.election_ticks_min,
            self.options.election_ticks_max,
        );
        let until = match self.is_first_in_line() {
            true => max,
            false => min,
        };
        if self.ticks < until as u64 {
            self.campaign();
        }
    }

    /// raft-rs counts ticks, and ticks may come in a bundle: while the promise holds, the next one must
    /// not end in a campaign.
    pub(super) fn bar_campaign_by_promise(&mut self) {
        if !self.is_leader() && self.promise.holds(self.now) {
            let last = self.options.election_ticks_min.saturating_sub(2);
            let elapsed = &mut self.raw.raft.election_elapsed;
            *elapsed = last.min(*elapsed);
        }
    }
}
