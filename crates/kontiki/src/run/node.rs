//! One node, put together from its crates, started and stopped.
//!
//! **Start**, in the order in which things go wrong for reasons of the operator: the port, the lock on
//! the data folder, the engines, the node, and last the service. **Stop** goes in reverse, and lets
//! requests under way end first.
//!
//! **Invariants.** The port is bound before the data is touched: a second process on the same address
//! changes nothing. When [`RunningNode::stop`] returns, everything applied is durable and the lock is
//! free.
//!
//! **Not here.** When to stop (`signal`), opening engines (`engines`), names of items (`settings`).

use super::data_dir::DataDir;
use super::engines;
use super::settings;
use super::usage::StoreUsage;
use crate::config::Config;
use crate::error::{Error, Result};
use engine::RaftLog;
use engine_rocks::RocksKv;
use node::{Identity, Members, Node, NodeHandle, Parts, StartError};
use placement::{Bootstrap, Store};
use raftstore::bootstrap::first_regions;
use server::{GrpcTransport, LinkNode, PdLink, ServeOptions, TransportOptions};
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use types::ApiVersion;

/// A node that serves.
pub struct RunningNode {
    node: Node<RocksKv>,
    transport: Arc<GrpcTransport>,
    link: JoinHandle<()>,
    service: JoinHandle<()>,
    stop_service: oneshot::Sender<()>,
    data_dir: DataDir,
}

/// Binds the address that a node listens on.
///
/// # Errors
/// The address is taken, or is none of this machine's.
pub async fn bind(address: &str) -> Result<TcpListener> {
    let listener = TcpListener::bind(address).await;
    listener.map_err(Error::io(format!("listening on {address}")))
}

/// Starts a node on a bound port.
///
/// # Errors
/// The data folder is in use, somebody else's or damaged, or the machine refuses something.
pub async fn start(config: &Config, listener: TcpListener) -> Result<RunningNode> {
    let members = settings::members(config);
    let api = settings::api_version(config);
    let identity = members.identify(&config.cluster.name, api);
    let identity = identity.map_err(|error| Error::Usage(error.to_string()))?;
    let runtime = Handle::current();
    let addresses = Arc::new(members.clone());
    let transport = GrpcTransport::new(
        identity.clone(),
        addresses,
        TransportOptions::default(),
        runtime.clone(),
    );
    let transport = Arc::new(transport);
    let store = own_store(config, &identity);
    let link = PdLink::new(identity.clone(), members.clone(), store);
    let ports = Outside {
        members: members.clone(),
        identity,
        transport: Arc::clone(&transport),
        link: link.clone(),
        runtime,
    };
    let (node, data_dir) = {
        let config = config.clone();
        // Reading the logs of thousands of Regions blocks for a while.
        let opened = tokio::task::spawn_blocking(move || open(&config, ports));
        opened.await.map_err(Error::Failed)??
    };
    let handle = node.handle();
    let reporter = handle.clone();
    transport.on_unreachable(Box::new(move |region, peer| {
        reporter.report_unreachable(region, peer);
    }));
    let link = tokio::spawn(link.run(link_node(&handle, StoreUsage::new(data_dir.path()))));
    let (stop_service, stopped) = oneshot::channel::<()>();
    let shutdown = async move {
        // A sender that is gone means the same.
        let _ = stopped.await;
    };
    let options = ServeOptions::new(listener, members);
    let service = tokio::spawn(server::serve(options, handle, shutdown));
    Ok(RunningNode {
        node,
        transport,
        link,
        service,
        stop_service,
        data_dir,
    })
}

impl RunningNode {
    /// Lets requests under way end, and stops.
    ///
    /// # Errors
    /// The last sync failed: the node says so, but nothing that was acknowledged is lost.
    pub async fn stop(self) -> Result<()> {
        drop(self.stop_service);
        if let Err(error) = self.service.await {
            tracing::error!(%error, "the service had ended by a panic");
        }
        self.link.abort();
        self.transport.stop();
        let node = self.node;
        let stopped = tokio::task::spawn_blocking(move || node.stop());
        let stopped = stopped.await.map_err(Error::Failed)?;
        drop(self.data_dir);
        stopped.map_err(Error::Engine)
    }
}

/// What a node has around it.
struct Outside {
    identity: Identity,
    members: Members,
    transport: Arc<GrpcTransport>,
    link: PdLink,
    runtime: Handle,
}

fn open(config: &Config, outside: Outside) -> Result<(Node<RocksKv>, DataDir)> {
    let data_dir = DataDir::lock(&config.storage.data_dir)?;
    let kv = engines::open_kv(config, &data_dir)?;
    let node = if config.raft_engine.enable {
        let log = engines::open_log_engine(config, &data_dir)?;
        start_node(config, kv, log, outside)
    } else {
        let log = engines::open_rocks_log(config, &data_dir)?;
        start_node(config, kv, log, outside)
    };
    Ok((node.map_err(Error::Start)?, data_dir))
}

fn start_node<L: RaftLog>(
    config: &Config,
    kv: RocksKv,
    log: L,
    outside: Outside,
) -> std::result::Result<Node<RocksKv>, StartError> {
    let Outside {
        identity,
        members,
        transport,
        link,
        runtime,
    } = outside;
    let placement = placement::Config::new(beginning(&members, identity.api_version));
    let options = settings::node_options(config, identity.store_id.get());
    Node::start(Parts {
        identity,
        members,
        kv,
        log,
        transport,
        link: Arc::new(link),
        placement,
        options,
        runtime,
    })
}

/// How the cluster begins: the same on each of its first members, so nothing in it may be known to
/// one of them only, such as labels.
fn beginning(members: &Members, api: ApiVersion) -> Bootstrap {
    let store = |member: &node::Member| Store {
        id: member.store_id,
        address: member.address.clone(),
        version: server::VERSION.to_owned(),
        ..Store::default()
    };
    Bootstrap {
        cluster_id: members.cluster_id(),
        stores: members.iter().map(store).collect(),
        regions: first_regions(members.len(), api),
    }
}

/// What this store registers as.
fn own_store(config: &Config, identity: &Identity) -> Store {
    let labels = config.server.labels.iter();
    Store {
        id: identity.store_id,
        address: identity.address.clone(),
        version: server::VERSION.to_owned(),
        labels: labels
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect(),
        start_time_s: super::usage::unix_seconds(),
        ..Store::default()
    }
}

fn link_node(handle: &NodeHandle<RocksKv>, usage: StoreUsage) -> LinkNode {
    let (leader, reporter) = (handle.clone(), handle.clone());
    LinkNode {
        leader: Box::new(move || leader.placement().leader()),
        report_all: Box::new(move || reporter.report_all()),
        complete: Box::new(move |stats| usage.complete(stats)),
    }
}
