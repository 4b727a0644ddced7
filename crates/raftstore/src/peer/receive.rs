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
use ::raft::eraftpb::{Message, MessageType};

impl Peer {
    pub(super) fn receive(&mut self, message: Box<RaftMessage>, out: &mut Vec<Effect>) {
        let checked = self
            .check_address(&message)
            .and_then(|()| self.check_against_log(&message.message));
        if let Err(reason) = checked {
            out.push(Effect::Refused(Refusal {
                region_id: message.region_id,
                from: message.from,
                reason,
            }));
            return;
        }
        if let Some(contradiction) = self.find_contradiction(&message) {
            out.push(Effect::Contradiction(contradiction));
            return;
        }
        if self.is_apply_behind && !message.message.get_entries().is_empty() {
            return;
        }
        // The errors are those of messages that came too late: from a replica that was removed, or
        // a proposal that nobody made.
        let _ = self.raw.step(message.message);
    }

    /// Regions don't change yet, so all members are in the same epoch. Once they do, a replica behind
    /// has to let in those whom it does not know yet.
    fn check_address(&self, message: &RaftMessage) -> Result<(), &'static str> {
        if message.region_id != self.region.id || message.to.id != self.me.id {
            return Err("it is for another replica");
        }
        let sender = self.region.peer(message.from.id);
        if sender.is_none_or(|sender| sender.store_id != message.from.store_id) {
            return Err("its sender is no member of the Region");
        }
        if message.epoch != self.region.epoch {
            return Err("it is of another epoch");
        }
        Ok(())
    }

    fn check_against_log(&self, message: &Message) -> Result<(), &'static str> {
        use MessageType::*;
        if message.term < self.term() {
            return Ok(());
        }
        let kind = message.get_msg_type();
        let log = &self.raw.raft.raft_log;
        let speaks_as_leader = matches!(kind, MsgAppend | MsgHeartbeat);
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
