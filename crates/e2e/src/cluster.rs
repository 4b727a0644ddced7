//! A cluster of `kontiki server` processes in a temporary folder.
//!
//! **Invariants.** Every node keeps its name and data directory over restarts, and its address unless it is
//! moved. The first nodes get the list of first members, later ones join. All nodes end with the
//! [`Cluster`].
//!
//! **Not here.** Clients, and whether the cluster serves (`connect`).

use crate::ports::free_ports;
use crate::process::Process;
use crate::{Error, Result};
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use tempfile::TempDir;

/// The tick of the clusters that tests and benchmarks start.
pub const TICK: Duration = Duration::from_millis(50);
/// Ticks after which a follower that hears nothing stands for election, at the least; at most twice.
pub const ELECTION_TICKS: u32 = 10;
/// The longest election timeout of a cluster with [`TICK`].
pub const ELECTION_TIMEOUT_MAX: Duration = TICK.saturating_mul(2 * ELECTION_TICKS);

/// The line of a configuration file without which nodes of one machine would want the same port, for
/// a status server that no test asks.
pub const NO_STATUS: &str = "server.status-addr = \"\"";

/// How a cluster is set up.
#[derive(Clone, Debug)]
pub struct Options {
    /// `storage.api-version`: 1 or 2.
    pub api_version: u8,
    /// `raft-engine.enable`: whether the Raft log lives in the log engine, or else in RocksDB.
    pub raft_engine: bool,
    /// `raftstore.raft-base-tick-interval`: elections take [`ELECTION_TICKS`] of it.
    pub tick: Duration,
    /// Folder in which the cluster's temporary folder is made; the system's if there is none.
    pub parent: Option<PathBuf>,
    /// Folder of the data directories, if not that one: output and configuration stay there.
    pub data: Option<PathBuf>,
    /// Where each first node is dialled by the others and by clients, as `host:port`; where it listens, if
    /// there are none.
    pub advertised: Vec<String>,
    /// More lines for the configuration file, as `section.item = value`.
    pub extra: String,
    /// Whether nodes have status servers.
    pub status: bool,
    /// More in the environment of nodes.
    pub environment: Vec<(String, String)>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            api_version: 1,
            raft_engine: true,
            tick: TICK,
            parent: None,
            data: None,
            advertised: Vec::new(),
            extra: String::new(),
            status: false,
            environment: Vec::new(),
        }
    }
}

impl Options {
    /// Dotted keys and no sections, so that `extra` can add an item to any of them.
    fn config(&self) -> String {
        let Options {
            api_version,
            raft_engine,
            extra,
            ..
        } = self;
        let tick_ms = self.tick.as_millis();
        let (ticks, ticks_max) = (ELECTION_TICKS, 2 * ELECTION_TICKS);
        format!(
            "{NO_STATUS}\n\
             storage.api-version = {api_version}\n\
             raft-engine.enable = {raft_engine}\n\
             raftstore.raft-base-tick-interval = \"{tick_ms}ms\"\n\
             raftstore.raft-heartbeat-ticks = 2\n\
             raftstore.raft-election-timeout-ticks = {ticks}\n\
             raftstore.raft-min-election-timeout-ticks = {ticks}\n\
             raftstore.raft-max-election-timeout-ticks = {ticks_max}\n\
             {extra}\n"
        )
    }
}

/// Processes of one cluster.
#[derive(Debug)]
pub struct Cluster {
    program: PathBuf,
    options: Options,
    ports: Vec<u16>,
    /// Of the status servers, if there are any.
    status_ports: Vec<u16>,
    /// So many nodes are first members.
    founders: usize,
    /// What later nodes are told to join.
    join: Option<String>,
    /// Before the folder: a node that goes down in a panic still shows its output from there.
    nodes: Vec<Option<Process>>,
    dir: TempDir,
}

impl Cluster {
    /// Starts `nodes` processes of the program of [`kontiki_binary`] and returns at once.
    pub fn start(nodes: usize, options: Options) -> Result<Cluster> {
        Self::start_program(&kontiki_binary()?, nodes, options)
    }

