//! `kontiki bench`: load on a running cluster, through the protocol, as a client makes it.
//!
//! **Why.** Who considers the store wants a figure of his own machine before he reads ours.
//!
//! **Invariants.** Load is made by crate `workload`, the same that the comparison with other stores
//! uses; here is only the way from its operations to the client's.
//!
//! **Not here.** Starting a cluster, and other stores.

use crate::cluster::ClusterArgs;
use crate::config::units::ReadableDuration;
use crate::ctl::Output;
use crate::error::{Error, Result};
use bytes::Bytes;
use clap::{Args, ValueEnum};
use client::Client;
use std::io::Write;
use std::sync::Arc;
use workload::{Distribution, Mix, Report, Spec, Stop, Target};

/// Flags of `kontiki bench`.
#[derive(Debug, Args)]
pub struct BenchArgs {
    /// What is done.
    #[arg(value_enum)]
    load: Load,
    /// How the cluster is reached.
    #[command(flatten)]
    cluster: ClusterArgs,
    /// How the result is printed.
    #[arg(long, value_enum, default_value = "text")]
    output: Output,
    /// Tasks that ask at the same time, each waiting for its answer.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    clients: u32,
    /// Connections to each store that they share.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=1_024))]
    connections: u16,
    /// Different keys.
    #[arg(long, default_value_t = 100_000)]
    keys: u64,
    /// Bytes of each key.
    #[arg(long, default_value_t = 16)]
    key_size: usize,
    /// Bytes of each value.
    #[arg(long, default_value_t = 128)]
    value_size: usize,
    /// How often each key is asked for.
    #[arg(long, value_enum, default_value = "uniform")]
    distribution: KeyDistribution,
    /// The skew of `zipfian`, between 0 and 1.
    #[arg(long, default_value_t = 0.99)]
    skew: f64,
    /// Gets in a hundred operations of `mixed`; the rest are puts.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(0..=100))]
    read_percent: u32,
    /// Pairs of each scan.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    scan_limit: u32,
    /// How long is measured.
    #[arg(long, default_value = "10s", conflicts_with = "count")]
    duration: ReadableDuration,
    /// So many operations in place of a duration.
    #[arg(long)]
    count: Option<u64>,
    /// How long the load runs before it is measured.
    #[arg(long, default_value = "2s")]
    warm_up: ReadableDuration,
    /// Read what is there already, instead of writing every key first.
    #[arg(long)]
    no_preload: bool,
    /// Fixes keys, values and the order of operations.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Load {
    /// Writes.
    Put,
    /// Reads.
    Get,
    /// Reads and writes.
    Mixed,
    /// Reads of ranges.
    Scan,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum KeyDistribution {
    /// Each equally often.
    Uniform,
    /// A few most of the time.
    Zipfian,
    /// One after the other.
    Sequential,
}

impl BenchArgs {
    fn spec(&self) -> Spec {
        let mix = match self.load {
            Load::Put => Mix::PUT,
            Load::Get => Mix::GET,
            Load::Scan => Mix::SCAN,
            Load::Mixed => Mix {
                put: 100 - self.read_percent,
                get: self.read_percent,
                scan: 0,
            },
        };
        Spec {
            mix,
            clients: self.clients as usize,
            keys: self.keys,
            key_size_bytes: self.key_size,
            value_size_bytes: self.value_size,
            distribution: match self.distribution {
                KeyDistribution::Uniform => Distribution::Uniform,
                KeyDistribution::Zipfian => Distribution::Zipfian(self.skew),
                KeyDistribution::Sequential => Distribution::Sequential,
            },
            scan_limit: self.scan_limit,
            stop: self.count.map_or(Stop::After(self.duration.0), Stop::Count),
            warm_up: self.warm_up.0,
            preload: self.load != Load::Put && !self.no_preload,
            seed: self.seed,
        }
    }
}

struct ClusterTarget(Client);

impl Target for ClusterTarget {
    type Error = client::Error;

    async fn put(&self, key: Bytes, value: Bytes) -> client::Result<()> {
        self.0.put(&key, value).await
    }

    async fn get(&self, key: Bytes) -> client::Result<bool> {
        Ok(self.0.get(&key).await?.is_some())
    }

