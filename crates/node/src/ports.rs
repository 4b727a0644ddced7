//! What a node needs from outside, as traits: the network, the placement driver, and those who wait
//! for answers. Production and simulation implement them.
//!
//! **Invariants.** No method of a port blocks: pollers call them. (A full [`DiskRoom`] does, on
//! purpose.)

use crate::clock::Clock;
use crate::consistency::{HashWork, Quarantines};
use crate::fsm::{ApplyRouter, PeerRouter};
use crate::growth::Growth;
use crate::leaders::Leaders;
use crate::local_read::ReadDelegates;
use crate::log_gc::KvSyncs;
use crate::memory::Memory;
use crate::meters::Meters;
use crate::room::DiskRoom;
use crate::slowness::Slowness;
use crate::snap::{OutgoingSnapshot, SnapWork};
use crate::traffic::Traffic;
use crate::tuned::Tuned;
use futures::future::BoxFuture;
use placement::{RegionHeartbeat, SplitIds, StoreStats};
use raftstore::peer::PeerOptions;
use raftstore::{Leadership, RaftMessage, Reply, RequestError};
use std::sync::Arc;
use types::{Region, RegionId, RequestId};

/// Carries Raft messages to other stores. It may lose them; it never blocks. When its bounded buffer
/// is full, or a store can't be reached, it drops them and says so through
/// [`NodeHandle::report_unreachable`](crate::NodeHandle::report_unreachable).
pub trait Transport: Send + Sync + 'static {
    /// Takes a message over.
    fn send(&self, message: RaftMessage);
    /// Takes a snapshot over. It has all of its time, and none of the poller's: the frames are asked for
    /// elsewhere. Whatever becomes of it is reported by the ticket.
    fn send_snapshot(&self, snapshot: OutgoingSnapshot);
    /// Lets go what was taken over since the last flush: the end of a poller's round.
    fn flush(&self);
}

/// Tells the placement driver how Regions and the store are. It never blocks and may drop what a
/// later report repeats.
pub trait PlacementLink: Send + Sync + 'static {
    /// A leader's report.
    fn region_heartbeat(&self, heartbeat: RegionHeartbeat);
    /// The store's report.
    fn store_heartbeat(&self, stats: StoreStats);
    /// A Region that is led here was cut into these, the last of which is what is left of it; before any of them
    /// reports.
    fn split_done(&self, parts: Vec<Region>);
    /// Asks for the ids of so many Regions that are to be cut off from this one. An error says why there
    /// are none now.
    fn ask_split(
        &self,
        region: Region,
        parts: usize,
    ) -> BoxFuture<'static, Result<Vec<SplitIds>, String>>;
}

/// Where answers go.
pub trait Replies: Send + Sync + 'static {
    /// The one answer to a request; ignored if nobody waits any more.
    fn complete(&self, request: RequestId, result: Result<Reply, RequestError>);
}

/// Hears who leads.
pub trait LeadershipObserver: Send + Sync + 'static {
    /// A replica on this store learned of a change.
    fn leadership(&self, leadership: &Leadership);
    /// The replica of a Region on this store is gone, and with it what it knew of its leader.
    fn removed(&self, region: RegionId);
}

/// All ports of one node, and what its two batch systems share.
#[derive(Clone)]
pub struct Ports {
    /// To other stores.
    pub transport: Arc<dyn Transport>,
    /// To the placement driver.
    pub link: Arc<dyn PlacementLink>,
    /// To those who asked.
    pub replies: Arc<dyn Replies>,
    /// To those who want to know who leads.
    pub observer: Arc<dyn LeadershipObserver>,
    /// To Peers and the store.
    pub peers: PeerRouter,
    /// To appliers.
    pub appliers: ApplyRouter,
    /// What is held in memory.
    pub memory: Memory,
    /// What the Peers say of their leaders.
    pub leaders: Leaders,
    /// What the Peers say of their leases.
    pub delegates: ReadDelegates,
    /// What leases are measured by.
    pub clock: Arc<dyn Clock>,
    /// What both do while the disk is full.
    pub room: DiskRoom,
    /// What appliers write.
    pub growth: Growth,
    /// What is read and written.
    pub traffic: Traffic,
    /// How slow the Raft log is.
    pub slowness: Slowness,
    /// For Peers that are made later.
    pub peer_options: Tuned<Arc<PeerOptions>>,
    /// Where work on snapshots goes.
    pub snaps: Arc<dyn SnapWork>,
    /// Who waits for a sync of the key-value engine.
    pub syncs: KvSyncs,
    /// Where views go that are to be hashed.
    pub hashes: Arc<dyn HashWork>,
    /// Replicas here that serve nobody.
    pub quarantines: Quarantines,
    /// What is counted.
    pub meters: Meters,
}
