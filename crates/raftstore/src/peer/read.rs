//! Linearizable reads by ReadIndex (Raft §6.4): one confirmation at a time, for all reads that have
//! arrived since the last one began. A replica that does not lead asks its leader for it.
//!
//! A read is ready when the leader's place was confirmed by a quorum *after* the read arrived, and
//! everything that was committed at that moment has been applied here. On a leader that confirmation
//! also renews the lease, as of the moment when it began.
//!
//! **A read of another replica is two questions.** What that replica shows may be ahead of what its leader
//! has applied, and a reader under the leader's lease would then go back behind it. So a leader answers a
//! replica's question only when it has applied what was committed when the question came; and whoever
//! reads on a replica asks once before the look, for what it must see, and once after it, so that nobody
//! who reads later sees less (`node::NodeHandle::read`).
//!
//! **Invariants.** Confirmed reads are ordered by index. A read is answered once. No two confirmations
//! are known by the same context, not even in two lives of a replica: an answer to the earlier one would
//! pass for one to the later. Nor does raft-rs know a replica's question that comes twice by the same context
//! twice: what answers the first would confirm all that was asked between the two.
//!
//! **Not here.** The read itself: the asker takes a snapshot when it hears `ReadReady`. Reads under a
//! lease: they don't ask a Peer (`node::local_read`).

use super::idle::give_back;
use super::{Peer, RequestContext};
use crate::effect::{Effect, Reply};
use crate::error::RequestError;
use crate::op::lease::MonotonicTime;
use ::raft::eraftpb::Message;
use std::collections::VecDeque;
use std::sync::Arc;
use types::{PeerId, Region, RequestId};

/// Ticks after which a replica asks its leader again: TiKV's `raft-read-index-retry-interval-ticks`.
const RETRY_TICKS: u32 = 4;

/// What a leader adds to the context of another replica's question.
const STAMP_BYTES: usize = 2 * size_of::<u64>();

/// Reads in their three stages.
#[derive(Default)]
pub(super) struct Reads {
    /// Arrived, not yet sent for confirmation.
    arrived: Vec<RequestId>,
    /// Whether a confirmation is wanted for the sake of the lease.
    is_wanted: bool,
    confirming: Option<Box<Confirmation>>,
    /// None for nothing, as mostly: an idle replica has no room for it.
    waiting: Option<Box<Waiting>>,
    /// How many confirmations have begun.
    confirmations: u64,
}

/// What waits until an index is applied here.
#[derive(Default)]
struct Waiting {
    /// Confirmed reads.
    confirmed: VecDeque<(u64, Vec<RequestId>)>,
    /// As a leader: answers to other replicas, the newest for each.
    held: Vec<Message>,
}

impl Waiting {
    fn is_empty(&self) -> bool {
        self.confirmed.is_empty() && self.held.is_empty()
    }
}

/// A confirmation under way.
struct Confirmation {
    /// What raft-rs knows it by.
    context: Vec<u8>,
    term: u64,
    begun_at: MonotonicTime,
    /// Ticks since it was asked for last.
    ticks: u32,
    /// Ticks since it began.
    age_ticks: u32,
    requests: Vec<RequestId>,
}

impl Reads {
    pub(super) fn push(&mut self, request: RequestId) {
        self.arrived.push(request);
    }

    /// Frees what nothing is in.
    pub(super) fn give_back_buffers(&mut self) {
        give_back(&mut self.arrived);
        self.waiting.take_if(|waiting| waiting.is_empty());
    }

    /// Makes the context of another replica's question one that there has not been.
    fn stamp(&mut self, question: &mut Message, now: MonotonicTime) {
        self.confirmations += 1;
        let stamp = [now.0, self.confirmations].map(u64::to_be_bytes).concat();
        if let Some(context) = question.entries.first_mut().map(|entry| &mut entry.data) {
            *context = [context, stamp.as_slice()].concat().into();
        }
    }

    /// A confirmation should begin although nobody waits for it.
    pub(super) fn want_confirmation(&mut self) {
        self.is_wanted = true;
    }

    /// Whether a confirmation should begin. While one is under way, what arrives gathers for the
    /// next: a confirmation costs a message to every replica, however many reads it answers.
    pub(super) fn wants_confirmation(&self) -> bool {
        (self.is_wanted || !self.arrived.is_empty()) && self.confirming.is_none()
    }

