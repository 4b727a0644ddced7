//! What a message must be, beside this replica and its log, before raft-rs may see it.
//!
//! **Why.** raft-rs ends the process where a message contradicts its log. That is right if the log is
//! wrong and wrong if the message is; here the two are told apart.
//!
//! **Invariants.** Nothing passes that makes raft-rs panic. Whatever a correct member sends passes,
//! however late, often or out of order it arrives.
//!
//! **Not here.** What a message says by itself (`message`).

use super::Peer;
use crate::effect::{Contradiction, Effect, Refusal};
use crate::message::RaftMessage;
use crate::op::snapshot::SnapshotMeta;
use ::raft::eraftpb::{Message, MessageType};

/// The most senders whom a replica that lags behind its Region remembers, to answer them.
const STRANGERS_MAX: usize = 16;

/// What an envelope means to this replica.
enum Address {
    /// It is for this replica, from a member of its Region.
    Known,
    /// It is for this replica, from somebody who joined after what this replica knows.
    Stranger,
    /// Its sender was removed.
    FromRemoved,
    /// This replica was removed.
    Removed,
    /// No correct member sends it.
    Wrong(&'static str),
}

impl Peer {
    pub(crate) fn receive(&mut self, message: Box<RaftMessage>, out: &mut Vec<Effect>) {
        if self.is_deaf_to(&message) || !self.lets_in(&message, out) {
            return self.drop_snapshot(&message, out);
        }
        if let Some(extra) = message.extra {
            return self.hear_extra(message.from, extra, out);
        }
        let kind = message.message.get_msg_type();
        // A follower's raft-rs would send the question on, in a name that is not its own.
        let is_misdirected = kind == MessageType::MsgReadIndex && !self.is_leader();
        let is_barred = self.is_barred_by_promise(&message) || self.is_barred_by_quarantine(kind);
        if is_misdirected || is_barred || self.hear_word(&message, out) {
            return;
        }
        let from_leader = message.message.term >= self.term()
            && matches!(
                kind,
                MessageType::MsgAppend | MessageType::MsgHeartbeat | MessageType::MsgSnapshot
            );
        match kind {
            MessageType::MsgSnapshot => self.receive_snapshot(message, out),
            MessageType::MsgReadIndex => self.asked_for_index(message.message),
            _ => {
                // The errors are those of messages that came too late: from a replica that was
                // removed, or a proposal that nobody made.
                let _ = self.raw.step(message.message);
            }
        }
        if from_leader && !self.is_leader() {
            self.promise.heard(self.now);
            self.standing.leaderless_ticks = 0;
        }
    }

    fn lets_in(&mut self, message: &RaftMessage, out: &mut Vec<Effect>) -> bool {
        match self.judge_address(message) {
            Address::Known => {}
            Address::Stranger => self.remember(message),
            Address::FromRemoved => {
                self.say_farewell(message, out);
                return false;
            }
            Address::Removed => {
                self.leave(message.epoch, out);
                return false;
            }
            Address::Wrong(reason) => {
                refuse(message, reason, out);
                return false;
            }
        }
        let checked = self
            .check_against_log(&message.message)
            .and_then(|()| self.check_snapshot(message));
        if let Err(reason) = checked {
            refuse(message, reason, out);
            return false;
        }
        if let Some(contradiction) = self.find_contradiction(message) {
            out.push(Effect::Contradiction(contradiction));
            return false;
        }
        self.heard_from(message.from.id);
        let brings_entries = message.message.get_msg_type() == MessageType::MsgAppend
            && !message.message.get_entries().is_empty();
        !self.is_apply_behind || !brings_entries
    }

