//! The link to the placement driver, against the ports of two nodes.

use super::Server;
use crate::backend::Backend;
use crate::fake::FakeNode;
use crate::limits::Limits;
use crate::{LinkNode, PdLink};
use node::{DEFAULT_TOKEN, PlacementLink};
use placement::{RegionHeartbeat, Request, Response, Store, StoreStats};
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
        PdLink::new(identity, members, store)
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

#[tokio::test]
async fn reports_follow_the_leader_and_are_asked_for_again_after_a_change() {
    let cluster = Cluster::start().await;
    let link = cluster.link();
    let leader = Arc::new(AtomicU64::new(1));
    let asked = Arc::new(AtomicU64::new(0));
    let (now, again, report) = (
        leader.clone(),
        (asked.clone(), link.clone()),
        cluster.report(),
    );
    let task = tokio::spawn(link.clone().run(LinkNode {
        leader: Box::new(move || Some(StoreId(now.load(Ordering::SeqCst)))),
        report_all: Box::new(move || {
            again.0.fetch_add(1, Ordering::SeqCst);
            again.1.region_heartbeat(report.clone());
        }),
        complete: Box::new(|stats| StoreStats {
            capacity_bytes: 1_000,
            ..stats
        }),
    }));
    until_region_is_led(&cluster.nodes[0]).await;
    leader.store(2, Ordering::SeqCst);
    until_region_is_led(&cluster.nodes[1]).await;
    assert_eq!(asked.load(Ordering::SeqCst), 2);
    task.abort();
}

#[tokio::test]
async fn a_node_that_knows_no_leader_asks_the_members_and_registers_its_store() {
    let cluster = Cluster::start().await;
    let link = cluster.link();
    link.store_heartbeat(StoreStats {
        store_id: StoreId(2),
        region_count: 3,
        ..Default::default()
    });
    let task = tokio::spawn(link.run(LinkNode {
        leader: Box::new(|| None),
        report_all: Box::new(|| ()),
        complete: Box::new(|stats| StoreStats {
            capacity_bytes: 1_000,
            ..stats
        }),
    }));
    let store = loop {
        let answer = cluster.nodes[0]
            .place(Request::GetStore {
                store_id: StoreId(2),
            })
            .await;
        let Ok(Response::Store(view)) = answer else {
            panic!("{answer:?}")
        };
        if view.stats.is_some() {
            break view;
        }
        tokio::task::yield_now().await;
    };
    assert_eq!(store.store.version, "as-registered");
    let stats = store.stats.unwrap();
    assert_eq!((stats.region_count, stats.capacity_bytes), (3, 1_000));
    task.abort();
}
