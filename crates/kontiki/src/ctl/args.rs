//! The command line of `kontiki ctl`.
//!
//! **Not here.** Doing it; and the arguments of commands about placement, which stand with them.

use super::diagnose::DiagnoseArgs;
use super::encoding::Encoding;
use super::load::Format;
use super::local::LocalArgs;
use super::operator::OperatorCommand;
use super::region::RegionArgs;
use super::scheduler::SchedulerCommand;
use super::settings::ConfigCommand;
use super::store::StoreArgs;
use crate::cluster::ClusterArgs;
use crate::config::units::ReadableDuration;
use clap::{Args, Subcommand, ValueEnum};
use std::path::PathBuf;

/// Flags and commands of `kontiki ctl`.
#[derive(Debug, Args)]
pub struct CtlArgs {
    /// How the cluster is reached.
    #[command(flatten)]
    pub cluster: ClusterArgs,
    /// How results are printed.
    #[arg(long, value_enum, default_value = "text", global = true)]
    pub output: Output,
    /// How keys and values are written, in arguments, results and files.
    /// [default: escaped; for `raw load`: plain]
    #[arg(long, value_enum, global = true)]
    pub encoding: Option<Encoding>,
    /// What to do.
    #[command(subcommand)]
    pub command: CtlCommand,
}

/// How results are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people: tables; keys and values with a TAB between them.
    Text,
    /// A JSON object a line.
    Json,
}

/// The commands of `kontiki ctl`.
#[derive(Debug, Subcommand)]
pub enum CtlCommand {
    /// Look at all nodes, say what is wrong and what to do, and pack all that was collected for a report.
    Diagnose(DiagnoseArgs),
    /// Look at the data folder of a node that is stopped, and bring Regions back that have lost their majority.
    Local(LocalArgs),
    /// All others.
    #[command(flatten)]
    OfCluster(ClusterCommand),
}

/// The commands that need a cluster which answers.
#[derive(Debug, Subcommand)]
pub enum ClusterCommand {
    /// Keys and values.
    #[command(subcommand)]
    Raw(RawCommand),
    /// The stores, or one of them; drain one, set limits and labels.
    Store(StoreArgs),
    /// The Regions in the order of their keys, or one of them; split and scatter them.
    Region(RegionArgs),
    /// What placement has the leaders of Regions do.
    #[command(subcommand)]
    Operator(OperatorCommand),
    /// What placement does by itself.
    #[command(subcommand)]
    Scheduler(SchedulerCommand),
    /// What can be set while the cluster runs.
    #[command(subcommand)]
    Config(ConfigCommand),
    /// The members of placement, and which of them leads.
    Member,
}

/// The commands of `kontiki ctl raw`.
#[derive(Debug, Subcommand)]
pub enum RawCommand {
    /// Print the values of keys; the exit code is 1 if one is missing.
    Get {
        /// The keys.
        #[arg(required = true)]
        keys: Vec<String>,
    },
    /// Write one pair.
    Put {
        /// The key.
        key: String,
        /// The value.
        value: String,
        /// How long it lives; for ever if not given.
        #[arg(long, value_name = "DURATION")]
        ttl: Option<ReadableDuration>,
    },
    /// Delete keys.
    Delete {
        /// The keys.
        #[arg(required = true)]
        keys: Vec<String>,
    },
    /// Print pairs in the order of their keys.
    Scan(ScanArgs),
    /// Write all pairs of a file; of a key that occurs twice the last value stays.
    Load(LoadArgs),
}

/// Flags of `kontiki ctl raw scan`.
#[derive(Debug, Args)]
pub struct ScanArgs {
    /// From this key on, itself included.
    #[arg(long, conflicts_with = "prefix")]
    pub start: Option<String>,
    /// Up to this key, itself not included.
    #[arg(long, conflicts_with = "prefix")]
    pub end: Option<String>,
    /// Only keys that begin so.
    #[arg(long)]
    pub prefix: Option<String>,
    /// The most pairs; all if not given.
    #[arg(long)]
    pub limit: Option<u64>,
    /// Without the values.
    #[arg(long)]
    pub keys_only: bool,
}

/// Flags of `kontiki ctl raw load`.
#[derive(Debug, Args)]
pub struct LoadArgs {
    /// The file; `-` for the standard input.
    pub file: PathBuf,
    /// How its lines are read; told from the name's ending if not given (.tsv, .jsonl).
    #[arg(long, value_enum)]
    pub format: Option<Format>,
    /// The most pairs in one request.
    #[arg(long, default_value_t = 256, value_parser = clap::value_parser!(u32).range(1..=16_384))]
    pub batch: u32,
    /// Requests in flight.
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=1_024))]
    pub workers: u16,
}
