//! A node crashes at each of the failpoints, under load, and comes back: nothing that was acknowledged is lost.
//!
//! The program must have failpoints, as `cargo test` of the workspace builds it (docs/failpoints.md). What a
//! crash of the process leaves is left to the kernel: a power failure is the simulation's. `KONTIKI_CRASH_AT` with a
//! part of names leaves the other points out.

mod control;
mod load;
mod world;

use failpoint::{Kind, POINTS, Point};
use std::time::Duration;
use tokio::sync::Mutex;
use world::{Who, World};

/// Held by the test that runs: two clusters would keep each other from electing leaders.
static ALONE: Mutex<()> = Mutex::const_new(());

const STOPS_WITHIN: Duration = Duration::from_secs(60);
/// The Region with this key is the one that is cut, merged, moved and led.
const KEY: &str = "k5/";

/// What brings a node to a point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// The load, in time.
    Load(Who),
    /// A store that joins.
    Join,
    /// A start.
    Start,
    /// A start after the log was given to the other engine.
    OtherEngine,
    /// The load, with the Raft logs in RocksDB.
    RocksLog,
    /// The way back from a crash at this point.
    After(&'static str),
    /// A stop in good order.
    Stop,
    /// A change of the configuration online.
    Configure,
    /// Something that placement decides.
    Decide,
    /// A Region is cut in two.
    Split(Who),
    /// A Region is taken in by its neighbour.
    Merge,
    /// A replica moves from a follower's store to another one.
    Move(Who),
    /// A Region gets another leader.
    Transfer(Who),
    /// A follower was down for so long that it needs a snapshot.
    Lag,
}

fn way(name: &'static str) -> Way {
    let area = name.rsplit_once("::").unwrap().0;
    match name {
        "engine_rocks::change::begin" | "node::log_gc::before_purge" | "node::log_gc::purged" => {
            Way::Load(Who::Follower)
        }
        "node::install::finished" => Way::Lag,
        "node::recover::before_log_dropped" | "node::recover::log_dropped" => {
            Way::After("node::install::finished")
        }
        "node::recover::before_logs_removed" | "node::recover::logs_removed" => {
            Way::After("node::apply::destroyed")
        }
        "node::apply::before_split" | "node::apply::split" => Way::Split(Who::Follower),
        "node::peer::split" | "node::store::create" | "node::store::created" => {
            Way::Split(Who::Leader)
        }
        "node::apply::before_merging"
        | "node::apply::merging"
        | "node::apply::before_merged"
        | "node::apply::merged"
        | "node::peer::merged"
        | "node::peer::await_source" => Way::Merge,
        "node::apply::before_peers" | "node::apply::peers" | "node::peer::change_peers" => {
            Way::Move(Who::Leader)
        }
        "node::apply::before_destroyed"
        | "node::apply::destroyed"
        | "node::peer::destroy"
        | "node::peer::remove_log" => Way::Move(Who::Follower),
        "node::snap::pin"
        | "node::snap::send"
        | "node::snap::frame"
        | "server::snapshot::chunk" => Way::Move(Who::Leader),
        "node::peer::leadership" => Way::Transfer(Who::Follower),
        "node::peer::transfer_leader" | "server::link::instruction" => Way::Transfer(Who::Leader),
        "node::placement::instruct" => Way::Transfer(Who::Placement),
        "server::link::store_heartbeat" | "node::store::heartbeat" => Way::Load(Who::Follower),
        _ => match area {
            "engine_rocks::log" => Way::RocksLog,
            "engine_raftlog::open"
            | "engine_raftlog::options"
            | "kontiki::start"
            | "node::start" => Way::Start,
            "node::bootstrap" => Way::Join,
            // Each start looks where placement's members are.
            "node::owner" => Way::Start,
            "node::snap" | "node::install" => Way::Move(Who::Newcomer),
            "kontiki::online" => Way::Configure,
            "kontiki::move" => Way::OtherEngine,
            "kontiki::stop" => Way::Stop,
            "node::placement" => Way::Decide,
            "engine::file"
            | "engine_raftlog::log"
            | "engine_raftlog::sync"
            | "engine_raftlog::files"
            | "node::log" => Way::Load(Who::Follower),
            "engine_rocks::kv" | "node::apply" | "node::log_gc" | "node::peer" | "node::reply"
            | "server::transport" | "server::raft" | "server::link" | "server::raw" => {
                Way::Load(Who::Leader)
            }
            _ => panic!("say what brings a node to {name}"),
        },
    }
}

