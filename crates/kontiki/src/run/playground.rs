//! `kontiki playground`: a whole cluster in this process, to try things out.
//!
//! **Why.** The first five minutes with a store should not be spent on configuration.
//!
//! **Invariants.** Its nodes are what `kontiki server` runs, with shorter ticks: another process could
//! not tell the difference. All ports are bound before any data is touched. A temporary folder is
//! removed at the end, one that was asked for never.
//!
//! **Not here.** A way to stop single nodes: that is for processes of their own.

use super::node;
use super::online::Online;
use super::ports::{Flags, Ports};
use super::signal::{IMPATIENT, StopRequest};
use crate::cli::PlaygroundArgs;
use crate::config::units::{ReadableDuration, ReadableSize};
use crate::config::{self, Config, Leaf};
use crate::error::{Error, Result};
use crate::logging;
use client::{ApiVersion, Client};
use engine::file::create_directory;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use tempfile::TempDir;
use tokio::signal::unix::SignalKind;
use tokio::task::JoinSet;

/// An election after half a second to a second without a leader: nobody waits long, and a laptop that
/// is busy does not lose its leader.
const TICK: ReadableDuration = ReadableDuration::millis(50);
/// Where TiKV's clients look, and `ctl` too.
const DEFAULT_PORT: u16 = 2379;
/// Three caches share one small machine.
const BLOCK_CACHE: ReadableSize = ReadableSize::mib(64);
/// For the first leader to be elected; usually it takes a second or two.
const READY_WITHIN: Duration = Duration::from_secs(30);
const FLAGS: Flags = ["--port", "--status-port"];

/// Runs the nodes until told to stop.
pub async fn playground(args: PlaygroundArgs) -> Result<()> {
    let (folder, temporary) = folder(args.data_dir.as_deref())?;
    let configs = configs(&args, &folder)?;
    let _logging = logging::start(&configs[0]).map_err(Error::io("starting to log"))?;
    super::set_failpoints()?;
    let signals = [
        ("SIGINT", SignalKind::interrupt()),
        ("SIGTERM", SignalKind::terminate()),
        // Its terminal was closed.
        ("SIGHUP", SignalKind::hangup()),
    ];
    let left_behind = temporary.as_ref().map(|folder| folder.path().to_owned());
    let stop = StopRequest::on_signals(&signals, move || vanish(left_behind))?;
    let mut bound = Vec::new();
    for config in &configs {
        bound.push(Ports::bind(config, FLAGS).await?);
    }
    // Once, before its nodes make theirs in it all at the same time.
    let unusable = Error::io(format!("the folder {} can't be used", folder.display()));
    create_directory(&folder).map_err(|error| unusable(io::Error::other(error)))?;
    println!(
        "{}",
        greeting(&args, &configs, &folder, temporary.is_some())
    );
    let endpoints: Vec<String> = configs.iter().map(|c| c.server.addr.clone()).collect();
    let mut nodes = JoinSet::new();
    for (config, ports) in configs.into_iter().zip(bound) {
        let online = Online::new(&config);
        nodes.spawn(node::run(config, online, ports, stop.clone()));
    }
    let mut result = tokio::select! {
        told = welcome(&args, &endpoints, &stop) => told,
        Some(ended) = nodes.join_next() => ended.map_err(Error::Failed).flatten(),
    };
    // Also when it was not asked for: one node has ended, or the cluster does not answer.
    stop.make("the end of the playground");
    eprintln!("stopping");
    while let Some(ended) = nodes.join_next().await {
        result = result.and(ended.map_err(Error::Failed).flatten());
    }
    result
}

/// Says how to begin as soon as the cluster answers, and waits until it is asked to stop.
async fn welcome(args: &PlaygroundArgs, endpoints: &[String], stop: &StopRequest) -> Result<()> {
    let ready = tokio::select! {
        ready = wait_until_ready(args, endpoints) => ready,
        _ = stop.made() => return Ok(()),
    };
    ready?;
    println!("{}", first_commands(args, &endpoints[0], &program()));
    stop.made().await;
    Ok(())
}

