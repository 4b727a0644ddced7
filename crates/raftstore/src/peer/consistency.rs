//! Consistency checks and quarantine in the life of a Peer.
//!
//! **Invariants.** A leader has one check under way, and its asker is answered once, when those it has found
//! are quarantined. A quarantined replica
//! allows no read and takes no command; while it leads, it tries to hand over at each tick.
//!
//! **How it stays behind in elections.** Whoever is as good does not vote for it (raft-rs's priority), so it
//! leads only if the log of most voters ends sooner than its own: what it has acknowledged must not be lost.
//! raft-rs compares the length of logs there, and not their terms, so after a long time without a leader
//! it stands like all others.
//!
//! **Not here.** The rules (`op::consistency`).

use super::{Peer, RequestContext};
use crate::admin::Admin;
use crate::command::Command;
use crate::effect::{Effect, Reply};
use crate::error::RequestError;
use crate::message::RaftMessage;
use crate::op::conf_change::is_voter_after;
use crate::op::consistency::{Check, Hash, Quarantine, Report, Verdict, Word};
use ::raft::eraftpb::{Message, MessageType};
use std::collections::BTreeSet;
use types::{PeerId, RequestId};

/// The priority of a quarantined candidate; all others have 0.
const PRIORITY_IN_QUARANTINE: i64 = -1;
/// How often a follower says its hash again. A message is lost where a connection has just broken.
const REPEATS: usize = 3;
/// So many of the longest election timeouts without a leader are a long time.
const LEADERLESS_TIMEOUTS: usize = 4;

/// What a Peer has to do with checks: nothing, most of the time, and then it takes no room.
#[derive(Default)]
pub(super) struct Consistency(Option<Box<State>>);

#[derive(Default)]
struct State {
    /// As a leader: the one under way.
    check: Option<Check>,
    /// As a leader: how it has ended, if somebody is to be quarantined and is not yet.
    judging: Option<Judging>,
    /// The last entry at which this replica is being hashed.
    hashing: Option<u64>,
    /// As a follower: what the leader was told last, as long as it may not have heard it.
    told: Option<Told>,
    /// This replica's.
    quarantine: Option<Quarantine>,
    /// As a leader: other replicas that are.
    quarantined: BTreeSet<PeerId>,
    /// While quarantined: ticks since the leader was told, or since there was one.
    ticks: usize,
}

/// A check that has found something: its asker hears of it when those who differ are quarantined.
struct Judging {
    request: RequestId,
    report: Report,
    verdict: Verdict,
    /// Whether the log has it. It does not take it while the leadership is handed over.
    is_proposed: bool,
    age_ticks: u64,
}

/// A word to the leader, which nobody acknowledges: it is said again a few times.
struct Told {
    word: Word,
    ticks: usize,
    repeats: usize,
}

impl State {
    fn is_checking(&self) -> bool {
        self.check.is_some() || self.judging.is_some()
    }
}

impl Consistency {
    fn state(&mut self) -> &mut State {
        self.0.get_or_insert_default()
    }

    fn check(&mut self) -> Option<&mut Check> {
        self.0.as_mut()?.check.as_mut()
    }

    fn quarantine(&self) -> Option<Quarantine> {
        self.0.as_ref()?.quarantine
    }

    /// The Region falls asleep: its leader waits for nobody.
    pub(super) fn fall_asleep(&mut self) {
        if let Some(state) = &mut self.0 {
            state.told = None;
        }
        self.give_back();
    }

    /// Frees what nothing is in.
    pub(super) fn give_back(&mut self) {
        let is_empty = |state: &mut Box<State>| {
            state.check.is_none()
                && state.judging.is_none()
                && state.hashing.is_none()
                && state.told.is_none()
                && state.quarantine.is_none()
                && state.quarantined.is_empty()
        };
        self.0.take_if(is_empty);
    }
}

impl Peer {
    /// Whether a check waits for this replica or here for others, or this replica is quarantined: until it is
    /// replaced it has to say so to every leader, and must not lead.
    pub fn has_consistency_work(&self) -> bool {
        let busy = |state: &State| {
            state.is_checking() || state.hashing.is_some() || state.quarantine.is_some()
        };
        self.consistency.0.as_deref().is_some_and(busy)
    }

    /// Whether it has begun a check that has not ended.
    pub(super) fn is_checking(&self) -> bool {
        let state = self.consistency.0.as_ref();
        state.is_some_and(|state| state.is_checking())
    }

    /// Why this replica is quarantined, if it is.
    pub fn quarantine(&self) -> Option<Quarantine> {
        self.consistency.quarantine()
    }

