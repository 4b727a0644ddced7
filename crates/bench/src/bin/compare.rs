//! `compare`: the comparison as a program. See the library for what it compares.
//!
//! It also is the echo server, as a process of its own: `compare echo ADDRESS`.

use bench::etcd::EtcdCluster;
use bench::go::GoLoad;
use bench::measure::{Measurement, measure};
use bench::table::Comparison;
use bench::{Error, Result, echo, tikv};
use clap::{Args, Parser, Subcommand, ValueEnum};
use e2e::{Cluster, Options, Process, free_ports};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;
use workload::{Mix, Operation, Spec, Stop};

/// Compares Kontiki with etcd and with a bare gRPC server.
#[derive(Parser)]
#[command(args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    compare: Compare,
}

#[derive(Subcommand)]
enum Command {
    /// Be the echo server.
    Echo {
        /// Where to listen.
        address: SocketAddr,
    },
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Store {
    Echo,
    Etcd,
    Kontiki,
}

#[derive(Args)]
struct Compare {
    /// The stores to measure, in this order.
    #[arg(
        long,
        value_enum,
        value_delimiter = ',',
        default_value = "echo,etcd,kontiki"
    )]
    stores: Vec<Store>,
    /// The kontiki program; by default the one beside this program.
    #[arg(long)]
    kontiki: Option<PathBuf>,
    /// The etcd program.
    #[arg(long, default_value = "/usr/bin/etcd")]
    etcd: PathBuf,
    /// The load program in Go.
    #[arg(long, default_value = "target/go-load")]
    go_load: PathBuf,
    /// The folder, and so the disk, that all stores write below.
    #[arg(long, default_value = "target")]
    dir: PathBuf,
    /// Client tasks.
    #[arg(long, default_value_t = 256)]
    clients: usize,
    /// Number of different keys.
    #[arg(long, default_value_t = 100_000)]
    keys: u64,
    /// Bytes of a key.
    #[arg(long, default_value_t = 16)]
    key_size: usize,
    /// Bytes of a value.
    #[arg(long, default_value_t = 128)]
    value_size: usize,
    /// Measured seconds of each workload.
    #[arg(long, default_value_t = 15)]
    seconds: u64,
    /// Seconds of the same load before.
    #[arg(long, default_value_t = 3)]
    warm_up: u64,
    /// Also writes the result as JSON to this file.
    #[arg(long)]
    json: Option<PathBuf>,
}

const SERVING_WITHIN: Duration = Duration::from_secs(60);
const NODES: usize = 3;

#[tokio::main]
async fn main() -> ExitCode {
    let cli = Cli::parse();
    let done = match cli.command {
        Some(Command::Echo { address }) => echo::serve(address).await.map_err(Error::from),
        None => cli.compare.run().await,
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprint!("error: {error}");
            let mut cause = std::error::Error::source(&error);
            while let Some(error) = cause {
                eprint!(": {error}");
                cause = error.source();
            }
            eprintln!();
            ExitCode::FAILURE
        }
    }
}

impl Compare {
    async fn run(&self) -> Result<()> {
        // Missing programs are reported before anything is measured.
        if self.stores.contains(&Store::Etcd) && !self.etcd.is_file() {
            return Err(Error::NoEtcd(self.etcd.clone()));
        }
        if self.stores.iter().any(|store| *store != Store::Echo) && !self.go_load.is_file() {
            return Err(Error::NoLoad(self.go_load.clone()));
        }
        let kontiki = match &self.kontiki {
            Some(path) => Ok(path.clone()),
            None => e2e::kontiki_binary(),
        };
        if self.stores.contains(&Store::Kontiki) {
            kontiki.as_ref().map_err(|_| e2e::Error::NoBinary {
                tried: vec!["kontiki".into()],
            })?;
        }
        std::fs::create_dir_all(&self.dir).map_err(|source| Error::Io {
            path: self.dir.clone(),
            source,
        })?;
        let mut comparison = Comparison {
            setting: self.setting(),
            ..Default::default()
        };
        for store in &self.stores {
            comparison.measurements.extend(match store {
                Store::Echo => self.echo().await?,
                Store::Etcd => self.etcd().await?,
                Store::Kontiki => {
                    self.kontiki(kontiki.as_ref().expect("checked above"))
                        .await?
                }
            });
        }
        print!("{comparison}");
        if let Some(path) = &self.json {
            std::fs::write(path, comparison.to_json()).map_err(|source| Error::Io {
                path: path.clone(),
                source,
            })?;
        }
        Ok(())
    }

