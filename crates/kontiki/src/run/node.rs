//! One node, put together from its crates, started and stopped.
//!
//! **Start**, in the order in which things go wrong for reasons of the operator: the status server, the
//! lock on the data folder, the data, whose they are (the cluster is asked), the Raft logs, the node, and last the service.
//! **Stop** goes in reverse: other stores take over what is led here, requests under way end, threads end, what they
//! wrote is synced, the lock is released.
//!
//! **Invariants.** The ports are bound before the data is touched. A folder of somebody else is refused
//! before its Raft logs are opened, cut or moved. When a node has ended, everything applied is durable,
//! the lock is free, and nothing of it is left in the process.
//!
//! **Not here.** When to stop (`signal`), opening engines (`engines`), names of items (`settings`).

use super::data_dir::DataDir;
use super::engines;
use super::heap::Jemalloc;
use super::memory::MemoryWatch;
use super::online::Online;
use super::ports::Ports;
use super::settings;
use super::signal::StopRequest;
use super::stages::Stages;
use super::usage::{StoreUsage, unix_seconds};
use crate::config::Config;
use crate::error::{Error, Result};
use crate::panic_mark;
use engine::RaftLog;
use engine_rocks::RocksKv;
use node::snap::FileDir;
use node::{Identified, Identity, Members, Node, NodeHandle, Origin, Owner, Parts, Progress};
use placement::{Bootstrap, Store};
use raftstore::bootstrap::first_regions;
use server::{AddressBook, Attached, Gate, GrpcTransport, LinkNode, NodeStatus, PdLink, Resolver};
use server::{ServeOptions, ServiceMeters, Stage, StatusServer, Tracer, TransportOptions};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::task::JoinSet;

/// Runs a node from its start to its end, which comes when it is asked to stop.
///
/// # Errors
/// It does not start: the data folder is in use, somebody else's or damaged, or the machine refuses
/// something. Or it has stopped because a part of it ended, or its last sync failed.
pub async fn run(config: Config, online: Online, ports: Ports, stop: StopRequest) -> Result<()> {
    let name = config.cluster.name.as_str();
    let address = config.server.addr.as_str();
    let online = Arc::new(online);
    let status = settings::status(&config, Arc::clone(&online));
    status.profile_heap(Arc::new(Jemalloc));
    // Dropped last.
    let _status_server = match ports.status {
        Some(listener) => Some(show_status(listener, status.clone())?),
        None => None,
    };
    tracing::info!(name, version = server::VERSION, address, "starting");
    let stages = Stages {
        status,
        stop: stop.clone(),
        online,
    };
    let mut running = match start(&config, ports.node, &stages).await {
        Err(Error::Interrupted) => {
            tracing::info!(name, "stopped before it served");
            return Ok(());
        }
        started => started?,
    };
    stages.serving();
    tracing::info!(name, address, "serving");
    let result = tokio::select! {
        reason = stop.made() => {
            tracing::info!(name, reason, "stopping");
            Ok(())
        }
        ended = running.part_ended() => Err(ended),
    };
    let patience = match result {
        Ok(()) => config.server.graceful_shutdown_timeout.0,
        // A node that can't go on is better gone.
        Err(_) => Duration::ZERO,
    };
    let stopped = running.stop(&stages, patience).await;
    tracing::info!(name, "stopped");
    result.and(stopped)
}

fn show_status(listener: TcpListener, status: NodeStatus) -> Result<StatusServer> {
    let started = listener.into_std();
    let started = started.and_then(|listener| StatusServer::start(listener, status));
    started.map_err(Error::io("starting the status server"))
}

/// A node that serves. Each set has one task, or none when it has ended.
struct RunningNode {
    node: Node<RocksKv>,
    transport: Arc<GrpcTransport>,
    link: JoinSet<()>,
    /// The exporter of traces, whose end nobody else suffers from.
    traces: JoinSet<()>,
    service: JoinSet<()>,
    stop_service: oneshot::Sender<()>,
    memory: MemoryWatch,
    data_dir: Arc<DataDir>,
}

