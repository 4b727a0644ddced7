//! The results of a run: numbers, a table, JSON.
//!
//! Latencies are kept in microseconds with three significant digits up to an hour; percentiles are
//! the upper ends of their buckets.

use crate::spec::Spec;
use crate::target::Operation;
use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::time::Duration;

/// Longer latencies are recorded as this.
const LATENCY_MAX_US: u64 = 3_600_000_000;
const ERROR_SAMPLES_MAX: usize = 5;

/// Where a few clients write what they saw.
pub(crate) struct Recorder {
    latencies: [Histogram<u64>; 3],
    found: [u64; 3],
    errors: [u64; 3],
    samples: Vec<String>,
}

impl Recorder {
    pub(crate) fn new() -> Self {
        let histogram =
            || Histogram::new_with_bounds(1, LATENCY_MAX_US, 3).expect("the bounds are in order");
        Self {
            latencies: [histogram(), histogram(), histogram()],
            found: [0; 3],
            errors: [0; 3],
            samples: Vec::new(),
        }
    }

    /// Records one operation: the number of pairs it found, or why it failed.
    pub(crate) fn record(
        &mut self,
        operation: Operation,
        latency: Duration,
        outcome: Result<usize, String>,
    ) {
        let at = operation as usize;
        match outcome {
            Ok(found) => {
                self.latencies[at].saturating_record((latency.as_micros() as u64).max(1));
                self.found[at] += found as u64;
            }
            Err(text) => {
                self.errors[at] += 1;
                self.sample(text);
            }
        }
    }

    pub(crate) fn merge(&mut self, other: &Recorder) {
        for at in 0..self.latencies.len() {
            self.latencies[at]
                .add(&other.latencies[at])
                .expect("the bounds are the same");
            self.found[at] += other.found[at];
            self.errors[at] += other.errors[at];
        }
        for text in &other.samples {
            self.sample(text.clone());
        }
    }

    fn sample(&mut self, text: String) {
        if self.samples.len() < ERROR_SAMPLES_MAX && !self.samples.contains(&text) {
            self.samples.push(text);
        }
    }
}

/// Latencies of the operations that succeeded, in microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Latency {
    /// Arithmetic mean.
    pub mean_us: f64,
    /// Half were faster.
    pub p50_us: u64,
    /// 99 in 100 were faster.
    pub p99_us: u64,
    /// 999 in 1,000 were faster.
    pub p999_us: u64,
    /// The slowest.
    pub max_us: u64,
}

/// The results of one kind of operation.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct OperationReport {
    /// Which kind.
    pub operation: Operation,
    /// Operations that succeeded in the measured window.
    pub count: u64,
    /// Operations that failed in it; they are in no other figure.
    pub errors: u64,
    /// Pairs written or read: a get that finds nothing adds none.
    pub found: u64,
    /// Successful operations a second.
    pub throughput_per_s: f64,
    /// How long they took.
    pub latency: Latency,
}

/// The results of a run.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// What was run.
    pub spec: Spec,
    /// From the beginning of the measured window to the last answer, in seconds.
    pub elapsed_s: f64,
    /// Keys that could not be put before the run.
    pub preload_errors: u64,
    /// The kinds of operations that were in the mix.
    pub operations: Vec<OperationReport>,
    /// The texts of the first few different errors.
    pub error_samples: Vec<String>,
}

impl Report {
    pub(crate) fn new(spec: Spec, elapsed: Duration, preload_errors: u64, of: &Recorder) -> Self {
        let elapsed_s = elapsed.as_secs_f64();
        let operations = Operation::ALL
            .into_iter()
            .filter(|&operation| {
                let at = operation as usize;
                !of.latencies[at].is_empty() || of.errors[at] > 0
            })
            .map(|operation| operation_report(operation, elapsed_s, of))
            .collect();
        let error_samples = of.samples.clone();
        Self {
            spec,
            elapsed_s,
            preload_errors,
            operations,
            error_samples,
        }
    }

    /// The results of one kind of operation, if any was made.
    pub fn operation(&self, operation: Operation) -> Option<&OperationReport> {
        self.operations
            .iter()
            .find(|report| report.operation == operation)
    }

