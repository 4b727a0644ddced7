//! The cluster under test, with a proxy in front of each node, and the hands that do it harm.
//!
//! **Invariants.** A proxy listens only while its node does, and knows the node's process. What a fault has begun
//! its heal ends: all nodes run, and everything passes.
//!
//! **Not here.** Which fault comes, and what is measured (`run`).

use crate::layout::{NODES, cuts, probe_key};
use crate::network::Network;
use crate::options::Options;
use crate::rules::{Rules, Verdict};
use crate::schedule::{CutStyle, Fault, Kind, Led};
use crate::{Error, Result};
use client::{Client, Config};
use e2e::{Cluster, TICK, free_ports, leader_of, own_client, store_client};
use proto::kvrpcpb::RawGetRequest;
use std::time::{Duration, Instant};

/// Leaders cut their logs soon and without regard for a node that is behind, so that it needs snapshots.
const EXTRA: &str = "raftstore.raft-log-gc-tick-interval = \"500ms\"\n\
                     raftstore.raft-log-gc-count-limit = 300\n\
                     raftstore.pd-heartbeat-tick-interval = \"1s\"\n\
                     raftstore.pd-store-heartbeat-tick-interval = \"1s\"\n";
const TAIL_LINES: usize = 40;

/// The cluster, its network, and a client for what placement knows.
pub(crate) struct World {
    pub(crate) cluster: Cluster,
    pub(crate) client: Client,
    network: Network,
    patience: Duration,
}

impl World {
    /// Starts it and cuts the key space. It serves then.
    pub(crate) async fn start(options: &Options) -> Result<World> {
        std::fs::create_dir_all(&options.dir).map_err(|source| Error::Io {
            path: options.dir.clone(),
            source,
        })?;
        let mut network = Network::new(free_ports(NODES)?);
        let settings = e2e::Options {
            raft_engine: options.raft_engine,
            parent: Some(options.dir.clone()),
            advertised: network.addresses(),
            extra: EXTRA.to_owned(),
            ..e2e::Options::default()
        };
        let mut cluster = Cluster::start_program(&options.program, NODES, settings)?;
        if let Some(tick) = options.first_tick {
            cluster.kill_node(0);
            cluster.set_options(|options| options.tick = tick);
            cluster.start_node(0)?;
            cluster.set_options(|options| options.tick = TICK);
        }
        for node in 0..NODES {
            announce(&mut cluster, &mut network, node);
        }
        let client = own_client(&cluster, Config::default()).await?;
        let cuts = cuts();
        let keys: Vec<&[u8]> = cuts.iter().map(Vec::as_slice).collect();
        client.split_region_at(&keys).await?;
        Ok(World {
            cluster,
            client,
            network,
            patience: options.patience,
        })
    }

    /// The node that a fault is about, and what it is in words.
    pub(crate) async fn victim(&self, fault: &Fault) -> Result<(usize, String)> {
        let (what, node) = match fault.led {
            _ if !fault.kind.hits_leader() => return Ok((fault.node, String::new())),
            Led::Group(group) => {
                let what = format!("Region {}", group + 1);
                let leader = self.leader(&what, async || {
                    leader_of(&self.cluster, &self.client, &probe_key(group)).await
                });
                (what.clone(), leader.await?)
            }
            Led::Placement => {
                let what = "placement".to_owned();
                let leader = self.leader(&what, async || self.placement_leader().await);
                (what.clone(), leader.await?)
            }
        };
        Ok((node, format!(", which leads {what}")))
    }

    async fn leader(&self, what: &str, look: impl AsyncFn() -> Option<usize>) -> Result<usize> {
        let began = Instant::now();
        loop {
            if let Some(node) = look().await {
                return Ok(node);
            }
            if began.elapsed() > self.patience {
                return Err(Error::NoLeader {
                    what: what.to_owned(),
                    within: self.patience,
                });
            }
            tokio::time::sleep(TICK).await;
        }
    }

