//! The closed vocabulary between the placement driver and its host: inputs, effects, requests and
//! responses.
//!
//! **Invariants.** These enums carry data only, no closures and no handles. A request is known by
//! its [`RequestId`], which the host does not reuse while the request has no answer.

use crate::control::Control;
use crate::error::{Error, PersistFailed};
use crate::heartbeat::{RegionHeartbeat, StoreStats, region_bytes};
use crate::heat::StoreHeat;
use crate::instruct::RegionInstruction;
use crate::keyspaces::Keyspace;
use crate::operators::OperatorRecord;
use crate::schedulers::SchedulerView;
use crate::split::SplitIds;
use crate::stores::{Liveness, Store};
use std::sync::Arc;
use types::{Peer, PeerRole, Region, RegionId, RequestId, StoreId, Timestamp};

/// The time at which a step happens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// Milliseconds of a clock of this process that never goes back.
    pub monotonic_ms: u64,
    /// Milliseconds since the Unix epoch, from a clock that may jump both ways.
    pub wall_ms: u64,
}

/// A write that the host was asked to persist. Never used twice by one [`crate::Placement`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WriteId(pub u64);

/// A question whether this node still leads. Never used twice by one [`crate::Placement`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConfirmId(pub u64);

/// What happens to the placement driver.
#[derive(Clone, Debug)]
pub enum Input {
    /// This node leads the placement Region from now on.
    Elected {
        /// In this term, for the first time; terms never go back.
        term: u64,
    },
    /// The state that [`Input::Elected`] waits for. The first one of its term counts.
    Loaded {
        /// The term of the election.
        term: u64,
        /// All pairs that are persisted. Read after an entry of this term was applied here: all
        /// earlier writes are in it, or will never be.
        state: Vec<(Vec<u8>, Vec<u8>)>,
    },
    /// This node does not lead any more.
    Deposed,
    /// Somebody asks. Answered by exactly one [`Effect::Reply`].
    Request {
        /// By which it is answered.
        id: RequestId,
        /// What is asked.
        request: Request,
    },
    /// How an [`Effect::Persist`] ended. Not needed when the node was deposed meanwhile.
    Persisted {
        /// Which.
        write: WriteId,
        /// Whether it is committed and applied.
        result: Result<(), PersistFailed>,
    },
    /// How an [`Effect::Confirm`] ended. Not needed when the node was deposed meanwhile.
    Confirmed {
        /// Which.
        confirm: ConfirmId,
        /// Whether this node was still the leader, of the same term, at a moment after the effect.
        leads: bool,
    },
    /// Time has passed; about every 50 ms.
    Tick,
}

/// What the host has to do, in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Replicate these puts (a value) and deletes (`None`) in one atomic write, as the leader of the
    /// term of the last [`Input::Elected`], and answer with [`Input::Persisted`].
    Persist {
        /// By which it is acknowledged.
        write: WriteId,
        /// Keys are without the engine's prefix of the placement space.
        puts: Vec<(Vec<u8>, Option<Vec<u8>>)>,
    },
    /// Find out whether this node still leads (by ReadIndex, or at once under a valid lease) and
    /// answer with [`Input::Confirmed`].
    Confirm {
        /// By which it is answered.
        confirm: ConfirmId,
    },
    /// Answer a request.
    Reply {
        /// Which.
        id: RequestId,
        /// The answer.
        result: Result<Response, Error>,
    },
    /// Tell the leader of a Region what to do, if there is a way to it now. It may be lost: the answer
    /// to the Region's next report says it again.
    Instruct(RegionInstruction),
    /// Tell the operators.
    Notice(Notice),
}

/// Something that an operator should know of, though it is nobody's answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Notice {
    /// This node leads, but the state can't be used. It refuses everything as long as it leads.
    #[error("this node leads placement and can't: {0}")]
    Unable(Error),
    /// Timestamps follow a wall clock that has jumped. They do not come back when the clock does.
    #[error("the wall clock has jumped forward by {ahead_ms} ms, and timestamps with it")]
    ClockJumped {
        /// How far the wall clock is ahead of the time that has passed.
        ahead_ms: u64,
    },
    /// Timestamps do not follow the wall clock, until it shows a time that can be.
    #[error("the wall clock shows {wall_ms} ms since the Unix epoch: timestamps don't follow it")]
    ClockAbsurd {
        /// What it shows.
        wall_ms: u64,
    },
}