    /// The replica is quarantined, as it was before this life, or as what it was cut off from.
    pub fn set_quarantine(&mut self, quarantine: Quarantine) {
        self.raw.raft.set_priority(PRIORITY_IN_QUARANTINE);
        self.consistency.state().quarantine = Some(quarantine);
    }

    pub(super) fn check_consistency(
        &mut self,
        request: RequestId,
        context: &RequestContext,
        out: &mut Vec<Effect>,
    ) {
        let begun = self.check(context, self.is_leader()).and_then(|()| {
            if self.is_checking() {
                let reason = "the Region's replicas are being compared";
                return Err(RequestError::ServerIsBusy { reason });
            }
            let index = self.propose_own(Admin::ComputeHash, out)?;
            self.consistency.state().check = Some(Check::new(index, request));
            // Whoever applies it late answers late.
            self.raw.skip_bcast_commit(false);
            Ok(())
        });
        if let Err(error) = begun {
            out.push(Effect::Reply(request, Err(error)));
        }
    }

    /// Proposes what a leader asks for itself, as an entry of its own. Returns its index.
    pub(super) fn propose_own(
        &mut self,
        admin: Admin,
        out: &mut Vec<Effect>,
    ) -> Result<u64, RequestError> {
        self.flush_batch(out);
        let before = self.raw.raft.raft_log.last_index();
        let command = Command::Admin(admin);
        self.proposals.push_own(self.region.epoch, &command);
        self.flush_batch(out);
        let index = self.raw.raft.raft_log.last_index();
        match index > before {
            true => Ok(index),
            false => Err(self.refused_proposal()),
        }
    }

    /// The entry of a check was applied.
    pub(super) fn hashing(&mut self, index: u64) {
        self.consistency.state().hashing = Some(index);
        if let Some(check) = self.consistency.check() {
            check.begin(index, &self.region);
        }
    }

    /// This replica was hashed, or can't be.
    pub(super) fn hashed(&mut self, index: u64, hash: Option<Hash>, out: &mut Vec<Effect>) {
        let hashing = &mut self.consistency.state().hashing;
        hashing.take_if(|last| *last == index);
        match self.is_leader() {
            true => self.hear_hash(self.me.id, index, hash, out),
            false => {
                let word = Word::Hashed { index, hash };
                self.consistency.state().told = Some(Told {
                    word,
                    ticks: 0,
                    repeats: REPEATS,
                });
                self.tell_leader(word, out);
            }
        }
    }

    fn tick_told(&mut self, out: &mut Vec<Effect>) {
        let (is_leader, every) = (self.is_leader(), self.options.election_ticks_min);
        let Some(state) = &mut self.consistency.0 else {
            return;
        };
        state.told.take_if(|told| is_leader || told.repeats == 0);
        let Some(told) = &mut state.told else {
            return;
        };
        told.ticks += 1;
        if told.ticks.is_multiple_of(every) {
            told.repeats -= 1;
            let word = told.word;
            self.tell_leader(word, out);
        }
    }

    pub(super) fn tell_leader(&mut self, word: Word, out: &mut Vec<Effect>) {
        let Some(leader) = self.leader() else {
            return;
        };
        let mut message = Message::default();
        message.set_msg_type(MessageType::MsgHeartbeatResponse);
        (message.from, message.to) = (self.me.id.get(), leader.id.get());
        message.term = self.term();
        message.context = word.encode().into();
        self.send(message, out);
    }

    /// Whether a message is a word to the leader, and nothing of Raft's.
    pub(super) fn hear_word(&mut self, message: &RaftMessage, out: &mut Vec<Effect>) -> bool {
        let raft = &message.message;
        if raft.get_msg_type() != MessageType::MsgHeartbeatResponse {
            return false;
        }
        let Some(word) = Word::decode(&raft.context) else {
            return false;
        };
        if self.is_leader() && raft.term == self.term() {
            match word {
                Word::Hashed { index, hash } => self.hear_hash(message.from.id, index, hash, out),
                Word::Quarantined(quarantine) => self.know_quarantined(quarantine.peer_id),
                Word::MergeRefused { index } => self.merge_refused(index, out),
            }
        }
        true
    }

    fn hear_hash(&mut self, from: PeerId, index: u64, hash: Option<Hash>, out: &mut Vec<Effect>) {
        if let Some(check) = self.consistency.check() {
            check.hear(from, index, hash);
            self.end_check(out);
        }
    }

    /// A replica is sent a snapshot with all up to this entry. The next tick sees whether anybody is waited for.
    pub(crate) fn passed_over(&mut self, to: PeerId, last_index: u64) {
        if let Some(check) = self.consistency.check() {
            check.pass_over(to, last_index);
        }
    }

