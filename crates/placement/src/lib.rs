//! The placement driver as a pure state machine: which stores and Regions there are, who leads
//! them, what time it is, which ids are free.
//!
//! **Why a crate of its own.** Its decisions are replayable: [`Placement::step`] takes the time and
//! one [`Input`], and describes what has to happen as [`Effect`]s. The host replicates what is to be
//! persisted (through the Raft group of the reserved placement Region) and answers requests.
//!
//! **The way of a request.** Between its election and the state a node holds it. A leader answers a
//! question at once from what is *visible*. A change is evaluated on the *staged* state, queued, and written with whatever else queued meanwhile; its
//! answer leaves when that write is acknowledged, and then the change is visible. Timestamps and ids
//! come from windows that were written before, so they need no write of their own; timestamps also
//! wait until the host has confirmed, after they were taken, that this node still leads.
//!
//! **Invariants.**
//! - Every request gets exactly one [`Effect::Reply`]; at the latest when leadership ends.
//! - At most one write is under way. A failed write changes nothing visible.
//! - Nothing is visible that is not persisted, except what heartbeats report and what can be lost:
//!   who leads, which stores are alive, how full their disks are, and the old shape of a Region of whose
//!   parts not all have reported.
//! - A timestamp is above all that were answered before its request, whoever led then.
//! - Visible Regions never overlap.
//! - Pending requests are bounded in bytes.
//! - A Region has one operator at most, and no operator takes a voter away that its majority needs.
//!
//! **The way of an operator.** A checker or scheduler finds something to improve and makes an
//! [`Operator`]. Its steps reach the Region's leader one by one, as [`Instruction`]s; each is done when the
//! leader's next report shows it.
//!
//! **Not here.** Threads, clocks, sockets, protobuf, disks. Doing what an instruction says: the Region's
//! leader does. Who the members are and who leads them: the host knows.

mod check;
mod cluster;
mod codec;
mod config;
mod control;
mod error;
mod health;
mod heartbeat;
mod heat;
mod ids;
mod instruct;
mod keyspaces;
mod labels;
mod leader;
mod ledger;
mod limits;
mod load;
mod loading;
mod message;
mod observed;
mod operator;
mod operators;
mod placement;
mod plan;
mod region_check;
mod remnants;
mod requested;
mod rng;
mod routes;
mod safepoint;
mod schedule;
mod schedulers;
mod scheduling;
mod service;
mod settings;
mod split;
mod state;
mod stats;
mod stores;
mod tso;
mod view;

pub use config::{Bootstrap, Config};
pub use control::Control;
pub use error::{Error, PersistFailed};
pub use heartbeat::{RegionHeartbeat, StoreStats, Traffic};
pub use heat::{RegionHeat, StoreHeat};
pub use instruct::{Instruction, PeerChange, PeerChangeKind, RegionInstruction};
pub use keyspaces::Keyspace;
pub use message::{
    ConfirmId, Effect, Input, Notice, Now, RegionRoute, Request, Response, StoreView, WriteId,
};
pub use operator::{Operator, OperatorKind, OperatorStatus, OperatorStep};
pub use operators::OperatorRecord;
pub use placement::Placement;
pub use region_check::RegionCheck;
pub use requested::OperatorRequest;
pub use schedulers::{SchedulerName, SchedulerView};
pub use settings::Settings;
pub use split::SplitIds;
pub use stats::{Counts, PlacementStats};
pub use stores::{Liveness, Store, StoreState};

#[cfg(test)]
#[global_allocator]
static ALLOCATOR: fuzz::Counting = fuzz::Counting;
