//! The state machines of `raftstore` as actors of the batch system.
//!
//! **Not here.** What they do with a message (`handler`).

use batch_system::{Fsm, Message, Router};
use raftstore::apply::Applier;
use raftstore::store::{self, Store};
use raftstore::{ApplyTask, Peer, peer};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// A Peer as an actor. Its address is the Region's id.
pub struct PeerFsm {
    /// The Peer.
    pub peer: Peer,
    /// What of its cache is counted in [`Memory`](crate::Memory).
    pub(crate) counted_bytes: usize,
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
    pub(crate) mark: Arc<AppliedMark>,
}

/// A replica as two actors.
pub fn actors(peer: Peer, applier: Applier) -> (Box<PeerFsm>, Box<ApplyFsm>) {
    let mark = Arc::new(AppliedMark::default());
    let peer = PeerFsm {
        peer,
        counted_bytes: 0,
        mark: Arc::clone(&mark),
    };
    (Box::new(peer), Box::new(ApplyFsm { applier, mark }))
}

/// How far an applier has come, for its Peer to look up: to wake the Peer for every round of its
/// applier would cost it a round of its own, and mostly for nothing.
///
/// **Why nothing is missed.** The applier first advances the index and then asks whether somebody
/// waits; the Peer first says that it waits and then looks at the index. One of them sees the other.
#[derive(Default)]
pub(crate) struct AppliedMark {
    index: AtomicU64,
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

    /// How far the applier has come in this life; zero if it has done nothing yet.
    pub(crate) fn index(&self) -> u64 {
        self.index.load(Ordering::SeqCst)
    }
}

/// Entries to be applied.
#[derive(Debug)]
pub struct ApplyMessage(pub ApplyTask);

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
            | peer::Input::Read { .. }
            | peer::Input::Persisted { .. }
            | peer::Input::Applied { .. }
            | peer::Input::Unreachable { .. }
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

impl Message for StoreMessage {}

impl Fsm for ApplyFsm {
    type Message = ApplyMessage;

    fn is_stopped(&self) -> bool {
        false
    }
}

impl Message for ApplyMessage {
    fn size_bytes(&self) -> usize {
        self.0.size_bytes()
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
        assert_eq!(mark.index(), 8);
    }
}
