//! The deterministic world: a cluster of stores, made of the production state machines, handlers and
//! batch systems, on simulated clocks, disks and networks, with clients at work and faults from a
//! seed.
//!
//! [`run`] plays one seed ([`run_seeds`] many, and [`shrink`] makes a failing one small): a phase with faults, a phase in which the healed cluster has to serve
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
//! Timestamps and ids are given out once, timestamps in the order of those who ask, whoever leads placement.
//!
//! **Not here.** gRPC: requests enter at the Peers' router and at the placement host. Damage to what was
//! synced.

mod askers;
mod campaign;
mod checker;
mod client;
mod clock;
mod describe;
mod engines;
mod faults;
mod history;
mod hosts;
mod inject;
mod keys;
mod left_out;
mod merges;
mod names;
mod network;
mod operator;
mod options;
mod planted;
mod ports;
mod quiet;
mod readers;
mod report;
mod reports;
mod rng;
mod rounds;
mod shrink;
mod snapshots;
mod store;
mod trace;
mod traffic;
mod world;

pub use campaign::{Summary, fresh_seed, run_seeds};
pub use faults::{FaultKind, FaultOptions};
pub use names::Named;
pub use options::{ActionKind, Options};
pub use planted::PlantedBug;
pub use report::{Reads, Report, Violation};
pub use shrink::{Shrunk, shrink};
pub use trace::Listener;

/// Plays one seed.
pub fn run(seed: u64, options: &Options) -> Report {
    play(seed, options, None)
}

/// Plays one seed, and says each line of its trace as it comes.
pub fn run_aloud(seed: u64, options: &Options, listener: Listener) -> Report {
    play(seed, options, Some(listener))
}

fn play(seed: u64, options: &Options, listener: Option<Listener>) -> Report {
    let _quiet = quiet::Quiet::new();
    world::World::new(seed, options, listener).run()
}
