//! Linearizable reads by ReadIndex (Raft §6.4): one confirmation at a time, for all reads that have
//! arrived since the last one began.
//!
//! A read is ready when the leader's place was confirmed by a quorum *after* the read arrived, and
//! everything that was committed at that moment has been applied here.
//!
//! **Invariants.** Confirmed reads are ordered by index. A read is answered once.
//!
//! **Not here.** The read itself: the asker takes a snapshot when it hears `ReadReady`.

use crate::effect::{Effect, Reply};
use crate::error::RequestError;
use std::collections::VecDeque;
use std::sync::Arc;
use types::{Region, RequestId};

/// Reads in their three stages.
#[derive(Default)]
pub(super) struct Reads {
    /// Arrived, not yet sent for confirmation.
    arrived: Vec<RequestId>,
    /// Waiting for a quorum, while a confirmation is under way.
    confirming: Option<Vec<RequestId>>,
    /// Confirmed, waiting until `index` is applied.
    confirmed: VecDeque<(u64, Vec<RequestId>)>,
    /// The number of the last confirmation: what raft-rs knows it by.
    confirmations: u64,
}

impl Reads {
    pub(super) fn push(&mut self, request: RequestId) {
        self.arrived.push(request);
    }

    /// Whether a confirmation should begin. While one is under way, what arrives gathers for the
    /// next: a confirmation costs a message to every replica, however many reads it answers.
    pub(super) fn wants_confirmation(&self) -> bool {
        !self.arrived.is_empty() && self.confirming.is_none()
    }

    /// Moves the arrived reads under one confirmation and returns the context to ask raft-rs with.
    pub(super) fn begin_confirmation(&mut self) -> Vec<u8> {
        self.confirmations += 1;
        self.confirming = Some(std::mem::take(&mut self.arrived));
        self.confirmations.to_be_bytes().to_vec()
    }

    /// A quorum confirmed; the reads wait for `index`. Contexts that are not ours are ignored.
    pub(super) fn confirmed(&mut self, context: &[u8], index: u64) {
        if context != self.confirmations.to_be_bytes() {
            return;
        }
        if let Some(requests) = self.confirming.take() {
            if let Some((last, _)) = self.confirmed.back() {
                assert!(*last <= index, "confirmations come in order");
            }
            self.confirmed.push_back((index, requests));
        }
    }

    /// Whether a read waits for nothing but its index.
    pub(super) fn await_applied(&self) -> bool {
        !self.confirmed.is_empty()
    }

    /// Answers the reads whose index is applied.
    pub(super) fn applied(
        &mut self,
        applied_index: u64,
        region: &Arc<Region>,
        out: &mut Vec<Effect>,
    ) {
        while self
            .confirmed
            .front()
            .is_some_and(|(index, _)| *index <= applied_index)
        {
            let (_, requests) = self.confirmed.pop_front().expect("just seen");
            for request in requests {
                out.push(Effect::Reply(request, Ok(Reply::ReadReady(region.clone()))));
            }
        }
    }

    /// Answers every read with an error: a read may always be tried again elsewhere.
    pub(super) fn fail(&mut self, error: &RequestError, out: &mut Vec<Effect>) {
        let arrived = std::mem::take(&mut self.arrived);
        let confirming = self.confirming.take().into_iter().flatten();
        let confirmed = std::mem::take(&mut self.confirmed);
        let confirmed = confirmed.into_iter().flat_map(|(_, requests)| requests);
        for request in arrived.into_iter().chain(confirming).chain(confirmed) {
            out.push(Effect::Reply(request, Err(error.clone())));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ready(out: &[Effect]) -> Vec<u64> {
        let ready = |effect: &Effect| match effect {
            Effect::Reply(request, Ok(Reply::ReadReady(_))) => request.get(),
            other => panic!("unexpected {other:?}"),
        };
        out.iter().map(ready).collect()
    }

    #[test]
    fn a_read_waits_for_its_confirmation_and_for_its_index() {
        let (mut reads, mut out) = (Reads::default(), Vec::new());
        reads.push(RequestId(1));
        reads.push(RequestId(2));
        assert!(reads.wants_confirmation());
        let context = reads.begin_confirmation();
        reads.push(RequestId(3));
        assert!(!reads.wants_confirmation(), "one at a time");
        reads.applied(100, &Arc::default(), &mut out);
        assert!(out.is_empty(), "nothing is confirmed yet");
        reads.confirmed(&context, 101);
        reads.applied(100, &Arc::default(), &mut out);
        assert!(out.is_empty(), "101 is not applied yet");
        assert!(reads.await_applied());
        reads.applied(101, &Arc::default(), &mut out);
        assert_eq!(ready(&out), [1, 2]);
        assert!(!reads.await_applied());
    }

    #[test]
    fn a_foreign_confirmation_answers_nobody() {
        let (mut reads, mut out) = (Reads::default(), Vec::new());
        reads.push(RequestId(1));
        reads.begin_confirmation();
        reads.confirmed(b"foreign", 1);
        reads.confirmed(&9u64.to_be_bytes(), 1);
        reads.applied(100, &Arc::default(), &mut out);
        assert!(out.is_empty());
    }

    #[test]
    fn failing_answers_every_stage_once() {
        let (mut reads, mut out) = (Reads::default(), Vec::new());
        for stage in 0..3 {
            reads.push(RequestId(stage));
            if stage < 2 {
                let context = reads.begin_confirmation();
                if stage == 0 {
                    reads.confirmed(&context, 9);
                }
            }
        }
        reads.fail(&RequestError::StaleCommand, &mut out);
        reads.fail(&RequestError::StaleCommand, &mut out);
        assert_eq!(out.len(), 3);
    }
}