    async fn echo(&self) -> Result<Vec<Measurement>> {
        let address = format!("127.0.0.1:{}", free_ports(1)?[0]);
        let program = std::env::current_exe().map_err(|source| Error::Io {
            path: "/proc/self/exe".into(),
            source,
        })?;
        let args = ["echo".into(), address.clone().into()];
        let log = self.dir.join("echo.log");
        let process = Process::spawn("echo", &program, &args, &log)?;
        self.by_rust("echo", &[address], || Ok(process.cpu_time()?))
            .await
    }

    async fn etcd(&self) -> Result<Vec<Measurement>> {
        let cluster = EtcdCluster::start(&self.etcd, NODES, &self.dir)?;
        self.by_go(("etcd", "etcd"), cluster.endpoints(), || cluster.cpu_time())
            .await
    }

    async fn kontiki(&self, program: &Path) -> Result<Vec<Measurement>> {
        let options = Options {
            parent: Some(self.dir.clone()),
            ..Options::default()
        };
        let cluster = Cluster::start_program(program, NODES, options)?;
        let endpoints = cluster.endpoints();
        let cpu_time = || Ok(cluster.cpu_time()?);
        let mut measured = self
            .by_go(("kontiki", "tikv"), &endpoints, cpu_time)
            .await?;
        measured.extend(self.by_rust("kontiki", &endpoints, cpu_time).await?);
        Ok(measured)
    }

    /// Puts, then gets of the same keys, by the official Go client of the store.
    async fn by_go(
        &self,
        store: (&'static str, &str),
        endpoints: &[String],
        server_cpu: impl Fn() -> Result<Duration>,
    ) -> Result<Vec<Measurement>> {
        let load = GoLoad {
            program: self.go_load.clone(),
            log: self.dir.join("load.log"),
        };
        let mut measured = Vec::new();
        for (operation, mix) in [(Operation::Put, Mix::PUT), (Operation::Get, Mix::GET)] {
            let spec = self.spec(mix);
            let one = load.measure(store, operation, &spec, endpoints, &server_cpu);
            measured.push(one.await?);
        }
        Ok(measured)
    }

    /// The same by the official Rust client of TiKV.
    async fn by_rust(
        &self,
        store: &'static str,
        endpoints: &[String],
        server_cpu: impl Fn() -> Result<Duration>,
    ) -> Result<Vec<Measurement>> {
        let client = tikv::connect(store, endpoints, SERVING_WITHIN).await?;
        let clients = [client];
        let put = self.spec(Mix::PUT);
        let put = measure(store, Operation::Put, &put, &clients, &server_cpu).await?;
        // What the puts have not written yet is written now, so that every get reads a value.
        let get = Spec {
            preload: true,
            ..self.spec(Mix::GET)
        };
        let get = measure(store, Operation::Get, &get, &clients, &server_cpu).await?;
        Ok(vec![put, get])
    }

    fn spec(&self, mix: Mix) -> Spec {
        Spec {
            mix,
            clients: self.clients,
            keys: self.keys,
            key_size_bytes: self.key_size,
            value_size_bytes: self.value_size,
            stop: Stop::After(Duration::from_secs(self.seconds)),
            warm_up: Duration::from_secs(self.warm_up),
            ..Spec::default()
        }
    }

    fn setting(&self) -> String {
        let Compare {
            clients,
            keys,
            value_size,
            seconds,
            ..
        } = self;
        let tick_ms = e2e::TICK.as_millis();
        format!(
            "{NODES} processes each (echo: 1) on one disk; {clients} tasks over one connection to \
             the leader; {keys} keys, {value_size}-byte values, uniform; {seconds} s each. \
             kontiki: ticks of {tick_ms} ms, election after {} to {} ticks; etcd: its defaults.",
            e2e::ELECTION_TICKS,
            2 * e2e::ELECTION_TICKS
        )
    }
}