/// The points of a kind, by the way to them.
fn points(kind: Kind, is_meant: impl Fn(Way) -> bool) -> Vec<&'static str> {
    let part = std::env::var("KONTIKI_CRASH_AT").unwrap_or_default();
    let is_wanted = |point: &&Point| point.kind == kind && point.name.contains(&part);
    let names = POINTS.iter().filter(is_wanted).map(|point| point.name);
    names.filter(|name| is_meant(way(name))).collect()
}

/// The points that a start after a crash at this one comes to.
fn after(name: &'static str) -> Vec<&'static str> {
    let all = POINTS.iter().map(|point| point.name);
    all.filter(|next| way(next) == Way::After(name)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_wherever_something_becomes_durable_loses_nothing_that_was_acknowledged() {
    crash_at_all(Kind::Persistence).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_at_any_stage_of_an_operation_loses_nothing_that_was_acknowledged() {
    crash_at_all(Kind::Operation).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_around_any_message_loses_nothing_that_was_acknowledged() {
    crash_at_all(Kind::Message).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_at_any_stage_of_a_start_or_a_stop_loses_nothing_that_was_acknowledged() {
    crash_at_all(Kind::Life).await;
}

async fn crash_at_all(kind: Kind) {
    let _alone = ALONE.lock().await;
    let mut world = World::start(&points(kind, |way| way == Way::Join)).await;
    let is_later = |way| {
        matches!(
            way,
            Way::RocksLog | Way::OtherEngine | Way::After(_) | Way::Join
        )
    };
    for name in points(kind, |way| !is_later(way)) {
        crash_at(&mut world, name).await;
    }
    let moving = points(kind, |way| way == Way::OtherEngine);
    if !moving.is_empty() {
        move_logs(&mut world, &moving).await;
        for name in points(kind, |way| way == Way::RocksLog) {
            let node = world.find(Who::Follower, KEY).await;
            crash_under_load(&mut world, node, name).await;
        }
        world
            .cluster
            .set_options(|options| options.raft_engine = true);
    }
    world.verify().await;
}

async fn crash_at(world: &mut World, name: &'static str) {
    match way(name) {
        Way::Load(who) => {
            let node = world.find(who, KEY).await;
            crash_under_load(world, node, name).await;
        }
        Way::Start => {
            let node = world.find(Who::Follower, KEY).await;
            world.cluster.kill_node(node);
            world.come_back(node, &[name]).await;
        }
        Way::Stop => {
            let node = world.find(Who::Follower, KEY).await;
            world.arm(node, name);
            let process = world.cluster.node(node).unwrap();
            process.terminate(STOPS_WITHIN).unwrap();
            world.crashed(node, name).await;
            world.come_back(node, &[]).await;
        }
        Way::Configure => {
            let node = world.find(Who::Leader, KEY).await;
            world.arm(node, name);
            world.ask(
                node,
                "POST",
                "/config",
                r#"{"raftstore.store-pool-size": 3}"#,
            );
            world.crashed(node, name).await;
            world.come_back(node, &[]).await;
        }
        Way::Decide => decide(world, name).await,
        Way::Split(who) => split(world, who, name).await,
        Way::Merge => merge(world, name).await,
        Way::Move(who) => move_replica(world, who, name).await,
        Way::Transfer(who) => transfer(world, who, name).await,
        Way::Lag => lag(world, name).await,
        Way::Join | Way::OtherEngine | Way::RocksLog | Way::After(_) => {
            unreachable!("it has its turn elsewhere")
        }
    }
}

async fn crash_under_load(world: &mut World, node: usize, name: &'static str) {
    world.arm(node, name);
    world.crashed(node, name).await;
    world.come_back(node, &after(name)).await;
}

/// Has placement persist another setting with each attempt.
async fn decide(world: &mut World, name: &'static str) {
    let mut percent = 90;
    let lead = async |world: &World| {
        percent = if percent == 99 { 90 } else { percent + 1 };
        let percent = percent.to_string();
        world.try_ctl(&["config", "placement", "set", "low-space-percent", &percent]);
    };
    let node = world.crash_placement(name, lead).await;
    world.come_back(node, &after(name)).await;
}

/// A key within the Region, behind which nothing of it was cut off yet.
fn border(world: &mut World) -> String {
    world.cuts += 1;
    nth_border(world.cuts)
}

fn nth_border(cut: u64) -> String {
    format!("{KEY}{:04}", 9_999 - cut)
}

/// Cuts the Region in two.
async fn split(world: &mut World, who: Who, name: &'static str) {
    let node = world.find(who, KEY).await;
    world.arm(node, name);
    let mut cuts = world.cuts;
    let lead = async |world: &World| {
        // Another one each time: the last may have been cut without the node's part in it. If it crashes
        // meanwhile, the answer is an error.
        cuts += 1;
        world.try_ctl(&["region", "split", &nth_border(cuts)]);
    };
    world.crash_by(node, name, lead).await;
    world.cuts = cuts;
    world.come_back(node, &[]).await;
}

/// Cuts the Region in two, and has it take the other part in again.
async fn merge(world: &mut World, name: &'static str) {
    world.settle(KEY).await;
    let border = border(world);
    let is_cut = async |world: &mut World| {
        world.try_ctl(&["region", "split", &border]);
        let source = world.region(&border).await.region;
        source.range.start == border.as_bytes()
    };
    world.until("a Region to be merged", is_cut).await;
    let node = world.find(Who::Leader, KEY).await;
    world.arm(node, name);
    let lead = async |world: &World| {
        let (Some(source), Some(target)) = (world.id_now(&border).await, world.id_now(KEY).await)
        else {
            return;
        };
        if source == target {
            // They have merged, and this node had no part in it.
            world.try_ctl(&["region", "split", &border]);
            return;
        }
        world.try_ctl(&["operator", "remove", &source]);
        world.try_ctl(&["operator", "remove", &target]);
        world.try_ctl(&["operator", "add", "merge-region", &source, &target]);
    };
    world.crash_by(node, name, lead).await;
    world.come_back(node, &[]).await;
}

/// Moves a replica of a Region.
async fn move_replica(world: &mut World, who: Who, name: &'static str) {
    world.settle(KEY).await;
    let follower = world.find(Who::Follower, KEY).await;
    let newcomer = world.find(Who::Newcomer, KEY).await;
    let node = match who {
        Who::Leader | Who::Placement => world.find(who, KEY).await,
        Who::Follower => follower,
        Who::Newcomer => newcomer,
    };
    world.arm(node, name);
    let from = world.store_of(follower).await.to_string();
    let to = world.store_of(newcomer).await.to_string();
    let lead = async |world: &World| {
        if let Some(region) = world.id_now(KEY).await {
            world.try_ctl(&["operator", "remove", &region]);
            world.try_ctl(&["operator", "add", "transfer-peer", &region, &from, &to]);
        }
    };
    world.crash_by(node, name, lead).await;
    world.come_back(node, &after(name)).await;
}

/// Has a follower lead.
async fn transfer(world: &mut World, who: Who, name: &'static str) {
    world.settle(KEY).await;
    let follower = world.find(Who::Follower, KEY).await;
    let node = match who {
        Who::Follower => follower,
        _ => world.find(who, KEY).await,
    };
    world.arm(node, name);
    let to = world.store_of(follower).await.to_string();
    let lead = async |world: &World| {
        if let Some(region) = world.id_now(KEY).await {
            world.try_ctl(&["operator", "remove", &region]);
            world.try_ctl(&["operator", "add", "transfer-leader", &region, &to]);
        }
    };
    world.crash_by(node, name, lead).await;
    world.come_back(node, &[]).await;
}

/// Has a follower need a snapshot where it has data and a log.
async fn lag(world: &mut World, name: &'static str) {
    world.settle(KEY).await;
    let node = world.find(Who::Follower, KEY).await;
    world.cluster.kill_node(node);
    // What is applied once this write is acknowledged is behind all that the node has.
    let written = world.client.put(KEY.as_bytes(), "behind".into()).await;
    written.unwrap();
    let reached = world.log_index(KEY, "applied_index").await;
    let is_cut = async |world: &mut World| world.log_index(KEY, "truncated_index").await > reached;
    world.until("a log that is cut", is_cut).await;
    let mut on_its_way = vec![name];
    on_its_way.extend(after(name));
    world.come_back(node, &on_its_way).await;
}

/// Moves the Raft logs of all nodes into RocksDB; the first of them crashes at each step.
async fn move_logs(world: &mut World, steps: &[&'static str]) {
    world
        .cluster
        .set_options(|options| options.raft_engine = false);
    for node in 0..4 {
        world.cluster.kill_node(node);
        let on_its_way = if node == 0 { steps } else { &[] };
        world.come_back(node, on_its_way).await;
    }
}
