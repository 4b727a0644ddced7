//! Faults on real processes: three `kontiki server` processes under load are killed, stopped and cut off from
//! each other, as a seed says, and what clients saw is judged.
//!
//! **Why, beside the simulation.** There the state machines are the production ones and the rest is simulated. Here
//! gRPC, threads, the kernel, both log engines and real disks take part; the order in which things happen is
//! nobody's to repeat.
//!
//! **The way of a run** ([`run`]). A [`schedule`] is drawn. Proxies stand in front of the nodes and tell links apart
//! (`network`, `owner`, `rules`). Clients read and write few keys all the time (`load`), among them some that ask
//! one node only (`stubborn`). Each fault begins, lasts, and ends; probes measure how long nobody served. At the
//! end the histories of all keys are judged by the checker of the simulation (`consistency`).
//!
//! **Invariants.** The same seed gives the same faults in the same order, though not at the same moments. A run
//! that does not end well leaves its files.
//!
//! **Not here.** Damaged files and full disks (`e2e/tests/faults.rs`).

mod error;
mod layout;
mod load;
mod network;
mod options;
mod owner;
mod probe;
mod recorder;
mod report;
mod rules;
mod run;
mod schedule;
mod stubborn;
mod timestamps;
mod verdict;
mod world;

pub use error::{Error, Result};
pub use layout::Key;
pub use options::Options;
pub use recorder::Tally;
pub use report::{Outage, Report};
pub use run::run;
pub use schedule::{CutStyle, Fault, Kind, Led, Numbers, schedule};
pub use verdict::Wrong;
