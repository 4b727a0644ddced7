//! The steps of operators: when each is done, and what the Region's leader is told for it.
//!
//! **Not here.** The order of steps: `plan`.

use crate::health::{Health, is_joint, voters};
use crate::instruct::{Instruction, PeerChange, PeerChangeKind};
use crate::observed::{Observed, RegionSeen};
use std::fmt;
use types::{Peer, PeerId, PeerRole, RegionId, StoreId};

/// One step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OperatorStep {
    /// A new replica receives the data; it does not vote.
    AddLearner(Peer),
    /// It votes.
    PromoteLearner(Peer),
    /// Replicas begin and cease to vote, together: the Region enters a joint configuration.
    EnterJoint {
        /// These begin.
        promote: Vec<Peer>,
        /// These cease.
        demote: Vec<Peer>,
    },
    /// The Region leaves its joint configuration.
    LeaveJoint,
    /// A replica goes.
    RemovePeer(Peer),
    /// Another replica leads.
    TransferLeader {
        /// The one on this store.
        to: StoreId,
    },
    /// The Region merges into a neighbour.
    Merge {
        /// The neighbour.
        target: RegionId,
    },
    /// A neighbour merges into the Region.
    AwaitMerge {
        /// The neighbour.
        source: RegionId,
    },
    /// The Region splits.
    Split {
        /// At these keys; none: in the middle.
        keys: Vec<Vec<u8>>,
    },
}

/// How a step stands, by a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    Doing,
    Done,
    /// It can't be done any more.
    Impossible(&'static str),
}

const GONE: &str = "a replica that it needs is gone";
const LEADS: &str = "the replica that is to go has become the leader";

impl OperatorStep {
    /// Whether it copies a Region's data.
    pub(crate) fn moves_data(&self) -> bool {
        matches!(
            self,
            OperatorStep::AddLearner(_) | OperatorStep::Merge { .. }
        )
    }

    /// The store that it gives something to do.
    pub(crate) fn gives_to(&self) -> Option<StoreId> {
        match self {
            OperatorStep::AddLearner(peer) | OperatorStep::PromoteLearner(peer) => {
                Some(peer.store_id)
            }
            OperatorStep::TransferLeader { to } => Some(*to),
            OperatorStep::EnterJoint { .. }
            | OperatorStep::LeaveJoint
            | OperatorStep::RemovePeer(_)
            | OperatorStep::Merge { .. }
            | OperatorStep::AwaitMerge { .. }
            | OperatorStep::Split { .. } => None,
        }
    }

    /// Whether it changes what this replica is.
    pub(crate) fn touches(&self, id: PeerId) -> bool {
        match self {
            OperatorStep::AddLearner(peer)
            | OperatorStep::PromoteLearner(peer)
            | OperatorStep::RemovePeer(peer) => peer.id == id,
            OperatorStep::EnterJoint { promote, demote } => {
                promote.iter().chain(demote).any(|peer| peer.id == id)
            }
            OperatorStep::LeaveJoint
            | OperatorStep::TransferLeader { .. }
            | OperatorStep::Merge { .. }
            | OperatorStep::AwaitMerge { .. }
            | OperatorStep::Split { .. } => false,
        }
    }

    /// How the step stands, for an operator that began when the Region had this `version`.
    pub(crate) fn progress(
        &self,
        seen: &RegionSeen,
        version: u64,
        observed: &Observed,
    ) -> Progress {
        let region = &seen.region;
        let done_if = |is_done| {
            if is_done {
                Progress::Done
            } else {
                Progress::Doing
            }
        };
        let role = |peer: &Peer| region.peer(peer.id).map(|peer| peer.role);
        let gone = Progress::Impossible(GONE);
        let leads = Progress::Impossible(LEADS);
        match self {
            OperatorStep::AddLearner(peer) => match region.peer_on(peer.store_id) {
                Some(there) if there.id == peer.id => done_if(seen.is_peer_well(peer.id)),
                Some(_) => Progress::Impossible("the store has another replica of the Region"),
                None => Progress::Doing,
            },
            OperatorStep::PromoteLearner(peer) => match role(peer) {
                Some(role) => done_if(role == PeerRole::Voter),
                None => gone,
            },
            OperatorStep::EnterJoint { promote, demote } => enters_joint(seen, promote, demote),
            OperatorStep::LeaveJoint if is_joint(region) => match seen.leader().role {
                PeerRole::DemotingVoter => leads,
                _ => Progress::Doing,
            },
            OperatorStep::LeaveJoint => Progress::Done,
            OperatorStep::RemovePeer(peer) if seen.leader().id == peer.id => leads,
            OperatorStep::RemovePeer(peer) => done_if(region.peer(peer.id).is_none()),
            OperatorStep::TransferLeader { to } => match region.peer_on(*to) {
                Some(peer) if peer.role == PeerRole::Learner => {
                    Progress::Impossible("a learner can't lead")
                }
                Some(peer) if seen.quarantined().contains(&peer.id) => {
                    Progress::Impossible("a quarantined replica can't lead")
                }
                Some(_) => done_if(seen.leader().store_id == *to),
                None => gone,
            },
            OperatorStep::Merge { target } => merges(seen, observed.region(*target)),
            OperatorStep::AwaitMerge { source } => match observed.region(*source) {
                Some(source) if !region.range.contains(&source.region.range.start) => {
                    if region.epoch.version > version {
                        Progress::Impossible("it has changed its range otherwise")
                    } else {
                        Progress::Doing
                    }
                }
                Some(_) | None => Progress::Done,
            },
            OperatorStep::Split { .. } => done_if(region.epoch.version > version),
        }
    }

