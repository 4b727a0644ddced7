//! Splits: ids for those that a leader is about to make, and splits that somebody asks for.
//!
//! **Invariant.** Ids are given to a leader only if its Region is as it says.
//!
//! **Not here.** The split itself, which is the Region's own.

use crate::error::{Error, Result};
use crate::ids::PeerIds;
use crate::operator::{Operator, OperatorKind, OperatorStep};
use crate::scheduling::Known;
use crate::state::Durable;
use std::collections::BTreeMap;
use types::{PeerId, Region, RegionId};

/// The most Regions that one split makes.
const PARTS_MAX: u32 = 1_024;

/// The ids of one Region that a split makes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SplitIds {
    /// Its own.
    pub region_id: RegionId,
    /// Of its Peers, in the order of those of the Region that is split.
    pub peer_ids: Vec<PeerId>,
}

/// How many ids a split needs.
pub(crate) fn ids_needed(state: &Durable, region: &Region, parts: u32) -> Result<u64> {
    let known = state.routes.by_id(region.id);
    let known = known.ok_or(Error::RegionNotFound(region.id))?;
    let (asked, known_epoch) = (region.epoch, known.epoch);
    if asked.version < known_epoch.version || asked.conf_ver < known_epoch.conf_ver {
        return Err(Error::StaleRegion {
            region_id: region.id,
            reported: asked,
            known_id: known.id,
            known: known_epoch,
        });
    }
    if parts == 0 || parts > PARTS_MAX || region.peers.is_empty() || region.peers.len() > 64 {
        return Err(Error::InvalidRegion {
            region_id: region.id,
            reason: "a split makes 1 to 1024 Regions with 1 to 64 peers",
        });
    }
    Ok(u64::from(parts) * (1 + region.peers.len() as u64))
}

/// The ids themselves. None if there are too few now.
pub(crate) fn ids(ids: &mut PeerIds<'_>, region: &Region, parts: u32) -> Option<Vec<SplitIds>> {
    let part = |_| {
        let region_id = RegionId(ids.id()?);
        let peers = region.peers.iter();
        let peer_ids = peers.map(|_| ids.id().map(PeerId)).collect::<Option<_>>()?;
        Some(SplitIds {
            region_id,
            peer_ids,
        })
    };
    (0..parts).map(part).collect()
}

/// The operators that split Regions at these keys; a key that is a boundary already needs none.
pub(crate) fn operators(known: &Known<'_>, keys: &[Vec<u8>]) -> Vec<(RegionId, Result<Operator>)> {
    let mut by_region: BTreeMap<RegionId, Vec<Vec<u8>>> = BTreeMap::new();
    for key in keys {
        let region = known.state.routes.by_key(key);
        if let Some(region) = region.filter(|region| region.range.start != *key) {
            by_region.entry(region.id).or_default().push(key.clone());
        }
    }
    let make = |(id, mut keys): (RegionId, Vec<Vec<u8>>)| {
        keys.sort_unstable();
        keys.dedup();
        let seen = known.observed.region(id).ok_or(Error::RegionNotFound(id));
        let steps = vec![OperatorStep::Split { keys }];
        let operator = seen
            .map(|seen| Operator::new(known.now, seen, OperatorKind::Admin, "split-region", steps));
        (id, operator)
    };
    by_region.into_iter().map(make).collect()
}
