//! `beside`: what one thing costs while another one goes on, on three real processes.
//!
//! - `active`: puts spread over one Region, and over many.
//! - `scan`: point reads alone, and while a full scan runs in a loop.
//!
//! **How.** Both sides of a ratio are measured in turns within one run, through the official Rust client.

use bench::{Error, Result, tikv};
use clap::{Args, Parser, Subcommand};
use client::{Client, Config, Contents};
use e2e::{Cluster, Options};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use workload::{KeySource, Mix, Operation, Report, Spec, Stop, Target};

/// What one thing costs while another one goes on.
#[derive(Parser)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    setup: Setup,
}

#[derive(Subcommand)]
enum Command {
    /// Puts over many active Regions beside puts to one.
    Active {
        /// Regions that the keys are spread over.
        #[arg(long, default_value_t = 1_000)]
        regions: u64,
    },
    /// Point reads while a full scan runs in a loop, beside point reads alone.
    Scan {
        /// What is loaded, and scanned.
        #[arg(long, default_value_t = 1_024)]
        mebibytes: u64,
    },
}

#[derive(Args)]
struct Setup {
    /// Client tasks.
    #[arg(long, global = true, default_value_t = 64)]
    clients: usize,
    /// Bytes of a value.
    #[arg(long, global = true, default_value_t = 128)]
    value_size: usize,
    /// Number of different keys of the puts.
    #[arg(long, global = true, default_value_t = 100_000)]
    keys: u64,
    /// Measured seconds of each turn.
    #[arg(long, global = true, default_value_t = 10)]
    seconds: u64,
    /// Turns of each side.
    #[arg(long, global = true, default_value_t = 3)]
    turns: usize,
    /// `raftstore.raft-base-tick-interval` in milliseconds.
    #[arg(long, global = true, default_value_t = 1_000)]
    tick_ms: u64,
    /// The folder that all is written below.
    #[arg(long, global = true, default_value = "target")]
    dir: PathBuf,
    /// The kontiki program; by default the one beside this program.
    #[arg(long, global = true)]
    kontiki: Option<PathBuf>,
    /// Milliseconds by which each sync of a Raft log takes longer, as on a slower disk; needs a kontiki that was
    /// built with failpoints.
    #[arg(long, global = true, default_value_t = 0)]
    slow_sync_ms: u64,
    /// More lines for the nodes' configuration.
    #[arg(long, global = true, default_value = "")]
    extra: String,
}

const NODES: usize = 3;
/// The failpoint at which a Raft log is about to be synced.
const SYNC: &str = "engine_raftlog::sync::begin";
const SERVING_WITHIN: Duration = Duration::from_secs(60);
const WARM_UP: Duration = Duration::from_secs(2);
/// Pairs of one message of the load.
const LOADED_AT_ONCE: u64 = 256;
const SETTLE: Duration = Duration::from_secs(5);

