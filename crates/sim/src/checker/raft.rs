//! Raft's own promises, as seen from outside: leaders and votes are unique in a term, a term in which
//! something was promised is not forgotten, and nothing goes back within a life of a store.
//!
//! **Invariants.** What was seen is never forgotten, so a promise that is broken after a crash is
//! found too.

use raft::eraftpb::MessageType;
use raftstore::{Leadership, RaftMessage};
use std::collections::BTreeMap;
use types::{PeerId, RegionId};

/// Who led, and who voted for whom.
#[derive(Debug, Default)]
pub(crate) struct RaftChecker {
    /// By Region and term.
    leaders: BTreeMap<(RegionId, u64), PeerId>,
    /// By Region, term and voter.
    votes: BTreeMap<(RegionId, u64, PeerId), PeerId>,
    /// By Region, term and sender: an append speaks for the term's leader.
    appends: BTreeMap<(RegionId, u64), PeerId>,
    /// By Region and sender: the term that it may never go back behind, since what it said is a
    /// promise in it.
    promised: BTreeMap<(RegionId, PeerId), u64>,
}

/// What must not go back while a store lives.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    terms: BTreeMap<RegionId, u64>,
    applied: BTreeMap<RegionId, u64>,
}

impl RaftChecker {
    /// A replica has announced itself or another one as leader.
    pub(crate) fn leadership(&mut self, leadership: &Leadership) -> Result<(), String> {
        let Some(leader) = leadership.leader else {
            return Ok(());
        };
        let (region, term) = (leadership.region_id, leadership.term);
        let known = *self.leaders.entry((region, term)).or_insert(leader.id);
        match known == leader.id {
            true => Ok(()),
            false => Err(format!(
                "Region {region} has two leaders in term {term}: {known} and {}",
                leader.id
            )),
        }
    }

    /// A replica has sent a message.
    pub(crate) fn sent(&mut self, message: &RaftMessage) -> Result<(), String> {
        if message.is_tombstone || message.extra.is_some() {
            // Neither carries one of Raft's messages.
            return Ok(());
        }
        self.keeps_its_term(message)?;
        let (region, term) = (message.region_id, message.message.term);
        let (from, to) = (message.from.id, message.to.id);
        match message.message.get_msg_type() {
            MessageType::MsgRequestVoteResponse if !message.message.reject => {
                let known = *self.votes.entry((region, term, from)).or_insert(to);
                if known != to {
                    return Err(format!(
                        "Peer {from} of Region {region} voted for {known} and for {to} in term {term}"
                    ));
                }
            }
            MessageType::MsgAppend | MessageType::MsgHeartbeat | MessageType::MsgSnapshot => {
                let known = *self.appends.entry((region, term)).or_insert(from);
                if known != from {
                    return Err(format!(
                        "{known} and {from} both speak as leader of Region {region} in term {term}"
                    ));
                }
            }
            _ => {}
        }
        Ok(())
    }
}

impl RaftChecker {
    fn keeps_its_term(&mut self, message: &RaftMessage) -> Result<(), String> {
        let (region, from) = (message.region_id, message.from.id);
        let (kind, reject) = (message.message.get_msg_type(), message.message.reject);
        let own_term = match kind {
            // It asks for the term to come.
            MessageType::MsgRequestPreVote => message.message.term - 1,
            // It repeats the question's term.
            MessageType::MsgRequestPreVoteResponse if !reject => return Ok(()),
            // It has none.
            MessageType::MsgReadIndex => return Ok(()),
            // It leaves when its stream begins, which may be after its sender was deposed.
            MessageType::MsgSnapshot => return Ok(()),
            _ => message.message.term,
        };
        let promised = self.promised.entry((region, from)).or_default();
        if own_term < *promised {
            return Err(format!(
                "Peer {from} of Region {region} is in term {own_term} after it had promised term {promised}"
            ));
        }
        let is_promise = match kind {
            MessageType::MsgRequestVote => true,
            MessageType::MsgRequestVoteResponse | MessageType::MsgAppendResponse => !reject,
            _ => false,
        };
        if is_promise {
            *promised = own_term;
        }
        Ok(())
    }
}