    /// Moves the arrived reads under one confirmation and returns the context to ask raft-rs with.
    pub(super) fn begin_confirmation(
        &mut self,
        me: PeerId,
        term: u64,
        now: MonotonicTime,
    ) -> Vec<u8> {
        self.confirmations += 1;
        self.is_wanted = false;
        // The clock tells lives apart.
        let context = [me.get(), now.0, self.confirmations].map(u64::to_be_bytes);
        let context = context.concat();
        self.confirming = Some(Box::new(Confirmation {
            context: context.clone(),
            term,
            begun_at: now,
            ticks: 0,
            age_ticks: 0,
            requests: std::mem::take(&mut self.arrived),
        }));
        context
    }

    /// A quorum confirmed; the reads wait for `index`. Returns the term and the time in which the
    /// confirmation began. Contexts that are not ours are ignored.
    pub(super) fn confirmed(&mut self, context: &[u8], index: u64) -> Option<(u64, MonotonicTime)> {
        let confirmation = self
            .confirming
            .take_if(|confirmation| confirmation.context == context)?;
        if !confirmation.requests.is_empty() {
            let confirmed = &mut self.waiting.get_or_insert_default().confirmed;
            if let Some((last, _)) = confirmed.back() {
                assert!(*last <= index, "confirmations come in order");
            }
            confirmed.push_back((index, confirmation.requests));
        }
        Some((confirmation.term, confirmation.begun_at))
    }

    /// A tick has passed. Returns for how many ticks the confirmation under way has lasted, and its
    /// context, if it should be asked for again.
    fn tick(&mut self) -> Option<(u32, &[u8])> {
        let confirmation = self.confirming.as_mut()?;
        confirmation.ticks += 1;
        confirmation.age_ticks += 1;
        if confirmation.ticks < RETRY_TICKS {
            return None;
        }
        confirmation.ticks = 0;
        Some((confirmation.age_ticks, &confirmation.context))
    }

    /// Whether nobody waits, and no confirmation is wanted or under way.
    pub(super) fn is_empty(&self) -> bool {
        let waits = !self.arrived.is_empty() || self.await_applied();
        !waits && !self.is_wanted && self.confirming.is_none()
    }

    /// Whether a read, or an answer to another replica, waits for nothing but its index.
    pub(super) fn await_applied(&self) -> bool {
        let waiting = self.waiting.as_ref();
        waiting.is_some_and(|waiting| !waiting.is_empty())
    }

    /// Keeps an answer to another replica until its index is applied. A replica has one question under way.
    pub(super) fn hold(&mut self, answer: Message) {
        let held = &mut self.waiting.get_or_insert_default().held;
        held.retain(|other| other.to != answer.to);
        held.push(answer);
    }

    /// The answers that may leave. Those of an earlier term must not: the replica may have promised another
    /// one since.
    fn release(&mut self, applied_index: u64, term: u64) -> Vec<Message> {
        let Some(waiting) = &mut self.waiting else {
            return Vec::new();
        };
        waiting.held.retain(|answer| answer.term == term);
        let may_leave = |answer: &mut Message| answer.index <= applied_index;
        waiting.held.extract_if(.., may_leave).collect()
    }

    /// Answers the reads whose index is applied.
    pub(super) fn applied(
        &mut self,
        applied_index: u64,
        region: &Arc<Region>,
        out: &mut Vec<Effect>,
    ) {
        let Some(waiting) = &mut self.waiting else {
            return;
        };
        let is_applied = |(index, _): &&(u64, Vec<RequestId>)| *index <= applied_index;
        let applied = waiting.confirmed.iter().take_while(is_applied).count();
        for (_, requests) in waiting.confirmed.drain(..applied) {
            for request in requests {
                out.push(Effect::Reply(request, Ok(Reply::ReadReady(region.clone()))));
            }
        }
    }

    /// Answers every read with an error: a read may always be tried again elsewhere.
    pub(super) fn fail(&mut self, error: &RequestError, out: &mut Vec<Effect>) {
        self.is_wanted = false;
        let arrived = std::mem::take(&mut self.arrived);
        let confirming = self.confirming.take();
        let confirming = confirming.map_or_else(Vec::new, |confirmation| confirmation.requests);
        // Replicas that wait for an answer ask again.
        let waiting = self.waiting.take().unwrap_or_default();
        let confirmed = waiting
            .confirmed
            .into_iter()
            .flat_map(|(_, requests)| requests);
        for request in arrived.into_iter().chain(confirming).chain(confirmed) {
            out.push(Effect::Reply(request, Err(error.clone())));
        }
    }
}