    async fn scan(&self, start: Bytes, limit: u32) -> client::Result<usize> {
        Ok(self.0.scan(&start, &[], limit as usize).await?.len())
    }
}

/// Runs the load and prints what it measured.
pub async fn run(args: BenchArgs) -> Result<()> {
    let spec = args.spec();
    let usage = |error: workload::SpecError| Error::Usage(error.to_string());
    spec.check().map_err(usage)?;
    let mut targets = Vec::new();
    for _ in 0..args.connections {
        targets.push(Arc::new(ClusterTarget(args.cluster.connect().await?)));
    }
    let report = workload::run(&spec, &targets).await.map_err(usage)?;
    print(&report, args.output)?;
    check(&report)
}

/// Whether all was done that the figures are taken for.
fn check(report: &Report) -> Result<()> {
    let (done, failed, unwritten) = (report.count(), report.errors(), report.preload_errors);
    if done == 0 {
        return Err(Error::Incomplete("no operation succeeded".to_owned()));
    }
    if failed == 0 && unwritten == 0 {
        return Ok(());
    }
    Err(Error::Incomplete(format!(
        "{failed} operations failed, and {unwritten} keys could not be put before them"
    )))
}

fn print(report: &Report, form: Output) -> Result<()> {
    let mut out = std::io::stdout().lock();
    let printed = match form {
        Output::Text => write!(out, "{report}"),
        Output::Json => writeln!(out, "{}", report.to_json()),
    };
    printed.and_then(|()| out.flush()).map_err(Error::Output)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;
    use std::time::Duration;
    use workload::{Latency, Operation, OperationReport};

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        bench: BenchArgs,
    }

    fn spec(args: &[&str]) -> Spec {
        Line::try_parse_from(["bench"].iter().chain(args))
            .unwrap()
            .bench
            .spec()
    }

    #[test]
    fn the_defaults_can_be_run_for_every_load() {
        for load in ["put", "get", "mixed", "scan"] {
            assert_eq!(spec(&[load]).check(), Ok(()), "{load}");
        }
    }

    #[test]
    fn flags_become_the_workload() {
        let found = spec(&[
            "mixed",
            "--clients",
            "7",
            "--keys",
            "10",
            "--value-size",
            "5",
            "--distribution",
            "zipfian",
            "--skew",
            "0.5",
            "--read-percent",
            "90",
            "--duration",
            "1m",
            "--warm-up",
            "0s",
        ]);
        assert_eq!(
            found.mix,
            Mix {
                put: 10,
                get: 90,
                scan: 0
            }
        );
        assert_eq!(
            (found.clients, found.keys, found.value_size_bytes),
            (7, 10, 5)
        );
        assert_eq!(found.distribution, Distribution::Zipfian(0.5));
        assert_eq!(found.stop, Stop::After(Duration::from_secs(60)));
        assert_eq!(found.warm_up, Duration::ZERO);
        assert_eq!(spec(&["put", "--count", "9"]).stop, Stop::Count(9));
    }

    fn report(count: u64, errors: u64, preload_errors: u64) -> Report {
        let latency = Latency {
            mean_us: 1.0,
            p50_us: 1,
            p99_us: 1,
            p999_us: 1,
            max_us: 1,
        };
        let put = OperationReport {
            operation: Operation::Put,
            count,
            errors,
            found: count,
            throughput_per_s: 1.0,
            latency,
        };
        Report {
            spec: Spec::default(),
            elapsed_s: 1.0,
            preload_errors,
            operations: vec![put],
            error_samples: Vec::new(),
        }
    }

    #[test]
    fn only_a_run_without_a_failure_counts_as_done() {
        assert!(check(&report(10, 0, 0)).is_ok());
        for (count, errors, preload_errors) in [(0, 0, 0), (10, 1, 0), (10, 0, 1)] {
            let verdict = check(&report(count, errors, preload_errors));
            assert!(matches!(verdict, Err(Error::Incomplete(_))));
        }
    }

    #[test]
    fn only_a_load_that_reads_writes_the_keys_first_and_can_be_told_not_to() {
        assert!(!spec(&["put"]).preload);
        assert!(spec(&["get"]).preload);
        assert!(!spec(&["scan", "--no-preload"]).preload);
    }
}
