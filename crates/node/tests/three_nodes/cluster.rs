//! The three nodes, what lies between them, and what clients do.
//!
//! **Not here.** What is tried (`main`, `consistency`, `merge`).

use bytes::Bytes;
use engine::mem::{Disk, MemKv, MemLog};
use engine::{Cf, KvIterator, RaftLog};
use futures::FutureExt;
use futures::future::BoxFuture;
use node::snap::{MemDir, OutgoingSnapshot};
use node::{
    Configured, ConsistencyOptions, Members, Node, NodeControl, NodeHandle, NodeOptions, Parts,
    PlacementLink, Transport, identify,
};
use placement::{
    Bootstrap, Control, RegionHeartbeat, Request, Response, SplitIds, Store, StoreStats,
};
use raftstore::bootstrap::first_regions;
use raftstore::{Command, Mutation, Outcome, RaftMessage, RequestContext, RequestError};
use std::sync::{Arc, Mutex, OnceLock, Weak};
use std::time::{Duration, Instant};
use types::{ApiVersion, Epoch, Peer, Region, RegionId};

pub(crate) const DEADLINE: Duration = Duration::from_secs(30);

/// The handles of all nodes, by store id less one.
type Handles = Arc<[OnceLock<NodeHandle<MemKv>>; 3]>;

struct DirectTransport {
    handles: Handles,
    cut_off: CutOff,
}

/// Which node nothing reaches, and hears nothing from; its position.
#[derive(Clone, Default)]
pub(crate) struct CutOff(pub(crate) Arc<Mutex<Option<usize>>>);

impl DirectTransport {
    fn reach(&self, message: &RaftMessage) -> Option<&NodeHandle<MemKv>> {
        let [from, to] = [message.from, message.to].map(|peer| peer.store_id.get() as usize - 1);
        let cut_off = *self.cut_off.0.lock().unwrap();
        let is_cut = [Some(from), Some(to)].contains(&cut_off) && cut_off.is_some();
        self.handles[to].get().filter(|_| !is_cut)
    }
}

impl Transport for DirectTransport {
    fn send(&self, message: RaftMessage) {
        if let Some(handle) = self.reach(&message) {
            handle.deliver(message);
        }
    }

    fn send_snapshot(&self, snapshot: OutgoingSnapshot) {
        let Some(handle) = self.reach(&snapshot.message) else {
            return;
        };
        let received = handle.receive_snapshot(snapshot.message);
        let received = received.and_then(|mut incoming| {
            for frame in snapshot.frames {
                incoming.write(&frame.expect("the view can be read"))?;
            }
            incoming.finish()
        });
        if received.is_ok() {
            snapshot.ticket.succeed();
        }
    }

    fn flush(&self) {}
}

/// The way to whichever node leads placement, if it is open.
struct Link {
    is_open: bool,
    /// Which hold the links.
    handles: Weak<[OnceLock<NodeHandle<MemKv>>; 3]>,
    me: usize,
    runtime: tokio::runtime::Handle,
}

impl Link {
    fn handles(&self) -> Option<Handles> {
        self.handles.upgrade().filter(|_| self.is_open)
    }
}

async fn ask(handles: &Handles, request: Request) -> Option<Response> {
    for handle in handles.iter().filter_map(OnceLock::get) {
        if let Ok(response) = handle.placement().call(request.clone()).await {
            return Some(response);
        }
    }
    None
}

impl PlacementLink for Link {
    fn region_heartbeat(&self, heartbeat: RegionHeartbeat) {
        let Some(handles) = self.handles() else {
            return;
        };
        let me = self.me;
        self.runtime.spawn(async move {
            let request = Request::RegionHeartbeat(Box::new(heartbeat));
            if let Some(Response::Instruction(told)) = ask(&handles, request).await
                && let Some(handle) = handles[me].get()
            {
                handle.instruct(*told).await;
            }
        });
    }

