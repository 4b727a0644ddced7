//! `chaos`: faults on real processes under load; see the crate's library and `docs/reliability.md`.
//!
//! **Not here.** Everything but the command line.

use chaos::{Numbers, Options, run, schedule};
use clap::{Parser, ValueEnum};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Kills, stops and cuts off real servers under load, and checks that every answer was right.
#[derive(Parser)]
struct Chaos {
    /// How many times processes are killed: leaders, any, all.
    #[arg(long, default_value_t = 200)]
    kills: usize,
    /// How many times one is stopped beyond its lease.
    #[arg(long, default_value_t = 50)]
    pauses: usize,
    /// How many times links are cut, in one direction or both, or slow.
    #[arg(long, default_value_t = 50)]
    partitions: usize,
    /// Where Raft logs are; one run on each, if not given.
    #[arg(long)]
    engine: Option<Engine>,
    /// What faults and load are drawn from; a fresh one, if not given.
    #[arg(long)]
    seed: Option<u64>,
    /// Clients that find their leaders.
    #[arg(long, default_value_t = 16)]
    clients: usize,
    /// Clients of each node that only ask there. Every second one only reads.
    #[arg(long, default_value_t = 4)]
    stubborn: usize,
    /// The longest that a Region may be without service, in seconds.
    #[arg(long, default_value_t = 30)]
    patience: u64,
    /// The folder that everything is written below.
    #[arg(long, default_value = "target")]
    dir: PathBuf,
    /// The kontiki program; by default the one beside this program.
    #[arg(long)]
    kontiki: Option<PathBuf>,
}

/// A Raft log engine.
#[derive(Clone, Copy, ValueEnum)]
enum Engine {
    /// The log engine.
    RaftLog,
    /// RocksDB.
    Rocksdb,
}

impl Chaos {
    async fn run(&self) -> chaos::Result<bool> {
        let program = match &self.kontiki {
            Some(path) => path.clone(),
            None => e2e::kontiki_binary()?,
        };
        let seed = self.seed.unwrap_or_else(fresh_seed);
        let engines = match self.engine {
            Some(engine) => vec![engine],
            None => vec![Engine::RaftLog, Engine::Rocksdb],
        };
        let numbers = Numbers {
            kills: self.kills,
            pauses: self.pauses,
            partitions: self.partitions,
        };
        let (mut reports, mut is_clean) = (Vec::new(), true);
        for engine in engines {
            let options = Options {
                faults: schedule(seed, numbers),
                seed,
                raft_engine: matches!(engine, Engine::RaftLog),
                guided: self.clients,
                stubborn: self.stubborn,
                program: program.clone(),
                dir: self.dir.clone(),
                first_tick: None,
                patience: Duration::from_secs(self.patience),
            };
            println!("seed {seed}, engine {}", options.engine());
            let report = run(&options).await?;
            is_clean &= report.is_clean();
            reports.push(report);
        }
        for report in &reports {
            println!("\n{report}");
        }
        Ok(is_clean)
    }
}

fn fresh_seed() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_nanos() as u64 % 1_000_000_000)
}

#[tokio::main]
async fn main() -> ExitCode {
    match Chaos::parse().run().await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
