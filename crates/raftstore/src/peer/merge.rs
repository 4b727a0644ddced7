//! A Peer in a merge: as a replica of the source, which waits and asks, and of the target, which decides.
//!
//! **Invariants.** Whoever is merging serves nobody. A step is proposed by a leader that has applied the
//! one before, and not again before its entry is applied.
//!
//! **Not here.** The rules, and why they hold (`op::merge`).

use super::Peer;
use crate::admin::{Admin, MergeSource};
use crate::effect::{Effect, MergeDone};
use crate::error::RequestError;
use crate::op::conf_change::{is_joint, is_voter_after};
use crate::op::consistency::Word;
use crate::op::last_merge::TakeIn;
use crate::op::merge::{self, LOG_GAP_MAX, MergeAsk, SourceWish};
use crate::op::snapshot::SnapshotMeta;
use crate::state::{Merging, Tombstone};
use types::{PeerId, Region};

/// What a Peer knows of its merges.
#[derive(Default)]
pub(crate) struct Merges {
    /// As a replica of the source. Apart, since most Regions never are one.
    pub(super) merging: Option<Box<Merging>>,
    /// Since it has known that.
    age_ticks: u64,
    /// The last entry about a merge that it proposed as leader: its term and its index.
    proposed: (u64, u64),
    /// As a replica of the target: what its applier waits for.
    awaits: Option<Box<SourceWish>>,
    /// As one that has taken a source in: the index and the term of the entry that did, last.
    pub(crate) committed: (u64, u64),
}

impl Merges {
    /// Of a Region that last took a neighbour in with the entry at this index and term.
    pub(crate) fn after(place: (u64, u64)) -> Self {
        Self {
            committed: place,
            ..Self::default()
        }
    }
}

impl Peer {
    /// Goes on with a merge that was begun in an earlier life.
    #[must_use]
    pub fn with_merging(mut self, merging: Option<Merging>) -> Self {
        self.merges.merging = merging.map(Box::new);
        self
    }

    /// With the entry at this index and term, which is applied, it last took a neighbour in.
    #[must_use]
    pub fn with_last_merge(mut self, place: (u64, u64)) -> Self {
        self.merges.committed = place;
        self
    }

    /// The merge in which it is the source.
    pub fn merging(&self) -> Option<&Merging> {
        self.merges.merging.as_deref()
    }

    /// Whether it waits for a step of a merge, on either side.
    pub(super) fn has_to_do_with_a_merge(&self) -> bool {
        let Merges {
            merging, awaits, ..
        } = &self.merges;
        merging.is_some() || awaits.is_some() || self.may_be_committing()
    }

    /// Whether it may begin to merge: all replicas must be near, and heard of lately, since the Region serves
    /// nobody until they have come.
    pub(super) fn check_prepare(&self, target: &Region) -> Result<(), RequestError> {
        merge::prepared(&self.region, target)?;
        let invalid = |reason| {
            Err(RequestError::InvalidChange {
                region_id: self.region.id,
                reason,
            })
        };
        if self.raw.raft.has_pending_conf() || is_joint(&self.region) {
            return invalid("a change of membership is under way");
        }
        if self.is_checking() || !self.quarantined_peers().is_empty() {
            return invalid("its replicas are being compared, or one of them is quarantined");
        }
        let last = self.raw.raft.raft_log.last_index();
        let patience = self.options.election_ticks_max as u64;
        let is_near = |id: PeerId| {
            // Ticks stand still while the Region sleeps: who slept with it counts as heard.
            let is_heard = self.heard.contains_key(&id) && !self.is_unheard(id, patience);
            (is_heard || id == self.me.id) && self.matched(id) + LOG_GAP_MAX >= last
        };
        match self.region.peers.iter().all(|peer| is_near(peer.id)) {
            true => Ok(()),
            false => invalid("one of its replicas is too far behind, or was not heard of"),
        }
    }

    fn matched(&self, id: PeerId) -> u64 {
        let progress = self.raw.raft.prs().get(id.get());
        progress.map_or(0, |progress| progress.matched)
    }