async fn start(config: &Config, listener: TcpListener, stages: &Stages) -> Result<RunningNode> {
    let (settings, status) = (config.clone(), stages.status.clone());
    let open = move || Opened::open(&settings, &status);
    let opened = stages.run(Stage::OpeningData, open).await?;
    stages.online.manage_engine(opened.kv.tuner());
    let opened = opened.identify(config, stages).await?;
    let (settings, data_dir) = (config.clone(), Arc::clone(&opened.data_dir));
    if config.raft_engine.enable {
        let progress = stages.progress();
        let open = move || engines::open_log_engine(&settings, &data_dir, &progress);
        let log = stages.run(Stage::OpeningLogs, open).await?;
        start_on(config, opened, log, listener, stages).await
    } else {
        let progress = stages.progress();
        let open = move || engines::open_rocks_log(&settings, &data_dir, &progress);
        let log = stages.run(Stage::OpeningLogs, open).await?;
        start_on(config, opened, log, listener, stages).await
    }
}

/// A data folder, and what is known of whose it is.
struct Opened<O> {
    data_dir: Arc<DataDir>,
    kv: RocksKv,
    owner: O,
    /// What it remembers of placement's members.
    members: Option<Members>,
}

impl Opened<Owner> {
    fn open(config: &Config, status: &NodeStatus) -> Result<Self> {
        let data_dir = DataDir::lock(&config.storage.data_dir)?;
        if let Some(text) = panic_mark::begin(data_dir.path()) {
            tracing::error!("the last run of this node ended in a panic: {text}");
            status.tell_of_panic(text);
        }
        let kv = engines::open_kv(config, &data_dir)?;
        let owner = node::find_owner(&kv, &settings::told(config));
        let owner = owner.map_err(Error::Start)?;
        let members = node::known_members(&kv).map_err(Error::Start)?;
        Ok(Self {
            data_dir: Arc::new(data_dir),
            kv,
            owner,
            members,
        })
    }

    /// Asks the cluster what the folder does not say.
    async fn identify(self, config: &Config, stages: &Stages) -> Result<Opened<Identified>> {
        let nodes = config.join_nodes();
        let ask = async {
            match self.owner {
                Owner::Joining => Ok(server::join(&settings::joining(config)).await?),
                Owner::Known(known) => {
                    stages.status.identify(&known.identity);
                    if known.is_new {
                        server::check_newcomer(&known).await?;
                    } else if !nodes.is_empty() {
                        server::check_rejoin(&known, &nodes).await?;
                    }
                    Ok(known)
                }
            }
        };
        let owner = stages.wait(Stage::AskingMembers, ask).await?;
        stages.status.identify(&owner.identity);
        Ok(Opened {
            data_dir: self.data_dir,
            kv: self.kv,
            owner,
            members: self.members,
        })
    }
}

async fn start_on<L: RaftLog>(
    config: &Config,
    opened: Opened<Identified>,
    log: L,
    listener: TcpListener,
    stages: &Stages,
) -> Result<RunningNode> {
    let Opened {
        data_dir,
        kv,
        owner: identified,
        members,
    } = opened;
    let identity = identified.identity.clone();
    let (seed, runtime, tuner) = (identity.store_id.get(), Handle::current(), kv.tuner());
    let book = AddressBook::new(&identity, identified.members.clone(), config.join_nodes());
    if let Some(members) = members {
        book.set_members(members);
    }
    let store = own_store(config, &identity);
    let link = PdLink::new(identity.clone(), book.clone(), store);
    let resolver = Resolver::new(book.clone(), link.clone());
    let (tracer, traces) = tracer(config, &identity, stages);
    let transport = transport(identity, resolver, &runtime);
    let received = FileDir::new(&data_dir.path().join("snap")).map_err(Error::Engine)?;
    let parts = Parts {
        placement: settings::placement_config(config, beginning(&identified)),
        options: settings::node_options(config, seed),
        identified,
        kv,
        log,
        snapshots: Arc::new(received),
        transport: Arc::clone(&transport) as _,
        link: Arc::new(link.clone()),
        runtime,
        progress: regions_read(stages),
    };
    let (folder, capacity) = (data_dir.path().to_owned(), config.raftstore.capacity.0);
    let start = move || {
        let usage = StoreUsage::measure(&folder, capacity);
        Ok((Node::start(parts).map_err(Error::Start)?, usage))
    };
    let (node, usage) = stages.run(Stage::StartingNode, start).await?;
    let handle = node.handle();
    tell_of_unreachable(&transport, handle.clone());
    let (stop_service, shutdown) = stop_signal();
    let (mut tasks_of_link, mut service) = (JoinSet::new(), JoinSet::new());
    tasks_of_link.spawn(link.run(link_node(&handle, usage)));
    let mut options = ServeOptions::new(listener, book);
    (options.limits, options.tracer) = (settings::limits(config), tracer.clone());
    let counted = (Arc::clone(&transport), options.meters.clone(), tracer);
    let memory = MemoryWatch::start(handle.memory().clone(), tuner)?;
    show(stages, &node, counted, (options.gate.clone(), seed));
    service.spawn(server::serve(options, handle, shutdown));
    Ok(RunningNode {
        node,
        transport,
        link: tasks_of_link,
        traces,
        service,
        stop_service,
        memory,
        data_dir,
    })
}

