//! What a node shows of single Regions and actors, for whoever looks for a fault.
//!
//! **Invariants.** Nothing waits for a Peer or its applier, which may be what hangs: what is shown was
//! written down by them before.
//!
//! **Not here.** What a Peer keeps to itself, such as its followers' progress.

use crate::handle::NodeHandle;
use batch_system::{Actors, FsmStats};
use engine::{Cf, Files, KvEngine};
use raftstore::op::measure::Size;
use raftstore::state::{self, RegionRecord};
use types::keys::Space;
use types::{ApplyState, Peer, Region, RegionId, keys};

/// A Region, as this store knows it.
#[derive(Clone, Debug)]
pub struct RegionInspection {
    /// Its shape, or what it left.
    pub record: Option<RegionRecord>,
    /// How far its log is applied and cut, durably or not.
    pub applied: Option<ApplyState>,
    /// Who leads it, as the replica here knows.
    pub leader: Option<Peer>,
    /// Whether that is the replica here.
    pub leads: bool,
    /// About how large it is, if that was looked at.
    pub size: Option<Size>,
    /// The files that have rows of it, with those of its neighbours that are in the same.
    pub files: Files,
    /// What its Peer has done, and what waits for it; none if there is no replica here.
    pub peer: Option<FsmStats>,
    /// The same of its applier.
    pub applier: Option<FsmStats>,
}

impl<K: KvEngine> NodeHandle<K> {
    /// A Region; none if this store never heard of it. May wait for the disk.
    ///
    /// # Errors
    /// Its records can't be read, in words.
    pub fn inspect(&self, id: RegionId) -> Result<Option<RegionInspection>, String> {
        let inner = &*self.inner;
        let read = |key: &[u8]| {
            let record = inner.engine.get(Cf::Raft, key);
            record.map_err(|error| error.to_string())
        };
        let record = read(&keys::region_state_key(id))?.map(RegionRecord::decode);
        let record = record.transpose().map_err(|error| error.to_string())?;
        let applied = read(&keys::apply_state_key(id))?.map(state::decode_apply_state);
        let applied = applied.transpose().map_err(|error| error.to_string())?;
        let peer = inner.peers.stats(id.get());
        if record.is_none() && peer.is_none() {
            return Ok(None);
        }
        let files = match &record {
            Some(RegionRecord::Normal(region) | RegionRecord::Merging(region, _)) => {
                files(&inner.engine, region).map_err(|error| error.to_string())?
            }
            Some(RegionRecord::Tombstone(_)) | None => Files::default(),
        };
        let (leader, leads) = inner.leaders.leader(id).unwrap_or_default();
        Ok(Some(RegionInspection {
            record,
            applied,
            leader,
            leads,
            size: inner.watched.growth.known_size(id),
            files,
            peer,
            applier: inner.watched.appliers.stats(id.get()),
        }))
    }

    /// The Peers and the appliers that stand out, so many in each respect. Looks at all of them.
    pub fn actors(&self, count: usize) -> [(&'static str, Actors); 2] {
        let inner = &*self.inner;
        [
            ("peer", inner.peers.actors(count)),
            ("apply", inner.watched.appliers.actors(count)),
        ]
    }
}

fn files<K: KvEngine>(engine: &K, region: &Region) -> engine::Result<Files> {
    let space = Space::of(region.id);
    let start = space.key(&region.range.start);
    let end = space.end_key(&region.range.end);
    let mut all = Files::default();
    for cf in [Cf::Default, Cf::Lock, Cf::Write] {
        all += engine.files(cf, &start, &end)?;
    }
    Ok(all)
}
