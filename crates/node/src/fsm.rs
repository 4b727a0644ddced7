//! The state machines of `raftstore` as actors of the batch system.
//!
//! **Not here.** What they do with a message (`handler`).

use batch_system::{Fsm, Message, Router};
use raftstore::apply::Applier;
use raftstore::op::merge::{ReadySource, SourceWish};
use raftstore::state::Tombstone;
use raftstore::store::{self, Store};
use raftstore::{ApplyTask, InstallSnapshot, Peer, peer};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use types::{ApplyState, Region};

/// A Peer as an actor. Its address is the Region's id.
pub struct PeerFsm {
    /// The Peer.
    pub peer: Peer,
    /// What of its cache is counted in [`Memory`](crate::Memory).
    pub(crate) counted_bytes: usize,
    /// How many changes of the Region it has heard of from its applier.
    pub(crate) changes_heard: u64,
    /// Its applier's.
    pub(crate) mark: Arc<AppliedMark>,
}

/// A Peer's input as a message.
#[derive(Debug)]
pub struct PeerMessage(pub peer::Input);

/// The store as the control actor of the Peers.
pub struct StoreFsm(pub Store);

/// The store's input as a message.
#[derive(Debug)]
pub struct StoreMessage(pub store::Input);

/// An applier as an actor. Its address is the Region's id.
pub struct ApplyFsm {
    pub(crate) applier: Applier,
    /// The replica is removed.
    pub(crate) is_stopped: bool,
    pub(crate) mark: Arc<AppliedMark>,
}

/// A replica as two actors.
pub fn actors(peer: Peer, applier: Applier) -> (Box<PeerFsm>, Box<ApplyFsm>) {
    let mark = Arc::new(AppliedMark::default());
    let peer = PeerFsm {
        peer,
        counted_bytes: 0,
        changes_heard: 0,
        mark: Arc::clone(&mark),
    };
    let applier = ApplyFsm {
        applier,
        is_stopped: false,
        mark,
    };
    (Box::new(peer), Box::new(applier))
}

/// How far an applier has come, for its Peer to look up: to wake the Peer for every round of its
/// applier would cost it a round of its own, and mostly for nothing.
///
/// **Why nothing is missed.** The applier first advances the index and then asks whether somebody
/// waits; the Peer first says that it waits and then looks at the index. One of them sees the other.
///
/// **Changes of the Region come first.** They travel as messages, and the Peer must not take an index
/// from here that lies behind one that still waits in its mailbox. So they are counted: the applier
/// counts a change before it advances the index, and the Peer looks at the index before it looks at the
/// count, and takes it only if it has heard of that many.
#[derive(Default)]
pub(crate) struct AppliedMark {
    index: AtomicU64,
    changes: AtomicU64,
    is_awaited: AtomicBool,
}

impl AppliedMark {
    /// The applier has come so far. True if the Peer has to be told.
    pub(crate) fn advance(&self, index: u64) -> bool {
        self.index.store(index, Ordering::SeqCst);
        self.is_awaited.load(Ordering::SeqCst)
    }

    /// Whether the Peer is to be told of what comes after this call; returns what has come before.
    pub(crate) fn set_awaited(&self, is_awaited: bool) -> u64 {
        self.is_awaited.store(is_awaited, Ordering::SeqCst);
        self.index()
    }

    /// The applier has changed the Region, and is about to send that.
    pub(crate) fn count_change(&self) {
        self.changes.fetch_add(1, Ordering::SeqCst);
    }

    /// How far the applier has come in this life (zero: it has done nothing yet), for a Peer that has
    /// heard of so many changes; none if there is one that it has yet to hear of.
    pub(crate) fn index_after(&self, changes_heard: u64) -> Option<u64> {
        let index = self.index();
        (self.changes.load(Ordering::SeqCst) == changes_heard).then_some(index)
    }

    fn index(&self) -> u64 {
        self.index.load(Ordering::SeqCst)
    }
}

/// What an applier is told, in the order in which it comes.
#[derive(Debug)]
pub enum ApplyMessage {
    /// Entries to be applied.
    Entries(ApplyTask),
    /// The replica is to be removed.
    Destroy(Tombstone),
    /// Everything before is to be written, and then replaced by a snapshot. No entries come until the
    /// applier has heard of it.
    Install(InstallSnapshot),
    /// The snapshot is installed.
    Restored {
        /// The Region as it is now.
        region: Box<Region>,
        /// How far it has been applied.
        state: ApplyState,
    },
    /// A target waits for this source.
    Freeze(SourceWish),
    /// The source that this target waits for has come so far.
    SourceReady(ReadySource),
    /// A target has taken this source in.
    End,
}

