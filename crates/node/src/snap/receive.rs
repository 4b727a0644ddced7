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
        let meta = SnapshotMeta::of_message(&message).map_err(SnapshotRefused::Message)?;
        let key = meta.key(message.to.id);
        {
            let mut receiving = shared.receiving.lock();
            if receiving.len() >= shared.options.receive_max {
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
        Ok(self.file.write(frame)?)
    }

    /// There is no further frame: the store and the Peer may have it. Waits for the disk.
    ///
    /// # Errors
    /// It is not whole, or it can't be kept.
    pub fn finish(self) -> Result<(), SnapshotRefused> {
        self.checker.finish().map_err(SnapshotRefused::Wrong)?;
        let Place { shared, key } = &self.place;
        shared.keep(*key);
        if let Err(error) = self.file.complete() {
            shared.release(key);
            return Err(error.into());
        }
        // The store knows whether its keys are free.
        let message = StoreMessage(store::Input::Snapshot(Box::new(self.message)));
        if self.peers.send_control(message).is_err() {
            shared.release(key);
            return Err(SnapshotRefused::Busy("too many messages wait"));
        }
        Ok(())
    }
}
