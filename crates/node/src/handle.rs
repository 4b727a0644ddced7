//! The handle: how requests and messages enter a node.
//!
//! **Invariants.** A request gets one answer, unless its future is dropped. Writes are bounded in
//! bytes, reads in number: beyond the bound, or without room in memory, a write waits its turn for a while, since
//! clients treat "busy" as fatal, and is refused only then. What another store leads is never refused as busy.

use crate::budget::{MemoryBudget, NoRoom};
use crate::clock::Clock;
use crate::consistency::Quarantines;
use crate::flow::{FlowControl, Quotas, TooFarBehind};
use crate::fsm::{PeerMessage, PeerRouter, StoreMessage};
use crate::identity::{Identity, Members};
use crate::leaders::Leaders;
use crate::local_read::ReadDelegates;
use crate::meters::{Lost, Meters, Point, ReadPath, Watched, current_journey, mark};
use crate::owner::remember_members;
use crate::placement_host::PlacementHandle;
use crate::ports::PlacementLink;
use crate::replies::{Pending, ReplyTable};
use crate::room::DiskRoom;
use crate::slowness::Slowness;
use crate::snap::{IncomingSnapshot, SnapshotRefused, Snapshots};
use crate::snapshot::{Meter, RegionSnapshot};
use crate::traffic::{Counts, Traffic};
use batch_system::SendError;
use bytes::Bytes;
use engine::{Cf, KvEngine};
use raftstore::op::measure::Size;
use raftstore::peer::Input;
use raftstore::store;
use raftstore::{Command, Outcome, RaftMessage, Reply, RequestContext, RequestError};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{Semaphore, SemaphorePermit};
use types::{PeerId, Region, RegionId, RequestId, Space};

/// How requests and messages enter a node. Clones are the same handle.
pub struct NodeHandle<K: KvEngine> {
    pub(crate) inner: Arc<Inner<K>>,
}

impl<K: KvEngine> Clone for NodeHandle<K> {
    fn clone(&self) -> Self {
        Self {
            inner: Arc::clone(&self.inner),
        }
    }
}

/// What became of a Raft message that was handed in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// The Peer will see it, or the store, whose it is.
    Taken,
    /// Its Region has no replica here.
    Stray,
    /// Too many bytes wait, or the store is stopping.
    Dropped,
}

/// Hands a Raft message to its Peer, if the bytes of all that waits allow it. How *many* messages wait
/// for the Peer does not matter: clients' requests must not keep out what the Region lives on.
pub fn deliver(peers: &PeerRouter, message: RaftMessage) -> Delivery {
    let budget = peers.budget();
    if budget.used_bytes() + message.size_bytes() > budget.limit_bytes() {
        return Delivery::Dropped;
    }
    if message.merged_into.is_some() {
        let farewell = store::Input::MergedElsewhere(Box::new(message));
        return tell_store(peers, farewell);
    }
    if let Some(extra) = message.between_stores() {
        let store = message.from.store_id;
        return tell_store(peers, store::Input::Heard { store, extra });
    }
    let region = message.region_id.get();
    match peers.force_send(region, PeerMessage(Input::Message(Box::new(message)))) {
        Ok(()) => Delivery::Taken,
        Err(SendError::NotFound(PeerMessage(Input::Message(message)))) => {
            let _ = peers.send_control(StoreMessage(store::Input::Stray(message)));
            Delivery::Stray
        }
        Err(SendError::NotFound(_)) => unreachable!("what comes back is what was sent"),
        Err(SendError::Full(_) | SendError::Stopped(_)) => Delivery::Dropped,
    }
}

fn tell_store(peers: &PeerRouter, input: store::Input) -> Delivery {
    match peers.send_control(StoreMessage(input)) {
        Ok(()) => Delivery::Taken,
        Err(_) => Delivery::Dropped,
    }
}

/// How a request is sent to its Peer: within the bounds for clients, or past them.
type SendFn = fn(&PeerRouter, u64, PeerMessage) -> Result<(), SendError<PeerMessage>>;

