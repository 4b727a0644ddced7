//! Receiving one snapshot: its chunks, as they come, into a file.
//!
//! **Invariants.** At any moment at most so many snapshots are received, each with one chunk in
//! memory. What is given up, for whatever reason, leaves no file.
//!
//! **Not here.** What the Peer makes of the message that came with it.

use super::dir::SnapshotFile;
use super::format::{Checker, FormatError};
use super::service::Shared;
use crate::fsm::PeerRouter;
use crate::fsm::StoreMessage;
use engine::KvEngine;
use raftstore::store;
use raftstore::{RaftMessage, SnapshotKey, SnapshotMeta};
use std::io;
use std::sync::Arc;
use thiserror::Error;

/// Why a snapshot was not taken. The sender tries again later, with another one.
#[derive(Debug, Error)]
pub enum SnapshotRefused {
    /// Too many are received already, this one among them, or too many bytes wait for the Peers.
    #[error("this store is busy: {0}")]
    Busy(&'static str),
    /// There is no room for it.
    #[error("the disk of this store is full")]
    DiskFull,
    /// The disk failed.
    #[error("the disk of this store failed: {0}")]
    Disk(#[source] io::Error),
    /// What came is not the snapshot that its message describes.
    #[error("the snapshot is refused: {0}")]
    Wrong(#[source] FormatError),
    /// The message is not one with a snapshot.
    #[error("the message of the snapshot is refused: {0}")]
    Message(&'static str),
}

impl From<io::Error> for SnapshotRefused {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::DiskFull,
            _ => Self::Disk(error),
        }
    }
}

/// A snapshot that is being received. Its methods wait for the disk. To let it go means to give it up.
pub struct IncomingSnapshot<K: KvEngine> {
    message: RaftMessage,
    checker: Checker,
    file: Box<dyn SnapshotFile>,
    peers: PeerRouter,
    place: Place<K>,
}

/// One of those that are received.
struct Place<K: KvEngine> {
    shared: Arc<Shared<K>>,
    key: SnapshotKey,
}

impl<K: KvEngine> Drop for Place<K> {
    fn drop(&mut self) {
        self.shared.receiving.lock().remove(&self.key);
    }
}

impl<K: KvEngine> IncomingSnapshot<K> {
    /// Begins with the message that the snapshot came with.
    pub(super) fn begin(
        shared: Arc<Shared<K>>,
        message: RaftMessage,
        peers: PeerRouter,
    ) -> Result<Self, SnapshotRefused> {
        failpoint::at!("node::snap::receive");
        let meta = SnapshotMeta::of_message(&message).map_err(SnapshotRefused::Message)?;
        let key = meta.key(message.to.id);
        {
            let mut receiving = shared.receiving.lock();
            if receiving.len() >= shared.options.get().receive_max {
                return Err(SnapshotRefused::Busy("too many snapshots are received"));
            }
            if !receiving.insert(key) {
                return Err(SnapshotRefused::Busy("this snapshot is being received"));
            }
        }
        let place = Place { shared, key };
        let file = place.shared.dir.create(&key.to_string())?;
        Ok(Self {
            message,
            checker: Checker::new(meta),
            file,
            peers,
            place,
        })
    }

    /// Takes the next frame.
    ///
    /// # Errors
    /// It is refused, and with it the snapshot.
    pub fn write(&mut self, frame: &[u8]) -> Result<(), SnapshotRefused> {
        let checked = self.checker.check(frame, |_, _, _| {});
        checked.map_err(SnapshotRefused::Wrong)?;
        failpoint::at!("node::snap::received_frame");
        let cells = &self.place.shared.meters.snapshots;
        cells.received_bytes.add(frame.len() as u64);
        Ok(self.file.write(frame)?)
    }

    /// There is no further frame: the store and the Peer may have it. Waits for the disk.
    ///
    /// # Errors
    /// It is not whole, or it can't be kept.
    pub fn finish(self) -> Result<(), SnapshotRefused> {
        self.checker.finish().map_err(SnapshotRefused::Wrong)?;
        failpoint::at!("node::snap::verified");
        let Place { shared, key } = &self.place;
        shared.keep(*key);
        if let Err(error) = self.file.complete() {
            shared.release(key);
            return Err(error.into());
        }
        failpoint::at!("node::snap::kept");
        shared.meters.snapshots.received.add(1);
        // The store knows whether its keys are free.
        let message = StoreMessage(store::Input::Snapshot(Box::new(self.message)));
        if self.peers.send_control(message).is_err() {
            shared.release(key);
            return Err(SnapshotRefused::Busy("too many messages wait"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::format::Frames;
    use super::super::{MemDir, SnapOptions, SnapshotDir, Snapshots};
    use super::*;
    use crate::fsm::StoreFsm;
    use batch_system::{Builder, Config, System};
    use bytes::Bytes;
    use engine::mem::{Disk, MemKv};
    use engine::{Cf, Durability, KvBatch};
    use raft::eraftpb::{Message, MessageType, Snapshot};
    use types::{Peer, PeerId, Region, RegionId, StoreId};

    struct World {
        kv: MemKv,
        dir: MemDir,
        snapshots: Snapshots<MemKv>,
        peers: System<crate::PeerFsm, StoreFsm>,
    }

    impl World {
        fn new(receive_max: usize) -> Self {
            let kv = Disk::new().open_kv("kv").unwrap();
            let mut batch = kv.batch();
            batch.put(Cf::Default, b"za", b"value");
            kv.write(&mut batch, Durability::Buffered).unwrap();
            let dir = MemDir::default();
            let options = SnapOptions {
                receive_max,
                ..SnapOptions::default()
            };
            let snapshots = Snapshots::new(kv.clone(), Arc::new(dir.clone()), options);
            let options = store::StoreOptions::new(1, &Default::default());
            let store = store::Store::new(StoreId(1), vec![], Default::default(), options);
            let peers = Builder::new(Config::default(), Box::new(StoreFsm(store)));
            Self {
                kv,
                dir,
                snapshots,
                peers: peers.build().unwrap(),
            }
        }

        fn begin(&self, index: u64) -> Result<IncomingSnapshot<MemKv>, SnapshotRefused> {
            self.snapshots.receive(message(index), self.peers.router())
        }

        fn frames(&self, index: u64) -> Vec<Bytes> {
            let frames = Frames::new(self.kv.snapshot(), meta(index));
            frames.collect::<Result<_, _>>().unwrap()
        }

        fn receive(&self, index: u64) -> Result<(), SnapshotRefused> {
            let mut incoming = self.begin(index)?;
            for frame in self.frames(index) {
                incoming.write(&frame)?;
            }
            incoming.finish()
        }

        fn files(&self) -> usize {
            self.dir.list().unwrap().len()
        }
    }

    fn peer(id: u64) -> Peer {
        Peer {
            id: PeerId(id),
            store_id: StoreId(id),
            ..Peer::default()
        }
    }

    fn meta(index: u64) -> SnapshotMeta {
        SnapshotMeta {
            last_merge: None,
            region: Region {
                id: RegionId(2),
                peers: vec![peer(1), peer(2)],
                ..Region::default()
            },
            index,
            term: 6,
        }
    }

    fn message(index: u64) -> RaftMessage {
        let mut snapshot = Snapshot {
            data: meta(index).encode().into(),
            ..Snapshot::default()
        };
        let described = snapshot.mut_metadata();
        (described.index, described.term) = (index, 6);
        described.mut_conf_state().set_voters(vec![1, 2]);
        let mut message = Message {
            msg_type: MessageType::MsgSnapshot,
            term: 7,
            ..Message::default()
        };
        message.set_snapshot(snapshot);
        RaftMessage {
            region_id: RegionId(2),
            from: peer(2),
            to: peer(1),
            message,
            ..RaftMessage::default()
        }
    }

    #[test]
    fn a_snapshot_is_kept_until_all_messages_it_came_with_are_of_no_use() {
        let world = World::new(9);
        world.receive(20).unwrap();
        world.receive(20).unwrap();
        assert_eq!(world.files(), 1);
        let key = meta(20).key(PeerId(1));
        world.snapshots.release(&key);
        assert_eq!(world.files(), 1, "the other message may be wanted");
        world.snapshots.release(&key);
        assert_eq!(world.files(), 0);
        world.snapshots.release(&key);
    }

    #[test]
    fn too_many_at_once_and_one_that_is_under_way_are_refused_until_a_place_is_free() {
        let world = World::new(2);
        let first = world.begin(20).unwrap();
        let busy = |result| matches!(result, Err(SnapshotRefused::Busy(_)));
        assert!(busy(world.receive(20)));
        let second = world.begin(21).unwrap();
        assert!(busy(world.receive(22)));
        drop((first, second));
        world.receive(22).unwrap();
    }

    #[test]
    fn what_is_cut_damaged_or_has_no_room_leaves_nothing() {
        let world = World::new(1);
        let frames = world.frames(20);
        let mut cut = world.begin(20).unwrap();
        cut.write(&frames[0]).unwrap();
        assert!(matches!(cut.finish(), Err(SnapshotRefused::Wrong(_))));
        let mut damaged = world.begin(20).unwrap();
        let refused = damaged.write(&frames[0][1..]);
        assert!(matches!(refused, Err(SnapshotRefused::Wrong(_))));
        drop(damaged);
        world.dir.set_full(true);
        let full = world.receive(20);
        assert!(matches!(full, Err(SnapshotRefused::DiskFull)));
        world.dir.set_full(false);
        let mut other = message(20);
        other.message.mut_snapshot().mut_metadata().index += 1;
        let other = world.snapshots.receive(other, world.peers.router());
        assert!(matches!(other, Err(SnapshotRefused::Message(_))));
        assert_eq!(world.files(), 0);
        world.receive(20).unwrap();
    }
}