    /// Ids of Peers are never used twice and grow, and every change of membership counts up the
    /// epoch: together they tell who is behind.
    fn judge_address(&self, message: &RaftMessage) -> Address {
        let (theirs, ours) = (message.epoch.conf_ver, self.region.epoch.conf_ver);
        let is_later = theirs > ours || !self.is_initialized();
        if message.region_id != self.region.id || message.to.store_id != self.me.store_id {
            return Address::Wrong("it is for another replica");
        }
        if message.merged_into.is_some() {
            return Address::Wrong("it is for the store to judge");
        }
        if message.to.id != self.me.id {
            return match message.to.id > self.me.id && is_later {
                true => Address::Removed,
                false => Address::Wrong("it is for another replica"),
            };
        }
        if message.is_tombstone {
            return match is_later {
                true => Address::Removed,
                false => Address::Wrong("it says farewell to a member"),
            };
        }
        match self.region.peer(message.from.id) {
            Some(sender) if sender.store_id == message.from.store_id => Address::Known,
            Some(_) => Address::Wrong("its sender is on another store"),
            None if is_later => Address::Stranger,
            None if theirs < ours => Address::FromRemoved,
            None => Address::Wrong("its sender is no member of the Region"),
        }
    }

    fn remember(&mut self, message: &RaftMessage) {
        let sender = message.from;
        let heard = &mut self.standing.heard_epoch;
        if message.epoch.conf_ver > heard.conf_ver {
            *heard = message.epoch;
        }
        if self.strangers.iter().any(|known| known.id == sender.id) {
            return;
        }
        if self.strangers.len() == STRANGERS_MAX {
            self.strangers.remove(0);
        }
        self.strangers.push(sender);
    }

    fn check_snapshot(&self, message: &RaftMessage) -> Result<(), &'static str> {
        if message.message.get_msg_type() != MessageType::MsgSnapshot {
            return Ok(());
        }
        let meta = SnapshotMeta::of_message(message)?;
        let (theirs, ours) = (meta.region.epoch, self.region.epoch);
        if theirs.version < ours.version || theirs.conf_ver < ours.conf_ver {
            return Err("its snapshot is of an older epoch");
        }
        let log = &self.raw.raft.raft_log;
        let is_known = (log.first_index() - 1..=log.committed).contains(&meta.index);
        match !is_known || log.match_term(meta.index, meta.term) {
            true => Ok(()),
            false => Err("its snapshot contradicts what is committed here"),
        }
    }

    fn check_against_log(&self, message: &Message) -> Result<(), &'static str> {
        use MessageType::*;
        if message.term < self.term() {
            return Ok(());
        }
        let kind = message.get_msg_type();
        let log = &self.raw.raft.raft_log;
        let speaks_as_leader = matches!(kind, MsgAppend | MsgHeartbeat | MsgSnapshot);
        if speaks_as_leader && self.is_leader() && message.term == self.term() {
            return Err("it speaks as leader in the term in which this replica leads");
        }
        let is_consent = !message.reject;
        if kind == MsgAppendResponse && is_consent && message.index > log.last_index() {
            return Err("it acknowledges more than there is");
        }
        // The question leaves after everything before it is durable, and raft-rs relies on that when
        // it counts the votes.
        if kind == MsgRequestVoteResponse && is_consent && message.term != self.votes_asked_term {
            return Err("it gives a vote that was not asked for");
        }
        Ok(())
    }

    /// A leader's heartbeat names what is committed *and* acknowledged by the receiver in the leader's
    /// term. Until a later term, in which the heartbeat no longer counts, nobody cuts that off again;
    /// a log that ends before it has forgotten what it acknowledged.
    fn find_contradiction(&self, message: &RaftMessage) -> Option<Contradiction> {
        let last_index = self.raw.raft.raft_log.last_index();
        let raft = &message.message;
        let proves = raft.get_msg_type() == MessageType::MsgHeartbeat
            && raft.term >= self.term()
            && raft.commit > last_index;
        proves.then_some(Contradiction {
            region_id: self.region.id,
            leader: message.from,
            term: raft.term,
            committed: raft.commit,
            last_index,
        })
    }
}

fn refuse(message: &RaftMessage, reason: &'static str, out: &mut Vec<Effect>) {
    out.push(Effect::Refused(Refusal {
        region_id: message.region_id,
        from: message.from,
        reason,
    }));
}
