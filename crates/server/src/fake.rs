//! A node in memory for the services' tests: one Region, no Raft, the real placement driver.
//!
//! **What it does as a node does.** Checks the Region's id, epoch and range; applies commands; answers
//! reads from a copy.
//!
//! **What it does not do.** Lose leadership by itself, or take time.

use crate::backend::{Backend, Direction, Placed, ReadView, SnapshotSink, Visit};
use crate::book::AddressBook;
use crate::error::Failure;
use bytes::Bytes;
use futures::future::{BoxFuture, ready};
use futures::stream::BoxStream;
use futures::{FutureExt, StreamExt};
use node::snap::{FormatError, SnapshotRefused};
use node::{DEFAULT_TOKEN, Identity, Members, MemoryBudget};
use parking_lot::Mutex;
use placement::{Bootstrap, Config, Effect, Input, Now, Placement, RegionInstruction};
use raftstore::op::consistency::{Hash, Report};
use raftstore::op::split;
use raftstore::{
    Admin, Command, Cut, Mutation, Outcome, RaftMessage, RequestContext, RequestError,
};
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::sync::{broadcast, watch};
use types::{
    ApiVersion, Epoch, KeyRange, Peer, PeerId, RawValue, Region, RegionId, RequestId, StoreId,
};

pub(crate) type Rows = BTreeMap<Vec<u8>, Bytes>;

/// Clones are the same node.
#[derive(Clone)]
pub(crate) struct FakeNode {
    inner: Arc<Inner>,
}

struct Inner {
    identity: Identity,
    members: Members,
    memory: MemoryBudget,
    /// The term in which this node leads the placement driver; zero if it does not.
    leads_in: watch::Sender<u64>,
    state: Mutex<State>,
    /// Whether writes are answered; until then they wait.
    acknowledges: watch::Sender<bool>,
}

struct State {
    region: Region,
    rows: Rows,
    delivered: Vec<RaftMessage>,
    /// Snapshots that were received, with their frames.
    snapshots: Vec<(RaftMessage, Vec<Vec<u8>>)>,
    /// Every request on keys is answered so.
    refusal: Option<RequestError>,
    placement: Placement,
    /// What the placement driver has persisted.
    disk: BTreeMap<Vec<u8>, Vec<u8>>,
    last_request: u64,
    /// What the placement driver tells leaders between reports.
    instructions: broadcast::Sender<RegionInstruction>,
}

impl FakeNode {
    /// Under API V1, with one Region over everything.
    pub(crate) fn v1() -> Self {
        Self::new(ApiVersion::V1, KeyRange::default())
    }

    /// Under API V2, with the Region of the keyspace `DEFAULT`'s raw keys.
    pub(crate) fn v2() -> Self {
        let end = types::keys::encode(b"r\0\0\x01");
        Self::new(
            ApiVersion::V2,
            KeyRange {
                start: Vec::new(),
                end,
            },
        )
    }

    pub(crate) fn new(api_version: ApiVersion, range: KeyRange) -> Self {
        Self::in_cluster("n1=127.0.0.1:1001,n2=127.0.0.1:1002", api_version, range)
    }

    /// The first of the list's members.
    pub(crate) fn in_cluster(list: &str, api_version: ApiVersion, range: KeyRange) -> Self {
        let members = Members::parse(list).expect("a good list");
        let identity = members
            .identify("n1", api_version, DEFAULT_TOKEN)
            .expect("n1 is in the list");
        let peer = Peer {
            id: PeerId(11),
            store_id: StoreId(1),
            ..Peer::default()
        };
        let region = Region {
            id: RegionId(2),
            range,
            epoch: Epoch {
                conf_ver: 1,
                version: 1,
            },
            peers: vec![peer],
        };
        let stores = members.iter().map(|member| placement::Store {
            id: member.store_id,
            address: member.address.clone(),
            ..placement::Store::default()
        });
        let bootstrap = Bootstrap {
            cluster_id: identity.cluster_id,
            stores: stores.collect(),
            regions: vec![region.clone()],
        };
        let state = State {
            region,
            rows: Rows::new(),
            delivered: Vec::new(),
            snapshots: Vec::new(),
            refusal: None,
            placement: Placement::new(Config::new(bootstrap)),
            disk: BTreeMap::new(),
            last_request: 0,
            instructions: broadcast::channel(64).0,
        };
        let node = Self {
            inner: Arc::new(Inner {
                identity,
                members,
                memory: MemoryBudget::unlimited(),
                leads_in: watch::Sender::new(0),
                state: Mutex::new(state),
                acknowledges: watch::Sender::new(true),
            }),
        };
        node.elect(5);
        node
    }

