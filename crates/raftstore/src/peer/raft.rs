//! The border to raft-rs: its types on one side, ours on the other, and its configuration.
//!
//! **Not here.** Decisions; this is the only file of a Peer that speaks protobuf.

use super::PeerOptions;
use super::log_cache::LogCache;
use crate::admin::{PeerChangeKind, PeerChanges};
use bytes::Bytes;
use protobuf::Message as _;
use raft::RawNode;
use raft::eraftpb::{
    ConfChangeSingle, ConfChangeTransition, ConfChangeType, ConfChangeV2, ConfState, Entry,
    EntryType, HardState as RaftHardState,
};
use std::sync::LazyLock;
use types::{EntryKind, HardState, LogEntry, PeerId, PeerRole, Region};

/// raft-rs's log goes nowhere. One for all Peers.
static QUIET: LazyLock<slog::Logger> =
    LazyLock::new(|| slog::Logger::root(slog::Discard, slog::o!()));

/// raft-rs over this log, without what it needs for its start only.
pub(super) fn start(config: &raft::Config, cache: LogCache) -> raft::Result<RawNode<LogCache>> {
    let mut raw = RawNode::new(config, cache, &QUIET)?;
    raw.raft.maybe_free_inflight_buffers();
    raw.mut_store().started();
    Ok(raw)
}

pub(super) fn to_raft_entry(entry: &LogEntry) -> Entry {
    Entry {
        index: entry.index,
        term: entry.term,
        entry_type: match entry.kind {
            EntryKind::Normal => EntryType::EntryNormal,
            EntryKind::ConfChange => EntryType::EntryConfChange,
            EntryKind::ConfChangeV2 => EntryType::EntryConfChangeV2,
        },
        data: entry.data.clone(),
        ..Entry::default()
    }
}

pub(super) fn from_raft_entry(entry: Entry) -> LogEntry {
    LogEntry {
        index: entry.index,
        term: entry.term,
        kind: match entry.get_entry_type() {
            EntryType::EntryNormal => EntryKind::Normal,
            EntryType::EntryConfChange => EntryKind::ConfChange,
            EntryType::EntryConfChangeV2 => EntryKind::ConfChangeV2,
        },
        data: entry.data,
    }
}

pub(super) fn to_raft_hard_state(state: &HardState) -> RaftHardState {
    RaftHardState {
        term: state.term,
        vote: state.vote.get(),
        commit: state.commit,
        ..RaftHardState::default()
    }
}

pub(crate) fn from_raft_hard_state(state: &RaftHardState) -> HardState {
    HardState {
        term: state.term,
        vote: PeerId(state.vote),
        commit: state.commit,
    }
}

/// A change of membership as raft-rs wants it, with ours in its context.
pub(super) fn to_conf_change(asked: &PeerChanges) -> ConfChangeV2 {
    let mut change = ConfChangeV2::default();
    // "Auto" makes it a simple one if it can; without any change both mean that it leaves.
    change.set_transition(match asked.changes.len() > 1 {
        true => ConfChangeTransition::Explicit,
        false => ConfChangeTransition::Auto,
    });
    for one in &asked.changes {
        let mut single = ConfChangeSingle::default();
        single.set_change_type(match one.kind {
            PeerChangeKind::AddVoter => ConfChangeType::AddNode,
            PeerChangeKind::AddLearner => ConfChangeType::AddLearnerNode,
            PeerChangeKind::Remove => ConfChangeType::RemoveNode,
        });
        single.node_id = one.peer_id.get();
        change.mut_changes().push(single);
    }
    change.context = asked.encode().into();
    change
}

/// Our part of the data of an entry that changes membership.
pub(crate) fn conf_change_context(data: &[u8]) -> Option<Bytes> {
    let change = ConfChangeV2::parse_from_bytes(data).ok()?;
    Some(change.context)
}

/// The data of an entry that changes membership.
#[cfg(test)]
pub(crate) fn conf_change_data(asked: &PeerChanges) -> Bytes {
    let change = to_conf_change(asked);
    change.write_to_bytes().expect("it encodes").into()
}

/// The membership of a Region as raft-rs wants it.
pub(crate) fn conf_state(region: &Region) -> ConfState {
    let mut state = ConfState::default();
    for peer in &region.peers {
        let id = peer.id.get();
        match peer.role {
            PeerRole::Voter => {
                state.mut_voters().push(id);
                state.mut_voters_outgoing().push(id);
            }
            PeerRole::Learner => state.mut_learners().push(id),
            PeerRole::IncomingVoter => state.mut_voters().push(id),
            PeerRole::DemotingVoter => {
                state.mut_voters_outgoing().push(id);
                state.mut_learners_next().push(id);
            }
        }
    }
    let joint = region
        .peers
        .iter()
        .any(|peer| matches!(peer.role, PeerRole::IncomingVoter | PeerRole::DemotingVoter));
    if !joint {
        state.clear_voters_outgoing();
    }
    state
}

pub(super) fn config(id: PeerId, applied_index: u64, options: &PeerOptions) -> raft::Config {
    raft::Config {
        id: id.get(),
        election_tick: options.election_ticks_min,
        heartbeat_tick: options.heartbeat_ticks,
        min_election_tick: options.election_ticks_min,
        max_election_tick: options.election_ticks_max,
        applied: applied_index,
        max_size_per_msg: options.append_bytes_max,
        max_inflight_msgs: options.inflight_appends_max,
        check_quorum: true,
        pre_vote: true,
        // Followers learn a commit index from the next append or heartbeat; a message for each
        // commit would double the traffic.
        skip_bcast_commit: true,
        // raft-rs 0.7 joins entries to an append that waits without looking whether they follow it.
        // A round proposes one entry, so there is little to join.
        batch_append: false,
        max_uncommitted_size: options.uncommitted_bytes_max,
        max_committed_size_per_ready: options.apply_bytes_max,
        ..raft::Config::default()
    }
}
