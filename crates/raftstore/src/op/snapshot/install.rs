//! The follower's half: from the message of a received snapshot to its acknowledgement.
//!
//! **Invariants.** While a snapshot is installed raft-rs is asked for nothing and told nothing but
//! heartbeats: its log in memory has taken a step that the one on disk has not.
//!
//! **Not here.** Whether the snapshot's keys are another Region's on this store: the store knows
//! (`store`), and lets it in before.

use super::{InstallSnapshot, SnapshotKey, SnapshotMeta};
use crate::effect::{Effect, LogWrite, MergeDone};
use crate::message::RaftMessage;
use crate::peer::{Merges, Peer, from_raft_hard_state};
use raft::Ready;
use raft::eraftpb::{HardState, Message, MessageType};
use types::LogEntry;

/// A snapshot that raft-rs has accepted and not yet handed out.
pub(crate) struct Arrived {
    install: InstallSnapshot,
}

/// A snapshot that takes the place of what the replica has.
pub(crate) struct Installing {
    stage: Stage,
    number: u64,
    install: InstallSnapshot,
    /// One past the end of the log on disk.
    log_end: u64,
    entries: Vec<LogEntry>,
    hard_state: HardState,
    promises: Vec<Message>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Step 1: the term and the vote are written.
    Preparing,
    /// Step 2: the applier's.
    Installing,
    /// Step 3: the log begins anew.
    Finishing,
}

impl Peer {
    /// Whether a message has to be dropped, since a snapshot is being installed. A heartbeat for a later replica of the
    /// Region here would end this one, and what is installed would be installed all the same.
    pub(crate) fn is_deaf_to(&self, message: &RaftMessage) -> bool {
        let raft = &message.message;
        let is_heartbeat = raft.get_msg_type() == MessageType::MsgHeartbeat;
        let is_heard = is_heartbeat && raft.term == self.term() && message.to == self.me;
        self.installing.is_some() && !is_heard
    }

    /// If it has a snapshot, that is of no use, and so is its file, unless it has come once more for
    /// what is about to be installed.
    pub(crate) fn drop_snapshot(&self, message: &RaftMessage, out: &mut Vec<Effect>) {
        let Some(key) = SnapshotKey::of_message(message) else {
            return;
        };
        let arrived = self.arrived.as_ref().map(|arrived| arrived.install.key);
        let installing = self.installing.as_ref().map(|it| it.install.key);
        if ![arrived, installing].contains(&Some(key)) {
            out.push(Effect::DropSnapshot(key));
        }
    }

    /// Gives up what has not begun to be installed.
    pub(crate) fn drop_waiting_snapshots(&mut self, out: &mut Vec<Effect>) {
        let early = self.early.take();
        let early = early.and_then(|message| SnapshotKey::of_message(&message));
        let arrived = self.arrived.take().map(|arrived| arrived.install.key);
        out.extend(early.into_iter().chain(arrived).map(Effect::DropSnapshot));
    }

    /// A `MsgSnapshot`, checked, whose pairs are here. raft-rs takes over its membership at once, which
    /// the changes that are still on their way from the applier must not meet.
    pub(crate) fn receive_snapshot(&mut self, message: Box<RaftMessage>, out: &mut Vec<Effect>) {
        if self.handed_index > self.applied_index {
            if let Some(before) = self.early.replace(message) {
                self.drop_snapshot(&before, out);
            }
            return;
        }
        let meta = SnapshotMeta::of_message(&message).expect("it was checked");
        if self.must_merge_before(&meta) {
            if let Some(before) = self.early.replace(message) {
                self.drop_snapshot(&before, out);
            }
            return;
        }
        let before = self.pending_snapshot();
        // Its answer, or the snapshot, shows what becomes of it.
        let _ = self.raw.step(message.message.clone());
        let now = self.pending_snapshot();
        if now == before || now != Some((meta.index, meta.term)) {
            return self.drop_snapshot(&message, out);
        }
        let key = meta.key(message.to.id);
        let takes_in = self.source_to_take_in(&meta);
        let install = InstallSnapshot {
            key,
            meta,
            takes_in,
        };
        let arrived = Box::new(Arrived { install });
        if let Some(before) = self.arrived.replace(arrived) {
            out.push(Effect::DropSnapshot(before.install.key));
        }
    }

    /// Everything handed to the applier is applied: a snapshot that came before that may be let in.
    pub(crate) fn receive_early_snapshot(&mut self, out: &mut Vec<Effect>) {
        let log = &self.raw.raft.raft_log;
        let is_caught_up =
            self.handed_index <= self.applied_index && log.committed <= self.applied_index;
        if let Some(message) = self.early.take_if(|_| is_caught_up) {
            self.receive(message, out);
        }
    }

