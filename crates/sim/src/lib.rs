//! The deterministic world: a cluster of stores, made of the production state machines, handlers and
//! batch systems, on simulated clocks, disks and networks, with clients at work and faults from a
//! seed.
//!
//! [`run`] plays one seed: a phase with faults, a phase in which the healed cluster has to serve
//! every Region again within a bound, and the check of all that was seen. The same seed and options
//! give the same run, event for event; [`Report::trace_hash`] says so.
//!
//! **What is checked.** Every key is linearizable (so no acknowledged write is lost and no refused one
//! shows up), batches are never half seen, every request is answered once in the life of its store,
//! replicas are equal at an equal applied index, a term has one leader and a voter one vote in it, no
//! replica goes back behind a term in which it promised something, terms and applied indexes never go
//! back in a life, queues stay within their bounds and nothing stays counted in them, a store stops
//! after a failed sync, nothing panics, a store starts again after any crash, and the Regions that a store
//! has never overlap, though they are cut, moved and led from elsewhere all the time. Once it is quiet, the
//! newest shapes tile the key space, and each Region is on the stores that its shape names, and nowhere else.
//!
//! **Not here.** The placement host and gRPC: requests enter at the Peers' router. Damage to what was
//! synced, and full disks.

pub mod checker;
mod client;
mod clock;
mod engines;
mod faults;
mod history;
mod inject;
mod keys;
mod merges;
mod network;
mod operator;
mod ports;
mod quiet;
mod readers;
mod report;
mod rng;
mod rounds;
mod snapshots;
mod store;
mod trace;
mod traffic;
mod world;

pub use faults::{FaultKind, FaultOptions, Options, PlantedBug};
pub use history::{Action, Operation};
pub use report::{Reads, Report, Violation};

/// Plays one seed.
pub fn run(seed: u64, options: &Options) -> Report {
    let _quiet = quiet::Quiet::new();
    world::World::new(seed, options).run()
}
