//! The end of a replica: how it finds out that its Region has gone on without it, and how it goes.
//!
//! It is told by its own log, by a member that knows better (a *farewell*), or by a message for a later
//! replica of the Region on this store. Members answer whoever was removed with a farewell, so a
//! replica that missed all of it learns it at its next campaign.
//!
//! **Order.** From its first moment on a replica that leaves allows no read. The applier removes data and state, and leaves a tombstone, in one synced batch; only then
//! the log goes, and only then the store may have another replica of the Region. A start that finds a
//! tombstone beside a log removes the log.
//!
//! **Invariants.** A replica that leaves promises nothing and answers every request.

use super::{Input, Peer};
use crate::effect::Effect;
use crate::error::RequestError;
use crate::message::RaftMessage;
use crate::state::Tombstone;
use types::Epoch;

impl Peer {
    /// Begins the end: the Region is known in `epoch`, without this replica.
    pub(super) fn leave(&mut self, epoch: Epoch, out: &mut Vec<Effect>) {
        self.is_leaving = true;
        self.publish_lease(out);
        self.proposals.abandon(out);
        self.reads.fail(&self.not_found(), out);
        self.unpersisted.clear();
        self.drop_waiting_snapshots(out);
        out.push(Effect::Destroy(Tombstone {
            region_id: self.region.id,
            epoch,
            peer_id: self.me.id,
        }));
    }

    /// As [`Peer::step`], while this replica leaves.
    pub(super) fn step_leaving(&mut self, input: Input, out: &mut Vec<Effect>) {
        match input {
            Input::Propose { request, .. }
            | Input::Read { request, .. }
            | Input::ChangePeers { request, .. } => {
                out.push(Effect::Reply(request, Err(self.not_found())));
            }
            Input::Destroyed(tombstone) => {
                self.is_stopped = true;
                out.push(Effect::RemoveLog(tombstone));
            }
            Input::Message(message) => self.drop_snapshot(&message, out),
            Input::Stop => self.is_stopped = true,
            Input::Tick
            | Input::SnapshotGenerated { .. }
            | Input::SnapshotSent { .. }
            | Input::SnapshotInstalled { .. }
            | Input::KvSynced { .. }
            | Input::Persisted { .. }
            | Input::Applied { .. }
            | Input::Changed(_)
            | Input::Fetched { .. }
            | Input::Unreachable { .. }
            | Input::TransferLeader { .. }
            | Input::Campaign
            | Input::RenewLease
            | Input::Report => {}
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
}
