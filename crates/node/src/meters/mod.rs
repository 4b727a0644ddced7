//! What a node counts and times of Raft, reads and snapshots, for whoever watches it.
//!
//! **How it is cheap.** A poller counts in plain fields ([`PeerCounts`], [`ApplyCounts`]) and adds them to the
//! node's cells once a round; of requests one in sixteen is timed ([`waterfall`]). Reads, which go through no
//! round, are counted in cells that their threads don't share. Single requests may be followed ([`journey`]).
//!
//! **Invariants.** `raftstore` and `placement` know nothing of this: what they want done says enough. Times
//! come from the node's clock, so that simulations stay what they are.
//!
//! **Not here.** The page's other families: `collect` gathers them from those whose they are.

mod collect;
mod families;
mod journey;
mod messages;
mod round;
mod waterfall;

pub(crate) use collect::Watched;
pub use families::FAMILIES;
pub(crate) use journey::{Appends, Journeys, current as current_journey, mark};
pub use journey::{Journey, Point, note_failure, within};
pub(crate) use messages::MessageKind;
pub(crate) use round::{ApplyCounts, PeerCounts};
pub(crate) use waterfall::{Stage, Waterfall};

use metrics::{ByLabel, Counter, Gauge, Histogram, Striped, is_on};
use parking_lot::Mutex;
use placement::PlacementStats;
use raftstore::MonotonicTime;
use std::sync::Arc;
use std::time::Duration;
use types::RequestId;

metrics::label! {"path":
    /// How a read was allowed.
    pub(crate) enum ReadPath {
        /// Under the leader's lease: without a message.
        Lease = "lease",
        /// By the leader, after a quorum has confirmed that it leads.
        Index = "read-index",
        /// By another replica, which asked the leader.
        Replica = "replica",
    }
}

metrics::label! {"role":
    /// What a replica became.
    pub(crate) enum Role {
        /// It leads.
        Leader = "leader",
        /// It follows another one, or none.
        Follower = "follower",
    }
}

metrics::label! {"reason":
    /// Why a Raft message came to nothing.
    pub(crate) enum Lost {
        /// Too many bytes wait for the Peers, or the store stops.
        Busy = "busy",
        /// Its Region has no replica here.
        Stray = "stray",
        /// No correct member sends it.
        Refused = "refused",
        /// It could not be sent: the other store is away, or its queue is full.
        Unreachable = "unreachable",
    }
}

/// The cells of one node. Clones are the same.
#[derive(Clone, Default)]
pub struct Meters(Arc<Cells>);

impl std::ops::Deref for Meters {
    type Target = Cells;

    fn deref(&self) -> &Cells {
        &self.0
    }
}

/// What a node counts.
pub struct Cells {
    /// Commands that Peers were given.
    pub(crate) proposals: Counter,
    /// Entries written to the log, of whichever leader, and their bytes.
    pub(crate) appended: Counter,
    pub(crate) appended_bytes: Counter,
    /// Entries given to appliers.
    pub(crate) committed: Counter,
    /// Entries applied, and commands that somebody waited for.
    pub(crate) applied: Counter,
    pub(crate) answered: Counter,
    pub(crate) sent: ByLabel<MessageKind, Counter>,
    pub(crate) received: ByLabel<MessageKind, Counter>,
    pub(crate) lost: ByLabel<Lost, Counter>,
    pub(crate) leaderships: ByLabel<Role, Counter>,
    pub(crate) asleep: Gauge,
    pub(crate) waterfall: Waterfall,
    pub(crate) journeys: Journeys,
    pub(crate) reads: ByLabel<ReadPath, Striped<Counter>>,
    /// How long reads waited to be allowed; not those under a lease.
    pub(crate) read_waits: ByLabel<ReadPath, Histogram>,
    pub(crate) snapshots: SnapshotCells,
    /// As the placement driver of this node said last, if it leads.
    pub(crate) placement: Mutex<Option<PlacementStats>>,
}

/// What a node counts of snapshots.
pub(crate) struct SnapshotCells {
    pub(crate) sent: Counter,
    pub(crate) send_failed: Counter,
    pub(crate) sent_bytes: Counter,
    pub(crate) received: Counter,
    pub(crate) received_bytes: Counter,
    pub(crate) installs: Histogram,
}

impl Default for Cells {
    fn default() -> Self {
        Self {
            proposals: Counter::new(),
            appended: Counter::new(),
            appended_bytes: Counter::new(),
            committed: Counter::new(),
            applied: Counter::new(),
            answered: Counter::new(),
            sent: ByLabel::default(),
            received: ByLabel::default(),
            lost: ByLabel::default(),
            leaderships: ByLabel::default(),
            asleep: Gauge::new(),
            waterfall: Waterfall::default(),
            journeys: Journeys::default(),
            reads: ByLabel::default(),
            read_waits: ByLabel::new(Histogram::latencies),
            snapshots: SnapshotCells {
                sent: Counter::new(),
                send_failed: Counter::new(),
                sent_bytes: Counter::new(),
                received: Counter::new(),
                received_bytes: Counter::new(),
                installs: Histogram::latencies(),
            },
            placement: Mutex::default(),
        }
    }
}

impl Cells {
    /// A request has come through a stage of a write.
    pub(crate) fn pass(&self, request: RequestId, stage: Stage, now: impl Fn() -> MonotonicTime) {
        self.waterfall.pass(request, stage, &now);
        let point = match stage {
            Stage::Queue => Point::TakenUp,
            Stage::Replicate => Point::Committed,
            Stage::Apply | Stage::All => Point::Applied,
        };
        self.journeys.pass(request, point, &now);
    }

    pub(crate) fn count_read(&self, path: ReadPath) {
        if is_on() {
            self.reads.of(path).mine().add(1);
        }
    }

    pub(crate) fn count_waited_read(&self, path: ReadPath, waited: Duration) {
        self.count_read(path);
        if is_on() {
            self.read_waits.of(path).observe_time(waited);
        }
    }

    /// A message could not be sent, or one that came was not taken.
    pub(crate) fn count_lost(&self, reason: Lost) {
        self.lost.of(reason).add(1);
    }
}