    /// Starts `nodes` processes of `program` and returns at once.
    pub fn start_program(program: &Path, nodes: usize, options: Options) -> Result<Cluster> {
        let parent = options.parent.clone().unwrap_or_else(std::env::temp_dir);
        let dir = tempfile::Builder::new()
            .prefix("kontiki-cluster-")
            .tempdir_in(&parent)
            .map_err(|error| Error::Io {
                path: parent,
                source: error,
            })?;
        let mut cluster = Cluster {
            program: program.to_owned(),
            dir,
            ports: free_ports(nodes)?,
            status_ports: free_ports(if options.status { nodes } else { 0 })?,
            options,
            founders: nodes,
            join: None,
            nodes: (0..nodes).map(|_| None).collect(),
        };
        for node in 0..nodes {
            cluster.start_node(node)?;
        }
        Ok(cluster)
    }

    /// Starts a node that does not run, on the data that it has.
    pub fn start_node(&mut self, node: usize) -> Result<()> {
        assert!(self.nodes[node].is_none(), "node {node} runs already");
        // One file a node: another node may be reading its own while this one is written.
        let config = self.dir.path().join(format!("{}.toml", name(node)));
        fs::write(&config, self.options.config()).map_err(|error| Error::Io {
            path: config.clone(),
            source: error,
        })?;
        let args = self.args(node, &config);
        let log = self.dir.path().join(format!("n{}.log", node + 1));
        let environment = &self.options.environment;
        let process = Process::spawn_with(&name(node), &self.program, &args, environment, &log)?;
        self.nodes[node] = Some(process);
        Ok(())
    }

    /// Starts one more node, which joins by way of the first members, and returns which it is.
    pub fn join_node(&mut self) -> Result<usize> {
        let first = &self.endpoints()[..self.founders];
        self.join.get_or_insert(first.join(","));
        self.ports.extend(free_ports(1)?);
        if self.options.status {
            self.status_ports.extend(free_ports(1)?);
        }
        self.nodes.push(None);
        let node = self.nodes.len() - 1;
        self.start_node(node)?;
        Ok(node)
    }

    /// What later nodes are told to join by from their next start on; nothing: they get no such flag.
    pub fn set_join(&mut self, nodes: Option<&str>) {
        self.join = nodes.map(str::to_owned);
    }

    /// Gives a node that does not run another port.
    pub fn move_node(&mut self, node: usize) -> Result<()> {
        assert!(self.nodes[node].is_none(), "node {node} runs");
        self.ports[node] = free_ports(1)?[0];
        Ok(())
    }

    /// Kills a node with SIGKILL and returns once it is gone. Nothing happens if it does not run.
    pub fn kill_node(&mut self, node: usize) {
        self.nodes[node] = None;
    }

    /// Stops a node with SIGTERM; an error if it does not end well in time.
    pub fn stop_node(&mut self, node: usize, within: Duration) -> Result<()> {
        let mut process = self.nodes[node]
            .take()
            .expect("only a node that runs can be stopped");
        let status = process.terminate(within)?;
        if status.success() {
            return Ok(());
        }
        Err(Error::BadExit {
            name: name(node),
            status,
            output: process.output(),
        })
    }

    /// The process of a node that runs.
    pub fn node(&mut self, node: usize) -> Option<&mut Process> {
        self.nodes[node].as_mut()
    }

    /// Kills all nodes at the same moment, as far as one can.
    pub fn kill_all(&mut self) {
        let running = self.nodes.iter().flatten();
        for pid in running.map(Process::pid) {
            // SAFETY: a signal to our own child, which has not been reaped.
            unsafe { libc::kill(pid as libc::pid_t, libc::SIGKILL) };
        }
        self.nodes.iter_mut().for_each(|node| *node = None);
    }

    /// Starts all nodes that do not run.
    pub fn start_all(&mut self) -> Result<()> {
        for node in 0..self.nodes.len() {
            if self.nodes[node].is_none() {
                self.start_node(node)?;
            }
        }
        Ok(())
    }

    /// Changes the options for nodes that are started from now on.
    pub fn set_options(&mut self, change: impl FnOnce(&mut Options)) {
        change(&mut self.options);
    }

    /// `host:port` of every node, running or not.
    pub fn endpoints(&self) -> Vec<String> {
        self.ports
            .iter()
            .map(|port| format!("127.0.0.1:{port}"))
            .collect()
    }

