//! The handle: how requests and messages enter a node.
//!
//! **Invariants.** A request gets one answer, unless its future is dropped. Writes are bounded in
//! bytes: beyond the bound a write waits its turn for a while, since clients treat "busy" as fatal,
//! and is refused only then.

use crate::fsm::{PeerMessage, PeerRouter, StoreMessage};
use crate::identity::Identity;
use crate::placement_host::PlacementHandle;
use crate::replies::ReplyTable;
use crate::snapshot::RegionSnapshot;
use batch_system::SendError;
use bytes::Bytes;
use engine::{Cf, KvEngine};
use raftstore::peer::Input;
use raftstore::store;
use raftstore::{Command, Outcome, RaftMessage, Reply, RequestContext, RequestError};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Semaphore, SemaphorePermit};
use types::{PeerId, Region, RegionId, RequestId, Space};

/// How requests and messages enter a node. Clones are the same handle.
pub struct NodeHandle<K: KvEngine> {
    inner: Arc<Inner<K>>,
}

impl<K: KvEngine> Clone for NodeHandle<K> {
    fn clone(&self) -> Self {
        Self {
            inner: Arc::clone(&self.inner),
        }
    }
}

pub(crate) struct Inner<K: KvEngine> {
    pub(crate) identity: Identity,
    pub(crate) engine: K,
    pub(crate) peers: PeerRouter,
    pub(crate) replies: Arc<ReplyTable>,
    pub(crate) write_bytes: Semaphore,
    pub(crate) write_bytes_max: usize,
    pub(crate) busy_wait: Duration,
    pub(crate) placement: PlacementHandle,
}

impl<K: KvEngine> NodeHandle<K> {
    pub(crate) fn new(inner: Inner<K>) -> Self {
        Self {
            inner: Arc::new(inner),
        }
    }

    /// Who this node is.
    pub fn identity(&self) -> &Identity {
        &self.inner.identity
    }

    /// The placement driver, if it leads here; its leader otherwise.
    pub fn placement(&self) -> &PlacementHandle {
        &self.inner.placement
    }

    /// Replicates and applies a command.
    ///
    /// # Errors
    /// With any other error than [`RequestError::Undetermined`] the command has no effect. Dropping
    /// the future leaves the outcome open.
    pub async fn write(
        &self,
        context: RequestContext,
        command: Command,
    ) -> Result<Outcome, RequestError> {
        let _permit = self.admit(command.size_bytes()).await?;
        let region = context.region_id;
        let input = |request| Input::Propose {
            request,
            context,
            command,
        };
        match self.ask(region, input).await? {
            Reply::Command(outcome) => Ok(outcome),
            Reply::ReadReady(_) => unreachable!("a command is not answered like a read"),
        }
    }

    /// Waits until a read of the Region sees every write that was acknowledged before this call, and
    /// returns a view of it.
    ///
    /// # Errors
    /// The Region can't be read here now.
    pub async fn read(&self, context: RequestContext) -> Result<RegionSnapshot<K>, RequestError> {
        let region = self.await_read(context).await?;
        Ok(RegionSnapshot::new(region, self.inner.engine.snapshot()))
    }

    /// The value of one key, as [`Self::read`] would see it.
    ///
    /// # Errors
    /// The Region can't be read here now, the key is not the Region's, or the engine failed.
    pub async fn get(
        &self,
        context: RequestContext,
        cf: Cf,
        key: &[u8],
    ) -> Result<engine::Result<Option<Bytes>>, RequestError> {
        let region = self.await_read(context).await?;
        if !region.range.contains(key) {
            return Err(RequestError::KeyNotInRegion {
                key: key.to_vec(),
                region: Box::new(Region::clone(&region)),
            });
        }
        let key = Space::of(region.id).key(key);
        Ok(self.inner.engine.get(cf, &key))
    }

    async fn await_read(&self, context: RequestContext) -> Result<Arc<Region>, RequestError> {
        let region = context.region_id;
        let input = |request| Input::Read { request, context };
        match self.ask(region, input).await? {
            Reply::ReadReady(region) => Ok(region),
            Reply::Command(_) => unreachable!("a read is not answered like a command"),
        }
    }

    /// Hands in a Raft message from another store. A message that can't be taken is dropped: Raft
    /// sends it again.
    pub fn deliver(&self, message: RaftMessage) {
        let region = message.region_id.get();
        let sent = self
            .inner
            .peers
            .send(region, PeerMessage(Input::Message(message)));
        if let Err(SendError::NotFound(PeerMessage(Input::Message(message)))) = sent {
            let stray = StoreMessage(store::Input::Stray(message));
            let _ = self.inner.peers.send_control(stray);
        }
    }

    /// Says that a message to a replica could not be sent.
    pub fn report_unreachable(&self, region: RegionId, peer: PeerId) {
        let input = PeerMessage(Input::Unreachable { peer });
        let _ = self.inner.peers.send(region.get(), input);
    }

    /// Asks all leaders on this store to report to the placement driver now.
    pub fn report_all(&self) {
        self.inner
            .peers
            .broadcast(|_| Some(PeerMessage(Input::Report)));
    }

    async fn admit(&self, bytes: usize) -> Result<SemaphorePermit<'_>, RequestError> {
        const BUSY: RequestError = RequestError::ServerIsBusy {
            reason: "too many bytes of writes are pending",
        };
        let permits = bytes.min(self.inner.write_bytes_max) as u32;
        if let Ok(permit) = self.inner.write_bytes.try_acquire_many(permits) {
            return Ok(permit);
        }
        let acquired = self.inner.write_bytes.acquire_many(permits);
        match tokio::time::timeout(self.inner.busy_wait, acquired).await {
            Ok(permit) => permit.map_err(|_| RequestError::Stopping),
            Err(_) => Err(BUSY),
        }
    }

    async fn ask(
        &self,
        region_id: RegionId,
        input: impl FnOnce(RequestId) -> Input,
    ) -> Result<Reply, RequestError> {
        let pending = self.inner.replies.register();
        let message = PeerMessage(input(pending.id()));
        match self.inner.peers.send(region_id.get(), message) {
            Ok(()) => pending.answer().await,
            Err(SendError::NotFound(_)) => Err(RequestError::RegionNotFound { region_id }),
            Err(SendError::Full(_)) => Err(RequestError::ServerIsBusy {
                reason: "the Region's mailbox is full",
            }),
            Err(SendError::Stopped(_)) => Err(RequestError::Stopping),
        }
    }
}
