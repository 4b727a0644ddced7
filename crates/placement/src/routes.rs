//! The routing table: the shapes of all Regions, by key and by id.
//!
//! Shapes come from the leaders of Regions. Two reports can contradict each other, when a Region
//! has split or its membership has changed; the epoch tells which is newer.
//!
//! **Invariants.** Regions in the table never overlap. A Region's epoch in the table never goes
//! back while it stays there. Both indexes hold the same Regions, and `peers` counts their Peers.
//!
//! **What it does not do.** It does not close gaps: when half of a split Region is reported first,
//! the other half is unknown until it is reported (`remnants` answers for it meanwhile).

use crate::Error;
use crate::error::Result;
use crate::state::Change;
use std::borrow::Borrow;
use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;
use types::{Epoch, KeyRange, Region, RegionId, StoreId};

/// The shapes of all Regions.
#[derive(Clone, Debug, Default)]
pub(crate) struct Routes {
    by_id: BTreeMap<RegionId, Arc<Region>>,
    by_start: BTreeSet<ByStart>,
    /// How many Peers each store has.
    peers: BTreeMap<StoreId, u64>,
}

/// A Region in the order of its first key.
#[derive(Clone, Debug)]
struct ByStart(Arc<Region>);

impl Borrow<[u8]> for ByStart {
    fn borrow(&self) -> &[u8] {
        &self.0.range.start
    }
}

impl Ord for ByStart {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.range.start.cmp(&other.0.range.start)
    }
}

impl PartialOrd for ByStart {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for ByStart {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for ByStart {}

impl Routes {
    pub(crate) fn by_id(&self, id: RegionId) -> Option<&Arc<Region>> {
        self.by_id.get(&id)
    }

    /// All Regions, by id.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Arc<Region>> {
        self.by_id.values()
    }

    pub(crate) fn len(&self) -> usize {
        self.by_id.len()
    }

    /// How many Peers a store has.
    pub(crate) fn peers_on(&self, store: StoreId) -> u64 {
        self.peers.get(&store).copied().unwrap_or(0)
    }

    /// The Regions that end where this one begins, and begin where it ends.
    pub(crate) fn neighbours(&self, region: &Region) -> [Option<&Arc<Region>>; 2] {
        let next = Some(&region.range.end).filter(|end| !end.is_empty());
        [
            self.previous(&region.range.start),
            next.and_then(|start| self.by_start.get(start.as_slice()))
                .map(|entry| &entry.0),
        ]
    }

    /// The Region that owns `key`.
    pub(crate) fn by_key(&self, key: &[u8]) -> Option<&Arc<Region>> {
        self.last_from(Bound::Included(key))
            .filter(|region| region.range.contains(key))
    }

    /// The Region that ends where the owner of `key` begins.
    pub(crate) fn previous(&self, key: &[u8]) -> Option<&Arc<Region>> {
        let start = self.by_key(key)?.range.start.as_slice();
        self.last_from(Bound::Excluded(start))
            .filter(|region| region.range.end == start)
    }

    /// The Regions that own keys of the range, in order.
    pub(crate) fn scan(&self, range: &KeyRange) -> impl Iterator<Item = &Arc<Region>> {
        let first = self
            .by_key(&range.start)
            .map_or(range.start.as_slice(), |region| &region.range.start);
        let in_range =
            |region: &&Arc<Region>| range.end.is_empty() || region.range.start < range.end;
        self.by_start
            .range::<[u8], _>((Bound::Included(first), Bound::Unbounded))
            .map(|entry| &entry.0)
            .take_while(move |region| !range.is_empty() && in_range(region))
    }

    fn last_from(&self, upper: Bound<&[u8]>) -> Option<&Arc<Region>> {
        self.by_start
            .range::<[u8], _>((Bound::Unbounded, upper))
            .next_back()
            .map(|entry| &entry.0)
    }