/// What can be asked of the placement driver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// One id that nobody has had. Answered by [`Response::Id`].
    AllocId,
    /// A batch of timestamps. Answered by [`Response::Timestamps`].
    Tso {
        /// How many.
        count: u32,
    },
    /// Registers a store or changes its description. Answered by [`Response::Done`].
    PutStore(Store),
    /// Which stores vote in the placement Region. Answered by [`Response::Members`].
    GetMembers,
    /// One store. Answered by [`Response::Store`].
    GetStore {
        /// Which.
        store_id: StoreId,
    },
    /// All stores, by id. Answered by [`Response::Stores`].
    GetAllStores,
    /// A store is alive and says how it is. Answered by [`Response::Done`].
    StoreHeartbeat(StoreStats),
    /// A leader reports its Region. Answered by [`Response::Instruction`], or by [`Response::Done`] if
    /// there is nothing to do.
    RegionHeartbeat(Box<RegionHeartbeat>),
    /// A Region was cut into these, in the order of their keys; the last one is what is left of it. Answered by
    /// [`Response::Done`], also if it is known otherwise.
    SplitDone(Vec<Region>),
    /// The Region that owns a key. Answered by [`Response::Region`].
    GetRegion {
        /// A key as Regions' boundaries are encoded.
        key: Vec<u8>,
    },
    /// The Region before the one that owns a key. Answered by [`Response::Region`].
    GetPrevRegion {
        /// A key as Regions' boundaries are encoded.
        key: Vec<u8>,
    },
    /// One Region. Answered by [`Response::Region`].
    GetRegionById {
        /// Which.
        region_id: RegionId,
    },
    /// The Regions that own keys in `[start, end)`, in order. Answered by [`Response::Regions`].
    ScanRegions {
        /// As Regions' boundaries are encoded.
        start: Vec<u8>,
        /// As Regions' boundaries are encoded; empty for no end.
        end: Vec<u8>,
        /// The most to answer; zero for as many as one answer may have.
        limit: usize,
    },
    /// Moves the time below which old versions may be collected; it never goes back. Answered by
    /// [`Response::GcSafePoint`] with what it is then.
    UpdateGcSafePoint {
        /// A timestamp as a number.
        safe_point: u64,
    },
    /// Answered by [`Response::GcSafePoint`].
    GetGcSafePoint,
    /// The keyspace of this name. Answered by [`Response::Keyspace`].
    LoadKeyspace {
        /// Its name.
        name: String,
    },
    /// All keyspaces, by id. Answered by [`Response::Keyspaces`].
    GetAllKeyspaces,
    /// Whether the cluster has been bootstrapped. A leader bootstraps it by itself, and answers
    /// [`Response::Done`] then.
    IsBootstrapped,
    /// What concerns scheduling. Answered as [`Control`] says.
    Control(Box<Control>),
}