/// The appliers have nothing to control: an actor that gets no message.
pub struct NoControl;

/// There is no message for [`NoControl`].
#[derive(Debug)]
pub enum NoMessage {}

/// Sends to Peers and to the store.
pub type PeerRouter = Router<PeerFsm, StoreFsm>;
/// Sends to appliers.
pub type ApplyRouter = Router<ApplyFsm, NoControl>;

impl Fsm for PeerFsm {
    type Message = PeerMessage;

    fn is_stopped(&self) -> bool {
        self.peer.is_stopped()
    }
}

impl Message for PeerMessage {
    fn size_bytes(&self) -> usize {
        match &self.0 {
            peer::Input::Message(message) => message.size_bytes(),
            peer::Input::Propose { command, .. } => command.size_bytes(),
            peer::Input::Fetched { entries, .. } => entries.iter().map(|e| e.data.len()).sum(),
            peer::Input::Tick
            | peer::Input::ChangePeers { .. }
            | peer::Input::TransferLeader { .. }
            | peer::Input::Campaign
            | peer::Input::Changed(_)
            | peer::Input::Destroyed(_)
            | peer::Input::MergeAsked(_)
            | peer::Input::MergeRefused { .. }
            | peer::Input::AwaitsSource(_)
            | peer::Input::SourceAwaited(_)
            | peer::Input::TakenIn(_)
            | peer::Input::MergedElsewhere(_)
            | peer::Input::LastMerge(..)
            | peer::Input::Read { .. }
            | peer::Input::RenewLease
            | peer::Input::Persisted { .. }
            | peer::Input::Applied { .. }
            | peer::Input::SnapshotGenerated { .. }
            | peer::Input::SnapshotSent { .. }
            | peer::Input::SnapshotInstalled { .. }
            | peer::Input::KvSynced { .. }
            | peer::Input::CheckConsistency { .. }
            | peer::Input::Hashed { .. }
            | peer::Input::Unreachable { .. }
            | peer::Input::LeaderLost { .. }
            | peer::Input::Wake
            | peer::Input::Options(_)
            | peer::Input::Check { .. }
            | peer::Input::Report
            | peer::Input::Stop => 0,
        }
    }
}

impl Fsm for StoreFsm {
    type Message = StoreMessage;

    fn is_stopped(&self) -> bool {
        false
    }
}

impl Message for StoreMessage {
    fn size_bytes(&self) -> usize {
        match &self.0 {
            store::Input::Stray(message)
            | store::Input::Snapshot(message)
            | store::Input::MergedElsewhere(message) => message.size_bytes(),
            store::Input::Tick
            | store::Input::Leadership(_)
            | store::Input::Split(_)
            | store::Input::Reshaped(_)
            | store::Input::Restored(_)
            | store::Input::Merged(_)
            | store::Input::MergeAsked(_)
            | store::Input::Removed(_)
            | store::Input::SnapshotSettled(_)
            | store::Input::Slept(_)
            | store::Input::Woke(_)
            | store::Input::Options(_)
            | store::Input::Heard { .. }
            | store::Input::CreateAgain(_) => 0,
        }
    }
}

impl Fsm for ApplyFsm {
    type Message = ApplyMessage;

    fn is_stopped(&self) -> bool {
        self.is_stopped
    }
}

impl Message for ApplyMessage {
    fn size_bytes(&self) -> usize {
        match self {
            ApplyMessage::Entries(task) => task.size_bytes(),
            ApplyMessage::Destroy(_)
            | ApplyMessage::Install(_)
            | ApplyMessage::Restored { .. }
            | ApplyMessage::Freeze(_)
            | ApplyMessage::SourceReady(_)
            | ApplyMessage::End => 0,
        }
    }
}

impl Fsm for NoControl {
    type Message = NoMessage;

    fn is_stopped(&self) -> bool {
        false
    }
}

impl Message for NoMessage {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_that_waits_is_told_or_has_seen_it_already() {
        let mark = AppliedMark::default();
        assert!(!mark.advance(6), "nobody waits");
        assert_eq!(mark.set_awaited(true), 6);
        assert!(mark.advance(7));
        mark.set_awaited(false);
        assert!(!mark.advance(8));
        assert_eq!(mark.index_after(0), Some(8));
    }

    #[test]
    fn an_index_behind_a_change_is_not_taken_before_the_change_was_heard_of() {
        let mark = AppliedMark::default();
        mark.advance(6);
        mark.count_change();
        mark.advance(9);
        assert_eq!(mark.index_after(0), None);
        assert_eq!(mark.index_after(1), Some(9));
    }
}