/// Ends the process at once, and leaves no temporary folder. The process becomes another program, and
/// no thread of a node lives on in it that could still write to the folder.
fn vanish(folder: Option<PathBuf>) {
    let Some(folder) = folder else { return };
    let remove = format!("rm -rf -- \"$0\"; exit {IMPATIENT}");
    let failed = Command::new("sh").arg("-c").arg(remove).arg(&folder).exec();
    eprintln!("{} is left behind: {failed}", folder.display());
}

/// The folder of all nodes' data, and what removes it if it is temporary.
fn folder(asked_for: Option<&Path>) -> Result<(PathBuf, Option<TempDir>)> {
    match asked_for {
        Some(path) => Ok((path.to_owned(), None)),
        None => {
            let made = tempfile::Builder::new()
                .prefix("kontiki-playground-")
                .tempdir();
            let made = made.map_err(Error::io("making a temporary folder"))?;
            Ok((made.path().to_owned(), Some(made)))
        }
    }
}

/// A configuration for each node, checked like any other.
fn configs(args: &PlaygroundArgs, folder: &Path) -> Result<Vec<Config>> {
    let [node, status] = FLAGS;
    let node_addresses = addresses(args, node, args.port)?;
    let status_addresses = addresses(args, status, args.status_port)?;
    let names = || (1..=args.nodes).map(|number| format!("n{number}"));
    let members: Vec<String> = names()
        .zip(&node_addresses)
        .map(|(name, address)| format!("{name}={address}"))
        .collect();
    let config = |(name, (address, status_address)): (String, (&String, &String))| {
        let leaf = |key: &str, value: String| Leaf::from_flag("playground", key, value);
        let leaves = vec![
            leaf("storage.data-dir", folder.join(&name).display().to_string()),
            leaf("cluster.name", name),
            leaf("cluster.initial-cluster", members.join(",")),
            leaf("server.addr", address.clone()),
            leaf("server.status-addr", status_address.clone()),
        ];
        let mut config = config::load(None, std::env::vars_os(), leaves)?;
        config.log.level = args.log_level;
        config.storage.api_version = args.api_version.number() as u8;
        config.storage.block_cache.capacity = BLOCK_CACHE;
        config.raftstore.raft_base_tick_interval = TICK;
        // All nodes stop at the same moment: there is nobody to hand leaders over to.
        config.server.graceful_shutdown_timeout = ReadableDuration::secs(0);
        Ok(config)
    };
    names()
        .zip(node_addresses.iter().zip(&status_addresses))
        .map(config)
        .collect()
}

/// An address for each node, on the port that a flag gives to the first one and on the next ones.
fn addresses(args: &PlaygroundArgs, flag: &str, port: u16) -> Result<Vec<String>> {
    let last = port
        .checked_add(args.nodes - 1)
        .ok_or_else(|| Error::Usage(format!("{flag} {port}: too high for {} nodes", args.nodes)))?;
    Ok((port..=last)
        .map(|port| format!("127.0.0.1:{port}"))
        .collect())
}

/// Waits until the first read is answered: by then every first Region has a leader.
async fn wait_until_ready(args: &PlaygroundArgs, endpoints: &[String]) -> Result<()> {
    let config = client::Config {
        api_version: args.api_version,
        deadline: READY_WITHIN,
        ..client::Config::default()
    };
    let client = Client::connect(endpoints, config).await?;
    client.get(b"ready").await?;
    Ok(())
}

fn greeting(args: &PlaygroundArgs, configs: &[Config], folder: &Path, temporary: bool) -> String {
    let kept = if temporary {
        " (removed at the end)"
    } else {
        ""
    };
    let nodes = if args.nodes == 1 {
        "1 node".to_owned()
    } else {
        format!("{} nodes", args.nodes)
    };
    let mut text = format!(
        "Kontiki playground: {nodes}, API version {}, data in {}{kept}\n",
        args.api_version.number(),
        folder.display()
    );
    for config in configs {
        let (name, server) = (&config.cluster.name, &config.server);
        let line = format!(
            "\n  {name}  {}  status: http://{}/status",
            server.addr, server.status_addr
        );
        text.push_str(&line);
    }
    text
}