    pub(crate) fn members(&self) -> Members {
        self.inner.members.clone()
    }

    /// What this node knows of addresses at its start.
    pub(crate) fn book(&self) -> AddressBook {
        AddressBook::new(&self.inner.identity, self.members(), Vec::new())
    }

    pub(crate) fn region(&self) -> Region {
        self.inner.state.lock().region.clone()
    }

    /// Snapshots that other stores have sent, with their frames.
    pub(crate) fn snapshots(&self) -> Vec<(RaftMessage, Vec<Vec<u8>>)> {
        self.inner.state.lock().snapshots.clone()
    }

    /// What other stores have sent.
    pub(crate) fn delivered(&self) -> Vec<RaftMessage> {
        self.inner.state.lock().delivered.clone()
    }

    /// What is stored, as it is stored.
    pub(crate) fn rows(&self) -> Rows {
        self.inner.state.lock().rows.clone()
    }

    /// Puts a stored value in, past all checks.
    pub(crate) fn insert(&self, region_key: &[u8], stored: Vec<u8>) {
        self.inner
            .state
            .lock()
            .rows
            .insert(region_key.to_vec(), stored.into());
    }

    /// Answers every request on keys with `refusal` from now on.
    pub(crate) fn refuse(&self, refusal: RequestError) {
        self.inner.state.lock().refusal = Some(refusal);
    }

    /// Whether writes are answered from now on; those that are not wait.
    pub(crate) fn acknowledge(&self, acknowledges: bool) {
        self.inner.acknowledges.send_replace(acknowledges);
    }

    /// How many writes wait.
    pub(crate) fn waiting_writes(&self) -> usize {
        self.inner.acknowledges.receiver_count()
    }

    /// The other node leads the placement driver from now on.
    pub(crate) fn depose(&self) {
        self.inner.leads_in.send_replace(0);
        self.inner.state.lock().drive(Input::Deposed);
    }

    /// This node leads the placement driver from now on.
    pub(crate) fn elect(&self, term: u64) {
        let mut state = self.inner.state.lock();
        let persisted = state.disk.clone().into_iter().collect();
        state.drive(Input::Elected { term });
        state.drive(Input::Loaded {
            term,
            state: persisted,
        });
        self.inner.leads_in.send_replace(term);
    }
}

impl State {
    /// Feeds an input and at once whatever its effects bring about; returns the replies.
    fn drive(&mut self, input: Input) -> Vec<Result<placement::Response, placement::Error>> {
        let mut inputs = vec![input];
        let mut replies = Vec::new();
        while let Some(input) = inputs.pop() {
            let mut effects = Vec::new();
            let now = Now {
                monotonic_ms: 1_000,
                wall_ms: 1_700_000_000_000,
            };
            self.placement.step(now, input, &mut effects);
            for effect in effects {
                match effect {
                    Effect::Persist { write, puts } => {
                        for (key, value) in puts {
                            match value {
                                Some(value) => self.disk.insert(key, value),
                                None => self.disk.remove(&key),
                            };
                        }
                        inputs.push(Input::Persisted {
                            write,
                            result: Ok(()),
                        });
                    }
                    Effect::Confirm { confirm } => {
                        inputs.push(Input::Confirmed {
                            confirm,
                            leads: true,
                        });
                    }
                    Effect::Reply { result, .. } => replies.push(result),
                    Effect::Notice(_) => {}
                    Effect::Instruct(told) => _ = self.instructions.send(told),
                }
            }
        }
        replies
    }

    fn admit(&self, context: &RequestContext) -> Result<(), RequestError> {
        if let Some(refusal) = &self.refusal {
            return Err(refusal.clone());
        }
        if context.region_id != self.region.id {
            return Err(RequestError::RegionNotFound {
                region_id: context.region_id,
            });
        }
        if context.epoch != self.region.epoch {
            return Err(RequestError::EpochNotMatch {
                current: vec![self.region.clone()],
            });
        }
        Ok(())
    }

