//! The host over a Region whose answers the test decides, and over a real node where that matters.

use super::region::{Pairs, PlacementRegion};
use super::{Host, PlacementHandle, channel};
use crate::handle::NodeHandle;
use crate::meters::Meters;
use crate::placement_host::handle::PlacementObserver;
use crate::ports::{LeadershipObserver, PlacementLink, Transport};
use crate::snap::{MemDir, OutgoingSnapshot};
use crate::{Configured, Members, Node, NodeOptions, Parts, identify};
use engine::mem::{Disk, MemKv};
use futures::FutureExt;
use futures::future::{BoxFuture, ready};
use futures::poll;
use parking_lot::Mutex;
use placement::{
    Bootstrap, Config, Error, RegionHeartbeat, Request, Response, SplitIds, Store, StoreStats,
};
use raftstore::bootstrap::first_regions;
use raftstore::{Command, Leadership, Mutation, RaftMessage, RequestContext, RequestError};
use std::collections::{BTreeMap, VecDeque};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;
use types::{ApiVersion, ClusterId, Epoch, Peer, PeerId, Region, RegionId, StoreId};

/// A Region that commits everything, but reads as the test lets it.
#[derive(Clone)]
struct FakeRegion(Arc<Inner>);

struct Inner {
    pairs: Mutex<BTreeMap<Vec<u8>, Vec<u8>>>,
    /// Reads of the state that may go on.
    loads: Semaphore,
    /// What the next reads of the state fail with.
    load_errors: Mutex<VecDeque<&'static str>>,
    /// What the next confirmations fail with.
    confirm_errors: Mutex<VecDeque<RequestError>>,
    /// The contexts of all writes.
    written: Mutex<Vec<RequestContext>>,
}

impl FakeRegion {
    fn new() -> Self {
        Self(Arc::new(Inner {
            pairs: Mutex::default(),
            loads: Semaphore::new(0),
            load_errors: Mutex::default(),
            confirm_errors: Mutex::default(),
            written: Mutex::default(),
        }))
    }
}

impl PlacementRegion for FakeRegion {
    fn read_all(&self, _: RequestContext) -> BoxFuture<'static, Result<Pairs, String>> {
        let inner = Arc::clone(&self.0);
        Box::pin(async move {
            inner.loads.acquire().await.expect("it is open").forget();
            match inner.load_errors.lock().pop_front() {
                Some(error) => Err(error.to_owned()),
                None => Ok(inner.pairs.lock().clone().into_iter().collect()),
            }
        })
    }

    fn confirm(&self, _: RequestContext) -> BoxFuture<'static, Result<(), RequestError>> {
        let error = self.0.confirm_errors.lock().pop_front();
        Box::pin(async move { error.map_or(Ok(()), Err) })
    }

    fn write(
        &self,
        context: RequestContext,
        command: Command,
    ) -> BoxFuture<'static, Result<(), RequestError>> {
        let Command::Write(mutations) = command else {
            panic!("the driver only writes");
        };
        let mut pairs = self.0.pairs.lock();
        for mutation in mutations {
            match mutation {
                Mutation::Put { key, value, .. } => pairs.insert(key.to_vec(), value.to_vec()),
                Mutation::Delete { key, .. } => pairs.remove(&key[..]),
                Mutation::DeleteRange { .. } => panic!("the driver deletes no ranges"),
            };
        }
        self.0.written.lock().push(context);
        Box::pin(async { Ok(()) })
    }
}

/// The host of store 1 with its doors.
struct World {
    region: FakeRegion,
    handle: PlacementHandle,
    observer: PlacementObserver,
}

impl World {
    fn start() -> Self {
        let (handle, observer, inbox) = channel(StoreId(1));
        let region = FakeRegion::new();
        let config = Config::new(Bootstrap {
            cluster_id: ClusterId(9),
            stores: Vec::new(),
            regions: first_regions(1, ApiVersion::V1),
        });
        tokio::spawn(Host::new(region.clone(), config, &inbox, Meters::default()).run(inbox));
        Self {
            region,
            handle,
            observer,
        }
    }

