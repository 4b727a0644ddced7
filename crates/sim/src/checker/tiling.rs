//! The Regions of a cluster tile the key space; those of one store are apart, with holes in between.
//!
//! **Not here.** Which store has which Regions (`membership`).

use types::{Region, Space};

/// Checks Regions that are sorted by their first keys.
pub(crate) fn check(regions: &[Region]) -> Result<(), String> {
    let data: Vec<&Region> = regions
        .iter()
        .filter(|region| Space::of(region.id) == Space::Data)
        .collect();
    let (Some(first), Some(last)) = (data.first(), data.last()) else {
        return Err("there is no Region of data".to_owned());
    };
    let begins = first.range.start.is_empty();
    let ends = last.range.end.is_empty();
    let meets = |pair: &[&Region]| {
        let (left, right) = (&pair[0].range, &pair[1].range);
        !left.end.is_empty() && left.end == right.start
    };
    match begins && ends && data.windows(2).all(meets) {
        true => Ok(()),
        false => Err(format!("Regions don't tile the key space: {data:?}")),
    }
}

/// Checks that no two of them, which are sorted as above, overlap.
pub(crate) fn check_apart(regions: &[Region]) -> Result<(), String> {
    let is_data = |region: &&Region| Space::of(region.id) == Space::Data;
    let data: Vec<&Region> = regions.iter().filter(is_data).collect();
    let overlap = |pair: &[&Region]| {
        let (left, right) = (&pair[0].range, &pair[1].range);
        left.end.is_empty() || left.end > right.start
    };
    match data.windows(2).any(overlap) {
        true => Err(format!("Regions overlap: {data:?}")),
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use types::{KeyRange, RegionId};

    fn regions(ranges: &[(&str, &str)]) -> Vec<Region> {
        let region = |(id, (start, end)): (u64, &(&str, &str))| Region {
            id: RegionId(id),
            range: KeyRange {
                start: start.as_bytes().to_vec(),
                end: end.as_bytes().to_vec(),
            },
            ..Region::default()
        };
        (2..).zip(ranges).map(region).collect()
    }

    #[test]
    fn holes_and_overlaps_are_found() {
        for ranges in [
            &[("", "")][..],
            &[("", "b"), ("b", "")],
            &[("", "b"), ("b", "c"), ("c", "")],
        ] {
            assert!(check(&regions(ranges)).is_ok(), "{ranges:?}");
        }
        for ranges in [
            &[][..],
            &[("a", "")],
            &[("", "b")],
            &[("", "b"), ("c", "")],
            &[("", "c"), ("b", "")],
            &[("", ""), ("b", "")],
        ] {
            assert!(check(&regions(ranges)).is_err(), "{ranges:?}");
        }
    }

    #[test]
    fn holes_are_no_overlaps() {
        assert!(check_apart(&regions(&[("a", "b"), ("c", "d")])).is_ok());
        assert!(check_apart(&regions(&[("a", "c"), ("b", "d")])).is_err());
        assert!(check_apart(&regions(&[("a", ""), ("b", "d")])).is_err());
    }
}
