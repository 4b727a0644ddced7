//! `ctl local`: looks at the data folder of a node that is stopped, and brings Regions back by force.
//!
//! **Why.** A node that does not start can't be asked what is wrong, and a cluster that has lost most of its nodes
//! can't agree on anything any more.
//!
//! **Invariants.** The folder is locked: a node that runs is refused. Everything but `recover --yes-lose-data` opens
//! the engines for reading only, and leaves every file as it is. Of users' data only keys are shown.
//!
//! **Not here.** What the records mean (`node::local`).

mod entries;
mod recover;
mod regions;
mod verify;

use super::args::Output;
use super::encoding::Encoding;
use super::output::Printer;
use crate::config::{self, Leaf};
use crate::error::Result;
use crate::run::{Logs, Stopped};
use clap::{Args, Subcommand};
use engine_rocks::RocksKv;
use node::local::LocalStore;
use std::path::PathBuf;
use types::{RegionId, StoreId};

/// Arguments of `kontiki ctl local`.
#[derive(Debug, Args)]
pub struct LocalArgs {
    /// The node's data folder; as its configuration says, if not given.
    #[arg(long, value_name = "DIR", global = true)]
    data_dir: Option<PathBuf>,
    /// The node's configuration file.
    #[arg(long, value_name = "FILE", global = true)]
    config: Option<PathBuf>,
    /// What to do.
    #[command(subcommand)]
    command: LocalCommand,
}

/// The commands of `kontiki ctl local`.
#[derive(Debug, Subcommand)]
enum LocalCommand {
    /// All Regions of the folder, or some of them.
    Regions {
        /// Their ids; all if not given.
        ids: Vec<u64>,
        /// Only what is not as it should be, and why.
        #[arg(long)]
        bad: bool,
    },
    /// What a Region's replica has promised, and how far its log goes.
    RaftState {
        /// The Region's id.
        id: u64,
    },
    /// The entries of a Region's log. Keys are shown, of values only the size.
    RaftLog {
        /// The Region's id.
        id: u64,
        /// From this entry on.
        #[arg(long, value_name = "INDEX")]
        from: Option<u64>,
        /// Up to this entry, itself included.
        #[arg(long, value_name = "INDEX")]
        to: Option<u64>,
    },
    /// Read everything, and say what is damaged; the exit code is 1 if anything is.
    Verify,
    /// Let Regions that have lost most of their replicas go on with those that are left. Data may be lost.
    Recover(RecoverArgs),
}

/// Arguments of `kontiki ctl local recover`.
#[derive(Debug, Args)]
pub struct RecoverArgs {
    /// The ids of the stores that are lost and will never be started again, with commas between them.
    #[arg(long, value_name = "IDS", value_delimiter = ',', required = true)]
    failed_stores: Vec<u64>,
    /// Only these Regions, with commas between them; all if not given.
    #[arg(long, value_name = "IDS", value_delimiter = ',')]
    regions: Vec<u64>,
    /// Make voters of the learners that are left.
    #[arg(long)]
    promote_learners: bool,
    /// Change Regions, too, that have their majority.
    #[arg(long)]
    even_with_majority: bool,
    /// Do it. Without this, only what would be done is shown.
    #[arg(long)]
    yes_lose_data: bool,
}

/// Does what the command line says.
///
/// # Errors
/// The folder is no node's, its node runs, or it is damaged; or `verify` or `recover` has something to say.
pub fn run(args: LocalArgs, (form, encoding): (Output, Encoding), to: &mut Printer) -> Result<()> {
    let data_dir = args.data_dir.map(|path| path.display().to_string());
    let flag = data_dir.map(|path| Leaf::from_flag("--data-dir", "storage.data-dir", path));
    let flags = flag.into_iter().collect();
    let config = config::load(args.config.as_deref(), std::env::vars_os(), flags)?;
    let stopped = Stopped::lock(config)?;
    match args.command {
        LocalCommand::Regions { ids, bad } => {
            let ids: Vec<RegionId> = ids.into_iter().map(RegionId).collect();
            match Opened::read(&stopped)? {
                (kv, Logs::Engine(log)) => regions::show((&kv, &log), &ids, bad, to),
                (kv, Logs::Rocks(log)) => regions::show((&kv, &log), &ids, bad, to),
            }
        }
        LocalCommand::RaftState { id } => match Opened::read(&stopped)? {
            (kv, Logs::Engine(log)) => regions::raft_state(&kv, &log, RegionId(id), to),
            (kv, Logs::Rocks(log)) => regions::raft_state(&kv, &log, RegionId(id), to),
        },
        LocalCommand::RaftLog { id, from, to: last } => {
            let wanted = entries::Wanted {
                region: RegionId(id),
                from,
                to: last,
                encoding,
                all: form == Output::Json,
            };
            match stopped.read_logs()? {
                Logs::Engine(log) => entries::show(&log, &wanted, to),
                Logs::Rocks(log) => entries::show(&log, &wanted, to),
            }
        }
        LocalCommand::Verify => verify::run(&stopped, to),
        LocalCommand::Recover(args) => recover::run(&stopped, &args, to),
    }
}

/// The engines of a folder.
struct Opened;

impl Opened {
    /// Opens both for reading only, in the order of a start: whose the data is comes first.
    fn read(stopped: &Stopped) -> Result<(RocksKv, Logs)> {
        let kv = stopped.read_kv()?;
        LocalStore::read(&kv)?;
        Ok((kv, stopped.read_logs()?))
    }
}

fn store_ids(ids: &[u64]) -> Vec<StoreId> {
    ids.iter().copied().map(StoreId).collect()
}
