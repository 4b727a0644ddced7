//! Regions as they were before they were cut, for keys whose new Region has yet to report.
//!
//! **Why.** Both parts of a split report by themselves, and between the two a part of the old range belongs
//! to no Region that is known. Clients take such a gap for a fault of the cluster and give up; the old
//! Region's leader refuses them with its new shape, and then they ask again.
//!
//! **Invariants.** What is here answers for keys that no known Region has, and for nothing else. It goes as
//! soon as known Regions cover it. It is not persisted: a gap lasts until the next report. A report costs a
//! look at the first missing key of each remnant, and of nested ones only the outer stays: a Region that is
//! cut into a hundred thousand leaves one.
//!
//! **Not here.** Scans: they show what is known.

use crate::routes::Routes;
use crate::state::Change;
use std::collections::BTreeMap;
use std::sync::Arc;
use types::Region;

/// Old shapes, by their first keys and versions: a part may be cut again while another one is missing.
#[derive(Debug, Default)]
pub(crate) struct Remnants(BTreeMap<(Vec<u8>, u64), Remnant>);

#[derive(Debug)]
struct Remnant {
    old: Arc<Region>,
    /// Newer Regions have all of its range before this key.
    missing: Vec<u8>,
}

impl Remnants {
    /// A report of `region` makes these changes of the `staged` routes. What the `visible` ones, which
    /// questions are answered from, cover by now is forgotten.
    pub(crate) fn note(
        &mut self,
        visible: &Routes,
        staged: &Routes,
        region: &Region,
        changes: &[Change],
    ) {
        self.0.retain(|_, remnant| !remnant.is_replaced(visible));
        let replaced = changes.iter().filter_map(|change| match change {
            Change::RemoveRegion(id) => staged.by_id(*id),
            Change::Region(new) => staged.by_id(new.id),
            _ => None,
        });
        for old in replaced {
            let (start, end) = (&old.range.start, &old.range.end);
            let is_answered = |remnant: &Remnant| {
                remnant.missing <= *start && remnant.old.range.contains_range(start, end)
            };
            if region.range.contains_range(start, end) || self.0.values().any(is_answered) {
                continue;
            }
            let remnant = Remnant {
                old: old.clone(),
                missing: start.clone(),
            };
            self.0.insert((start.clone(), old.epoch.version), remnant);
        }
    }

    /// The Region that had a key which no known Region has.
    pub(crate) fn by_key(&self, key: &[u8]) -> Option<&Arc<Region>> {
        let begun = self.0.range(..=(key.to_vec(), u64::MAX)).rev();
        let mut olds = begun.map(|(_, remnant)| &remnant.old);
        olds.find(|old| old.range.contains(key))
    }
}

