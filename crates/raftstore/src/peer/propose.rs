//! Proposals: commands of one round gathered into one entry, and the requests that wait for it.
//!
//! **Invariants.** Waiting proposals are ordered by index and by term. A proposal is answered when
//! an entry is committed at its index, or at any index in a later term: terms never decrease along
//! a log, so its own entry can't come any more. Where neither happens soon, because the leader that
//! proposed it was deposed and is cut off, it is answered as undetermined.

use super::idle::{give_back, give_back_queue};
use crate::command::{BatchEncoder, Command};
use crate::effect::{ApplyEntry, Effect};
use crate::error::RequestError;
use crate::op::lease::MonotonicTime;
use std::collections::VecDeque;
use types::{Epoch, LogEntry, RequestId};

/// One entry that this replica proposed as leader.
pub(super) struct Proposal {
    pub(super) index: u64,
    pub(super) term: u64,
    pub(super) proposed_at: MonotonicTime,
    pub(super) requests: Vec<RequestId>,
}

/// The round's batch, and all proposals whose fate is open.
#[derive(Default)]
pub(crate) struct Proposals {
    batch: BatchEncoder,
    batch_requests: Vec<RequestId>,
    waiting: VecDeque<Proposal>,
    /// Of the own proposal that was committed last: its term, and when it was made.
    last_committed: Option<(u64, MonotonicTime)>,
}

/// A batch to be proposed as one entry.
pub(super) struct Batch {
    pub(super) data: Vec<u8>,
    pub(super) requests: Vec<RequestId>,
}

impl Proposals {
    /// Adds a command that was checked against `epoch`.
    pub(super) fn push(&mut self, epoch: Epoch, request: RequestId, command: &Command) {
        if self.batch.is_empty() {
            self.batch.begin(epoch);
        }
        self.batch.push(command);
        self.batch_requests.push(request);
    }

    /// Adds a command that nobody waits for, as the last one of its batch.
    pub(crate) fn push_own(&mut self, epoch: Epoch, command: &Command) {
        if self.batch.is_empty() {
            self.batch.begin(epoch);
        }
        self.batch.push(command);
    }

    /// Whether nothing is gathered and nobody waits.
    pub(super) fn is_empty(&self) -> bool {
        self.batch.is_empty() && self.waiting.is_empty()
    }

    /// Frees what nothing is in.
    pub(super) fn give_back_buffers(&mut self) {
        give_back(&mut self.batch_requests);
        give_back_queue(&mut self.waiting);
    }

    pub(super) fn batch_bytes(&self) -> usize {
        self.batch.size_bytes()
    }

    /// The round's batch, if there is one.
    pub(super) fn take_batch(&mut self) -> Option<Batch> {
        (!self.batch.is_empty()).then(|| Batch {
            data: self.batch.take(),
            requests: std::mem::take(&mut self.batch_requests),
        })
    }

    /// Notes that a batch went into the log.
    pub(super) fn proposed(&mut self, proposal: Proposal) {
        if let Some(last) = self.waiting.back() {
            assert!(
                (last.term, last.index) < (proposal.term, proposal.index),
                "proposals are made in log order"
            );
        }
        self.waiting.push_back(proposal);
    }

    /// The term of the own proposal that was committed last, and when it was made; once.
    pub(super) fn take_last_committed(&mut self) -> Option<(u64, MonotonicTime)> {
        self.last_committed.take()
    }

    /// Joins a committed entry with who waits for it, and answers those whom it overtakes.
    pub(super) fn committed(&mut self, entry: LogEntry, out: &mut Vec<Effect>) -> ApplyEntry {
        while let Some(first) = self.waiting.front() {
            let overtaken =
                first.term < entry.term || (first.term == entry.term && first.index < entry.index);
            if !overtaken {
                break;
            }
            let proposal = self.waiting.pop_front().expect("just seen");
            for request in proposal.requests {
                out.push(Effect::Reply(request, Err(RequestError::StaleCommand)));
            }
        }
        let own = self
            .waiting
            .front()
            .is_some_and(|first| first.index == entry.index && first.term == entry.term);
        let requests = match own {
            true => {
                let proposal = self.waiting.pop_front().expect("just seen");
                self.last_committed = Some((proposal.term, proposal.proposed_at));
                proposal.requests
            }
            false => Vec::new(),
        };
        ApplyEntry { entry, requests }
    }

    /// Answers everybody, when the replica goes away.
    pub(super) fn abandon(&mut self, out: &mut Vec<Effect>) {
        let batch = self.take_batch().map_or(Vec::new(), |batch| batch.requests);
        for request in batch {
            out.push(Effect::Reply(request, Err(RequestError::Stopping)));
        }
        self.give_up_waiting(out);
    }

    /// Answers those whose proposals are in the log: there they may still be committed, and then
    /// nobody waits for them here.
    pub(super) fn give_up_waiting(&mut self, out: &mut Vec<Effect>) {
        for proposal in self.waiting.drain(..) {
            for request in proposal.requests {
                out.push(Effect::Reply(request, Err(RequestError::Undetermined)));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(index: u64, term: u64) -> LogEntry {
        LogEntry {
            index,
            term,
            ..LogEntry::default()
        }
    }

    fn proposed(at: &[(u64, u64)]) -> Proposals {
        let mut proposals = Proposals::default();
        for (index, term) in at {
            proposals.proposed(Proposal {
                index: *index,
                term: *term,
                proposed_at: MonotonicTime(*index),
                requests: vec![RequestId(*index)],
            });
        }
        proposals
    }

    fn stale(effects: &[Effect]) -> Vec<u64> {
        let stale = |effect: &Effect| match effect {
            Effect::Reply(request, Err(RequestError::StaleCommand)) => request.get(),
            other => panic!("unexpected {other:?}"),
        };
        effects.iter().map(stale).collect()
    }

    #[test]
    fn an_entry_finds_those_who_wait_for_it() {
        let mut proposals = proposed(&[(10, 2), (11, 2)]);
        let mut out = Vec::new();
        assert!(
            proposals
                .committed(entry(9, 2), &mut out)
                .requests
                .is_empty()
        );
        assert_eq!(
            proposals.committed(entry(10, 2), &mut out).requests,
            [RequestId(10)]
        );
        assert_eq!(
            proposals.committed(entry(11, 2), &mut out).requests,
            [RequestId(11)]
        );
        assert!(out.is_empty());
        assert_eq!(
            proposals.take_last_committed(),
            Some((2, MonotonicTime(11)))
        );
    }

    #[test]
    fn one_entry_of_a_later_term_answers_all_proposals_of_earlier_ones() {
        let mut proposals = proposed(&[(10, 2), (11, 2), (12, 2)]);
        let mut out = Vec::new();
        let applied = proposals.committed(entry(10, 3), &mut out);
        assert!(applied.requests.is_empty());
        assert_eq!(stale(&out), [10, 11, 12]);
    }

    #[test]
    fn a_replica_that_goes_away_answers_everybody_once() {
        let mut proposals = proposed(&[(10, 2)]);
        proposals.push(Epoch::default(), RequestId(1), &Command::Write(vec![]));
        let mut out = Vec::new();
        proposals.abandon(&mut out);
        proposals.abandon(&mut out);
        assert_eq!(out.len(), 2);
    }
}