/// Decides what is traced, and what sends the traces; nothing without a collector.
fn tracer(config: &Config, identity: &Identity, stages: &Stages) -> (Tracer, JoinSet<()>) {
    let mut tasks = JoinSet::new();
    let tracer = match settings::tracer_options(config, identity) {
        Some(options) => {
            let (tracer, exporter) = Tracer::new(options);
            tasks.spawn(exporter.run());
            tracer
        }
        None => Tracer::default(),
    };
    stages.online.manage_tracing(tracer.clone());
    (tracer, tasks)
}

/// Somebody who is told to stop, and what tells him.
fn stop_signal() -> (oneshot::Sender<()>, impl Future<Output = ()>) {
    let (stop, stopped) = oneshot::channel();
    let told = async move {
        // A sender that is gone means the same.
        let _ = stopped.await;
    };
    (stop, told)
}

/// What carries messages to other stores.
fn transport(identity: Identity, resolver: Resolver, runtime: &Handle) -> Arc<GrpcTransport> {
    let options = TransportOptions::default();
    let transport = GrpcTransport::new(identity, Arc::new(resolver), options, runtime.clone());
    Arc::new(transport)
}

/// Shows how many Regions the start has read.
fn regions_read(stages: &Stages) -> Arc<Progress> {
    let progress = stages.progress();
    Arc::new(move |done, total| progress("Regions read", done as u64, total as u64))
}

/// Has the node hear of messages that could not be sent.
fn tell_of_unreachable(transport: &GrpcTransport, node: NodeHandle<RocksKv>) {
    transport.on_unreachable(Box::new(move |region, peer| {
        node.report_unreachable(region, peer);
    }));
}

/// Has operators see the node, and change it.
fn show(
    stages: &Stages,
    node: &Node<RocksKv>,
    (transport, meters, tracer): (Arc<GrpcTransport>, ServiceMeters, Tracer),
    (gate, seed): (Gate, u64),
) {
    let handle = Arc::new(node.handle());
    stages.status.attach(Attached {
        collectors: vec![
            Arc::clone(&handle) as _,
            transport,
            Arc::new(meters),
            Arc::new(tracer),
        ],
        inspect: Some(handle),
        gate: Some(gate),
    });
    stages.online.manage_node(node.control(), seed);
}

impl RunningNode {
    /// Ready when a part has ended that must not: by a panic, which the log has. The node has to stop.
    async fn part_ended(&mut self) -> Error {
        tokio::select! {
            Some(_) = self.service.join_next() => Error::PartEnded("the service"),
            Some(_) = self.link.join_next() => Error::PartEnded("the link to placement"),
            () = self.node.host_ended() => Error::PartEnded("the placement host"),
        }
    }