pub(crate) struct Inner<K: KvEngine> {
    pub(crate) identity: Identity,
    pub(crate) engine: K,
    pub(crate) peers: PeerRouter,
    pub(crate) replies: Arc<ReplyTable>,
    pub(crate) memory: MemoryBudget,
    pub(crate) flow: FlowControl,
    pub(crate) quotas: Quotas,
    pub(crate) write_bytes: Semaphore,
    pub(crate) write_bytes_max: usize,
    pub(crate) busy_wait: Duration,
    pub(crate) reads: Semaphore,
    /// Held by whoever compacts on request.
    pub(crate) compacting: parking_lot::Mutex<()>,
    pub(crate) leaders: Leaders,
    pub(crate) quarantines: Quarantines,
    pub(crate) delegates: ReadDelegates,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) traffic: Traffic,
    pub(crate) slowness: Slowness,
    pub(crate) room: DiskRoom,
    pub(crate) snapshots: Snapshots<K>,
    pub(crate) placement: PlacementHandle,
    pub(crate) link: Arc<dyn PlacementLink>,
    pub(crate) meters: Meters,
    pub(crate) watched: Watched,
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

    /// The memory of the process, as far as this node answers for it.
    pub fn memory(&self) -> &MemoryBudget {
        &self.inner.memory
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
        let (region, bytes) = (context.region_id, command.size_bytes());
        let _permit = self.admit_write(region, bytes).await?;
        self.propose(context, command, PeerRouter::send).await
    }

    /// As [`Self::write`], past the bounds that keep clients' requests from piling up: for the
    /// placement driver, which they need to go on and which has one write under way.
    pub(crate) async fn write_past_bounds(
        &self,
        context: RequestContext,
        command: Command,
    ) -> Result<Outcome, RequestError> {
        self.propose(context, command, PeerRouter::force_send).await
    }

    async fn propose(
        &self,
        context: RequestContext,
        command: Command,
        send: SendFn,
    ) -> Result<Outcome, RequestError> {
        let region = context.region_id;
        let inner = &*self.inner;
        let now = || inner.clock.now();
        let journey = current_journey();
        let pending = match journey {
            Some(_) => inner.replies.register_as(mark),
            None => inner.replies.register(),
        };
        let _following = journey.map(|journey| {
            journey.pass(Point::HandedIn, now());
            let journeys = &inner.meters.journeys;
            journeys.follow(pending.id(), region, journey)
        });
        let input = |request| {
            inner.meters.waterfall.begin(request, region, now);
            Input::Propose {
                request,
                context,
                command,
            }
        };
        match self.ask_as(pending, region, input, send).await? {
            Reply::Command(outcome) => Ok(outcome),
            other => unreachable!("a command is not answered with {other:?}"),
        }
    }

    /// A view of the Region that has every write which was acknowledged before this call. Under a lease
    /// it is ready at once.
    ///
    /// # Errors
    /// The Region can't be read here now.
    pub async fn read(&self, context: RequestContext) -> Result<RegionSnapshot<K>, RequestError> {
        let inner = &*self.inner;
        inner.quotas.read().await;
        let look = |_: &Arc<Region>| inner.engine.snapshot();
        let meter = |leads| {
            let cells = (inner.traffic.clone(), inner.quotas.clone());
            Meter::new(cells, context.region_id, leads)
        };
        if let Some((region, snapshot)) = self.look_under_lease(&context, look) {
            return Ok(RegionSnapshot::new(region, snapshot, Some(meter(true))));
        }
        let _permit = self.admit_read(context.region_id)?;
        let meter = meter(!context.replica_read);
        let (region, snapshot) = self
            .confirm_and_look(context, PeerRouter::send, look)
            .await?;
        Ok(RegionSnapshot::new(region, snapshot, Some(meter)))
    }

    /// As [`Self::read`], past the bounds for clients, and not counted as traffic: see
    /// [`Self::write_past_bounds`].
    pub(crate) async fn read_past_bounds(
        &self,
        context: RequestContext,
    ) -> Result<RegionSnapshot<K>, RequestError> {
        let look = |_: &Arc<Region>| self.inner.engine.snapshot();
        let (region, snapshot) = match self.look_under_lease(&context, look) {
            Some(found) => found,
            None => {
                self.confirm_and_look(context, PeerRouter::force_send, look)
                    .await?
            }
        };
        Ok(RegionSnapshot::uncounted(region, snapshot))
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
        let (region_id, keys) = (context.region_id, Some((key, key)));
        self.inner.quotas.read().await;
        // A look at one key needs no snapshot.
        let look = |region: &Arc<Region>| match region.range.contains(key) {
            true => Ok(self.look_at(region, cf, key)),
            false => Err(RequestError::KeyNotInRegion {
                key: key.to_vec(),
                region: Box::new(Region::clone(region)),
            }),
        };
        if let Some((_, looked)) = self.look_under_lease(&context, look) {
            let (found, counts) = looked?;
            self.inner.traffic.count_led(region_id, &counts, keys);
            return Ok(found);
        }
        let _permit = self.admit_read(region_id)?;
        let leads = !context.replica_read;
        let looked = self.confirm_and_look(context, PeerRouter::send, look);
        let (found, counts) = looked.await?.1?;
        match leads {
            true => self.inner.traffic.count_led(region_id, &counts, keys),
            false => self.inner.traffic.count(region_id, &counts),
        }
        Ok(found)
    }

    /// The value of a key of the Region, and what it took to look.
    fn look_at(
        &self,
        region: &Region,
        cf: Cf,
        key: &[u8],
    ) -> (engine::Result<Option<Bytes>>, Counts) {
        let begun = Instant::now();
        let found = self.inner.engine.get(cf, &Space::of(region.id).key(key));
        let value_bytes = match &found {
            Ok(Some(value)) => value.len(),
            Ok(None) | Err(_) => 0,
        };
        self.inner.quotas.has_read((key.len() + value_bytes) as u64);
        let counts = Counts {
            read: Size {
                bytes: (key.len() + value_bytes) as u64,
                keys: 1,
            },
            reads: 1,
            busy: begun.elapsed(),
            ..Counts::default()
        };
        (found, counts)
    }

    /// What a look at the engine sees, if a lease says that it counts.
    fn look_under_lease<T>(
        &self,
        context: &RequestContext,
        look: impl FnOnce(&Arc<Region>) -> T,
    ) -> Option<(Arc<Region>, T)> {
        let inner = &*self.inner;
        let attempt = inner.delegates.begin(context)?;
        let seen = look(attempt.region());
        let granted = attempt.finish(&*inner.clock)?;
        inner.meters.count_read(ReadPath::Lease);
        if granted.wants_renewal {
            let renew = PeerMessage(Input::RenewLease);
            let _ = inner.peers.force_send(context.region_id.get(), renew);
        }
        Some((Arc::clone(attempt.region()), seen))
    }

    /// What a look at the engine sees once the Peer allows it. What a replica shows that does not lead may
    /// be ahead of what its leader has applied, so the leader is asked once more: when it answers, it has.
    async fn confirm_and_look<T>(
        &self,
        context: RequestContext,
        send: SendFn,
        look: impl Fn(&Arc<Region>) -> T,
    ) -> Result<(Arc<Region>, T), RequestError> {
        let inner = &*self.inner;
        let (path, begun) = (path_of(&context), inner.clock.now());
        loop {
            let departures = inner.delegates.departures();
            let region = self.confirm_read(context.clone(), send).await?;
            if region.epoch.version != context.epoch.version {
                let current = vec![Region::clone(&region)];
                return Err(RequestError::EpochNotMatch { current });
            }
            let waited = begun.until(inner.clock.now());
            let seen = look(&region);
            if inner.delegates.departures() != departures {
                continue;
            }
            if context.replica_read {
                self.confirm_read(context, send).await?;
            }
            inner.meters.count_waited_read(path, waited);
            return Ok((region, seen));
        }
    }

    async fn confirm_read(
        &self,
        context: RequestContext,
        send: SendFn,
    ) -> Result<Arc<Region>, RequestError> {
        let region = context.region_id;
        let input = |request| Input::Read { request, context };
        match self.ask(region, input, send).await? {
            Reply::ReadReady(region) => Ok(region),
            other => unreachable!("a read is not answered with {other:?}"),
        }
    }

    /// Hands in a Raft message from another store. A message that can't be taken is dropped: Raft
    /// sends it again.
    pub fn deliver(&self, message: RaftMessage) {
        let inner = &*self.inner;
        match deliver(&inner.peers, message) {
            Delivery::Taken => {}
            Delivery::Stray => inner.meters.count_lost(Lost::Stray),
            Delivery::Dropped => inner.meters.count_lost(Lost::Busy),
        }
    }

    /// Begins to receive the snapshot that `message` describes; waits for the disk.
    ///
    /// # Errors
    /// It can't be taken now, or never.
    pub fn receive_snapshot(
        &self,
        message: RaftMessage,
    ) -> Result<IncomingSnapshot<K>, SnapshotRefused> {
        let peers = self.inner.peers.clone();
        self.inner.snapshots.receive(message, peers)
    }

    /// Says that a message to a replica could not be sent.
    pub fn report_unreachable(&self, region: RegionId, peer: PeerId) {
        self.inner.meters.count_lost(Lost::Unreachable);
        let input = PeerMessage(Input::Unreachable { peer });
        let _ = self.inner.peers.send(region.get(), input);
    }

    /// Asks all leaders on this store to report to the placement driver now.
    pub fn report_all(&self) {
        self.inner
            .peers
            .broadcast(|_| Some(PeerMessage(Input::Report)));
    }

    /// Remembers where placement's members are, for the next start. Waits for the disk.
    ///
    /// # Errors
    /// The engine's; what was remembered before stays.
    pub fn remember_members(&self, members: &Members) -> engine::Result<()> {
        remember_members(&self.inner.engine, members)
    }

    /// The store stops: nobody waits for room on the disk any more.
    pub(crate) fn stop_writing_to_a_full_disk(&self) {
        self.inner.room.stop();
    }

    async fn admit_write(
        &self,
        region: RegionId,
        bytes: usize,
    ) -> Result<Admitted<'_>, RequestError> {
        let inner = &*self.inner;
        if inner.room.is_full() {
            inner.leaders.check_leads(region)?;
            return Err(RequestError::DiskFull);
        }
        let permit = self.permit_write(region, bytes).await?;
        // Waiting takes memory, too: the request is there.
        let admitted = Admitted::new(permit, bytes, &inner.memory);
        if !inner.memory.has_room() {
            inner.leaders.check_leads(region)?;
            let room = inner.memory.wait_for_room(inner.busy_wait).await;
            room.map_err(|NoRoom| self.busy(region, "the memory limit is reached"))?;
        }
        let flows = inner.flow.admit(bytes, inner.busy_wait).await;
        flows.map_err(|TooFarBehind| self.busy(region, "the engine is behind"))?;
        inner.quotas.write(bytes).await;
        Ok(admitted)
    }

    async fn permit_write(
        &self,
        region: RegionId,
        bytes: usize,
    ) -> Result<SemaphorePermit<'_>, RequestError> {
        let inner = &*self.inner;
        let permits = bytes.min(inner.write_bytes_max) as u32;
        if let Ok(permit) = inner.write_bytes.try_acquire_many(permits) {
            return Ok(permit);
        }
        inner.leaders.check_leads(region)?;
        let acquired = inner.write_bytes.acquire_many(permits);
        match tokio::time::timeout(inner.busy_wait, acquired).await {
            Ok(permit) => permit.map_err(|_| RequestError::Stopping),
            Err(_) => Err(self.busy(region, "too many bytes of writes are pending")),
        }
    }

    fn admit_read(&self, region: RegionId) -> Result<SemaphorePermit<'_>, RequestError> {
        let permit = self.inner.reads.try_acquire();
        permit.map_err(|_| self.busy(region, "too many reads are pending"))
    }

    /// Only a leader is busy: others have nothing to offer, however long one waits.
    fn busy(&self, region: RegionId, reason: &'static str) -> RequestError {
        let leads = self.inner.leaders.check_leads(region);
        leads.err().unwrap_or(RequestError::ServerIsBusy { reason })
    }

    pub(crate) async fn ask(
        &self,
        region_id: RegionId,
        input: impl FnOnce(RequestId) -> Input,
        send: SendFn,
    ) -> Result<Reply, RequestError> {
        let pending = self.inner.replies.register();
        self.ask_as(pending, region_id, input, send).await
    }

    async fn ask_as(
        &self,
        pending: Pending,
        region_id: RegionId,
        input: impl FnOnce(RequestId) -> Input,
        send: SendFn,
    ) -> Result<Reply, RequestError> {
        let message = PeerMessage(input(pending.id()));
        match send(&self.inner.peers, region_id.get(), message) {
            Ok(()) => pending.answer().await,
            Err(SendError::NotFound(_)) => Err(RequestError::RegionNotFound { region_id }),
            Err(SendError::Full(_)) => Err(self.busy(region_id, "the Region's mailbox is full")),
            Err(SendError::Stopped(_)) => Err(RequestError::Stopping),
        }
    }
}