    /// The applier has begun, sealed or rolled back a merge, or refused one.
    pub(super) fn merging_changed(
        &mut self,
        region: Region,
        merging: Option<Merging>,
        out: &mut Vec<Effect>,
    ) {
        let begins = self.merges.merging.is_none();
        if begins {
            self.merges.age_ticks = 0;
            // This replica may be the last to hear of it, when others have been taken in already.
            self.reads.fail(&self.not_found(), out);
            self.give_up_check(&self.not_found(), out);
        }
        self.merges.merging = merging.map(Box::new);
        if region.epoch != self.region.epoch {
            self.reshape(region);
            out.push(Effect::Reshaped(Region::clone(&self.region)));
        }
        self.ask_to_merge(out);
    }

    /// The applier has taken a source in.
    pub(super) fn merged(
        &mut self,
        place: (u64, u64),
        region: Region,
        source: Tombstone,
        out: &mut Vec<Effect>,
    ) {
        self.merges.awaits = None;
        self.merges.committed = place;
        self.reshape(region);
        out.push(Effect::Merged(MergeDone {
            target: Region::clone(&self.region),
            source,
        }));
    }

    /// One tick has passed.
    pub(super) fn merge_now_and_then(&mut self, out: &mut Vec<Effect>) {
        // Whoever was asked may not have been there yet.
        out.extend(
            self.merges
                .awaits
                .as_deref()
                .copied()
                .map(Effect::AwaitSource),
        );
        if self.merges.merging.is_none() {
            return;
        }
        self.merges.age_ticks += 1;
        self.ask_to_merge(out);
        self.roll_back_unsealed(out);
        let (age, patience) = (self.merges.age_ticks, self.options.merge_patience_ticks);
        // Another store may know that the merge was refused.
        if age >= 2 * patience && age.is_multiple_of(patience.max(1)) {
            self.hand_on_leadership(out);
        }
    }

    fn hand_on_leadership(&mut self, out: &mut Vec<Effect>) {
        let voters = || {
            let peers = self.region.peers.iter();
            peers.filter(|peer| is_voter_after(peer.role) && peer.id != self.me.id)
        };
        let next = voters().find(|peer| peer.id > self.me.id);
        if let Some(next) = next.or_else(|| voters().next()).map(|peer| peer.id) {
            self.transfer_leader(next, out);
        }
    }

    fn has_given_up(&self) -> bool {
        self.merges.age_ticks >= self.options.merge_patience_ticks
    }

    /// As long as the merge is not sealed the target knows nothing of it.
    fn roll_back_unsealed(&mut self, out: &mut Vec<Effect>) {
        let unsealed = self.merges.merging.as_ref().filter(|it| !it.is_sealed);
        if let Some(index) = unsealed.map(|merging| merging.index)
            && self.is_leader()
            && self.has_given_up()
        {
            let unless_sealed = true;
            self.propose_own_once(
                Admin::RollbackMerge {
                    index,
                    unless_sealed,
                },
                out,
            );
        }
    }

    fn ask_to_merge(&self, out: &mut Vec<Effect>) {
        let Some(merging) = &self.merges.merging else {
            return;
        };
        if merging.is_sealed {
            out.push(Effect::AskMerge(Box::new(MergeAsk {
                source: Region::clone(&self.region),
                merging: Merging::clone(merging),
                gives_up: self.has_given_up(),
            })));
        }
    }

    /// Seals the merge as soon as all replicas have its first entry.
    pub(super) fn seal_when_all_have_it(&mut self, out: &mut Vec<Effect>) {
        let Some(merging) = &self.merges.merging else {
            return;
        };
        let index = merging.index;
        let all_have = || {
            let mut peers = self.region.peers.iter();
            peers.all(|peer| self.matched(peer.id) >= index)
        };
        if self.is_leader() && !merging.is_sealed && !self.has_given_up() && all_have() {
            self.propose_own_once(Admin::SealMerge { index }, out);
        }
    }

    /// Whether this leader has applied all that earlier ones have left in the log.
    pub(crate) fn knows_its_log(&self) -> bool {
        self.raw.raft.raft_log.term(self.applied_index) == Ok(self.term())
    }

    /// Whether a step of a merge, proposed in this term, is not applied yet.
    pub(crate) fn may_be_committing(&self) -> bool {
        let (term, index) = self.merges.proposed;
        term == self.term() && index > self.applied_index
    }

