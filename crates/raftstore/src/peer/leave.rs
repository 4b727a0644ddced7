//! The end of a replica: how it finds out that its Region has gone on without it, and how it goes.
//!
//! It is told by its own log, by a member that knows better (a *farewell*), by a message for a later
//! replica of the Region on this store, or, where the Region was merged, by a store that had a member
//! (`op::merge`). Members answer whoever was removed with a farewell, so a replica that missed all of it
//! learns it at its next campaign; one that may not campaign asks now and then, while it hears of no
//! leader.
//!
//! **An uninitialised replica** knows no epoch of its own, so its messages carry the highest one that
//! others have named to it. With a lower one it would seem removed to a member that has yet to apply its
//! joining (again, after a crash), and a farewell is final.
//!
//! **What nobody can tell it.** If all the members that it knows were removed as well, or are no more, it
//! stays, and so does what it holds.
//!
//! **Order.** From its first moment on a replica that leaves allows no read. The applier removes data and state, and leaves a tombstone, in one synced batch; only then
//! the log goes, and only then the store may have another replica of the Region. A start that finds a
//! tombstone beside a log removes the log.
//!
//! **Invariants.** A replica that leaves promises nothing, answers every request, and leads nobody: one that was
//! elected with its own removal in its log says so.

use super::{Input, Peer};
use crate::apply::{Change, RegionChange};
use crate::effect::{Effect, MergeDone, SplitDone};
use crate::error::RequestError;
use crate::message::RaftMessage;
use crate::state::Tombstone;
use ::raft::eraftpb::{Message, MessageType};
use types::{Epoch, PeerId};

/// What a replica knows of its membership beside its Region.
#[derive(Debug, Default)]
pub(super) struct Standing {
    /// Ticks since a leader was heard, or members were asked.
    pub(super) leaderless_ticks: u64,
    /// The highest epoch of a message to this replica, as long as it is uninitialised.
    pub(super) heard_epoch: Epoch,
}

impl Peer {
    /// Begins the end: the Region is known in `epoch`, without this replica.
    pub(super) fn leave(&mut self, epoch: Epoch, out: &mut Vec<Effect>) {
        self.let_go(out);
        out.push(Effect::Destroy(Tombstone {
            region_id: self.region.id,
            epoch,
            peer_id: self.me.id,
            merged_into: None,
        }));
    }

    /// Begins the end: the Region was merged while this replica was away, and no replica here will take
    /// this one in. `tombstone` is what is to be left of it.
    pub(super) fn merged_elsewhere(&mut self, tombstone: Tombstone, out: &mut Vec<Effect>) {
        let (last, known) = (tombstone.epoch, self.region.epoch);
        let is_known = last.version >= known.version && last.conf_ver >= known.conf_ver;
        // An installation comes to its end first; then this replica asks again.
        if tombstone.peer_id == self.me.id && is_known && self.installing.is_none() {
            self.let_go(out);
            out.push(Effect::Destroy(tombstone));
        }
    }

    pub(super) fn let_go(&mut self, out: &mut Vec<Effect>) {
        self.is_leaving = true;
        if self.leadership.leader.is_some() {
            self.leadership.leader = None;
            self.leadership.is_self = false;
            out.push(Effect::Leadership(self.leadership.clone()));
        }
        self.publish_lease(out);
        self.proposals.abandon(out);
        self.reads.fail(&self.not_found(), out);
        self.give_up_check(&self.not_found(), out);
        self.unpersisted.clear();
        self.drop_waiting_snapshots(out);
    }

    /// The process ends, and the replica stays.
    pub(super) fn stop(&mut self, out: &mut Vec<Effect>) {
        self.is_stopped = true;
        self.publish_lease(out);
        self.proposals.abandon(out);
        self.reads.fail(&RequestError::Stopping, out);
        self.give_up_check(&RequestError::Stopping, out);
    }

