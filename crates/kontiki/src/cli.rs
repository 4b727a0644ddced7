//! The command line: what can be asked for, and how a flag becomes an item of the configuration.
//!
//! **Invariants.** A flag of `server` that names an item sets that item and nothing else, so that file
//! and flags are checked by the same rules.
//!
//! **Not here.** Doing it.

use crate::bench::BenchArgs;
use crate::cluster::parse_api_version;
use crate::config::{Leaf, LogLevel};
use crate::ctl::CtlArgs;
use crate::docs::{ConfigDocs, FailpointsDocs, MetricsDocs};
use crate::simulation::SimArgs;
use clap::{Args, Parser, Subcommand};
use client::ApiVersion;
use std::path::PathBuf;

/// A distributed key-value store that speaks TiKV's protocol.
#[derive(Debug, Parser)]
#[command(name = "kontiki", version, about, propagate_version = true)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run one node.
    Server(ServerArgs),
    /// Run a whole cluster in this process, to try things out.
    Playground(PlaygroundArgs),
    /// Read and write a running cluster, and look at it.
    Ctl(CtlArgs),
    /// Put load on a running cluster and measure it.
    Bench(BenchArgs),
    /// What can be configured.
    #[command(subcommand)]
    Config(ConfigDocs),
    /// What is counted.
    #[command(subcommand)]
    Metrics(MetricsDocs),
    /// Where a program that was built for tests can be made to fail.
    #[command(subcommand)]
    Failpoints(FailpointsDocs),
    /// Run clusters in a simulated world of faults, and check what they promise.
    Sim(SimArgs),
}

/// Flags of `kontiki server`. Each overrides the configuration file.
#[derive(Debug, Default, Args)]
pub struct ServerArgs {
    /// The configuration file (TOML); etc/kontiki.toml in the sources shows every item.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Check the configuration, say what is wrong with it, and start nothing.
    #[arg(long)]
    pub check_config: bool,
    /// This node's name, as in --initial-cluster.
    #[arg(long)]
    name: Option<String>,
    /// The address to listen on.
    #[arg(long, value_name = "HOST:PORT")]
    addr: Option<String>,
    /// The address that others dial.
    #[arg(long, value_name = "HOST:PORT")]
    advertise_addr: Option<String>,
    /// The folder of all data.
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// The address of the status server (GET /, /status, /ready, /config, /metrics); "" for none.
    #[arg(long, value_name = "HOST:PORT")]
    status_addr: Option<String>,
    /// The first members, the same on each: n1=host:port,n2=host:port. Without it the node is alone.
    #[arg(long, value_name = "MEMBERS")]
    initial_cluster: Option<String>,
    /// Nodes of a running cluster that this one joins: host:port,host:port. It gets its share of the data.
    #[arg(long, value_name = "NODES")]
    join: Option<String>,
    /// Tells apart clusters that the same members found; the same on each.
    #[arg(long, value_name = "TOKEN")]
    initial_cluster_token: Option<String>,
    /// The least severe events to log.
    #[arg(long, value_name = "LEVEL")]
    log_level: Option<LogLevel>,
    /// The file to log to, in place of the standard error stream.
    #[arg(long, value_name = "FILE")]
    log_file: Option<PathBuf>,
}

impl ServerArgs {
    /// The items that flags set.
    pub fn leaves(&self) -> Vec<Leaf> {
        let path = |path: &Option<PathBuf>| path.as_ref().map(|path| path.display().to_string());
        let level = self
            .log_level
            .map(|level| format!("{level:?}").to_lowercase());
        [
            ("--name", "cluster.name", self.name.clone()),
            ("--addr", "server.addr", self.addr.clone()),
            (
                "--advertise-addr",
                "server.advertise-addr",
                self.advertise_addr.clone(),
            ),
            ("--data-dir", "storage.data-dir", path(&self.data_dir)),
            (
                "--initial-cluster",
                "cluster.initial-cluster",
                self.initial_cluster.clone(),
            ),
            ("--join", "cluster.join", self.join.clone()),
            (
                "--initial-cluster-token",
                "cluster.token",
                self.initial_cluster_token.clone(),
            ),
            (
                "--status-addr",
                "server.status-addr",
                self.status_addr.clone(),
            ),
            ("--log-level", "log.level", level),
            ("--log-file", "log.file.filename", path(&self.log_file)),
        ]
        .into_iter()
        .filter_map(|(flag, key, value)| Some(Leaf::from_flag(flag, key, value?)))
        .collect()
    }
}

/// Flags of `kontiki playground`.
#[derive(Debug, Args)]
pub struct PlaygroundArgs {
    /// How many nodes.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=9))]
    pub nodes: u16,
    /// The first node's port; the others have the next ones.
    #[arg(long, default_value_t = 2379, value_parser = clap::value_parser!(u16).range(1..))]
    pub port: u16,
    /// The first node's port for its status; the others have the next ones.
    #[arg(long, default_value_t = 20180, value_parser = clap::value_parser!(u16).range(1..))]
    pub status_port: u16,
    /// The API that the cluster speaks: 1, or 2 with keyspaces.
    #[arg(long, default_value = "1", value_parser = parse_api_version)]
    pub api_version: ApiVersion,
    /// Where to keep the data; a temporary folder, removed at the end, if it is not given.
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// The least severe events to log. Nodes that start and stop together warn about each other.
    #[arg(long, value_name = "LEVEL", default_value = "error")]
    pub log_level: LogLevel,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;
    use clap::CommandFactory;

    fn server(args: &[&str]) -> ServerArgs {
        let line = ["kontiki", "server"].iter().chain(args);
        match Cli::try_parse_from(line).unwrap().command {
            Command::Server(server) => server,
            other => panic!("parsed as {other:?}"),
        }
    }

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_server_flag_sets_its_item() {
        let args = server(&[
            "--name",
            "n2",
            "--addr",
            "127.0.0.1:1",
            "--advertise-addr",
            "127.0.0.1:2",
            "--data-dir",
            "d",
            "--initial-cluster",
            "n1=h:1,n2=127.0.0.1:2",
            "--join",
            "h:1,h:2",
            "--initial-cluster-token",
            "t",
            "--status-addr",
            "127.0.0.1:3",
            "--log-level",
            "debug",
            "--log-file",
            "l",
        ]);
        let config = config::load(None, [], args.leaves()).unwrap();
        assert_eq!(config.cluster.name, "n2");
        assert_eq!(config.server.addr, "127.0.0.1:1");
        assert_eq!(config.server.advertise_addr, "127.0.0.1:2");
        assert_eq!(config.storage.data_dir, PathBuf::from("d"));
        assert_eq!(config.listed_members().unwrap().unwrap().len(), 2);
        assert_eq!(config.join_nodes(), ["h:1", "h:2"]);
        assert_eq!(config.cluster.token, "t");
        assert_eq!(config.server.status_addr, "127.0.0.1:3");
        assert_eq!(config.log.level, LogLevel::Debug);
        assert_eq!(config.log.file.filename, PathBuf::from("l"));
    }

    #[test]
    fn without_flags_nothing_is_set() {
        assert!(server(&[]).leaves().is_empty());
    }
}