    /// As `raftstore` does when it applies: nothing outside the Region, and all or nothing.
    fn check_range(&self, command: &Command) -> Result<(), RequestError> {
        let range = &self.region.range;
        let is_inside = |mutation: &&Mutation| match mutation {
            Mutation::Put { key, .. } | Mutation::Delete { key, .. } => range.contains(key),
            Mutation::DeleteRange { start, end, .. } => range.contains_range(start, end),
        };
        let outside = match command {
            Command::Write(mutations) => mutations
                .iter()
                .find(|mutation| !is_inside(mutation))
                .map(|mutation| match mutation {
                    Mutation::Put { key, .. } | Mutation::Delete { key, .. } => key,
                    Mutation::DeleteRange { start, .. } => start,
                }),
            Command::CompareAndSwap { key, .. } => Some(key).filter(|key| !range.contains(key)),
            Command::Admin(_) => None,
        };
        match outside {
            None => Ok(()),
            Some(key) => Err(RequestError::KeyNotInRegion {
                key: key.to_vec(),
                region: Box::new(self.region.clone()),
            }),
        }
    }

    fn apply(&mut self, mutation: Mutation) {
        match mutation {
            Mutation::Put { key, value, .. } => {
                self.rows.insert(key.to_vec(), value);
            }
            Mutation::Delete { key, .. } => {
                self.rows.remove(key.as_ref());
            }
            Mutation::DeleteRange { start, end, .. } => {
                let range = KeyRange {
                    start: start.to_vec(),
                    end: end.to_vec(),
                };
                self.rows.retain(|key, _| !range.contains(key));
            }
        }
    }

    fn swap(&mut self, key: &Bytes, expected: Option<Bytes>, value: Bytes, now_ms: u64) -> Outcome {
        let present = self
            .rows
            .get(key.as_ref())
            .map(|stored| RawValue::decode(stored).expect("tests store good values"));
        let previous = present.filter(|value| !value.is_expired(now_ms / 1_000));
        let previous = previous.map(|value| value.user_value);
        let succeeded = previous == expected;
        if succeeded {
            self.rows.insert(key.to_vec(), value);
        }
        Outcome::Swapped {
            succeeded,
            previous,
        }
    }
}

impl Backend for FakeNode {
    type View = FakeView;
    type Snapshot = FakeSnapshot;

    fn identity(&self) -> &Identity {
        &self.inner.identity
    }

    fn memory(&self) -> &MemoryBudget {
        &self.inner.memory
    }

    async fn write(
        &self,
        context: RequestContext,
        command: Command,
    ) -> Result<Outcome, RequestError> {
        let mut acknowledges = self.inner.acknowledges.subscribe();
        // The sender lives as long as the node.
        let _ = acknowledges.wait_for(|acknowledges| *acknowledges).await;
        let mut state = self.inner.state.lock();
        state.admit(&context)?;
        state.check_range(&command)?;
        match command {
            Command::Write(mutations) => {
                mutations
                    .into_iter()
                    .for_each(|mutation| state.apply(mutation));
                Ok(Outcome::Written)
            }
            Command::CompareAndSwap {
                key,
                expected,
                value,
                now_ms,
            } => Ok(state.swap(&key, expected, value, now_ms)),
            Command::Admin(
                Admin::CompactLog { .. }
                | Admin::PrepareMerge(_)
                | Admin::SealMerge { .. }
                | Admin::CommitMerge(_)
                | Admin::RefuseMerge { .. }
                | Admin::RollbackMerge { .. }
                | Admin::ComputeHash
                | Admin::VerifyHash(_),
            ) => Ok(Outcome::Written),
            Command::Admin(Admin::Split(cuts)) => {
                let parts = split::parts(&state.region, &cuts)?;
                state.region = parts.last().expect("a split has parts").clone();
                Ok(Outcome::Split(parts))
            }
        }
    }

    async fn split(
        &self,
        context: RequestContext,
        keys: Vec<Vec<u8>>,
    ) -> Result<Vec<Region>, RequestError> {
        let cut = |(key, id): (Vec<u8>, u64)| Cut {
            key: key.into(),
            region_id: RegionId(id),
            peer_ids: vec![PeerId(id)],
        };
        let cuts = keys.into_iter().zip(1_000..).map(cut).collect();
        let command = Command::Admin(Admin::Split(cuts));
        match self.write(context, command).await? {
            Outcome::Split(regions) => Ok(regions),
            other => unreachable!("a split is not answered with {other:?}"),
        }
    }

    async fn check_consistency(&self, region_id: RegionId) -> Result<Report, RequestError> {
        let state = self.inner.state.lock();
        let region = &state.region;
        if region_id != region.id {
            return Err(RequestError::RegionNotFound { region_id });
        }
        let peers = region.peers.iter();
        Ok(Report {
            region_id,
            index: 9,
            agreed: Some(Hash(7)),
            hashes: peers.map(|peer| (*peer, Some(Hash(7)))).collect(),
        })
    }