/// The answers to requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Response {
    /// It is done, there is nothing to tell.
    Done,
    /// An id.
    Id(u64),
    /// `count` timestamps of one millisecond, without gaps, that end with `last`.
    Timestamps {
        /// The last of them.
        last: Timestamp,
        /// How many.
        count: u32,
    },
    /// Stores, by id; none if the placement Region has not reported to this leader yet.
    Members(Vec<StoreId>),
    /// One store.
    Store(Box<StoreView>),
    /// Stores, by id.
    Stores(Vec<StoreView>),
    /// A Region, or that there is none.
    Region(Option<RegionRoute>),
    /// Regions, in the order of their ranges.
    Regions(Vec<RegionRoute>),
    /// A timestamp as a number; zero before it was ever set.
    GcSafePoint(u64),
    /// One keyspace.
    Keyspace(Keyspace),
    /// Keyspaces, by id.
    Keyspaces(Vec<Keyspace>),
    /// What the Region's leader has to do now.
    Instruction(Box<RegionInstruction>),
    /// Ids for the new Regions of a split.
    SplitIds(Vec<SplitIds>),
    /// An operator, and how it stands.
    Operator(Box<OperatorRecord>),
    /// Operators: those at work by Region, or those that have ended, the last one first.
    Operators(Vec<OperatorRecord>),
    /// Stores by id, and how busy each is.
    Hot(Vec<StoreHeat>),
    /// Schedulers, in the order in which they run.
    Schedulers(Vec<SchedulerView>),
    /// Settings by name, with the values in effect.
    Settings(Vec<(String, String)>),
    /// For which Regions what was asked is under way or needs not be done, and for which it is refused.
    Begun {
        /// Those.
        begun: Vec<RegionId>,
        /// And these, with the reason.
        refused: Vec<(RegionId, Error)>,
    },
}

/// A store, and how it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreView {
    /// What was registered.
    pub store: Store,
    /// Whether it has been heard of lately.
    pub liveness: Liveness,
    /// When it was last heard of by this leader, in milliseconds since the Unix epoch.
    pub last_heartbeat_wall_ms: Option<u64>,
    /// What it said then.
    pub stats: Option<StoreStats>,
    /// Regions whose leader is on this store, by the last report of each to this leader.
    pub leader_count: u64,
    /// Replicas on this store, by the shapes of Regions that are persisted: a drained store leaves at zero.
    pub peer_count: u64,
    /// Bytes of the replicas on this store, by the last report of each to this leader.
    pub region_bytes: u64,
    /// Whether it is slow, or was until lately.
    pub is_slow: bool,
}

/// A Region, and who leads it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegionRoute {
    /// Its shape.
    pub region: Arc<Region>,
    /// Its leader; unknown until it reported to this placement leader.
    pub leader: Option<Peer>,
    /// Replicas that their leader has not heard of for long.
    pub down_peers: Vec<Peer>,
    /// Replicas that are catching up.
    pub pending_peers: Vec<Peer>,
    /// Replicas that hold something else than most, and serve nobody.
    pub quarantined_peers: Vec<Peer>,
    /// About how many bytes it holds; zero if that is not known.
    pub approximate_size_bytes: u64,
    /// About how many keys it holds; zero if that is not known.
    pub approximate_keys: u64,
    /// What was read there lately, in bytes a second.
    pub read_bytes_per_s: u64,
    /// What was written there lately, in bytes a second.
    pub written_bytes_per_s: u64,
}

impl RegionRoute {
    /// The leader, or else the first voter: clients need somebody to ask, and a wrong guess is
    /// corrected by a "not leader" with a hint.
    pub fn leader_or_guess(&self) -> Option<Peer> {
        self.leader.or_else(|| {
            let voter = |peer: &&Peer| peer.role == PeerRole::Voter;
            self.region.peers.iter().find(voter).copied()
        })
    }
}

impl Request {
    /// About how much memory the request holds while it waits.
    pub(crate) fn size_bytes(&self) -> usize {
        let heap = match self {
            Request::PutStore(store) => store.size_bytes(),
            Request::RegionHeartbeat(heartbeat) => heartbeat.size_bytes(),
            Request::SplitDone(parts) => parts.iter().map(region_bytes).sum(),
            Request::GetRegion { key } | Request::GetPrevRegion { key } => key.len(),
            Request::ScanRegions { start, end, .. } => start.len() + end.len(),
            Request::LoadKeyspace { name } => name.len(),
            Request::Control(control) => control.heap_bytes(),
            Request::AllocId
            | Request::Tso { .. }
            | Request::GetMembers
            | Request::GetStore { .. }
            | Request::GetAllStores
            | Request::StoreHeartbeat(_)
            | Request::GetRegionById { .. }
            | Request::UpdateGcSafePoint { .. }
            | Request::GetGcSafePoint
            | Request::GetAllKeyspaces
            | Request::IsBootstrapped => 0,
        };
        size_of::<Request>() + heap
    }
}
