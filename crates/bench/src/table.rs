//! Measurements as a table, and their ratios.

use crate::measure::{Measurement, Side};
use serde::Serialize;
use std::fmt;
use workload::Operation;

/// One store's figure as a multiple of another's.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Ratio {
    /// What was measured, as words.
    pub what: String,
    /// The multiple.
    pub ratio: f64,
}

/// All measurements of a comparison.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Comparison {
    /// What was the same for all stores, as words.
    pub setting: String,
    /// In the order in which they were made.
    pub measurements: Vec<Measurement>,
}

impl Comparison {
    /// One measurement.
    pub fn of(&self, store: &str, client: Side, operation: Operation) -> Option<&Measurement> {
        self.measurements
            .iter()
            .find(|m| m.store == store && m.client == client && m.operation == operation)
    }

    /// Kontiki's figures as multiples of the others', where both were measured with the same client.
    pub fn ratios(&self) -> Vec<Ratio> {
        let mut ratios = Vec::new();
        for operation in Operation::ALL {
            for (other, client) in [("etcd", Side::Go), ("echo", Side::Rust)] {
                let ours = self.of("kontiki", client, operation);
                let theirs = self.of(other, client, operation);
                let (Some(ours), Some(theirs)) = (ours, theirs) else {
                    continue;
                };
                let figures = [
                    ("throughput", ours.throughput_per_s, theirs.throughput_per_s),
                    (
                        "p99",
                        ours.latency.p99_us as f64,
                        theirs.latency.p99_us as f64,
                    ),
                    (
                        "server CPU an operation",
                        ours.server_cpu_us,
                        theirs.server_cpu_us,
                    ),
                ];
                ratios.extend(figures.map(|(figure, ours, theirs)| Ratio {
                    what: format!("{} {figure}, kontiki ÷ {other}", operation.name()),
                    ratio: ours / theirs,
                }));
            }
        }
        ratios
    }

    /// The table's content and the ratios as JSON on several lines.
    pub fn to_json(&self) -> String {
        let all = serde_json::json!({ "comparison": self, "ratios": self.ratios() });
        serde_json::to_string_pretty(&all).expect("numbers and words are valid JSON")
    }
}

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.setting)?;
        writeln!(
            f,
            "{:<9}{:<7}{:<5}{:>9}{:>9}{:>9}{:>10}{:>9}{:>14}{:>14}{:>8}",
            "store",
            "client",
            "op",
            "ops/s",
            "p50 ms",
            "p99 ms",
            "p99.9 ms",
            "max ms",
            "server µs/op",
            "client µs/op",
            "errors"
        )?;
        for m in &self.measurements {
            write!(
                f,
                "{:<9}{:<7}{:<5}{:>9.0}",
                m.store,
                m.client.name(),
                m.operation.name(),
                m.throughput_per_s
            )?;
            let ms = |us: u64| us as f64 / 1e3;
            write!(
                f,
                "{:>9.2}{:>9.2}",
                ms(m.latency.p50_us),
                ms(m.latency.p99_us)
            )?;
            write!(
                f,
                "{:>10.2}{:>9.1}",
                ms(m.latency.p999_us),
                ms(m.latency.max_us)
            )?;
            writeln!(
                f,
                "{:>14.1}{:>14.1}{:>8}",
                m.server_cpu_us, m.client_cpu_us, m.errors
            )?;
        }
        for m in self
            .measurements
            .iter()
            .filter(|m| !m.error_samples.is_empty())
        {
            writeln!(f, "errors of {}: {}", m.store, m.error_samples.join("; "))?;
        }
        for ratio in self.ratios() {
            writeln!(f, "{:<48}{:>8.2}", ratio.what, ratio.ratio)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use workload::Latency;

    fn measurement(
        store: &'static str,
        client: Side,
        throughput_per_s: f64,
        p99_us: u64,
    ) -> Measurement {
        let latency = Latency {
            mean_us: 1.0,
            p50_us: 1,
            p99_us,
            p999_us: p99_us,
            max_us: p99_us,
        };
        Measurement {
            store,
            client,
            operation: Operation::Put,
            throughput_per_s,
            latency,
            errors: 0,
            found: 10,
            count: 10,
            server_cpu_us: 30.0,
            client_cpu_us: 5.0,
            error_samples: Vec::new(),
        }
    }

    #[test]
    fn ratios_are_given_for_operations_that_one_client_did_on_both_stores() {
        let mut comparison = Comparison::default();
        comparison
            .measurements
            .push(measurement("etcd", Side::Go, 1_000.0, 40));
        assert!(comparison.ratios().is_empty());
        comparison
            .measurements
            .push(measurement("kontiki", Side::Rust, 9_000.0, 9));
        assert!(comparison.ratios().is_empty(), "by different clients");
        comparison
            .measurements
            .push(measurement("kontiki", Side::Go, 5_000.0, 10));
        let ratios: Vec<f64> = comparison
            .ratios()
            .iter()
            .map(|ratio| ratio.ratio)
            .collect();
        assert_eq!(ratios, [5.0, 0.25, 1.0]);
    }

    #[test]
    fn the_json_and_the_table_hold_the_same_ratios() {
        let measurements = vec![
            measurement("kontiki", Side::Rust, 3_000.0, 10),
            measurement("echo", Side::Rust, 9_000.0, 20),
        ];
        let comparison = Comparison {
            setting: "a setting".to_owned(),
            measurements,
        };
        let json: serde_json::Value = serde_json::from_str(&comparison.to_json()).unwrap();
        assert_eq!(json["ratios"][1]["ratio"], 0.5);
        let table = comparison.to_string();
        assert!(
            table.contains("put p99, kontiki ÷ echo") && table.contains("0.50"),
            "{table}"
        );
    }
}