    /// The replica here hears of a leader.
    fn leads(&self, store: u64, term: u64, epoch: Epoch) {
        self.observer.leadership(&Leadership {
            region_id: RegionId::PLACEMENT,
            leader: Some(Peer {
                id: PeerId(10 + store),
                store_id: StoreId(store),
                ..Peer::default()
            }),
            is_self: store == 1,
            term,
            epoch,
        });
    }

    /// Store 1 is elected; its state can be read `loads` times.
    fn elect(&self, term: u64, loads: usize) {
        self.region.0.loads.add_permits(loads);
        self.leads(1, term, Epoch::default());
    }
}

const TSO: Request = Request::Tso { count: 1 };

#[tokio::test]
async fn a_node_whose_replica_is_gone_believes_what_it_is_told_of_the_leader() {
    let world = World::start();
    world.leads(2, 7, Epoch::default());
    world.observer.removed(RegionId::FIRST_DATA);
    assert_eq!(world.handle.leader(), Some(StoreId(2)));
    world.observer.removed(RegionId::PLACEMENT);
    assert_eq!(
        world.handle.leader(),
        Some(StoreId(2)),
        "until it hears otherwise"
    );
    world.handle.tell_leader(Some(StoreId(9)));
    assert_eq!(world.handle.leader(), Some(StoreId(9)));
}

#[tokio::test]
async fn whoever_is_told_of_a_new_leader_is_not_sent_away_while_it_reads_its_state() {
    let world = World::start();
    world.elect(6, 0);
    assert_eq!(world.handle.leader(), Some(StoreId(1)));
    let mut asked = pin!(world.handle.call(TSO));
    for _ in 0..100 {
        assert!(poll!(asked.as_mut()).is_pending());
        tokio::task::yield_now().await;
    }
    world.region.0.loads.add_permits(1);
    assert!(matches!(asked.await, Ok(Response::Timestamps { .. })));
}

#[tokio::test]
async fn a_state_that_can_not_be_read_is_read_again() {
    let world = World::start();
    world.region.0.load_errors.lock().extend(["busy", "broken"]);
    world.elect(6, 3);
    assert_eq!(
        world.handle.call(Request::IsBootstrapped).await,
        Ok(Response::Done)
    );
}

#[tokio::test]
async fn a_confirmation_that_found_no_answer_is_asked_for_again() {
    let world = World::start();
    let busy = || RequestError::ServerIsBusy { reason: "full" };
    let outdated = RequestError::EpochNotMatch {
        current: Vec::new(),
    };
    let errors = [busy(), busy(), outdated];
    world.region.0.confirm_errors.lock().extend(errors);
    world.elect(6, 1);
    assert!(matches!(
        world.handle.call(TSO).await,
        Ok(Response::Timestamps { .. })
    ));
}

#[tokio::test]
async fn a_leader_that_was_overtaken_says_so_and_does_not_name_itself() {
    let world = World::start();
    let errors = [
        RequestError::StaleCommand,
        RequestError::NotLeader {
            region_id: RegionId::PLACEMENT,
            leader: None,
        },
    ];
    world.region.0.confirm_errors.lock().extend(errors);
    world.elect(6, 1);
    for _ in 0..2 {
        let refused = world.handle.call(TSO).await;
        assert_eq!(refused, Err(Error::NOT_LEADER));
    }
}

#[tokio::test]
async fn a_node_that_does_not_lead_names_the_leader() {
    let world = World::start();
    world.elect(6, 1);
    world.handle.call(TSO).await.unwrap();
    world.leads(3, 7, Epoch::default());
    let leader = Some(StoreId(3));
    assert_eq!(
        world.handle.call(TSO).await,
        Err(Error::NotLeader { leader })
    );
}

#[tokio::test]
async fn a_new_epoch_of_the_same_term_is_written_with() {
    let world = World::start();
    world.elect(6, 1);
    world.handle.call(TSO).await.unwrap();
    let epoch = Epoch {
        conf_ver: 4,
        version: 2,
    };
    world.leads(1, 6, epoch);
    world.handle.call(Request::AllocId).await.unwrap();
    let written = world.region.0.written.lock();
    assert_eq!(written.first().unwrap().epoch, Epoch::default());
    assert_eq!(written.last().unwrap().epoch, epoch);
}

