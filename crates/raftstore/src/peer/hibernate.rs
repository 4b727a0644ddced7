//! Sleep in the life of a Peer: when it falls asleep, what wakes it, and what it says of that.
//!
//! **Invariants.** A Peer that sleeps has nothing to do: nobody waits for an answer of it, and everything
//! in its log is applied. Its store hears of its sleep and of its waking, in that order.
//!
//! **Not here.** Why a Region may sleep (`op::hibernate`).

use super::{Input, Peer};
use crate::effect::Effect;
use crate::message::RaftMessage;
use crate::op::conf_change::{is_joint, is_voter_after};
use crate::op::hibernate::{Beat, Extra, Hibernation, Reliance, Sleep};
use ::raft::eraftpb::MessageType;
use types::{PeerId, RegionId, StoreId};

impl Peer {
    /// Whether it neither ticks nor campaigns.
    pub fn is_asleep(&self) -> bool {
        matches!(self.hibernation, Hibernation::Asleep { .. })
    }

    /// Comes before each input: wakes the Peer, where that is one to wake for.
    pub(super) fn stir(&mut self, input: &Input, out: &mut Vec<Effect>) {
        let wakes = match input {
            Input::Propose { .. } | Input::Read { .. } => {
                self.wake_leader(out);
                true
            }
            Input::RenewLease
            | Input::ChangePeers { .. }
            | Input::CheckConsistency { .. }
            | Input::TransferLeader { .. }
            | Input::Campaign => true,
            Input::MergeAsked(_) => self.is_leader(),
            Input::Message(message) => message.extra.is_none() && !self.is_late_answer(message),
            _ => false,
        };
        if wakes {
            self.wake(out);
        }
    }

    /// A request has come to a sleeping follower.
    fn wake_leader(&self, out: &mut Vec<Effect>) {
        if self.is_asleep()
            && !self.is_leader()
            && let Some(leader) = self.leader()
        {
            self.say(leader, Extra::WakeUp, out);
        }
    }

    /// A follower's answer to a heartbeat of this leader. raft-rs still hears it, and sends entries if
    /// the follower lacks any.
    fn is_late_answer(&self, message: &RaftMessage) -> bool {
        let raft = &message.message;
        let is_answer = raft.get_msg_type() == MessageType::MsgHeartbeatResponse;
        is_answer && raft.term == self.term() && self.is_leader()
    }

    /// Whether half of the time is over that it has to be idle for.
    pub(crate) fn is_nearly_asleep(&self) -> bool {
        let ticks = self.options.hibernate_ticks.div_ceil(2);
        matches!(self.hibernation, Hibernation::Awake { idle_ticks } if ticks > 0 && idle_ticks >= ticks)
    }

    /// It ticks from now on, as if it had just begun to be idle.
    pub(super) fn wake(&mut self, out: &mut Vec<Effect>) {
        if self.is_asleep() {
            out.push(Effect::Woke(self.region.id));
        }
        self.hibernation = Hibernation::AWAKE;
    }

    /// The store of the leader is silent: campaigns soon, though not at the same time as all others.
    pub(super) fn lost_leader(&mut self, store: StoreId, out: &mut Vec<Effect>) {
        self.wake(out);
        let is_lost = self.leader().is_some_and(|peer| peer.store_id == store);
        if is_lost && !self.is_leader() {
            self.raw.raft.election_elapsed = self.options.election_ticks_min;
        }
    }

    /// Whether a tick is one for Raft.
    pub(super) fn beats(&mut self, out: &mut Vec<Effect>) -> bool {
        let may_sleep = self.is_leader() && !self.has_work() && self.are_followers_even();
        match self
            .hibernation
            .tick(may_sleep, self.options.hibernate_ticks)
        {
            Beat::Tick => return true,
            Beat::Rest => {}
            Beat::Ask => {
                let followers = self.region.peers.iter().filter(|peer| **peer != self.me);
                let index = self.last_index();
                for follower in followers.copied() {
                    self.say(follower, Extra::HibernateRequest { index }, out);
                }
                self.sleep_if_all_do(out);
            }
            Beat::Decide => match self.has_sleeping_quorum() {
                true => self.lead_asleep(out),
                false => {
                    self.hibernation = Hibernation::AWAKE;
                    return true;
                }
            },
        }
        false
    }

    /// Whether this replica has something to do or to wait for.
    pub(super) fn has_work(&self) -> bool {
        let log = &self.raw.raft.raft_log;
        let is_even = log.last_index() == self.applied_index && log.committed == self.applied_index;
        self.region.id == RegionId::PLACEMENT
            || !self.is_initialized()
            || !is_even
            || !self.proposals.is_empty()
            || !self.reads.is_empty()
            || !self.unpersisted.is_empty()
            || self.is_receiving_snapshot()
            || self.sending.is_busy()
            || self.raw.raft.has_pending_conf()
            || self.raw.raft.lead_transferee.is_some()
            || is_joint(&self.region)
            || self.has_to_do_with_a_merge()
            || self.has_consistency_work()
    }

