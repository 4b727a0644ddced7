//! A load generator for anything that puts, gets and scans: what `kontiki bench` and the comparison
//! with other stores share, so that both are measured by the same code.
//!
//! **Why a crate of its own.** A comparison is only fair if the two sides differ in nothing but the
//! [`Target`]: same keys, same order of operations, same clock, same histogram.
//!
//! **Invariants.** The keys, values and the mix of operations of a client depend on the seed and the
//! client's number only, never on time. Every operation that begins in the measured window is counted
//! exactly once: in a histogram or as an error.
//!
//! **Not here.** No protocol and no connection: a [`Target`] brings them. No open loop: each client
//! waits for an answer before it asks again, so a stalled server lowers the throughput and shows in
//! `max`, but the percentiles do not contain the requests that were never made meanwhile.

mod keys;
mod report;
mod rng;
mod run;
mod spec;
mod target;
mod zipfian;

pub use keys::{Distribution, KeySource, ValueSource};
pub use report::{Latency, OperationReport, Report};
pub use rng::Rng;
pub use run::{Phase, run, run_observed};
pub use spec::{Mix, Spec, SpecError, Stop};
pub use target::{Operation, Target};
pub use zipfian::Zipfian;
