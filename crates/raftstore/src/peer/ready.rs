//! From raft-rs's `Ready` to effects: what is sent now, what is written, what waits for the write,
//! and what is committed.

use super::Peer;
use super::raft::{from_raft_entry, from_raft_hard_state};
use super::read::take_stamp_off;
use crate::effect::{ApplyTask, Effect, LogWrite};
use crate::message::{RaftMessage, creates};
use ::raft::Ready;
use ::raft::eraftpb::{Entry, Message, MessageType};
use types::{HardState, LogEntry, PeerId};

/// A ready that is not durable yet.
pub(super) struct Unpersisted {
    number: u64,
    /// Whether a log write was asked for; if not, it is durable as soon as the ones before it.
    writes: bool,
    /// Messages that may leave once it is durable.
    promises: Vec<Message>,
}

impl Peer {
    pub(super) fn collect_ready(&mut self, out: &mut Vec<Effect>) {
        self.publish_lease(out);
        self.answer_heartbeats_while_installing(out);
        while self.installing.is_none() && self.raw.has_ready() {
            let mut ready = self.raw.ready();
            let number = ready.number();
            for message in ready.take_messages() {
                self.send(message, out);
            }
            for state in ready.take_read_states() {
                if let Some((term, begun_at)) =
                    self.reads.confirmed(&state.request_ctx, state.index)
                {
                    self.quorum_answered(term, begun_at);
                }
            }
            let entries: Vec<LogEntry> = ready
                .take_entries()
                .into_iter()
                .map(from_raft_entry)
                .collect();
            if !ready.snapshot().is_empty() {
                self.take_snapshot(ready, entries, out);
                break;
            }
            let promises = ready.take_persisted_messages();
            let hard_state = hard_state_to_write(&ready, &entries);
            let committed = ready.take_committed_entries();
            self.raw.mut_store().append(&entries);
            self.raw.advance_append_async(ready);
            self.hand_to_applier(committed, out);
            self.write(number, entries, hard_state, promises, out);
        }
        self.answer_reads(out);
        self.publish_lease(out);
    }

    fn take_snapshot(&mut self, ready: Ready, entries: Vec<LogEntry>, out: &mut Vec<Effect>) {
        assert!(
            ready.committed_entries().is_empty(),
            "nothing is applied before it"
        );
        let log_end = self.raw.store().log_end();
        let meta = ready.snapshot().get_metadata();
        let (index, term) = (meta.index, meta.term);
        let store = self.raw.mut_store();
        store.restore(index, term);
        store.append(&entries);
        self.cuts.clear();
        // What it proposed may be in the snapshot, or nowhere: no entry will tell.
        self.proposals.give_up_waiting(out);
        self.begin_install(ready, log_end, entries, out);
    }

    fn write(
        &mut self,
        number: u64,
        entries: Vec<LogEntry>,
        hard_state: Option<HardState>,
        promises: Vec<Message>,
        out: &mut Vec<Effect>,
    ) {
        let writes = !entries.is_empty() || hard_state.is_some();
        if !writes && self.unpersisted.is_empty() {
            return self.keep_promises(number, promises, out);
        }
        self.unpersisted.push_back(Unpersisted {
            number,
            writes,
            promises,
        });
        if writes {
            out.push(Effect::Persist(LogWrite {
                region_id: self.region.id,
                entries,
                hard_state,
                number,
            }));
        }
    }

    /// Everything up to `number` is durable; these are its messages.
    fn keep_promises(&mut self, number: u64, promises: Vec<Message>, out: &mut Vec<Effect>) {
        for message in promises {
            self.send(message, out);
        }
        self.raw.on_persist_ready(number);
    }

    /// Keeps the promises of every ready up to `number`, and of those right after it that had
    /// nothing to write.
    pub(super) fn persisted(&mut self, number: u64, out: &mut Vec<Effect>) {
        if !self.install_persisted(number, out) {
            self.keep_promises_to(number, out);
        }
    }

    pub(crate) fn keep_promises_to(&mut self, number: u64, out: &mut Vec<Effect>) {
        let mut last = number;
        while let Some(first) = self.unpersisted.front() {
            if first.number > number && first.writes {
                break;
            }
            last = last.max(first.number);
            let ready = self.unpersisted.pop_front().expect("just seen");
            for message in ready.promises {
                self.send(message, out);
            }
        }
        self.raw.on_persist_ready(last);
    }

    fn hand_to_applier(&mut self, committed: Vec<Entry>, out: &mut Vec<Effect>) {
        if committed.is_empty() {
            return;
        }
        let mut entries = Vec::with_capacity(committed.len());
        for entry in committed {
            let entry = self.proposals.committed(from_raft_entry(entry), out);
            entries.push(entry);
        }
        if let Some((term, proposed_at)) = self.proposals.take_last_committed() {
            self.quorum_answered(term, proposed_at);
        }
        self.handed_index = entries.last().expect("not empty").entry.index;
        out.push(Effect::Apply(ApplyTask {
            region_id: self.region.id,
            entries,
        }));
    }

    pub(crate) fn send(&mut self, mut message: Message, out: &mut Vec<Effect>) {
        // A replica that raft-rs knows and nobody here does has just been removed.
        let Some(to) = self.member(PeerId(message.to)) else {
            return;
        };
        match message.get_msg_type() {
            MessageType::MsgRequestVote => self.votes_asked_term = message.term,
            MessageType::MsgTimeoutNow => self.withhold_lease_for_the_term(out),
            MessageType::MsgReadIndexResp if message.index > self.applied_index => {
                return self.reads.hold(message);
            }
            MessageType::MsgReadIndexResp => take_stamp_off(&mut message),
            _ => {}
        }
        let range = creates(&message).then(|| self.region.range.clone());
        let message = RaftMessage {
            region_id: self.region.id,
            from: self.me,
            to,
            epoch: self.known_epoch(),
            range,
            is_tombstone: false,
            extra: None,
            merged_into: None,
            message,
        };
        match message.message.get_msg_type() {
            MessageType::MsgSnapshot => self.send_snapshot(message, out),
            _ => out.push(Effect::Send(Box::new(message))),
        }
    }

    /// A member of the Region, also one that only its messages have told of.
    fn member(&self, id: PeerId) -> Option<types::Peer> {
        let mut strangers = self.strangers.iter();
        let stranger = || strangers.find(|peer| peer.id == id);
        self.region.peer(id).or_else(stranger).copied()
    }
}

/// A commit index alone is not worth a write: it can be learned again, and what was applied is
/// known from the key-value engine.
fn hard_state_to_write(ready: &Ready, entries: &[LogEntry]) -> Option<HardState> {
    (ready.must_sync() || !entries.is_empty())
        .then(|| ready.hs().map(from_raft_hard_state))
        .flatten()
}