    /// A replica of a source on this store asks.
    pub(super) fn merge_asked(&mut self, ask: MergeAsk, out: &mut Vec<Effect>) {
        let is_its_epoch = ask.merging.target.epoch == self.region.epoch;
        if !self.is_leader() || !is_its_epoch || self.merges.merging.is_some() {
            return;
        }
        let truncated = self.raw.store().truncated_index();
        let needed = truncated.max(self.merges.committed.0).max(1);
        let all_have_log = || {
            let mut peers = self.region.peers.iter();
            peers.all(|peer| self.matched(peer.id) >= needed)
        };
        let fits = merge::merged(&self.region, &ask.source).is_ok();
        let fits = fits && self.knows_its_log() && !self.may_be_cutting();
        let admin = match fits && all_have_log() {
            true => Admin::CommitMerge(Box::new(MergeSource {
                region: ask.source,
                index: ask.merging.index,
                term: ask.merging.term,
                before: self.merges.committed,
            })),
            false if ask.gives_up => Admin::RefuseMerge {
                source_id: ask.source.id,
            },
            false => return,
        };
        self.propose_own_once(admin, out);
    }

    /// The target's log has decided against this merge.
    pub(super) fn merge_refused(&mut self, index: u64, out: &mut Vec<Effect>) {
        let merging = self.merges.merging.as_ref();
        if merging.is_none_or(|merging| merging.index != index) {
            return;
        }
        if !self.is_leader() {
            self.tell_leader(Word::MergeRefused { index }, out);
        } else {
            let unless_sealed = false;
            self.propose_own_once(
                Admin::RollbackMerge {
                    index,
                    unless_sealed,
                },
                out,
            );
        }
    }

    /// Whether a snapshot holds the effect of a merge that this replica has in its log and has yet to
    /// apply: its log up to there is the leader's then, and committed.
    pub(crate) fn must_merge_before(&mut self, meta: &SnapshotMeta) -> bool {
        let Some(merge) = &meta.last_merge else {
            return false;
        };
        let places = [merge.source.before, merge.place];
        for place in places {
            self.last_merge_is(place);
        }
        let log = &self.raw.raft.raft_log;
        let has_to_come = |(index, term)| index > self.applied_index && log.match_term(index, term);
        places.into_iter().any(has_to_come)
    }

    /// The Region has taken a neighbour in with this entry.
    pub(super) fn last_merge_is(&mut self, (index, term): (u64, u64)) {
        let log = &mut self.raw.raft.raft_log;
        if self.installing.is_none() && index > log.committed && log.match_term(index, term) {
            log.commit_to(index);
        }
    }

    /// The source's replica beside this one, if a snapshot carries this one over the last merge.
    pub(crate) fn source_to_take_in(&self, meta: &SnapshotMeta) -> Option<TakeIn> {
        let merge = meta.last_merge.as_ref()?;
        let is_carried_over = self.is_initialized() && merge.place.0 > self.applied_index;
        is_carried_over.then(|| meta.take_in(self.me.id))?
    }

    fn propose_own_once(&mut self, admin: Admin, out: &mut Vec<Effect>) {
        if self.may_be_committing() {
            return;
        }
        // Nobody serves the keys until all have heard of it.
        self.raw.skip_bcast_commit(false);
        if let Ok(index) = self.propose_own(admin, out) {
            self.merges.proposed = (self.term(), index);
        }
    }

    /// The applier has come to a commit.
    pub(super) fn awaits_source(&mut self, wish: SourceWish, out: &mut Vec<Effect>) {
        self.merges.awaits = Some(Box::new(wish));
        out.push(Effect::AwaitSource(wish));
    }

    /// A target here has committed to take this replica in: what it waits for is committed, however little
    /// this replica has heard of that, and is in its log, or the merge would not have been sealed.
    pub(super) fn source_awaited(&mut self, wish: SourceWish, out: &mut Vec<Effect>) {
        if self.installing.is_some() {
            // It will be asked again.
            return;
        }
        let log = &mut self.raw.raft.raft_log;
        if log.committed < wish.index {
            assert!(
                log.match_term(wish.index, wish.term),
                "Region {}: the log here lacks entry {} of term {}, which this replica has acknowledged \
                 and a neighbour's merge relies on: data of this store is lost",
                self.region.id,
                wish.index,
                wish.term
            );
            log.commit_to(wish.index);
        }
        out.push(Effect::Freeze(wish));
    }

    /// The target has taken this replica in, durably.
    pub(super) fn taken_in(&mut self, tombstone: Tombstone, out: &mut Vec<Effect>) {
        self.is_stopped = true;
        self.let_go(out);
        out.push(Effect::EndApplier(self.region.id));
        out.push(Effect::RemoveLog(tombstone));
    }
}
