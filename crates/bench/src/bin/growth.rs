//! `growth`: what idle Regions cost a store, at growing numbers of them: memory, processor time while
//! nothing happens, and the time that a restart takes.
//!
//! One cluster grows by splits of an empty key space from each number to the next; at each it is left alone
//! until it is quiet, observed, then stopped and started again.
//!
//! **What is counted.** Resident memory beyond that of the same cluster with one Region, so that programs and pools
//! are not in it: all of it, and without what RocksDB's block cache and write buffers say that they hold, which are bounded
//! whatever the number of Regions; processor time of all of a node's threads.

use bench::{Error, Result};
use clap::Parser;
use client::{Client, Config};
use e2e::{Answer, Cluster, Options};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// What idle Regions cost.
#[derive(Parser)]
struct Growth {
    /// Stores.
    #[arg(long, default_value_t = 1)]
    nodes: usize,
    /// Numbers of Regions, growing.
    #[arg(long, value_delimiter = ',', default_value = "1000,10000,100000")]
    regions: Vec<usize>,
    /// Seconds before a cluster counts as quiet.
    #[arg(long, default_value_t = 60)]
    settle: u64,
    /// Seconds during which a quiet cluster is observed.
    #[arg(long, default_value_t = 60)]
    idle: u64,
    /// `raftstore.raft-base-tick-interval` in milliseconds.
    #[arg(long, default_value_t = 1_000)]
    tick_ms: u64,
    /// The folder that all is written below.
    #[arg(long, default_value = "target")]
    dir: PathBuf,
    /// The kontiki program; by default the one beside this program.
    #[arg(long)]
    kontiki: Option<PathBuf>,
    /// More lines for the nodes' configuration.
    #[arg(long, default_value = "")]
    extra: String,
}

/// Cuts of one request.
const CUTS: usize = 256;
const RETRY: Duration = Duration::from_millis(20);
const SERVES_WITHIN: Duration = Duration::from_secs(120);

#[tokio::main]
async fn main() -> ExitCode {
    match Growth::parse().run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// One node, at one moment.
#[derive(Clone, Copy)]
struct Sample {
    resident_bytes: u64,
    /// Of these.
    cache_bytes: u64,
    cpu: Duration,
}

impl Sample {
    /// Bytes beyond those of an earlier sample, of each of `regions`: all, and those that no cache holds.
    fn more_than(&self, before: &Self, regions: usize) -> (f64, f64) {
        let resident = self.resident_bytes as f64 - before.resident_bytes as f64;
        let cache = self.cache_bytes as f64 - before.cache_bytes as f64;
        (
            resident / regions as f64,
            (resident - cache) / regions as f64,
        )
    }
}

impl Growth {
    async fn run(&self) -> Result<()> {
        let program = match &self.kontiki {
            Some(path) => path.clone(),
            None => e2e::kontiki_binary()?,
        };
        std::fs::create_dir_all(&self.dir).map_err(|source| Error::Io {
            path: self.dir.clone(),
            source,
        })?;
        let options = Options {
            tick: Duration::from_millis(self.tick_ms),
            parent: Some(self.dir.clone()),
            extra: self.extra.clone(),
            status: true,
            ..Options::default()
        };
        let mut cluster = Cluster::start_program(&program, self.nodes, options)?;
        let mut client = e2e::own_client(&cluster, patient()).await?;
        tokio::time::sleep(Duration::from_secs(self.settle)).await;
        let empty = self.sample(&mut cluster)?;
        println!(
            "{:>8}{:>6}{:>10}{:>10}{:>10}{:>12}{:>10}{:>12}",
            "regions", "node", "split s", "MiB", "B each", "no cache", "CPU %", "restart s"
        );
        let mut cuts = 0;
        for regions in &self.regions {
            let began = Instant::now();
            grow(&client, &mut cuts, regions - 1).await?;
            let split = began.elapsed();
            tokio::time::sleep(Duration::from_secs(self.settle)).await;
            let before = self.sample(&mut cluster)?;
            let window = Instant::now();
            tokio::time::sleep(Duration::from_secs(self.idle)).await;
            let after = self.sample(&mut cluster)?;
            let window = window.elapsed();
            let began = Instant::now();
            cluster.kill_all();
            cluster.start_all()?;
            client = self.serving(&cluster, cuts).await?;
            let restart = began.elapsed();
            for (node, sample) in after.iter().enumerate() {
                let (all, without_cache) = sample.more_than(&empty[node], *regions);
                let cpu = (sample.cpu - before[node].cpu).as_secs_f64() / window.as_secs_f64();
                println!(
                    "{regions:>8}{:>6}{:>10.1}{:>10.1}{all:>10.0}{without_cache:>12.0}{:>10.2}{:>12.1}",
                    node + 1,
                    split.as_secs_f64(),
                    sample.resident_bytes as f64 / f64::from(1 << 20),
                    cpu * 100.0,
                    restart.as_secs_f64()
                );
            }
        }
        Ok(())
    }

    fn sample(&self, cluster: &mut Cluster) -> Result<Vec<Sample>> {
        let nodes = (0..self.nodes).map(|node| {
            let cache_bytes = cache_bytes(&cluster.status_address(node));
            let process = cluster.node(node).expect("all nodes run");
            Ok(Sample {
                resident_bytes: process.resident_bytes()?,
                cache_bytes,
                cpu: process.cpu_time()?,
            })
        });
        nodes.collect()
    }

    /// Returns once Regions at the beginning, in the middle and at the end of the key space take writes.
    async fn serving(&self, cluster: &Cluster, cuts: usize) -> Result<Client> {
        let client = e2e::own_client(cluster, patient()).await?;
        let deadline = Instant::now() + SERVES_WITHIN;
        for number in [0, cuts / 2, cuts] {
            while let Err(error) = client.put(&key(number), "served".into()).await {
                if Instant::now() > deadline {
                    return Err(Error::NotServing {
                        store: "kontiki",
                        after: SERVES_WITHIN,
                        last: error.to_string(),
                    });
                }
                tokio::time::sleep(RETRY).await;
            }
        }
        Ok(client)
    }
}

/// What the engine's caches hold, as the node at this status address says.
fn cache_bytes(address: &str) -> u64 {
    let page = Answer::to("GET /metrics", address, "", "").expect("the status server answers");
    let series = page.series().into_iter();
    let caches = series.filter(|(name, _)| {
        let families = [
            "kontiki_rocksdb_memtable_bytes",
            "kontiki_rocksdb_block_cache_bytes",
        ];
        families.iter().any(|family| name.starts_with(family))
    });
    caches.map(|(_, bytes)| bytes).sum::<f64>() as u64
}

fn key(number: usize) -> Vec<u8> {
    format!("region{number:09}").into_bytes()
}

/// Cuts the last Region until there are `wanted` cuts.
async fn grow(client: &Client, cuts: &mut usize, wanted: usize) -> Result<()> {
    while *cuts < wanted {
        let upto = wanted.min(*cuts + CUTS);
        let keys: Vec<Vec<u8>> = (*cuts + 1..=upto).map(key).collect();
        let keys: Vec<&[u8]> = keys.iter().map(Vec::as_slice).collect();
        client.split_region_at(&keys).await?;
        *cuts = upto;
    }
    Ok(())
}

/// On a machine that is busy with many Regions an answer may take longer than users would wait.
fn patient() -> Config {
    Config {
        attempt_timeout: Duration::from_secs(60),
        deadline: Duration::from_secs(120),
        ..Config::default()
    }
}