    /// Has other stores take over, lets requests under way end, and stops.
    ///
    /// # Errors
    /// The last sync failed: the node says so, but nothing that was acknowledged is lost.
    async fn stop(mut self, stages: &Stages, patience: Duration) -> Result<()> {
        failpoint::at!("kontiki::stop::begin");
        if !patience.is_zero() {
            stages.stopping(Stage::HandingOver);
            let left = self.node.handle().hand_over(patience).await;
            if left > 0 {
                tracing::warn!(left, "Regions that nobody else leads yet: an election will");
            }
        }
        stages.stopping(Stage::Draining);
        drop(self.stop_service);
        while self.service.join_next().await.is_some() {}
        stages.stopping(Stage::Stopping);
        self.link.shutdown().await;
        self.traces.shutdown().await;
        self.transport.stop();
        failpoint::at!("kontiki::stop::drained");
        drop(self.memory);
        // They hold the engines.
        stages.status.detach();
        stages.online.release_node();
        let stopped = self.node.stop().await;
        failpoint::at!("kontiki::stop::stopped");
        panic_mark::end(self.data_dir.path());
        drop(self.data_dir);
        stopped.map_err(Error::Engine)
    }
}

/// How the cluster begins: the same on each of its first members, so nothing in it may be known to
/// one of them only, such as labels. It counts until the first placement leader has written it down. A
/// store that joined finds it written: of the beginning only the first Regions' boundaries still count.
fn beginning(identified: &Identified) -> Bootstrap {
    let Identified {
        identity, members, ..
    } = identified;
    let store = |member: &node::Member| Store {
        id: member.store_id,
        address: member.address.clone(),
        version: server::VERSION.to_owned(),
        ..Store::default()
    };
    Bootstrap {
        cluster_id: identity.cluster_id,
        stores: match identified.origin {
            Origin::Founded => members.iter().map(store).collect(),
            Origin::Joined => Vec::new(),
        },
        regions: first_regions(members.len(), identity.api_version),
    }
}

/// What this store registers as, at each start and with each new placement leader.
fn own_store(config: &Config, identity: &Identity) -> Store {
    let labels = config.server.labels.iter();
    Store {
        id: identity.store_id,
        address: identity.address.clone(),
        status_address: config.dialled_status_address(),
        version: server::VERSION.to_owned(),
        labels: labels
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect(),
        start_time_s: unix_seconds(),
        ..Store::default()
    }
}

fn link_node(handle: &NodeHandle<RocksKv>, usage: StoreUsage) -> LinkNode {
    let (leader, told, reporter) = (handle.clone(), handle.clone(), handle.clone());
    let (instructed, remembers) = (handle.clone(), handle.clone());
    LinkNode {
        remember: Box::new(move |members| {
            if let Err(error) = remembers.remember_members(&members) {
                tracing::warn!(%error, "placement's members are not remembered");
            }
        }),
        leader: Box::new(move || leader.placement().leader()),
        tell_leader: Box::new(move |leader| told.placement().tell_leader(leader)),
        report_all: Box::new(move || reporter.report_all()),
        complete: Box::new(move |stats| usage.complete(stats)),
        instruct: Box::new(move |told| {
            let handle = instructed.clone();
            tokio::spawn(async move { handle.instruct(told).await });
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::super::ports::Flags;
    use super::*;
    use client::Client;

    const FLAGS: Flags = ["--addr", "--status-addr"];

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_node_that_has_ended_leaves_nothing_open_and_starts_again_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let port = e2e::free_ports(1).unwrap()[0];
        let mut config = Config::default();
        config.server.addr = format!("127.0.0.1:{port}");
        config.server.status_addr = String::new();
        config.storage.data_dir = folder.path().to_owned();
        let endpoints = [config.server.addr.clone()];
        for _ in 0..3 {
            let ports = Ports::bind(&config, FLAGS).await.unwrap();
            let stop = StopRequest::new();
            let online = Online::new(&config);
            let node = tokio::spawn(run(config.clone(), online, ports, stop.clone()));
            let client = Client::connect(&endpoints, client::Config::default());
            client.await.unwrap().get(b"k").await.unwrap();
            stop.make("test");
            node.await.unwrap().unwrap();
        }
    }
}