    async fn read(&self, context: RequestContext) -> Result<FakeView, RequestError> {
        let state = self.inner.state.lock();
        state.admit(&context)?;
        Ok(FakeView {
            region: state.region.clone(),
            rows: state.rows.clone(),
        })
    }

    async fn get(&self, context: RequestContext, key: &[u8]) -> Result<Option<Bytes>, Failure> {
        let view = self.read(context).await?;
        if !view.region.range.contains(key) {
            let region = Box::new(view.region);
            return Err(RequestError::KeyNotInRegion {
                key: key.to_vec(),
                region,
            }
            .into());
        }
        view.get(key)
    }

    fn deliver(&self, message: RaftMessage) {
        self.inner.state.lock().delivered.push(message);
    }

    fn receive_snapshot(&self, message: RaftMessage) -> Result<FakeSnapshot, SnapshotRefused> {
        Ok(FakeSnapshot {
            node: self.clone(),
            message,
            frames: Vec::new(),
        })
    }

    async fn enqueue(&self, request: placement::Request) -> BoxFuture<'static, Placed> {
        let id = {
            let mut state = self.inner.state.lock();
            state.last_request += 1;
            RequestId(state.last_request)
        };
        // Some are taken in later than others: only who waits for that is heard in order.
        for _ in 0..id.get() % 3 {
            tokio::task::yield_now().await;
        }
        let mut replies = self
            .inner
            .state
            .lock()
            .drive(Input::Request { id, request });
        assert_eq!(replies.len(), 1, "one answer to each request");
        let leader = self.placement_leader();
        let reply = replies.remove(0).map_err(|error| match error {
            placement::Error::NotLeader { .. } => placement::Error::NotLeader { leader },
            other => other,
        });
        ready(reply).boxed()
    }

    fn placement_leader(&self) -> Option<StoreId> {
        Some(StoreId(match *self.inner.leads_in.borrow() {
            0 => 2,
            _ => 1,
        }))
    }

    fn instructions(&self) -> BoxStream<'static, RegionInstruction> {
        let receiver = self.inner.state.lock().instructions.subscribe();
        let next = |mut receiver: broadcast::Receiver<RegionInstruction>| async {
            let told = receiver.recv().await.ok()?;
            Some((told, receiver))
        };
        futures::stream::unfold(receiver, next).boxed()
    }

    fn placement_lost(&self) -> BoxFuture<'static, ()> {
        let mut leads_in = self.inner.leads_in.subscribe();
        let term = *leads_in.borrow();
        let lost = async move {
            let is_lost = |now: &u64| *now == 0 || *now != term;
            // An error means that the node is gone.
            let _ = leads_in.wait_for(is_lost).await;
        };
        lost.boxed()
    }
}

/// A snapshot that is being received. It takes what ends with [`LAST_FRAME`], and no frame is larger
/// than the disk.
pub(crate) struct FakeSnapshot {
    node: FakeNode,
    message: RaftMessage,
    frames: Vec<Vec<u8>>,
}

/// The last frame of every snapshot.
pub(crate) const LAST_FRAME: &[u8] = b"last";
/// There is no room for a frame that is larger.
pub(crate) const FRAME_BYTES_MAX: usize = 1 << 20;

impl SnapshotSink for FakeSnapshot {
    fn write(&mut self, frame: &[u8]) -> Result<(), SnapshotRefused> {
        if frame.len() > FRAME_BYTES_MAX {
            return Err(SnapshotRefused::DiskFull);
        }
        self.frames.push(frame.to_vec());
        Ok(())
    }

    fn finish(self) -> Result<(), SnapshotRefused> {
        if self.frames.last().is_none_or(|last| last != LAST_FRAME) {
            let number = self.frames.len() as u64;
            return Err(SnapshotRefused::Wrong(FormatError::Cut { number }));
        }
        let mut state = self.node.inner.state.lock();
        state.snapshots.push((self.message, self.frames));
        Ok(())
    }
}

/// A copy of everything.
pub(crate) struct FakeView {
    region: Region,
    rows: Rows,
}

impl ReadView for FakeView {
    fn region(&self) -> &Region {
        &self.region
    }

    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, Failure> {
        Ok(self.rows.get(key).cloned())
    }

    fn scan(
        &self,
        range: &KeyRange,
        direction: Direction,
        visit: Visit<'_>,
    ) -> Result<(), Failure> {
        let mut rows: Vec<_> = self
            .rows
            .iter()
            .filter(|(key, _)| range.contains(key))
            .collect();
        if direction == Direction::Reverse {
            rows.reverse();
        }
        for (key, value) in rows {
            if visit(key, value).is_break() {
                break;
            }
        }
        Ok(())
    }
}