    fn is_receiving_snapshot(&self) -> bool {
        self.installing.is_some() || self.arrived.is_some() || self.early.is_some()
    }

    /// Whether all followers have all of this leader's log, except those that were not heard.
    fn are_followers_even(&self) -> bool {
        let last = self.last_index();
        let progress = self.raw.raft.prs();
        let mut peers = self.region.peers.iter();
        peers.all(|peer| {
            let known = progress.get(peer.id.get());
            known.is_some_and(|known| known.matched == last) || self.may_be_missing(peer.id)
        })
    }

    fn may_be_missing(&self, peer: PeerId) -> bool {
        self.is_unheard(peer, self.options.hibernate_ticks)
    }

    fn last_index(&self) -> u64 {
        self.raw.last_index()
    }

    fn say(&self, to: types::Peer, extra: Extra, out: &mut Vec<Effect>) {
        let (id, epoch) = (self.region.id, self.region.epoch);
        let message = RaftMessage::extra((id, epoch), self.me, to, extra);
        out.push(Effect::Send(Box::new(message)));
    }

    /// Another replica has said something beside Raft.
    pub(super) fn hear_extra(&mut self, from: types::Peer, extra: Extra, out: &mut Vec<Effect>) {
        match extra {
            Extra::HibernateRequest { index } => {
                let leads = self.leader().is_some_and(|leader| leader.id == from.id);
                let is_even = index == self.last_index();
                if leads && is_even && !self.is_leader() && !self.has_work() {
                    self.fall_asleep(Reliance::Leader(from.store_id), out);
                    self.say(from, Extra::HibernateResponse { index }, out);
                }
            }
            Extra::HibernateResponse { .. } if !self.is_leader() => {
                self.say(from, Extra::WakeUp, out);
            }
            Extra::HibernateResponse { index } if index != self.last_index() => self.wake(out),
            Extra::HibernateResponse { .. } => {
                self.hibernation.heard(from.id);
                self.sleep_if_all_do(out);
            }
            Extra::WakeUp => self.wake(out),
            // They are no Peer's.
            Extra::StorePing | Extra::StorePong => {}
        }
    }

    fn sleep_if_all_do(&mut self, out: &mut Vec<Effect>) {
        let mut peers = self.region.peers.iter();
        let is_drowsy = matches!(self.hibernation, Hibernation::Drowsy { .. });
        if is_drowsy && peers.all(|peer| self.sleeps(peer)) {
            self.lead_asleep(out);
        }
    }

    /// Of a drowsy leader.
    fn sleeps(&self, peer: &types::Peer) -> bool {
        *peer == self.me || self.hibernation.has_asleep(peer.id)
    }

    fn has_sleeping_quorum(&self) -> bool {
        let peers = &self.region.peers;
        let voters = || peers.iter().filter(|peer| is_voter_after(peer.role));
        let asleep = voters().filter(|peer| self.sleeps(peer)).count();
        let mut others = peers.iter().filter(|peer| !self.sleeps(peer));
        asleep > voters().count() / 2 && others.all(|peer| self.may_be_missing(peer.id))
    }

    fn lead_asleep(&mut self, out: &mut Vec<Effect>) {
        let followers = || self.region.peers.iter().filter(|peer| **peer != self.me);
        let missing = followers().filter(|peer| !self.sleeps(peer));
        let reliance = Reliance::Followers {
            missing: missing.map(|peer| peer.store_id).collect(),
            all: followers().map(|peer| peer.store_id).collect(),
        };
        self.fall_asleep(reliance, out);
    }

    fn fall_asleep(&mut self, reliance: Reliance, out: &mut Vec<Effect>) {
        if self.is_asleep() {
            return;
        }
        self.hibernation = Hibernation::Asleep { down: Vec::new() };
        self.shed_cache();
        self.consistency.fall_asleep();
        let region_id = self.region.id;
        out.push(Effect::Slept(Sleep {
            region_id,
            reliance,
        }));
    }

    /// Now and then while it sleeps: a leader reports, a follower says to its leader that it sleeps.
    pub(super) fn check_asleep(&mut self, silent: Vec<StoreId>, out: &mut Vec<Effect>) {
        let Hibernation::Asleep { down } = &mut self.hibernation else {
            return;
        };
        *down = silent;
        match (self.is_leader(), self.leader()) {
            (true, _) => self.report_due_ticks = 0,
            (false, Some(leader)) => {
                let index = self.last_index();
                self.say(leader, Extra::HibernateResponse { index }, out);
            }
            (false, None) => self.wake(out),
        }
    }
}
