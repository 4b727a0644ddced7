//! What the services need of a node, as a trait.
//!
//! **Why a trait.** The services are tested against a node in memory, without Raft and without an
//! engine; the real one is [`NodeHandle`].
//!
//! **Invariants.** Keys are Region keys throughout (see [`types::api`]). Every call is answered once.
//!
//! **Not here.** Anything of gRPC.

use crate::book::AddressBook;
use crate::error::Failure;
use bytes::Bytes;
use engine::{Cf, KvEngine, KvIterator};
use futures::FutureExt;
use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use node::snap::{IncomingSnapshot, SnapshotRefused};
use node::{Identity, Members, MemoryBudget, NodeHandle, RegionSnapshot};
use placement::RegionInstruction;
use raftstore::op::consistency::Report;
use raftstore::{Command, Outcome, RaftMessage, RequestContext, RequestError};
use std::future::Future;
use std::ops::ControlFlow;
use types::{KeyRange, Region, RegionId, StoreId};

/// The placement driver's answer.
pub(crate) type Placed = Result<placement::Response, placement::Error>;

/// A node, as the services see it. Clones are handles of the same node.
pub(crate) trait Backend: Clone + Send + Sync + 'static {
    /// What a read sees.
    type View: ReadView;
    /// A snapshot that is being received.
    type Snapshot: SnapshotSink;

    /// Who this node is.
    fn identity(&self) -> &Identity;

    /// The memory of the process.
    fn memory(&self) -> &MemoryBudget;

    /// Proposes a command; ready when it is applied here, or refused.
    fn write(
        &self,
        context: RequestContext,
        command: Command,
    ) -> impl Future<Output = Result<Outcome, RequestError>> + Send;

    /// Cuts a Region at these Region keys; the Regions that it became.
    fn split(
        &self,
        context: RequestContext,
        keys: Vec<Vec<u8>>,
    ) -> impl Future<Output = Result<Vec<Region>, RequestError>> + Send;

    /// A view that shows every write that was acknowledged before the call.
    fn read(
        &self,
        context: RequestContext,
    ) -> impl Future<Output = Result<Self::View, RequestError>> + Send;

    /// The stored value of one key, as [`Self::read`] would see it, but without a view that holds
    /// the engine's files.
    fn get(
        &self,
        context: RequestContext,
        key: &[u8],
    ) -> impl Future<Output = Result<Option<Bytes>, Failure>> + Send;

    /// Compares the replicas of a Region that is led here; may take minutes.
    fn check_consistency(
        &self,
        region_id: RegionId,
    ) -> impl Future<Output = Result<Report, RequestError>> + Send;

    /// Hands over a message from another store. Never blocks.
    fn deliver(&self, message: RaftMessage);

    /// Begins to receive the snapshot that `message` describes; waits for the disk.
    fn receive_snapshot(&self, message: RaftMessage) -> Result<Self::Snapshot, SnapshotRefused>;

    /// Hands a question to the placement driver, which hears them in the order in which these calls
    /// end. What comes out becomes the answer.
    fn enqueue(
        &self,
        request: placement::Request,
    ) -> impl Future<Output = BoxFuture<'static, Placed>> + Send;

    /// Asks the placement driver, if this node leads it.
    fn place(&self, request: placement::Request) -> impl Future<Output = Placed> + Send {
        async { self.enqueue(request).await.await }
    }

    /// Who leads the placement driver, as far as this node knows.
    fn placement_leader(&self) -> Option<StoreId>;

    /// What the placement driver of this node tells leaders of Regions from now on, beside the answers
    /// to their reports. Some of it may be lost.
    fn instructions(&self) -> BoxStream<'static, RegionInstruction>;

    /// Ready when this node does not lead the placement driver, or not any more as it does now.
    fn placement_lost(&self) -> BoxFuture<'static, ()>;
}

/// Placement's members: as its leader says, if that is here, otherwise as this node was told last.
pub(crate) async fn members<B: Backend>(backend: &B, book: &AddressBook) -> Members {
    if backend.placement_leader() == Some(backend.identity().store_id) {
        let answer = backend.place(placement::Request::GetMembers).await;
        if let Ok(placement::Response::Members(stores)) = answer
            && let Some(members) = book.members_on(&stores)
        {
            return members;
        }
    }
    book.members()
}

