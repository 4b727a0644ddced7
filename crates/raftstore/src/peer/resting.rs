//! raft-rs's part of a Peer, and what is left of it while the Peer sleeps.
//!
//! **Why.** Most Regions of a store sleep, and of what a Peer holds in memory more than half is raft-rs's.
//!
//! **Invariants.** It rests only while there is nothing that raft-rs alone knows: no message, read or entry is under
//! way, and the log is applied to its end. When it is up again it has the same term, vote, role and log, and tells
//! of none of them anew; so nobody can say whether it rested. What a leader knows of its followers may have become less: whoever was
//! not level with it is asked again. The numbers of readies begin anew: none may be on its way when it rests, and
//! `Input::Persisted` comes once for each.
//!
//! **Not here.** When a Peer sleeps (`hibernate`).

use super::log_cache::{LogCache, LogInfo};
use super::raft;
use super::{Input, Peer};
use ::raft::{Raft, RawNode, StateRole};
use std::ops::{Deref, DerefMut};

/// As [`RawNode`] while it is up.
pub(crate) enum Core {
    Up(Box<RawNode<LogCache>>),
    Resting(Box<Resting>),
}

/// What raft-rs is set up from again.
#[derive(Default)]
pub(crate) struct Resting {
    leads: bool,
    leader_id: u64,
    log: LogInfo,
    log_bytes: u64,
    /// Of a leader: how much of the log those have that do not have all of it, as far as is known.
    behind: Box<[(u64, u64)]>,
}

impl Core {
    pub(super) fn new(raw: RawNode<LogCache>) -> Self {
        Self::Up(Box::new(raw))
    }

    pub(super) fn is_resting(&self) -> bool {
        matches!(self, Self::Resting(_))
    }

    pub(super) fn term(&self) -> u64 {
        match self {
            Self::Up(raw) => raw.raft.term,
            Self::Resting(resting) => resting.log.hard_state.term,
        }
    }

    pub(super) fn leads(&self) -> bool {
        match self {
            Self::Up(raw) => raw.raft.state == StateRole::Leader,
            Self::Resting(resting) => resting.leads,
        }
    }

    /// Zero if there is none.
    pub(super) fn leader_id(&self) -> u64 {
        match self {
            Self::Up(raw) => raw.raft.leader_id,
            Self::Resting(resting) => resting.leader_id,
        }
    }

    pub(super) fn last_index(&self) -> u64 {
        match self {
            Self::Up(raw) => raw.raft.raft_log.last_index(),
            Self::Resting(resting) => resting.log.last_index,
        }
    }

    /// Of entries in memory.
    pub(super) fn cached_bytes(&self) -> usize {
        match self {
            Self::Up(raw) => raw.store().bytes(),
            Self::Resting(_) => 0,
        }
    }
}

impl Deref for Core {
    type Target = RawNode<LogCache>;

    fn deref(&self) -> &RawNode<LogCache> {
        match self {
            Self::Up(raw) => raw,
            Self::Resting(_) => unreachable!("whoever steps a Peer has it rise before"),
        }
    }
}

impl DerefMut for Core {
    fn deref_mut(&mut self) -> &mut RawNode<LogCache> {
        match self {
            Self::Up(raw) => raw,
            Self::Resting(_) => unreachable!("whoever steps a Peer has it rise before"),
        }
    }
}

impl Resting {
    /// Of one that leads or follows, and whose log is applied.
    fn of(raw: &mut RawNode<LogCache>) -> Self {
        let raft = &raw.raft;
        let hard_state = raft::from_raft_hard_state(&raft.hard_state());
        let leads = raft.state == StateRole::Leader;
        let behind = match leads {
            true => behind(raft),
            false => Box::default(),
        };
        let leader_id = raft.leader_id;
        let (log, log_bytes) = raw.mut_store().take_down(hard_state);
        Self {
            leads,
            leader_id,
            log,
            log_bytes,
            behind,
        }
    }
}

fn behind(leader: &Raft<LogCache>) -> Box<[(u64, u64)]> {
    let last = leader.raft_log.last_index();
    let progress = leader.prs().iter();
    let matched = progress.map(|(id, known)| (*id, known.matched));
    matched.filter(|(_, matched)| *matched != last).collect()
}

impl Peer {
    /// Has raft-rs rest if the Peer sleeps and nothing is under way.
    pub(super) fn rest(&mut self) {
        if !self.is_asleep() || self.raw.is_resting() || self.has_work() {
            return;
        }
        let knows_more = self.raw.has_ready()
            || !self.raw.raft.read_only.read_index_queue.is_empty()
            || self.leader().is_none()
            || self.quarantine().is_some()
            || !self.fetches.is_empty();
        if knows_more {
            return;
        }
        self.shed_cache();
        if let Core::Up(raw) = &mut self.raw {
            self.raw = Core::Resting(Box::new(Resting::of(raw)));
        }
    }

    /// Whether raft-rs has to be up for an input.
    pub(super) fn concerns_raft(&self, input: &Input) -> bool {
        match input {
            Input::Check { .. } => self.is_leader(),
            Input::Applied { index } => *index > self.applied_index,
            Input::Options(_) | Input::Stop => false,
            _ => true,
        }
    }

    /// Has raft-rs up again, if it rests.
    pub(super) fn rise(&mut self) {
        let Core::Resting(resting) = &mut self.raw else {
            return;
        };
        let resting = std::mem::take(&mut **resting);
        let config = raft::config(self.me.id, self.applied_index, &self.options);
        let mut cache = LogCache::new(resting.log, raft::conf_state(&self.region));
        cache.set_log_bytes(resting.log_bytes);
        let mut raw = raft::start(&config, cache).expect("it was started with that before");
        raw.raft.leader_id = resting.leader_id;
        if resting.leads {
            lead_on(&mut raw.raft, &resting.behind);
        }
        // Its role is news to it.
        let ready = raw.ready();
        let number = ready.number();
        raw.advance_append_async(ready);
        raw.on_persist_ready(number);
        assert!(!raw.has_ready(), "it has nothing to tell");
        self.raw = Core::new(raw);
    }
}

/// In the term in which it led already, without an election.
fn lead_on(raft: &mut Raft<LogCache>, behind: &[(u64, u64)]) {
    raft.state = StateRole::Leader;
    let last = raft.raft_log.last_index();
    for (id, progress) in raft.mut_prs().iter_mut() {
        match behind.iter().find(|(behind, _)| behind == id) {
            // It is asked what it has.
            Some((_, matched)) => progress.matched = *matched,
            None => {
                progress.matched = last;
                progress.become_replicate();
            }
        }
    }
}
