//! `life`: what a cluster of real processes goes through in a life, while the official client works on it.
//!
//! Three nodes are filled; a fourth and a fifth join; one is killed for good; one is drained and leaves; most
//! of the data is deleted, and Regions merge. Each step prints its line with the time since the start.
//!
//! **What must hold.** No operation of the client fails: what it tries again by itself counts as one. All that
//! was acknowledged is there before the deletion, and what was not deleted after it. Regions tile the key
//! space at every step.
//!
//! **Not here.** What placement decides (`placement`); here it has little patience, so that a life is short.

mod load;
mod view;

use bench::{Error, Result};
use clap::Parser;
use client::Client;
use e2e::{Cluster, Options};
use load::Load;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};
use view::View;

/// What a cluster goes through in a life.
#[derive(Parser)]
struct Life {
    /// What is loaded.
    #[arg(long, default_value_t = 2_048)]
    mebibytes: u64,
    /// Bytes of a value that is loaded.
    #[arg(long, default_value_t = 8_192)]
    value_size: usize,
    /// `coprocessor.region-split-size` in MiB.
    #[arg(long, default_value_t = 8)]
    split_mebibytes: u64,
    /// Client tasks.
    #[arg(long, default_value_t = 64)]
    clients: usize,
    /// How long a step may take, in seconds.
    #[arg(long, default_value_t = 600)]
    patience: u64,
    /// The folder that all is written below.
    #[arg(long, default_value = "target")]
    dir: PathBuf,
    /// The kontiki program; by default the one beside this program.
    #[arg(long)]
    kontiki: Option<PathBuf>,
}

/// A store is missed after ten seconds, and so on: what takes minutes or hours by default.
const HURRY: &str = r#"{"low-space-percent": 99, "store-limit-add-peer": 6000,
    "store-limit-remove-peer": 6000, "max-store-down-time-ms": 10000,
    "store-disconnected-time-ms": 5000, "split-merge-interval-ms": 1000,
    "merge-schedule-limit": 64, "replica-schedule-limit": 256}"#;
/// Five nodes share a disk: each keeps to its part, and rewrites less of values this large.
const ONE_DISK: &str = "rocksdb.rate-bytes-per-sec = \"80MiB\"\n\
                        rocksdb.defaultcf.write-buffer-size = \"64MiB\"\n";
/// The most Regions that may be left in the end.
const LEFT_MAX: usize = 19;
const POLL: Duration = Duration::from_millis(250);
const ENDS_WITHIN: Duration = Duration::from_secs(60);

#[tokio::main]
async fn main() -> ExitCode {
    match Life::parse().run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// The cluster and who works on it.
struct World {
    cluster: Cluster,
    client: Client,
    load: Load,
    began: Instant,
    patience: Duration,
}

impl Life {
    async fn run(&self) -> Result<()> {
        let mut world = self.begin().await?;
        let pairs = (self.mebibytes << 20) / self.value_size as u64;
        world.load.fill(pairs, self.value_size).await?;
        let filled = (pairs * self.value_size as u64) >> 20;
        world.say(&format!("{filled} MiB are written")).await?;
        let regions = (self.mebibytes / self.split_mebibytes * 4 / 5) as usize;
        world
            .until("split", |view| view.regions() >= regions)
            .await?;
        world.load.go_on();

        let joined = [world.cluster.join_node()?, world.cluster.join_node()?];
        world
            .until("two nodes have joined and have their share", |view| {
                view.stores() == 5 && view.is_balanced(10)
            })
            .await?;

        let victim = 2;
        world.cluster.kill_node(victim);
        world.say("node n3 is killed for good").await?;
        let gone = world.store_of(victim).await?;
        world
            .until("every Region is back at three replicas", |view| {
                view.is_whole() && view.replicas_on(gone) == 0
            })
            .await?;

        let leaving = world.store_of(joined[0]).await?;
        let id = leaving.to_string();
        world.cluster.ctl(&["store", "drain", &id, "--wait"])?;
        world.cluster.stop_node(joined[0], ENDS_WITHIN)?;
        world.say("node n4 is drained and has left").await?;
        world.until("whole again", View::is_whole).await?;
        let checked = world.load.check_filled().await?;
        world
            .say(&format!("{checked} pairs are as written"))
            .await?;

        world.load.delete_filled().await?;
        world.say("they are deleted").await?;
        world
            .until("Regions have merged", |view| view.regions() <= LEFT_MAX)
            .await?;
        let kept = world.load.stop().await?;
        world.say(&format!("{kept} are as written")).await
    }

    async fn begin(&self) -> Result<World> {
        let program = match &self.kontiki {
            Some(path) => path.clone(),
            None => e2e::kontiki_binary()?,
        };
        std::fs::create_dir_all(&self.dir).map_err(|source| Error::Io {
            path: self.dir.clone(),
            source,
        })?;
        let options = Options {
            parent: Some(self.dir.clone()),
            extra: format!(
                "coprocessor.region-split-size = \"{}MiB\"\n\
                 raftstore.split-region-check-tick-interval = \"1s\"\n\
                 raftstore.pd-heartbeat-tick-interval = \"2s\"\n\
                 raftstore.pd-store-heartbeat-tick-interval = \"1s\"\n\
                 {ONE_DISK}",
                self.split_mebibytes
            ),
            ..Options::default()
        };
        let began = Instant::now();
        let cluster = Cluster::start_program(&program, 3, options)?;
        let client = e2e::own_client(&cluster, client::Config::default()).await?;
        let official = e2e::official_client(&cluster, tikv_client::Config::default()).await?;
        e2e::pd_post(&cluster, "/pd/api/v1/config", HURRY).ok_or(Error::Unsettled)?;
        println!("nodes at {}", cluster.endpoints().join(","));
        let world = World {
            cluster,
            client,
            load: Load::new(official, self.clients),
            began,
            patience: Duration::from_secs(self.patience),
        };
        world.say("three nodes serve").await?;
        Ok(world)
    }
}

impl World {
    /// Prints what has happened, and how it stands.
    async fn say(&self, what: &str) -> Result<()> {
        let view = View::of(&self.client).await?;
        let seconds = self.began.elapsed().as_secs_f64();
        let operations = self.load.operations();
        println!("{seconds:>7.1} s  {what:<44} {view}; {operations} operations, 0 failed");
        Ok(())
    }

    /// Waits until it is so; no operation may have failed meanwhile.
    async fn until(&self, what: &'static str, is_so: impl Fn(&View) -> bool) -> Result<()> {
        let deadline = Instant::now() + self.patience;
        loop {
            self.load.failed()?;
            let view = View::of(&self.client).await?;
            if is_so(&view) {
                return self.say(what).await;
            }
            if Instant::now() > deadline {
                let now = view.to_string();
                return Err(Error::NotWithin { what, now });
            }
            tokio::time::sleep(POLL).await;
        }
    }

    async fn store_of(&self, node: usize) -> Result<u64> {
        let address = &self.cluster.endpoints()[node];
        let stores = self.client.stores().await?;
        let store = stores.iter().find(|store| store.address == *address);
        Ok(store.ok_or(Error::Unsettled)?.id.get())
    }
}