impl Remnant {
    /// Whether newer Regions have all of its range. Goes on where it stopped before.
    fn is_replaced(&mut self, routes: &Routes) -> bool {
        let end = &self.old.range.end;
        while let Some(region) = routes.by_key(&self.missing) {
            if region.epoch.version <= self.old.epoch.version {
                return false;
            }
            let reached = &region.range.end;
            if reached.is_empty() || (!end.is_empty() && reached >= end) {
                return true;
            }
            self.missing.clone_from(reached);
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use types::{Epoch, KeyRange, RegionId};

    fn region(id: u64, start: &str, end: &str, version: u64) -> Region {
        Region {
            id: RegionId(id),
            range: KeyRange {
                start: start.into(),
                end: end.into(),
            },
            epoch: Epoch {
                conf_ver: 1,
                version,
            },
            ..Region::default()
        }
    }

    struct World {
        visible: Routes,
        staged: Routes,
        remnants: Remnants,
    }

    impl World {
        fn new(first: Region) -> Self {
            let mut routes = Routes::default();
            routes.put(Arc::new(first));
            Self {
                visible: routes.clone(),
                staged: routes,
                remnants: Remnants::default(),
            }
        }

        /// As the leader does, with changes that are known to be allowed. They are persisted.
        fn reports(&mut self, region: &Region) {
            self.stages(region);
            self.visible = self.staged.clone();
        }

        /// The same, while they are being persisted.
        fn stages(&mut self, region: &Region) {
            let overlapped = self.staged.scan(&region.range);
            let gone = overlapped.filter(|other| other.id != region.id);
            let mut changes: Vec<_> = gone.map(|other| Change::RemoveRegion(other.id)).collect();
            changes.push(Change::Region(Arc::new(region.clone())));
            self.remnants
                .note(&self.visible, &self.staged, region, &changes);
            for change in changes {
                match change {
                    Change::RemoveRegion(id) => self.staged.remove(id),
                    Change::Region(region) => self.staged.put(region),
                    other => panic!("unexpected {other:?}"),
                }
            }
        }

        /// Which Region answers for a key, and in which version.
        fn answers(&self, key: &str) -> Option<(u64, u64)> {
            let known = self.visible.by_key(key.as_bytes());
            let found = known.or_else(|| self.remnants.by_key(key.as_bytes()))?;
            Some((found.id.get(), found.epoch.version))
        }
    }

    #[test]
    fn between_the_reports_of_two_parts_the_whole_answers_for_the_missing_one() {
        let (left, right) = (region(9, "", "m", 2), region(2, "m", "", 2));
        for (first, second) in [(&left, &right), (&right, &left)] {
            let mut world = World::new(region(2, "", "", 1));
            world.reports(first);
            let here = (first.id.get(), 2);
            assert_eq!(
                world.answers(if here.0 == 9 { "a" } else { "z" }),
                Some(here)
            );
            assert_eq!(
                world.answers(if here.0 == 9 { "z" } else { "a" }),
                Some((2, 1))
            );
            world.reports(second);
            assert_eq!(world.answers("a"), Some((9, 2)));
            assert_eq!(world.answers("z"), Some((2, 2)));
            world.reports(&region(9, "", "m", 3));
            assert!(world.remnants.0.is_empty(), "nothing is missing any more");
        }
    }

    #[test]
    fn the_whole_answers_until_the_report_of_its_last_part_is_persisted() {
        let mut world = World::new(region(2, "", "", 1));
        world.stages(&region(9, "", "m", 2));
        world.stages(&region(9, "", "m", 3));
        assert_eq!(world.answers("z"), Some((2, 1)), "nothing is persisted");
        world.visible = world.staged.clone();
        assert_eq!(world.answers("z"), Some((2, 1)), "the first part is");
        world.stages(&region(2, "m", "", 2));
        world.stages(&region(9, "", "m", 4));
        assert_eq!(world.answers("z"), Some((2, 1)));
        world.reports(&region(9, "", "m", 5));
        assert_eq!(world.answers("z"), Some((2, 2)));
    }

    #[test]
    fn a_part_that_is_cut_again_does_not_hide_the_whole_from_a_missing_part() {
        let mut world = World::new(region(2, "", "", 1));
        world.reports(&region(9, "", "g", 2));
        world.reports(&region(9, "c", "g", 3));
        assert_eq!(
            world.answers("a"),
            Some((9, 2)),
            "its other part is missing"
        );
        assert_eq!(
            world.answers("h"),
            Some((2, 1)),
            "that of the first cut, too"
        );
        world.reports(&region(10, "", "c", 3));
        world.reports(&region(9, "d", "g", 4));
        assert_eq!(world.answers("c"), Some((9, 3)));
        assert_eq!(world.answers("h"), Some((2, 1)));
        world.reports(&region(2, "g", "", 2));
        world.reports(&region(11, "c", "d", 4));
        world.reports(&region(10, "", "c", 4));
        assert!(world.remnants.0.is_empty(), "nothing is missing any more");
    }

    #[test]
    fn a_region_that_is_cut_again_and_again_leaves_one_old_shape_however_late_its_last_part_reports()
     {
        let mut world = World::new(region(2, "", "", 1));
        let place = |cut: u64| match cut {
            0 => String::new(),
            cut => format!("{cut:03}"),
        };
        for cut in 1..=100 {
            let (start, end) = (place(cut - 1), place(cut));
            world.reports(&region(10 + cut, &start, &end, 1 + cut));
            assert_eq!(world.answers("z"), Some((2, cut)));
            // A whole that is reported only after a part of it.
            world.reports(&region(2, &end, "", 1 + cut));
            assert_eq!(world.answers("z"), Some((2, 1 + cut)));
            assert!(world.remnants.0.len() <= 1);
        }
    }

    #[test]
    fn what_another_region_takes_over_whole_leaves_nothing() {
        let mut world = World::new(region(2, "", "m", 1));
        world.reports(&region(9, "", "", 2));
        assert!(world.remnants.0.is_empty());
        assert_eq!(world.answers("a"), Some((9, 2)));
    }
}