#[tokio::main]
async fn main() -> ExitCode {
    let Cli { command, setup } = Cli::parse();
    let done = match command {
        Command::Active { regions } => setup.active(regions).await,
        Command::Scan { mebibytes } => setup.scan(mebibytes).await,
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

impl Setup {
    fn start(&self) -> Result<Cluster> {
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
            environment: self.slow_disk().into_iter().collect(),
            ..Options::default()
        };
        Ok(Cluster::start_program(&program, NODES, options)?)
    }

    /// What has the nodes' disk seem slower than it is.
    fn slow_disk(&self) -> Option<(String, String)> {
        let slow = format!("{SYNC}=sleep({})", self.slow_sync_ms);
        (self.slow_sync_ms > 0).then(|| (failpoint::VARIABLE.to_owned(), slow))
    }

    fn spec(&self, mix: Mix, keys: u64) -> Spec {
        Spec {
            mix,
            clients: self.clients,
            keys,
            value_size_bytes: self.value_size,
            stop: Stop::After(Duration::from_secs(self.seconds)),
            warm_up: WARM_UP,
            ..Spec::default()
        }
    }

    /// A fresh cluster for each turn, so that neither side inherits what the other has written.
    async fn active(&self, regions: u64) -> Result<()> {
        let mut rates = [const { Vec::new() }; 2];
        for _ in 0..self.turns {
            for (side, regions) in [1, regions].into_iter().enumerate() {
                let cluster = self.start()?;
                let own = e2e::own_client(&cluster, patient()).await?;
                let spec = self.spec(Mix::PUT, self.keys);
                cut(&own, &spec, regions).await?;
                tokio::time::sleep(SETTLE).await;
                let client = tikv::connect("kontiki", &cluster.endpoints(), SERVING_WITHIN).await?;
                find(&client, &spec, regions).await?;
                let report = workload::run(&spec, &[client]).await?;
                rates[side].push(show(&format!("{regions} Regions"), Operation::Put, &report));
            }
        }
        let [one, many] = rates.map(|rates| median(rates.into_iter().map(|row| row.0)));
        println!("throughput, {regions} Regions ÷ 1: {:.2}", many / one);
        Ok(())
    }

    async fn scan(&self, mebibytes: u64) -> Result<()> {
        let cluster = self.start()?;
        let own = e2e::own_client(&cluster, patient()).await?;
        let pair_bytes = self.value_size as u64 + Spec::default().key_size_bytes as u64;
        let spec = self.spec(Mix::GET, (mebibytes << 20) / pair_bytes);
        load(&own, &spec).await?;
        tokio::time::sleep(SETTLE).await;
        let client = tikv::connect("kontiki", &cluster.endpoints(), SERVING_WITHIN).await?;
        let clients = [client];
        let mut tails = [const { Vec::new() }; 2];
        for _ in 0..self.turns {
            let alone = workload::run(&spec, &clients).await?;
            tails[0].push(show("alone", Operation::Get, &alone));
            let (go_on, pairs) = (Arc::new(AtomicBool::new(true)), Arc::new(AtomicU64::new(0)));
            let scan = tokio::spawn(scan_on(own.clone(), go_on.clone(), pairs.clone()));
            let beside = workload::run(&spec, &clients).await?;
            go_on.store(false, Ordering::Relaxed);
            scan.await.expect("a scan does not panic")?;
            tails[1].push(show("beside a scan", Operation::Get, &beside));
            println!("  the scan read {} pairs", pairs.load(Ordering::Relaxed));
        }
        let [alone, beside] = tails.map(|tails| median(tails.into_iter().map(|row| row.1)));
        println!("p99 of gets, beside a scan ÷ alone: {:.2}", beside / alone);
        Ok(())
    }
}

/// Cuts the key space into as many Regions, each with as many of the workload's keys.
async fn cut(client: &Client, spec: &Spec, regions: u64) -> Result<()> {
    let source = KeySource::new(spec);
    let keys: Vec<_> = (1..regions)
        .map(|number| source.key(number * spec.keys / regions))
        .collect();
    for keys in keys.chunks(256) {
        let keys: Vec<&[u8]> = keys.iter().map(AsRef::as_ref).collect();
        client.split_region_at(&keys).await?;
    }
    Ok(())
}

/// Has a client find all Regions. If all of its tasks looked for them at once it would ask placement once for each task,
/// one question after the other.
async fn find(client: &tikv::TikvTarget, spec: &Spec, regions: u64) -> Result<()> {
    let source = KeySource::new(spec);
    for number in 0..regions {
        client.get(source.key(number * spec.keys / regions)).await?;
    }
    Ok(())
}

async fn load(client: &Client, spec: &Spec) -> Result<()> {
    let (keys, values) = (
        KeySource::new(spec),
        workload::ValueSource::new(1, spec.value_size_bytes),
    );
    let mut rng = workload::Rng::new(1, 1);
    let mut next = 0;
    while next < spec.keys {
        let end = spec.keys.min(next + LOADED_AT_ONCE);
        let pairs = (next..end).map(|index| (keys.key(index), values.next(&mut rng)));
        let pairs: Vec<_> = pairs.collect();
        client.batch_put(&pairs).await?;
        next = end;
    }
    Ok(())
}

/// Scans everything, again and again.
async fn scan_on(client: Client, go_on: Arc<AtomicBool>, pairs: Arc<AtomicU64>) -> Result<()> {
    loop {
        let mut scan = client.scan_pages(b"", b"", usize::MAX, Contents::Pairs)?;
        while let Some(page) = scan.next_page().await? {
            pairs.fetch_add(page.len() as u64, Ordering::Relaxed);
            if !go_on.load(Ordering::Relaxed) {
                return Ok(());
            }
        }
    }
}

/// Prints a turn; its operations a second and 99th percentile.
fn show(side: &str, operation: Operation, report: &Report) -> (f64, f64) {
    let row = report.operation(operation).expect("it is measured");
    let (p50, p99) = (row.latency.p50_us, row.latency.p99_us);
    println!(
        "{side:<16}{:>9.0} {}s/s, p50 {:.2} ms, p99 {:.2} ms, {} errors",
        row.throughput_per_s,
        operation.name(),
        p50 as f64 / 1e3,
        p99 as f64 / 1e3,
        row.errors
    );
    for error in &report.error_samples {
        println!("  {error}");
    }
    (row.throughput_per_s, p99 as f64)
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// On a machine that is busy with many Regions an answer may take longer than users would wait.
fn patient() -> Config {
    Config {
        attempt_timeout: Duration::from_secs(60),
        deadline: Duration::from_secs(120),
        ..Config::default()
    }
}