    fn pending_snapshot(&self) -> Option<(u64, u64)> {
        let meta = self.raw.raft.snap()?.get_metadata();
        Some((meta.index, meta.term))
    }

    /// Takes over a ready with a snapshot. `log_end` is one past the last index before it.
    pub(crate) fn begin_install(
        &mut self,
        mut ready: Ready,
        log_end: u64,
        entries: Vec<LogEntry>,
        out: &mut Vec<Effect>,
    ) {
        let arrived = self.arrived.take();
        let Arrived { install } = *arrived.expect("it came with its description");
        let raft = ready.snapshot().get_metadata();
        assert_eq!(
            (install.meta.index, install.meta.term),
            (raft.index, raft.term),
            "raft-rs hands out another snapshot than it accepted"
        );
        let installing = Installing {
            stage: Stage::Preparing,
            number: ready.number(),
            install,
            log_end,
            entries,
            hard_state: self.raw.raft.hard_state(),
            promises: ready.take_persisted_messages(),
        };
        self.raw.advance_append_async(ready);
        let mut hard_state = from_raft_hard_state(&installing.hard_state);
        // What is committed beyond that is not in the log.
        hard_state.commit = self.applied_index;
        out.push(Effect::Persist(LogWrite {
            region_id: self.region.id,
            entries: Vec::new(),
            hard_state: Some(hard_state),
            number: installing.number,
        }));
        self.installing = Some(Box::new(installing));
    }

    /// Whether a write of this number is one of an installation, which then goes on.
    pub(crate) fn install_persisted(&mut self, number: u64, out: &mut Vec<Effect>) -> bool {
        let Some(mut installing) = self.installing.take_if(|it| it.number == number) else {
            return false;
        };
        // Everything before it is durable as well.
        self.keep_promises_to(number - 1, out);
        match installing.stage {
            Stage::Preparing => {
                installing.stage = Stage::Installing;
                out.push(Effect::InstallSnapshot(installing.install.clone()));
                self.installing = Some(installing);
            }
            Stage::Installing => unreachable!("nothing is written meanwhile"),
            Stage::Finishing => self.finish_install(*installing, out),
        }
        true
    }

    /// The key-value state is the snapshot's.
    pub(crate) fn snapshot_installed(&mut self, index: u64, out: &mut Vec<Effect>) {
        let Some(installing) = &mut self.installing else {
            return;
        };
        let install = &installing.install;
        assert!(
            install.meta.index == index && installing.stage == Stage::Installing,
            "another snapshot was installed than this replica waits for"
        );
        installing.stage = Stage::Finishing;
        let (region, key) = (install.meta.region.clone(), install.key);
        let source = install.takes_in.map(|taken| taken.tombstone);
        out.push(Effect::CompactLog {
            region_id: region.id,
            up_to: installing.log_end,
        });
        out.push(Effect::Persist(LogWrite {
            region_id: region.id,
            entries: std::mem::take(&mut installing.entries),
            hard_state: Some(from_raft_hard_state(&installing.hard_state)),
            number: installing.number,
        }));
        if let Some(source) = source {
            let target = region.clone();
            out.push(Effect::Merged(MergeDone { target, source }));
        }
        out.push(Effect::Restored(region.clone()));
        out.push(Effect::SnapshotSettled(key));
        let last_merge = installing.install.meta.last_merge.as_ref();
        self.merges = Merges::after(last_merge.map_or((0, 0), |merge| merge.place));
        self.reshape(region);
    }

    fn finish_install(&mut self, installing: Installing, out: &mut Vec<Effect>) {
        self.raw.on_persist_ready(installing.number);
        self.applied_index = installing.install.meta.index;
        self.handed_index = self.applied_index;
        self.raw.advance_apply_to(self.applied_index);
        for message in installing.promises {
            self.send(message, out);
        }
    }

    /// A heartbeat's answer says nothing of the log, and without it the leader takes this replica for
    /// gone.
    pub(crate) fn answer_heartbeats_while_installing(&mut self, out: &mut Vec<Effect>) {
        let has_durable_term = self.installing.as_ref().is_some_and(|installing| {
            installing.stage != Stage::Preparing && installing.hard_state.term == self.term()
        });
        if !has_durable_term {
            return;
        }
        let is_answer =
            |message: &Message| message.get_msg_type() == MessageType::MsgHeartbeatResponse;
        let messages = std::mem::take(&mut self.raw.raft.msgs);
        let (answers, others) = messages.into_iter().partition(is_answer);
        self.raw.raft.msgs = others;
        let answers: Vec<Message> = answers;
        for message in answers {
            self.send(message, out);
        }
    }
}