#[tokio::test]
async fn a_node_without_a_replica_believes_what_it_is_told_and_others_what_they_hear() {
    let (handle, observer, _inbox) = channel(StoreId(4));
    handle.tell_leader(Some(StoreId(2)));
    assert_eq!(handle.leader(), Some(StoreId(2)));
    handle.tell_leader(None);
    assert_eq!(handle.leader(), None);
    handle.tell_leader(Some(StoreId(2)));
    let mut heard = Leadership {
        region_id: RegionId::PLACEMENT,
        leader: Some(Peer {
            store_id: StoreId(3),
            ..Peer::default()
        }),
        is_self: false,
        term: 6,
        epoch: Epoch::default(),
    };
    observer.leadership(&heard);
    assert_eq!(handle.leader(), Some(StoreId(3)));
    (heard.leader, heard.term) = (None, 7);
    observer.leadership(&heard);
    assert_eq!(handle.leader(), None, "what it was told is older");
}

#[tokio::test]
async fn leadership_is_lost_even_if_it_is_won_again() {
    let world = World::start();
    let at_once = tokio::time::timeout(Duration::from_secs(9), world.handle.leadership_lost());
    assert!(at_once.await.is_ok(), "it does not lead yet");
    world.elect(6, 1);
    let mut lost = pin!(world.handle.leadership_lost());
    world.leads(1, 6, Epoch::default());
    assert!(poll!(lost.as_mut()).is_pending());
    world.leads(2, 7, Epoch::default());
    world.leads(1, 8, Epoch::default());
    assert!(poll!(lost.as_mut()).is_ready());
}

struct Nowhere;

impl Transport for Nowhere {
    fn send(&self, _message: RaftMessage) {}
    fn send_snapshot(&self, _snapshot: OutgoingSnapshot) {}
    fn flush(&self) {}
}

impl PlacementLink for Nowhere {
    fn region_heartbeat(&self, _heartbeat: RegionHeartbeat) {}
    fn store_heartbeat(&self, _stats: StoreStats) {}
    fn split_done(&self, _: Vec<Region>) {}
    fn ask_split(&self, _: Region, _: usize) -> BoxFuture<'static, Result<Vec<SplitIds>, String>> {
        ready(Err("nobody gives ids".to_owned())).boxed()
    }
}

fn lone_node() -> Node<MemKv> {
    let disk = Disk::new();
    let kv = disk.open_kv("kv").unwrap();
    let configured = Configured {
        name: "a".to_owned(),
        members: Members::parse("a=h:1").unwrap(),
        api_version: ApiVersion::V1,
        token: String::new(),
    };
    let identified = identify(&kv, &configured).unwrap();
    let store = Store {
        id: StoreId(1),
        address: "h:1".to_owned(),
        ..Store::default()
    };
    let node = Node::start(Parts {
        placement: Config::new(Bootstrap {
            cluster_id: identified.identity.cluster_id,
            stores: vec![store],
            regions: first_regions(1, ApiVersion::V1),
        }),
        identified,
        kv,
        log: disk.open_log("log").unwrap(),
        snapshots: Arc::new(MemDir::default()),
        transport: Arc::new(Nowhere),
        link: Arc::new(Nowhere),
        options: NodeOptions {
            busy_wait: Duration::ZERO,
            ..NodeOptions::default()
        },
        runtime: tokio::runtime::Handle::current(),
        progress: Arc::new(|_, _| ()),
    });
    node.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_driver_works_while_clients_have_used_up_all_bounds() {
    let node = lone_node();
    let handle: NodeHandle<MemKv> = node.handle();
    let all = handle.inner.write_bytes_max as u32;
    let _writes = handle.inner.write_bytes.acquire_many(all).await.unwrap();
    // A lone voter elects itself at its start.
    while handle.placement().leader().is_none() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let id = handle.placement().call(Request::AllocId).await;
    assert!(matches!(id, Ok(Response::Id(_))), "{id:?}");
    let timestamp = handle.placement().call(TSO).await;
    assert!(
        matches!(timestamp, Ok(Response::Timestamps { .. })),
        "{timestamp:?}"
    );
    node.stop().await.unwrap();
}
