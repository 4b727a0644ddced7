//! The state machines of `raftstore` as actors of the batch system.
//!
//! **Not here.** What they do with a message (`handler`).

use batch_system::{Fsm, Message, Router};
use raftstore::apply::Applier;
use raftstore::store::{self, Store};
use raftstore::{ApplyTask, Peer, peer};

/// A Peer as an actor. Its address is the Region's id.
pub struct PeerFsm {
    /// The Peer.
    pub peer: Peer,
    /// What of its cache is counted in [`Memory`](crate::Memory).
    pub(crate) counted_bytes: usize,
}

impl PeerFsm {
    /// The Peer as an actor.
    pub fn new(peer: Peer) -> Self {
        Self {
            peer,
            counted_bytes: 0,
        }
    }
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
pub struct ApplyFsm(pub Applier);

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