/// Takes the frames of a snapshot; waits for the disk. To let it go means to give it up.
pub(crate) trait SnapshotSink: Send + 'static {
    /// The next frame.
    fn write(&mut self, frame: &[u8]) -> Result<(), SnapshotRefused>;

    /// There is no further one.
    fn finish(self) -> Result<(), SnapshotRefused>;
}

/// In which order a scan visits keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    /// Ascending.
    Forward,
    /// Descending.
    Reverse,
}

/// What a scan shows for each key: the Region key and the stored value.
pub(crate) type Visit<'a> = &'a mut dyn FnMut(&[u8], &[u8]) -> ControlFlow<()>;

/// One Region at one moment.
pub(crate) trait ReadView: Send + 'static {
    /// The Region's shape at that moment.
    fn region(&self) -> &Region;

    /// The stored value of a key within the Region.
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, Failure>;

    /// Shows the keys of `range`, which lies within the Region, until `visit` breaks.
    fn scan(&self, range: &KeyRange, direction: Direction, visit: Visit<'_>)
    -> Result<(), Failure>;
}

impl<K: KvEngine> Backend for NodeHandle<K> {
    type View = RegionSnapshot<K>;
    type Snapshot = IncomingSnapshot<K>;

    fn identity(&self) -> &Identity {
        NodeHandle::identity(self)
    }

    fn memory(&self) -> &MemoryBudget {
        NodeHandle::memory(self)
    }

    async fn write(
        &self,
        context: RequestContext,
        command: Command,
    ) -> Result<Outcome, RequestError> {
        NodeHandle::write(self, context, command).await
    }

    async fn split(
        &self,
        context: RequestContext,
        keys: Vec<Vec<u8>>,
    ) -> Result<Vec<Region>, RequestError> {
        NodeHandle::split(self, context, keys).await
    }

    async fn read(&self, context: RequestContext) -> Result<Self::View, RequestError> {
        NodeHandle::read(self, context).await
    }

    async fn get(&self, context: RequestContext, key: &[u8]) -> Result<Option<Bytes>, Failure> {
        Ok(NodeHandle::get(self, context, Cf::Default, key).await??)
    }

    async fn check_consistency(&self, region_id: RegionId) -> Result<Report, RequestError> {
        NodeHandle::check_consistency(self, region_id).await
    }

    fn deliver(&self, message: RaftMessage) {
        NodeHandle::deliver(self, message);
    }

    fn receive_snapshot(&self, message: RaftMessage) -> Result<Self::Snapshot, SnapshotRefused> {
        NodeHandle::receive_snapshot(self, message)
    }

    async fn enqueue(&self, request: placement::Request) -> BoxFuture<'static, Placed> {
        self.placement().enqueue(request).await.get().boxed()
    }

    fn placement_leader(&self) -> Option<StoreId> {
        self.placement().leader()
    }

    fn instructions(&self) -> BoxStream<'static, RegionInstruction> {
        self.placement().instructions().boxed()
    }

    fn placement_lost(&self) -> BoxFuture<'static, ()> {
        self.placement().leadership_lost().boxed()
    }
}

impl<K: KvEngine> SnapshotSink for IncomingSnapshot<K> {
    fn write(&mut self, frame: &[u8]) -> Result<(), SnapshotRefused> {
        IncomingSnapshot::write(self, frame)
    }

    fn finish(self) -> Result<(), SnapshotRefused> {
        IncomingSnapshot::finish(self)
    }
}

impl<K: KvEngine> ReadView for RegionSnapshot<K> {
    fn region(&self) -> &Region {
        RegionSnapshot::region(self)
    }

    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, Failure> {
        Ok(RegionSnapshot::get(self, Cf::Default, key)?)
    }

    fn scan(
        &self,
        range: &KeyRange,
        direction: Direction,
        visit: Visit<'_>,
    ) -> Result<(), Failure> {
        let mut rows = self.iter(Cf::Default, &range.start, &range.end)?;
        let mut valid = match direction {
            Direction::Forward => rows.seek_to_first()?,
            Direction::Reverse => rows.seek_to_last()?,
        };
        while valid && visit(rows.key(), rows.value()).is_continue() {
            valid = match direction {
                Direction::Forward => rows.next()?,
                Direction::Reverse => rows.prev()?,
            };
        }
        Ok(())
    }
}
