//! The vocabulary that every other room shares: ids, Regions and their epochs, key ranges,
//! timestamps, the Raft log's records, and the codecs of keys and values.
//!
//! **Why a crate of its own.** The wire (`proto`), the disk (`engine`) and the state machines
//! (`raftstore`, `placement`) all speak of a Region; none of them may depend on another's
//! representation of it.
//!
//! **Invariants.** Everything here is plain data with value semantics: no I/O, no clock, no
//! protobuf. A codec's `decode` never panics, whatever the bytes.
//!
//! **Not here.** Conversions to and from protobuf (`proto`), and any decision.

pub mod api;
mod error;
mod id;
pub mod keys;
mod log;
pub mod raw_value;
mod region;
mod timestamp;

pub use api::{ApiVersion, KeyMode, KeyspaceId};
pub use error::CodecError;
pub use id::{ClusterId, PeerId, RegionId, RequestId, StoreId};
pub use keys::Space;
pub use log::{ApplyState, EntryKind, HardState, LogEntry};
pub use raw_value::{RawValue, RawValueRef};
pub use region::{Epoch, KeyRange, Peer, PeerRole, Region};
pub use timestamp::Timestamp;