    fn store_heartbeat(&self, stats: StoreStats) {
        if let Some(handles) = self.handles() {
            self.runtime
                .spawn(async move { ask(&handles, Request::StoreHeartbeat(stats)).await });
        }
    }

    fn split_done(&self, parts: Vec<Region>) {
        if let Some(handles) = self.handles() {
            self.runtime
                .spawn(async move { ask(&handles, Request::SplitDone(parts)).await });
        }
    }

    fn ask_split(
        &self,
        region: Region,
        parts: usize,
    ) -> BoxFuture<'static, Result<Vec<SplitIds>, String>> {
        let (handles, parts) = (self.handles(), parts as u32);
        let request = Request::Control(Box::new(Control::AskBatchSplit { region, parts }));
        async move {
            let handles = handles.ok_or("nobody gives ids")?;
            match ask(&handles, request).await {
                Some(Response::SplitIds(ids)) => Ok(ids),
                other => Err(format!("no ids: {other:?}")),
            }
        }
        .boxed()
    }
}

pub(crate) struct Cluster {
    nodes: Vec<Node<MemKv>>,
    handles: Handles,
    pub(crate) cut_off: CutOff,
    /// What is on the disk of each.
    pub(crate) stored: Vec<(MemKv, MemLog, MemDir)>,
}

impl Cluster {
    /// Nobody tells the leaders anything.
    pub(crate) fn start(disks: &[Disk; 3]) -> Self {
        Self::start_with(disks, false)
    }

    /// Placement hears of all, and leaders do what it says.
    pub(crate) fn placed(disks: &[Disk; 3]) -> Self {
        Self::start_with(disks, true)
    }

    fn start_with(disks: &[Disk; 3], is_open: bool) -> Self {
        let members = Members::parse("a=h:1,b=h:2,c=h:3").unwrap();
        let handles: Handles = Arc::default();
        let cut_off = CutOff::default();
        let mut stored = Vec::new();
        let start = |(member, disk): (&node::Member, &Disk)| {
            let stores = members.iter().map(|member| Store {
                id: member.store_id,
                address: member.address.clone(),
                ..Store::default()
            });
            let (kv, log) = (disk.open_kv("kv").unwrap(), disk.open_log("log").unwrap());
            let snapshots = MemDir::default();
            stored.push((kv.clone(), log.clone(), snapshots.clone()));
            let configured = Configured {
                name: member.name.clone(),
                members: members.clone(),
                api_version: ApiVersion::V1,
                token: String::new(),
            };
            let identified = identify(&kv, &configured).unwrap();
            let cluster_id = identified.identity.cluster_id;
            let node = Node::start(Parts {
                identified,
                kv,
                log,
                snapshots: Arc::new(snapshots),
                transport: Arc::new(DirectTransport {
                    handles: Arc::clone(&handles),
                    cut_off: cut_off.clone(),
                }),
                link: Arc::new(Link {
                    is_open,
                    handles: Arc::downgrade(&handles),
                    me: member.store_id.get() as usize - 1,
                    runtime: tokio::runtime::Handle::current(),
                }),
                placement: placement::Config::new(Bootstrap {
                    cluster_id,
                    stores: stores.collect(),
                    regions: first_regions(3, ApiVersion::V1),
                }),
                options: options(member.store_id.get()),
                runtime: tokio::runtime::Handle::current(),
                progress: Arc::new(|_, _| ()),
            });
            let node = node.unwrap();
            let position = member.store_id.get() as usize - 1;
            assert!(handles[position].set(node.handle()).is_ok());
            node
        };
        let nodes = members.iter().zip(disks).map(start).collect();
        Self {
            nodes,
            handles,
            cut_off,
            stored,
        }
    }

    /// A node that does not lead the data Region.
    pub(crate) async fn follower(&self) -> usize {
        for (position, handle) in self.handles().enumerate() {
            let read = handle.read(data_region()).await;
            if matches!(read, Err(RequestError::NotLeader { .. })) {
                return position;
            }
        }
        panic!("one of three leads at most");
    }