impl Progress {
    /// A replica of this store is in this term.
    pub(crate) fn term(&mut self, region: RegionId, term: u64) -> Result<(), String> {
        Self::advance(&mut self.terms, "term", region, term).map(drop)
    }

    /// A replica of this store has applied so far. True if that is news.
    pub(crate) fn applied(&mut self, region: RegionId, index: u64) -> Result<bool, String> {
        Self::advance(&mut self.applied, "applied index", region, index)
    }

    /// A replica that comes where another one was removed begins anew.
    pub(crate) fn forget_removed(&mut self, is_here: impl Fn(RegionId) -> bool) {
        self.terms.retain(|region, _| is_here(*region));
        self.applied.retain(|region, _| is_here(*region));
    }

    fn advance(
        known: &mut BTreeMap<RegionId, u64>,
        what: &str,
        region: RegionId,
        value: u64,
    ) -> Result<bool, String> {
        match known.insert(region, value) {
            Some(before) if before > value => Err(format!(
                "the {what} of Region {region} went back from {before} to {value}"
            )),
            before => Ok(before != Some(value)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use raft::eraftpb::Message;
    use types::{Epoch, Peer, StoreId};

    fn peer(id: u64) -> Peer {
        Peer {
            id: PeerId(id),
            store_id: StoreId(id),
            ..Peer::default()
        }
    }

    fn leads(id: u64, term: u64) -> Leadership {
        Leadership {
            region_id: RegionId(2),
            leader: Some(peer(id)),
            is_self: true,
            term,
            epoch: Epoch::default(),
        }
    }

    fn vote(to: u64, reject: bool) -> RaftMessage {
        let mut message = Message::default();
        message.set_msg_type(MessageType::MsgRequestVoteResponse);
        (message.term, message.reject) = (7, reject);
        RaftMessage {
            region_id: RegionId(2),
            from: peer(1),
            to: peer(to),
            epoch: Epoch::default(),
            message,
            ..RaftMessage::default()
        }
    }

    #[test]
    fn two_leaders_in_one_term_are_found() {
        let mut checker = RaftChecker::default();
        assert!(checker.leadership(&leads(1, 6)).is_ok());
        assert!(checker.leadership(&leads(2, 7)).is_ok());
        assert!(checker.leadership(&leads(1, 6)).is_ok());
        assert!(checker.leadership(&leads(1, 7)).is_err());
    }

    #[test]
    fn two_votes_in_one_term_are_found_and_a_refusal_is_none() {
        let mut checker = RaftChecker::default();
        assert!(checker.sent(&vote(2, false)).is_ok());
        assert!(checker.sent(&vote(3, true)).is_ok());
        assert!(checker.sent(&vote(2, false)).is_ok());
        assert!(checker.sent(&vote(3, false)).is_err());
    }

    #[test]
    fn a_term_that_goes_back_behind_a_vote_is_found() {
        let mut checker = RaftChecker::default();
        let in_term = |term, mut message: RaftMessage| {
            message.message.term = term;
            message
        };
        assert!(checker.sent(&in_term(8, vote(2, true))).is_ok());
        assert!(
            checker.sent(&in_term(7, vote(2, false))).is_ok(),
            "no promise"
        );
        assert!(checker.sent(&in_term(6, vote(2, true))).is_err());
        let mut question = in_term(8, vote(2, false));
        question
            .message
            .set_msg_type(MessageType::MsgRequestPreVote);
        assert!(checker.sent(&question).is_ok());
        question.message.term = 7;
        assert!(checker.sent(&question).is_err());
    }

    #[test]
    fn what_goes_back_is_found() {
        let mut progress = Progress::default();
        assert_eq!(progress.applied(RegionId(2), 6), Ok(true));
        assert_eq!(progress.applied(RegionId(2), 6), Ok(false));
        assert!(progress.applied(RegionId(2), 5).is_err());
        assert!(progress.term(RegionId(2), 5).is_ok());
        assert!(progress.term(RegionId(2), 4).is_err());
    }
}
