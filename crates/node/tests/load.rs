//! What clients do to one node, as the placement driver hears of it, and what comes of it. The driver is the
//! node's own; the link to it is a function call.
//!
//! What depends on timing waits for a condition with a deadline; nothing sleeps for luck.

use bytes::Bytes;
use engine::mem::{Disk, MemKv};
use engine::{Cf, KvIterator};
use futures::FutureExt;
use futures::future::{BoxFuture, ready};
use node::snap::{MemDir, OutgoingSnapshot};
use node::{Configured, Members, Node, NodeHandle, NodeOptions, Parts, PlacementLink, Transport};
use placement::{
    Bootstrap, Control, RegionHeartbeat, Request, Response, SplitIds, Store, StoreHeat, StoreStats,
    Traffic,
};
use raftstore::bootstrap::first_regions;
use raftstore::{Command, Mutation, RaftMessage, RequestContext, RequestError};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};
use types::{ApiVersion, Epoch, Region, RegionId};

const DEADLINE: Duration = Duration::from_secs(30);

struct Alone;

impl Transport for Alone {
    fn send(&self, _: RaftMessage) {}
    fn send_snapshot(&self, _: OutgoingSnapshot) {}
    fn flush(&self) {}
}

/// Reports to the driver of the node itself, and remembers what of it speaks of traffic.
struct Link {
    handle: OnceLock<NodeHandle<MemKv>>,
    runtime: tokio::runtime::Handle,
    region_reports: Mutex<Vec<RegionHeartbeat>>,
    store_reports: Mutex<Vec<StoreStats>>,
}

impl Link {
    fn tell(&self, request: Request) {
        if let Some(handle) = self.handle.get() {
            let placement = handle.placement().clone();
            self.runtime
                .spawn(async move { placement.call(request).await });
        }
    }

    /// All that was told of Regions.
    fn sum(&self) -> Traffic {
        let reports = self.region_reports.lock().unwrap();
        let mut sum = Traffic::default();
        for told in reports.iter().map(|report| report.traffic) {
            sum.interval_s += told.interval_s;
            sum.written_bytes += told.written_bytes;
            sum.written_keys += told.written_keys;
            sum.read_bytes += told.read_bytes;
            sum.read_keys += told.read_keys;
            sum.read_requests += told.read_requests;
            sum.write_requests += told.write_requests;
        }
        sum
    }
}

impl PlacementLink for Link {
    fn region_heartbeat(&self, heartbeat: RegionHeartbeat) {
        self.region_reports.lock().unwrap().push(heartbeat.clone());
        self.tell(Request::RegionHeartbeat(Box::new(heartbeat)));
    }

    fn store_heartbeat(&self, stats: StoreStats) {
        self.store_reports.lock().unwrap().push(stats);
        self.tell(Request::StoreHeartbeat(stats));
    }

    fn split_done(&self, parts: Vec<Region>) {
        self.tell(Request::SplitDone(parts));
    }

    fn ask_split(
        &self,
        region: Region,
        parts: usize,
    ) -> BoxFuture<'static, Result<Vec<SplitIds>, String>> {
        let Some(handle) = self.handle.get() else {
            return ready(Err("the node starts".to_owned())).boxed();
        };
        let placement = handle.placement().clone();
        let parts = u32::try_from(parts).unwrap();
        let ask = Request::Control(Box::new(Control::AskBatchSplit { region, parts }));
        async move {
            match placement.call(ask).await {
                Ok(Response::SplitIds(ids)) => Ok(ids),
                other => Err(format!("{other:?}")),
            }
        }
        .boxed()
    }
}

struct One {
    node: Node<MemKv>,
    store: Store,
    link: Arc<Link>,
}

impl One {
    fn start(change: impl FnOnce(&mut NodeOptions)) -> Self {
        let members = Members::parse("a=h:1").unwrap();
        let disk = Disk::new();
        let (kv, log) = (disk.open_kv("kv").unwrap(), disk.open_log("log").unwrap());
        let configured = Configured {
            name: "a".to_owned(),
            members: members.clone(),
            api_version: ApiVersion::V1,
            token: String::new(),
        };
        let identified = node::identify(&kv, &configured).unwrap();
        let identity = identified.identity.clone();
        let store = Store {
            id: identity.store_id,
            address: identity.address.clone(),
            ..Store::default()
        };
        let link = Arc::new(Link {
            handle: OnceLock::new(),
            runtime: tokio::runtime::Handle::current(),
            region_reports: Mutex::default(),
            store_reports: Mutex::default(),
        });
        let mut options = NodeOptions {
            store_report_ticks: 20,
            ..NodeOptions::default()
        };
        options.peer.tick = Duration::from_millis(10);
        options.peer.report_ticks = 20;
        change(&mut options);
        let node = Node::start(Parts {
            identified,
            kv,
            log,
            snapshots: Arc::new(MemDir::default()),
            transport: Arc::new(Alone),
            link: Arc::clone(&link) as _,
            placement: placement::Config::new(Bootstrap {
                cluster_id: identity.cluster_id,
                stores: vec![store.clone()],
                regions: first_regions(1, ApiVersion::V1),
            }),
            options,
            runtime: tokio::runtime::Handle::current(),
            progress: Arc::new(|_, _| ()),
        });
        let node = node.unwrap();
        assert!(link.handle.set(node.handle()).is_ok());
        Self { node, store, link }
    }

    fn handle(&self) -> NodeHandle<MemKv> {
        self.node.handle()
    }

