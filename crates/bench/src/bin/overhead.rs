//! `overhead`: what being watched costs: the same load on nodes with metrics and traces off, with metrics, and with both.
//!
//! **How.** A cluster of three processes for each of them, all there from the beginning to the end. They are under load in
//! turns, in another order each round, so that what the machine does meanwhile, and who comes first, falls on all alike.
//! Printed is the median over all rounds of a ratio to the same round without either.
//!
//! **Not here.** A collector worth the name: spans are taken and dropped, by this process, on the same processors.

use bench::measure::{Measurement, measure};
use bench::tikv::{self, TikvTarget};
use bench::{Error, Result};
use clap::Parser;
use e2e::{Cluster, Options};
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status};
use workload::{Mix, Operation, Spec, Stop};

/// What metrics and traces cost.
#[derive(Parser)]
struct Cli {
    /// Rounds of each operation.
    #[arg(long, default_value_t = 15)]
    rounds: usize,
    /// Measured seconds of each turn.
    #[arg(long, default_value_t = 5)]
    seconds: u64,
    /// Client tasks.
    #[arg(long, default_value_t = 128)]
    clients: usize,
    /// One request in so many is traced.
    #[arg(long, default_value_t = 1_000)]
    sample_one_in: u64,
    /// The folder that all is written below.
    #[arg(long, default_value = "target")]
    dir: PathBuf,
    /// The kontiki program; by default the one beside this program.
    #[arg(long)]
    kontiki: Option<PathBuf>,
}

const NODES: usize = 3;
const KEYS: u64 = 100_000;
const SERVING_WITHIN: Duration = Duration::from_secs(60);
const WARM_UP: Duration = Duration::from_secs(1);

/// Nodes that are watched in one way.
struct Side {
    name: &'static str,
    cluster: Cluster,
    clients: [Arc<TikvTarget>; 1],
    /// Of the operation that is measured now, by rounds.
    measured: Vec<Measurement>,
}

/// Takes what it is sent, and counts it.
struct Sink(Arc<AtomicU64>);

#[tonic::async_trait]
impl TraceService for Sink {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> std::result::Result<Response<ExportTraceServiceResponse>, Status> {
        let resources = request.into_inner().resource_spans;
        let scopes = resources.iter().flat_map(|of_node| &of_node.scope_spans);
        let spans: usize = scopes.map(|scope| scope.spans.len()).sum();
        self.0.fetch_add(spans as u64, Ordering::Relaxed);
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    match Cli::parse().run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

impl Cli {
    async fn run(&self) -> Result<()> {
        let io = |source| Error::Io {
            path: self.dir.clone(),
            source,
        };
        std::fs::create_dir_all(&self.dir).map_err(io)?;
        let incoming = TcpIncoming::bind(([127, 0, 0, 1], 0).into()).map_err(io)?;
        let collector = format!("http://{}", incoming.local_addr().map_err(io)?);
        let spans = Arc::new(AtomicU64::new(0));
        let sink = TraceServiceServer::new(Sink(spans.clone()));
        tokio::spawn(
            Server::builder()
                .add_service(sink)
                .serve_with_incoming(incoming),
        );
        let traces = format!(
            "tracing.endpoint = \"{collector}\"\ntracing.sample-one-in = {}",
            self.sample_one_in
        );
        let mut sides = Vec::new();
        for (name, extra) in [
            ("neither", "metrics.enable = false".to_owned()),
            ("metrics", String::new()),
            ("metrics and traces", traces),
        ] {
            sides.push(self.side(name, extra).await?);
        }
        for operation in [Operation::Put, Operation::Get] {
            for round in 0..self.rounds {
                for turn in 0..sides.len() {
                    let at = (round + turn) % sides.len();
                    let side = &mut sides[at];
                    let measured = self.turn(operation, round == 0, side).await?;
                    side.measured.push(measured);
                }
            }
            show(operation, &sides);
            sides.iter_mut().for_each(|side| side.measured.clear());
        }
        println!("{} spans were collected", spans.load(Ordering::Relaxed));
        Ok(())
    }

    async fn side(&self, name: &'static str, extra: String) -> Result<Side> {
        let program = match &self.kontiki {
            Some(path) => path.clone(),
            None => e2e::kontiki_binary()?,
        };
        let options = Options {
            parent: Some(self.dir.clone()),
            extra,
            ..Options::default()
        };
        let cluster = Cluster::start_program(&program, NODES, options)?;
        let clients = [tikv::connect("kontiki", &cluster.endpoints(), SERVING_WITHIN).await?];
        Ok(Side {
            name,
            cluster,
            clients,
            measured: Vec::new(),
        })
    }

    async fn turn(&self, operation: Operation, is_first: bool, side: &Side) -> Result<Measurement> {
        let spec = Spec {
            mix: match operation {
                Operation::Put => Mix::PUT,
                _ => Mix::GET,
            },
            clients: self.clients,
            keys: KEYS,
            stop: Stop::After(Duration::from_secs(self.seconds)),
            warm_up: WARM_UP,
            preload: is_first && operation == Operation::Get,
            ..Spec::default()
        };
        let cpu_time = || Ok(side.cluster.cpu_time()?);
        measure("kontiki", operation, &spec, &side.clients, cpu_time).await
    }
}

fn show(operation: Operation, sides: &[Side]) {
    let [neither, watched @ ..] = sides else {
        return;
    };
    let value = |of: fn(&Measurement) -> f64| median(neither.measured.iter().map(of));
    println!(
        "{}s, {}: {:.0} a second, {:.1} µs of the servers each",
        operation.name(),
        neither.name,
        value(|one| one.throughput_per_s),
        value(|one| one.server_cpu_us)
    );
    for side in watched {
        let ratio = |of: fn(&Measurement) -> f64| {
            let pairs = side.measured.iter().zip(&neither.measured);
            median(pairs.map(|(with, without)| of(with) / of(without)))
        };
        println!(
            "{}s, {}: throughput × {:.3}, processor time × {:.3}",
            operation.name(),
            side.name,
            ratio(|one| one.throughput_per_s),
            ratio(|one| one.server_cpu_us)
        );
    }
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
