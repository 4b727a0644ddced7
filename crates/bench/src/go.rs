//! A load through the official Go clients, in a process of its own (`compat/go/load`).
//!
//! **Why Go.** etcd's own client is in Go, and TiKV's Go client is the one that most of its users run; it
//! sends many requests in one message, as etcd's does not.
//!
//! **Invariants.** The servers' processor time is sampled when the load says that its warm-up is over, and
//! when it reports.
//!
//! **Not here.** How the load is made.

use crate::measure::{Measurement, Side};
use crate::{Error, Result};
use e2e::Process;
use serde::Deserialize;
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;
use workload::{Latency, Operation, Spec, Stop};

/// The load program.
pub struct GoLoad {
    /// Where it was built.
    pub program: PathBuf,
    /// Where its output goes.
    pub log: PathBuf,
}

/// The line that ends the warm-up.
const MEASURING: &str = "measuring\n";
const POLL: Duration = Duration::from_millis(2);

/// What the program reports.
#[derive(Deserialize)]
struct Report {
    count: u64,
    errors: u64,
    error_samples: Vec<String>,
    elapsed_s: f64,
    client_cpu_s: f64,
    latency: Latency,
}

impl GoLoad {
    /// Runs one kind of operation on a store that speaks `protocol` (tikv or etcd).
    pub async fn measure(
        &self,
        (store, protocol): (&'static str, &str),
        operation: Operation,
        spec: &Spec,
        endpoints: &[String],
        server_cpu: impl Fn() -> Result<Duration>,
    ) -> Result<Measurement> {
        let Stop::After(duration) = spec.stop else {
            unreachable!("a comparison measures for a time");
        };
        // The output of an earlier load is not this one's.
        let _ = std::fs::remove_file(&self.log);
        let args = arguments(protocol, operation, spec, duration, endpoints);
        let mut process = Process::spawn("load", &self.program, &args, &self.log)?;
        while !process.output().contains(MEASURING) && process.ended().is_none() {
            tokio::time::sleep(POLL).await;
        }
        let before = server_cpu()?;
        while process.ended().is_none() {
            tokio::time::sleep(POLL).await;
        }
        let after = server_cpu()?;
        let output = process.output();
        let report = output.split_once(MEASURING);
        let report = report.and_then(|(_, report)| serde_json::from_str::<Report>(report).ok());
        let report = report.ok_or(Error::NoReport { store, output })?;
        let each = |seconds: f64| seconds * 1e6 / report.count.max(1) as f64;
        Ok(Measurement {
            store,
            client: Side::Go,
            operation,
            throughput_per_s: report.count as f64 / report.elapsed_s,
            latency: report.latency,
            errors: report.errors,
            // A get that finds nothing is an error to this program.
            found: report.count,
            count: report.count,
            server_cpu_us: each((after - before).as_secs_f64()),
            client_cpu_us: each(report.client_cpu_s),
            error_samples: report.error_samples,
        })
    }
}

fn arguments(
    protocol: &str,
    operation: Operation,
    spec: &Spec,
    duration: Duration,
    endpoints: &[String],
) -> Vec<OsString> {
    [
        ("-store", protocol.to_owned()),
        ("-endpoints", endpoints.join(",")),
        ("-operation", operation.name().to_owned()),
        ("-clients", spec.clients.to_string()),
        ("-keys", spec.keys.to_string()),
        ("-key-size", spec.key_size_bytes.to_string()),
        ("-value-size", spec.value_size_bytes.to_string()),
        ("-warm-up", format!("{}ms", spec.warm_up.as_millis())),
        ("-duration", format!("{}ms", duration.as_millis())),
    ]
    .into_iter()
    .flat_map(|(flag, value)| [flag.into(), value.into()])
    .collect()
}
