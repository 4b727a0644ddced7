//! Changes of the Region: proposing them as its leader, and taking in what the applier made of them.
//!
//! **Invariants.** This replica's shape is the one that its applier had at the last change it was told
//! of; what is proposed under an earlier one has no effect. raft-rs's configuration and the shape
//! change together.
//!
//! **Not here.** The rules of each change (`op`).

use super::propose::Proposal;
use super::{Peer, RequestContext, raft};
use crate::admin::{PeerChange, PeerChanges};
use crate::apply::{Change, RegionChange};
use crate::effect::{Effect, SplitDone};
use crate::error::RequestError;
use crate::message::RaftMessage;
use crate::op::conf_change::{changed, is_joint, is_voter_after};
use std::sync::Arc;
use types::{PeerId, Region, RequestId};

impl Peer {
    /// The applier has changed the Region.
    pub(super) fn changed(&mut self, change: RegionChange, out: &mut Vec<Effect>) {
        // It was checked against the shape that goes.
        self.flush_batch(out);
        self.raw.skip_bcast_commit(true);
        match change.change {
            Change::Split(parts) => {
                let kept = parts.last().expect("a split has parts");
                self.reshape(kept.clone());
                self.quarantine_parts(&parts, out);
                out.push(Effect::Split(SplitDone {
                    parts,
                    was_led_here: self.is_leader(),
                }));
            }
            Change::Merging { region, merging } => self.merging_changed(region, merging, out),
            Change::Merged {
                term,
                region,
                source,
                inherits,
            } => {
                self.merged((change.index, term), region, source, out);
                self.inherit_quarantine(inherits, out);
            }
            Change::Peers { changes, region } => self.changed_peers(changes, region, out),
            Change::CompactLog { index, term } => {
                self.applied(change.index, out);
                self.compact_log(change.index, index, term, out);
            }
            Change::Hashing => self.hashing(change.index),
            Change::Verified(verdict) => self.verified(&verdict, out),
        }
        self.applied(change.index, out);
    }

    pub(crate) fn reshape(&mut self, region: Region) {
        if let Some(me) = region.peer(self.me.id) {
            self.me = *me;
        }
        self.region = Arc::new(region);
        self.strangers.clear();
        self.report_due_ticks = 0;
    }

    fn changed_peers(&mut self, changes: Vec<PeerChange>, region: Region, out: &mut Vec<Effect>) {
        let before = Arc::clone(&self.region);
        let epoch = before.epoch;
        let change = raft::to_conf_change(&PeerChanges { epoch, changes });
        if let Err(error) = self.raw.apply_conf_change(&change) {
            panic!("raft-rs refuses a change of {before:?} that was applied: {error}");
        }
        if region.peer(self.me.id).is_none() {
            // The store has then seen the last epoch go by.
            out.push(Effect::Reshaped(region.clone()));
            self.leave(region.epoch, out);
            return;
        }
        self.reshape(region);
        out.push(Effect::Reshaped(Region::clone(&self.region)));
        if !self.is_leader() {
            return;
        }
        self.give_up_lease();
        // They will not hear of their removal from a log that does not reach them any more.
        for peer in &before.peers {
            if self.region.peer(peer.id).is_none() {
                let (id, epoch) = (self.region.id, self.region.epoch);
                let farewell = RaftMessage::farewell(id, self.me, *peer, epoch);
                out.push(Effect::Send(Box::new(farewell)));
            }
        }
    }

    /// Proposes a change of membership.
    pub(super) fn change_peers(
        &mut self,
        request: RequestId,
        context: &RequestContext,
        changes: Vec<PeerChange>,
        out: &mut Vec<Effect>,
    ) {
        let checked = self
            .check(context, self.is_leader())
            .and_then(|()| self.check_peers(context, &changes));
        let proposed = checked.and_then(|()| self.propose_peers(vec![request], changes, out));
        if let Err(error) = proposed {
            out.push(Effect::Reply(request, Err(error)));
        }
    }

    fn check_peers(
        &self,
        context: &RequestContext,
        changes: &[PeerChange],
    ) -> Result<(), RequestError> {
        if context.epoch.conf_ver != self.region.epoch.conf_ver {
            return Err(RequestError::EpochNotMatch {
                current: vec![Region::clone(&self.region)],
            });
        }
        if self.raw.raft.has_pending_conf() {
            return Err(RequestError::ServerIsBusy {
                reason: "another change of membership is under way",
            });
        }
        let after = changed(&self.region, changes)?;
        let invalid = |reason| {
            Err(RequestError::InvalidChange {
                region_id: self.region.id,
                reason,
            })
        };
        let stays = after.peer(self.me.id);
        if !stays.is_some_and(|peer| is_voter_after(peer.role)) {
            return invalid("its leader would not vote any more: transfer the leadership first");
        }
        if !self.has_majority_with_log(&after) {
            return invalid("too few of its voters would have the log");
        }
        Ok(())
    }

    /// Whether most voters of `after` need no snapshot to go on.
    fn has_majority_with_log(&self, after: &Region) -> bool {
        let truncated = self.raw.store().truncated_index();
        let progress = self.raw.raft.prs();
        let voters = || after.peers.iter().filter(|peer| is_voter_after(peer.role));
        let has_log = |id: PeerId| {
            let known = progress.get(id.get());
            known.is_some_and(|known| known.matched >= truncated && known.matched > 0)
        };
        let with_log = voters().filter(|peer| has_log(peer.id)).count();
        with_log > voters().count() / 2
    }

    fn propose_peers(
        &mut self,
        requests: Vec<RequestId>,
        changes: Vec<PeerChange>,
        out: &mut Vec<Effect>,
    ) -> Result<(), RequestError> {
        self.flush_batch(out);
        let epoch = self.region.epoch;
        let change = raft::to_conf_change(&PeerChanges { epoch, changes });
        if !self.is_leader() || self.raw.propose_conf_change(Vec::new(), change).is_err() {
            return Err(self.refused_proposal());
        }
        self.proposals.proposed(Proposal {
            index: self.raw.raft.raft_log.last_index(),
            term: self.term(),
            proposed_at: self.now,
            requests,
        });
        Ok(())
    }

    /// A joint configuration needs two majorities: it is left as soon as it is entered.
    pub(super) fn leave_joint(&mut self, out: &mut Vec<Effect>) {
        if !self.is_leader() || self.raw.raft.has_pending_conf() {
            return;
        }
        if !is_voter_after(self.me.role) {
            // A voter on its way out can win an election as long as the configuration is joint.
            self.hand_over(out);
        } else if is_joint(&self.region) {
            // If it is refused, the next tick tries again.
            let _ = self.propose_peers(Vec::new(), Vec::new(), out);
        }
    }

    /// Lets another voter lead as soon as it has the whole log. raft-rs gives up after an election
    /// timeout; until then nothing is proposed.
    pub(super) fn transfer_leader(&mut self, to: PeerId, out: &mut Vec<Effect>) {
        let voter = self.region.peer(to);
        let can_lead =
            voter.is_some_and(|peer| is_voter_after(peer.role) && !self.is_quarantined(peer.id));
        if self.is_leader() && to != self.me.id && can_lead {
            self.flush_batch(out);
            self.raw.transfer_leader(to.get());
        }
    }
}
