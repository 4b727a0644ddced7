//! The link to the placement driver, against the ports of two nodes.

use super::Server;
use crate::backend::Backend;
use crate::fake::FakeNode;
use crate::limits::Limits;
use crate::{AddressBook, LinkNode, PdLink};
use node::{DEFAULT_TOKEN, Members, PlacementLink};
use parking_lot::Mutex;
use placement::{
    Control, Instruction, OperatorRequest, RegionHeartbeat, RegionInstruction, Request, Response,
    Store, StoreStats, StoreView,
};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::net::TcpListener;
use types::{ApiVersion, KeyRange, PeerId, RegionId, StoreId};

/// Both nodes take themselves for the placement leader; the link follows what it is told.
struct Cluster {
    nodes: [FakeNode; 2],
    _servers: [Server; 2],
}

impl Cluster {
    async fn start() -> Self {
        let bind = || TcpListener::bind("127.0.0.1:0");
        let listeners = [bind().await.unwrap(), bind().await.unwrap()];
        let address = |listener: &TcpListener| listener.local_addr().unwrap();
        let list = format!(
            "n1={},n2={}",
            address(&listeners[0]),
            address(&listeners[1])
        );
        let node = || FakeNode::in_cluster(&list, ApiVersion::V1, KeyRange::default());
        let nodes = [node(), node()];
        let [first, second] = listeners;
        let servers = [
            Server::start_on(first, nodes[0].clone(), Limits::default()),
            Server::start_on(second, nodes[1].clone(), Limits::default()),
        ];
        Self {
            nodes,
            _servers: servers,
        }
    }

    fn link(&self) -> PdLink {
        let members = self.nodes[0].members();
        let identity = members
            .identify("n2", ApiVersion::V1, DEFAULT_TOKEN)
            .unwrap();
        let store = Store {
            id: StoreId(2),
            address: identity.address.clone(),
            version: "as-registered".to_owned(),
            ..Store::default()
        };
        let book = AddressBook::new(&identity, members, Vec::new());
        PdLink::new(identity, book, store)
    }

    fn report(&self) -> RegionHeartbeat {
        RegionHeartbeat {
            region: self.nodes[0].region(),
            leader: PeerId(11),
            term: 6,
            ..RegionHeartbeat::default()
        }
    }
}

async fn until_region_is_led(node: &FakeNode) {
    let ask = || {
        node.place(Request::GetRegionById {
            region_id: RegionId(2),
        })
    };
    while !matches!(ask().await, Ok(Response::Region(Some(route))) if route.leader.is_some()) {
        tokio::task::yield_now().await;
    }
}

/// What a link has of its node in a test: who leads as the node knows it, and what it was told.
#[derive(Clone, Default)]
struct Beside {
    /// Zero: unknown.
    leader: Arc<AtomicU64>,
    reports_asked: Arc<AtomicU64>,
    told: Arc<Mutex<Vec<Option<StoreId>>>>,
    remembered: Arc<Mutex<Vec<Members>>>,
    instructed: Arc<Mutex<Vec<RegionInstruction>>>,
}

impl Beside {
    fn leads(&self, store: u64) {
        self.leader.store(store, Ordering::SeqCst);
    }

    fn reports_asked(&self) -> u64 {
        self.reports_asked.load(Ordering::SeqCst)
    }

    /// Whoever asks for reports gets `report`.
    fn node(&self, link: PdLink, report: RegionHeartbeat) -> LinkNode {
        let (knows, asked, told) = (self.clone(), self.clone(), self.clone());
        let (heard, remembers) = (self.clone(), self.clone());
        LinkNode {
            leader: Box::new(move || match knows.leader.load(Ordering::SeqCst) {
                0 => None,
                store => Some(StoreId(store)),
            }),
            remember: Box::new(move |members| remembers.remembered.lock().push(members)),
            tell_leader: Box::new(move |leader| told.told.lock().push(leader)),
            report_all: Box::new(move || {
                asked.reports_asked.fetch_add(1, Ordering::SeqCst);
                link.region_heartbeat(report.clone());
            }),
            complete: Box::new(|stats| StoreStats {
                capacity_bytes: 1_000,
                ..stats
            }),
            instruct: Box::new(move |told| heard.instructed.lock().push(told)),
        }
    }
}

async fn until(condition: impl Fn() -> bool) {
    while !condition() {
        tokio::task::yield_now().await;
    }
}