    /// Ends the check under way, if it is time.
    fn end_check(&mut self, out: &mut Vec<Effect>) {
        let state = self.consistency.0.as_ref();
        let Some(check) = state.and_then(|state| state.check.as_ref()) else {
            return;
        };
        let is_silent = |id| id != self.me.id && self.is_silent(id);
        let patience_ticks = self.options.consistency_patience_ticks;
        let Some(report) = check.end(patience_ticks, is_silent) else {
            return;
        };
        let request = check.request;
        self.consistency.state().check = None;
        if report.differs() {
            out.push(Effect::Inconsistent(report.clone()));
        }
        let verdict = report.verdict().map(|mut verdict| {
            verdict
                .deviating
                .retain(|(id, _)| !self.is_quarantined(*id));
            verdict
        });
        match verdict.filter(|verdict| !verdict.deviating.is_empty()) {
            None => out.push(Effect::Reply(request, Ok(Reply::Checked(Box::new(report))))),
            Some(verdict) => {
                self.consistency.state().judging = Some(Judging {
                    request,
                    report,
                    verdict,
                    is_proposed: false,
                    age_ticks: 0,
                });
                self.propose_verdict(out);
            }
        }
    }

    /// Has what a check has found written to the log, if that is to be done.
    fn propose_verdict(&mut self, out: &mut Vec<Effect>) {
        let state = self.consistency.0.as_ref();
        let judging = state.and_then(|state| state.judging.as_ref());
        let Some(judging) = judging.filter(|judging| !judging.is_proposed) else {
            return;
        };
        let verdict = Admin::VerifyHash(judging.verdict.clone());
        let is_proposed = self.propose_own(verdict, out).is_ok();
        if let Some(judging) = &mut self.consistency.state().judging {
            judging.is_proposed = is_proposed;
        }
    }

    fn tick_judging(&mut self, out: &mut Vec<Effect>) {
        let state = self.consistency.0.as_mut();
        let Some(judging) = state.and_then(|state| state.judging.as_mut()) else {
            return;
        };
        judging.age_ticks += 1;
        if judging.age_ticks < self.options.consistency_patience_ticks {
            return self.propose_verdict(out);
        }
        // Its entry met another shape of the Region, say. The next check comes to the same.
        let reason = "what a comparison has found was not written down";
        self.give_up_check(&RequestError::ServerIsBusy { reason }, out);
    }

    /// Whether nothing was heard of a follower for so long that it may be down.
    fn is_silent(&self, id: PeerId) -> bool {
        self.is_unheard(id, self.options.election_ticks_max as u64)
    }

    /// The leadership is another: its leader will be told who is quarantined.
    pub(super) fn end_checks(&mut self, error: &RequestError, out: &mut Vec<Effect>) {
        if let Some(state) = &mut self.consistency.0 {
            state.quarantined.clear();
        }
        self.give_up_check(error, out);
    }

    /// The check under way comes to nothing.
    pub(super) fn give_up_check(&mut self, error: &RequestError, out: &mut Vec<Effect>) {
        let Some(state) = &mut self.consistency.0 else {
            return;
        };
        let check = state.check.take().map(|check| check.request);
        let judging = state.judging.take().map(|judging| judging.request);
        let requests = check.into_iter().chain(judging);
        out.extend(requests.map(|request| Effect::Reply(request, Err(error.clone()))));
    }

    /// The entry with what a check has found was applied.
    pub(super) fn verified(&mut self, verdict: &Verdict, out: &mut Vec<Effect>) {
        let judging = self.consistency.0.as_mut().map(|state| &mut state.judging);
        let judged = judging.and_then(|it| it.take_if(|it| it.verdict.index == verdict.index));
        if let Some(judged) = judged {
            let reply = Reply::Checked(Box::new(judged.report));
            out.push(Effect::Reply(judged.request, Ok(reply)));
        }
        for quarantine in verdict.quarantines() {
            if quarantine.peer_id != self.me.id {
                self.know_quarantined(quarantine.peer_id);
            } else if self.quarantine().is_none() {
                self.enter_quarantine(quarantine, out);
            }
        }
    }

    /// As [`Self::verified`], of a replica that leaves.
    pub(super) fn note_quarantine(&mut self, verdict: &Verdict) {
        let mut named = verdict.quarantines();
        if let Some(mine) = named.find(|quarantine| quarantine.peer_id == self.me.id) {
            self.set_quarantine(mine);
        }
    }

    /// The applier has taken a source in.
    pub(super) fn inherit_quarantine(
        &mut self,
        inherits: Option<Box<Quarantine>>,
        out: &mut Vec<Effect>,
    ) {
        if let Some(quarantine) = inherits {
            self.enter_quarantine(*quarantine, out);
        }
    }

