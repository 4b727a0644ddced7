//! Raft messages to other stores, over one gRPC stream to each.
//!
//! **The way of a message.** [`Transport::send`] puts it into the queue of its store;
//! [`Transport::flush`], at the end of a poller's round, wakes that store's stream, which takes
//! everything that is queued into one `BatchRaftMessage`. The stream is pulled by HTTP/2's flow
//! control, so a slow receiver fills the queue and nothing else.
//!
//! **What is lost.** Raft allows it. A message is dropped when its store's queue is full or the store
//! can't be reached; each drop is reported, so that the sender probes instead of streaming on. What is
//! queued when a connection breaks is dropped as well: it would be stale.
//!
//! **Invariants.** No call blocks or waits for the network. A queue is bounded in messages and in
//! bytes. Appends to one store stay in order as long as its connection lives; what is small overtakes
//! them (see `queue`).
//!
//! **Not here.** Receiving (`service::raft`). Snapshots have streams of their own (`snapshot`).

mod queue;
mod snapshot;

use crate::address::Addresses;
use crate::backoff::Backoff;
use crate::meters::{TRANSPORT_BYTES, TRANSPORT_MESSAGES, TRANSPORT_STORES};
use crate::service::raft::{ADDRESS_HEADER, CLUSTER_HEADER, STORE_HEADER};
use metrics::{Collect, Page};
use node::snap::OutgoingSnapshot;
use node::{Identity, Transport};
use parking_lot::{Mutex, RwLock};
use proto::tikvpb::tikv_client::TikvClient;
use queue::Queue;
pub(crate) use queue::seal;
use raftstore::RaftMessage;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::task::{JoinHandle, JoinSet};
use tonic::Request;
use tonic::transport::{Channel, Endpoint};
use types::{PeerId, RegionId, StoreId};

/// Bounds and times of a transport.
#[derive(Clone, Debug)]
pub struct TransportOptions {
    /// The most messages that wait for one store.
    pub queue_messages_max: usize,
    /// The most bytes that wait for one store.
    pub queue_bytes_max: usize,
    /// One batch is closed when it has this many bytes; must be well below what receivers accept.
    pub batch_bytes_target: usize,
    /// How long an attempt to connect may take.
    pub connect_timeout: Duration,
    /// How long the sending of one snapshot may take.
    pub snapshot_timeout: Duration,
}

impl Default for TransportOptions {
    fn default() -> Self {
        Self {
            queue_messages_max: 8_192,
            queue_bytes_max: 64 << 20,
            batch_bytes_target: 2 << 20,
            connect_timeout: Duration::from_secs(1),
            snapshot_timeout: Duration::from_secs(600),
        }
    }
}

/// Hears of messages that could not be sent: `NodeHandle::report_unreachable`.
pub type OnUnreachable = Box<dyn Fn(RegionId, PeerId) + Send + Sync>;

/// The transport of one node.
pub struct GrpcTransport {
    shared: Arc<Shared>,
    /// `None` once it has stopped.
    links: RwLock<Option<Links>>,
    /// Those of snapshots that are being sent; none once it has stopped.
    snapshots: Mutex<Option<JoinSet<()>>>,
    runtime: Handle,
}

/// By store, of which there are few: a tree is quicker to ask than a hash.
type Links = BTreeMap<StoreId, Link>;

struct Shared {
    identity: Identity,
    addresses: Arc<dyn Addresses>,
    options: TransportOptions,
    on_unreachable: RwLock<Option<OnUnreachable>>,
}

/// What belongs to one other store.
struct Link {
    queue: Arc<Queue>,
    task: JoinHandle<()>,
}

impl GrpcTransport {
    /// A transport whose connections live on `runtime`. Nothing is connected before the first
    /// message to a store.
    pub fn new(
        identity: Identity,
        addresses: Arc<dyn Addresses>,
        options: TransportOptions,
        runtime: Handle,
    ) -> Self {
        let shared = Shared {
            identity,
            addresses,
            options,
            on_unreachable: RwLock::default(),
        };
        Self {
            shared: Arc::new(shared),
            links: RwLock::new(Some(Links::new())),
            snapshots: Mutex::new(Some(JoinSet::new())),
            runtime,
        }
    }

    /// Says who hears of messages that could not be sent. Until then nobody does.
    pub fn on_unreachable(&self, hear: OnUnreachable) {
        *self.shared.on_unreachable.write() = Some(hear);
    }

    /// Closes all connections for good. What is queued is lost, further messages are dropped, and
    /// nobody hears of either: the node that would is about to end.
    pub fn stop(&self) {
        self.shared.on_unreachable.write().take();
        // To drop them is to abort them.
        self.snapshots.lock().take();
        for (_, link) in self.links.write().take().into_iter().flatten() {
            link.queue.shut();
            link.task.abort();
        }
    }