    /// Where the log of the data Region begins.
    pub(crate) fn log_begins(&self, position: usize) -> u64 {
        let bounds = self.stored[position].1.bounds(RegionId::FIRST_DATA);
        bounds.unwrap().map_or(0, |(first, _)| first)
    }

    pub(crate) async fn stop(self) {
        for node in self.nodes {
            node.stop().await.unwrap();
        }
    }

    pub(crate) fn handles(&self) -> impl Iterator<Item = &NodeHandle<MemKv>> {
        self.handles.iter().map(|handle| handle.get().unwrap())
    }

    /// What changes each node.
    pub(crate) fn controls(&self) -> Vec<NodeControl> {
        self.nodes.iter().map(Node::control).collect()
    }

    /// Writes through whoever leads, as a client does.
    pub(crate) async fn write(&self, command: Command) -> Outcome {
        let start = Instant::now();
        loop {
            for handle in self.handles() {
                match handle.write(data_region(), command.clone()).await {
                    Ok(outcome) => return outcome,
                    Err(
                        RequestError::NotLeader { .. }
                        | RequestError::StaleCommand
                        | RequestError::Undetermined
                        | RequestError::DiskFull,
                    ) => {}
                    Err(error) => panic!("unexpected {error}"),
                }
            }
            assert!(start.elapsed() < DEADLINE, "no leader");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    pub(crate) async fn scan(&self) -> Vec<(Vec<u8>, Vec<u8>)> {
        let start = Instant::now();
        loop {
            for handle in self.handles() {
                let Ok(snapshot) = handle.read(data_region()).await else {
                    continue;
                };
                let mut iter = snapshot.iter(Cf::Default, b"", b"").unwrap();
                let mut pairs = Vec::new();
                let mut valid = iter.seek_to_first().unwrap();
                while valid {
                    pairs.push((iter.key().to_vec(), iter.value().to_vec()));
                    valid = iter.next().unwrap();
                }
                return pairs;
            }
            assert!(start.elapsed() < DEADLINE, "no leader");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    pub(crate) async fn ask_placement(&self, request: Request) -> Response {
        let start = Instant::now();
        loop {
            for handle in self.handles() {
                if let Ok(response) = handle.placement().call(request.clone()).await {
                    return response;
                }
            }
            assert!(start.elapsed() < DEADLINE, "no placement leader");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

/// Of the node with this seed: all that happens now and then happens all the time.
pub(crate) fn options(seed: u64) -> NodeOptions {
    let mut options = NodeOptions {
        disk_full_pause: Duration::from_millis(5),
        log_gc_sync_interval: Duration::from_millis(20),
        log_purge_interval: Duration::from_millis(50),
        consistency: ConsistencyOptions {
            interval: Duration::from_millis(20),
            bytes_per_s_max: 1 << 20,
        },
        ..NodeOptions::default()
    };
    options.peer.tick = Duration::from_millis(10);
    options.peer.seed = seed;
    options.peer.log_gc.count_max = 100;
    options.peer.report_ticks = 10;
    options
}

pub(crate) fn data_region() -> RequestContext {
    RequestContext {
        region_id: RegionId::FIRST_DATA,
        epoch: Epoch {
            conf_ver: 1,
            version: 1,
        },
        peer: Peer::default(),
        term: 0,
        replica_read: false,
    }
}

pub(crate) fn put(key: String) -> Command {
    Command::Write(vec![Mutation::Put {
        cf: Cf::Default,
        value: Bytes::from(key.clone().into_bytes()),
        key: Bytes::from(key.into_bytes()),
    }])
}

/// Asks again and again, until an answer is as it should be.
pub(crate) async fn until<T>(mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(start.elapsed() < DEADLINE, "no such answer");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}