    async fn placement_leader(&self) -> Option<usize> {
        let leader = self.client.members().await.ok()?.leader?;
        self.cluster.node_at(leader.client_urls.first()?)
    }

    /// Begins a fault.
    pub(crate) fn begin(&mut self, fault: &Fault, victim: usize) {
        let cut = match fault.style {
            CutStyle::Hold => Verdict::Hold,
            CutStyle::Reset => Verdict::Reset,
        };
        let rules = Rules::default();
        match fault.kind {
            Kind::KillAll => {
                self.cluster.kill_all();
                (0..NODES).for_each(|node| self.network.ended(node));
            }
            Kind::KillLeader | Kind::KillAny => {
                self.cluster.kill_node(victim);
                self.network.ended(victim);
            }
            Kind::PauseLeader | Kind::PauseAny => {
                if let Some(process) = self.cluster.node(victim) {
                    process.pause();
                }
            }
            Kind::CutLeader | Kind::CutAny => {
                self.network
                    .set(rules.leaving(victim, cut).reaching(victim, cut));
            }
            Kind::DeafLeader => self.network.set(rules.reaching(victim, cut)),
            Kind::MuteLeader => self.network.set(rules.leaving(victim, cut)),
            Kind::CutPair => {
                let other = (victim + 1 + fault.node % (NODES - 1)) % NODES;
                self.network.set(rules.between(victim, other, cut));
            }
            Kind::SlowLeader => {
                let late = Verdict::Delay(fault.delay);
                self.network
                    .set(rules.leaving(victim, late).reaching(victim, late));
            }
        }
    }

    /// Ends it: links pass, who was stopped goes on, and who was killed is started.
    pub(crate) fn heal(&mut self, fault: &Fault, victim: usize) -> Result<()> {
        match fault.kind {
            Kind::PauseLeader | Kind::PauseAny => {
                if let Some(process) = self.cluster.node(victim) {
                    process.resume();
                }
                Ok(())
            }
            _ if fault.kind.kills() => self.start_all(),
            _ => {
                self.network.set(Rules::default());
                Ok(())
            }
        }
    }

    fn start_all(&mut self) -> Result<()> {
        for node in 0..NODES {
            if self.cluster.node(node).is_none() {
                self.cluster.start_node(node)?;
                announce(&mut self.cluster, &mut self.network, node);
            }
        }
        Ok(())
    }

    /// Kills all nodes and starts them again, from nothing but their disks.
    pub(crate) fn restart_all(&mut self) -> Result<()> {
        self.cluster.kill_all();
        (0..NODES).for_each(|node| self.network.ended(node));
        self.start_all()
    }

    /// Waits until each node answers; an error if one has ended by itself.
    pub(crate) async fn until_answering(&mut self) -> Result<()> {
        let deadline = Instant::now() + self.patience;
        for (node, address) in self.cluster.endpoints().iter().enumerate() {
            let mut store = store_client(address);
            // It is refused, but only by a node that serves.
            while let Err(status) = store.raw_get(RawGetRequest::default()).await {
                self.all_run()?;
                if Instant::now() > deadline {
                    return Err(Error::Outage {
                        within: self.patience,
                        last: format!("n{}: {}", node + 1, status.message()),
                    });
                }
                tokio::time::sleep(TICK / 5).await;
            }
        }
        Ok(())
    }

    /// An error if a node has ended that nobody killed.
    pub(crate) fn all_run(&mut self) -> Result<()> {
        for node in 0..NODES {
            let Some(process) = self.cluster.node(node) else {
                continue;
            };
            if process.ended().is_some() {
                let output = process.output();
                let lines: Vec<&str> = output.lines().collect();
                let tail = lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n");
                return Err(Error::Ended { node, tail });
            }
        }
        Ok(())
    }
}

/// Tells the network of a node that was just started.
fn announce(cluster: &mut Cluster, network: &mut Network, node: usize) {
    let listens_at = cluster.endpoints()[node].clone();
    if let Some(process) = cluster.node(node) {
        network.started(node, process.pid(), listens_at);
    }
}
