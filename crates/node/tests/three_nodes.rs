//! Three nodes on threads in one process, over engines in memory and a network of function calls.
//!
//! What depends on timing waits for a condition with a deadline; nothing sleeps for luck.

use bytes::Bytes;
use engine::mem::{Disk, MemKv, MemLog};
use engine::{Cf, KvEngine, KvIterator, RaftLog};
use futures::FutureExt;
use futures::future::{BoxFuture, ready};
use node::snap::{MemDir, OutgoingSnapshot, SnapshotDir};
use node::{
    Configured, Members, Node, NodeHandle, NodeOptions, Parts, PlacementLink, Transport, identify,
};
use placement::{Bootstrap, RegionHeartbeat, Request, Response, SplitIds, Store, StoreStats};
use raftstore::bootstrap::first_regions;
use raftstore::{Command, Mutation, Outcome, RaftMessage, RequestContext, RequestError};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};
use types::{ApiVersion, Epoch, Peer, Region, RegionId};

const DEADLINE: Duration = Duration::from_secs(30);

/// The handles of all nodes, by store id less one.
type Handles = Arc<[OnceLock<NodeHandle<MemKv>>; 3]>;

struct DirectTransport {
    handles: Handles,
    cut_off: CutOff,
}

/// Which node nothing reaches, and hears nothing from; its position.
#[derive(Clone, Default)]
struct CutOff(Arc<Mutex<Option<usize>>>);

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

struct NoLink;

impl PlacementLink for NoLink {
    fn region_heartbeat(&self, _heartbeat: RegionHeartbeat) {}
    fn store_heartbeat(&self, _stats: StoreStats) {}
    fn ask_split(&self, _: Region, _: usize) -> BoxFuture<'static, Result<Vec<SplitIds>, String>> {
        ready(Err("nobody gives ids".to_owned())).boxed()
    }
}

struct Cluster {
    nodes: Vec<Node<MemKv>>,
    handles: Handles,
    cut_off: CutOff,
    /// What is on the disk of each.
    stored: Vec<(MemKv, MemLog, MemDir)>,
}