    /// What the Region's leader has to do. Nothing, while it would be dangerous or is under way.
    pub(crate) fn instruction(
        &self,
        seen: &RegionSeen,
        health: &Health<'_>,
    ) -> Option<Instruction> {
        let region = &seen.region;
        let is_safe = |without: &[Peer], with: &[Peer]| {
            let stays = |peer: &&Peer| !without.iter().any(|gone| gone.id == peer.id);
            let mut after: Vec<Peer> = voters(region).filter(stays).copied().collect();
            after.extend(with);
            health.has_majority(seen, &after)
        };
        let changes = match self {
            OperatorStep::AddLearner(peer) => match region.peer(peer.id) {
                None => vec![change(PeerChangeKind::AddLearner, *peer)],
                // It is there and catches up.
                Some(_) => return None,
            },
            OperatorStep::PromoteLearner(peer) if is_safe(&[], &[*peer]) => {
                vec![change(PeerChangeKind::AddVoter, *peer)]
            }
            OperatorStep::EnterJoint { promote, demote } if is_safe(demote, promote) => {
                let promote = promote.iter();
                let promote = promote.map(|peer| change(PeerChangeKind::AddVoter, *peer));
                let demote = demote.iter();
                let demote = demote.map(|peer| change(PeerChangeKind::AddLearner, *peer));
                promote.chain(demote).collect()
            }
            OperatorStep::RemovePeer(peer) if is_safe(&[*peer], &[]) => {
                vec![change(PeerChangeKind::Remove, *peer)]
            }
            OperatorStep::PromoteLearner(_)
            | OperatorStep::EnterJoint { .. }
            | OperatorStep::RemovePeer(_) => return None,
            OperatorStep::LeaveJoint => Vec::new(),
            OperatorStep::TransferLeader { to } => {
                let to = region.peer_on(*to)?;
                let can_lead = health.is_alive(to.store_id) && seen.is_peer_well(to.id);
                return can_lead.then_some(Instruction::TransferLeader { to: *to });
            }
            OperatorStep::Merge { target } => {
                let target = &health.observed.region(*target)?.region;
                return Some(Instruction::Merge {
                    target: (**target).clone(),
                });
            }
            OperatorStep::AwaitMerge { .. } => return None,
            OperatorStep::Split { keys } => return Some(Instruction::Split { keys: keys.clone() }),
        };
        Some(Instruction::ChangePeers(changes))
    }
}

/// How the way into a joint configuration stands.
fn enters_joint(seen: &RegionSeen, promote: &[Peer], demote: &[Peer]) -> Progress {
    let role = |peer: &Peer| seen.region.peer(peer.id).map(|peer| peer.role);
    let mut peers = promote.iter().chain(demote);
    if peers.any(|peer| role(peer).is_none()) {
        return Progress::Impossible(GONE);
    }
    if demote.iter().any(|peer| peer.id == seen.leader().id) {
        return Progress::Impossible(LEADS);
    }
    let are = |peers: &[Peer], roles: [PeerRole; 2]| {
        let mut found = peers.iter().filter_map(role);
        found.all(|role| roles.contains(&role))
    };
    let promoted = are(promote, [PeerRole::Voter, PeerRole::IncomingVoter]);
    let demoted = are(demote, [PeerRole::Learner, PeerRole::DemotingVoter]);
    match promoted && demoted {
        true => Progress::Done,
        false => Progress::Doing,
    }
}

/// How a merge into a neighbour stands. When it is done, the Region that merges is gone.
fn merges(source: &RegionSeen, target: Option<&RegionSeen>) -> Progress {
    let Some(target) = target else {
        return Progress::Impossible("the neighbour is gone");
    };
    let (from, to) = (&source.region, &target.region);
    let has = |store: StoreId| to.peer_on(store).is_some();
    let touches = from.range.end == to.range.start || to.range.end == from.range.start;
    if !touches {
        Progress::Impossible("it is no neighbour any more")
    } else if from.peers.len() != to.peers.len()
        || !from.peers.iter().all(|peer| has(peer.store_id))
    {
        Progress::Impossible("the neighbour has moved")
    } else {
        Progress::Doing
    }
}

/// A change that leaves the replica with the role that the change gives it.
fn change(kind: PeerChangeKind, peer: Peer) -> PeerChange {
    let role = match kind {
        PeerChangeKind::AddVoter => PeerRole::Voter,
        PeerChangeKind::AddLearner => PeerRole::Learner,
        PeerChangeKind::Remove => peer.role,
    };
    PeerChange {
        kind,
        peer: Peer { role, ..peer },
    }
}

impl fmt::Display for OperatorStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let stores =
            |peers: &[Peer]| -> Vec<u64> { peers.iter().map(|peer| peer.store_id.get()).collect() };
        match self {
            OperatorStep::AddLearner(peer) => {
                write!(f, "add learner {} on store {}", peer.id, peer.store_id)
            }
            OperatorStep::PromoteLearner(peer) => {
                write!(f, "promote learner {} on store {}", peer.id, peer.store_id)
            }
            OperatorStep::EnterJoint { promote, demote } => write!(
                f,
                "enter joint: promote on stores {:?}, demote on stores {:?}",
                stores(promote),
                stores(demote)
            ),
            OperatorStep::LeaveJoint => write!(f, "leave joint"),
            OperatorStep::RemovePeer(peer) => {
                write!(f, "remove peer {} on store {}", peer.id, peer.store_id)
            }
            OperatorStep::TransferLeader { to } => write!(f, "transfer leader to store {to}"),
            OperatorStep::Merge { target } => write!(f, "merge into region {target}"),
            OperatorStep::AwaitMerge { source } => write!(f, "await merge of region {source}"),
            OperatorStep::Split { keys } => write!(f, "split at {} keys", keys.len()),
        }
    }
}