    /// As [`Peer::step`], while this replica leaves.
    pub(super) fn step_leaving(&mut self, input: Input, out: &mut Vec<Effect>) {
        match input {
            Input::Propose { request, .. }
            | Input::Read { request, .. }
            | Input::ChangePeers { request, .. }
            | Input::CheckConsistency { request, .. } => {
                out.push(Effect::Reply(request, Err(self.not_found())));
            }
            Input::Destroyed(tombstone) => {
                self.is_stopped = true;
                out.push(Effect::RemoveLog(tombstone));
            }
            Input::TakenIn(tombstone) => self.taken_in(tombstone, out),
            Input::Message(message) => self.drop_snapshot(&message, out),
            Input::Stop => self.is_stopped = true,
            Input::Changed(change) => self.pass_on(change, out),
            Input::Tick
            | Input::SnapshotGenerated { .. }
            | Input::SnapshotSent { .. }
            | Input::SnapshotInstalled { .. }
            | Input::KvSynced { .. }
            | Input::Persisted { .. }
            | Input::Applied { .. }
            | Input::MergeAsked(_)
            | Input::MergedElsewhere(_)
            | Input::MergeRefused { .. }
            | Input::AwaitsSource(_)
            | Input::SourceAwaited(_)
            | Input::LastMerge(..)
            | Input::Fetched { .. }
            | Input::Hashed { .. }
            | Input::Unreachable { .. }
            | Input::TransferLeader { .. }
            | Input::Campaign
            | Input::RenewLease
            | Input::LeaderLost { .. }
            | Input::Wake
            | Input::Options(_)
            | Input::Check { .. }
            | Input::Report => {}
        }
    }

    /// A voter's campaign asks for itself. Whoever may not campaign sends what means nothing to members
    /// beyond their own: a leader hears that it is there, and anybody that it was removed.
    pub(super) fn ask_whether_member(&mut self, out: &mut Vec<Effect>) {
        if self.is_leader() || self.raw.raft.promotable() {
            self.standing.leaderless_ticks = 0;
            return;
        }
        self.standing.leaderless_ticks += 1;
        if self.standing.leaderless_ticks < self.options.stale_check_ticks {
            return;
        }
        self.standing.leaderless_ticks = 0;
        let known = self.region.peers.iter().chain(&self.strangers);
        let others: Vec<PeerId> = known
            .map(|peer| peer.id)
            .filter(|id| *id != self.me.id)
            .collect();
        for other in others {
            let mut question = Message::default();
            question.set_msg_type(MessageType::MsgHeartbeatResponse);
            (question.from, question.to) = (self.me.id.get(), other.get());
            // Term 0 does not travel; any that is over is as good.
            question.term = self.term().max(1);
            self.send(question, out);
        }
    }

    /// The epoch that this replica's messages carry.
    pub(super) fn known_epoch(&self) -> Epoch {
        match self.is_initialized() {
            true => self.region.epoch,
            false => self.standing.heard_epoch,
        }
    }

    pub(super) fn not_found(&self) -> RequestError {
        RequestError::RegionNotFound {
            region_id: self.region.id,
        }
    }

    /// Tells the sender of a message that it was removed.
    pub(super) fn say_farewell(&self, message: &RaftMessage, out: &mut Vec<Effect>) {
        let (id, epoch) = (self.region.id, self.region.epoch);
        let farewell = RaftMessage::farewell(id, self.me, message.from, epoch);
        out.push(Effect::Send(Box::new(farewell)));
    }

    /// The applier cut the Region before it came to its end: what was cut off has a replica here, on disk.
    /// Or it took a neighbour in, whose replica here is to end.
    fn pass_on(&mut self, change: RegionChange, out: &mut Vec<Effect>) {
        match change.change {
            Change::Split(parts) => {
                self.quarantine_parts(&parts, out);
                out.push(Effect::Split(SplitDone {
                    parts,
                    was_led_here: false,
                }));
            }
            Change::Merged { region, source, .. } => out.push(Effect::Merged(MergeDone {
                target: region,
                source,
            })),
            Change::Verified(verdict) => self.note_quarantine(&verdict),
            Change::Peers { .. }
            | Change::CompactLog { .. }
            | Change::Merging { .. }
            | Change::Hashing => {}
        }
    }
}