    /// Adds the link to a store, unless the transport has stopped.
    fn link(&self, store: StoreId) {
        let mut links = self.links.write();
        let Some(links) = links.as_mut() else {
            return;
        };
        links.entry(store).or_insert_with(|| {
            let queue = Arc::new(Queue::new(&self.shared.options));
            let connection = connect(Arc::clone(&self.shared), store, Arc::clone(&queue));
            Link {
                queue,
                task: self.runtime.spawn(connection),
            }
        });
    }
}

impl Collect for GrpcTransport {
    fn collect(&self, page: &mut Page) {
        let (mut open, mut away, mut messages, mut bytes) = (0, 0, 0, 0);
        for link in self.links.read().iter().flat_map(Links::values) {
            let load = link.queue.load();
            match load.is_open {
                true => open += 1,
                false => away += 1,
            }
            messages += load.messages;
            bytes += load.bytes;
        }
        page.gauge(&TRANSPORT_STORES, &["reached"], open);
        page.gauge(&TRANSPORT_STORES, &["away"], away);
        page.gauge(&TRANSPORT_MESSAGES, &[], messages as u64);
        page.gauge(&TRANSPORT_BYTES, &[], bytes as u64);
    }
}

impl Transport for GrpcTransport {
    fn send(&self, message: RaftMessage) {
        let store = message.to.store_id;
        let mut links = self.links.read();
        if links
            .as_ref()
            .is_some_and(|links| !links.contains_key(&store))
        {
            drop(links);
            self.link(store);
            links = self.links.read();
        }
        let Some(link) = links.as_ref().and_then(|links| links.get(&store)) else {
            return;
        };
        if let Err(message) = link.queue.push(message) {
            self.shared.unreachable(message.region_id, message.to.id);
        }
    }

    fn send_snapshot(&self, snapshot: OutgoingSnapshot) {
        if let Some(snapshots) = self.snapshots.lock().as_mut() {
            while snapshots.try_join_next().is_some() {}
            let sending = snapshot::send(Arc::clone(&self.shared), snapshot);
            snapshots.spawn_on(sending, &self.runtime);
        }
    }

    fn flush(&self) {
        for link in self.links.read().iter().flat_map(Links::values) {
            link.queue.wake();
        }
    }
}

impl Drop for GrpcTransport {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Shared {
    fn unreachable(&self, region: RegionId, peer: PeerId) {
        if let Some(hear) = self.on_unreachable.read().as_ref() {
            hear(region, peer);
        }
    }

    /// Connects to a store. Where that was tried goes to `failed`, where the attempt before left its own.
    async fn dial(&self, store: StoreId, failed: &mut Option<String>) -> Result<Channel, String> {
        let address = self.addresses.find(store, failed.take()).await?;
        *failed = Some(address.clone());
        let endpoint = Endpoint::from_shared(format!("http://{address}"));
        endpoint
            .map_err(|error| describe(&error))?
            .connect_timeout(self.options.connect_timeout)
            .tcp_nodelay(true)
            .http2_keep_alive_interval(Duration::from_secs(2))
            .keep_alive_timeout(Duration::from_secs(2))
            .keep_alive_while_idle(true)
            .connect()
            .await
            .map_err(|error| describe(&error))
    }

    /// A stream to another store, with the headers that say from whom.
    fn signed<T>(&self, stream: T) -> Request<T> {
        let mut request = Request::new(stream);
        let identity = &self.identity;
        let header = request.metadata_mut();
        header.insert(CLUSTER_HEADER, identity.cluster_id.get().into());
        header.insert(STORE_HEADER, identity.store_id.get().into());
        if let Ok(address) = identity.address.parse() {
            header.insert(ADDRESS_HEADER, address);
        }
        request
    }

    /// Sends over a connection until it breaks; returns why.
    async fn send_all(
        &self,
        store: StoreId,
        channel: Channel,
        queue: &Arc<Queue>,
        backoff: &mut Backoff,
    ) -> String {
        queue.open();
        let request = self.signed(Arc::clone(queue).batches());
        tracing::info!(%store, "connected to a store");
        let since = std::time::Instant::now();
        let result = TikvClient::new(channel).batch_raft(request).await;
        if since.elapsed() > self.options.connect_timeout {
            backoff.reset();
        }
        match result {
            Ok(_) => "it closed the stream".to_owned(),
            Err(status) => status.message().to_owned(),
        }
    }
}

/// Keeps a connection to a store for as long as the transport lives.
async fn connect(shared: Arc<Shared>, store: StoreId, queue: Arc<Queue>) {
    let mut backoff = Backoff::new();
    let (mut said, mut failed) = (String::new(), None);
    loop {
        let reason = match shared.dial(store, &mut failed).await {
            Ok(channel) => shared.send_all(store, channel, &queue, &mut backoff).await,
            Err(reason) => reason,
        };
        for message in queue.shut() {
            shared.unreachable(message.region_id, message.to.id);
        }
        // The same reason again and again says nothing new.
        if said != reason {
            tracing::warn!(%store, %reason, "no connection to a store");
            said = reason;
        }
        tokio::time::sleep(backoff.next()).await;
    }
}

/// An error with its causes.
pub(crate) fn describe(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
