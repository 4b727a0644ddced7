//! Snapshots between stores: what the Peers' effects on them do.
//!
//! **Sending.** A view of the key-value engine is pinned, which costs nothing but the files that it
//! keeps; when its message comes, the view is read and sent at the same time, chunk by chunk
//! ([`Frames`]). Nothing is written on the sender's side. Views are bounded in number and in age,
//! what is sent in bytes a second over all snapshots.
//!
//! **Receiving.** Chunks go into a file under a temporary name, each checked as it comes
//! ([`IncomingSnapshot`]). A file gets its name when it is whole and synced, and only then its
//! message is handed to the Peer. So a stream that is cut, damaged or of another Region leaves nothing.
//!
//! **Installing** (`install`) happens on a thread of its own, so that the pollers go on. A mark in the
//! engine says which file an installation was at when the process ended; the next start goes on with
//! it ([`recover_snapshots`]) before anything else.
//!
//! **Invariants.** A file that a mark names is not removed. Every snapshot that was to be sent is
//! reported as sent or not.
//!
//! **Not here.** When which replica gets one (`raftstore::op::snapshot`), and the wire (`server`).

mod dir;
mod format;
mod install;
mod limiter;
mod mem_dir;
mod receive;
mod service;
mod slots;
mod work;

pub use dir::{FileDir, SnapshotDir, SnapshotFile, StoredFile};
pub use format::{FRAME_BYTES_MAX, FormatError, Frames};
pub use install::recover_snapshots;
pub use mem_dir::MemDir;
pub use receive::{IncomingSnapshot, SnapshotRefused};
pub use service::{OutgoingSnapshot, SendTicket, SentListener, Snapshots};
pub use work::{SnapTask, SnapWork};

pub(crate) use limiter::Limiter;
pub(crate) use service::SnapTuning;
pub(crate) use work::{SnapReceivers, SnapSenders, SnapThreads};

use std::time::Duration;

/// Bounds on snapshots. Names and defaults follow TiKV's.
#[derive(Clone, Debug)]
pub struct SnapOptions {
    /// Snapshots that are pinned or sent at the same time (`concurrent-send-snap-limit`).
    pub send_max: usize,
    /// Snapshots that are received at the same time (`concurrent-recv-snap-limit`).
    pub receive_max: usize,
    /// Bytes a second of all that are sent (`snap-io-max-bytes-per-sec`); zero: as fast as it goes.
    pub bytes_per_s_max: u64,
    /// How long a pinned view waits for its message.
    pub pin_max: Duration,
    /// How long a file waits for its installation (`snap-gc-timeout`).
    pub file_age_max: Duration,
}

impl Default for SnapOptions {
    fn default() -> Self {
        Self {
            send_max: 32,
            receive_max: 32,
            bytes_per_s_max: 100 << 20,
            pin_max: Duration::from_secs(60),
            file_age_max: Duration::from_secs(4 * 60 * 60),
        }
    }
}