    /// What a report of this shape changes: nothing if it is known just so.
    ///
    /// # Errors
    ///
    /// The report makes no sense, or what is known is newer.
    pub(crate) fn plan(&self, region: &Region) -> Result<Vec<Change>> {
        check_shape(region)?;
        if let Some(known) = self.by_id(region.id) {
            if is_older(region.epoch, known.epoch) {
                return Err(stale(region, known));
            }
            if region.epoch == known.epoch {
                let same = region.range == known.range && same_peers(region, known);
                let reason = "its epoch is known, but with another shape";
                return if same {
                    Ok(Vec::new())
                } else {
                    Err(invalid(region, reason))
                };
            }
            if region.epoch.version == known.epoch.version && region.range != known.range {
                return Err(invalid(
                    region,
                    "its range has changed, but not its version",
                ));
            }
        }
        let mut changes = Vec::new();
        for other in self
            .scan(&region.range)
            .filter(|other| other.id != region.id)
        {
            if other.epoch.version >= region.epoch.version {
                return Err(stale(region, other));
            }
            changes.push(Change::RemoveRegion(other.id));
        }
        changes.push(Change::Region(Arc::new(region.clone())));
        Ok(changes)
    }

    /// What a split changes: all of its parts come at once, so that no key is without a Region in between.
    /// Nothing if the Region is not known just as it was before: then its parts report by themselves.
    ///
    /// # Errors
    ///
    /// The parts make no sense.
    pub(crate) fn plan_split(&self, parts: &[Region]) -> Result<Vec<Change>> {
        let (Some(first), Some(kept)) = (parts.first(), parts.last()) else {
            return Ok(Vec::new());
        };
        parts.iter().try_for_each(check_shape)?;
        if parts.iter().any(|part| part.id == RegionId::PLACEMENT) {
            return Err(invalid(kept, "a part has the id of the placement Region"));
        }
        let follow = |pair: &[Region]| pair[0].range.end == pair[1].range.start;
        let are_parts = |part: &Region| part.epoch == kept.epoch;
        if !parts.windows(2).all(follow) || !parts.iter().all(are_parts) {
            return Err(invalid(
                kept,
                "the parts of its split don't follow each other",
            ));
        }
        let is_as_before = |known: &&Arc<Region>| {
            known.epoch.version < kept.epoch.version
                && known.epoch.conf_ver == kept.epoch.conf_ver
                && (&known.range.start, &known.range.end) == (&first.range.start, &kept.range.end)
        };
        let is_new = |part: &Region| self.by_id(part.id).is_none();
        let before = self.by_id(kept.id).filter(is_as_before);
        if before.is_none() || !parts[..parts.len() - 1].iter().all(is_new) {
            return Ok(Vec::new());
        }
        // First what is left of it, so that there is room for the others.
        let all = parts
            .iter()
            .rev()
            .map(|part| Change::Region(Arc::new(part.clone())));
        Ok(all.collect())
    }

    /// Whether a part of the key space belongs to no Region that is known. Looks at all of them.
    pub(crate) fn has_gap(&self) -> bool {
        let mut reached: Option<&[u8]> = Some(&[]);
        for ByStart(region) in &self.by_start {
            if reached != Some(&region.range.start) {
                return true;
            }
            reached = Some(region.range.end.as_slice()).filter(|end| !end.is_empty());
        }
        reached.is_some()
    }

    /// Whether the Region overlaps no other.
    pub(crate) fn has_room_for(&self, region: &Region) -> bool {
        self.scan(&region.range).all(|other| other.id == region.id)
    }

    /// Puts a Region that overlaps no other.
    pub(crate) fn put(&mut self, region: Arc<Region>) {
        assert!(
            self.has_room_for(&region),
            "{region:?} overlaps another Region"
        );
        self.remove(region.id);
        for peer in &region.peers {
            *self.peers.entry(peer.store_id).or_default() += 1;
        }
        self.by_start.insert(ByStart(region.clone()));
        self.by_id.insert(region.id, region);
    }

    /// Removes a Region, if it is there.
    pub(crate) fn remove(&mut self, id: RegionId) {
        if let Some(region) = self.by_id.remove(&id) {
            let removed = self.by_start.remove(region.range.start.as_slice());
            assert!(removed, "{region:?} was not indexed by its start");
            for peer in &region.peers {
                let count = self.peers.get_mut(&peer.store_id);
                *count.expect("its Peers were counted") -= 1;
            }
        }
    }