    async fn put(&self, key: &[u8], value: &[u8]) {
        self.write(vec![put(key, value)]).await;
    }

    async fn write(&self, mutations: Vec<Mutation>) {
        let command = Command::Write(mutations);
        until(|| async {
            let written = self.handle().write(context(), command.clone()).await;
            written.is_ok().then_some(())
        })
        .await;
    }

    async fn get(&self, key: &[u8]) -> Result<Option<Bytes>, RequestError> {
        let found = self.handle().get(context(), Cf::Default, key).await?;
        Ok(found.unwrap())
    }

    async fn rows(&self) -> usize {
        let view = self.handle().read(context()).await.unwrap();
        let mut iter = view.iter(Cf::Default, &[], &[]).unwrap();
        let mut rows = 0;
        let mut valid = iter.seek_to_first().unwrap();
        while valid {
            rows += 1;
            valid = iter.next().unwrap();
        }
        rows
    }

    async fn control(&self, control: Control) -> Response {
        self.ask(Request::Control(Box::new(control))).await
    }

    async fn ask(&self, request: Request) -> Response {
        until(|| async {
            let answer = self.handle().placement().call(request.clone()).await;
            answer.ok()
        })
        .await
    }

    async fn heat(&self) -> Vec<StoreHeat> {
        match self.control(Control::ListHot).await {
            Response::Hot(heat) => heat,
            other => panic!("{other:?}"),
        }
    }
}

fn put(key: &[u8], value: &[u8]) -> Mutation {
    Mutation::Put {
        cf: Cf::Default,
        key: Bytes::copy_from_slice(key),
        value: Bytes::copy_from_slice(value),
    }
}

fn context() -> RequestContext {
    RequestContext {
        region_id: RegionId::FIRST_DATA,
        epoch: Epoch {
            conf_ver: 1,
            version: 1,
        },
        ..RequestContext::default()
    }
}

async fn until<T, F: Future<Output = Option<T>>>(look: impl Fn() -> F) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(start.elapsed() < DEADLINE, "it does not come");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn reports_tell_what_was_read_and_written_once_and_exactly() {
    let one = One::start(|_| {});
    let before = one.link.sum();
    assert_eq!((before.written_keys, before.read_keys), (0, 0));
    for key in 0..10u8 {
        one.put(&[b'k', key], &[7; 98]).await;
    }
    assert_eq!(one.get(b"k\x03").await.unwrap().unwrap().len(), 98);
    assert_eq!(one.get(b"nothing").await.unwrap(), None);
    assert_eq!(one.rows().await, 10);
    let told = until(|| async { Some(one.link.sum()).filter(|sum| sum.read_requests == 3) }).await;
    // The engine's keys have one byte more, for writes are counted as the engine gets them.
    assert_eq!((told.written_keys, told.written_bytes), (10, 10 * 101));
    assert_eq!(told.write_requests, 10);
    assert_eq!((told.read_keys, told.read_bytes), (12, 100 + 7 + 10 * 100));
    let is_told = |stats: &StoreStats| stats.traffic.read_bytes > 0;
    until(|| async {
        let reports = one.link.store_reports.lock().unwrap();
        let told = reports.iter().find(|stats| is_told(stats))?.traffic;
        assert_eq!(told.interval_s, 1);
        assert!(
            reports
                .iter()
                .all(|stats| (1..=100).contains(&stats.slow_score))
        );
        Some(())
    })
    .await;
    // Nothing more comes of it.
    let intervals = one.link.sum().interval_s;
    until(|| async { (one.link.sum().interval_s > intervals + 1).then_some(()) }).await;
    assert_eq!(one.link.sum().read_keys, 12);
    one.node.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_region_that_is_read_and_written_much_is_hot_to_placement() {
    let one = One::start(|_| {});
    let registered = one.ask(Request::PutStore(one.store.clone())).await;
    assert_eq!(registered, Response::Done);
    let setting = ("hot-region-rate-bytes".to_owned(), "1000".to_owned());
    let set = one.control(Control::SetSettings(vec![setting])).await;
    assert_eq!(set, Response::Done);
    let heat = until(|| async {
        one.put(b"k", &[7; 10_000]).await;
        one.get(b"k").await.unwrap();
        let heat = one.heat().await.pop()?;
        // The store reports by itself.
        let is_told = heat.traffic.read_requests > 0;
        (is_told && !heat.reads.is_empty() && !heat.writes.is_empty()).then_some(heat)
    })
    .await;
    for hot in [heat.reads[0], heat.writes[0]] {
        assert_eq!(hot.region_id, RegionId::FIRST_DATA);
        assert!(hot.leads && hot.rate_bytes >= 1_000);
    }
    one.node.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_region_that_is_asked_for_too_much_is_cut_where_its_requests_are_halved() {
    let one = One::start(|options| {
        options.load.qps = 10;
        options.load.patience = Duration::from_secs(2);
    });
    one.write((0..=255u8).map(|key| put(&[key], b"value")).collect())
        .await;
    // All that is asked for lies far behind the middle.
    let parts = until(|| async {
        for key in 200..220u8 {
            match one.get(&[key]).await {
                Err(RequestError::EpochNotMatch { current }) => return Some(current),
                read => assert!(read.unwrap().is_some()),
            }
        }
        None
    })
    .await;
    let cut = &parts.last().unwrap().range.start;
    assert!((203..=217).contains(&cut[0]), "{parts:?}");
    one.node.stop().await.unwrap();
}
