//! Into what a Region was merged, as a farewell names it: a Region with nothing but its id and version.
//!
//! **Invariants.** From the wire nothing panics.
//!
//! **Not here.** Who believes it (`raftstore::store`).

use proto::metapb;
use raftstore::state::MergedInto;
use types::RegionId;

/// For the wire.
pub(crate) fn merged_into_to_wire(into: MergedInto) -> Box<metapb::Region> {
    Box::new(metapb::Region {
        id: into.region_id.get(),
        region_epoch: Some(metapb::RegionEpoch {
            version: into.version,
            ..metapb::RegionEpoch::default()
        }),
        ..metapb::Region::default()
    })
}

/// From the wire.
pub(crate) fn merged_into_from_wire(region: &metapb::Region) -> MergedInto {
    let epoch = region.region_epoch.as_ref();
    MergedInto {
        region_id: RegionId(region.id),
        version: epoch.map_or(0, |epoch| epoch.version),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_arrives_as_it_was_sent() {
        let into = MergedInto {
            region_id: RegionId(7),
            version: 9,
        };
        assert_eq!(merged_into_from_wire(&merged_into_to_wire(into)), into);
    }
}