/// A write that is admitted, until it is answered.
struct Admitted<'a> {
    _permit: SemaphorePermit<'a>,
    bytes: usize,
    memory: &'a MemoryBudget,
}

impl<'a> Admitted<'a> {
    fn new(permit: SemaphorePermit<'a>, bytes: usize, memory: &'a MemoryBudget) -> Self {
        memory.parts().writes.force_acquire(bytes);
        Self {
            _permit: permit,
            bytes,
            memory,
        }
    }
}

impl Drop for Admitted<'_> {
    fn drop(&mut self) {
        self.memory.parts().writes.release(self.bytes);
    }
}

/// The path of a read that has no lease.
fn path_of(context: &RequestContext) -> ReadPath {
    match context.replica_read {
        true => ReadPath::Replica,
        false => ReadPath::Index,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::budget::Seen;
    use crate::clock::SystemClock;
    use crate::fsm::{NoControl, StoreFsm};
    use crate::growth::Growth;
    use crate::placement_host;
    use crate::snap::{MemDir, SnapOptions};
    use batch_system::{Builder, ByteBudget, Config};
    use engine::mem::{Disk, MemKv};
    use futures::FutureExt;
    use futures::future::BoxFuture;
    use placement::{RegionHeartbeat, SplitIds, StoreStats};
    use raftstore::store::Store;
    use raftstore::{Leadership, LeaseChange, LeaseView};
    use types::{ApiVersion, Peer, StoreId};

    const REGION: RegionId = RegionId::FIRST_DATA;

    struct NoLink;

    impl PlacementLink for NoLink {
        fn region_heartbeat(&self, _: RegionHeartbeat) {}

        fn store_heartbeat(&self, _: StoreStats) {}

        fn split_done(&self, _: Vec<Region>) {}

        fn ask_split(
            &self,
            _: Region,
            _: usize,
        ) -> BoxFuture<'static, Result<Vec<SplitIds>, String>> {
            futures::future::ready(Err("nobody gives ids".to_owned())).boxed()
        }
    }

    struct NoLog;

    impl metrics::Collect for NoLog {
        fn collect(&self, _: &mut metrics::Page) {}
    }

    /// A handle to a node with no Region and room for nothing.
    fn overloaded() -> NodeHandle<MemKv> {
        let members = Members::parse("a=h:1").unwrap();
        let store = StoreFsm(Store::new(
            StoreId(1),
            vec![],
            Default::default(),
            store::StoreOptions::new(1, &Default::default()),
        ));
        let peers = Builder::new(Config::default(), Box::new(store));
        let peers = peers.budget(ByteBudget::new(0)).build().unwrap();
        let appliers = Builder::new(Config::default(), Box::new(NoControl));
        let appliers = appliers.build().unwrap();
        NodeHandle::new(Inner {
            identity: members.identify("a", ApiVersion::V1, "").unwrap(),
            engine: Disk::new().open_kv("kv").unwrap(),
            memory: MemoryBudget::unlimited(),
            flow: FlowControl::new(Default::default()),
            quotas: Quotas::new(Default::default()),
            peers: peers.router(),
            replies: Arc::default(),
            write_bytes: Semaphore::new(0),
            write_bytes_max: 1,
            busy_wait: Duration::from_secs(3600),
            reads: Semaphore::new(0),
            compacting: Default::default(),
            leaders: Leaders::default(),
            quarantines: Quarantines::default(),
            delegates: ReadDelegates::default(),
            clock: Arc::new(SystemClock),
            traffic: Traffic::default(),
            slowness: Slowness::new(Default::default()),
            room: DiskRoom::new(Duration::ZERO),
            snapshots: Snapshots::new(
                Disk::new().open_kv("kv").unwrap(),
                Arc::new(MemDir::default()),
                SnapOptions::default(),
            ),
            placement: placement_host::channel(StoreId(1)).0,
            link: Arc::new(NoLink),
            meters: Meters::default(),
            watched: Watched {
                appliers: appliers.router(),
                growth: Growth::default(),
                log: Arc::new(NoLog),
            },
        })
    }

    fn announce(handle: &NodeHandle<MemKv>, is_self: bool) {
        handle.inner.leaders.set(Leadership {
            region_id: REGION,
            leader: Some(Peer::default()),
            is_self,
            term: 6,
            epoch: types::Epoch::default(),
        });
    }

    fn context() -> RequestContext {
        RequestContext {
            region_id: REGION,
            ..RequestContext::default()
        }
    }

    #[tokio::test]
    async fn a_busy_node_sends_those_to_the_leader_whom_it_can_not_serve_at_once() {
        let handle = overloaded();
        announce(&handle, false);
        let write = handle.write(context(), Command::Write(vec![]));
        let answer = write.now_or_never().expect("it does not wait");
        assert!(matches!(answer, Err(RequestError::NotLeader { .. })));
        let read = handle.read(context()).now_or_never().unwrap();
        assert!(matches!(read, Err(RequestError::NotLeader { .. })));
    }

    #[tokio::test]
    async fn a_read_under_a_lease_is_ready_at_once_and_needs_no_room() {
        let handle = overloaded();
        let region = Region {
            id: REGION,
            ..Region::default()
        };
        let now = handle.inner.clock.now();
        let lease = |until| LeaseView {
            region: Arc::new(region.clone()),
            me: Peer::default(),
            term: 6,
            until,
            length: Duration::from_secs(9),
        };
        let change = |until| LeaseChange::Granted(lease(until));
        let delegates = &handle.inner.delegates;
        delegates.change(change(now.after(Duration::from_secs(3600))));
        let read = handle.read(context()).now_or_never();
        assert_eq!(read.unwrap().unwrap().region(), &region);
        let get = handle.get(context(), Cf::Default, b"k").now_or_never();
        assert_eq!(get.unwrap().unwrap().unwrap(), None);
        delegates.change(change(now));
        let read = handle.read(context()).now_or_never().unwrap();
        assert!(matches!(read, Err(RequestError::ServerIsBusy { .. })));
    }

    #[tokio::test]
    async fn without_room_in_memory_a_write_waits_and_is_sent_to_the_leader_if_that_is_another() {
        let handle = overloaded();
        handle.inner.write_bytes.add_permits(100);
        let seen = |resident| Seen {
            resident,
            unfilled: 0,
        };
        handle.memory().set_limit_bytes(1_000);
        handle.memory().observe(seen(1_000));
        announce(&handle, false);
        let write = || handle.write(context(), Command::Write(vec![]));
        let answer = write().now_or_never().expect("it does not wait");
        assert!(matches!(answer, Err(RequestError::NotLeader { .. })));
        announce(&handle, true);
        let mut waits = Box::pin(write());
        assert!((&mut waits).now_or_never().is_none());
        handle.memory().observe(seen(0));
        // It has gone on, to where there is no room for anything.
        let answer = waits.now_or_never().expect("it waits no more");
        let busy = |reason: &str| reason.contains("mailbox");
        assert!(
            matches!(answer, Err(RequestError::ServerIsBusy { reason }) if busy(reason)),
            "{answer:?}"
        );
        assert_eq!(handle.memory().counted_bytes(), 0);
    }

    #[tokio::test]
    async fn a_busy_leader_lets_writes_wait_and_refuses_reads_beyond_their_number() {
        let handle = overloaded();
        announce(&handle, true);
        let write = handle.write(context(), Command::Write(vec![]));
        assert!(write.now_or_never().is_none());
        let read = handle.read(context()).now_or_never().unwrap();
        assert!(matches!(read, Err(RequestError::ServerIsBusy { .. })));
    }
}
