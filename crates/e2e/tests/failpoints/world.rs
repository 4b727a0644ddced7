//! A cluster whose nodes crash where a test says, and what a test does with it.
//!
//! **Invariants.** A node that has crashed went down at the point that was armed, and by nothing else.

use crate::load::Load;
use client::{Client, Config, RegionInfo};
use e2e::{Cluster, Options, leader_of, own_client};
use failpoint::VARIABLE;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::process::ExitStatusExt;
use std::time::{Duration, Instant};

/// What should happen soon happens within this time.
pub const PATIENCE: Duration = Duration::from_secs(90);
const POLL: Duration = Duration::from_millis(20);
/// How often leaders report to placement.
const REPORT: Duration = Duration::from_millis(200);
/// A Region that looks the same so often is at rest.
const LOOKS_AT_REST: u32 = 4;
/// An operation that has not brought a node to its point is asked for again.
const AGAIN: Duration = Duration::from_secs(4);

/// Log files so small that they are begun and given back all the time.
const ALWAYS: &str = "engine_raftlog::options::file_bytes=return(131072);\
                      engine_raftlog::options::purge_threshold_bytes=return(524288)";

/// Logs that are cut early, by small pieces, and all that placement does in a hurry.
const CONFIG: &str = "raftstore.raft-log-gc-tick-interval = \"200ms\"\n\
                      raftstore.raft-log-gc-threshold = 10\n\
                      raftstore.raft-log-gc-count-limit = 200\n\
                      raftstore.raft-log-purge-interval = \"400ms\"\n\
                      raftstore.pd-heartbeat-tick-interval = \"200ms\"\n\
                      raftstore.pd-store-heartbeat-tick-interval = \"200ms\"\n";

/// A node, by its part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    /// Leads the Region that is spoken of.
    Leader,
    /// Follows in it.
    Follower,
    /// Leads placement.
    Placement,
    /// Has no replica of the Region, and is to get one.
    Newcomer,
}

/// Four nodes under load; three of them founded the cluster, and one joined.
pub struct World {
    pub cluster: Cluster,
    pub client: Client,
    /// How often the Region of the tests was cut.
    pub cuts: u64,
    load: Load,
}