async fn store_2(node: &FakeNode) -> StoreView {
    let store_id = StoreId(2);
    match node.place(Request::GetStore { store_id }).await {
        Ok(Response::Store(view)) => *view,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn reports_follow_the_leader_and_are_asked_for_again_after_a_change() {
    let cluster = Cluster::start().await;
    let (link, beside) = (cluster.link(), Beside::default());
    beside.leads(1);
    let node = beside.node(link.clone(), cluster.report());
    let task = tokio::spawn(link.run(node));
    until_region_is_led(&cluster.nodes[0]).await;
    beside.leads(2);
    until_region_is_led(&cluster.nodes[1]).await;
    assert_eq!(beside.reports_asked(), 2);
    task.abort();
}

#[tokio::test]
async fn a_split_is_told_at_once_and_as_a_whole() {
    let cluster = Cluster::start().await;
    let (link, beside) = (cluster.link(), Beside::default());
    beside.leads(1);
    let whole = cluster.nodes[0].region();
    let (mut left, mut kept) = (whole.clone(), whole.clone());
    (left.id, left.range.end) = (RegionId(9), b"m".to_vec());
    kept.range.start = b"m".to_vec();
    let mut ids = 90..;
    left.peers
        .iter_mut()
        .for_each(|peer| peer.id = PeerId(ids.next().unwrap()));
    for part in [&mut left, &mut kept] {
        part.epoch.version += 1;
    }
    link.split_done(vec![left.clone(), kept.clone()]);
    let report = RegionHeartbeat {
        region: kept.clone(),
        ..cluster.report()
    };
    let task = tokio::spawn(link.clone().run(beside.node(link, report)));
    let leader = &cluster.nodes[0];
    until_region_is_led(leader).await;
    let all = Request::ScanRegions {
        start: Vec::new(),
        end: Vec::new(),
        limit: 0,
    };
    let Ok(Response::Regions(routes)) = leader.place(all).await else {
        panic!("no Regions");
    };
    let shapes: Vec<_> = routes.iter().map(|route| (*route.region).clone()).collect();
    assert_eq!(shapes, [left, kept]);
    task.abort();
}

#[tokio::test]
async fn a_leader_that_was_deposed_and_leads_again_hears_all_reports_again() {
    let cluster = Cluster::start().await;
    let (link, beside) = (cluster.link(), Beside::default());
    beside.leads(1);
    let node = beside.node(link.clone(), cluster.report());
    let task = tokio::spawn(link.run(node));
    let leader = &cluster.nodes[0];
    until_region_is_led(leader).await;
    leader.depose();
    leader.elect(7);
    until_region_is_led(leader).await;
    assert_eq!(beside.reports_asked(), 2);
    task.abort();
}

#[tokio::test]
async fn a_node_that_knows_no_leader_asks_the_members_and_registers_its_store() {
    let cluster = Cluster::start().await;
    let (link, beside) = (cluster.link(), Beside::default());
    link.store_heartbeat(StoreStats {
        store_id: StoreId(2),
        region_count: 3,
        ..Default::default()
    });
    let leader = &cluster.nodes[0];
    let before = store_2(leader).await;
    assert!(!before.store.is_registered());
    let node = beside.node(link.clone(), cluster.report());
    let task = tokio::spawn(link.run(node));
    let store = loop {
        let view = store_2(leader).await;
        if view.stats.is_some() {
            break view;
        }
        tokio::task::yield_now().await;
    };
    assert!(store.store.is_registered());
    assert_eq!(store.store.version, "as-registered");
    let stats = store.stats.unwrap();
    assert_eq!((stats.region_count, stats.capacity_bytes), (3, 1_000));
    assert_eq!(*beside.told.lock(), [Some(StoreId(1))]);
    leader.depose();
    until(|| beside.told.lock().len() > 1).await;
    assert_eq!(beside.told.lock()[1], None, "it does not know any more");
    task.abort();
}

#[tokio::test]
async fn a_store_whose_heartbeat_is_refused_registers_again() {
    let cluster = Cluster::start().await;
    let (link, beside) = (cluster.link(), Beside::default());
    beside.leads(1);
    let node = beside.node(link.clone(), cluster.report());
    let task = tokio::spawn(link.clone().run(node));
    until(|| beside.reports_asked() == 1).await;
    // No store has this id: the leader says so in the header.
    link.store_heartbeat(StoreStats {
        store_id: StoreId(9),
        ..Default::default()
    });
    until(|| beside.reports_asked() == 2).await;
    task.abort();
}

#[tokio::test]
async fn what_the_placement_driver_wants_reaches_the_node() {
    let cluster = Cluster::start().await;
    let (link, beside) = (cluster.link(), Beside::default());
    beside.leads(1);
    let node = beside.node(link.clone(), cluster.report());
    let task = tokio::spawn(link.clone().run(node));
    let leader = &cluster.nodes[0];
    until_region_is_led(leader).await;
    let split = Control::AddOperator(OperatorRequest::Split {
        region_id: RegionId(2),
        keys: vec![b"k".to_vec()],
    });
    let begun = leader.place(Request::Control(Box::new(split))).await;
    assert_eq!(begun, Ok(Response::Done));
    // At the latest with the answer to the next report.
    link.region_heartbeat(cluster.report());
    until(|| !beside.instructed.lock().is_empty()).await;
    let told = beside.instructed.lock()[0].clone();
    assert_eq!((told.region_id, told.leader.id), (RegionId(2), PeerId(11)));
    let keys = vec![b"k".to_vec()];
    assert_eq!(told.instruction, Instruction::Split { keys });
    task.abort();
}

#[tokio::test]
async fn members_that_have_moved_are_learned_of_and_remembered() {
    let cluster = Cluster::start().await;
    let (link, beside) = (cluster.link(), Beside::default());
    beside.leads(1);
    let leader = &cluster.nodes[0];
    let moved = Store {
        id: StoreId(1),
        address: "127.0.0.1:9".to_owned(),
        ..Store::default()
    };
    let registered = leader.place(Request::PutStore(moved)).await;
    assert_eq!(registered, Ok(Response::Done));
    let node = beside.node(link.clone(), cluster.report());
    let task = tokio::spawn(link.clone().run(node));
    until(|| !beside.remembered.lock().is_empty()).await;
    let remembered = beside.remembered.lock()[0].clone();
    let address = |store| remembered.on(StoreId(store)).unwrap().address.clone();
    assert_eq!(address(1), "127.0.0.1:9");
    let here = leader.members().on(StoreId(2)).unwrap().address.clone();
    assert_eq!(address(2), here);
    assert_eq!(
        link.store_address(StoreId(1)).await.as_deref(),
        Ok("127.0.0.1:9")
    );
    let unknown = link.store_address(StoreId(99)).await.unwrap_err();
    assert!(unknown.contains("99"), "{unknown}");
    task.abort();
}
