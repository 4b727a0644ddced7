//! One node: it performs what the pure state machines of `raftstore` and `placement` decide.
//!
//! Two batch systems run here: one steps Peers and writes the Raft log, one applies committed
//! entries. A round of the first ends with **one** log write and at most one sync for all Regions in
//! it; a round of the second with one key-value batch, each Region's applied index in it.
//!
//! **What a crash does.** Before the log write: nothing was promised. Between the write and the
//! messages that depend on it: as if they were lost. Before the key-value batch: the entries are
//! applied again from the log. After it: clients that heard nothing don't know, and the write is there.
//!
//! **Invariants.** Every request that enters through [`NodeHandle`] gets one answer. A failed log
//! write or apply panics, and the panic policy of production ends the process: it is never retried.
//!
//! **Not here.** gRPC (`server`), decisions about data (`raftstore`, `placement`).

mod background;
mod budget;
mod checkers;
mod clock;
mod compact;
mod consistency;
mod error;
mod flow;
mod fsm;
mod growth;
mod hand_over;
mod handle;
mod handler;
mod ident;
mod identity;
mod inspect;
mod leaders;
mod load_check;
pub mod local;
mod local_read;
mod log_gc;
mod manage;
mod memory;
mod meters;
mod node;
mod online;
mod owner;
pub mod placement_host;
mod ports;
mod recover;
mod replies;
mod room;
mod slow_round;
mod slowness;
pub mod snap;
mod snapshot;
mod split_check;
mod threads;
mod traffic;
mod tuned;

pub use batch_system::{ByteBudget, FsmStats};
pub use budget::{MemoryBudget, NoRoom, PartLimits, Parts as MemoryParts, Seen};
pub use clock::{Clock, SystemClock};
pub use compact::{CompactError, Compacted, Compaction};
pub use consistency::{ConsistencyOptions, HashTask, HashWork, Hashed, Quarantines};
pub use error::StartError;
pub use flow::{FlowControl, FlowOptions, QuotaOptions, Quotas};
pub use fsm::{ApplyFsm, ApplyMessage, ApplyRouter, NoControl, PeerFsm, PeerMessage, PeerRouter};
pub use fsm::{StoreFsm, StoreMessage, actors};
pub use growth::Growth;
pub use handle::{Delivery, NodeHandle, deliver};
pub use handler::{ApplyHandler, PeerHandler};
pub use ident::{Configured, Identified, Origin, identify};
pub use identity::{DEFAULT_TOKEN, Identity, Member, Members, MembersError};
pub use identity::{is_address, is_member_name};
pub use inspect::RegionInspection;
pub use leaders::Leaders;
pub use local_read::{Attempt, Granted, ReadDelegates};
pub use log_gc::KvSyncs;
pub use memory::Memory;
pub use meters::{FAMILIES, Journey, Meters, Point, note_failure, within};
pub use node::{Node, NodeOptions, Parts};
pub use online::NodeControl;
pub use owner::{Owner, Told, find_owner, known_members};
pub use placement_host::{PlacementAnswer, PlacementHandle};
pub use ports::{LeadershipObserver, PlacementLink, Ports, Replies, Transport};
pub use recover::{Progress, Recovered, bootstrap, recover};
pub use room::DiskRoom;
pub use slowness::Slowness;
pub use snapshot::{RegionIter, RegionSnapshot};
pub use split_check::SplitOptions;
pub use threads::{ask_for_short_turns, begin_work, give_way, processor_time, rest_if_due};
pub use traffic::Traffic;
pub use tuned::Tuned;

#[cfg(test)]
#[global_allocator]
static ALLOCATOR: fuzz::Counting = fuzz::Counting;
