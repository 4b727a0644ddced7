//! Split: one Region becomes several, at keys and with ids that its proposer chose.
//!
//! The Region itself keeps its rightmost part, so that a load which appends does not change Regions at
//! every split (TiKV's `right-derive-when-split`). New Regions have Peers on the same stores, in the
//! same roles, and the same data: nothing moves.
//!
//! **Crash.** The new shapes, and the apply states of the new Regions, are in the batch of the split's
//! entry; until it is durable the log, which is, splits again. A new Region's log may be older than
//! its state then (it was synced, the state was not): it is taken as it is, and only a Region without
//! one begins an empty log.
//!
//! **Invariants.** The parts tile the Region. A split that was decided in another epoch has no effect.
//! Where the Region was led, the new ones campaign at once; elsewhere no sooner than an election timeout
//! later, so that nobody else leads them while the old leader's lease may still cover their keys.
//!
//! **Not here.** Where to cut, and who gives the ids.

use crate::admin::Cut;
use crate::apply::ApplyStore;
use crate::bootstrap::first_apply_state;
use crate::error::RequestError;
use crate::state::{RegionRecord, encode_apply_state};
use engine::Cf;
use std::collections::BTreeSet;
use types::{Epoch, KeyRange, Peer, Region, keys};

/// The most parts that one split makes; its entry must stay small.
const CUTS_MAX: usize = 256;

/// The Regions that these cuts make of `region`, in the order of their keys; the last one is what is
/// left of it.
///
/// # Errors
/// The cuts don't fit the Region: it has changed, or they were never right.
pub fn parts(region: &Region, cuts: &[Cut]) -> Result<Vec<Region>, RequestError> {
    let invalid = |reason| RequestError::InvalidChange {
        region_id: region.id,
        reason,
    };
    if cuts.is_empty() || cuts.len() > CUTS_MAX {
        return Err(invalid("a split has between 1 and 256 cuts"));
    }
    let epoch = Epoch {
        version: region.epoch.version + cuts.len() as u64,
        ..region.epoch
    };
    let mut start = region.range.start.clone();
    let mut regions = Vec::with_capacity(cuts.len() + 1);
    let mut ids = BTreeSet::from([region.id.get()]);
    for cut in cuts {
        let key = &cut.key[..];
        if key.is_empty() || key <= &start[..] || !region.range.contains(key) {
            return Err(invalid("the cuts are not ascending keys inside the Region"));
        }
        if cut.peer_ids.len() != region.peers.len() {
            return Err(invalid("a cut has other Peers than the Region"));
        }
        let is_new = ids.insert(cut.region_id.get()) && cut.region_id.get() != 0;
        if !is_new || cut.peer_ids.iter().any(|id| id.get() == 0) {
            return Err(invalid("a cut has an id that is used or none"));
        }
        let peers = region.peers.iter().zip(&cut.peer_ids);
        regions.push(Region {
            id: cut.region_id,
            range: KeyRange {
                start: std::mem::replace(&mut start, key.to_vec()),
                end: key.to_vec(),
            },
            epoch,
            peers: peers.map(|(old, id)| Peer { id: *id, ..*old }).collect(),
        });
    }
    regions.push(Region {
        range: KeyRange {
            start,
            end: region.range.end.clone(),
        },
        epoch,
        ..region.clone()
    });
    Ok(regions)
}

/// Writes the shapes of all parts, and the states of the new ones.
pub(crate) fn write(parts: &[Region], store: &mut impl ApplyStore) {
    let (kept, new) = parts.split_last().expect("a split has parts");
    for region in new {
        put_shape(region, store);
        let key = keys::apply_state_key(region.id);
        store.put(Cf::Raft, &key, &encode_apply_state(&first_apply_state()));
    }
    put_shape(kept, store);
}

pub(crate) fn put_shape(region: &Region, store: &mut impl ApplyStore) {
    let record = RegionRecord::Normal(region.clone()).encode();
    store.put(Cf::Raft, &keys::region_state_key(region.id), &record);
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use types::{PeerId, PeerRole, RegionId, StoreId};

    fn region() -> Region {
        let peer = |id, role| Peer {
            id: PeerId(id),
            store_id: StoreId(id),
            role,
        };
        Region {
            id: RegionId(2),
            range: KeyRange {
                start: b"b".to_vec(),
                end: b"y".to_vec(),
            },
            epoch: Epoch {
                conf_ver: 4,
                version: 7,
            },
            peers: vec![peer(1, PeerRole::Voter), peer(2, PeerRole::Learner)],
        }
    }

    fn cut(key: &str, region: u64) -> Cut {
        Cut {
            key: Bytes::copy_from_slice(key.as_bytes()),
            region_id: RegionId(region),
            peer_ids: vec![PeerId(region * 10), PeerId(region * 10 + 1)],
        }
    }

    #[test]
    fn the_parts_tile_the_region_and_share_its_stores_and_its_new_version() {
        let parts = parts(&region(), &[cut("f", 5), cut("m", 6)]).unwrap();
        let shape = |region: &Region| {
            let range = [&region.range.start[..], &region.range.end[..]].concat();
            (region.id.get(), String::from_utf8(range).unwrap())
        };
        let shapes: Vec<_> = parts.iter().map(shape).collect();
        assert_eq!(
            shapes,
            [(5, "bf".into()), (6, "fm".into()), (2, "my".to_string())]
        );
        for part in &parts {
            assert_eq!((part.epoch.version, part.epoch.conf_ver), (9, 4));
            let roles = part.peers.iter().map(|peer| (peer.store_id, peer.role));
            let whole = region();
            assert!(roles.eq(whole.peers.iter().map(|peer| (peer.store_id, peer.role))));
        }
        assert_eq!(parts[0].peers[1].id, PeerId(51));
        assert_eq!(parts[2].peers, region().peers);
    }

    #[test]
    fn cuts_that_do_not_fit_are_refused() {
        let few_peers = Cut {
            peer_ids: vec![PeerId(1)],
            ..cut("f", 5)
        };
        let no_id = Cut {
            peer_ids: vec![PeerId(0), PeerId(1)],
            ..cut("f", 5)
        };
        for cuts in [
            vec![],
            vec![cut("b", 5)],
            vec![cut("", 5)],
            vec![cut("y", 5)],
            vec![cut("a", 5)],
            vec![cut("m", 5), cut("f", 6)],
            vec![cut("f", 5), cut("f", 6)],
            vec![cut("f", 5), cut("m", 5)],
            vec![cut("f", 2)],
            vec![few_peers],
            vec![no_id],
        ] {
            let refused = parts(&region(), &cuts);
            assert!(
                matches!(refused, Err(RequestError::InvalidChange { .. })),
                "{cuts:?}"
            );
        }
    }
}
