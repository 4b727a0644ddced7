//! One measurement: a workload against a store's clients, with the processor time of both sides.

use crate::Result;
use serde::Serialize;
use std::sync::Arc;
use std::time::Duration;
use workload::{Latency, Operation, Phase, Report, Spec, Target};

/// In which language the client was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Side {
    /// The official Go client.
    Go,
    /// The official Rust client.
    Rust,
}

impl Side {
    /// As in a table.
    pub fn name(self) -> &'static str {
        match self {
            Side::Go => "Go",
            Side::Rust => "Rust",
        }
    }
}

/// What one store did under one workload.
#[derive(Clone, Debug, Serialize)]
pub struct Measurement {
    /// The store's name.
    pub store: &'static str,
    /// The client that drove it.
    pub client: Side,
    /// The operation that was measured.
    pub operation: Operation,
    /// Operations a second that succeeded.
    pub throughput_per_s: f64,
    /// How long they took.
    pub latency: Latency,
    /// Operations that failed.
    pub errors: u64,
    /// Gets that found no value count here as the difference to the successes.
    pub found: u64,
    /// Operations that succeeded.
    pub count: u64,
    /// Processor time of all server processes an operation, user and system, in microseconds.
    pub server_cpu_us: f64,
    /// Processor time of the client process an operation, in microseconds.
    pub client_cpu_us: f64,
    /// The first few different errors.
    pub error_samples: Vec<String>,
}

/// Runs `spec`, which must consist of one kind of operation, and samples processor time around it.
pub async fn measure<T: Target>(
    store: &'static str,
    operation: Operation,
    spec: &Spec,
    clients: &[Arc<T>],
    server_cpu: impl Fn() -> Result<Duration>,
) -> Result<Measurement> {
    let mut samples = Vec::with_capacity(2);
    let sample = |_: Phase| samples.push((server_cpu(), e2e::own_cpu_time()));
    let report = workload::run_observed(spec, clients, sample).await?;
    let [(server_before, client_before), (server_after, client_after)] =
        <[_; 2]>::try_from(samples).unwrap_or_else(|_| panic!("a run has two phases"));
    let server = server_after? - server_before?;
    let client = client_after? - client_before?;
    Ok(summary(store, operation, &report, server, client))
}

fn summary(
    store: &'static str,
    operation: Operation,
    report: &Report,
    server: Duration,
    client: Duration,
) -> Measurement {
    let row = report
        .operation(operation)
        .expect("a checked workload makes its operation");
    let each = |time: Duration| time.as_secs_f64() * 1e6 / row.count.max(1) as f64;
    Measurement {
        store,
        client: Side::Rust,
        operation,
        throughput_per_s: row.throughput_per_s,
        latency: row.latency,
        errors: row.errors + report.preload_errors,
        found: row.found,
        count: row.count,
        server_cpu_us: each(server),
        client_cpu_us: each(client),
        error_samples: report.error_samples.clone(),
    }
}