impl Cluster {
    fn start(disks: &[Disk; 3]) -> Self {
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
            let mut options = NodeOptions {
                disk_full_pause: Duration::from_millis(5),
                log_gc_sync_interval: Duration::from_millis(20),
                log_purge_interval: Duration::from_millis(50),
                ..NodeOptions::default()
            };
            options.peer.tick = Duration::from_millis(10);
            options.peer.seed = member.store_id.get();
            options.peer.log_gc.count_max = 100;
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
                link: Arc::new(NoLink),
                placement: placement::Config::new(Bootstrap {
                    cluster_id,
                    stores: stores.collect(),
                    regions: first_regions(3, ApiVersion::V1),
                }),
                options,
                runtime: tokio::runtime::Handle::current(),
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
    async fn follower(&self) -> usize {
        for (position, handle) in self.handles().enumerate() {
            let read = handle.read(data_region()).await;
            if matches!(read, Err(RequestError::NotLeader { .. })) {
                return position;
            }
        }
        panic!("one of three leads at most");
    }

    /// Where the log of the data Region begins.
    fn log_begins(&self, position: usize) -> u64 {
        let bounds = self.stored[position].1.bounds(RegionId::FIRST_DATA);
        bounds.unwrap().map_or(0, |(first, _)| first)
    }

    async fn stop(self) {
        for node in self.nodes {
            node.stop().await.unwrap();
        }
    }

    fn handles(&self) -> impl Iterator<Item = &NodeHandle<MemKv>> {
        self.handles.iter().map(|handle| handle.get().unwrap())
    }

    /// Writes through whoever leads, as a client does.
    async fn write(&self, command: Command) -> Outcome {
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

    async fn scan(&self) -> Vec<(Vec<u8>, Vec<u8>)> {
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

    async fn ask_placement(&self, request: Request) -> Response {
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

fn data_region() -> RequestContext {
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

fn put(key: String) -> Command {
    Command::Write(vec![Mutation::Put {
        cf: Cf::Default,
        value: Bytes::from(key.clone().into_bytes()),
        key: Bytes::from(key.into_bytes()),
    }])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_writes_are_all_read_back_and_survive_a_restart_of_all_nodes() {
    let disks = [Disk::new(), Disk::new(), Disk::new()];
    let cluster = Arc::new(Cluster::start(&disks));
    let writers = (0..16).map(|writer| {
        let cluster = Arc::clone(&cluster);
        tokio::spawn(async move {
            for n in 0..50 {
                let outcome = cluster.write(put(format!("{writer:02}-{n:02}"))).await;
                assert_eq!(outcome, Outcome::Written);
            }
        })
    });
    for writer in writers.collect::<Vec<_>>() {
        writer.await.unwrap();
    }
    let before = cluster.scan().await;
    assert_eq!(before.len(), 800);
    assert!(before.iter().all(|(key, value)| key == value));
    Arc::into_inner(cluster).unwrap().stop().await;

    let cluster = Cluster::start(&disks);
    assert_eq!(cluster.scan().await, before);
    cluster.stop().await;
}

/// Asks again and again, until an answer is as it should be.
async fn until<T>(mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(start.elapsed() < DEADLINE, "no such answer");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_leader_reads_at_once_under_its_lease_and_the_others_by_asking_it() {
    let disks = [Disk::new(), Disk::new(), Disk::new()];
    let cluster = Cluster::start(&disks);
    cluster.write(put("k".to_owned())).await;
    until(async || {
        let mut at_once = cluster
            .handles()
            .filter_map(|handle| handle.read(data_region()).now_or_never()?.ok());
        let snapshot = at_once.next()?;
        assert_eq!(snapshot.get(Cf::Default, b"k").unwrap().unwrap(), "k");
        Some(())
    })
    .await;
    let mut refused = 0;
    for handle in cluster.handles() {
        let plain = handle.get(data_region(), Cf::Default, b"k").await;
        refused += usize::from(matches!(plain, Err(RequestError::NotLeader { .. })));
        let of_any = RequestContext {
            replica_read: true,
            ..data_region()
        };
        let found = until(async || {
            let read = handle.get(of_any.clone(), Cf::Default, b"k").await;
            read.ok()
        });
        assert_eq!(found.await.unwrap().unwrap(), "k");
    }
    assert!(refused >= 1, "one leads");
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_placement_driver_serves_where_its_region_leads_and_goes_on_after_a_restart() {
    let disks = [Disk::new(), Disk::new(), Disk::new()];
    let mut last_id = 0;
    let mut last_timestamp = types::Timestamp::ZERO;
    for _ in 0..3 {
        let cluster = Cluster::start(&disks);
        for _ in 0..5 {
            match cluster.ask_placement(Request::AllocId).await {
                Response::Id(id) => {
                    assert!(id > last_id, "{id} after {last_id}");
                    last_id = id;
                }
                other => panic!("unexpected {other:?}"),
            }
            match cluster.ask_placement(Request::Tso { count: 3 }).await {
                Response::Timestamps { last, count: 3 } => {
                    assert!(last > last_timestamp);
                    last_timestamp = last;
                }
                other => panic!("unexpected {other:?}"),
            }
        }
        let key = b"k".to_vec();
        match cluster.ask_placement(Request::GetRegion { key }).await {
            Response::Region(Some(route)) => assert_eq!(route.region.id, RegionId::FIRST_DATA),
            other => panic!("unexpected {other:?}"),
        }
        cluster.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn full_disks_refuse_writes_stop_nobody_and_are_forgotten_once_there_is_room() {
    let disks = [Disk::new(), Disk::new(), Disk::new()];
    let cluster = Arc::new(Cluster::start(&disks));
    cluster.write(put("before".to_owned())).await;
    disks.iter().for_each(|disk| disk.set_full(true));
    let hanging = tokio::spawn({
        let cluster = Arc::clone(&cluster);
        async move { cluster.write(put("hanging".to_owned())).await }
    });
    let start = Instant::now();
    loop {
        let writes = cluster.handles().map(async |handle| {
            let write = handle.write(data_region(), put("refused".to_owned()));
            tokio::time::timeout(Duration::from_millis(50), write).await
        });
        let results = futures::future::join_all(writes).await;
        if results
            .iter()
            .any(|result| matches!(result, Ok(Err(RequestError::DiskFull))))
        {
            break;
        }
        assert!(
            start.elapsed() < DEADLINE,
            "nobody says that the disk is full"
        );
    }
    disks.iter().for_each(|disk| disk.set_full(false));
    hanging.await.unwrap();
    let found = cluster.scan().await;
    assert!(found.iter().any(|(key, _)| key == b"hanging"));
    Arc::into_inner(cluster).unwrap().stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_whose_disk_is_full_stops_when_it_is_asked_to() {
    let disks = [Disk::new(), Disk::new(), Disk::new()];
    let cluster = Cluster::start(&disks);
    cluster.write(put("before".to_owned())).await;
    disks.iter().for_each(|disk| disk.set_full(true));
    for handle in cluster.handles() {
        let write = handle.write(data_region(), put("given up".to_owned()));
        let _ = tokio::time::timeout(Duration::from_millis(50), write).await;
    }
    cluster.stop().await;
    disks.iter().for_each(|disk| disk.set_full(false));
    let cluster = Cluster::start(&disks);
    cluster.write(put("after".to_owned())).await;
    let found = cluster.scan().await;
    assert!(found.iter().any(|(key, _)| key == b"before"));
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_was_away_for_longer_than_the_log_reaches_back_gets_a_snapshot() {
    let disks = [Disk::new(), Disk::new(), Disk::new()];
    let cluster = Cluster::start(&disks);
    cluster.write(put("before".to_owned())).await;
    let away = cluster.follower().await;
    *cluster.cut_off.0.lock().unwrap() = Some(away);
    for n in 0..200 {
        cluster.write(put(format!("{n:04}"))).await;
    }
    let start = Instant::now();
    while cluster.log_begins((away + 1) % 3) < 100 {
        assert!(start.elapsed() < DEADLINE, "the log is not cut");
        cluster.write(put("again".to_owned())).await;
    }
    assert!(cluster.log_begins(away) < 100);
    *cluster.cut_off.0.lock().unwrap() = None;
    let (kv, _, files) = &cluster.stored[away];
    while kv.get(Cf::Default, b"z0199").unwrap().is_none() {
        assert!(start.elapsed() < DEADLINE, "it does not catch up");
        cluster.write(put("meanwhile".to_owned())).await;
    }
    while !files.list().unwrap().is_empty() {
        assert!(start.elapsed() < DEADLINE, "the file stays");
        cluster.write(put("meanwhile".to_owned())).await;
    }
    let before = cluster.scan().await;
    assert!(before.len() >= 202);
    cluster.stop().await;
    let cluster = Cluster::start(&disks);
    assert_eq!(cluster.scan().await, before);
    cluster.stop().await;
}