    fn know_quarantined(&mut self, id: PeerId) {
        let is_member = self.region.peer(id).is_some();
        if self.is_leader() && is_member && self.consistency.state().quarantined.insert(id) {
            self.report_due_ticks = 0;
        }
    }

    fn enter_quarantine(&mut self, quarantine: Quarantine, out: &mut Vec<Effect>) {
        self.set_quarantine(quarantine);
        self.publish_lease(out);
        let error = self.in_quarantine();
        self.reads.fail(&error, out);
        self.announce_quarantine(self.region.id, quarantine, out);
        self.report_due_ticks = 0;
        self.hand_over(out);
    }

    fn announce_quarantine(
        &self,
        region_id: types::RegionId,
        quarantine: Quarantine,
        out: &mut Vec<Effect>,
    ) {
        out.push(Effect::Quarantined {
            region_id,
            quarantine,
        });
    }

    /// What was cut off from a quarantined replica is quarantined as well. Comes before the store hears of
    /// the parts.
    pub(super) fn quarantine_parts(&self, parts: &[types::Region], out: &mut Vec<Effect>) {
        let Some(quarantine) = self.quarantine() else {
            return;
        };
        for part in parts.iter().filter(|part| part.id != self.region.id) {
            let Some(me) = part.peer_on(self.me.store_id) else {
                continue;
            };
            let peer_id = me.id;
            let quarantine = Quarantine {
                peer_id,
                ..quarantine
            };
            self.announce_quarantine(part.id, quarantine, out);
        }
    }

    /// Whether a replica is known to be quarantined here.
    pub(super) fn is_quarantined(&self, id: PeerId) -> bool {
        let state = self.consistency.0.as_ref();
        state.is_some_and(|state| {
            let is_me = id == self.me.id && state.quarantine.is_some();
            is_me || state.quarantined.contains(&id)
        })
    }

    /// Replicas of the Region that are known to be quarantined.
    pub(super) fn quarantined_peers(&self) -> Vec<PeerId> {
        let ids = self.region.peers.iter().map(|peer| peer.id);
        ids.filter(|id| self.is_quarantined(*id)).collect()
    }

    /// Refuses where this replica's place, or what it holds, is not such that it serves.
    pub(super) fn check_serves(&self, serves: bool) -> Result<(), RequestError> {
        match (serves, self.quarantine()) {
            (false, _) => Err(self.not_leader()),
            (true, Some(_)) => Err(self.in_quarantine()),
            (true, None) => Ok(()),
        }
    }

    /// The answer to those who would be served.
    pub(super) fn in_quarantine(&self) -> RequestError {
        RequestError::Quarantined {
            region_id: self.region.id,
            leader: self.leader().filter(|leader| leader.id != self.me.id),
        }
    }

    /// Whether a message asks a quarantined replica to lead.
    pub(super) fn is_barred_by_quarantine(&self, kind: MessageType) -> bool {
        kind == MessageType::MsgTimeoutNow && self.quarantine().is_some()
    }

    /// One tick has passed.
    pub(super) fn tick_consistency(&mut self, out: &mut Vec<Effect>) {
        if let Some(check) = self.consistency.check() {
            check.tick();
            self.end_check(out);
        }
        self.tick_judging(out);
        self.tick_told(out);
        let Some(quarantine) = self.quarantine() else {
            return;
        };
        if self.is_leader() {
            self.hand_over(out);
            return;
        }
        let ticks = &mut self.consistency.state().ticks;
        *ticks += 1;
        let waited = *ticks;
        let has_leader = self.leader().is_some();
        if has_leader && waited >= self.options.election_ticks_min {
            self.consistency.state().ticks = 0;
            self.tell_leader(Word::Quarantined(quarantine), out);
        }
        let long = LEADERLESS_TIMEOUTS * self.options.election_ticks_max;
        let priority = match !has_leader && waited >= long {
            true => 0,
            false => PRIORITY_IN_QUARANTINE,
        };
        self.raw.raft.set_priority(priority);
    }

    /// To the voter that has most of the log.
    pub(super) fn hand_over(&mut self, out: &mut Vec<Effect>) {
        if !self.is_leader() || self.raw.raft.lead_transferee.is_some() {
            return;
        }
        let progress = self.raw.raft.prs();
        let matched = |id: PeerId| progress.get(id.get()).map_or(0, |known| known.matched);
        let peers = self.region.peers.iter();
        let to = peers
            .filter(|peer| is_voter_after(peer.role) && !self.is_quarantined(peer.id))
            .filter(|peer| !self.is_silent(peer.id))
            .max_by_key(|peer| (matched(peer.id), std::cmp::Reverse(peer.id)));
        if let Some(to) = to.map(|peer| peer.id) {
            self.transfer_leader(to, out);
        }
    }
}