fn first_commands(args: &PlaygroundArgs, endpoint: &str, program: &str) -> String {
    let pd = if args.port == DEFAULT_PORT {
        String::new()
    } else {
        format!(" --pd {endpoint}")
    };
    let api = if args.api_version == ApiVersion::V1 {
        String::new()
    } else {
        format!(" --api-version {}", args.api_version.number())
    };
    let ctl = format!("{program} ctl{pd}{api}");
    format!(
        "\nReady. Try, in another terminal:\n\n  \
         {ctl} raw put greeting hello\n  \
         {ctl} raw get greeting\n\n\
         TiKV clients connect to {endpoint}. Ctrl-C stops."
    )
}

/// How this program was called.
fn program() -> String {
    std::env::args()
        .next()
        .unwrap_or_else(|| "kontiki".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::LogLevel;

    fn args(nodes: u16, port: u16) -> PlaygroundArgs {
        PlaygroundArgs {
            nodes,
            port,
            status_port: 20_180,
            api_version: ApiVersion::V2,
            data_dir: None,
            log_level: LogLevel::Warn,
        }
    }

    #[test]
    fn each_node_has_its_port_its_folder_and_the_same_members() {
        let configs = configs(&args(3, 4000), Path::new("data")).unwrap();
        let addresses: Vec<&str> = configs.iter().map(|c| c.server.addr.as_str()).collect();
        assert_eq!(
            addresses,
            ["127.0.0.1:4000", "127.0.0.1:4001", "127.0.0.1:4002"]
        );
        assert_eq!(configs[1].server.status_addr, "127.0.0.1:20181");
        assert_eq!(configs[1].storage.data_dir, Path::new("data/n2"));
        for config in &configs {
            assert_eq!(
                config.cluster.initial_cluster,
                configs[0].cluster.initial_cluster
            );
            assert_eq!(config.listed_members().unwrap().unwrap().len(), 3);
            assert_eq!(config.storage.api_version, 2);
        }
    }

    #[test]
    fn ports_beyond_the_last_one_are_refused() {
        assert!(configs(&args(1, u16::MAX), Path::new("data")).is_ok());
        assert!(matches!(
            configs(&args(2, u16::MAX), Path::new("data")),
            Err(Error::Usage(_))
        ));
        let high = PlaygroundArgs {
            status_port: u16::MAX - 1,
            ..args(3, 4000)
        };
        let refused = configs(&high, Path::new("data")).unwrap_err().to_string();
        assert!(refused.contains("--status-port 65534"), "{refused}");
    }

    #[test]
    fn the_first_commands_name_what_differs_from_the_defaults() {
        let text = first_commands(&args(3, 4000), "127.0.0.1:4000", "kontiki");
        assert!(
            text.contains("kontiki ctl --pd 127.0.0.1:4000 --api-version 2 raw put"),
            "{text}"
        );
        let defaults = PlaygroundArgs {
            api_version: ApiVersion::V1,
            ..args(3, DEFAULT_PORT)
        };
        let text = first_commands(&defaults, "127.0.0.1:2379", "kontiki");
        assert!(
            text.contains("  kontiki ctl raw put greeting hello\n"),
            "{text}"
        );
    }

    #[test]
    fn a_temporary_folder_is_removed_and_one_that_was_asked_for_is_not() {
        let (path, temporary) = folder(None).unwrap();
        assert!(path.is_dir());
        drop(temporary);
        assert!(!path.exists());
        let (path, temporary) = folder(Some(Path::new("here"))).unwrap();
        assert!(path == Path::new("here") && temporary.is_none());
    }
}