impl Peer {
    pub(super) fn read(
        &mut self,
        request: RequestId,
        context: &RequestContext,
        out: &mut Vec<Effect>,
    ) {
        let serves = self.is_leader() || (context.replica_read && self.leader().is_some());
        match self.check(context, serves) {
            Ok(()) => self.reads.push(request),
            Err(error) => out.push(Effect::Reply(request, Err(error))),
        }
    }

    /// A leader has another replica's question.
    pub(super) fn asked_for_index(&mut self, mut question: Message) {
        self.reads.stamp(&mut question, self.now);
        let _ = self.raw.step(question);
    }

    /// Answers the reads, and the replicas, whose index is applied.
    pub(super) fn answer_reads(&mut self, out: &mut Vec<Effect>) {
        self.reads.applied(self.applied_index, &self.region, out);
        for answer in self.reads.release(self.applied_index, self.term()) {
            self.send(answer, out);
        }
    }

    /// A leader that has not committed in its own term does not know the commit index yet, and
    /// raft-rs drops its reads; they wait here for that first commit.
    pub(super) fn confirm_reads(&mut self) -> bool {
        let may_ask = match self.is_leader() {
            true => self.raw.raft.commit_to_current_term(),
            false => self.leader().is_some(),
        };
        let begins = may_ask && self.reads.wants_confirmation();
        if begins {
            let term = self.term();
            let context = self.reads.begin_confirmation(self.me.id, term, self.now);
            self.raw.read_index(context);
        }
        begins
    }

    /// A question to the leader, or its answer, may be lost. (A leader's heartbeats repeat its own.)
    /// Where none comes through for an election timeout, though the leader is heard, others serve better.
    pub(super) fn ask_again(&mut self, out: &mut Vec<Effect>) {
        if self.is_leader() || self.leader().is_none() {
            return;
        }
        let Some((age_ticks, context)) = self.reads.tick() else {
            return;
        };
        if age_ticks as usize >= self.options.election_ticks_max {
            let error = self.not_leader();
            self.reads.fail(&error, out);
            return;
        }
        let context = context.to_vec();
        self.raw.read_index(context);
    }
}

/// The answer to another replica, with the context that it asked with.
pub(super) fn take_stamp_off(answer: &mut Message) {
    if let Some(context) = answer.entries.first_mut().map(|entry| &mut entry.data) {
        context.truncate(context.len().saturating_sub(STAMP_BYTES));
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

    fn begin(reads: &mut Reads) -> Vec<u8> {
        reads.begin_confirmation(PeerId(1), 6, MonotonicTime(7))
    }

    #[test]
    fn a_read_waits_for_its_confirmation_and_for_its_index() {
        let (mut reads, mut out) = (Reads::default(), Vec::new());
        reads.push(RequestId(1));
        reads.push(RequestId(2));
        assert!(reads.wants_confirmation());
        let context = begin(&mut reads);
        reads.push(RequestId(3));
        assert!(!reads.wants_confirmation(), "one at a time");
        reads.applied(100, &Arc::default(), &mut out);
        assert!(out.is_empty(), "nothing is confirmed yet");
        assert_eq!(reads.confirmed(&context, 101), Some((6, MonotonicTime(7))));
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
        begin(&mut reads);
        reads.confirmed(b"foreign", 1);
        reads.confirmed(&[0; 24], 1);
        reads.applied(100, &Arc::default(), &mut out);
        assert!(out.is_empty());
    }

    #[test]
    fn an_answer_to_a_replica_waits_for_its_index_and_only_the_newest_counts() {
        let answer = |to, index| Message {
            to,
            index,
            term: 6,
            ..Message::default()
        };
        let mut reads = Reads::default();
        assert!(!reads.await_applied() && reads.is_empty());
        for (to, index) in [(2, 7), (3, 9), (2, 8)] {
            reads.hold(answer(to, index));
        }
        assert!(reads.await_applied() && !reads.is_empty());
        assert!(reads.release(7, 6).is_empty());
        assert_eq!(reads.release(8, 6), [answer(2, 8)]);
        assert_eq!(reads.release(9, 6), [answer(3, 9)]);
        assert!(!reads.await_applied() && reads.is_empty());
        reads.hold(answer(2, 10));
        assert!(reads.release(10, 7).is_empty(), "of an earlier term");
        reads.hold(answer(2, 10));
        reads.fail(&RequestError::StaleCommand, &mut Vec::new());
        assert!(reads.is_empty(), "another leader answers it");
    }

    #[test]
    fn failing_answers_every_stage_once() {
        let (mut reads, mut out) = (Reads::default(), Vec::new());
        for stage in 0..3 {
            reads.push(RequestId(stage));
            if stage < 2 {
                let context = begin(&mut reads);
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
