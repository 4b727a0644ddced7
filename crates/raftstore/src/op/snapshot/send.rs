//! The leader's half: from raft-rs's question to the outcome of the sending.
//!
//! **Invariants.** One view is asked for at a time for each follower. What raft-rs was given is sent,
//! or reported as failed.
//!
//! **Not here.** How many snapshots a store sends at once: the node refuses, and the follower's next
//! answer to a heartbeat has raft-rs ask again.

use super::{GenerateSnapshot, SnapshotMeta};
use crate::effect::Effect;
use crate::message::RaftMessage;
use crate::peer::Peer;
use raft::SnapshotStatus;
use std::collections::{BTreeMap, BTreeSet};
use types::PeerId;

/// Snapshots that a leader has asked for or sent.
#[derive(Default)]
pub(crate) struct Sending {
    asked: BTreeSet<PeerId>,
    sent: BTreeMap<PeerId, Sent>,
}

/// One that is under way, or is being installed by its follower.
struct Sent {
    index: u64,
    age_ticks: u64,
}

impl Sending {
    /// The lowest index that a follower will go on from who has been sent a snapshot: the log from
    /// there on is worth keeping, for as long as a follower takes who makes it.
    pub(crate) fn lowest_index(&self) -> Option<u64> {
        self.sent.values().map(|sent| sent.index).min()
    }

    /// Whether a follower waits for one.
    pub(crate) fn is_busy(&self) -> bool {
        !self.asked.is_empty() || !self.sent.is_empty()
    }

    /// One tick has passed.
    pub(crate) fn tick(&mut self, patience_ticks: u64) {
        for sent in self.sent.values_mut() {
            sent.age_ticks += 1;
        }
        self.sent.retain(|_, sent| sent.age_ticks <= patience_ticks);
    }

    /// Forgets those whose follower has come so far.
    pub(crate) fn matched(&mut self, matched: impl Fn(PeerId) -> u64) {
        self.sent.retain(|peer, sent| matched(*peer) < sent.index);
    }

    pub(crate) fn clear(&mut self) {
        self.asked.clear();
        self.sent.clear();
    }
}

impl Peer {
    /// Turns raft-rs's questions since the last call into effects.
    pub(crate) fn ask_for_snapshots(&mut self, out: &mut Vec<Effect>) {
        for to in self.raw.mut_store().take_snapshot_wishes() {
            let Some(to) = self.region.peer(PeerId(to)).copied() else {
                continue;
            };
            // What a quarantined replica holds helps nobody.
            if self.quarantine().is_none() && self.sending.asked.insert(to.id) {
                let region_id = self.region.id;
                out.push(Effect::GenerateSnapshot(GenerateSnapshot { region_id, to }));
            }
        }
    }

    /// The answer to [`Effect::GenerateSnapshot`]; none: not now.
    pub(crate) fn snapshot_generated(&mut self, to: PeerId, meta: Option<SnapshotMeta>) {
        let was_asked = self.sending.asked.remove(&to);
        let Some(meta) =
            meta.filter(|_| was_asked && self.is_leader() && self.quarantine().is_none())
        else {
            return;
        };
        if self.raw.raft.prs().get(to.get()).is_none() {
            return;
        }
        let snapshot = meta.to_raft();
        self.raw.mut_store().offer_snapshot(to.get(), snapshot);
        // raft-rs asks again, if it still has to.
        self.raw.raft.send_append(to.get());
    }

    /// raft-rs has sent a snapshot.
    pub(crate) fn send_snapshot(&mut self, message: RaftMessage, out: &mut Vec<Effect>) {
        let index = message.message.get_snapshot().get_metadata().index;
        let sent = Sent {
            index,
            age_ticks: 0,
        };
        self.sending.sent.insert(message.to.id, sent);
        self.passed_over(message.to.id, index);
        out.push(Effect::SendSnapshot(Box::new(message)));
    }

    /// The stream with a snapshot has ended.
    pub(crate) fn snapshot_sent(&mut self, to: PeerId, is_ok: bool) {
        let status = match is_ok {
            true => SnapshotStatus::Finish,
            false => SnapshotStatus::Failure,
        };
        if !is_ok {
            self.sending.sent.remove(&to);
        }
        self.raw.report_snapshot(to.get(), status);
    }
}