    /// `host:port` at which the others and clients dial a node.
    pub fn advertised(&self, node: usize) -> String {
        let given = self.options.advertised.get(node).cloned();
        given.unwrap_or_else(|| self.endpoints()[node].clone())
    }

    /// `host:port` of a node's status server.
    pub fn status_address(&self, node: usize) -> String {
        format!("127.0.0.1:{}", self.status_ports[node])
    }

    /// The node that is dialled, or listens, at this address (with or without a scheme).
    pub fn node_at(&self, address: &str) -> Option<usize> {
        let address = address.trim_start_matches("http://");
        let endpoints = self.endpoints();
        (0..endpoints.len())
            .find(|&node| self.advertised(node) == address || endpoints[node] == address)
    }

    /// Where all of it is: data, configuration and output.
    pub fn folder(&self) -> &Path {
        self.dir.path()
    }

    /// Leaves that folder where it is when this ends.
    pub fn keep_folder(&mut self) {
        self.dir.disable_cleanup(true);
    }

    /// Runs `kontiki ctl` with these arguments on the cluster, and returns what it printed.
    pub fn ctl(&self, args: &[&str]) -> Result<String> {
        let mut command = Command::new(&self.program);
        command.args(["ctl", "--pd", &self.endpoints().join(",")]);
        command.args(["--api-version", &self.options.api_version.to_string()]);
        let output = command.args(args).output().map_err(|error| Error::Spawn {
            program: self.program.clone(),
            source: error,
        })?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        if output.status.success() {
            return Ok(text(&output.stdout));
        }
        Err(Error::BadExit {
            name: format!("kontiki ctl {}", args.join(" ")),
            status: output.status,
            output: text(&output.stdout) + &text(&output.stderr),
        })
    }

    /// The data directory of a node.
    pub fn data_dir(&self, node: usize) -> PathBuf {
        let folder = self.options.data.as_deref().unwrap_or(self.dir.path());
        folder.join(name(node))
    }

    /// Processor time of all nodes that run, since each was started.
    pub fn cpu_time(&self) -> Result<Duration> {
        self.nodes.iter().flatten().map(Process::cpu_time).sum()
    }

    /// The command line of a node, with another data directory or address where a test wants one.
    pub fn args(&self, node: usize, config: &Path) -> Vec<OsString> {
        let members: Vec<String> = (0..self.founders)
            .map(|node| format!("{}={}", name(node), self.advertised(node)))
            .collect();
        let mut args: Vec<OsString> = vec!["server".into()];
        args.extend(["--name".into(), name(node).into()]);
        args.extend(["--addr".into(), self.endpoints()[node].clone().into()]);
        if !self.options.advertised.is_empty() {
            args.extend(["--advertise-addr".into(), self.advertised(node).into()]);
        }
        args.extend(["--data-dir".into(), self.data_dir(node).into()]);
        if node < self.founders {
            args.extend(["--initial-cluster".into(), members.join(",").into()]);
        } else if let Some(nodes) = &self.join {
            args.extend(["--join".into(), nodes.into()]);
        }
        if self.options.status {
            args.extend(["--status-addr".into(), self.status_address(node).into()]);
        }
        args.extend(["--config".into(), config.into()]);
        args
    }
}

fn name(node: usize) -> String {
    format!("n{}", node + 1)
}

/// The program under test: `KONTIKI_BIN`, or `kontiki` in the folder that cargo builds into, found
/// from the place of the running test.
pub fn kontiki_binary() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os("KONTIKI_BIN") {
        let path = PathBuf::from(path);
        return if path.is_file() {
            Ok(path)
        } else {
            Err(Error::NoBinary { tried: vec![path] })
        };
    }
    let running = std::env::current_exe().map_err(|error| Error::Io {
        path: "/proc/self/exe".into(),
        source: error,
    })?;
    // Tests run in target/PROFILE/deps, programs in target/PROFILE.
    let tried: Vec<PathBuf> = running
        .ancestors()
        .skip(1)
        .take(2)
        .map(|folder| folder.join("kontiki"))
        .collect();
    tried
        .iter()
        .find(|path| path.is_file())
        .cloned()
        .ok_or(Error::NoBinary { tried })
}