    /// Checks all invariants of the table.
    pub(crate) fn check_invariants(&self) {
        assert_eq!(self.by_id.len(), self.by_start.len(), "the indexes differ");
        let mut peers = self.peers.clone();
        for peer in self.by_id.values().flat_map(|region| &region.peers) {
            *peers.get_mut(&peer.store_id).expect("it was counted") -= 1;
        }
        assert!(peers.values().all(|left| *left == 0), "too many: {peers:?}");
        let mut before: Option<&Region> = None;
        for ByStart(region) in &self.by_start {
            assert!(!region.range.is_empty(), "{region:?} is empty");
            assert!(
                self.by_id
                    .get(&region.id)
                    .is_some_and(|other| Arc::ptr_eq(other, region))
            );
            if let Some(before) = before {
                let end = &before.range.end;
                assert!(
                    !end.is_empty() && end <= &region.range.start,
                    "{before:?} overlaps {region:?}"
                );
            }
            before = Some(region);
        }
    }
}

/// Either counter going back means that the report was made before what is known.
fn is_older(epoch: Epoch, than: Epoch) -> bool {
    epoch.version < than.version || epoch.conf_ver < than.conf_ver
}

fn stale(region: &Region, known: &Region) -> Error {
    Error::StaleRegion {
        region_id: region.id,
        reported: region.epoch,
        known_id: known.id,
        known: known.epoch,
    }
}

fn invalid(region: &Region, reason: &'static str) -> Error {
    Error::InvalidRegion {
        region_id: region.id,
        reason,
    }
}

/// The same replicas, in any order.
fn same_peers(a: &Region, b: &Region) -> bool {
    a.peers.len() == b.peers.len() && a.peers.iter().all(|peer| b.peer(peer.id) == Some(peer))
}

const KEY_BYTES_MAX: usize = 16 << 10;
const PEERS_MAX: usize = 64;

/// Refuses a shape that no Region can have.
/// Whether a Region can be as it is said to be.
pub(crate) fn check_shape(region: &Region) -> Result<()> {
    let reason = if region.id.get() == 0 {
        "its id is zero"
    } else if region.epoch.conf_ver == 0 || region.epoch.version == 0 {
        "its epoch has a zero"
    } else if region.range.is_empty() {
        "its range is empty"
    } else if region.range.start.len().max(region.range.end.len()) > KEY_BYTES_MAX {
        "a boundary has more than 16 KiB"
    } else if region.peers.is_empty() || region.peers.len() > PEERS_MAX {
        "it does not have 1 to 64 peers"
    } else if region
        .peers
        .iter()
        .any(|peer| peer.id.get() == 0 || peer.store_id.get() == 0)
    {
        "a peer or its store has id zero"
    } else if has_twice(region, |peer| peer.id.get())
        || has_twice(region, |peer| peer.store_id.get())
    {
        "it has a peer or a store twice"
    } else {
        return Ok(());
    };
    Err(invalid(region, reason))
}

fn has_twice(region: &Region, id: impl Fn(&types::Peer) -> u64) -> bool {
    let ids: BTreeSet<u64> = region.peers.iter().map(id).collect();
    ids.len() < region.peers.len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use types::{Peer, PeerId, StoreId};

    fn region(id: u64, start: &[u8], end: &[u8], version: u64, conf_ver: u64) -> Region {
        let peer = |at| Peer {
            id: PeerId(id * 10 + at),
            store_id: StoreId(at),
            ..Peer::default()
        };
        Region {
            id: RegionId(id),
            range: KeyRange {
                start: start.to_vec(),
                end: end.to_vec(),
            },
            epoch: Epoch { conf_ver, version },
            peers: vec![peer(1), peer(2), peer(3)],
        }
    }

    fn report(routes: &mut Routes, region: &Region) -> Result<usize> {
        let changes = routes.plan(region)?;
        for change in &changes {
            match change {
                Change::Region(region) => routes.put(region.clone()),
                Change::RemoveRegion(id) => routes.remove(*id),
                other => panic!("a report does not change {other:?}"),
            }
        }
        routes.check_invariants();
        Ok(changes.len())
    }

    fn table(regions: &[Region]) -> Routes {
        let mut routes = Routes::default();
        for region in regions {
            report(&mut routes, region).unwrap();
        }
        routes
    }

    fn id(region: Option<&Arc<Region>>) -> u64 {
        region.map_or(0, |region| region.id.get())
    }

    #[test]
    fn a_key_finds_its_region_and_the_one_before() {
        let routes = table(&[
            region(2, b"", b"g", 1, 1),
            region(3, b"g", b"m", 1, 1),
            region(4, b"p", b"", 1, 1),
        ]);
        let found = |key: &[u8]| (id(routes.by_key(key)), id(routes.previous(key)));
        assert_eq!(found(b""), (2, 0));
        assert_eq!(found(b"f"), (2, 0));
        assert_eq!(found(b"g"), (3, 2));
        assert_eq!(found(b"m"), (0, 0), "nobody owns the gap");
        assert_eq!(found(b"z"), (4, 0), "the gap is not a previous Region");
    }

    #[test]
    fn a_scan_answers_every_region_that_owns_a_key_of_the_range() {
        let routes = table(&[
            region(2, b"", b"g", 1, 1),
            region(3, b"g", b"m", 1, 1),
            region(4, b"p", b"", 1, 1),
        ]);
        let scan = |start: &[u8], end: &[u8]| -> Vec<u64> {
            let range = KeyRange {
                start: start.to_vec(),
                end: end.to_vec(),
            };
            routes.scan(&range).map(|region| region.id.get()).collect()
        };
        assert_eq!(scan(b"", b""), [2, 3, 4]);
        assert_eq!(scan(b"a", b"g"), [2]);
        assert_eq!(scan(b"a", b"ga"), [2, 3]);
        assert_eq!(scan(b"n", b"p"), []);
        assert_eq!(scan(b"n", b""), [4]);
        assert_eq!(scan(b"b", b"b"), [], "an empty range has no owner");
        assert_eq!(scan(b"h", b"b"), [], "an inverted range has no owner");
    }

    #[test]
    fn a_split_replaces_the_old_region_whichever_half_reports_first() {
        let old = region(2, b"", b"", 1, 1);
        let (left, right) = (region(3, b"", b"m", 2, 1), region(2, b"m", b"", 2, 1));
        for (first, second) in [(&left, &right), (&right, &left)] {
            let mut routes = table(std::slice::from_ref(&old));
            report(&mut routes, first).unwrap();
            report(&mut routes, second).unwrap();
            assert_eq!((id(routes.by_key(b"a")), id(routes.by_key(b"z"))), (3, 2));
            assert!(matches!(
                report(&mut routes, &old),
                Err(Error::StaleRegion { .. })
            ));
        }
    }

    #[test]
    fn a_merge_removes_the_region_that_was_merged_whichever_side_survives() {
        let (left, right) = (region(2, b"", b"m", 4, 1), region(3, b"m", b"", 6, 1));
        for (survivor, gone) in [(2, &right), (3, &left)] {
            let mut routes = table(&[left.clone(), right.clone()]);
            let merged = region(survivor, b"", b"", 7, 1);
            assert_eq!(report(&mut routes, &merged), Ok(2));
            assert_eq!(id(routes.by_key(b"a")), survivor);
            assert_eq!(id(routes.by_key(b"z")), survivor);
            assert!(routes.by_id(gone.id).is_none());
            assert_eq!(routes.peers_on(StoreId(1)), 1);
            let late = report(&mut routes, gone);
            assert!(matches!(late, Err(Error::StaleRegion { .. })), "{late:?}");
        }
    }

    #[test]
    fn a_merge_after_a_split_that_nobody_reported_leaves_one_region() {
        let mut routes = table(&[region(2, b"", b"", 1, 1)]);
        report(&mut routes, &region(3, b"f", b"m", 2, 1)).unwrap();
        assert_eq!(
            id(routes.by_key(b"a")),
            0,
            "the first half is not reported yet"
        );
        report(&mut routes, &region(2, b"", b"", 4, 1)).unwrap();
        let all: Vec<u64> = routes.iter().map(|region| region.id.get()).collect();
        assert_eq!(all, [2]);
    }

    #[test]
    fn neighbours_touch_the_region_on_both_sides() {
        let regions = [
            region(2, b"", b"g", 1, 1),
            region(3, b"g", b"m", 1, 1),
            region(4, b"p", b"", 1, 1),
        ];
        let routes = table(&regions);
        let near = |at: usize| routes.neighbours(&regions[at]).map(id);
        assert_eq!(near(0), [0, 3]);
        assert_eq!(near(1), [2, 0], "there is a gap behind it");
        assert_eq!(near(2), [0, 0]);
    }

    #[test]
    fn an_old_region_can_not_push_out_a_newer_one() {
        let mut routes = table(&[region(2, b"", b"m", 5, 1)]);
        let error = report(&mut routes, &region(3, b"a", b"", 5, 9)).unwrap_err();
        assert!(matches!(
            error,
            Error::StaleRegion {
                known_id: RegionId(2),
                ..
            }
        ));
    }

    #[test]
    fn either_counter_of_the_epoch_going_back_is_stale() {
        let mut routes = table(&[region(2, b"", b"", 5, 5)]);
        assert!(report(&mut routes, &region(2, b"", b"", 4, 6)).is_err());
        assert!(report(&mut routes, &region(2, b"", b"", 6, 4)).is_err());
        assert_eq!(report(&mut routes, &region(2, b"", b"", 5, 5)), Ok(0));
        assert_eq!(report(&mut routes, &region(2, b"", b"", 5, 6)), Ok(1));
        assert_eq!(report(&mut routes, &region(2, b"", b"z", 6, 6)), Ok(1));
    }

    #[test]
    fn the_order_of_peers_is_no_change_of_shape() {
        let known = region(2, b"", b"", 5, 5);
        let mut routes = table(std::slice::from_ref(&known));
        let mut reordered = known.clone();
        reordered.peers.reverse();
        assert_eq!(report(&mut routes, &reordered), Ok(0));
        let mut other = known;
        other.peers.pop();
        assert!(matches!(
            report(&mut routes, &other),
            Err(Error::InvalidRegion { .. })
        ));
    }

    #[test]
    fn shapes_that_make_no_sense_are_refused() {
        let good = region(2, b"a", b"b", 1, 1);
        let mut bad = vec![
            region(0, b"a", b"b", 1, 1),
            region(2, b"a", b"b", 0, 1),
            region(2, b"a", b"b", 1, 0),
        ];
        bad.extend([
            region(2, b"b", b"a", 1, 1),
            region(2, b"a", b"a", 1, 1),
            region(2, &[1; 16385], b"", 1, 1),
        ]);
        bad.push(Region {
            peers: vec![],
            ..good.clone()
        });
        bad.push(Region {
            peers: vec![good.peers[0]; 2],
            ..good.clone()
        });
        bad.push(Region {
            peers: vec![Peer::default()],
            ..good.clone()
        });
        for region in bad {
            let refused = Routes::default().plan(&region);
            assert!(
                matches!(refused, Err(Error::InvalidRegion { .. })),
                "{region:?}"
            );
        }
        assert!(Routes::default().plan(&good).is_ok());
    }

    proptest! {
        #[test]
        fn regions_never_overlap_and_epochs_never_go_back(
            reports in proptest::collection::vec((2u64..8, 0u8..6, 0u8..7, 1u64..6, 1u64..3), 0..60)
        ) {
            let mut routes = Routes::default();
            for (id, start, end, version, conf_ver) in reports {
                let key = |at: u8| if at == 0 { vec![] } else { vec![at] };
                let region = region(id, &key(start), &key(end), version, conf_ver);
                let before = routes.by_id(region.id).cloned();
                if report(&mut routes, &region).is_ok() {
                    let now = routes.by_id(region.id).unwrap();
                    prop_assert_eq!(&**now, &region);
                    prop_assert!(before.is_none_or(|before| !is_older(now.epoch, before.epoch)));
                    prop_assert_eq!(routes.by_key(&region.range.start).unwrap().id, region.id);
                }
            }
        }
    }
}