impl World {
    /// Starts it; the node that joins crashes at each of `joining` on its way.
    pub async fn start(joining: &[&str]) -> Self {
        let options = Options {
            extra: CONFIG.to_owned(),
            status: true,
            environment: environment(""),
            ..Options::default()
        };
        let cluster = Cluster::start(3, options).unwrap();
        let client = own_client(&cluster, Config::default()).await.unwrap();
        // Replicas stay where a node is armed, and leaders, unless a test moves them.
        let settings = r#"{"low-space-percent": 99, "store-limit-add-peer": 6000,
            "store-limit-remove-peer": 6000, "leader-schedule-limit": 0, "region-schedule-limit": 0,
            "hot-region-schedule-limit": 0, "merge-schedule-limit": 0}"#;
        e2e::pd_post(&cluster, "/pd/api/v1/config", settings).expect("somebody leads placement");
        let load = Load::start(&client);
        let mut world = Self {
            cluster,
            client,
            cuts: 0,
            load,
        };
        world.arm_starts(joining.first().copied());
        let node = world.cluster.join_node().unwrap();
        for (position, name) in joining.iter().enumerate() {
            world.crashed(node, name).await;
            world.arm_starts(joining.get(position + 1).copied());
            world.cluster.start_node(node).unwrap();
        }
        world.ready(node).await;
        world
    }

    /// Nodes that are started from now on crash at this point.
    pub fn arm_starts(&mut self, name: Option<&str>) {
        let armed = name.map_or_else(String::new, |name| format!(";{name}=crash"));
        let environment = environment(&armed);
        self.cluster
            .set_options(|options| options.environment = environment);
    }

    /// A node that runs is to crash at this point.
    pub fn arm(&self, node: usize, name: &str) {
        let answer = self.ask(node, "PUT", &format!("/fail/{name}"), "crash");
        // It may be there already.
        assert!(
            answer.is_none_or(|(code, _)| code == 200),
            "{name} of node {node}"
        );
    }

    /// It is not to, any more. False if it goes down meanwhile.
    fn disarm(&self, node: usize, name: &str) -> bool {
        let answer = self.ask(node, "DELETE", &format!("/fail/{name}"), "");
        answer.is_some_and(|(code, _)| code == 200)
    }

    /// What a status server answers; nothing, if it goes down meanwhile.
    pub fn ask(&self, node: usize, method: &str, path: &str, body: &str) -> Option<(u16, String)> {
        let mut stream = TcpStream::connect(self.cluster.status_address(node)).ok()?;
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let length = body.len();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\
             Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
        );
        stream.write_all(request.as_bytes()).ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        let (head, body) = answer.split_once("\r\n\r\n")?;
        Some((head.get(9..12)?.parse().ok()?, body.to_owned()))
    }

    /// Waits for the crash, and asks for what leads there again and again.
    pub async fn crash_by(&mut self, node: usize, name: &str, mut lead: impl AsyncFnMut(&Self)) {
        let deadline = Instant::now() + PATIENCE;
        lead(&*self).await;
        while !self.ends_within(node, AGAIN).await {
            assert!(
                Instant::now() < deadline,
                "node {node} does not come to {name}"
            );
            lead(&*self).await;
        }
        self.crashed(node, name).await;
    }

    /// Has whoever leads placement crash, and asks for what leads there again and again: another one may lead
    /// before the node has come there. Gives the node.
    pub async fn crash_placement(&mut self, name: &str, mut lead: impl AsyncFnMut(&Self)) -> usize {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let node = self.find_placement().await;
            self.arm(node, name);
            lead(&*self).await;
            if self.ends_within(node, AGAIN).await || !self.disarm(node, name) {
                self.crashed(node, name).await;
                return node;
            }
            assert!(Instant::now() < deadline, "nobody comes to {name}");
        }
    }

    /// Whether a node's process comes to its end in this time.
    async fn ends_within(&mut self, node: usize, time: Duration) -> bool {
        let process = self.cluster.node(node).unwrap();
        let deadline = Instant::now() + time;
        while process.ended().is_none() && Instant::now() < deadline {
            tokio::time::sleep(POLL).await;
        }
        process.ended().is_some()
    }

    /// Waits for the crash of a node, and that it was this one. It can be started afterwards.
    pub async fn crashed(&mut self, node: usize, name: &str) {
        let has_ended = self.ends_within(node, PATIENCE).await;
        assert!(has_ended, "node {node} does not come to {name}");
        let process = self.cluster.node(node).unwrap();
        let ended = process.ended().unwrap();
        let output = process.output();
        let crash = format!("failpoint {name}: crash");
        // Other threads may still have logged something.
        let is_ours = output.lines().rev().take(20).any(|line| line == crash);
        let is_abort = ended.signal() == Some(libc::SIGABRT);
        assert!(is_abort && is_ours, "not at {name}: {ended}\n{output}");
        self.cluster.kill_node(node);
        println!("a crash at {name}");
    }

    /// Starts a node that has crashed, lets it crash again at each of `on_its_way`, and waits until it serves
    /// and the load goes on.
    pub async fn come_back(&mut self, node: usize, on_its_way: &[&str]) {
        for name in on_its_way {
            self.arm_starts(Some(name));
            self.cluster.start_node(node).unwrap();
            self.crashed(node, name).await;
        }
        self.arm_starts(None);
        self.cluster.start_node(node).unwrap();
        self.ready(node).await;
        self.progress(20).await;
    }

    /// Waits until a node serves.
    pub async fn ready(&mut self, node: usize) {
        let is_ready = async |world: &mut Self| {
            let ended = world.cluster.node(node).unwrap().ended();
            assert!(ended.is_none(), "node {node} has ended: {ended:?}");
            let answer = world.ask(node, "GET", "/ready", "");
            answer.is_some_and(|(code, _)| code == 200)
        };
        self.until("a node that serves", is_ready).await;
    }

    pub async fn until(&mut self, what: &str, mut is_so: impl AsyncFnMut(&mut Self) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !is_so(self).await {
            assert!(Instant::now() < deadline, "not within {PATIENCE:?}: {what}");
            tokio::time::sleep(POLL).await;
        }
    }

    /// Waits for so many more writes.
    pub async fn progress(&self, writes: u64) {
        self.load.progress(writes).await;
    }

    /// The Region of a key, once it has three voters, a leader, and nothing under way.
    pub async fn region(&mut self, key: &str) -> RegionInfo {
        let mut found = None;
        self.until("a Region with three voters", async |world: &mut Self| {
            let regions = world.client.regions().await.unwrap_or_default();
            found = regions.into_iter().find(|info| {
                let peers = &info.region.peers;
                let are_voters = peers.iter().all(|peer| peer.role == types::PeerRole::Voter);
                let contains = info.region.range.contains(key.as_bytes());
                contains && peers.len() == 3 && are_voters && info.leader.is_some()
            });
            found.is_some()
        })
        .await;
        found.unwrap()
    }

    /// Waits until nothing is under way in the Region of a key: what an operator that was cut short has left
    /// half done is made good first.
    pub async fn settle(&mut self, key: &str) {
        let (mut before, mut looks) = (None, 0);
        self.until("a Region at rest", async |world: &mut Self| {
            if let Some(region) = world.id_now(key).await {
                world.try_ctl(&["operator", "remove", &region]);
            }
            let now = world.region(key).await.region;
            looks = if before.as_ref() == Some(&now) {
                looks + 1
            } else {
                0
            };
            before = Some(now);
            // Longer than a report to placement takes.
            tokio::time::sleep(REPORT * 3).await;
            // A change that was asked for before may still be on its way through the log.
            looks == LOOKS_AT_REST
        })
        .await;
    }

    /// The id of the Region of a key, as placement has it.
    pub async fn id_now(&self, key: &str) -> Option<String> {
        let regions = self.client.regions().await.ok()?;
        let mut regions = regions.iter();
        let info = regions.find(|info| info.region.range.contains(key.as_bytes()))?;
        Some(info.region.id.to_string())
    }

    /// The highest index of this name that the log of a key's Region has on any node that runs.
    pub async fn log_index(&self, key: &str, name: &str) -> u64 {
        let Some(region) = self.id_now(key).await else {
            return 0;
        };
        let of_node = |node| {
            let (_, body) = self.ask(node, "GET", &format!("/region/{region}"), "")?;
            let shown: serde_json::Value = serde_json::from_str(&body).ok()?;
            shown["log"][name].as_u64()
        };
        (0..4).filter_map(of_node).max().unwrap_or(0)
    }

    /// The node with this store.
    pub async fn node_of(&self, store: u64) -> usize {
        let stores = self.client.stores().await.unwrap();
        let store = stores.iter().find(|one| one.id.get() == store).unwrap();
        self.cluster.node_at(&store.address).unwrap()
    }

    /// The store of a node.
    pub async fn store_of(&self, node: usize) -> u64 {
        let address = &self.cluster.endpoints()[node];
        let stores = self.client.stores().await.unwrap();
        let store = stores.iter().find(|store| store.address == *address);
        store.unwrap().id.get()
    }

    /// The node with this part, in the Region of a key.
    pub async fn find(&mut self, who: Who, key: &str) -> usize {
        if who == Who::Placement {
            return self.find_placement().await;
        }
        let mut leader = None;
        self.until("a leader", async |world: &mut Self| {
            leader = leader_of(&world.cluster, &world.client, key.as_bytes()).await;
            leader.is_some()
        })
        .await;
        let leader = leader.unwrap();
        if who == Who::Leader {
            return leader;
        }
        let region = self.region(key).await;
        let mut members = Vec::new();
        for peer in &region.region.peers {
            members.push(self.node_of(peer.store_id.get()).await);
        }
        let is_meant = |node: &usize| match who {
            Who::Newcomer => !members.contains(node),
            _ => members.contains(node) && *node != leader,
        };
        (0..4).find(is_meant).unwrap()
    }

    async fn find_placement(&mut self) -> usize {
        let mut leader = None;
        self.until("a leader of placement", async |world: &mut Self| {
            let members = world.client.members().await;
            leader = members.ok().and_then(|members| members.leader);
            leader.is_some()
        })
        .await;
        let leader = leader.expect("it was waited for");
        self.cluster.node_at(&leader.client_urls[0]).unwrap()
    }

    /// Has `kontiki ctl` do something, which may be refused as long as something else is under way.
    pub fn try_ctl(&self, args: &[&str]) -> bool {
        self.cluster.ctl(args).is_ok()
    }

    /// All that was acknowledged is there, after all nodes have crashed once more.
    pub async fn verify(mut self) {
        self.cluster.kill_all();
        self.cluster.start_all().unwrap();
        for node in 0..4 {
            self.ready(node).await;
        }
        self.progress(50).await;
        self.load.stop_and_verify(&self.client).await;
    }
}

fn environment(armed: &str) -> Vec<(String, String)> {
    vec![(VARIABLE.to_owned(), format!("{ALWAYS}{armed}"))]
}