    /// All operations that succeeded.
    pub fn count(&self) -> u64 {
        self.operations.iter().map(|report| report.count).sum()
    }

    /// All operations that failed.
    pub fn errors(&self) -> u64 {
        self.operations.iter().map(|report| report.errors).sum()
    }

    /// The report as JSON on several lines.
    pub fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).expect("a report holds nothing that JSON can't")
    }
}

fn operation_report(operation: Operation, elapsed_s: f64, of: &Recorder) -> OperationReport {
    let at = operation as usize;
    let histogram = &of.latencies[at];
    OperationReport {
        operation,
        count: histogram.len(),
        errors: of.errors[at],
        found: of.found[at],
        throughput_per_s: histogram.len() as f64 / elapsed_s,
        latency: Latency {
            mean_us: histogram.mean(),
            p50_us: histogram.value_at_quantile(0.5),
            p99_us: histogram.value_at_quantile(0.99),
            p999_us: histogram.value_at_quantile(0.999),
            max_us: histogram.max(),
        },
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let spec = &self.spec;
        writeln!(
            f,
            "{} clients, {} keys of {} bytes, values of {} bytes, {:.1} s",
            spec.clients, spec.keys, spec.key_size_bytes, spec.value_size_bytes, self.elapsed_s
        )?;
        writeln!(
            f,
            "{:<9}{:>11}{:>9}{:>11}{:>10}{:>10}{:>10}{:>10}{:>10}",
            "operation",
            "count",
            "errors",
            "ops/s",
            "mean ms",
            "p50 ms",
            "p99 ms",
            "p99.9 ms",
            "max ms"
        )?;
        for row in &self.operations {
            let latency = &row.latency;
            write!(
                f,
                "{:<9}{:>11}{:>9}{:>11.0}{:>10.3}",
                row.operation.name(),
                row.count,
                row.errors,
                row.throughput_per_s,
                latency.mean_us / 1e3
            )?;
            for us in [
                latency.p50_us,
                latency.p99_us,
                latency.p999_us,
                latency.max_us,
            ] {
                write!(f, "{:>10.3}", us as f64 / 1e3)?;
            }
            writeln!(f)?;
        }
        if self.preload_errors > 0 {
            writeln!(
                f,
                "{} keys could not be put before the run",
                self.preload_errors
            )?;
        }
        for text in &self.error_samples {
            writeln!(f, "an error was: {text}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        let mut recorder = Recorder::new();
        for ms in 1..=1_000 {
            recorder.record(Operation::Get, Duration::from_millis(ms), Ok(1));
        }
        for number in 0..20 {
            let latency = Duration::from_millis(1);
            recorder.record(Operation::Put, latency, Err(format!("refused {number}")));
        }
        Report::new(Spec::default(), Duration::from_secs(2), 0, &recorder)
    }

    #[test]
    fn percentiles_are_those_of_the_recorded_latencies() {
        let report = report();
        let get = report.operation(Operation::Get).unwrap();
        assert_eq!(get.count, 1_000);
        assert_eq!(get.throughput_per_s, 500.0);
        let near = |us: u64, ms: f64| (us as f64 / 1e3 / ms - 1.0).abs() < 0.002;
        assert!(near(get.latency.p50_us, 500.0) && near(get.latency.p99_us, 990.0));
        assert!(near(get.latency.p999_us, 999.0) && near(get.latency.max_us, 1_000.0));
    }

    #[test]
    fn errors_are_counted_apart_and_only_a_few_texts_are_kept() {
        let report = report();
        let put = report.operation(Operation::Put).unwrap();
        assert_eq!((put.count, put.errors, report.errors()), (0, 20, 20));
        assert_eq!(report.error_samples.len(), ERROR_SAMPLES_MAX);
        assert!(
            report.operation(Operation::Scan).is_none(),
            "nothing was scanned"
        );
    }

    #[test]
    fn the_json_holds_what_the_table_shows() {
        let report = report();
        let json: serde_json::Value = serde_json::from_str(&report.to_json()).unwrap();
        assert_eq!(json["operations"][1]["operation"], "get");
        assert_eq!(json["operations"][1]["count"], 1_000);
        let table = report.to_string();
        assert!(
            table.contains("p99.9 ms") && table.contains("an error was: refused 0"),
            "{table}"
        );
    }
}
